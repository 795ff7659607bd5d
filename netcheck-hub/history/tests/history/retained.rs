//! What must be kept is, what is too old goes.

use std::time::Duration;

use netcheck_history::History;
use netcheck_history::path::PathNumber;
use netcheck_history::record::{Record, Windows};
use netcheck_history::retention::Retention;
use netcheck_history::tier::Tier;

use crate::{Running, SECOND_NS, START_NS, event, window};

const DAY_NS: i64 = 86_400 * SECOND_NS;

#[test]
fn every_tier_keeps_its_time_and_not_much_more() {
    let history = Running::run(History::in_memory(Retention::default(), START_NS));
    let path = history.writer.path(&crate::path(1));
    let gone = history.writer.path(&crate::path(2));
    let end_ns = START_NS + 40 * DAY_NS;
    for at_ns in (START_NS..end_ns).step_by(600 * SECOND_NS as usize) {
        let mut windows = vec![(path, window(&[200_000, 201_000]))];
        if at_ns < START_NS + DAY_NS {
            windows.push((gone, window(&[1_000])));
        }
        history.record(Record::Windows(Windows { start_ns: at_ns, windows, late: false }));
        if (at_ns - START_NS) % DAY_NS == 0 {
            history.record(Record::Event(event(at_ns, "day")));
        }
        // Every hour, so that more than one bucket is due at a time.
        if (at_ns - START_NS) % (3600 * SECOND_NS) == 0 {
            history.writer.flush(at_ns);
        }
    }
    history.writer.flush(end_ns);
    assert_eq!(history.writer.counts().late, 0);
    for (step_s, days) in [(10, 1), (60, 7), (600, 30)] {
        let ask =
            |from_ns| history.reader.series(path, from_ns, end_ns, Duration::from_secs(step_s)).unwrap();
        let points = ask(end_ns - days * DAY_NS).points;
        assert_eq!(points.len() as i64, days * 144, "at {step_s} s all of {days} days");
        assert!(
            points.iter().all(|point| point.length == Duration::from_secs(step_s) && point.window.reply == 2)
        );
    }
    let all = history.reader.series(path, START_NS, end_ns, Duration::from_secs(10)).unwrap().points;
    assert!(all.len() <= 31 * 144 && all.is_sorted_by_key(|point| point.start_ns));
    assert!(all[0].length == Duration::from_secs(600));
    for reach in history.reader.reaches_back() {
        let days = match reach.tier {
            Some(Tier::Raw | Tier::Fine) => 1,
            Some(Tier::Minute) => 7,
            Some(Tier::Coarse) | None => 30,
        };
        let age_ns = end_ns - reach.oldest_ns;
        assert!(age_ns <= (days + 1) * DAY_NS, "{reach:?} is {} days old", age_ns / DAY_NS);
        assert!(age_ns >= days * DAY_NS || reach.tier == Some(Tier::Raw), "{reach:?}");
    }
    let days =
        history.reader.events(START_NS, end_ns).unwrap().into_iter().filter(|event| event.subject == "day");
    assert!((30..=31).contains(&days.count()));
    assert_eq!(history.reader.path(path).unwrap(), Some(crate::path(1)));
    assert_eq!(history.reader.path(gone).unwrap(), None, "nothing speaks of it any more");
    assert_ne!(history.writer.path(&crate::path(2)), gone, "and its number is not used again");
    history.close();
}

#[test]
fn bytes_are_bounded_and_the_finest_goes_first() {
    let dir = crate::tempdir();
    let bytes = 48 << 10;
    let retention = Retention { bytes, ..Retention::default() };
    let (history, _) = History::open(dir.path(), retention, START_NS);
    let history = Running::run(history);
    let mut delay = 1_u64;
    let end_ns = START_NS + 3 * DAY_NS;
    for at_ns in (START_NS..end_ns).step_by(1800 * SECOND_NS as usize) {
        let windows = (0..150).map(|path| {
            let delays: Vec<u64> = (0..30)
                .map(|_| {
                    delay = delay.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    delay >> (24 + path % 20)
                })
                .collect();
            (PathNumber(path), window(&delays))
        });
        history.record(Record::Windows(Windows { start_ns: at_ns, windows: windows.collect(), late: false }));
        history.writer.flush(at_ns);
    }
    history.writer.flush(end_ns);
    let (counts, reach) = (history.writer.counts(), history.reader.reaches_back());
    assert!(counts.squeezed_out > 0, "{counts:?} {reach:?}");
    let oldest = |tier| reach.iter().find(|reach| reach.tier == Some(tier)).map(|reach| reach.oldest_ns);
    assert!(oldest(Tier::Fine) >= oldest(Tier::Coarse), "{reach:?}");
    let held: u64 = reach.iter().map(|reach| reach.bytes).sum();
    assert!(held <= bytes, "{held} bytes: {reach:?}");
    let newest =
        history.reader.series(PathNumber(7), end_ns - 7200 * SECOND_NS, end_ns, Duration::from_secs(10));
    assert_eq!(newest.unwrap().points.len(), 4, "what is new stays");
    history.close();
}
