//! A capture of all probes and pings at the source's interface, by tcpdump: the kernel's own times of the very packets
//! that the others report on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netcheck_common::header::{DEFAULT_RESPONDER_PORT, FLAG_REPLY, HEADER_LEN, ProbeHeader};
use netcheck_netlab::Process;

use super::super::veth_pair::{INTERFACE, NEAR, VethPair};

/// How long it may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// One that runs.
pub(super) struct Capture {
    process: Process,
    log: PathBuf,
    file: PathBuf,
}

/// A request and its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// When it left, nanoseconds of the wall clock.
    pub(super) request_ns: Option<u64>,
    /// When the reply arrived.
    pub(super) reply_ns: Option<u64>,
    /// What the responder's kernel wrote into the reply (t3 − t2).
    pub(super) responder_ns: Option<u64>,
}

impl Exchange {
    pub(super) fn round_trip_ns(&self) -> Option<f64> {
        Some(self.reply_ns?.checked_sub(self.request_ns?)? as f64)
    }

    pub(super) fn network_ns(&self) -> Option<f64> {
        Some(self.round_trip_ns()? - self.responder_ns? as f64)
    }
}

/// Everything that it saw.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// By session, path, sequence.
    pub(super) probes: HashMap<(u64, u32, u32), Exchange>,
    /// By bytes of payload and sequence.
    pub(super) echoes: HashMap<(u16, u16), Exchange>,
}

impl Capture {
    /// On return it captures.
    pub(super) fn start(veth_pair: &VethPair) -> Result<Self> {
        let file = veth_pair.lab.state_dir().join("bench.pcap");
        let log = veth_pair.lab.log_path("tcpdump");
        drop(std::fs::remove_file(&log));
        let filter = format!("icmp or udp port {DEFAULT_RESPONDER_PORT}");
        let target = file.display().to_string();
        let args = [
            "-i",
            INTERFACE,
            "-w",
            &target,
            "--snapshot-length=160",
            "--buffer-size=65536",
            "--time-stamp-precision=nano",
            "--relinquish-privileges=root",
            "--packet-buffered",
            &filter,
        ];
        let mut process = veth_pair.lab.spawn_in(NEAR, "tcpdump", &args, &[], "tcpdump")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("listening on") {
                return Ok(Self { process, log, file });
            }
            if process.exited()?.is_some() || Instant::now() > deadline {
                bail!("tcpdump does not capture: {}", said.trim());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends it when it has written down everything until then (nanoseconds of the wall clock); what tcpdump has not
    /// read when it ends is lost.
    pub(super) fn end(mut self, until_ns: u64) -> Result<Captured> {
        let deadline = Instant::now() + PATIENCE;
        let newest =
            |captured: &Captured| captured.probes.values().filter_map(|probe| probe.request_ns).max();
        let captured = loop {
            let bytes =
                std::fs::read(&self.file).with_context(|| format!("reading {}", self.file.display()))?;
            let captured = read(&bytes)?;
            if newest(&captured).is_some_and(|newest_ns| newest_ns > until_ns) {
                break captured;
            }
            ensure!(Instant::now() < deadline, "tcpdump writes nothing down");
            std::thread::sleep(10 * POLL);
        };
        self.process.stop(PATIENCE)?;
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(said.contains("\n0 packets dropped by kernel"), "the capture has gaps: {}", said.trim());
        Ok(captured)
    }
}

/// Reads a file of the kind that tcpdump writes on a little-endian machine (pcap-savefile(5)), with nanoseconds.
fn read(bytes: &[u8]) -> Result<Captured> {
    const MAGIC_NS: u32 = 0xa1b2_3c4d;
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    ensure!(u32_at(0) == Some(MAGIC_NS), "the capture is not in nanoseconds");
    let mut captured = Captured::default();
    let mut at = FILE_HEADER;
    // A record that was cut off at the end is passed over.
    while let (Some(seconds), Some(ns), Some(length)) = (u32_at(at), u32_at(at + 4), u32_at(at + 8)) {
        at += RECORD_HEADER;
        let Some(frame) = bytes.get(at..at + length as usize) else { break };
        captured.take(u64::from(seconds) * 1_000_000_000 + u64::from(ns), frame);
        at += length as usize;
    }
    Ok(captured)
}

impl Captured {
    /// Notes a frame, if it is a probe or an echo: Ethernet, IPv4.
    fn take(&mut self, at_ns: u64, frame: &[u8]) -> Option<()> {
        let ip = frame.get(14..)?;
        let header_bytes = usize::from(ip.first()? & 0xf) * 4;
        let packet_bytes = u16::from_be_bytes(ip.get(2..4)?.try_into().ok()?);
        let (protocol, transport) = (*ip.get(9)?, ip.get(header_bytes..)?);
        let payload = transport.get(8..)?;
        let probe = payload.first_chunk::<HEADER_LEN>().and_then(ProbeHeader::from_bytes);
        let icmp_reply = match (protocol, *transport.first()?) {
            (1, 0) => Some(true),
            (1, 8) => Some(false),
            _ => None,
        };
        if let Some(header) = probe {
            let reply = icmp_reply.unwrap_or(header.flags & FLAG_REPLY != 0);
            let key = (header.session, header.path, header.sequence);
            let exchange = self.probes.entry(key).or_default();
            exchange.note(at_ns, reply);
            if reply && header.t2_ns != 0 {
                exchange.responder_ns = exchange.responder_ns.or(header.t3_ns.checked_sub(header.t2_ns));
            }
        } else {
            let payload_bytes = packet_bytes.checked_sub(u16::try_from(header_bytes).ok()? + 8)?;
            let sequence = u16::from_be_bytes(transport.get(6..8)?.try_into().ok()?);
            self.echoes.entry((payload_bytes, sequence)).or_default().note(at_ns, icmp_reply?);
        }
        Some(())
    }
}

impl Exchange {
    /// The first of each counts.
    fn note(&mut self, at_ns: u64, reply: bool) {
        let time = if reply { &mut self.reply_ns } else { &mut self.request_ns };
        *time = time.or(Some(at_ns));
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::header::{FLAG_REPLY, ProbeHeader};

    use super::{Exchange, read};

    fn record(at_ns: u64, protocol: u8, transport: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut frame = [[0; 12].as_slice(), &[8, 0]].concat();
        let length = (20 + transport.len() + payload.len()) as u16;
        let mut ip = [0; 20];
        (ip[0], ip[9]) = (0x45, protocol);
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        frame.extend([&ip, transport, payload].concat());
        let words = [at_ns / 1_000_000_000, at_ns % 1_000_000_000, frame.len() as u64, frame.len() as u64];
        let head: Vec<u8> = words.iter().flat_map(|&word| (word as u32).to_ne_bytes()).collect();
        [head, frame].concat()
    }

    #[test]
    fn probes_and_echoes_are_distinguished() {
        let request = ProbeHeader { session: 5, path: 2, sequence: 7, ..ProbeHeader::default() };
        let reply = ProbeHeader { flags: FLAG_REPLY, t2_ns: 100, t3_ns: 130, ..request };
        let udp = [0x17, 0xd4, 0x17, 0xd4, 0, 0, 0, 0];
        let echo = |kind| [kind, 0, 0, 0, 0, 9, 0, 3];
        let second = 1_000_000_000;
        let file = [
            [0xa1b2_3c4d_u32.to_ne_bytes().to_vec(), vec![0; 20]].concat(),
            record(second + 10, 17, &udp, &request.to_bytes()),
            record(second + 90, 17, &udp, &reply.to_bytes()),
            record(second + 95, 17, &udp, &reply.to_bytes()),
            record(second, 1, &echo(8), &[1; 56]),
            record(second + 40, 1, &echo(0), &[1; 56]),
            record(second, 6, &udp, &[1; 56]),
            vec![1; 20],
        ]
        .concat();
        let captured = read(&file).unwrap();
        let probe =
            Exchange { request_ns: Some(second + 10), reply_ns: Some(second + 90), responder_ns: Some(30) };
        assert_eq!(captured.probes[&(5, 2, 7)], probe);
        assert_eq!((probe.round_trip_ns(), probe.network_ns()), (Some(80.0), Some(50.0)));
        assert_eq!(captured.echoes[&(56, 3)].round_trip_ns(), Some(40.0));
        assert_eq!(captured.echoes.values().filter(|echo| echo.request_ns.is_some()).count(), 1);
        assert!(read(b"something else").is_err());
    }
}
