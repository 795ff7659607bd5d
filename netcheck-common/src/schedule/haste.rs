//! Paths that are to be probed more often than the plan says, for a while. Pure: takes `now`.
//!
//! In: wishes, each with an end of its own. Out: how far apart the probes of these paths are. They have what the packet
//! budget has room for beside one probe of every path in each round, each the same share of what it wants: nobody else's
//! probes become fewer for it, and theirs never fewer than the plan says.

use std::collections::{BTreeMap, HashMap};

use crate::domain::PathId;

use super::{Load, SECOND_NS};

/// Wishes at a time; the hub has some rounds at a time, and one more is left out.
const WISHES: usize = 16;

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    /// How far apart probes of these are wanted.
    paths: Vec<(PathId, u64)>,
    until_ns: u64,
}

/// How a path is probed.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// How far apart its probes are.
    period_ns: u64,
    /// The same without any wish.
    usual_ns: u64,
    /// When the next one is that would be sent without any wish, too.
    usual_next_ns: u64,
}

/// All wishes, and what becomes of them.
#[derive(Debug, Default)]
pub(super) struct Haste {
    wishes: BTreeMap<u64, Wish>,
    paces: HashMap<PathId, Pace>,
    /// Packets a second beyond the usual ones.
    extra_pps: u64,
}

/// What there is to share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Packets a second that the budget has to spare.
    pub(super) spare_pps: u64,
    /// Length of a round.
    pub(super) round_ns: u64,
}

impl Haste {
    /// Takes a wish in place of the one with the same number; without paths it only ends that one. Whether any path is to be
    /// probed otherwise than before.
    pub(super) fn wish(&mut self, id: u64, paths: Vec<(PathId, u64)>, until_ns: u64) -> bool {
        if paths.is_empty() {
            return self.wishes.remove(&id).is_some();
        }
        let full = self.wishes.len() >= WISHES;
        match self.wishes.get_mut(&id) {
            Some(wish) if wish.paths == paths => {
                wish.until_ns = until_ns;
                false
            }
            None if full => false,
            _ => {
                self.wishes.insert(id, Wish { paths, until_ns });
                true
            }
        }
    }

    /// Ends what is over. Whether anything was.
    pub(super) fn expire(&mut self, now_ns: u64) -> bool {
        let before = self.wishes.len();
        self.wishes.retain(|_, wish| wish.until_ns > now_ns);
        self.wishes.len() < before
    }

    /// Shares out what there is.
    pub(super) fn share(&mut self, paths: &HashMap<PathId, Load>, room: Room, now_ns: u64) {
        let mut wanted: HashMap<PathId, u64> = HashMap::new();
        for &(path, interval_ns) in self.wishes.values().flat_map(|wish| &wish.paths) {
            let least = wanted.entry(path).or_insert(u64::MAX);
            *least = interval_ns.max(1).min(*least);
        }
        let usual_ns = |load: &Load| load.least_ns.max(room.round_ns).max(1);
        let faster = wanted.iter().filter_map(|(path, &interval_ns)| {
            let load = paths.get(path)?;
            (interval_ns < usual_ns(load)).then_some((*path, load, interval_ns))
        });
        let faster: Vec<(PathId, &Load, u64)> = faster.collect();
        // Per second, in probes: rates are small numbers, and exact to far less than a packet.
        let extra = |load: &Load, interval_ns: u64| {
            SECOND_NS as f64 / interval_ns as f64 - SECOND_NS as f64 / usual_ns(load) as f64
        };
        let asked: f64 = faster
            .iter()
            .map(|(_, load, interval_ns)| f64::from(load.packets) * extra(load, *interval_ns))
            .sum();
        let part = if asked > 0.0 { (room.spare_pps as f64 / asked).min(1.0) } else { 0.0 };
        self.extra_pps = (asked * part) as u64;
        let before = std::mem::take(&mut self.paces);
        for (path, load, interval_ns) in faster {
            let usual_ns = usual_ns(load);
            let rate = SECOND_NS as f64 / usual_ns as f64 + part * extra(load, interval_ns);
            let period_ns = ((SECOND_NS as f64 / rate) as u64).clamp(1, usual_ns);
            let usual_next_ns = before.get(&path).map_or(now_ns, |pace| pace.usual_next_ns);
            self.paces.insert(path, Pace { period_ns, usual_ns, usual_next_ns });
        }
    }

    /// The distance of a path's probes, where there is a wish.
    pub(super) fn period_ns(&self, path: PathId) -> Option<u64> {
        self.paces.get(&path).map(|pace| pace.period_ns)
    }

    /// Packets a second beyond the usual ones.
    pub(super) const fn extra_pps(&self) -> u64 {
        self.extra_pps
    }

    /// The shortest of all distances.
    pub(super) fn shortest_ns(&self) -> Option<u64> {
        self.paces.values().map(|pace| pace.period_ns).min()
    }

    /// Whether a probe of a path that leaves now is one that would leave without any wish, too.
    pub(super) fn is_usual(&mut self, path: PathId, now_ns: u64) -> bool {
        let Some(pace) = self.paces.get_mut(&path) else { return true };
        let usual = now_ns >= pace.usual_next_ns;
        if usual {
            pace.usual_next_ns = now_ns + pace.usual_ns;
        }
        usual
    }
}
