//! Whether this host kept the agent from its work: a CPU quota, a hypervisor that ran others, a queue for the CPU.
//!
//! In: three files of the kernel, read when a loss is about to be declared and otherwise once a second, so that there
//! is something to compare with. Out: a [`StarvationReason`], which makes a sample suspect. The three reads cost 10 µs
//! together on two CPUs. What the kernel does not offer stays 0 and raises no doubt.
//!
//! Totals can't distinguish one long gap from many short ones, so what counts is the share: an agent that lacked a
//! quarter of the time in which a probe was on its way is no judge of it. Ordinary load is far below that, and a single
//! long gap shows as a late turn of the engine's loop. A busy engine on a busy host waits a little each time that it
//! wakes, and that adds up without doing harm: a queue counts only where each wait is long, too.

mod cgroup;

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

pub(crate) use self::cgroup::cpu_stat;
use crate::host::clock::{MILLISECOND_NS, SECOND_NS};
use crate::model::sample::StarvationReason;

/// Readings that are kept to compare with are at least so far apart.
const SPACING_NS: u64 = 500 * MILLISECOND_NS;
/// How many are kept: they reach back for longer than most timeouts.
const READINGS: usize = 16;
/// Part of the time that must be missing.
const SHARE: u64 = 4;
/// Longest wait for a CPU, on average, that is a busy host's daily life: a few slices of the scheduler.
const QUEUED_NS: u64 = 20 * MILLISECOND_NS;
/// Room for the CPU lines of /proc/stat on a machine with hundreds of them.
const STAT_BYTES: usize = 32 << 10;

/// Totals at one time, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    at_ns: u64,
    throttled_ns: u64,
    /// Of each CPU.
    stolen_ns: Vec<u64>,
    /// Of the engine's thread: time that it waited for a CPU, and how often it got one.
    queued_ns: u64,
    runs: u64,
}

impl Reading {
    /// What was missing for too long between this reading and a later one.
    fn why_starved(&self, later: &Self, least_ns: u64) -> Option<StarvationReason> {
        let span_ns = later.at_ns.saturating_sub(self.at_ns);
        let too_long_ns = least_ns.max(span_ns / SHARE);
        let grown = |before: u64, after: u64| after.saturating_sub(before);
        let stolen = self.stolen_ns.iter().zip(&later.stolen_ns);
        let stolen_ns = stolen.map(|(&before, &after)| grown(before, after)).max().unwrap_or(0);
        let queued_ns = grown(self.queued_ns, later.queued_ns);
        let long_waits = queued_ns / grown(self.runs, later.runs).max(1) > QUEUED_NS;
        [
            (StarvationReason::Throttled, grown(self.throttled_ns, later.throttled_ns)),
            (StarvationReason::Stolen, stolen_ns),
            (StarvationReason::Queued, if long_waits { queued_ns } else { 0 }),
        ]
        .into_iter()
        .find_map(|(why_starved, missing_ns)| (missing_ns > too_long_ns).then_some(why_starved))
    }
}

/// The kernel's files, open.
#[derive(Debug)]
struct Sources {
    cpu_stat: Option<File>,
    stat: Option<File>,
    schedstat: Option<File>,
    buffer: Box<[u8]>,
}

impl Sources {
    fn open() -> Self {
        Self {
            cpu_stat: cpu_stat().and_then(|path| File::open(path).ok()),
            stat: File::open("/proc/stat").ok(),
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
            buffer: vec![0; STAT_BYTES].into_boxed_slice(),
        }
    }

    fn read(&mut self, at_ns: u64) -> Reading {
        let Self { cpu_stat, stat, schedstat, buffer } = self;
        let throttled_ns = content(cpu_stat.as_ref(), buffer).map_or(0, cgroup::throttled_ns);
        let stolen_ns = content(stat.as_ref(), buffer).map(stolen_ns).unwrap_or_default();
        let (queued_ns, runs) = content(schedstat.as_ref(), buffer).map_or((0, 0), queued);
        Reading { at_ns, throttled_ns, stolen_ns, queued_ns, runs }
    }
}

/// The start of a file, as it is now.
fn content<'a>(file: Option<&File>, buffer: &'a mut [u8]) -> Option<&'a str> {
    let len = file?.read_at(buffer, 0).ok()?;
    std::str::from_utf8(&buffer[..len]).ok()
}

/// Steal time of each CPU: the eighth number of its line (proc_stat(5)).
fn stolen_ns(stat: &str) -> Vec<u64> {
    let tick_ns = SECOND_NS / rustix::param::clock_ticks_per_second().max(1);
    let cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    cpus.map(|line| number(line, 8) * tick_ns).collect()
}

/// Time that a thread waited for a CPU, and how often it ran: the second and third number
/// (Documentation/scheduler/sched-stats.rst).
fn queued(schedstat: &str) -> (u64, u64) {
    (number(schedstat, 1), number(schedstat, 2))
}

fn number(line: &str, word: usize) -> u64 {
    line.split_ascii_whitespace().nth(word).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What the kernel says of the thread that made it.
#[derive(Debug)]
pub(crate) struct Starvation {
    sources: Sources,
    /// Oldest first.
    readings: VecDeque<Reading>,
    /// As of the last question: several losses are declared in one turn.
    newest: Reading,
}

impl Starvation {
    /// To be called on the thread that it is about.
    pub(crate) fn watch(now_ns: u64) -> Self {
        let mut sources = Sources::open();
        let newest = sources.read(now_ns);
        Self { sources, readings: VecDeque::from([newest.clone()]), newest }
    }

    /// Remembers how things stand, for later questions. To be called about once a second.
    pub(crate) fn look(&mut self, now_ns: u64) {
        if self.newest.at_ns < now_ns {
            self.newest = self.sources.read(now_ns);
        }
        if self.readings.back().is_none_or(|last| last.at_ns.saturating_add(SPACING_NS) <= now_ns) {
            if self.readings.len() >= READINGS {
                self.readings.pop_front();
            }
            self.readings.push_back(self.newest.clone());
        }
    }

    /// Why silence between two times proves nothing. Less than `least_ns` is a scheduler's daily life.
    pub(crate) fn between(&mut self, since_ns: u64, now_ns: u64, least_ns: u64) -> Option<StarvationReason> {
        self.look(now_ns);
        let before = self.readings.iter().rfind(|reading| reading.at_ns <= since_ns);
        before.or(self.readings.front())?.why_starved(&self.newest, least_ns)
    }
}

#[cfg(test)]
mod tests;
