//! One path: the size in question, what its fate says, and what to try next.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use netcheck_common::domain::PathId;
use netcheck_common::hash::splitmix64;

use super::LARGEST;
use crate::host::clock::SECOND_NS;
use crate::model::report::SizesSeen;

/// Losses that make a size lost where it passed before, and while the border is searched for.
const LOSSES: u8 = 4;
const LOSSES_IN_SEARCH: u8 = 2;
/// The same on a path that loses ordinary probes too, and how long that is held against it.
const LOSSES_WHERE_LOSSY: u8 = 8;
const LOSSY_FOR_NS: u64 = 30 * SECOND_NS;
/// What a router reported is forgotten after this: the kernel's own route remembers it longer.
const ROUTER_MTU_FOR_NS: u64 = 60 * SECOND_NS;
/// Packets of one trial before it is put off.
const TRIES: u8 = 32;

/// Sizes of IP packets that links, tunnels and clouds are known for, ascending: those around which a border lies.
pub(super) const KNOWN: [u16; 46] = [
    576, 1006, 1024, 1200, 1280, 1300, 1320, 1340, 1350, 1358, 1360, 1370, 1376, 1380, 1390, 1392, 1400,
    1404, 1408, 1410, 1412, 1414, 1420, 1422, 1424, 1428, 1430, 1436, 1440, 1442, 1446, 1448, 1450, 1452,
    1454, 1460, 1464, 1468, 1472, 1476, 1480, 1488, 1492, 1496, 1498, 1500,
];

/// A size in question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    bytes: u16,
    tries: u8,
    losses: u8,
}

#[derive(Clone, Copy, Debug)]
struct RouterMtu {
    bytes: u16,
    by: IpAddr,
    at_ns: u64,
}

/// One path.
#[derive(Debug)]
pub(super) struct Search {
    /// Size of an ordinary probe.
    floor: u16,
    next_ns: u64,
    route: u16,
    passed: u16,
    lost: u16,
    router_mtu: Option<RouterMtu>,
    pub(super) trial: Option<Trial>,
    /// Lost, and no ordinary probe that left later was answered yet: size and t0.
    unproven: ArrayVec<(u16, u64), { TRIES as usize }>,
    ordinary_lost_ns: Option<u64>,
    /// The next one is to show that what passed still does.
    verify: bool,
    pub(super) reported: Option<SizesSeen>,
}

impl Search {
    pub(super) fn new(path: PathId, floor: u16, now_ns: u64, interval_ns: u64) -> Self {
        Self {
            floor,
            // Paths that came with the same plan are not all tried at once.
            next_ns: now_ns + splitmix64(u64::from(path.0)) % interval_ns,
            route: 0,
            passed: 0,
            lost: 0,
            router_mtu: None,
            trial: None,
            unproven: ArrayVec::new(),
            ordinary_lost_ns: None,
            verify: false,
            reported: None,
        }
    }

    pub(super) fn seen(&self, path: PathId, measured_ns: u64, interval_ns: u64) -> SizesSeen {
        SizesSeen {
            path,
            route_bytes: self.route,
            passed_bytes: self.passed,
            lost_bytes: self.lost,
            router_mtu: self.router_mtu.map(|router_mtu| (router_mtu.bytes, router_mtu.by)),
            measured_ns,
            interval_ns,
        }
    }

    pub(super) fn next(
        &mut self,
        now_ns: u64,
        interval_ns: u64,
        route: impl FnOnce() -> Option<u16>,
    ) -> Option<u16> {
        if self.trial.is_some_and(|trial| trial.tries >= TRIES) {
            self.put_off(now_ns, interval_ns);
        }
        if self.trial.is_none() {
            if now_ns < self.next_ns {
                return None;
            }
            self.next_ns = now_ns + if self.lost == 0 { interval_ns } else { interval_ns / 2 };
            self.verify = self.lost != 0 && !self.verify;
            if self.verify {
                // A search that was put off goes on.
                self.search_on();
            }
        }
        if let Some(trial) = &mut self.trial {
            trial.tries += 1;
            return Some(trial.bytes);
        }
        if self.verify && self.passed > self.floor {
            return Some(self.passed);
        }
        self.ask_route(now_ns, route()?.min(LARGEST));
        let full = self.full();
        (full > self.floor).then_some(full)
    }

    /// What the kernel would send at most, and no more than a router reported.
    fn full(&self) -> u16 {
        self.router_mtu.map_or(self.route, |router_mtu| router_mtu.bytes.min(self.route))
    }

    fn ask_route(&mut self, now_ns: u64, route: u16) {
        if self.router_mtu.is_some_and(|router_mtu| now_ns - router_mtu.at_ns > ROUTER_MTU_FOR_NS) {
            self.router_mtu = None;
        }
        self.route = route;
        // What is above what the kernel would send concerns nobody.
        let full = self.full();
        self.passed = self.passed.min(full);
        if self.lost > full {
            self.lost = 0;
        }
    }

    fn put_off(&mut self, now_ns: u64, interval_ns: u64) {
        self.trial = None;
        self.unproven.clear();
        self.next_ns = now_ns + interval_ns;
    }

    pub(super) fn replied(&mut self, bytes: u16, now_ns: u64) -> bool {
        self.unproven.retain(|&mut (lost, _)| lost > bytes);
        if self.trial.is_some_and(|trial| trial.bytes <= bytes) {
            self.trial = None;
        }
        if self.lost != 0 && bytes >= self.lost {
            self.lost = 0;
            // Perhaps more than this passes again.
            self.next_ns = now_ns;
        }
        self.passed = self.passed.max(bytes);
        self.search_on();
        true
    }

    pub(super) fn lost(&mut self, bytes: u16, t0_ns: u64) -> bool {
        if self.lost != 0 && bytes >= self.lost {
            return true;
        }
        let trial = self.trial.get_or_insert(Trial { bytes, tries: 1, losses: 0 });
        if trial.bytes == bytes {
            // A full list means that nothing is ever proven: the trial ends by its number of tries.
            let _ = self.unproven.try_push((bytes, t0_ns));
        }
        false
    }

    pub(super) fn too_big(&mut self, mtu: u16, by: IpAddr, now_ns: u64) -> bool {
        let mtu = mtu.max(self.floor);
        self.router_mtu = Some(RouterMtu { bytes: mtu, by, at_ns: now_ns });
        self.unproven.retain(|&mut (lost, _)| lost <= mtu);
        if self.trial.is_some_and(|trial| trial.bytes > mtu) {
            self.trial = None;
        }
        if self.lost > mtu {
            self.lost = 0;
        }
        self.passed = self.passed.min(mtu);
        self.next_ns = now_ns;
        true
    }

    pub(super) fn ordinary_lost(&mut self, now_ns: u64, interval_ns: u64) {
        self.ordinary_lost_ns = Some(now_ns);
        if self.trial.is_some() {
            self.put_off(now_ns, interval_ns);
        }
    }

    /// Large ones that left before it, and are lost, were not lost for want of a way.
    pub(super) fn ordinary_passed(&mut self, t0_ns: u64, now_ns: u64) -> bool {
        let Some(mut trial) = self.trial else { return false };
        let before = self.unproven.len();
        self.unproven.retain(|&mut (_, lost_t0_ns)| lost_t0_ns >= t0_ns);
        trial.losses = trial.losses.saturating_add((before - self.unproven.len()) as u8);
        self.trial = Some(trial);
        let lossy = self.ordinary_lost_ns.is_some_and(|lost_ns| now_ns - lost_ns < LOSSY_FOR_NS);
        let needed = match (lossy, self.lost == 0 || trial.bytes == self.passed) {
            (true, _) => LOSSES_WHERE_LOSSY,
            (false, true) => LOSSES,
            (false, false) => LOSSES_IN_SEARCH,
        };
        trial.losses >= needed && self.is_lost(trial.bytes)
    }

    pub(super) fn is_lost(&mut self, bytes: u16) -> bool {
        self.lost = if self.lost == 0 { bytes } else { self.lost.min(bytes) };
        if self.passed >= self.lost {
            self.passed = 0;
        }
        self.trial = None;
        self.unproven.clear();
        self.search_on();
        true
    }

    /// Looks on between what passes and what is lost.
    fn search_on(&mut self) {
        if self.lost == 0 || self.trial.is_some() {
            return;
        }
        // Ordinary probes pass, or no larger one would have been found to be lost.
        self.passed = self.passed.max(self.floor);
        self.trial = between(self.passed, self.lost).map(|bytes| Trial { bytes, tries: 0, losses: 0 });
    }
}

/// What to try between a size that passes and one that is lost; none where the border is found.
fn between(passed: u16, lost: u16) -> Option<u16> {
    if lost - passed <= 1 {
        return None;
    }
    let from = KNOWN.partition_point(|&known| known <= passed);
    let to = KNOWN.partition_point(|&known| known < lost);
    if from < to {
        return Some(KNOWN[from + (to - from) / 2]);
    }
    // A border that networks are known for is the likeliest.
    let likely = KNOWN.binary_search(&passed).is_ok();
    Some(if likely { passed + 1 } else { passed + (lost - passed) / 2 })
}
