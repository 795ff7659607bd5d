//! Answers equal what was recorded, as far as their step allows; a restart changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use netcheck_history::History;
use netcheck_history::path::PathNumber;
use netcheck_history::record::{
    CheckResult, Drops, Fact, FactKind, INACTIVE, IncidentRevision, Left, Limits, Losses, Record, Remark,
    Topic, UNJUDGED, Verdicts, Windows,
};
use netcheck_history::retention::Retention;
use netcheck_history::window::{Fidelity, Window};
use netcheck_history::writer::Full;
use proptest::prelude::*;

use crate::{Running, SECOND_NS, START_NS, event, path, window};

const STEP_NS: i64 = 10 * SECOND_NS;

#[derive(Clone, Debug)]
struct Measured {
    path: u32,
    step: i64,
    window: Window,
}

/// Three hours and a half of windows here and there, of paths of three groups.
fn measured() -> impl Strategy<Value = Vec<Measured>> {
    let delays =
        prop::collection::vec(prop_oneof![9 => 150_000_u64..250_000, 1 => 1_000_u64..90_000_000], 0..5);
    let one = (0_u32..6, 0_i64..1260, delays, any::<[u8; 6]>(), any::<u8>());
    let one = one.prop_map(|(path, step, delays, failed, suspect)| {
        let window = Window { failed: failed.map(u32::from), suspect: suspect.into(), ..window(&delays) };
        Measured { path: path * 150, step, window }
    });
    prop::collection::vec(one, 0..400).prop_map(|mut all| {
        all.sort_by_key(|measured| measured.step);
        all
    })
}

type Counts = (u64, u64, u64);

fn counts(window: &Window) -> Counts {
    (window.reply.into(), window.failed.iter().map(|&count| u64::from(count)).sum(), window.suspect.into())
}

fn sums<K: Ord>(windows: impl Iterator<Item = (K, Window)>) -> BTreeMap<K, Counts> {
    let mut sums = BTreeMap::new();
    for (key, window) in windows {
        let (sum, more): (&mut Counts, _) = (sums.entry(key).or_default(), counts(&window));
        *sum = (sum.0 + more.0, sum.1 + more.1, sum.2 + more.2);
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn series_and_snapshots_equal_a_model(all in measured(), at in 0_i64..1260, ticks in 1_i64..40) {
        let history = Running::run(History::in_memory(Retention::default(), START_NS));
        let mut model: BTreeMap<(u32, i64), Window> = BTreeMap::new();
        let mut next = 0;
        for measured in &all {
            while next + ticks <= measured.step {
                next += ticks;
                history.writer.tick(START_NS + next * STEP_NS);
            }
            let windows = vec![(PathNumber(measured.path), measured.window.clone())];
            history.record(Record::Windows(Windows { start_ns: START_NS + measured.step * STEP_NS, windows, late: false }));
            // The later of two for the same step replaces the earlier.
            model.insert((measured.path, measured.step), measured.window.clone());
        }
        history.writer.flush(START_NS + 1260 * STEP_NS);
        prop_assert_eq!(history.writer.counts().late, 0);
        let end_ns = START_NS + 2000 * STEP_NS;
        for (step_s, steps) in [(10, 1), (60, 6), (600, 60), (1800, 180)] {
            for path in (0..6).map(|path| path * 150) {
                let series = history
                    .reader
                    .series(PathNumber(path), START_NS, end_ns, Duration::from_secs(step_s))
                    .unwrap();
                prop_assert_eq!(series.unreadable, 0);
                let found = series.points.iter().map(|point| (point.start_ns, point.window.clone()));
                let of = model.iter().filter(|((this, _), _)| *this == path);
                let of = of.map(|((_, step), window)| (START_NS + step / steps * steps * STEP_NS, window.clone()));
                prop_assert_eq!(sums(found), sums(of));
                for point in &series.points {
                    let delays = point.window.delays.as_ref();
                    let held = delays.map_or(0, |delays| delays.round_trip.count());
                    prop_assert_eq!(held, u64::from(point.window.reply), "delays are reported for every reply");
                }
            }
        }
        let range = Duration::from_secs(120);
        let snapshot = history.reader.snapshot_at(START_NS + at * STEP_NS, range).unwrap();
        prop_assert_eq!(snapshot.step, Duration::from_secs(10));
        let found = snapshot.paths.into_iter().filter_map(|(path, at)| Some((path.0, at.window?)));
        let of = model.iter().filter(|((_, step), _)| (at - 12..at).contains(step));
        prop_assert_eq!(sums(found), sums(of.map(|((path, _), window)| (*path, window.clone()))));
        history.close();
    }
}

#[test]
fn delays_are_exact_then_quantiles_and_unusual_ones_stay() {
    let history = Running::run(History::in_memory(Retention::default(), START_NS));
    let usual: Vec<u64> = (0..10).map(|at| 197_000 + at * 500).collect();
    for step in 0..60 {
        let delays = if step == 31 { vec![80_000_000] } else { usual.clone() };
        let windows = vec![(PathNumber(4), window(&delays))];
        history.record(Record::Windows(Windows {
            start_ns: START_NS + step * STEP_NS,
            windows,
            late: false,
        }));
    }
    history.writer.flush(START_NS + 60 * STEP_NS);
    let ask = |step_s| {
        let end_ns = START_NS + 60 * STEP_NS;
        history.reader.series(PathNumber(4), START_NS, end_ns, Duration::from_secs(step_s)).unwrap().points
    };
    assert_eq!(ask(10)[5].window, window(&usual), "as it was measured, until it is rolled up");
    history.writer.flush(START_NS + 90 * STEP_NS);
    let fine = ask(10);
    let unusual = Window { fidelity: Fidelity::Quantiles, ..window(&[80_000_000]) };
    assert_eq!(fine[31].window, unusual, "what is unusual stays");
    assert_eq!((fine[5].window.reply, fine[5].window.fidelity), (10, Fidelity::Coarser));
    let quantile = |window: &Window, q| window.delays.as_ref().unwrap().round_trip.quantile_ns(q);
    assert_eq!(quantile(&fine[5].window, 0.5), quantile(&window(&usual), 0.5));
    let minutes = ask(60);
    assert_eq!((minutes[0].window.reply, minutes[0].window.fidelity), (60, Fidelity::Coarser));
    assert_eq!(minutes[5].window.fidelity, Fidelity::Quantiles);
    let ten = &ask(600)[0].window;
    assert_eq!((ten.reply, ten.fidelity), (591, Fidelity::Quantiles));
    assert_eq!(quantile(ten, 1.0), quantile(&window(&[80_000_000]), 1.0));
    history.close();
}

fn incident(id: &str, at: i64, first: i64, closed: Option<i64>) -> IncidentRevision {
    IncidentRevision {
        id: id.into(),
        at_ns: START_NS + at * SECOND_NS,
        first_seen_ns: START_NS + first * SECOND_NS,
        closed_ns: closed.map(|closed| START_NS + closed * SECOND_NS),
        fields: vec![("node".into(), "node-3".into())],
        body: vec![at as u8],
    }
}

#[test]
fn a_restart_gives_back_what_stood() {
    let dir = crate::tempdir();
    let (history, notes) = Running::open(dir.path(), START_NS);
    assert_eq!(notes, []);
    let numbers: Vec<PathNumber> = (0..600).map(|at| history.writer.path(&path(at))).collect();
    let verdicts = |at: i64, verdict| Verdicts {
        at_ns: START_NS + at * SECOND_NS,
        changes: vec![(numbers[5], verdict), (numbers[599], Some(1))],
    };
    history.record(Record::Verdicts(verdicts(10, Some(2))));
    history.writer.flush(START_NS + 20 * SECOND_NS);
    history.record(Record::Verdicts(verdicts(30, Some(4))));
    history.record(Record::Incident(incident("a", 40, 35, None)));
    history.record(Record::Incident(incident("b", 41, 36, None)));
    history.record(Record::Incident(incident("a", 50, 35, None)));
    history.record(Record::Incident(incident("b", 60, 36, Some(59))));
    let own = Fact { kind: FactKind::Hub, key: "began".into(), value: Some(vec![7]) };
    let absent = Fact { kind: FactKind::ExpectedAbsent, key: "node/x".into(), value: Some(vec![]) };
    for fact in [&own, &absent] {
        history.record(Record::Fact(fact.clone()));
    }
    history.record(Record::Fact(Fact { kind: FactKind::Hub, key: "gone".into(), value: Some(vec![1]) }));
    history.record(Record::Fact(Fact { kind: FactKind::Hub, key: "gone".into(), value: None }));
    history.close();

    let (history, notes) = Running::open(dir.path(), START_NS + 500 * SECOND_NS);
    assert_eq!(notes, []);
    let state = history.reader.state().unwrap();
    let since = |at: i64| START_NS + at * SECOND_NS;
    assert_eq!(
        state.verdicts,
        BTreeMap::from([(numbers[5], (4, since(30))), (numbers[599], (1, since(10)))])
    );
    assert_eq!(state.incidents, [incident("a", 50, 35, None)]);
    assert_eq!(state.facts, [absent, own]);
    assert_eq!(state.unreadable, 0);
    for (at, number) in (0..).zip(&numbers) {
        assert_eq!(history.writer.path(&path(at)), *number);
        assert_eq!(history.reader.path(*number).unwrap(), Some(path(at)));
    }
    assert_eq!(history.writer.path(&path(9999)), PathNumber(600));
    // The writer goes on from them as well.
    history.record(Record::Verdicts(verdicts(510, None)));
    history.writer.flush(START_NS + 520 * SECOND_NS);
    assert_eq!(history.reader.verdicts_at(since(25)).unwrap()[&numbers[5]], (2, since(10)));
    assert_eq!(history.reader.verdicts_at(since(5)).unwrap(), BTreeMap::new());
    let now = history.reader.verdicts_at(since(515)).unwrap();
    assert_eq!(now, BTreeMap::from([(numbers[599], (1, since(10)))]));
    let ids = |from: i64, to: i64| -> Vec<(String, u8)> {
        let incidents = history.reader.incidents(since(from), since(to)).unwrap();
        incidents.into_iter().map(|incident| (incident.id, incident.body[0])).collect()
    };
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(ids(45, 55), [(a.clone(), 40), (b.clone(), 41), (a.clone(), 50)]);
    assert_eq!(ids(100, 200), [(a.clone(), 40), (a.clone(), 50)], "open all the time, recorded before");
    assert_eq!(ids(0, 30), []);
    assert_eq!(ids(0, 1000), [(a.clone(), 40), (b.clone(), 41), (a, 50), (b, 60)]);
    history.close();
}

#[test]
fn everything_else_is_found_by_time() {
    let dir = crate::tempdir();
    let (history, _) = Running::open(dir.path(), START_NS);
    let day_ns = 86_400 * SECOND_NS;
    for day in 0..3 {
        let at_ns = START_NS + day * day_ns;
        history.record(Record::Event(event(at_ns, &day.to_string())));
        let counts = vec![(PathNumber(3), b"wire".to_vec(), 9)];
        history.record(Record::Losses(Losses { at_ns, counts }));
        let counts = vec![("eth0".to_owned(), "NO_SOCKET".to_owned(), 4)];
        history.record(Record::Drops(Drops { at_ns, node: "n".into(), counts }));
        history.record(Record::Check(CheckResult { at_ns, check: "c".into(), body: vec![day as u8] }));
    }
    history.writer.flush(START_NS + 2 * day_ns);
    let reader = &history.reader;
    let subjects = |from, to| -> Vec<String> {
        reader.events(from, to).unwrap().into_iter().map(|event| event.subject).collect()
    };
    assert_eq!(subjects(i64::MIN, i64::MAX), ["0", "1", "2"]);
    assert_eq!(subjects(START_NS, START_NS + day_ns), ["0"]);
    assert_eq!(subjects(START_NS + 1, START_NS + 2 * day_ns + 1), ["1", "2"]);
    assert_eq!(reader.losses(START_NS + 1, i64::MAX).unwrap().len(), 2);
    assert_eq!(reader.drops(START_NS + 1, i64::MAX).unwrap()[0].counts[0].1, "NO_SOCKET");
    assert_eq!(reader.checks(START_NS + day_ns, i64::MAX).unwrap()[1].body, [2]);
    history.close();
}

#[test]
fn a_full_queue_drops_and_counts() {
    let History { writer, reader: _, task } = History::in_memory(Retention::default(), START_NS);
    let mut taken = 0;
    let full = loop {
        match writer.try_record(Record::Event(event(START_NS, "x"))) {
            Ok(number) => {
                taken += 1;
                assert_eq!(number, taken);
            }
            Err(full) => break full,
        }
    };
    assert_eq!(full, Full);
    assert_eq!((writer.counts().dropped, writer.committed()), (1, 0));
    drop(task);
}

#[test]
fn late_windows_are_refused_and_counted() {
    let history = Running::run(History::in_memory(Retention::default(), START_NS));
    let windows = || vec![(PathNumber(1), window(&[5])), (PathNumber(2), window(&[5]))];
    history.writer.flush(START_NS + 3600 * SECOND_NS);
    history.record(Record::Windows(Windows { start_ns: START_NS, windows: windows(), late: false }));
    history.record(Record::Windows(Windows {
        start_ns: START_NS + 3550 * SECOND_NS,
        windows: windows(),
        late: false,
    }));
    history.writer.flush(START_NS + 3601 * SECOND_NS);
    assert_eq!(history.writer.counts().late, 2);
    history.close();
}

#[test]
fn what_comes_late_is_added_once_whether_or_not_it_is_on_the_disk_already() {
    let history = Running::run(History::in_memory(Retention::default(), START_NS));
    let give = |path: u32, late: bool| {
        let windows = vec![(PathNumber(path), window(&[5]))];
        history.record(Record::Windows(Windows { start_ns: START_NS, windows, late }));
    };
    give(1, false);
    give(1, true);
    give(2, true);
    history.writer.flush(START_NS + 11 * SECOND_NS);
    give(1, true);
    give(2, true);
    give(3, false);
    history.writer.flush(START_NS + 12 * SECOND_NS);
    give(3, false);
    history.writer.flush(START_NS + 13 * SECOND_NS);
    let snapshot = history.reader.snapshot_at(START_NS + 15 * SECOND_NS, Duration::from_secs(10)).unwrap();
    let replies = |path: u32| snapshot.paths[&PathNumber(path)].window.as_ref().unwrap().reply;
    assert_eq!([replies(1), replies(2), replies(3)], [3, 2, 1]);
    assert_eq!((snapshot.from_ns, snapshot.to_ns), (START_NS, START_NS + 10 * SECOND_NS), "whole steps");
    history.close();
}

/// Over checkpoints, restarts and days.
#[test]
fn remarks_and_limits_of_a_time_are_those_that_were_recorded_last_by_then() {
    let dir = crate::tempdir();
    let second = |second: i64| START_NS + second * SECOND_NS;
    let limits = |at: i64, path: u32, limit: &str| {
        let changes = vec![(PathNumber(path), limit.as_bytes().to_vec())];
        Record::Limits(Limits { at_ns: second(at), changes })
    };
    let remark = |at: i64, topic, body: &str| {
        Record::Remark(Remark { at_ns: second(at), topic, body: body.as_bytes().to_vec() })
    };
    let stands = |at: i64, path: u32| {
        let changes = vec![(PathNumber(path), Some(0))];
        Record::Verdicts(Verdicts { at_ns: second(at), changes })
    };
    let (first, _) = Running::open(dir.path(), START_NS);
    for record in [
        stands(0, 1),
        stands(0, 2),
        limits(1, 1, "1500"),
        limits(1, 2, "1500"),
        remark(2, Topic::Caveats, "n1 is away"),
        remark(3, Topic::Rotation, "7 rest"),
        limits(5, 1, "1450"),
    ] {
        first.record(record);
    }
    first.writer.flush(second(10));
    first.close();
    let (again, _) = Running::open(dir.path(), second(90_000));
    // The first tick of a writer writes all that stands, those days later too.
    again.writer.flush(second(90_000));
    again.record(limits(90_005, 2, ""));
    again.record(remark(90_006, Topic::Caveats, ""));
    again.writer.flush(second(90_010));
    let limit = |at: i64, path: u32| {
        let limits = again.reader.limits_at(second(at)).unwrap();
        let text = |(since_ns, body): &(i64, std::sync::Arc<[u8]>)| {
            ((since_ns - START_NS) / SECOND_NS, String::from_utf8(body.to_vec()).unwrap())
        };
        limits.get(&PathNumber(path)).map(text)
    };
    assert_eq!(limit(0, 1), None);
    assert_eq!([limit(1, 1), limit(4, 1)], [1, 1].map(|since| Some((since, "1500".to_owned()))));
    assert_eq!([limit(5, 1), limit(90_007, 1)], [5, 5].map(|since| Some((since, "1450".to_owned()))));
    assert_eq!([limit(90_004, 2), limit(90_005, 2)], [Some((1, "1500".to_owned())), None]);
    let said = |at: i64, topic| {
        let found = again.reader.remark_at(topic, second(at)).unwrap();
        found.map(|(_, body)| String::from_utf8(body).unwrap())
    };
    assert_eq!(said(1, Topic::Caveats), None);
    assert_eq!(said(90_000, Topic::Caveats).unwrap(), "n1 is away");
    assert_eq!(said(90_006, Topic::Caveats).unwrap(), "");
    assert_eq!(said(90_006, Topic::Rotation).unwrap(), "7 rest");
    again.close();
}

/// What is measured is not taken away by what is said of those that rest.
#[test]
fn only_paths_that_rest_leave() {
    let history = Running::run(History::in_memory(Retention::default(), START_NS));
    let changes = vec![(PathNumber(1), Some(0)), (PathNumber(2), Some(2 | INACTIVE))];
    history.record(Record::Verdicts(Verdicts { at_ns: START_NS, changes }));
    let paths = vec![PathNumber(1), PathNumber(2), PathNumber(3)];
    history.record(Record::Left(Left { at_ns: START_NS + 5 * SECOND_NS, paths }));
    history.writer.flush(START_NS + 10 * SECOND_NS);
    let at = |second: i64| -> Vec<u32> {
        let verdicts = history.reader.verdicts_at(START_NS + second * SECOND_NS).unwrap();
        verdicts.keys().map(|path| path.0).collect()
    };
    assert_eq!([at(4), at(5)], [vec![1, 2], vec![1]]);
    history.close();
}

#[test]
fn a_verdict_that_nobody_judged_for_a_while_keeps_its_time() {
    let history = Running::run(History::in_memory(Retention::default(), START_NS));
    let judge = |second: i64, verdict: u8| {
        let changes = vec![(PathNumber(1), Some(verdict))];
        history.record(Record::Verdicts(Verdicts { at_ns: START_NS + second * SECOND_NS, changes }));
    };
    judge(0, 2);
    judge(5, 2 | UNJUDGED);
    judge(9, 2);
    judge(12, 2 | INACTIVE);
    judge(20, 3);
    history.writer.flush(START_NS + 30 * SECOND_NS);
    let at = |second: i64| {
        let (verdict, since_ns) =
            history.reader.verdicts_at(START_NS + second * SECOND_NS).unwrap()[&PathNumber(1)];
        (verdict, (since_ns - START_NS) / SECOND_NS)
    };
    assert_eq!([at(1), at(6), at(10)], [(2, 0), (2 | UNJUDGED, 0), (2, 0)]);
    assert_eq!([at(13), at(20)], [(2 | INACTIVE, 0), (3, 20)]);
    history.close();
}
