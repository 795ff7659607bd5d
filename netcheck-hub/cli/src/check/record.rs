//! One path as results and formats have it, and back to what the hub is asked for.

use netcheck_common::domain::ProbeKind;
use netcheck_proto::words::{family_name, source_name, target_name};
use netcheck_proto::{convert, v1};
use serde::{Deserialize, Serialize};

use super::expect::nanos;
use crate::style;

/// One path with what came of it. Times are nanoseconds of the round trip; 0: not measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PathRecord {
    pub(crate) source: String,
    /// `host` or `pod`.
    pub(crate) vantage: String,
    /// The target's id.
    pub(crate) target: String,
    /// What people call it.
    pub(crate) target_name: String,
    /// `icmp`, `udp`, …
    pub(crate) kind: String,
    /// `ipv4` or `ipv6`.
    pub(crate) family: String,
    pub(crate) address: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) port: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    /// `reachable`, `degraded`, `unreachable`, `expected absent`, `no data`.
    pub(crate) verdict: String,
    #[serde(default)]
    pub(crate) sent: u64,
    #[serde(default)]
    pub(crate) answered: u64,
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub(crate) p50_ns: u64,
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub(crate) p99_ns: u64,
    /// Where most of its lost probes died.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) lost_at: String,
    /// The reason of the exception that excuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) excepted: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero_64(number: &u64) -> bool {
    *number == 0
}

/// A word of a saved path that no version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path from {source_node} to {target} has the {what} {word:?}, which is none")]
pub(crate) struct WordError {
    source_node: String,
    target: String,
    what: &'static str,
    word: String,
}

/// Most bytes that a path has in a request besides its texts: tags, lengths and numbers.
const NUMBERS: usize = 48;
/// Bytes of the paths of one request: a hub takes questions up to 256 KiB.
const REQUEST_BYTES: usize = 224 << 10;

/// How many of these, from the first, fit into one request.
pub(crate) fn fitting(records: &[PathRecord]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&PathRecord| {
        bytes += record.request_bytes();
        bytes <= REQUEST_BYTES
    };
    records.iter().take_while(fits).count()
}

impl PathRecord {
    /// At most so many bytes has its path in a request.
    fn request_bytes(&self) -> usize {
        let texts = [&self.source, &self.target, &self.detail];
        texts.into_iter().map(String::len).sum::<usize>() + self.address.len() + NUMBERS
    }

    pub(crate) fn of(cell: &v1::MatrixCell) -> Self {
        let path = cell.path.clone().unwrap_or_default();
        let target = path.target.clone().unwrap_or_default();
        let stats = cell.stats.unwrap_or_default();
        let round_trip = stats.round_trip.unwrap_or_default();
        let vantage = if path.vantage() == v1::Vantage::Pod { "pod" } else { "host" };
        Self {
            vantage: vantage.to_owned(),
            target_name: target_name(&target),
            kind: style::kind(path.kind()).to_owned(),
            family: family_name(path.family()).to_lowercase(),
            source: path.source_node,
            target: target.id,
            address: path.address,
            port: path.port,
            detail: path.detail,
            verdict: style::word(cell.verdict()).to_owned(),
            sent: stats.sent,
            answered: stats.reply,
            p50_ns: nanos(round_trip.p50.as_ref()),
            p99_ns: nanos(round_trip.p99.as_ref()),
            lost_at: cell.loss.as_ref().map(|loss| loss.summary.clone()).unwrap_or_default(),
            excepted: None,
        }
    }

    /// `pods of n1`.
    pub(crate) fn source_name(&self) -> String {
        source_name(&self.source, self.vantage == "pod")
    }

    /// As the hub is asked for it.
    ///
    /// # Errors
    /// A word that no version knows.
    pub(crate) fn path(&self) -> Result<v1::Path, WordError> {
        let unknown = |what: &'static str, word: &str| WordError {
            source_node: self.source.clone(),
            target: self.target.clone(),
            what,
            word: word.to_owned(),
        };
        let vantage = match self.vantage.as_str() {
            "host" => v1::Vantage::Host,
            "pod" => v1::Vantage::Pod,
            other => return Err(unknown("vantage", other)),
        };
        let kind = ProbeKind::ALL.into_iter().find(|kind| kind.as_str() == self.kind);
        let kind = kind.ok_or_else(|| unknown("kind of probe", &self.kind))?;
        Ok(v1::Path {
            source_node: self.source.clone(),
            vantage: vantage.into(),
            target: Some(v1::Target { id: self.target.clone(), ..Default::default() }),
            kind: convert::kind_to_wire(kind).into(),
            address: self.address.clone(),
            port: self.port,
            detail: self.detail.clone(),
            ..Default::default()
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    /// Cells as a hub has them, of any verdict.
    pub(crate) fn cell() -> impl Strategy<Value = v1::MatrixCell> {
        let name = || "[a-z0-9.:<&\"',|-]{1,12}";
        (name(), name(), 0u32..=65_535, 1i32..=2, 1i32..=5, 1i32..=5, 0u64..9, 0u64..9).prop_map(
            |(source, target, port, vantage, kind, verdict, reply, lost)| v1::MatrixCell {
                path: Some(v1::Path {
                    source_node: source,
                    vantage,
                    target: Some(v1::Target {
                        id: format!("node/{target}"),
                        kind: v1::TargetKind::Node.into(),
                        name: target,
                        ..Default::default()
                    }),
                    kind,
                    family: v1::Family::Ipv4.into(),
                    address: "10.0.0.1".to_owned(),
                    port,
                    ..Default::default()
                }),
                verdict,
                stats: Some(v1::PathStats { sent: reply + lost, reply, timeout: lost, ..Default::default() }),
                ..Default::default()
            },
        )
    }

    proptest! {
        #[test]
        fn a_saved_path_is_asked_for_again(cell in cell()) {
            let record = PathRecord::of(&cell);
            let text = serde_json::to_string(&record).unwrap();
            let read: PathRecord = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &record);
            let (asked, path) = (read.path().unwrap(), cell.path.unwrap());
            prop_assert_eq!(asked.target.unwrap().id, path.target.unwrap().id);
            prop_assert_eq!(
                (asked.source_node, asked.vantage, asked.kind, asked.address, asked.port),
                (path.source_node, path.vantage, path.kind, path.address, path.port)
            );
        }

        #[test]
        fn what_fits_into_a_request_is_less_than_a_hub_takes(
            cells in prop::collection::vec(cell(), 1..4), copies in 1usize..3000, pad in 0usize..400,
        ) {
            let long = |cell: &v1::MatrixCell| {
                let mut record = PathRecord::of(cell);
                record.detail.push_str(&"x".repeat(pad));
                record
            };
            let all: Vec<PathRecord> = cells.iter().map(long).cycle().take(copies).collect();
            let now = fitting(&all);
            let paths: Vec<v1::Path> = all[..now].iter().map(|record| record.path().unwrap()).collect();
            let request = v1::RunCheckRequest { paths, take_turns: true, ..Default::default() };
            prop_assert!(request.encoded_len() < 256 << 10);
            // No more is left for the next time than has to be.
            prop_assert!(now == all.len() || request.encoded_len() > 64 << 10);
        }
    }
}
