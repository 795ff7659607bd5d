//! One round of a scheduled check: a check like any other, of which only figures are kept. Cancelling it ends it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use netcheck_common::sketch::Sketch;
use netcheck_proto::v1;
use netcheck_scheduled::ReachabilityCheckSpec;
use netcheck_scheduled::round::{Rate, RoundFacts, RoundTrip, TargetFigures};
use netcheck_scheduled::spec::{Family, Probe, ServiceAddress, Span, TargetKind, Vantage};
use tonic::Status;

use super::requested::{self, Planned};
use super::secrets::Secrets;
use crate::serve::check::{Checks, Haste};
use crate::state::{Hub, Settings};
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::matrix::{Delays, HasDelays as _};
use netcheck_analysis::model::clock::{unix_now_ns, wire_duration};
use netcheck_analysis::plan::selector::Selector;

/// Causes that a round keeps.
const CAUSES_MAX: usize = 10;

/// Windows of a round are kept until it is judged: so much longer than they are measured for.
const JUDGED: Duration = Duration::from_secs(20);

/// Why a round can't be run as its object wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PaceError {
    #[error("spec.probesPerSecond: needs spec.duration")]
    NoDuration,
    #[error("spec.probesPerSecond: 1 at least")]
    NoRate,
    #[error(
        "spec.duration: {duration} is longer than the hub keeps windows for, less {}: {longest} at most (hub.expire of the \
         chart, --expire)",
        Span(JUDGED)
    )]
    TooLong { duration: Span, longest: Span },
    #[error(
        "spec.duration: {duration} is too short to be measured: {shortest} at least (three times hub.window)"
    )]
    TooShort { duration: Span, shortest: Span },
    #[error("spec.roundTimeout: {timeout} is not longer than spec.duration")]
    NoTime { timeout: Span },
}

/// Whether a hub with these settings can run its rounds.
pub(super) fn fits(spec: &ReachabilityCheckSpec, settings: &Settings) -> Result<(), PaceError> {
    // The API server refuses it, where the definition is that of this version.
    if spec.probes_per_second == Some(0) {
        return Err(PaceError::NoRate);
    }
    let Some(duration) = spec.duration else {
        return if spec.probes_per_second.is_some() { Err(PaceError::NoDuration) } else { Ok(()) };
    };
    let longest = Span(settings.expire.saturating_sub(JUDGED));
    let shortest = Span(settings.timing.window * 3);
    if duration < shortest {
        return Err(PaceError::TooShort { duration, shortest });
    }
    if duration > longest {
        return Err(PaceError::TooLong { duration, longest });
    }
    match spec.round_timeout.filter(|timeout| *timeout <= duration) {
        Some(timeout) => Err(PaceError::NoTime { timeout }),
        None => Ok(()),
    }
}

/// Runs a round. What it could not finish it says in [`RoundFacts::ended_early`].
pub(super) async fn run(
    hub: Arc<Hub>,
    checks: Arc<Checks>,
    secrets: Secrets,
    (check, spec): (&str, ReachabilityCheckSpec),
    round: i64,
) -> RoundFacts {
    let started_at = Timestamp::now();
    let mut facts = RoundFacts { round, started_at, ..RoundFacts::default() };
    let vouched = !hub.settings.http.authorities.is_empty();
    let own = match secrets.read(&spec).await {
        Ok(texts) => requested::read(check, &spec, &texts, vouched).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match own {
        // In the plan until the round is over, or cancelled.
        Ok(own) => {
            let _planned = match own {
                Some(own) => Some(Planned::begin(Arc::clone(&hub), own).await),
                None => None,
            };
            if let Err(status) = probe(&hub, &checks, (check, &spec), &mut facts).await {
                facts.ended_early = Some(status.message().to_owned());
            }
        }
        Err(why) => facts.ended_early = Some(why),
    }
    facts.ended_at = Timestamp::now();
    facts
}

async fn probe(
    hub: &Hub,
    checks: &Checks,
    (check, spec): (&str, &ReachabilityCheckSpec),
    facts: &mut RoundFacts,
) -> Result<(), Status> {
    let started_ns = unix_now_ns();
    let selector = selector(check, spec);
    let request = v1::RunCheckRequest {
        selector: Some(selector.clone()),
        rounds: spec.samples,
        deadline: spec.round_timeout.map(|timeout| wire_duration(timeout.0)),
        take_turns: true,
        stream_cells: true,
        all_cells: true,
        ..v1::RunCheckRequest::default()
    };
    let mut targets = BTreeMap::new();
    let haste = spec.duration.map(|duration| Haste {
        id: rand::random(),
        duration: duration.0,
        per_second: spec.probes_per_second.and_then(NonZeroU32::new),
    });
    let mut messages = checks.begin(&request, haste)?;
    while let Some(message) = messages.next().await {
        match message?.message {
            Some(v1::run_check_response::Message::Cells(cells)) => {
                cells.cells.iter().for_each(|cell| count(&mut targets, cell));
            }
            Some(v1::run_check_response::Message::Result(result)) => conclude(facts, result),
            Some(v1::run_check_response::Message::Progress(_)) | None => {}
        }
    }
    let selector = Selector::read(Some(selector)).map_err(|error| Status::internal(error.to_string()))?;
    add_delays(hub, &selector, started_ns, &mut targets);
    add_refusals(hub, &selector, facts);
    let until_ns = haste.map_or_else(unix_now_ns, |haste| haste.ends_ns(started_ns));
    let (nodes, rates) = Haste::sent(hub, &selector, started_ns, until_ns);
    for (target, rate) in rates {
        if let Some(figures) = targets.get_mut(&target) {
            figures.probes_per_second = rate;
        }
    }
    facts.rate = spec
        .probes_per_second
        .map(|asked| Rate { asked: f64::from(asked), nodes: nodes.into_iter().collect() });
    facts.targets = targets.into_values().collect();
    Ok(())
}

/// What the object selects, in the contract's words.
fn selector(check: &str, spec: &ReachabilityCheckSpec) -> v1::PathSelector {
    let kind = |kind: &Probe| match kind {
        Probe::Icmp => v1::ProbeKind::Icmp,
        Probe::Udp => v1::ProbeKind::Udp,
        Probe::Tcp => v1::ProbeKind::Tcp,
        Probe::Dns => v1::ProbeKind::Dns,
        Probe::Http => v1::ProbeKind::Http,
    };
    let family = |family: &Family| match family {
        Family::Ipv4 => v1::Family::Ipv4,
        Family::Ipv6 => v1::Family::Ipv6,
    };
    let vantage = |vantage: &Vantage| match vantage {
        Vantage::Host => v1::Vantage::Host,
        Vantage::Pod => v1::Vantage::Pod,
    };
    let target = |kind: &TargetKind| match kind {
        TargetKind::Node => v1::TargetKind::Node,
        TargetKind::Pod => v1::TargetKind::Pod,
        TargetKind::Service => v1::TargetKind::Service,
        TargetKind::Dns => v1::TargetKind::DnsServer,
        TargetKind::Endpoint => v1::TargetKind::Endpoint,
    };
    let address = |address: &ServiceAddress| match address {
        ServiceAddress::ClusterIp => v1::ServiceAddress::ClusterIp,
        ServiceAddress::NodePort => v1::ServiceAddress::NodePort,
        ServiceAddress::LoadBalancer => v1::ServiceAddress::LoadBalancer,
        ServiceAddress::ExternalIp => v1::ServiceAddress::ExternalIp,
        ServiceAddress::Endpoint => v1::ServiceAddress::Endpoint,
    };
    let (from, to) = (&spec.from, &spec.targets);
    v1::PathSelector {
        sources: from.nodes.clone(),
        targets: if to.are_own() { vec![format!("check/{check}")] } else { to.names.clone() },
        kinds: to.probes.iter().map(|of| kind(of).into()).collect(),
        families: to.families.iter().map(|of| family(of).into()).collect(),
        vantages: from.vantages.iter().map(|of| vantage(of).into()).collect(),
        verdicts: Vec::new(),
        target_kinds: to.kinds.iter().map(|of| target(of).into()).collect(),
        service_addresses: to.service_addresses.iter().map(|of| address(of).into()).collect(),
    }
}

/// Adds one path to the figures of its target.
fn count(targets: &mut BTreeMap<String, TargetFigures>, cell: &v1::MatrixCell) {
    let Some(target) = cell.path.as_ref().and_then(|path| path.target.as_ref()) else { return };
    let figures = targets
        .entry(target.id.clone())
        .or_insert_with(|| TargetFigures { target: target.id.clone(), ..TargetFigures::default() });
    figures.paths += 1;
    match cell.verdict() {
        v1::Verdict::Unreachable | v1::Verdict::Degraded => figures.failed_paths += 1,
        v1::Verdict::ExpectedAbsent => figures.absent += 1,
        v1::Verdict::NoData | v1::Verdict::Unspecified => figures.not_measured += 1,
        v1::Verdict::Reachable => {}
    }
    // What is expected to be absent loses its probes, and that is no failure.
    let Some(stats) = cell.stats.as_ref().filter(|_| cell.verdict() != v1::Verdict::ExpectedAbsent) else {
        return;
    };
    figures.sent += stats.sent;
    figures.answered += stats.reply;
    figures.suspect += stats.suspect;
    let errors = [
        ("timeout", stats.timeout),
        ("refused", stats.refused),
        ("unreachable", stats.unreachable),
        ("dns_error", stats.dns_error),
        ("send_error", stats.send_error),
        ("http_error", stats.http_error),
    ];
    for (name, count) in errors.into_iter().filter(|&(_, count)| count > 0) {
        match figures.errors.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => figures.errors.push((name, count)),
        }
    }
}

fn conclude(facts: &mut RoundFacts, result: v1::CheckResult) {
    let report = result.report.unwrap_or_default();
    let causes = report.incidents.into_iter().map(|incident| incident.headline);
    facts.causes = causes.take(CAUSES_MAX).collect();
    let missing = result.round.unwrap_or_default().missing;
    facts.missing = missing.into_iter().map(|gap| (gap.node, gap.why)).collect();
}

/// Round trips of each target, of the windows that began after the round did. Those of the last minutes, if it took longer
/// than windows are kept.
fn add_delays(
    hub: &Hub,
    selector: &Selector,
    started_ns: i64,
    targets: &mut BTreeMap<String, TargetFigures>,
) {
    let range = Range { from_ns: started_ns, strict: true, now_ns: unix_now_ns() };
    let mut sums: BTreeMap<String, Delays> = BTreeMap::new();
    for source in hub.indices() {
        let state = hub.lock();
        let agent = state.agent(source);
        if !selector.takes_source(&agent.name) {
            continue;
        }
        for row in agent.rows.shown().filter(|row| selector.takes(&agent.name, &row.path)) {
            let sum = sums.entry(row.path.probe.target.id.to_string()).or_default();
            range.slots(row).for_each(|slot| slot.delays.add_to(sum));
        }
    }
    for (target, sum) in sums {
        if let Some(figures) = targets.get_mut(&target) {
            figures.round_trip = round_trip(&sum.round_trip);
        }
    }
}

/// Paths that agents don't probe, each with the first reason of its node.
fn add_refusals(hub: &Hub, selector: &Selector, facts: &mut RoundFacts) {
    for source in hub.indices() {
        let state = hub.lock();
        let agent = state.agent(source);
        if !selector.takes_source(&agent.name) {
            continue;
        }
        let rows = agent.rows.shown().filter(|row| selector.takes(&agent.name, &row.path));
        let why: Vec<&String> = rows.filter_map(|row| agent.refused_paths.get(&row.path.id.0)).collect();
        if let Some(first) = why.first() {
            let line = format!("{} paths are not probed: {first}", why.len());
            facts.missing.push((agent.name.to_string(), line));
        }
    }
}

fn round_trip(sketch: &Sketch) -> Option<RoundTrip> {
    let at = |q: f64| sketch.quantile_ns(q).map(Duration::from_nanos);
    Some(RoundTrip {
        min: at(0.0)?,
        mean: Duration::from_nanos(sketch.mean_ns()?),
        max: at(1.0)?,
        p50: at(0.5)?,
        p90: at(0.9)?,
        p95: at(0.95)?,
        p99: at(0.99)?,
    })
}
