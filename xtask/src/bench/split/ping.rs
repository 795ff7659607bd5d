//! `ping`, a hundred packets a second: with its own clock at both ends (`-U`), or with the kernel's for the reply.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netcheck_netlab::Process;

use super::super::veth_pair::{FAR_V4, NEAR, VethPair};
use super::capture::Captured;

/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// One that runs.
pub(super) struct Ping {
    process: Process,
    log: PathBuf,
    payload_bytes: u16,
}

/// What it printed.
pub(super) struct Seen {
    payload_bytes: u16,
    /// Sequence and round trip, nanoseconds.
    replies: Vec<(u16, f64)>,
}

impl Ping {
    pub(super) fn start(veth_pair: &VethPair, user_clock: bool, seconds: u64) -> Result<Self> {
        // In the capture they are distinguished by their size.
        let (name, payload_bytes) = if user_clock { ("ping-user", 57) } else { ("ping", 56) };
        let (deadline, size) = (seconds.to_string(), u16::to_string(&payload_bytes));
        let mut args = vec!["-n", "-i", "0.01", "-w", &deadline, "-s", &size];
        if user_clock {
            args.push("-U");
        }
        args.push(FAR_V4);
        let log = veth_pair.lab.log_path(name);
        drop(std::fs::remove_file(&log));
        let process = veth_pair.lab.spawn_in(NEAR, "ping", &args, &[], name)?;
        Ok(Self { process, log, payload_bytes })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn end(mut self) -> Result<Seen> {
        self.process.stop(GRACE)?;
        let text =
            std::fs::read_to_string(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        let replies = replies(&text);
        ensure!(!replies.is_empty(), "ping has no reply: {}", text.lines().last().unwrap_or_default());
        Ok(Seen { payload_bytes: self.payload_bytes, replies })
    }
}

impl Seen {
    /// What it says of each round trip and what the capture says; nanoseconds.
    pub(super) fn against(&self, captured: &Captured) -> Vec<(f64, f64)> {
        let pair = |&(sequence, round_trip_ns): &(u16, f64)| {
            let exchange = captured.echoes.get(&(self.payload_bytes, sequence))?;
            Some((round_trip_ns, exchange.round_trip_ns()?))
        };
        self.replies.iter().filter_map(pair).collect()
    }
}

/// `64 bytes from 198.18.0.2: icmp_seq=1 ttl=64 time=0.045 ms`.
fn replies(text: &str) -> Vec<(u16, f64)> {
    let word = |line: &str, name: &str| {
        let rest = line.split_once(name)?.1;
        Some(rest.split(' ').next()?.to_owned())
    };
    let reply = |line: &str| {
        let sequence = word(line, "icmp_seq=")?.parse().ok()?;
        let milliseconds: f64 = word(line, "time=")?.parse().ok()?;
        Some((sequence, milliseconds * 1e6))
    };
    text.lines().filter(|line| !line.ends_with("(DUP!)")).filter_map(reply).collect()
}

#[cfg(test)]
mod tests {
    use super::replies;

    #[test]
    fn replies_are_read() {
        let text = "PING 198.18.0.2 (198.18.0.2) 56(84) bytes of data.\n\
            64 bytes from 198.18.0.2: icmp_seq=1 ttl=64 time=0.045 ms\n\
            64 bytes from 198.18.0.2: icmp_seq=1 ttl=64 time=0.061 ms (DUP!)\n\
            64 bytes from 198.18.0.2: icmp_seq=20 ttl=64 time=102 ms\n\
            From 198.18.0.1 icmp_seq=3 Destination Host Unreachable\n\n\
            rtt min/avg/max/mdev = 0.045/0.045/0.045/0.000 ms\n";
        assert_eq!(replies(text), [(1, 45_000.0), (20, 102_000_000.0)]);
    }
}
