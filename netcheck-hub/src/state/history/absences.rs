//! What is expected to be absent, as facts that outlive the hub: responders that said good-bye, nodes that are about to
//! leave.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netcheck_history::record::{Fact, FactKind, Record};

use super::Archive;
use crate::state::State;

/// Key and value of each.
pub(super) type Absences = BTreeMap<String, Vec<u8>>;

/// Since when, and since when it is back, 8 bytes each; the latter may be missing.
fn times(from_ns: i64, back_ns: Option<i64>) -> Vec<u8> {
    let mut bytes = from_ns.to_be_bytes().to_vec();
    bytes.extend(back_ns.iter().flat_map(|back_ns| back_ns.to_be_bytes()));
    bytes
}

fn read(bytes: &[u8]) -> Option<(i64, Option<i64>)> {
    let (from, back) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*from), back.first_chunk().map(|back| i64::from_be_bytes(*back))))
}

impl State {
    /// What is expected to be absent now.
    pub(super) fn absences(&self) -> Absences {
        let leaves = self.leaves.all().map(|((address, port), from_ns, back_ns)| {
            (format!("leave/{port}/{address}"), times(from_ns, back_ns))
        });
        let leaving =
            self.leaving.iter().map(|(node, &since_ns)| (format!("node/{node}"), times(since_ns, None)));
        leaves.chain(leaving).collect()
    }

    /// Takes over what an earlier hub knew.
    pub(super) fn restore_absence(&mut self, key: &str, value: &[u8]) {
        let Some((from_ns, back_ns)) = read(value) else { return };
        match key.split_once('/') {
            Some(("node", node)) => drop(self.leaving.insert(node.to_owned(), from_ns)),
            Some(("leave", to)) => {
                let to = to.split_once('/').and_then(|(port, address)| {
                    Some((address.parse::<IpAddr>().ok()?, port.parse::<u16>().ok()?))
                });
                if let Some(to) = to {
                    self.leaves.restore(to, from_ns, back_ns);
                }
            }
            _ => {}
        }
    }
}

impl Archive {
    /// Records what changed of it.
    pub(super) fn record_absences(&self, before: &mut Absences, now: Absences) {
        let fact = |key: &String, value: Option<&Vec<u8>>| {
            self.record(Record::Fact(Fact {
                kind: FactKind::ExpectedAbsent,
                key: key.clone(),
                value: value.cloned(),
            }));
        };
        for (key, value) in now.iter().filter(|(key, value)| before.get(*key) != Some(value)) {
            fact(key, Some(value));
        }
        for key in before.keys().filter(|key| !now.contains_key(*key)) {
            fact(key, None);
        }
        *before = now;
    }
}
