//! What history costs: bytes a path and day, processor time to take windows in and to roll them up, and the time of
//! questions. Measured, never asserted. `cargo xtask bench history`.
//!
//! The load: every path answers ten probes in every ten seconds, its delays scattered by about 10 % around its own
//! median, one in 5,000 of them slow by a factor of 20 or more, one in 20,000 probes lost.
#![expect(clippy::unwrap_used, reason = "what goes wrong here ends the measurement")]

use std::hint::black_box;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netcheck_common::domain::{ProbeKind, Vantage};
use netcheck_history::History;
use netcheck_history::path::{PathIdentity, PathNumber};
use netcheck_history::reader::Reader;
use netcheck_history::record::{IncidentRevision, Record, Verdicts, Windows};
use netcheck_history::retention::Retention;
use netcheck_history::window::{Delays, Window};
use netcheck_history::writer::Writer;
use rustix::time::{ClockId, clock_gettime};

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;
const DAY_NS: i64 = 24 * HOUR_NS;
const START_NS: i64 = 1_700_006_400 * SECOND_NS;
/// Paths of a node in one record.
const NODE: u32 = 1024;

/// Time that passed, and time that the process used: the difference is what others had of the machine.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn took<T>(what: impl FnOnce() -> T) -> (T, Took) {
    let (began, used) = (Instant::now(), cpu());
    let done = what();
    (done, Took { wall: began.elapsed(), cpu: cpu() - used })
}

/// Prints figures, as lines or as one JSON object.
struct Print {
    json: bool,
    figures: Vec<(String, String)>,
}

impl Print {
    fn figure(&mut self, name: &str, value: f64, unit: &str) {
        if self.json {
            self.figures.push((format!("{name} [{unit}]"), format!("{value}")));
        } else {
            println!("{name:52} {value:10.1} {unit}");
        }
    }

    fn took(&mut self, name: &str, Took { wall, cpu }: Took) {
        self.figure(name, cpu.as_secs_f64() * 1e3, "ms of CPU");
        self.figure(&format!("{name}, on the clock"), wall.as_secs_f64() * 1e3, "ms");
    }

    fn end(self) {
        if self.json {
            let figures: Vec<String> =
                self.figures.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
            println!("{{\n{}\n}}", figures.join(",\n"));
        }
    }
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// About normal, with a deviation of 1.
    fn normal(&mut self) -> f64 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|at| bits >> (at * 16) & 0xffff).sum();
        (sum as f64 / 65_536.0 - 2.0) * 1.732
    }

    /// What `probes` probes of a path come to.
    fn window(&mut self, path: u32, probes: u32) -> Window {
        let mut window = Window::default();
        let mut delays = Delays::default();
        // Medians from 100 µs to 1.6 ms.
        let median_ns =
            100_000.0 * f64::from(path.wrapping_mul(2_654_435_761) % 4000).mul_add(0.001, 0.0).exp2();
        for _ in 0..probes {
            if self.next().is_multiple_of(20_000) {
                window.failed[0] += 1;
                continue;
            }
            window.reply += 1;
            let slow = if self.next().is_multiple_of(5000) { 20.0 + (self.next() % 80) as f64 } else { 1.0 };
            let mut share = |of: f64, factor: f64| {
                (median_ns * of * factor * (1.0 + 0.1 * self.normal()).max(0.5)) as u64
            };
            let (network, host, responder) = (share(0.6, slow), share(0.3, 1.0), share(0.1, 1.0));
            delays.network.record(network);
            delays.host.record(host);
            delays.responder.record(responder);
            delays.round_trip.record(network + host + responder);
        }
        window.delays = (window.reply > 0).then(|| Box::new(delays));
        window
    }
}

struct Running {
    writer: Writer,
    reader: Reader,
    task: JoinHandle<()>,
}

impl Running {
    fn open(dir: &Path, retention: Retention) -> Self {
        let (History { writer, reader, task }, notes) = History::open(dir, retention, START_NS);
        assert!(notes.is_empty(), "{notes:?}");
        Self { writer, reader, task: std::thread::spawn(move || task.run()) }
    }

    fn record(&self, record: Record) {
        self.writer.try_record(record).unwrap();
    }

    fn close(self) {
        let Self { writer, reader, task } = self;
        drop((writer, reader));
        task.join().unwrap();
    }

    /// One step of all paths. Returns what the caller spent in giving the records away.
    fn step(&self, paths: u32, start_ns: i64, probes: u32, noise: &mut Noise) -> Duration {
        let mut given = Duration::ZERO;
        for first in (0..paths).step_by(NODE as usize) {
            let paths = first..(first + NODE).min(paths);
            let windows = paths.map(|path| (PathNumber(path), noise.window(path, probes))).collect();
            let record = Record::Windows(Windows { start_ns, windows, late: false });
            let began = Instant::now();
            self.record(record);
            given += began.elapsed();
        }
        given
    }
}

fn identity(at: u32) -> PathIdentity {
    PathIdentity {
        source: format!("node-{}", at / NODE),
        vantage: Vantage::Host,
        target: format!("node/node-{}", at % NODE),
        kind: ProbeKind::Icmp,
        address: [10, 0, (at >> 8) as u8, at as u8].into(),
        port: 0,
        detail: String::new(),
    }
}

/// Bytes a path and day, from hours of full load that end with all tiers merged.
fn size(print: &mut Print, paths: u32, dir: &Path) {
    let history = Running::open(dir, Retention::default());
    let mut noise = Noise(88_172_645_463_325_252);
    let steps = 3 * 360;
    for step in 0..steps {
        let at_ns = START_NS + step * 10 * SECOND_NS;
        history.step(paths, at_ns, 10, &mut noise);
        history.writer.flush(at_ns);
    }
    history.writer.flush(START_NS + 3 * HOUR_NS + 200 * SECOND_NS);
    let counts = history.writer.counts();
    assert_eq!((counts.late, counts.lost, counts.dropped), (0, 0, 0));
    let daily = |bytes: u64| bytes as f64 / f64::from(paths) * 8.0;
    let tiers = [
        ("10 s", counts.bytes_fine, 1.0),
        ("1 min", counts.bytes_minute, 7.0),
        ("10 min", counts.bytes_coarse, 30.0),
    ];
    let mut month = 0.0;
    for (name, bytes, days) in tiers {
        print.figure(&format!("windows of {name}"), daily(bytes), "B a path and day");
        month += daily(bytes) * days;
    }
    let all: f64 = tiers.iter().map(|&(_, bytes, _)| daily(bytes)).sum();
    print.figure("all windows", all, "B a path and day");
    print.figure("100,000 paths, a day more", all * 100_000.0 / 1_048_576.0, "MiB");
    print.figure("100,000 paths, all that is kept by default", month * 100_000.0 / 1_048_576.0, "MiB");
    history.close();
}

/// Costs of taking in and of matrices that are new, at full size.
fn load(print: &mut Print, paths: u32, dir: &Path) {
    let history = Running::open(dir, Retention::default());
    let mut noise = Noise(88_172_645_463_325_252);
    let ((), named) = took(|| {
        (0..paths).for_each(|at| {
            black_box(history.writer.path(&identity(at)));
        });
    });
    print.figure("a path's number", named.cpu.as_secs_f64() * 1e9 / f64::from(paths), "ns");
    let changes = (0..paths).map(|path| (PathNumber(path), Some(1))).collect();
    history.record(Record::Verdicts(Verdicts { at_ns: START_NS, changes }));
    history.writer.flush(START_NS);
    let (mut given, mut commits) = (Duration::ZERO, Vec::new());
    let steps = 72;
    for step in 0..steps {
        let at_ns = START_NS + step * 10 * SECOND_NS;
        given += history.step(paths, at_ns, 10, &mut noise);
        commits.push(took(|| history.writer.flush(at_ns)).1);
    }
    let windows = f64::from(paths) * steps as f64;
    print.figure("try_record, the caller's part", given.as_secs_f64() * 1e9 / windows, "ns a window");
    let cpu: Duration = commits.iter().map(|took| took.cpu).sum();
    print.figure("write, the task's part", cpu.as_secs_f64() * 1e9 / windows, "ns a window");
    commits.sort_by_key(|took| took.wall);
    print.took("write of 10 s of all paths", commits[commits.len() / 2]);
    print.figure("disk with 12 min of raw windows", history.reader.bytes() as f64 / 1_048_576.0, "MiB");
    let now_ns = START_NS + steps * 10 * SECOND_NS;
    matrix(print, &history, "matrix of 2 min, not rolled up yet", now_ns);
    print.took("roll-up of 10 min of all paths", took(|| history.writer.flush(now_ns + 10 * SECOND_NS)).1);
    matrix(print, &history, "matrix of 2 min, from 10 s", START_NS + 500 * SECOND_NS);
    print.took("state for a restart", took(|| black_box(history.reader.state().unwrap())).1);
    history.close();
    let (history, opened) = took(|| Running::open(dir, Retention::default()));
    print.took("open", opened);
    history.close();
}

fn matrix(print: &mut Print, history: &Running, name: &str, at_ns: i64) {
    let ask = || history.reader.snapshot_at(at_ns, Duration::from_secs(120)).unwrap();
    let (snapshot, first) = took(ask);
    let measured = snapshot.paths.values().filter(|path| path.window.is_some()).count();
    assert!(measured > 0 && snapshot.unreadable == 0);
    let mut all = [first, took(ask).1, took(ask).1];
    all.sort_by_key(|took| took.cpu);
    print.took(name, all[1]);
}

/// Matrices of which only coarse windows are left, at full size.
fn old(print: &mut Print, paths: u32, dir: &Path) {
    for (name, minute, every_s) in [("from 1 min", true, 60), ("from 10 min", false, 600)] {
        let dir = dir.join(name);
        let minute = if minute { Duration::from_secs(7 * 86_400) } else { Duration::ZERO };
        let retention = Retention { fine: Duration::ZERO, minute, ..Retention::default() };
        let history = Running::open(&dir, retention);
        let mut noise = Noise(88_172_645_463_325_252);
        let end_ns = START_NS + if every_s == 60 { HOUR_NS } else { 3 * HOUR_NS };
        for at_ns in (START_NS..end_ns).step_by((every_s * SECOND_NS) as usize) {
            history.step(paths, at_ns, 12, &mut noise);
            history.writer.flush(at_ns);
        }
        // A day later the finest is gone.
        history.writer.flush(end_ns + DAY_NS);
        history.writer.flush(end_ns + DAY_NS + SECOND_NS);
        matrix(print, &history, &format!("matrix of 2 min, {name}"), START_NS + 45 * 60 * SECOND_NS);
        history.close();
    }
}

/// A month of some paths and of incidents.
fn month(print: &mut Print, dir: &Path) {
    let history = Running::open(dir, Retention::default());
    let mut noise = Noise(88_172_645_463_325_252);
    let end_ns = START_NS + 30 * DAY_NS;
    for (number, at_ns) in (START_NS..end_ns).step_by((600 * SECOND_NS) as usize).enumerate() {
        history.step(512, at_ns, 60, &mut noise);
        let revision = IncidentRevision {
            id: format!("incident-{}", number / 10),
            at_ns,
            first_seen_ns: at_ns - (number % 10) as i64 * 600 * SECOND_NS,
            closed_ns: (number % 10 == 9).then_some(at_ns),
            fields: vec![("node".into(), format!("node-{}", number % 100))],
            body: vec![7; 2000],
        };
        history.record(Record::Incident(revision));
        if number % 6 == 0 {
            history.writer.flush(at_ns);
        }
    }
    history.writer.flush(end_ns);
    let path = PathNumber(300);
    let ask = |from_ns, step_s| {
        took(|| history.reader.series(path, from_ns, end_ns, Duration::from_secs(step_s)).unwrap())
    };
    let (series, all) = ask(START_NS, 600);
    assert!(series.points.len() >= 29 * 144);
    print.took("a month of one path by 10 min", all);
    print.took("a week of one path by 1 min", ask(end_ns - 7 * DAY_NS, 60).1);
    print.took("a day of one path by 10 s", ask(end_ns - DAY_NS, 10).1);
    let (incidents, asked) = took(|| history.reader.incidents(end_ns - 7 * DAY_NS, end_ns).unwrap());
    print.figure("incidents' revisions of a week", incidents.len() as f64, "");
    print.took("a week of incidents", asked);
    history.close();
}

fn main() {
    // cargo passes --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |name: &str, default| {
        let at = words.iter().position(|word| word == name);
        at.map_or(default, |at| words[at + 1].parse().unwrap())
    };
    let mut print = Print { json: words.iter().any(|word| word == "--json"), figures: Vec::new() };
    let paths = number("--paths", 102_400);
    let parent = words.iter().position(|word| word == "--dir").map_or(".", |at| &words[at + 1]);
    let dir = tempfile::tempdir_in(parent).unwrap();
    size(&mut print, number("--size-paths", 5120), &dir.path().join("size"));
    month(&mut print, &dir.path().join("month"));
    load(&mut print, paths, &dir.path().join("load"));
    old(&mut print, paths, &dir.path().join("old"));
    print.end();
}
