use netcheck_common::domain::{Family, PathId, Vantage};
use netcheck_common::hash::splitmix64;
use proptest::prelude::*;

use super::*;
use crate::host::clock::SECOND_NS;

const PATH: PathId = PathId(7);

fn ports(paths: usize) -> Ports {
    let mut ports = Ports::default();
    let local: ArrayVec<u16, PORTS> = (61_000..61_000 + PORTS as u16).collect();
    ports.open(Vantage::Host, [local.clone(), local]);
    ports.set(paths, SECOND_NS);
    ports
}

/// What was reported for sure and what was only in question until then, with the probe's number, and of every probe its
/// slot and whether it was lost.
#[derive(Default)]
struct Run {
    reported: Vec<(usize, PortsSeen)>,
    questioned: Vec<(usize, PortsSeen)>,
    probes: Vec<(usize, bool)>,
}

/// Sends one probe a second. `lost`: by its number and slot.
fn run(path: PathId, count: usize, mut lost: impl FnMut(usize, usize) -> bool) -> Run {
    let (mut ports, mut run) = (ports(1), Run::default());
    for number in 0..count {
        let slot = ports.next(path, (Vantage::Host, Family::V4));
        let is_lost = lost(number, slot as usize);
        ports.ended(path, (Vantage::Host, Family::V4), slot, Some(!is_lost), number as u64 * SECOND_NS);
        for seen in ports.take() {
            let sure = run.reported.last().is_some_and(|(_, last)| !last.lost.is_empty());
            match (seen.undecided, seen.lost.is_empty()) {
                (true, _) => run.questioned.push((number, seen)),
                (false, true) if !sure => run.questioned.push((number, seen)),
                (false, _) => run.reported.push((number, seen)),
            }
        }
        run.probes.push((slot as usize, is_lost));
    }
    run
}

fn lost_ports(seen: &PortsSeen) -> Vec<usize> {
    seen.lost.iter().map(|lost| usize::from(lost.port - 61_000)).collect()
}

#[test]
fn every_port_has_its_turn_in_each_round() {
    let run = run(PATH, 80, |_, _| false);
    for round in run.probes.chunks(PORTS) {
        let mut slots: Vec<usize> = round.iter().map(|probe| probe.0).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..PORTS).collect::<Vec<_>>());
    }
    assert!(run.reported.is_empty());
    assert_ne!(run.probes[..PORTS], run.probes[PORTS..2 * PORTS], "the order is another each time");
}

#[test]
fn a_dead_port_is_reported_while_it_lasts_and_when_it_is_over() {
    let run = run(PATH, 300, |number, slot| (100..200).contains(&number) && slot == 3);
    let reported = run.reported;
    let (at, questioned) = &run.questioned[0];
    assert_eq!(
        (lost_ports(questioned), questioned.lost[0].lost),
        (vec![3], 2),
        "in question before it is sure"
    );
    assert!(*at < reported[0].0);
    let (at, first) = &reported[0];
    assert!(*at < 140, "reported at {at}");
    assert_eq!((lost_ports(first), first.ports, first.others_lost), (vec![3], 8, 0));
    assert_eq!(first.lost[0].sent, first.lost[0].lost);
    assert!(first.others_sent >= 50);
    assert_eq!((first.interval_ns, first.measured_ns), (8 * SECOND_NS, *at as u64 * SECOND_NS));
    for pair in reported.windows(2).filter(|pair| !pair[1].1.lost.is_empty()) {
        assert!(pair[1].0 - pair[0].0 <= 20, "reported again in each round: {} {}", pair[0].0, pair[1].0);
    }
    let (at, last) = reported.last().unwrap();
    assert!((203..230).contains(at) && last.lost.is_empty(), "over at {at}: {last:?}");
    assert_eq!(reported.iter().filter(|(_, seen)| seen.lost.is_empty()).count(), 1);
}

#[test]
fn a_port_that_loses_most_of_its_packets_is_reported_with_its_figures() {
    // Nine of ten.
    let mut sent = 0;
    let lossy = |number: usize, slot: usize| {
        sent += usize::from(slot == 5);
        number >= 100 && slot == 5 && sent % 10 != 0
    };
    let reported = run(PATH, 600, lossy).reported;
    assert!(reported.iter().all(|(_, seen)| matches!(lost_ports(seen)[..], [] | [5])));
    let partly = |seen: &PortsSeen| seen.lost.iter().any(|of| (5..8).contains(&of.lost) && of.sent == 8);
    assert!(reported.iter().any(|(_, seen)| partly(seen)), "{reported:?}");
}

#[test]
fn nothing_is_said_too_early() {
    // Never was another port answered often enough to tell.
    assert!(run(PATH, 12, |_, slot| slot == 0).reported.is_empty());
    assert!(!run(PATH, 100, |_, slot| slot == 0).reported.is_empty());
}

/// Losses that have nothing to do with ports, whatever their rhythm: each rhythm on many paths.
#[test]
fn losses_with_a_rhythm_of_their_own_are_no_ports() {
    for period in 1..=17 {
        for burst in 1..=period {
            for path in 0..12 {
                let lost = |number: usize, _| number >= 100 && number % period < burst;
                let reported = run(PathId(path), 400, lost).reported;
                assert!(reported.is_empty(), "{burst} of {period}: {reported:?}");
            }
        }
    }
}

#[test]
fn losses_by_chance_are_no_ports() {
    for percent in [1, 3, 5, 10, 30, 50, 90] {
        for path in 0..40 {
            let lost = |number: usize, _| {
                let drawn = splitmix64(u64::from(path) << 32 | number as u64 ^ 0xabcd) % 100;
                drawn < percent
            };
            let reported = run(PathId(path), 1000, lost).reported;
            assert!(reported.is_empty(), "{percent} %: {reported:?}");
        }
    }
}

#[test]
fn what_can_not_be_judged_says_nothing_and_what_left_is_forgotten() {
    let mut ports = ports(1);
    for _ in 0..200 {
        let slot = ports.next(PATH, (Vantage::Host, Family::V4));
        let answered = (slot != 2).then_some(true);
        ports.ended(PATH, (Vantage::Host, Family::V4), slot, answered, 0);
    }
    assert!(ports.take().is_empty());
    assert_ne!(ports.passing(PATH), 2);
    ports.forget(&[PATH]);
    ports.ended(PATH, (Vantage::Host, Family::V4), 0, Some(false), 0);
    assert!(ports.take().is_empty() && ports.paths.is_empty());
}

#[test]
fn many_paths_share_fewer_ports_and_too_few_are_one() {
    for (paths, expected) in [(2048, 8), (2049, 7), (4096, 4), (4097, 1), (100_000, 1)] {
        let mut ports = ports(paths);
        let mut slots = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let slot = ports.next(PATH, (Vantage::Host, Family::V6));
            ports.ended(PATH, (Vantage::Host, Family::V6), slot, Some(true), 0);
            slots.insert(slot);
        }
        assert_eq!(slots.len(), expected, "{paths} paths");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whichever ports die, and whenever: exactly they are reported, and once another one was answered no two are lost in
    /// a row.
    #[test]
    fn exactly_the_dead_ports_are_reported(
        path in any::<u32>(),
        dead in prop::collection::btree_set(0..PORTS, 1..5),
        from in 64..96usize,
    ) {
        let run = run(PathId(path), 400, |number, slot| number >= from && dead.contains(&slot));
        let (_, last) = run.reported.last().expect("it is reported");
        prop_assert_eq!(lost_ports(last), dead.iter().copied().collect::<Vec<_>>());
        for (_, seen) in &run.reported {
            prop_assert!(lost_ports(seen).iter().all(|port| dead.contains(port)));
            prop_assert!(!seen.lost.is_empty(), "what was reported stands");
        }
        let first = from + run.probes[from..].iter().position(|probe| !probe.1).unwrap();
        let in_a_row = run.probes[first..].windows(2).filter(|pair| pair[0].1 && pair[1].1).count();
        prop_assert_eq!(in_a_row, 0);
        let all = 400 - from;
        let share = run.probes.iter().filter(|probe| probe.1).count() * PORTS;
        prop_assert!(share <= all * dead.len() + 40 * PORTS, "not many more are lost than by turns: {share} of {all}");
    }

    /// An outage of all ports says nothing of ports, however long, and however many.
    #[test]
    fn an_outage_is_no_port(
        path in any::<u32>(),
        outages in prop::collection::vec((1..60usize, 1..60usize), 1..8),
    ) {
        let mut lost = Vec::new();
        for (up, down) in outages {
            lost.extend(std::iter::repeat_n(false, up).chain(std::iter::repeat_n(true, down)));
        }
        let reported = run(PathId(path), lost.len() + 50, |number, _| lost.get(number).copied().unwrap_or(false)).reported;
        prop_assert!(reported.is_empty(), "{reported:?}");
    }

    /// Whatever comes back in whatever order, many at the same time.
    #[test]
    fn any_order_of_outcomes_is_taken(
        outcomes in prop::collection::vec((0..6u8, 0..PORTS as u32 + 2), 0..300),
    ) {
        let mut ports = ports(1);
        for (what, slot) in outcomes {
            match what {
                0..3 => prop_assert!((ports.next(PATH, (Vantage::Host, Family::V4)) as usize) < PORTS),
                3 => ports.ended(PATH, (Vantage::Host, Family::V4), slot, Some(true), 0),
                4 => ports.ended(PATH, (Vantage::Host, Family::V4), slot, Some(false), 0),
                _ => ports.ended(PATH, (Vantage::Host, Family::V4), slot, None, 0),
            }
            for seen in ports.take() {
                prop_assert!(seen.lost.iter().all(|of| of.lost <= of.sent && of.lost > 0));
                prop_assert!(seen.others_lost <= seen.others_sent);
            }
        }
    }
}
