//! Whatever happens in whatever order.

use proptest::prelude::*;

use super::*;

/// What can happen to probe `i` of a run.
#[derive(Clone, Debug)]
enum Event {
    Request(usize),
    Reply(usize),
    Read(usize),
    Drop(usize),
    Settle,
}

fn events(probes: usize) -> impl Strategy<Value = Vec<Event>> {
    let one = (0..probes, 0u8..5).prop_map(|(probe, what)| match what {
        0 => Event::Request(probe),
        1 => Event::Reply(probe),
        2 => Event::Read(probe),
        3 => Event::Drop(probe),
        _ => Event::Settle,
    });
    prop::collection::vec(one, 0..60)
}

/// Sends `probes` probes on three paths, 10 ms apart, lets the events happen 1 ms apart, and ends.
fn run(probes: usize, events: &[Event], shift_ns: u64) -> (Report, Counters) {
    let mut merge = merge();
    let keys: Vec<_> = (0..probes).map(|i| key(i as u32 % 3, i as u32 / 3 + 1)).collect();
    for (i, &key) in keys.iter().enumerate() {
        merge.sent(probe(key), i as u64 * 10 * MS);
    }
    let mut now_ns = probes as u64 * 10 * MS;
    let t0_ns = |i: usize| i as u64 * 10 * MS;
    for event in events {
        now_ns += MS;
        match *event {
            Event::Request(i) => merge.observe(stamp(keys[i], Direction::Request, t0_ns(i) + 1000)),
            Event::Reply(i) => merge.observe(stamp(keys[i], Direction::Reply, t0_ns(i) + 900_000)),
            Event::Drop(i) => merge.observe(dropped(own(keys[i]), Direction::Reply)),
            Event::Read(i) => {
                let reflected = ProbeHeader {
                    flags: FLAG_REFLECTED,
                    t2_ns: 1_000_000 + shift_ns,
                    t3_ns: 1_200_000 + shift_ns,
                    requests: 1,
                    arrived: 0b1011,
                    ..header(keys[i])
                };
                merge.echo(target(), &reflected, batched(now_ns));
            }
            Event::Settle => merge.settle(now_ns, |_| None, |_| {}),
        }
    }
    merge.settle(now_ns + 10 * TIMEOUT, |_| None, |_| {});
    let report = merge.take_report(now_ns + 20 * TIMEOUT, false);
    (report, merge.counters)
}

proptest! {
    /// In whatever order stamps, replies, duplicates and drops come: every probe is one sample.
    #[test]
    fn every_probe_is_one_sample(events in events(12)) {
        let (report, counters) = run(12, &events, 0);
        let rows = || report.windows.iter().flat_map(|window| &window.paths);
        let sent: u32 = rows().map(|row| row.sent() + row.suspect).sum();
        prop_assert_eq!(sent, 12);
        let replied: u32 = rows().map(|row| row.reply).sum();
        prop_assert_eq!(report.lost.len() as u32, 12 - replied);
        let mut read: Vec<usize> =
            events.iter().filter_map(|event| if let Event::Read(i) = event { Some(*i) } else { None }).collect();
        let reads = read.len() as u64;
        read.sort_unstable();
        read.dedup();
        prop_assert_eq!(u64::from(replied), read.len() as u64);
        prop_assert_eq!(counters.duplicate, reads - read.len() as u64);
        prop_assert_eq!(counters.forged, 0);
        for row in rows() {
            prop_assert!(row.round_trip.count() <= u64::from(row.reply));
        }
    }

    /// The destination's clock may show anything: only its differences count.
    #[test]
    fn nothing_depends_on_the_other_clock(events in events(9), shift_ns in 0u64..1 << 62) {
        prop_assert_eq!(run(9, &events, 0), run(9, &events, shift_ns));
    }

    /// The order of the kernel's events among themselves does not matter.
    #[test]
    fn stamps_in_any_order_give_the_same(order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle()) {
        let hooks = [(2, 1001), (3, 1002), (4, 1003)];
        let mut stamps: Vec<Observation> = Vec::new();
        for (ifindex, at) in hooks {
            for (direction, at_ns) in [(Direction::Request, at * MS), (Direction::Reply, (at + 20) * MS)] {
                let Observation::Stamp(mut seen) = stamp(key(1, 1), direction, at_ns) else { unreachable!() };
                seen.hook.ifindex = ifindex;
                stamps.push(Observation::Stamp(seen));
            }
        }
        let outcome = |order: &[usize], reply: bool| {
            let mut merge = merge();
            merge.sent(probe(key(1, 1)), 1000 * MS);
            order.iter().for_each(|&i| merge.observe(stamps[i].clone()));
            if reply {
                merge.echo(target(), &header(key(1, 1)), batched(1050 * MS));
            }
            finish(&mut merge, 3000 * MS)
        };
        for reply in [true, false] {
            prop_assert_eq!(outcome(&order, reply), outcome(&[0, 1, 2, 3, 4, 5], reply));
        }
        let lost = &outcome(&order, false).lost[0];
        let seen: Vec<u32> = lost.request_hooks.iter().map(|hook| hook.ifindex).collect();
        prop_assert_eq!(seen, [2, 3, 4]);
    }

    /// Session, path, sequence and address must all be those of a probe in flight.
    #[test]
    fn a_forged_reply_is_never_a_reply(
        session: u64, path in 0u32..4, sequence in 0u32..6, address in 0u8..3, port in 6099u16..6102,
    ) {
        let mut merge = merge();
        merge.sent(probe(key(1, 1)), 0);
        merge.sent(probe(key(1, 2)), 0);
        let from = SocketAddr::from(([10, 0, 0, address], port));
        let session = if session % 2 == 0 { SESSION.0 } else { session };
        let forged = ProbeHeader { session, path, sequence, ..ProbeHeader::default() };
        let genuine = session == SESSION.0 && path == 1 && (1..=2).contains(&sequence) && from == target();
        merge.echo(from, &forged, prompt(MS));
        let report = finish(&mut merge, 2000 * MS);
        let replies: u32 = report.windows.iter().flat_map(|window| &window.paths).map(|row| row.reply).sum();
        prop_assert_eq!(replies, u32::from(genuine));
        let known_path = session == SESSION.0 && path != 1;
        prop_assert_eq!(merge.counters.forged + merge.counters.late, u64::from(!genuine), "{}", known_path);
    }
}
