//! Which packet sizes pass on each path: when a larger packet goes along with an ordinary probe, and what follows
//! from its fate. Pure: takes `now`, does no I/O.
//!
//! In: ordinary probes that leave (a larger one may go with them), and how both ended. Out: [`SizesSeen`] for the
//! report.
//!
//! While all is well a path is tried now and then with the largest packet that the node's own kernel would send to
//! that target. If it is lost, one goes with every ordinary probe until it is decided: answered once, it passes; lost
//! several times, each time with an ordinary probe after it that was answered, its size is lost. Then the border is
//! searched for, first among the sizes that networks really have. A router that says what it takes is believed, and
//! what it takes is tried next: a path that reports it is no black hole.

mod search;

use std::collections::HashMap;
use std::net::IpAddr;

use netcheck_common::domain::PathId;

use self::search::Search;
use crate::host::clock::SECOND_NS;
use crate::model::report::SizesSeen;

/// Largest packet that is tried: what jumbo frames carry.
pub(crate) const LARGEST: u16 = 9216;
/// Of so many probes of a healthy path at most one is a large one.
pub(crate) const ONE_IN: u64 = 10;
/// What did not change is reported again after this.
const AGAIN_NS: u64 = 60 * SECOND_NS;

/// All paths.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// 0: nothing is tried.
    interval_ns: u64,
    paths: HashMap<PathId, Search>,
    /// Paths with a trial: while there is none, ordinary replies need not be looked at.
    trials: usize,
    found: Vec<SizesSeen>,
}

impl Sizes {
    /// Changes how often paths are tried; `round_ns`: how often ordinary probes leave.
    pub(crate) fn set(&mut self, wanted_ns: u64, round_ns: u64) {
        self.interval_ns = if wanted_ns == 0 { 0 } else { wanted_ns.max(round_ns.saturating_mul(ONE_IN)) };
        if wanted_ns == 0 {
            self.paths.clear();
            self.trials = 0;
        }
    }

    /// Forgets paths that left the plan.
    pub(crate) fn forget(&mut self, gone: &[PathId]) {
        for path in gone {
            let search = self.paths.remove(path);
            self.trials -= usize::from(search.is_some_and(|search| search.trial.is_some()));
        }
    }

    /// An ordinary probe of `floor` bytes leaves: the size of the packet that is to go with it. `route` asks the
    /// kernel what it would send at most.
    pub(crate) fn next(
        &mut self,
        path: PathId,
        floor: u16,
        now_ns: u64,
        route: impl FnOnce() -> Option<u16>,
    ) -> Option<u16> {
        if self.interval_ns == 0 {
            return None;
        }
        let interval_ns = self.interval_ns;
        let search = self.paths.entry(path).or_insert_with(|| Search::new(path, floor, now_ns, interval_ns));
        let trying = search.trial.is_some();
        let bytes = search.next(now_ns, interval_ns, route);
        self.trials += usize::from(search.trial.is_some());
        self.trials -= usize::from(trying);
        bytes
    }

    /// A packet of this size was answered.
    pub(crate) fn replied(&mut self, path: PathId, bytes: u16, now_ns: u64) {
        self.change(path, now_ns, |search, _| search.replied(bytes, now_ns));
    }

    /// A packet of this size, sent at `t0_ns`, was not answered.
    pub(crate) fn lost(&mut self, path: PathId, bytes: u16, t0_ns: u64, now_ns: u64) {
        self.change(path, now_ns, |search, _| search.lost(bytes, t0_ns));
    }

    /// The node's own kernel took no packet of this size.
    pub(crate) fn refused(&mut self, path: PathId, bytes: u16, now_ns: u64) {
        self.change(path, now_ns, |search, _| search.is_lost(bytes));
    }

    /// A router reported what it takes instead. False where that makes no sense: then the packet counts as lost.
    pub(crate) fn too_big(&mut self, path: PathId, bytes: u16, mtu: u32, by: IpAddr, now_ns: u64) -> bool {
        let Ok(mtu) = u16::try_from(mtu) else { return false };
        if mtu == 0 || mtu >= bytes {
            return false;
        }
        self.change(path, now_ns, |search, _| search.too_big(mtu, by, now_ns));
        true
    }

    /// An ordinary probe that left at `t0_ns` ended.
    pub(crate) fn ordinary(&mut self, path: PathId, t0_ns: u64, now_ns: u64, answered: bool) {
        if answered && self.trials == 0 {
            return;
        }
        self.change(path, now_ns, |search, interval_ns| {
            if answered {
                search.ordinary_passed(t0_ns, now_ns)
            } else {
                search.ordinary_lost(now_ns, interval_ns);
                false
            }
        });
    }

    /// Takes what is new.
    pub(crate) fn take(&mut self) -> Vec<SizesSeen> {
        std::mem::take(&mut self.found)
    }

    /// Applies an event that returns whether something was measured, and reports what is worth it.
    fn change(&mut self, path: PathId, now_ns: u64, event: impl FnOnce(&mut Search, u64) -> bool) {
        let Some(search) = self.paths.get_mut(&path) else { return };
        let tried = search.trial.is_some();
        let measured = event(search, self.interval_ns);
        self.trials += usize::from(search.trial.is_some());
        self.trials -= usize::from(tried);
        let is = search.seen(path, now_ns, self.interval_ns);
        // A hub that takes over an agent hears of all of it within a minute, and of what is lost at every look.
        let old = |was: &SizesSeen| {
            let again = if is.lost_bytes == 0 { AGAIN_NS } else { 0 };
            now_ns - was.measured_ns >= again || SizesSeen { measured_ns: was.measured_ns, ..is } != *was
        };
        if measured && search.reported.as_ref().is_none_or(old) {
            search.reported = Some(is);
            self.found.push(is);
        }
    }
}

#[cfg(test)]
mod tests;
