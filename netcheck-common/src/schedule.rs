//! When each path is probed. Pure: takes `now`, does no I/O.
//!
//! In: the plan's paths, the wanted interval, the packet budget. Out: which paths are due.
//!
//! A path's due times are `k × interval + phase` on the agent's monotonic clock, with a phase taken from a hash of
//! (node, path): no herds, and a path that comes or goes moves no other. Where the packets of one round exceed
//! budget × interval the round is stretched. Whatever is due at once, no second of time ever sees more packets than
//! the budget: what is too much waits, oldest first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::domain::{PathId, ProbeKind};
use crate::hash::{fnv1a, splitmix64};

use self::haste::{Haste, Room};

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Most packets a second of an agent that was told nothing else.
pub const DEFAULT_PPS: u32 = 1_000;

mod haste;

/// Packets that one probe of a kind sends, at most, when all is well.
#[must_use]
pub const fn packets(kind: ProbeKind) -> u32 {
    match kind {
        ProbeKind::Icmp | ProbeKind::Udp | ProbeKind::Dns => 1,
        // SYN, ACK, RST.
        ProbeKind::Tcp => 3,
        // SYN, ACK, request, two ACKs of the answer, RST.
        ProbeKind::Http => 6,
    }
}

/// What a path's probes cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Packets of one, at most, when all is well.
    pub packets: u32,
    /// They keep this distance at least; 0: the plan's interval is enough.
    pub least_ns: u64,
}

impl From<ProbeKind> for Load {
    fn from(kind: ProbeKind) -> Self {
        Self { packets: packets(kind), least_ns: 0 }
    }
}

/// Most packets handed out at one moment: a burst must fit the receive buffers of those who answer.
const BURST_MAX: u32 = 256;

/// The schedule of all paths.
#[derive(Debug)]
pub struct Schedule {
    node_hash: u64,
    /// The agent's own limit, packets per second.
    limit_pps: u32,
    /// Limit and wish together.
    budget_pps: u32,
    interval_ns: u64,
    effective_ns: u64,
    /// Packets of a full round.
    round_packets: u64,
    /// Those of them that leave beside the paths' own probes.
    reserved_packets: u64,
    paths: HashMap<PathId, Load>,
    due: BinaryHeap<Reverse<(u64, PathId)>>,
    /// Out of turn, in the order in which they were asked for.
    expedited: VecDeque<PathId>,
    /// What left within the last second: (when, packets).
    spent: VecDeque<(u64, u32)>,
    spent_packets: u32,
    /// What is to be probed more often than the plan says, for a while.
    haste: Haste,
}

impl Schedule {
    /// An empty schedule. `limit_pps` is the agent's own limit, at least 1.
    pub fn new(node: &str, limit_pps: u32) -> Self {
        let limit_pps = limit_pps.max(1);
        Self {
            node_hash: fnv1a(node.as_bytes()),
            limit_pps,
            budget_pps: limit_pps,
            interval_ns: SECOND_NS,
            effective_ns: SECOND_NS,
            round_packets: 0,
            reserved_packets: 0,
            paths: HashMap::new(),
            due: BinaryHeap::new(),
            expedited: VecDeque::new(),
            spent: VecDeque::new(),
            spent_packets: 0,
            haste: Haste::default(),
        }
    }

    /// Keeps room for so many packets a round that go along with probes ([`Schedule::spend`]), from the next
    /// [`Schedule::set`] on.
    pub const fn reserve(&mut self, packets: u64) {
        self.reserved_packets = packets;
    }

    /// Replaces paths, interval and wanted packets per second (0: no wish). Paths that stay keep their phase.
    pub fn set(
        &mut self,
        now_ns: u64,
        paths: impl IntoIterator<Item = (PathId, impl Into<Load>)>,
        interval_ns: u64,
        wanted_pps: u32,
    ) {
        self.budget_pps = if wanted_pps == 0 { self.limit_pps } else { wanted_pps.min(self.limit_pps) };
        self.interval_ns = interval_ns.max(1);
        self.paths.clear();
        let budget = self.budget_pps;
        self.paths.extend(paths.into_iter().map(|(path, load)| {
            let Load { packets, least_ns } = load.into();
            (path, Load { packets: packets.min(budget), least_ns })
        }));
        let own: u64 = self.paths.values().map(|load| u64::from(load.packets)).sum();
        self.round_packets = own + self.reserved_packets;
        let needed_ns =
            (u128::from(self.round_packets) * u128::from(SECOND_NS)).div_ceil(u128::from(self.budget_pps));
        self.effective_ns = self.interval_ns.max(u64::try_from(needed_ns).unwrap_or(u64::MAX));
        self.expedited.retain(|path| self.paths.contains_key(path));
        self.share(now_ns);
    }

    /// Probes of these paths are wanted so far apart until then, as far as the budget has room; in place of the wish with the
    /// same number. None named: that one is over.
    pub fn hasten(&mut self, id: u64, paths: Vec<(PathId, u64)>, until_ns: u64, now_ns: u64) {
        if self.haste.wish(id, paths, until_ns) {
            self.share(now_ns);
        }
    }

    /// Shares out what the budget has to spare, and sets all paths in their places.
    fn share(&mut self, now_ns: u64) {
        let spare_pps = u64::from(self.budget_pps).saturating_sub(self.usual_pps());
        self.haste.share(&self.paths, Room { spare_pps, round_ns: self.effective_ns }, now_ns);
        let due: Vec<_> =
            self.paths.keys().map(|&path| Reverse((self.first_due(path, now_ns), path))).collect();
        self.due = BinaryHeap::from(due);
    }

    /// The shortest distance of a path's probes (ns), where some are to be probed more often than the plan says.
    #[must_use]
    pub fn shortest_ns(&self) -> Option<u64> {
        self.haste.shortest_ns()
    }

    /// Whether a probe that leaves now is one of those that the plan wants, and not only of those that are wanted besides.
    pub fn is_usual(&mut self, path: PathId, now_ns: u64) -> bool {
        self.haste.is_usual(path, now_ns)
    }

    fn usual_pps(&self) -> u64 {
        (u128::from(self.round_packets) * u128::from(SECOND_NS) / u128::from(self.effective_ns)) as u64
    }

    /// Length of a full round, nanoseconds: the wanted interval, or more where the budget is small.
    pub const fn effective_interval_ns(&self) -> u64 {
        self.effective_ns
    }

    /// Packets that the budget has room for in a round beside all that leaves in it.
    pub fn spare_packets(&self) -> u64 {
        let room = u128::from(self.budget_pps) * u128::from(self.effective_ns) / u128::from(SECOND_NS);
        u64::try_from(room).unwrap_or(u64::MAX).saturating_sub(self.round_packets)
    }

    /// Packets per second when all is in its turn.
    pub fn rate_pps(&self) -> u64 {
        self.usual_pps() + self.haste.extra_pps()
    }

    /// Asks for paths out of turn, within the budget; none named: all. Unknown ones are passed over.
    pub fn expedite(&mut self, paths: &[PathId]) {
        if paths.is_empty() {
            let mut all: Vec<PathId> = self.paths.keys().copied().collect();
            all.sort_unstable();
            self.expedited = all.into();
            return;
        }
        for path in paths {
            // Linear, and short: an operator's question names few paths, and the queue empties at the budget's pace.
            if self.paths.contains_key(path) && !self.expedited.contains(path) {
                self.expedited.push_back(*path);
            }
        }
    }

    /// Appends the paths to probe now. Rounds that were missed altogether are not made up for.
    pub fn due(&mut self, now_ns: u64, out: &mut Vec<PathId>) {
        self.forget_spent(now_ns);
        if self.haste.expire(now_ns) {
            self.share(now_ns);
        }
        let mut burst = 0;
        while let Some((path, at_ns)) = self.first(now_ns) {
            let packets = self.paths[&path].packets;
            if self.spent_packets + packets > self.budget_pps || burst + packets > BURST_MAX.max(packets) {
                break;
            }
            match at_ns {
                None => {
                    self.expedited.pop_front();
                }
                Some(at_ns) => {
                    self.due.pop();
                    let period_ns = self.period_ns(path);
                    let missed = (now_ns - at_ns) / period_ns;
                    self.due.push(Reverse((at_ns + (missed + 1) * period_ns, path)));
                }
            }
            burst += packets;
            self.spent_packets += packets;
            out.push(path);
        }
        if burst > 0 {
            self.spent.push_back((now_ns, burst));
        }
    }

    /// Whether the budget takes one more packet at the moment of the newest [`Schedule::due`].
    pub const fn has_room(&self) -> bool {
        self.spent_packets < self.budget_pps
    }

    /// Takes one more packet out of the budget at that moment.
    pub fn spend(&mut self, now_ns: u64) {
        self.spent_packets += 1;
        match self.spent.back_mut() {
            Some((at_ns, packets)) if *at_ns == now_ns => *packets += 1,
            _ => self.spent.push_back((now_ns, 1)),
        }
    }

    /// When [`Schedule::due`] has something next; `None`: never.
    pub fn next_due(&self, now_ns: u64) -> Option<u64> {
        let (path, at_ns) = match self.expedited.front() {
            Some(&path) => (path, now_ns),
            None => self.due.peek().map(|&Reverse((at_ns, path))| (path, at_ns))?,
        };
        let mut free = self.budget_pps.saturating_sub(self.spent_packets);
        let mut affordable_ns = at_ns;
        for &(spent_ns, packets) in &self.spent {
            if free >= self.paths[&path].packets {
                break;
            }
            free += packets;
            affordable_ns = spent_ns + SECOND_NS + 1;
        }
        Some(at_ns.max(affordable_ns))
    }

    /// The path at the head of the queue, and its due time unless it is out of turn.
    fn first(&self, now_ns: u64) -> Option<(PathId, Option<u64>)> {
        if let Some(&path) = self.expedited.front() {
            return Some((path, None));
        }
        self.due
            .peek()
            .filter(|&&Reverse((at_ns, _))| at_ns <= now_ns)
            .map(|&Reverse((at_ns, path))| (path, Some(at_ns)))
    }

    /// The budget holds over any second, both ends included.
    fn forget_spent(&mut self, now_ns: u64) {
        while let Some(&(at_ns, packets)) = self.spent.front() {
            if at_ns + SECOND_NS >= now_ns {
                break;
            }
            self.spent.pop_front();
            self.spent_packets -= packets;
        }
    }

    fn first_due(&self, path: PathId, now_ns: u64) -> u64 {
        let hash = splitmix64(self.node_hash ^ u64::from(path.0));
        let period_ns = self.period_ns(path);
        let phase_ns = ((u128::from(hash) * u128::from(period_ns)) >> 64) as u64;
        let round_ns = now_ns - now_ns % period_ns;
        let at_ns = round_ns + phase_ns;
        if at_ns >= now_ns { at_ns } else { at_ns + period_ns }
    }

    /// The distance of a path's probes.
    fn period_ns(&self, path: PathId) -> u64 {
        let usual =
            || self.paths.get(&path).map_or(self.effective_ns, |load| load.least_ns.max(self.effective_ns));
        self.haste.period_ns(path).unwrap_or_else(usual)
    }
}

#[cfg(test)]
mod tests;
