//! The status of a [`ReachabilityCheck`](crate::ReachabilityCheck): counts, the newest rounds, conditions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::round::{RoundReport, RoundStatus};
use crate::spec::ReachabilityCheckSpec;

/// Conditions and failures name at most so many characters: an object has no room for a report.
const TEXT_MAX: usize = 500;

/// As the hub writes it.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachabilityCheckStatus {
    /// Of the object that this was concluded of.
    #[serde(default)]
    pub observed_generation: i64,
    /// All rounds are done.
    #[serde(default)]
    pub finish: bool,
    /// Rounds wanted; -1 is without end.
    #[serde(default)]
    pub expected_round: i64,
    /// Rounds that ended.
    #[serde(default)]
    pub done_round: i64,
    /// What the newest round came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_round_status: Option<RoundStatus>,
    /// When rounds begin, in a few words.
    #[serde(default)]
    pub schedule: String,
    /// When the newest round began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<String>,
    /// When the next one will; none after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<String>,
    /// The newest rounds, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<RoundSummary>,
    /// `Accepted`: the object makes sense. `Succeeding`: the newest round came to what is expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// A round, as far as an object has room for it. The whole is the hub's to tell.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundSummary {
    /// From 1.
    pub round: i64,
    /// What it came to.
    pub status: RoundStatus,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// When it ended (RFC 3339).
    pub ended_at: String,
    /// Paths that were checked.
    pub paths: u64,
    /// Of those, not reachable.
    pub failed: u64,
    /// Of those, not measured.
    pub not_measured: u64,
    /// Targets that did not come to what is expected, of all.
    pub failed_targets: u64,
    /// Targets.
    pub targets: u64,
    /// Nodes that did not report all of their paths; some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How many probes a second nodes sent, where the check asks for a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateSummary>,
    /// Why it failed, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How many probes a second nodes sent.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateSummary {
    /// Asked of each node.
    pub asked: f64,
    /// Of the slowest node.
    pub lowest: f64,
    /// Of all nodes on average.
    pub mean: f64,
    /// Nodes that sent fewer than they were asked for; some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub short: Vec<String>,
}

/// That of apimachinery has no schema of its own. Keyed by type, so that others may add theirs.
fn conditions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "reason": { "type": "string", "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
            },
        },
    })
}

impl ReachabilityCheckStatus {
    /// The object is as it should be; or it is not, and why.
    pub fn accept(&mut self, generation: i64, accepted: Result<(), &str>, now: Timestamp) {
        let condition = match accepted {
            Ok(()) => ("True", "Valid", "rounds begin as scheduled"),
            Err(why) => ("False", "Invalid", why),
        };
        self.observed_generation = generation;
        self.set("Accepted", condition, now);
    }

    /// What rounds are wanted, and when the next one begins.
    pub fn plan(&mut self, wanted: i64, schedule: &str, next: Option<Timestamp>) {
        self.expected_round = wanted;
        schedule.clone_into(&mut self.schedule);
        self.next_schedule_time = next.map(|at| at.to_string());
        self.finish = wanted >= 0 && self.done_round >= wanted;
    }

    /// A round began.
    pub fn begin(&mut self, at: Timestamp) {
        self.last_schedule_time = Some(at.to_string());
        self.last_round_status = Some(RoundStatus::Running);
    }

    /// A round ended.
    pub fn end(&mut self, spec: &ReachabilityCheckSpec, report: &RoundReport) {
        self.done_round = self.done_round.max(report.round);
        self.finish = self.expected_round >= 0 && self.done_round >= self.expected_round;
        self.last_round_status = Some(report.status);
        self.history.insert(0, report.summary());
        self.history.truncate(spec.history_limit as usize);
        let message = report.headline();
        let condition = match report.status {
            RoundStatus::Succeeded => ("True", "RoundSucceeded", message.as_str()),
            RoundStatus::Incomplete => ("Unknown", "RoundIncomplete", message.as_str()),
            _ => ("False", "RoundFailed", message.as_str()),
        };
        self.set("Succeeding", condition, report.ended_at);
    }

    fn set(&mut self, type_: &str, (status, reason, message): (&str, &str, &str), now: Timestamp) {
        let was = self.conditions.iter().position(|condition| condition.type_ == type_);
        let since = was
            .map(|at| &self.conditions[at])
            .filter(|was| was.status == status)
            .map_or(Time(now), |was| was.last_transition_time.clone());
        let condition = Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: cut(message),
            last_transition_time: since,
            observed_generation: Some(self.observed_generation),
        };
        match was {
            Some(at) => self.conditions[at] = condition,
            None => self.conditions.push(condition),
        }
    }
}

/// At most [`TEXT_MAX`] characters of it.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
