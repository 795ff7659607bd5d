//! What the agent itself costs: CPU time and memory.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// When this process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uptime {
    started: Instant,
}

impl Uptime {
    pub(crate) fn begin() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.started.elapsed()
    }
}

/// CPU time of all threads since the process began.
pub(crate) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Resident memory, bytes; 0 where /proc is not to be had.
pub(crate) fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_costs_something() {
        assert!(cpu_time() > Duration::ZERO);
        assert!(resident_bytes() > 100_000);
    }
}
