//! A change of the plan in parts: a full plan of a large cluster is many megabytes, and one message should not be.
//!
//! All parts of a change carry its version. The first says what it builds on, the others build on that very version;
//! all but the last say that more follows. The hub splits ([`split`]), the agent joins ([`Joiner`]) and applies the
//! change as one, so that no path is taken for gone because it stands in a later part.

use prost::Message as _;

use crate::v1;

/// Largest part, in bytes on the wire.
pub const PART_BYTES: usize = 1 << 20;
/// Version, timing, and what begins a table: in every part. (Authorities are in the first.)
const FRAME_BYTES: usize = 256;
/// What begins an entry: its field and its length.
const ENTRY_BYTES: usize = 6;
/// A number of a path that is removed, at most.
const REMOVED_BYTES: usize = 5;

/// The change in parts of at most [`PART_BYTES`], in the order in which they must be sent.
#[must_use]
pub fn split(mut delta: v1::PlanDelta) -> Vec<v1::PlanDelta> {
    if delta.encoded_len() <= PART_BYTES {
        return vec![delta];
    }
    let (upsert, remove) = (std::mem::take(&mut delta.upsert), std::mem::take(&mut delta.remove));
    let addresses = delta.addresses.take();
    delta.more = true;
    let mut parts = Parts {
        next: v1::PlanDelta { base_version: delta.version, authorities: Vec::new(), ..delta.clone() },
        room: (PART_BYTES - FRAME_BYTES).saturating_sub(delta.authorities.len()),
        all: vec![delta],
    };
    for path in remove {
        parts.with_room(REMOVED_BYTES).remove.push(path);
    }
    for path in upsert {
        let bytes = path.encoded_len();
        parts.with_room(bytes).upsert.push(path);
    }
    if let Some(table) = addresses {
        let empty = v1::AddressTable { change: table.change, ..Default::default() };
        let ports = v1::AddressTable { watched_ports: table.watched_ports, ..empty.clone() };
        let bytes = ports.encoded_len();
        parts.with_room(bytes).addresses = Some(ports);
        for address in table.gone {
            let bytes = address.len();
            parts.with_room(bytes).addresses.get_or_insert_with(|| empty.clone()).gone.push(address);
        }
        for entry in table.entries {
            let bytes = entry.encoded_len();
            parts.with_room(bytes).addresses.get_or_insert_with(|| empty.clone()).entries.push(entry);
        }
    }
    let mut all = parts.all;
    if let Some(last) = all.last_mut() {
        last.more = false;
    }
    all
}

struct Parts {
    all: Vec<v1::PlanDelta>,
    next: v1::PlanDelta,
    room: usize,
}

impl Parts {
    /// The part that the next `bytes` go into.
    fn with_room(&mut self, bytes: usize) -> &mut v1::PlanDelta {
        let bytes = bytes + ENTRY_BYTES;
        if self.all.is_empty() || bytes > self.room {
            self.all.push(self.next.clone());
            self.room = PART_BYTES - FRAME_BYTES;
        }
        self.room = self.room.saturating_sub(bytes);
        let last = self.all.len() - 1;
        &mut self.all[last]
    }
}

/// Puts the parts of one session's changes together.
#[derive(Debug, Default)]
pub struct Joiner {
    begun: Option<v1::PlanDelta>,
}

impl Joiner {
    /// Takes a part; gives the whole change when it was the last one. A part that does not go on where the last one
    /// ended begins anew, and what had begun is forgotten: whether it fits is for the plan to say.
    pub fn add(&mut self, part: v1::PlanDelta) -> Option<v1::PlanDelta> {
        let goes_on =
            |begun: &v1::PlanDelta| part.version == begun.version && part.base_version == begun.version;
        let whole = match self.begun.take().filter(goes_on) {
            None => part,
            Some(mut begun) => {
                begun.more = part.more;
                begun.remove.extend(part.remove);
                begun.upsert.extend(part.upsert);
                match (&mut begun.addresses, part.addresses) {
                    (Some(table), Some(more)) => {
                        table.entries.extend(more.entries);
                        table.watched_ports.extend(more.watched_ports);
                        table.gone.extend(more.gone);
                    }
                    (table @ None, more) => *table = more,
                    (Some(_), None) => {}
                }
                begun
            }
        };
        if whole.more {
            self.begun = Some(whole);
            return None;
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn delta(paths: u32, removed: u32, entries: u32, name: usize) -> v1::PlanDelta {
        let target = "x".repeat(name);
        let upsert = (0..paths).map(|path_id| v1::PathSpec {
            path_id,
            address: vec![0xfd; 16],
            target: target.clone(),
            ..Default::default()
        });
        let entries = (0..entries).map(|at| v1::AddressEntry {
            address: at.to_be_bytes().to_vec(),
            node: target.clone(),
            pod: target.clone(),
            local: at % 2 == 0,
            ..Default::default()
        });
        v1::PlanDelta {
            version: 9,
            base_version: 8,
            upsert: upsert.collect(),
            remove: (0..removed).map(|at| u32::MAX - at).collect(),
            addresses: Some(v1::AddressTable {
                entries: entries.collect(),
                watched_ports: vec![53, 65_535],
                change: removed > 0,
                gone: (0..removed / 2).map(|at| at.to_be_bytes().to_vec()).collect(),
            }),
            interval: Some(crate::convert::duration_from_ns(u64::MAX)),
            packets_per_second: u32::MAX,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_small_is_one_part_and_what_is_large_goes_in_parts_of_a_megabyte() {
        let small = delta(10, 3, 5, 20);
        assert_eq!(split(small.clone()), [small]);
        for large in [delta(60_000, 0, 0, 30), delta(0, 900_000, 0, 0), delta(0, 0, 50_000, 60)] {
            let parts = split(large.clone());
            assert!(parts.len() > 1 && parts.iter().all(|part| part.encoded_len() <= PART_BYTES));
            let least = large.encoded_len().div_ceil(PART_BYTES);
            assert!(parts.len() <= 2 * least + 1, "{} parts where {least} could do", parts.len());
            let mut joiner = Joiner::default();
            let mut whole = parts.into_iter().filter_map(|part| joiner.add(part));
            assert_eq!((whole.next(), whole.next()), (Some(large), None));
        }
    }

    #[test]
    fn a_change_that_begins_anew_forgets_the_one_that_had_begun() {
        let mut parts = split(delta(60_000, 0, 0, 30)).into_iter();
        let mut joiner = Joiner::default();
        assert_eq!(joiner.add(parts.next().unwrap()), None);
        let fresh = v1::PlanDelta { version: 10, ..Default::default() };
        assert_eq!(joiner.add(fresh.clone()), Some(fresh));
        // What is left of the old one builds on what nobody has.
        let orphan = joiner.add(v1::PlanDelta { more: false, ..parts.next().unwrap() }).unwrap();
        assert_eq!((orphan.base_version, orphan.version), (9, 9));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn parts_make_the_whole(
            paths in 0u32..40_000, removed in 0u32..300_000, entries in 0u32..10_000, name in 0usize..253,
        ) {
            let whole = delta(paths, removed, entries, name);
            let mut joiner = Joiner::default();
            let mut joined = Vec::new();
            for part in split(whole.clone()) {
                prop_assert!(part.encoded_len() <= PART_BYTES);
                prop_assert!(joined.is_empty(), "nothing follows the last part");
                joined.extend(joiner.add(part));
            }
            prop_assert_eq!(joined, [whole]);
        }
    }
}
