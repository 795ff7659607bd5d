//! What it costs an agent to pass on the sessions of others.
//!
//! The relay and the hub are real; the sessions are connections from as many addresses of nodes, on which HTTP/2 pings go to
//! the hub and come back: as many bytes a second as are asked for, each way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netcheck_netlab::{Lab, LabSpec, Mode};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};

use super::Output;
use super::idle::{memory_mib, run_seconds};
use crate::cluster::{Cluster, Report, Settings};

/// The node whose agent passes sessions on.
const RELAY: &str = "n1";
/// The node that has the addresses of all simulated ones.
const SOURCE: &str = "n2";
const RELAY_PORT: u16 = 6102;
/// How long the lab may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often each session says something.
const STEP: Duration = Duration::from_millis(100);

/// Options of `bench relay`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Sessions that are passed on
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=120))]
    sessions: u8,
    /// Bytes a second that each has passed on, each way
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(170..=1 << 22))]
    bytes: u32,
    /// How many seconds to measure, without sessions and with them
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
    #[command(flatten)]
    pub(super) output: Output,
}

/// The relay's process over a while.
struct Cost {
    percent: f64,
    resident_mib: f64,
}

/// Measures, and prints a row without sessions and one with them.
pub(super) fn run(args: &Args) -> Result<()> {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, ..LabSpec::named("bench-relay") })?;
    let inventory = simulated_nodes(&lab, args.sessions)?;
    let profile = args.output.profile();
    let cluster =
        Cluster::start(lab, Settings { profile, inventory: Some(inventory), ..Settings::default() })?;
    // The simulated nodes have no agents, and never any data.
    let measured_well = |report: &Report| report.reachable > 0 && report.unreachable + report.degraded == 0;
    cluster.wait("the real nodes are measured", PATIENCE, measured_well)?;
    let processes: Vec<(String, u32)> = cluster.processes().collect();
    let pid = processes.iter().find(|(name, _)| name.contains(RELAY)).context("no agent on the relay")?.1;
    let end = || Instant::now() + Duration::from_secs(args.seconds);
    let alone = measured(pid, || {
        std::thread::sleep(Duration::from_secs(args.seconds));
        Ok(())
    })?;
    let mut sessions = open(&cluster, args.sessions)?;
    let until = end();
    let relaying = measured(pid, || drive(&mut sessions, args.bytes, until))?;
    let passed: u64 = sessions.iter().map(|session| session.read_bytes).sum();
    let open = sessions.len();
    drop(sessions);
    cluster.stop()?.down()?;
    if args.output.json {
        let row = |cost: &Cost| json!({"percent": cost.percent, "resident_mib": cost.resident_mib});
        println!(
            "{}",
            json!({"sessions": open, "bytes_per_second": args.bytes, "seconds": args.seconds,
                   "read_bytes": passed, "alone": row(&alone), "relaying": row(&relaying)})
        );
        return Ok(());
    }
    println!("{open} sessions, {} bytes/s each and each way; {passed} bytes came back", args.bytes);
    println!("{:<12} {:>8} {:>13}", "agent", "% core", "resident MiB");
    for (name, cost) in [("alone", &alone), ("relaying", &relaying)] {
        println!("{name:<12} {:>8.3} {:>13.1}", cost.percent, cost.resident_mib);
    }
    Ok(())
}

fn measured(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (before, start) = (run_seconds(pid)?, Instant::now());
    work()?;
    let percent = 100.0 * (run_seconds(pid)? - before) / start.elapsed().as_secs_f64();
    Ok(Cost { percent, resident_mib: memory_mib(pid, "VmRSS:")? })
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, 100 + number)
}

/// Nodes that nobody probes, whose addresses one node has: the inventory that knows them.
fn simulated_nodes(lab: &Lab, count: u8) -> Result<PathBuf> {
    let mut objects: Value = serde_json::from_slice(&std::fs::read(lab.inventory_path())?)?;
    let items = objects["items"].as_array_mut().context("the inventory is no list")?;
    for number in 1..=count {
        items.push(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("simulated-{number}"), "annotations": {"netcheck.io/probe": "false"}},
            "status": {"addresses": [{"type": "InternalIP", "address": address(number)}],
                       "conditions": [{"type": "Ready", "status": "True"}]},
        }));
        let line = format!("ip address add {}/32 dev eth0", address(number));
        let output = lab.exec(SOURCE, &["sh", "-c", &line])?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let path = lab.log_path("inventory").with_extension("json");
    std::fs::write(&path, objects.to_string())?;
    Ok(path)
}

/// A connection through the relay to the hub.
struct Session {
    stream: TcpStream,
    /// Of a frame that has not come to its end.
    rest: Vec<u8>,
    read_bytes: u64,
}

/// RFC 9113 §3.4, with empty SETTINGS (§6.5).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// An acknowledgement of SETTINGS.
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
/// RFC 9113 §6.7.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0netcheck";
const HEAD_BYTES: usize = 9;
const PING_TYPE: u8 = 6;
const ACK: u8 = 1;

fn open(cluster: &Cluster, count: u8) -> Result<Vec<Session>> {
    let relay = SocketAddr::new(cluster.lab.node(RELAY)?.v4.into(), RELAY_PORT);
    let open = |number| -> Result<Session> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::V4(SocketAddrV4::new(address(number), 0)))?;
        connect(&socket, &relay)?;
        let mut stream = TcpStream::from(socket);
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line);
        ensure!(line.contains(" through "), "the relay says: {line}");
        stream.write_all(&[PREFACE, SETTINGS_ACK].concat())?;
        stream.set_nonblocking(true)?;
        Ok(Session { stream, rest: Vec::new(), read_bytes: 0 })
    };
    cluster.lab.enter(SOURCE, || (1..=count).map(open).collect())?
}

impl Session {
    /// Takes what came, and answers the hub's own pings.
    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => anyhow::bail!("a session that was passed on has ended"),
                Ok(read) => {
                    self.read_bytes += read as u64;
                    self.rest.extend_from_slice(&buffer[..read]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut at = 0;
        while let Some(head) = self.rest.get(at..at + HEAD_BYTES) {
            let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let end = at + HEAD_BYTES + len;
            let Some(frame) = self.rest.get(at..end) else { break };
            if frame[3] == PING_TYPE && frame[4] & ACK == 0 {
                let mut answer = frame.to_vec();
                answer[4] = ACK;
                self.stream.write_all(&answer)?;
            }
            at = end;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

fn drive(sessions: &mut [Session], bytes_per_second: u32, until: Instant) -> Result<()> {
    let pings = (f64::from(bytes_per_second) * STEP.as_secs_f64() / PING.len() as f64).ceil() as usize;
    let chunk = PING.repeat(pings);
    let mut next = Instant::now();
    while Instant::now() < until {
        for session in sessions.iter_mut() {
            session.read()?;
            session.stream.write_all(&chunk).context("the relay or the hub does not keep up")?;
        }
        next += STEP;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    std::thread::sleep(STEP);
    sessions.iter_mut().try_for_each(Session::read)
}
