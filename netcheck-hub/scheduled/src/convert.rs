//! kdoctor's tasks (`kdoctor.io/v1beta1`: `NetReach`, `AppHttpHealthy`, `NetDns`) as [`ReachabilityCheck`]s.
//!
//! What has a counterpart is converted; of what has none there is a line that says so, and what to do instead. Field names
//! are those of kdoctor's documentation.

use std::time::Duration;

use kube_core::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use self::targets::{app_http, net_dns, net_reach};
use crate::spec::{Expect, Percent, ReachabilityCheck, ReachabilityCheckSpec, Schedule, Span};

mod targets;

/// More than this is no manifest.
pub const TEXT_MAX: usize = 1 << 20;

/// The shortest and the longest round that a hub with its usual settings measures (seconds).
const SHORTEST: u64 = 3;
const LONGEST: u64 = 100;
/// Probes a second of a node, at most.
const QPS_MAX: u32 = 10_000;
/// What a round needs beside the time that it probes for.
const LAST_ANSWERS: Duration = Duration::from_secs(30);

/// Why a manifest is not converted.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// It is too large.
    #[error("{bytes} bytes are too many for a manifest: {TEXT_MAX} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not YAML, or not objects.
    #[error("document {document} is no Kubernetes object: {why}")]
    NoObject {
        /// From 1.
        document: usize,
        /// What is wrong.
        why: String,
    },
    /// Another kind.
    #[error(
        "document {document} is a {kind}: only NetReach, AppHttpHealthy and NetDns of kdoctor.io are converted"
    )]
    Kind {
        /// From 1.
        document: usize,
        /// Its kind.
        kind: String,
    },
    /// A field that makes no sense.
    #[error("{name}: {field}: {why}")]
    Field {
        /// The task's name.
        name: String,
        /// Where.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// One task, converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// The check.
    pub check: ReachabilityCheck,
    /// What of the task has no counterpart, one line each, with what to do instead.
    pub notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    schedule: Option<TaskSchedule>,
    request: Option<Request>,
    expect: Option<TaskExpect>,
    #[serde(default)]
    target: Value,
    agent_spec: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskSchedule {
    schedule: Option<String>,
    round_number: Option<i64>,
    round_timeout_minute: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    qps: Option<u64>,
    duration_in_second: Option<u64>,
    #[serde(alias = "perRequestTimeoutInMS")]
    per_request_timeout_in_ms: Option<u64>,
    domain: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskExpect {
    success_rate: Option<f64>,
    mean_access_delay_in_ms: Option<u64>,
    status_code: Option<u64>,
}

/// Converts all tasks of a file, which may hold several documents.
///
/// # Errors
/// See [`ConvertError`]: nothing is converted of a file with something wrong in it.
pub fn kdoctor(text: &str) -> Result<Vec<Converted>, ConvertError> {
    if text.len() > TEXT_MAX {
        return Err(ConvertError::TooLarge { bytes: text.len() });
    }
    let mut converted = Vec::new();
    for (at, document) in documents(text).into_iter().enumerate() {
        let document_number = at + 1;
        let manifest: Manifest = serde_saphyr::from_str(&document)
            .map_err(|error| ConvertError::NoObject { document: document_number, why: error.to_string() })?;
        if !manifest.api_version.starts_with("kdoctor.io/") {
            let kind = format!("{} of {}", manifest.kind, manifest.api_version);
            return Err(ConvertError::Kind { document: document_number, kind });
        }
        converted.push(convert(manifest, document_number)?);
    }
    Ok(converted)
}

/// The documents of a YAML stream that are not empty. A line of `---` begins one; kdoctor's manifests have no block
/// scalars with such a line.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    all.retain(|document| document.lines().any(says));
    all
}

fn convert(manifest: Manifest, document: usize) -> Result<Converted, ConvertError> {
    let name = manifest.metadata.name;
    let mut notes = Vec::new();
    let spec = manifest.spec;
    let targets = match manifest.kind.as_str() {
        "NetReach" => net_reach(&spec.target, &mut notes),
        "AppHttpHealthy" => app_http(&spec.target, spec.expect.as_ref(), &mut notes),
        "NetDns" => net_dns(&spec.target, spec.request.as_ref(), &mut notes),
        kind => return Err(ConvertError::Kind { document, kind: kind.to_owned() }),
    };
    let (schedule, rounds) = schedule(&name, spec.schedule.as_ref())?;
    let expect = expect(&name, spec.expect.as_ref())?;
    let (duration, probes_per_second) = pace(spec.request.as_ref(), &mut notes);
    if spec.agent_spec.is_some() {
        notes.push("agentSpec: netcheck's agents run on every node already".to_owned());
    }
    let round_timeout = spec
        .schedule
        .and_then(|schedule| schedule.round_timeout_minute)
        .filter(|&minutes| minutes > 0)
        .map(|minutes| Span(Duration::from_secs(minutes.saturating_mul(60))));
    // A round that lasts as long as it may would have no time for its last answers.
    let round_timeout = round_timeout.map(|timeout| match duration {
        Some(duration) => timeout.max(Span(duration.0 + LAST_ANSWERS)),
        None => timeout,
    });
    let spec = ReachabilityCheckSpec {
        schedule,
        rounds,
        round_timeout,
        duration,
        probes_per_second,
        targets,
        expect,
        samples: 1,
        history_limit: 10,
        ..ReachabilityCheckSpec::default()
    };
    let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    Ok(Converted { check: ReachabilityCheck { metadata, spec, status: None }, notes })
}

/// kdoctor's `schedule` is a cron expression, or two numbers of minutes: until the first round, and between rounds.
fn schedule(
    name: &str,
    task: Option<&TaskSchedule>,
) -> Result<(Option<Schedule>, Option<i64>), ConvertError> {
    let Some(task) = task else { return Ok((None, None)) };
    let rounds = task.round_number.filter(|&rounds| rounds != 0);
    let Some(text) = task.schedule.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok((None, rounds.filter(|&rounds| rounds == 1)));
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let minutes = |word: &str| word.parse::<u64>().ok().and_then(|minutes| minutes.checked_mul(60));
    let wrong = |why: &str| ConvertError::Field {
        name: name.to_owned(),
        field: "spec.schedule.schedule",
        why: format!("{text:?} {why}"),
    };
    let schedule = match words[..] {
        [after, every] => {
            let (Some(after), Some(every)) = (minutes(after), minutes(every)) else {
                return Err(wrong("is neither two numbers of minutes nor a cron expression"));
            };
            let span = |seconds: u64| (seconds > 0).then(|| Span(Duration::from_secs(seconds)));
            if rounds == Some(1) && span(every).is_none() {
                return Ok((None, Some(1)));
            }
            Schedule {
                every: Some(span(every).ok_or_else(|| wrong("has no time between rounds"))?),
                start_after: span(after),
                ..Schedule::default()
            }
        }
        _ => Schedule { cron: Some(text.to_owned()), ..Schedule::default() },
    };
    Ok((Some(schedule), rounds))
}

fn expect(name: &str, task: Option<&TaskExpect>) -> Result<Expect, ConvertError> {
    let Some(task) = task else { return Ok(Expect::default()) };
    let rate = |rate: f64| {
        Percent::of_ratio(rate).ok_or_else(|| ConvertError::Field {
            name: name.to_owned(),
            field: "spec.expect.successRate",
            why: format!("{rate} is not between 0 and 1"),
        })
    };
    Ok(Expect {
        success_rate: task.success_rate.map(rate).transpose()?,
        mean: task
            .mean_access_delay_in_ms
            .filter(|&milliseconds| milliseconds > 0)
            .map(|milliseconds| Span(Duration::from_millis(milliseconds))),
        p99: None,
    })
}

/// How long a round probes, and how many probes a second each node sends.
fn pace(task: Option<&Request>, notes: &mut Vec<String>) -> (Option<Span>, Option<u32>) {
    let Some(task) = task else { return (None, None) };
    if task.per_request_timeout_in_ms.is_some() {
        notes.push("request.perRequestTimeoutInMS: how long a reply is waited for is hub.timeout and hub.http.timeout for all".to_owned());
    }
    let qps = task.qps.filter(|&qps| qps > 0);
    // kdoctor takes two seconds where a task says nothing.
    let seconds = match (task.duration_in_second.filter(|&seconds| seconds > 0), qps) {
        (None, None) => return (None, None),
        (seconds, _) => seconds.unwrap_or(2),
    };
    if seconds < SHORTEST {
        notes.push(format!("request.durationInSecond: {SHORTEST} s is the shortest that is measured"));
    }
    if seconds > LONGEST {
        notes.push(format!(
            "request.durationInSecond: with more than {LONGEST} s hub.expire must be 20 s longer than that"
        ));
    }
    let most = qps.map(|qps| u32::try_from(qps).unwrap_or(u32::MAX).min(QPS_MAX));
    if qps.is_some_and(|qps| qps > u64::from(QPS_MAX)) {
        notes.push(format!("request.qps: {QPS_MAX} is the most that can be asked for"));
    }
    (Some(Span(Duration::from_secs(seconds.max(SHORTEST)))), most)
}

#[cfg(test)]
mod tests;
