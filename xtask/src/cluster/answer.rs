//! Answers of the hub in proto3's JSON mapping (64-bit numbers are strings, enums are names, defaults may be left
//! out), as plain values.

use anyhow::{Context, Result};
use serde_json::Value;

/// The report, as far as demo and tests look at it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All paths.
    pub paths: u64,
    /// By verdict.
    pub reachable: u64,
    /// By verdict.
    pub degraded: u64,
    /// By verdict.
    pub unreachable: u64,
    /// By verdict.
    pub expected_absent: u64,
    /// By verdict.
    pub no_data: u64,
    /// Causes, worst first.
    pub findings: Vec<Finding>,
    /// Warnings about the measurement.
    pub caveats: Vec<String>,
}

/// One cause.
#[derive(Clone, Debug)]
pub struct Finding {
    /// One line for people.
    pub headline: String,
    /// The worst of its paths: `degraded` or `unreachable`.
    pub verdict: String,
    /// Where; absent where not known.
    pub location: Option<Location>,
    /// (source node, target id) of the paths that it explains.
    pub paths: Vec<Cell>,
    /// Facts, one line each.
    pub evidence: Vec<String>,
}

/// One cause, followed over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Identifier, which does not change while the incident lasts.
    pub id: String,
    /// `place`, `node`, `one_way`, …
    pub kind: String,
    /// It is not over.
    pub open: bool,
    /// Names the cause: `place/n2/netfilter_input/NETFILTER_DROP`, `zones/a~b (UDP)`.
    pub cause: String,
    /// The one that explains all of it, and goes on for both; empty without.
    pub merged_into: String,
    /// One line for people.
    pub headline: String,
    /// Facts, one line each.
    pub evidence: Vec<String>,
    /// What did it: kind, node, object and text of each, `queue n2 queue tbf 8001: at …`.
    pub culprits: Vec<String>,
}

/// Where probes died. Enum values without their prefix, in lower case: `netfilter_forward`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Node.
    pub node: String,
    /// Interface.
    pub interface: String,
    /// `namespace/name`.
    pub pod: String,
    /// Stage of the packet path.
    pub stage: String,
    /// `request` or `reply`.
    pub direction: String,
    /// Kernel drop reason.
    pub reason: String,
    /// Kernel function.
    pub function: String,
    /// `observed` or `inferred`.
    pub certainty: String,
    /// For the wire: the node that never saw the packet.
    pub next_node: String,
}

/// A path, with its verdict where it comes from the matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Source node.
    pub source: String,
    /// `host` or `pod`.
    pub vantage: String,
    /// Target id.
    pub target: String,
    /// The secondary network that the target is on; empty: the cluster's own.
    pub network: String,
    /// `icmp`, `udp`, …
    pub kind: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// `reachable`, …; empty for paths of findings.
    pub verdict: String,
    /// Judged probes.
    pub sent: u64,
    /// Answered probes.
    pub reply: u64,
    /// Samples that could not be judged.
    pub suspect: u64,
    /// Where most of the losses died.
    pub location: Option<Location>,
    /// Median round trip, seconds.
    pub round_trip_p50_s: Option<f64>,
    /// Median network share, seconds.
    pub network_p50_s: Option<f64>,
    /// Median responder share, seconds.
    pub responder_p50_s: Option<f64>,
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> u64 {
    match &value[key] {
        Value::String(digits) => digits.parse().unwrap_or(0),
        other => other.as_u64().unwrap_or(0),
    }
}

/// `STAGE_NETFILTER_FORWARD` with prefix `STAGE_` → `netfilter_forward`.
fn word(value: &Value, key: &str, prefix: &str) -> String {
    text(value, key).trim_start_matches(prefix).to_lowercase()
}

fn lines(value: &Value, key: &str) -> Vec<String> {
    let lines = value[key].as_array().into_iter().flatten();
    lines.filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

/// `1.5s` → 1.5.
fn seconds(value: &Value) -> Option<f64> {
    value.as_str()?.strip_suffix('s')?.parse().ok()
}

impl Report {
    /// Reads a `GetReportResponse`.
    ///
    /// # Errors
    /// If it holds no report.
    pub fn read(answer: &Value) -> Result<Self> {
        let report = answer.get("report").context("the answer holds no report")?;
        Ok(Self {
            paths: number(report, "paths"),
            reachable: number(report, "reachable"),
            degraded: number(report, "degraded"),
            unreachable: number(report, "unreachable"),
            expected_absent: number(report, "expectedAbsent"),
            no_data: number(report, "noData"),
            findings: report["findings"].as_array().into_iter().flatten().map(Finding::read).collect(),
            caveats: lines(report, "caveats"),
        })
    }

    /// Whether every path has samples and is reachable.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.paths > 0 && self.reachable == self.paths
    }
}

impl Incident {
    /// Reads a `ListIncidentsResponse`.
    #[must_use]
    pub fn read_all(answer: &Value) -> Vec<Self> {
        answer["incidents"].as_array().into_iter().flatten().map(Self::read).collect()
    }

    fn read(incident: &Value) -> Self {
        Self {
            id: text(incident, "id"),
            kind: word(incident, "kind", "INCIDENT_KIND_"),
            open: word(incident, "state", "INCIDENT_STATE_") == "open",
            cause: text(incident, "cause"),
            merged_into: text(incident, "mergedInto"),
            headline: text(incident, "headline"),
            evidence: lines(incident, "evidence"),
            culprits: incident["culprits"].as_array().into_iter().flatten().map(culprit).collect(),
        }
    }
}

fn culprit(culprit: &Value) -> String {
    let [node, object, said] = ["node", "object", "text"].map(|key| text(culprit, key));
    format!("{} {node} {object} {said}", word(culprit, "kind", "CULPRIT_KIND_"))
}

impl Finding {
    fn read(finding: &Value) -> Self {
        let location = finding.get("loss").and_then(|loss| loss.get("location")).map(Location::read);
        Self {
            headline: text(finding, "headline"),
            verdict: word(finding, "verdict", "VERDICT_"),
            location,
            paths: finding["paths"].as_array().into_iter().flatten().map(Cell::of_path).collect(),
            evidence: lines(finding, "evidence"),
        }
    }
}

impl Location {
    fn read(location: &Value) -> Self {
        Self {
            node: text(location, "node"),
            interface: text(location, "interface"),
            pod: text(location, "pod"),
            stage: word(location, "stage", "STAGE_"),
            direction: word(location, "direction", "DIRECTION_"),
            reason: text(location, "reason"),
            function: text(location, "function"),
            certainty: word(location, "certainty", "CERTAINTY_"),
            next_node: text(location, "nextNode"),
        }
    }
}

impl Cell {
    /// Reads a `GetMatrixResponse`.
    ///
    /// # Errors
    /// If it holds no cells.
    pub fn read_all(answer: &Value) -> Result<Vec<Self>> {
        let cells = answer["cells"].as_array().context("the answer holds no cells")?;
        Ok(cells.iter().map(Self::read).collect())
    }

    fn read(cell: &Value) -> Self {
        let stats = &cell["stats"];
        let path = Self::of_path(&cell["path"]);
        Self {
            verdict: word(cell, "verdict", "VERDICT_"),
            sent: number(stats, "sent"),
            reply: number(stats, "reply"),
            suspect: number(stats, "suspect"),
            location: cell.get("loss").and_then(|loss| loss.get("location")).map(Location::read),
            round_trip_p50_s: seconds(&stats["roundTrip"]["p50"]),
            network_p50_s: seconds(&stats["network"]["p50"]),
            responder_p50_s: seconds(&stats["responder"]["p50"]),
            ..path
        }
    }

    fn of_path(path: &Value) -> Self {
        Self {
            source: text(path, "sourceNode"),
            vantage: word(path, "vantage", "VANTAGE_"),
            target: text(&path["target"], "id"),
            network: text(&path["target"], "network"),
            kind: word(path, "kind", "PROBE_KIND_"),
            family: word(path, "family", "FAMILY_"),
            verdict: String::new(),
            sent: 0,
            reply: 0,
            suspect: 0,
            location: None,
            round_trip_p50_s: None,
            network_p50_s: None,
            responder_p50_s: None,
        }
    }
}
