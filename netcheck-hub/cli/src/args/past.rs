//! Instants and times in the past, and the commands that are about nothing else.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use netcheck_proto::instant::{self, NoInstant};
use netcheck_proto::{convert, v1};
use prost_types::Timestamp;

use super::{Select, positive};

/// `--at`.
#[derive(Debug, Args)]
pub(crate) struct AtArg {
    /// As it was at this instant: how long ago (2h or -2h), a time of day in UTC (03:05), or 2026-11-29T03:05:00Z.
    #[arg(long, value_name = "INSTANT", value_parser = instant_arg, allow_hyphen_values = true, conflicts_with_all = ["since", "until"])]
    pub(crate) at: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) span: SpanArg,
}

/// `--since` and `--until`.
#[derive(Debug, Args)]
pub(crate) struct SpanArg {
    /// All since this instant (as for --at), instead of the newest.
    #[arg(long, value_name = "INSTANT", value_parser = instant_arg, allow_hyphen_values = true)]
    pub(crate) since: Option<Timestamp>,
    /// And no later than this one [default: now].
    #[arg(long, value_name = "INSTANT", value_parser = instant_arg, allow_hyphen_values = true)]
    pub(crate) until: Option<Timestamp>,
}

/// What `history` asks for.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The node that probes [default: all that --source selects].
    #[arg(value_name = "SOURCE")]
    one_source: Option<String>,
    /// What it probes: a node, a pod or a service ([NAMESPACE/]NAME, with :PORT if wanted), or an address [default: all
    /// that --target selects].
    #[arg(value_name = "TARGET")]
    one_target: Option<String>,
    #[command(flatten)]
    span: SpanArg,
    /// Length of one step (duration) [default: such that there are about a hundred].
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    step: Option<Duration>,
    /// Sum all selected paths up.
    #[arg(long)]
    together: bool,
    #[command(flatten)]
    select: Select,
}

impl HistoryArgs {
    pub(crate) fn wire(&self) -> v1::GetPathHistoryRequest {
        v1::GetPathHistoryRequest {
            source: self.one_source.clone().unwrap_or_default(),
            target: self.one_target.clone().unwrap_or_default(),
            selector: Some(self.select.wire()),
            from: self.span.since,
            to: self.span.until,
            step: self.step.map(convert::duration),
            together: self.together,
        }
    }
}

/// What `events` asks for.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    span: SpanArg,
    /// Only these kinds of event (comma-separated).
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<EventKind>,
    /// The newest so many (count).
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,
}

/// Kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EventKind {
    /// The hub began.
    Hub,
    /// Nodes that came, left or changed.
    Node,
    /// Targets that came or left.
    Target,
    /// Agents that came or went.
    Agent,
    /// Paths that became reachable or not.
    Verdict,
    /// Incidents that opened, changed or closed.
    Incident,
    /// Checks that ended.
    Check,
}

impl EventsArgs {
    pub(crate) fn wire(&self) -> v1::ListEventsRequest {
        let kind = |kind: &EventKind| match kind {
            EventKind::Hub => v1::HistoryEventKind::Hub.into(),
            EventKind::Node => v1::HistoryEventKind::Node.into(),
            EventKind::Target => v1::HistoryEventKind::Target.into(),
            EventKind::Agent => v1::HistoryEventKind::Agent.into(),
            EventKind::Verdict => v1::HistoryEventKind::Verdict.into(),
            EventKind::Incident => v1::HistoryEventKind::Incident.into(),
            EventKind::Check => v1::HistoryEventKind::Check.into(),
        };
        v1::ListEventsRequest {
            from: self.span.since,
            to: self.span.until,
            kinds: self.kind.iter().map(kind).collect(),
            limit: self.limit,
        }
    }
}

fn instant_arg(text: &str) -> Result<Timestamp, NoInstant> {
    instant::parse(text, Timestamp::from(SystemTime::now()))
}
