use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::*;
use crate::host::clock::monotonic_ns;

const MS: u64 = MILLISECOND_NS;
const LEAST: u64 = 100 * MS;

fn reading(at: u64, throttled: u64, stolen: &[u64], queued: u64, runs: u64) -> Reading {
    let stolen_ns = stolen.iter().map(|ms| ms * MS).collect();
    Reading { at_ns: at * MS, throttled_ns: throttled * MS, stolen_ns, queued_ns: queued * MS, runs }
}

#[test]
fn a_quarter_of_the_time_is_too_much() {
    let before = reading(1000, 500, &[70, 900], 40, 10);
    for (after, expected) in [
        (reading(3000, 500, &[70, 900], 40, 20), None),
        (reading(3000, 1000, &[70, 900], 40, 20), None),
        (reading(3000, 1001, &[70, 900], 40, 20), Some(StarvationReason::Throttled)),
        // The share of any one CPU, not of all together.
        (reading(3000, 500, &[370, 1200], 40, 20), None),
        (reading(3000, 500, &[70, 1401], 40, 20), Some(StarvationReason::Stolen)),
        // 51 ms each time, and then 8 ms.
        (reading(3000, 500, &[70, 900], 551, 20), Some(StarvationReason::Queued)),
        (reading(3000, 500, &[70, 900], 840, 110), None),
        // Half of the time, but no longer than anybody may have to wait.
        (reading(1200, 600, &[70, 900], 40, 20), None),
        // A CPU was taken out, and counters began anew: nothing is known.
        (reading(3000, 0, &[], 0, 0), None),
    ] {
        assert_eq!(before.why_starved(&after, LEAST), expected, "{after:?}");
    }
}

#[test]
fn the_kernels_files_are_read() {
    let tick_ns = SECOND_NS / rustix::param::clock_ticks_per_second();
    let stat = "cpu  9 0 9 9 9 0 9 700 0 0\ncpu0 1 0 1 1 1 0 1 300 0 0\ncpu1 1 0 1 1 1 0 1 400 0 0\nintr 5\n";
    assert_eq!(stolen_ns(stat), [300 * tick_ns, 400 * tick_ns]);
    assert_eq!(queued("153538 77000 19\n"), (77_000, 19));
    assert_eq!((queued(""), stolen_ns("")), ((0, 0), Vec::new()));
    let reading = Sources::open().read(5);
    assert_eq!(
        reading.stolen_ns.len(),
        std::fs::read_to_string("/proc/stat").unwrap().matches("\ncpu").count()
    );
    assert!(reading.runs > 0, "{reading:?}");
}

#[test]
fn readings_reach_back_to_before_the_probe_left() {
    let mut starvation = Starvation::watch(1);
    starvation.readings.clear();
    // Throttled for 900 ms in the second second, never since.
    for second in 1..=40 {
        let throttled = if second == 1 { 0 } else { 900 };
        starvation.newest = reading(second * 1000, throttled, &[], 0, 0);
        starvation.look(second * 1000 * MS);
    }
    assert_eq!(starvation.readings.len(), READINGS);
    let first = starvation.readings.front().unwrap().clone();
    assert_eq!(first.at_ns, 25 * SECOND_NS);
    starvation.readings.push_front(reading(1000, 0, &[], 0, 0));
    let now = 40 * SECOND_NS;
    assert_eq!(starvation.between(30 * SECOND_NS, now, LEAST), None, "long ago");
    starvation.readings.retain(|reading| reading.at_ns <= 2 * SECOND_NS);
    starvation.readings.push_back(reading(2000, 900, &[], 0, 0));
    starvation.newest = reading(3000, 900, &[], 0, 0);
    assert_eq!(starvation.between(SECOND_NS, 3 * SECOND_NS, LEAST), Some(StarvationReason::Throttled));
    assert_eq!(starvation.between(2 * SECOND_NS, 3 * SECOND_NS, LEAST), None);
}

/// Sixteen threads that want the same CPU: each waits for fifteen slices.
#[test]
fn a_queue_for_the_cpu_is_seen() {
    let all = sched_getaffinity(None).unwrap();
    let cpu = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).unwrap();
    let mut one = CpuSet::new();
    one.set(cpu);
    let deadline = Instant::now() + Duration::from_secs(20);
    let found = std::sync::atomic::AtomicBool::new(false);
    let busy = || {
        sched_setaffinity(None, &one).unwrap();
        while !found.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < deadline {
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..15 {
            scope.spawn(busy);
        }
        sched_setaffinity(None, &one).unwrap();
        let since = monotonic_ns();
        let mut starvation = Starvation::watch(since);
        let mut why_starved = None;
        while why_starved.is_none() && Instant::now() < deadline {
            let now = monotonic_ns();
            if now - since > SECOND_NS {
                why_starved = starvation.between(since, now, LEAST);
            }
        }
        found.store(true, std::sync::atomic::Ordering::Relaxed);
        // On a virtual machine the hypervisor may have taken its share, too.
        assert!(
            matches!(why_starved, Some(StarvationReason::Queued | StarvationReason::Stolen)),
            "{why_starved:?}"
        );
    });
    sched_setaffinity(None, &all).unwrap();
}
