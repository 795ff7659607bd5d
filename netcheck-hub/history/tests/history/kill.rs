//! A process that writes is killed at random instants; what it said was written is there, and nothing half.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netcheck_history::path::PathNumber;
use netcheck_history::record::{Record, Windows};

use crate::{Running, SECOND_NS, START_NS, event, window};

const DIR: &str = "NETCHECK_HISTORY_KILLED_DIR";
/// Some hundred.
const KILLS: u32 = 250;
/// On a machine that is busy with other things fewer have to do.
const TIME: Duration = Duration::from_secs(25);

/// What the last event says; events are 1, 2, 3, …
fn last(history: &Running) -> i64 {
    let events = history.reader.events(START_NS, i64::MAX).unwrap();
    for (at, event) in (1..).zip(&events) {
        assert_eq!(event.subject, at.to_string(), "events are a prefix, without gaps");
    }
    events.len() as i64
}

/// Not a test: the process that is killed. Each step is an event and a window in one transaction.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let dir = std::env::var_os(DIR).unwrap();
    let (history, notes) = Running::open(Path::new(&dir), START_NS);
    assert_eq!(notes, []);
    for step in last(&history) + 1.. {
        let at_ns = START_NS + step * 10 * SECOND_NS;
        let windows = vec![(PathNumber((step % 3) as u32 * 200), window(&[step as u64]))];
        history.record(Record::Event(event(at_ns, &step.to_string())));
        history.record(Record::Windows(Windows { start_ns: at_ns, windows, late: false }));
        // Every third writes, and a step of the clock is a minute: much is rolled up and merged.
        if step % 3 == 0 {
            history.writer.flush(at_ns);
            println!("written {step}");
            std::io::stdout().flush().unwrap();
        }
    }
}

#[test]
fn what_was_written_survives_a_kill() {
    let dir = crate::tempdir();
    let (began, mut seed, mut kills, mut known) = (Instant::now(), 88_172_645_463_325_252_u64, 0, 0);
    while kills < KILLS && began.elapsed() < TIME {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "kill::child", "--ignored", "--nocapture"]).env(DIR, dir.path());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let written = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.filter_map(|line| line.rsplit_once("written ")?.1.parse().ok()).last()
        });
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_micros(10_000 + seed % 50_000));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it was killed, and did not end by itself");
        known = written.join().unwrap().unwrap_or(known);
        kills += 1;

        let (history, notes) = Running::open(dir.path(), START_NS);
        assert_eq!(notes, [], "after {kills} kills");
        let found = last(&history);
        assert!(found >= known, "{found} of {known} after {kills} kills");
        let windows: u64 = (0..3)
            .map(|path| {
                let path = PathNumber(path * 200);
                let end_ns = START_NS + (found + 100) * 10 * SECOND_NS;
                let series = history.reader.series(path, START_NS, end_ns, Duration::from_secs(600)).unwrap();
                assert_eq!(series.unreadable, 0);
                series.points.iter().map(|point| u64::from(point.window.reply)).sum::<u64>()
            })
            .sum();
        assert_eq!(windows as i64, found, "each transaction is there as a whole");
        known = found;
        history.close();
    }
    println!("{kills} kills in {:.1?}, {known} steps", began.elapsed());
    assert!(kills >= 40, "only {kills} in {TIME:?}");
    assert!(known > 20);
}
