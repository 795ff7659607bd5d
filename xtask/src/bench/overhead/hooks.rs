//! What hooks cost as a whole: the kernel's way to a program and back with it, which its own measurement leaves out.
//!
//! One thread, bound to a CPU, sends through a veth pair and takes what arrived at its other end, again and again. The
//! kernel carries a packet across a veth on the sender's own time, so that nothing is left to the scheduler. There are
//! as many cables as sets of programs, and each has its turn every few milliseconds: what drifts goes to all of them.
//! The sets change cables twice, for two cables may differ.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use super::super::spread::{Aim, Goal, Spread};
use super::super::veth_pair::{FAR, NEAR, VethPair};
use super::programs::{AgentPrograms, AttachPoint, empty_classifier};
use crate::bpf;

/// Packets that are under way at once, and few enough for any socket's buffer.
const BURST: usize = 64;
/// 50 ns, where an empty program's hook costs 20: what machines differ in is in both.
const HOOK_RATIO_MOST: f64 = 2.5;
/// How often in a row each veth pair carries what is measured.
const EXCHANGES: usize = 2;
/// What a TCP stream's sender writes at once.
const PIECE: usize = 64 * 1024;
/// Far more than a piece takes: then something was lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What stands at both ends of the veth pair, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Nothing,
    Empty,
    Netcheck,
}

impl Standing {
    const ALL: [Self; 3] = [Self::Nothing, Self::Empty, Self::Netcheck];
}

/// One kind of traffic: nanoseconds for one packet, or for one piece of a stream.
struct Row {
    what: &'static str,
    /// Hooks that each packet passes; none where that is not known.
    hooks: Option<f64>,
    nothing: Spread,
    /// Over nothing, of each turn.
    empty: Spread,
    netcheck: Spread,
    /// Time that the program takes beyond an empty one.
    body: Spread,
    /// Packet rate with the hooks as a share of the rate without them.
    left: Spread,
}

/// What was measured.
pub(super) struct Hooks(Vec<Row>);

/// Measures programs that the caller holds, while none of the caller's own is attached.
pub(super) fn measure(
    veth_pair: &VethPair,
    held: &AgentPrograms,
    turns: u16,
    bar: &ProgressBar,
) -> Result<Hooks> {
    let wires: Vec<Wire> =
        (0..Standing::ALL.len()).map(|number| Wire::up(veth_pair, number)).collect::<Result<_>>()?;
    // All run on one CPU, so that their times can be compared.
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)).context("no CPU to run on")?);
    sched_setaffinity(None, &one)?;
    let rows = rows(veth_pair, held, turns, bar, wires);
    sched_setaffinity(None, &all)?;
    Ok(Hooks(rows?))
}

fn rows(
    veth_pair: &VethPair,
    held: &AgentPrograms,
    turns: u16,
    bar: &ProgressBar,
    mut wires: Vec<Wire>,
) -> Result<Vec<Row>> {
    let empty = empty_classifier()?;
    let mut of_kinds = [Vec::new(), Vec::new()];
    for shift in 0..wires.len() {
        let on = |number: usize| Standing::ALL[(number + shift) % Standing::ALL.len()];
        let links =
            wires.iter().enumerate().map(|(number, wire)| wire.attach(veth_pair, on(number), held, &empty));
        let links = links.collect::<Result<Vec<_>>>()?;
        for turn in 0..usize::from(turns) {
            let mut times = [[0.0; 2]; Standing::ALL.len()];
            for step in 0..wires.len() {
                // Each of them first in turns.
                let number = (step + turn) % wires.len();
                let Wire { datagrams, stream, .. } = &mut wires[number];
                times[on(number) as usize] = [timed(|| datagrams.exchange())?, timed(|| stream.exchange())?];
            }
            for (kind, all) in of_kinds.iter_mut().enumerate() {
                all.push(times.map(|of_standing| of_standing[kind]));
            }
            bar.inc(1);
        }
        drop(links);
    }
    let row = |what, hooks, all: &[[f64; 3]]| {
        let spread = |of: fn(&[f64; 3]) -> f64| Spread::of(all.iter().map(of).collect());
        Row {
            what,
            hooks,
            nothing: spread(|[nothing, _, _]| *nothing),
            empty: spread(|[nothing, empty, _]| empty - nothing),
            netcheck: spread(|[nothing, _, netcheck]| netcheck - nothing),
            body: spread(|[_, empty, netcheck]| netcheck - empty),
            left: spread(|[nothing, _, netcheck]| nothing / netcheck),
        }
    };
    // A datagram passes the way out at one end and the way in at the other.
    Ok(vec![
        row("UDP, 64 bytes, a packet", Some(2.0), &of_kinds[0]),
        row("TCP, 64 KiB of a stream", None, &of_kinds[1]),
    ])
}

/// Nanoseconds a unit, of as many as an exchange says.
fn timed(mut exchange: impl FnMut() -> Result<usize>) -> Result<f64> {
    // What caches forgot meanwhile is nobody's.
    exchange()?;
    let start = Instant::now();
    let mut units = 0;
    for _ in 0..EXCHANGES {
        units += exchange()?;
    }
    Ok(start.elapsed().as_nanos() as f64 / units as f64)
}

/// A veth pair beside the one that agents watched.
struct Wire {
    interface: String,
    datagrams: Datagrams,
    stream: Stream,
}

impl Wire {
    fn up(veth_pair: &VethPair, number: usize) -> Result<Self> {
        let interface = format!("wire{number}");
        // Of the network for benchmarks too (RFC 2544), above the veth pair's.
        let [near, far] = [1, 2].map(|host| Ipv4Addr::new(198, 18, 1 + number as u8, host));
        veth_pair.connect(&interface, near, far)?;
        let datagrams = Datagrams::new(veth_pair, far)?;
        Ok(Self { interface, datagrams, stream: Stream::new(veth_pair, far)? })
    }

    /// Programs at both ends, until the links are dropped.
    fn attach(
        &self,
        veth_pair: &VethPair,
        standing: Standing,
        held: &AgentPrograms,
        empty: &OwnedFd,
    ) -> Result<Vec<OwnedFd>> {
        let mut links = Vec::new();
        if standing == Standing::Nothing {
            return Ok(links);
        }
        for end in [NEAR, FAR] {
            let of_end = veth_pair.lab.enter(end, || {
                let all = AttachPoint::ALL.into_iter().filter_map(|point| Some((point, point.of_chain()?)));
                all.map(|(point, at)| {
                    let program = if standing == Standing::Empty { empty } else { &held[&point] };
                    bpf::attach(program, &self.interface, at, 0)
                })
                .collect::<Result<Vec<_>>>()
            })??;
            links.extend(of_end);
        }
        Ok(links)
    }
}

/// Many at a call: a call costs more than a packet's way through the veth pair.
struct Datagrams {
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Datagrams {
    fn new(veth_pair: &VethPair, far: Ipv4Addr) -> Result<Self> {
        let receiver = veth_pair.lab.enter(FAR, || UdpSocket::bind((far, 0)))??;
        let to = receiver.local_addr()?;
        let sender = veth_pair.lab.enter(NEAR, || {
            let sender = UdpSocket::bind(("0.0.0.0", 0))?;
            sender.connect(to).map(|()| sender)
        })??;
        Ok(Self { sender, receiver })
    }

    fn exchange(&self) -> Result<usize> {
        let mut packets = [[0_u8; 64]; BURST];
        let mut parts = packets
            .each_mut()
            .map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() });
        let mut messages = parts.each_mut().map(|part| {
            // SAFETY: all zero is a message without address, data and control.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        });
        let (sender, receiver) = (self.sender.as_raw_fd(), self.receiver.as_raw_fd());
        let (all, count) = (messages.as_mut_ptr(), BURST as u32);
        // SAFETY: so many messages, whose buffers live through the calls.
        let sent = unsafe { libc::sendmmsg(sender, all, count, 0) };
        ensure!(
            usize::try_from(sent) == Ok(BURST),
            "sending through the veth pair: {}",
            io::Error::last_os_error()
        );
        // SAFETY: as above. They have arrived: the kernel carried them while it sent.
        let taken = unsafe { libc::recvmmsg(receiver, all, count, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        ensure!(taken > 0, "receiving from the veth pair: {}", io::Error::last_os_error());
        ensure!(
            usize::try_from(taken) == Ok(BURST),
            "{} packets were lost on the veth pair",
            BURST as i32 - taken
        );
        Ok(BURST)
    }
}

struct Stream {
    sender: TcpStream,
    receiver: TcpStream,
    piece: Vec<u8>,
}

impl Stream {
    fn new(veth_pair: &VethPair, far: Ipv4Addr) -> Result<Self> {
        let listener = veth_pair.lab.enter(FAR, || TcpListener::bind((far, 0)))??;
        let to = listener.local_addr()?;
        let sender = veth_pair.lab.enter(NEAR, || TcpStream::connect_timeout(&to, PATIENCE))??;
        let (receiver, _) = listener.accept().context("accepting through the veth pair")?;
        sender.set_nodelay(true)?;
        receiver.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { sender, receiver, piece: vec![0; PIECE] })
    }

    fn exchange(&mut self) -> Result<usize> {
        self.sender.write_all(&self.piece).context("writing through the veth pair")?;
        self.receiver.read_exact(&mut self.piece).context("reading from the veth pair")?;
        Ok(1)
    }
}

impl Hooks {
    pub(super) fn goals(&self) -> Vec<Goal> {
        let goals = |row: &Row| match row.hooks {
            Some(hooks) => vec![
                Goal::new(
                    format!("{}, ns a whole hook", row.what),
                    row.netcheck.median / hooks,
                    Aim::AtMost(50.0),
                ),
                Goal::new(
                    format!("{}, whole hooks against an empty program's", row.what),
                    // Where an empty one cost nothing, too few turns have been.
                    if row.empty.median > 0.0 { row.netcheck.median / row.empty.median } else { f64::NAN },
                    Aim::AtMost(HOOK_RATIO_MOST),
                ),
            ],
            None => vec![Goal::new(
                format!("{}, rate in one thread, share of that without hooks", row.what),
                row.left.median,
                Aim::AtLeast(0.98),
            )],
        };
        self.0.iter().flat_map(goals).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({"what": row.what, "hooks": row.hooks, "nothing_ns": row.nothing.to_json(),
                   "empty_ns": row.empty.to_json(), "netcheck_ns": row.netcheck.to_json(),
                   "body_ns": row.body.to_json(), "left": row.left.to_json()})
        };
        self.0.iter().map(row).collect()
    }
}

impl fmt::Display for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turns = self.0.first().map_or(0, |row| row.nothing.rounds);
        writeln!(f, "whole hooks, one thread sends and receives, ns, medians of {turns} turns")?;
        writeln!(
            f,
            "{:<28} {:>10} {:>9} {:>10} {:>7}  quartiles",
            "both ends, both directions", "no hooks", "+ empty", "+ netcheck", "left"
        )?;
        for Row { what, nothing, empty, netcheck, left, .. } in &self.0 {
            let [low, high] = left.quarters;
            let (nothing, empty, netcheck, left) =
                (nothing.median, empty.median, netcheck.median, left.median);
            writeln!(
                f,
                "{what:<28} {nothing:>10.0} {empty:>9.0} {netcheck:>10.0} {left:>7.3}  {low:.3} to {high:.3}"
            )?;
        }
        Ok(())
    }
}
