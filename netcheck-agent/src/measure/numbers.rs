//! Numbers of new flows: source ports and ICMP identifiers that don't come back while connection tracking anywhere on
//! the way may still hold the flow that had them last. Pure: takes `now`, does no I/O.
//!
//! A flow that meets such an entry is no new one: rules for new connections don't see it, and it goes where the entry
//! says, which may be an endpoint that is gone. So the numbers of each destination take turns, and the turn is derived from
//! the clock: a range of `count` numbers has `count` ticks, and a tick is as long as makes a turn last 5/4 of the
//! time-out:
//!
//! ```text
//! tick = 5/4 × time-out / count        2,000 ports, 120 s:  75 ms, 13.3 new flows a second to each destination
//!                                      1,000 ports, 120 s: 150 ms,  6.7
//!                                     61,440 identifiers, 30 s: 0.6 ms, 1,638
//! ```
//!
//! A number that another destination had in the last seconds is passed over, as long as others are free: what a kernel
//! reports of a packet is found by its client's end alone, for translation changes the other one.
//!
//! A destination that is probed more often runs ahead of the clock, by at most the fifth that a turn has to spare;
//! beyond that, numbers come back too soon ([`Number::again`]). As long as nobody runs ahead an agent that starts anew
//! goes on where the one before it stopped, without knowing of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use netcheck_common::hash::{fnv1a, splitmix64_finish};

use crate::host::clock::SECOND_NS;

/// Destinations that are remembered. Those that the clock has caught up with need not be, and are forgotten at this
/// many.
const REMEMBERED: usize = 8192;

/// How long a number that one destination had is not another's, where that can be: as long as reports of its packets are
/// taken for one probe's.
const APART_NS: u64 = 8 * SECOND_NS;
/// Numbers that are passed over at most for that.
const PASSED_OVER: u64 = 64;

/// A number for one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// Below the range's count.
    pub(crate) offset: u16,
    /// It comes back before the time-out is over.
    pub(crate) again: bool,
}

/// The numbers of one protocol and source address, to any destination.
#[derive(Debug)]
pub(crate) struct Numbers {
    count: u64,
    tick_ns: u64,
    /// Ticks that a destination may be ahead of the clock; negative where the range is too small at any rate.
    ahead_max: i64,
    /// The tick of each destination's newest number.
    newest: HashMap<SocketAddr, u64>,
    /// When each number was taken last, to any destination; 0: never.
    taken_ns: Vec<u64>,
    /// Nodes whose clocks agree begin elsewhere each, too.
    node: u64,
}

impl Numbers {
    /// A range of `count` numbers, at least 1.
    pub(crate) fn new(count: u16, timeout_ns: u64) -> Self {
        let count = u64::from(count.max(1));
        let tick_ns = (timeout_ns.saturating_mul(5) / 4).div_ceil(count).max(1);
        // The same number was taken `count` ticks ago, at the end of its tick at the latest.
        let ahead_max = count as i64 - 1 - timeout_ns.div_ceil(tick_ns) as i64;
        Self { count, tick_ns, ahead_max, newest: HashMap::new(), taken_ns: vec![0; count as usize], node: 0 }
    }

    /// The same, of one node among others. A packet that another node passes on may bear that one's address: two nodes that
    /// ask one destination with one port at one time look alike there.
    pub(crate) fn of_node(self, node: u64) -> Self {
        Self { node, ..self }
    }

    /// The next number for a destination. `now_ns` is a clock that goes on when the agent starts anew.
    pub(crate) fn next(&mut self, destination: SocketAddr, now_ns: u64) -> Number {
        let clock = now_ns / self.tick_ns;
        if self.newest.len() >= REMEMBERED && !self.newest.contains_key(&destination) {
            self.newest.retain(|_, tick| *tick >= clock);
        }
        let newest = self.newest.get(&destination);
        let first = newest.map_or(clock, |&newest| clock.max(newest + 1));
        // Destinations begin elsewhere each: sockets to several of them don't want the same port at once.
        let begin = splitmix64_finish(spread(destination) ^ self.node) % self.count;
        let offset = |tick: u64| ((tick % self.count + begin) % self.count) as usize;
        let again = |tick: u64| (tick - clock) as i64 > self.ahead_max;
        let free = |tick: &u64| {
            let taken_ns = self.taken_ns[offset(*tick)];
            taken_ns == 0 || now_ns.saturating_sub(taken_ns) >= APART_NS
        };
        let apart = (first..first.saturating_add(PASSED_OVER)).take_while(|&tick| !again(tick)).find(free);
        let tick = apart.unwrap_or(first);
        self.newest.insert(destination, tick);
        self.taken_ns[offset(tick)] = now_ns.max(1);
        Number { offset: offset(tick) as u16, again: again(tick) }
    }
}

fn spread(destination: SocketAddr) -> u64 {
    let port = destination.port().to_be_bytes();
    match destination.ip() {
        IpAddr::V4(address) => fnv1a(&[&address.octets()[..], &port].concat()),
        IpAddr::V6(address) => fnv1a(&[&address.octets()[..], &port].concat()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::clock::MILLISECOND_NS;

    const TIMEOUT_NS: u64 = 120 * SECOND_NS;

    fn to(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 6100))
    }

    /// When each number of each destination was taken last.
    #[derive(Default)]
    struct Taken(HashMap<(SocketAddr, u16), u64>);

    impl Taken {
        /// How long ago the same one was taken.
        fn take(
            &mut self,
            numbers: &mut Numbers,
            destination: SocketAddr,
            now_ns: u64,
        ) -> (bool, Option<u64>) {
            let Number { offset, again } = numbers.next(destination, now_ns);
            (again, self.0.insert((destination, offset), now_ns).map(|before_ns| now_ns - before_ns))
        }
    }

    proptest! {
        #[test]
        fn none_comes_back_within_the_timeout_unless_it_is_reported(
            count in 1u16..400,
            start_ns in 0..u64::MAX / 2,
            steps in prop::collection::vec((0u8..3, 0..2 * SECOND_NS), 1..2000),
        ) {
            let (mut numbers, mut taken, mut now_ns) = (Numbers::new(count, TIMEOUT_NS), Taken::default(), start_ns);
            for (host, later_ns) in steps {
                now_ns += later_ns;
                let (again, ago_ns) = taken.take(&mut numbers, to(host), now_ns);
                prop_assert!(again || ago_ns.is_none_or(|ago_ns| ago_ns >= TIMEOUT_NS), "{ago_ns:?}");
            }
        }

        #[test]
        fn at_the_rate_that_the_range_is_for_none_is_reported_across_restarts(
            count in 10u16..400,
            start_ns in 0..u64::MAX / 2,
            restarts in prop::collection::vec(1usize..500, 1..5),
        ) {
            let (mut taken, mut now_ns) = (Taken::default(), start_ns);
            for probes in restarts {
                let mut numbers = Numbers::new(count, TIMEOUT_NS);
                let tick_ns = numbers.tick_ns;
                for _ in 0..probes {
                    now_ns += tick_ns;
                    let (again, ago_ns) = taken.take(&mut numbers, to(1), now_ns);
                    prop_assert!(!again && ago_ns.is_none_or(|ago_ns| ago_ns >= TIMEOUT_NS), "{ago_ns:?}");
                }
            }
        }
    }

    /// Thirty destinations, each asked once a second: no two have the same number within the time in which reports are
    /// taken for one probe's.
    #[test]
    fn destinations_have_numbers_apart() {
        let mut numbers = Numbers::new(2000, TIMEOUT_NS);
        let mut taken: HashMap<u16, u64> = HashMap::new();
        for second in 0..400u64 {
            for host in 0..30u8 {
                let now_ns = 1 + second * SECOND_NS + u64::from(host) * 33 * MILLISECOND_NS;
                let Number { offset, again } = numbers.next(to(host), now_ns);
                assert!(!again);
                if let Some(before_ns) = taken.insert(offset, now_ns) {
                    assert!(now_ns - before_ns >= APART_NS, "{offset}: {} ns", now_ns - before_ns);
                }
            }
        }
    }

    #[test]
    fn the_figures_above_are_those_of_the_code() {
        for (count, timeout_s, tick_ns) in
            [(2000, 120, 75 * MILLISECOND_NS), (1000, 120, 150 * MILLISECOND_NS), (61_440, 30, 610_352)]
        {
            assert_eq!(Numbers::new(count, timeout_s * SECOND_NS).tick_ns, tick_ns);
        }
    }

    #[test]
    fn a_burst_takes_what_a_turn_has_to_spare() {
        let mut numbers = Numbers::new(2000, TIMEOUT_NS);
        let fine = (0..3000).take_while(|_| !numbers.next(to(1), 7 * TIMEOUT_NS).again).count();
        assert_eq!(fine, 400, "a fifth of 2,000");
        assert!(!numbers.next(to(2), 7 * TIMEOUT_NS).again, "others have their own turns");
    }

    #[test]
    fn only_so_many_destinations_are_remembered() {
        let mut numbers = Numbers::new(1000, TIMEOUT_NS);
        for at in 0..3 * REMEMBERED as u32 {
            let address = std::net::Ipv4Addr::from(at);
            numbers.next(SocketAddr::from((address, 1)), u64::from(at) * numbers.tick_ns);
        }
        assert!(numbers.newest.len() <= REMEMBERED, "{}", numbers.newest.len());
    }
}
