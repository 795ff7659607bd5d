use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn schedule(node: &str, limit_pps: u32, paths: u32, interval_ns: u64, now_ns: u64) -> Schedule {
    let mut schedule = Schedule::new(node, limit_pps);
    schedule.set(now_ns, (0..paths).map(|path| (PathId(path), ProbeKind::Udp)), interval_ns, 0);
    schedule
}

/// Runs on a tick and says who was probed when.
fn run(schedule: &mut Schedule, from_ns: u64, until_ns: u64, tick_ns: u64) -> Vec<(u64, PathId)> {
    let (mut fired, mut due) = (Vec::new(), Vec::new());
    for now_ns in (from_ns..until_ns).step_by(tick_ns as usize) {
        schedule.due(now_ns, &mut due);
        fired.extend(due.drain(..).map(|path| (now_ns, path)));
    }
    fired
}

fn budget_holds(fired: &[(u64, PathId)], budget: usize) -> bool {
    let mut first = 0;
    fired.iter().enumerate().all(|(last, &(at_ns, _))| {
        while fired[first].0 + SECOND_NS < at_ns {
            first += 1;
        }
        last - first < budget
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_path_exactly_once_per_interval(paths in 1u32..200, start in 0u64..1 << 50, interval_ms in 200u64..3000) {
        let interval_ns = interval_ms * MS;
        let mut schedule = schedule("n1", 10_000, paths, interval_ns, start);
        prop_assert_eq!(schedule.effective_interval_ns(), interval_ns);
        let fired = run(&mut schedule, start, start + 3 * interval_ns + 20 * MS, 10 * MS);
        for round in 0..3 {
            let (from, until) = (start + round * interval_ns, start + (round + 1) * interval_ns);
            let mut seen: Vec<u32> = fired
                .iter()
                // A tick late is in time.
                .filter(|(at_ns, _)| (from + 10 * MS..until - 10 * MS).contains(at_ns))
                .map(|(_, path)| path.0)
                .collect();
            seen.sort_unstable();
            let before = seen.len();
            seen.dedup();
            prop_assert_eq!(before, seen.len(), "twice in one interval");
        }
        for path in 0..paths {
            let times: Vec<u64> = fired.iter().filter(|(_, p)| p.0 == path).map(|&(at, _)| at).collect();
            prop_assert!((3..=4).contains(&times.len()), "{} times in three intervals", times.len());
            for pair in times.windows(2) {
                prop_assert!((pair[1] - pair[0]).abs_diff(interval_ns) <= 10 * MS);
            }
        }
    }

    #[test]
    fn no_second_exceeds_the_budget(
        paths in 1u32..400, budget in 1u32..150, interval_ms in 50u64..2000, expedite_at in 0u64..3000,
    ) {
        let mut schedule = schedule("n1", budget, paths, interval_ms * MS, 7);
        let mut fired = run(&mut schedule, 7, 7 + expedite_at * MS, 5 * MS);
        schedule.expedite(&[]);
        let then = 7 + expedite_at.next_multiple_of(5) * MS;
        fired.extend(run(&mut schedule, then, then + 4 * SECOND_NS, 5 * MS));
        prop_assert!(budget_holds(&fired, budget as usize));
    }

    #[test]
    fn a_round_is_stretched_to_what_the_budget_allows(paths in 1u32..2000, budget in 1u32..100) {
        let schedule = schedule("n1", budget, paths, SECOND_NS, 0);
        let needed = u64::from(paths) * SECOND_NS / u64::from(budget);
        let effective = schedule.effective_interval_ns();
        prop_assert!(effective >= SECOND_NS && effective >= needed && effective <= needed.max(SECOND_NS) + 1);
        prop_assert!(schedule.rate_pps() <= u64::from(budget));
    }

    #[test]
    fn stretched_rounds_still_reach_everyone(paths in 50u32..300, budget in 20u32..40) {
        let mut schedule = schedule("n1", budget, paths, SECOND_NS, 0);
        let round = schedule.effective_interval_ns();
        let fired = run(&mut schedule, 0, 3 * round, 10 * MS);
        let mut seen: Vec<u32> = fired.iter().map(|(_, path)| path.0).collect();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), paths as usize);
    }

    #[test]
    fn waking_when_asked_is_enough(paths in 1u32..60, budget in 5u32..200) {
        let mut schedule = schedule("n3", budget, paths, SECOND_NS, 0);
        let (mut now, mut due, mut fired) = (0, Vec::new(), 0);
        while now < 3 * schedule.effective_interval_ns() {
            let next = schedule.next_due(now).unwrap();
            prop_assert!(next >= now);
            now = next;
            schedule.due(now, &mut due);
            prop_assert!(!due.is_empty(), "woken for nothing at {}", now);
            fired += due.drain(..).count();
        }
        prop_assert!(fired >= 2 * paths as usize);
    }
}

#[test]
fn phases_are_spread() {
    let mut schedule = schedule("n1", 100_000, 1000, SECOND_NS, 0);
    let fired = run(&mut schedule, 0, SECOND_NS, MS);
    for tenth in 0..10 {
        let range = tenth * 100 * MS..(tenth + 1) * 100 * MS;
        let count = fired.iter().filter(|(at, _)| range.contains(at)).count();
        assert!((60..=140).contains(&count), "{count} of 1000 in tenth {tenth}");
    }
}

#[test]
fn two_nodes_have_different_phases() {
    let (mut a, mut b) = (schedule("a", 1000, 20, SECOND_NS, 0), schedule("b", 1000, 20, SECOND_NS, 0));
    assert_ne!(run(&mut a, 0, SECOND_NS, MS), run(&mut b, 0, SECOND_NS, MS));
}

#[test]
fn missed_rounds_are_not_made_up_for() {
    let mut schedule = schedule("n1", 1000, 10, SECOND_NS, 0);
    let mut due = Vec::new();
    schedule.due(10 * SECOND_NS, &mut due);
    assert_eq!(due.len(), 10);
    due.clear();
    schedule.due(10 * SECOND_NS, &mut due);
    assert!(due.is_empty());
}

#[test]
fn expedited_paths_go_first_and_once() {
    let mut schedule = schedule("n1", 1000, 10, 3600 * SECOND_NS, 0);
    schedule.expedite(&[PathId(3), PathId(99), PathId(3), PathId(1)]);
    assert_eq!(schedule.next_due(0), Some(0));
    let mut due = Vec::new();
    schedule.due(0, &mut due);
    assert_eq!(due, [PathId(3), PathId(1)]);
}

#[test]
fn a_probe_dearer_than_the_budget_still_leaves() {
    let mut schedule = Schedule::new("n1", 1);
    schedule.set(0, [(PathId(1), ProbeKind::Tcp)], SECOND_NS, 0);
    let fired = run(&mut schedule, 0, 5 * SECOND_NS, 10 * MS);
    assert!(fired.len() >= 4, "{fired:?}");
}

#[test]
fn packets_beside_probes_have_room_of_their_own() {
    let mut schedule = Schedule::new("n1", 11);
    schedule.reserve(10);
    schedule.set(0, (0..100).map(|path| (PathId(path), ProbeKind::Icmp)), SECOND_NS, 0);
    assert_eq!(schedule.effective_interval_ns(), 10 * SECOND_NS);
    let (mut fired, mut wanted, mut beside, mut due) = (0, 0, 0, Vec::new());
    for now_ns in (0..100 * SECOND_NS).step_by((20 * MS) as usize) {
        schedule.due(now_ns, &mut due);
        for _ in due.drain(..) {
            fired += 1;
            wanted += u32::from(fired % 10 == 0);
            // What finds no room goes with a later one.
            if wanted > 0 && schedule.has_room() {
                schedule.spend(now_ns);
                (wanted, beside) = (wanted - 1, beside + 1);
            }
        }
        assert!(schedule.spent_packets <= 11);
    }
    assert!(fired >= 950 && beside >= 60, "{fired} and {beside}");
}

#[test]
fn the_plan_can_lower_the_agents_limit_but_not_raise_it() {
    let mut schedule = Schedule::new("n1", 10);
    let paths = || (0..100).map(|path| (PathId(path), ProbeKind::Icmp));
    schedule.set(0, paths(), SECOND_NS, 1000);
    assert_eq!(schedule.effective_interval_ns(), 10 * SECOND_NS);
    schedule.set(0, paths(), SECOND_NS, 5);
    assert_eq!(schedule.effective_interval_ns(), 20 * SECOND_NS);
}

/// How often each path was probed in a time.
fn counts(fired: &[(u64, PathId)], paths: u32) -> Vec<usize> {
    (0..paths).map(|path| fired.iter().filter(|(_, fired)| fired.0 == path).count()).collect()
}

#[test]
fn what_is_wanted_more_often_is_sent_so_and_the_rest_as_before() {
    let mut schedule = schedule("n1", 1000, 10, SECOND_NS, 0);
    schedule.hasten(1, vec![(PathId(3), 20 * MS), (PathId(4), 100 * MS)], 10 * SECOND_NS, 0);
    assert_eq!(schedule.shortest_ns(), Some(20 * MS));
    assert_eq!(schedule.rate_pps(), 10 + 49 + 9);
    let fired = run(&mut schedule, 0, 10 * SECOND_NS, 5 * MS);
    for (path, count) in counts(&fired, 10).into_iter().enumerate() {
        let wanted = match path {
            3 => 500,
            4 => 100,
            _ => 10,
        };
        assert!(count.abs_diff(wanted) <= 1, "{path}: {count} of {wanted}");
    }
    let after = run(&mut schedule, 10 * SECOND_NS, 20 * SECOND_NS, 5 * MS);
    assert!(counts(&after, 10).into_iter().all(|count| count.abs_diff(10) <= 1), "it is over by itself");
    assert_eq!((schedule.shortest_ns(), schedule.rate_pps()), (None, 10));
}

#[test]
fn a_wish_is_said_again_ended_and_replaced() {
    let mut schedule = schedule("n1", 1000, 2, SECOND_NS, 0);
    schedule.hasten(1, vec![(PathId(0), 100 * MS)], SECOND_NS, 0);
    schedule.hasten(1, vec![(PathId(0), 100 * MS)], 3 * SECOND_NS, SECOND_NS / 2);
    assert!(counts(&run(&mut schedule, 0, 2 * SECOND_NS, 5 * MS), 2)[0] >= 19, "prolonged");
    schedule.hasten(1, vec![(PathId(1), 100 * MS)], 4 * SECOND_NS, 2 * SECOND_NS);
    let fired = run(&mut schedule, 2 * SECOND_NS, 3 * SECOND_NS, 5 * MS);
    let [old, new] = counts(&fired, 2)[..] else { panic!() };
    assert!(old <= 1 && new >= 9, "{old} {new}");
    schedule.hasten(1, Vec::new(), 0, 3 * SECOND_NS);
    assert_eq!(schedule.shortest_ns(), None);
    schedule.hasten(2, vec![(PathId(7), MS)], 9 * SECOND_NS, 3 * SECOND_NS);
    assert_eq!(schedule.shortest_ns(), None, "a path that is not planned is passed over");
}

#[test]
fn what_goes_with_probes_goes_with_the_usual_ones() {
    let mut schedule = schedule("n1", 1000, 1, SECOND_NS, 0);
    schedule.hasten(1, vec![(PathId(0), 50 * MS)], 10 * SECOND_NS, 0);
    let fired = run(&mut schedule, 0, 10 * SECOND_NS, 5 * MS);
    let usual = fired.iter().filter(|&&(at_ns, path)| schedule.is_usual(path, at_ns)).count();
    assert!(fired.len() > 190 && (9..=11).contains(&usual), "{} {usual}", fired.len());
    assert!(schedule.is_usual(PathId(9), 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is wished for: no second sees more than the budget, and nobody's probes become fewer.
    #[test]
    fn the_budget_holds_and_the_others_keep_their_pace(
        paths in 2u32..60, budget in 10u32..200, wish_ms in 1u64..400, some in 1u32..10,
    ) {
        let mut schedule = schedule("n1", budget, paths, SECOND_NS, 7);
        let round_ns = schedule.effective_interval_ns();
        let hasty = some.min(paths - 1);
        let wish = (0..hasty).map(|path| (PathId(path), wish_ms * MS)).collect();
        let until = 7 + 10 * round_ns;
        schedule.hasten(1, wish, until, 7);
        let fired = run(&mut schedule, 7, until, 5 * MS);
        prop_assert!(budget_holds(&fired, budget as usize));
        for (path, count) in counts(&fired, paths).into_iter().enumerate() {
            prop_assert!(count >= 8, "path {path} of {hasty} hasty ones: {count} in 10 rounds");
        }
    }
}
