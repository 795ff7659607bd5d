//! The kernel's own measurement of each program (`BPF_ENABLE_STATS`), beside an empty program at the same point.
//! What the kernel adds for measuring is in both, so that the difference is the program's body.
//!
//! Whichever program is the first of a packet pays for being so: caches are cold, and the packet's header may be new to
//! the CPU. The kernel's own next steps would pay most of that instead. So another program, which does no more than read
//! the header's fields, stands before netcheck's here, and what it costs over an empty one is measured by itself. It stands
//! behind netcheck's once more: there it costs what any program of some lines does, for its own code is not in the CPU's
//! nearest cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::super::spread::{Aim, Goal, Spread};
use super::super::veth_pair::{FAR, FAR_V4, INTERFACE, NEAR, VethPair};
use super::iperf;
use crate::bpf::{self, Insn, Runs, insn};

/// `return TCX_NEXT`, which means nothing to a tracepoint.
const EMPTY: [Insn; 2] = [insn(0xb7, 0, 0, -1), insn(0x95, 0, 0, 0)];
/// Reads what identifies a packet's flow: ethertype, protocol, ports; then the same.
const READER: [Insn; 11] = [
    // r2 = data, r3 = data_end, of `struct __sk_buff`.
    insn(0x61, 2 | 1 << 4, 76, 0),
    insn(0x61, 3 | 1 << 4, 80, 0),
    // Not without 38 bytes.
    insn(0xbf, 4 | 2 << 4, 0, 0),
    insn(0x07, 4, 0, 38),
    insn(0x2d, 4 | 3 << 4, 4, 0),
    insn(0x69, 5 | 2 << 4, 12, 0),
    insn(0x71, 5 | 2 << 4, 23, 0),
    insn(0x69, 5 | 2 << 4, 34, 0),
    insn(0x69, 5 | 2 << 4, 36, 0),
    EMPTY[0],
    EMPTY[1],
];
/// A port whose packets the far node's firewall drops.
const DROPPED_PORT: u16 = 9;
/// How long packets are sent that are dropped.
const DROPPING: Duration = Duration::from_secs(1);
/// A mean of fewer runs says nothing.
const RUNS_MIN: u64 = 1000;

/// A point where both programs sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AttachPoint {
    Ingress,
    Egress,
    Drop,
}

impl AttachPoint {
    pub(super) const ALL: [Self; 3] = [Self::Ingress, Self::Egress, Self::Drop];

    /// Where programs stand one behind the other.
    pub(super) const fn of_chain(self) -> Option<u32> {
        match self {
            Self::Ingress => Some(bpf::AT_TCX_INGRESS),
            Self::Egress => Some(bpf::AT_TCX_EGRESS),
            Self::Drop => None,
        }
    }

    /// netcheck's program there.
    const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "netcheck_in_l2",
            Self::Egress => "netcheck_out_l2",
            Self::Drop => "netcheck_drops",
        }
    }
}

/// One kind of packets at one point.
struct Row {
    what: &'static str,
    /// All rounds together.
    runs: u64,
    /// Nanoseconds a run.
    netcheck: Spread,
    empty: Spread,
    /// Differences of each round.
    body: Spread,
    /// What the first one and the reader behind netcheck's cost over an empty one; none where the kernel has no order.
    readers: Option<[Spread; 2]>,
}

/// What was measured.
pub(super) struct Programs(Vec<Row>);

/// Programs of an agent's by their points. They outlive it.
pub(super) type AgentPrograms = BTreeMap<AttachPoint, OwnedFd>;

/// Means of one round, nanoseconds a run.
#[derive(Clone, Copy)]
struct Means {
    runs: u64,
    netcheck: f64,
    empty: f64,
    /// Before netcheck's, and behind it.
    readers: Option<[f64; 2]>,
}

/// Measures, and hands the programs on.
pub(super) fn measure(
    veth_pair: &VethPair,
    rounds: u16,
    bar: &ProgressBar,
) -> Result<(Programs, AgentPrograms)> {
    let agent = veth_pair.start_alone(FAR)?;
    let rule = format!(
        "nft 'table inet bench {{ chain in {{ type filter hook input priority 0; udp dport {DROPPED_PORT} drop; }}; }}'"
    );
    veth_pair.sh(FAR, &rule)?;
    let netcheck = of_process(agent.id())?;
    let others = veth_pair.lab.enter(FAR, Others::attach)??;
    let measuring = bpf::measure()?;
    let mut all: BTreeMap<(usize, AttachPoint), Vec<Means>> = BTreeMap::new();
    for _ in 0..rounds {
        for (index, (_, _, traffic)) in TRAFFIC.iter().enumerate() {
            let before = read(&netcheck, &others)?;
            traffic(veth_pair)?;
            let after = read(&netcheck, &others)?;
            for (point, means) in means(&before, &after) {
                all.entry((index, point)).or_default().push(means);
            }
        }
        bar.inc(1);
    }
    drop(measuring);
    drop(others);
    veth_pair.sh(FAR, "nft delete table inet bench")?;
    VethPair::stop_agent(agent)?;
    let rows = TRAFFIC.iter().enumerate().map(|(index, (what, point, _))| {
        let rounds = all.remove(&(index, *point)).with_context(|| format!("no packets: {what}"))?;
        let spread = |of: fn(&Means) -> f64| Spread::of(rounds.iter().map(of).collect());
        let readers = |rounds: &[Means]| {
            let all: Option<Vec<[f64; 2]>> = rounds
                .iter()
                .map(|means| means.readers.map(|both| both.map(|reader| reader - means.empty)))
                .collect();
            all.map(|all| [0, 1].map(|at| Spread::of(all.iter().map(|both| both[at]).collect())))
        };
        Ok(Row {
            what,
            runs: rounds.iter().map(|means| means.runs).sum(),
            netcheck: spread(|means| means.netcheck),
            empty: spread(|means| means.empty),
            body: spread(|means| means.netcheck - means.empty),
            readers: readers(&rounds),
        })
    });
    Ok((Programs(rows.collect::<Result<_>>()?), netcheck))
}

/// Makes packets for a while.
type Traffic = fn(&VethPair) -> Result<()>;

/// What is sent, and where it is looked at, from the far node.
const TRAFFIC: [(&str, AttachPoint, Traffic); 5] = [
    ("TCP, arriving", AttachPoint::Ingress, |veth_pair| iperf(veth_pair, "").map(drop)),
    ("TCP, leaving", AttachPoint::Egress, |veth_pair| iperf(veth_pair, "--reverse").map(drop)),
    ("UDP, 64 bytes, arriving", AttachPoint::Ingress, |veth_pair| iperf(veth_pair, SMALL).map(drop)),
    ("UDP, 64 bytes, leaving", AttachPoint::Egress, |veth_pair| {
        iperf(veth_pair, &format!("{SMALL} --reverse")).map(drop)
    }),
    ("UDP, dropped by a firewall", AttachPoint::Drop, send_to_be_dropped),
];

/// As many small packets as there can be.
pub(super) const SMALL: &str = "--udp --bitrate 0 --length 64";

fn send_to_be_dropped(veth_pair: &VethPair) -> Result<()> {
    veth_pair.lab.enter(NEAR, || -> Result<()> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect((FAR_V4, DROPPED_PORT))?;
        let end = Instant::now() + DROPPING;
        while Instant::now() < end {
            socket.send(&[0; 64]).context("sending what is to be dropped")?;
        }
        Ok(())
    })?
}

/// What stands at the same points.
struct Others {
    /// Behind all others.
    empty: BTreeMap<AttachPoint, OwnedFd>,
    /// Before netcheck's and behind it.
    readers: BTreeMap<AttachPoint, [OwnedFd; 2]>,
    links: Vec<OwnedFd>,
}

impl Others {
    /// In the caller's network namespace.
    fn attach() -> Result<Self> {
        let mut others = Self { empty: BTreeMap::new(), readers: BTreeMap::new(), links: Vec::new() };
        for point in AttachPoint::ALL {
            let Some(at) = point.of_chain() else {
                let program = bpf::load(bpf::RAW_TRACEPOINT, &EMPTY)?;
                others.links.push(bpf::attach_tracepoint(&program, "kfree_skb")?);
                others.empty.insert(point, program);
                continue;
            };
            let empty = empty_classifier()?;
            let [first, reader] = [bpf::load(bpf::SCHED_CLS, &READER)?, bpf::load(bpf::SCHED_CLS, &READER)?];
            others.links.push(bpf::attach(&reader, INTERFACE, at, 0)?);
            others.links.push(bpf::attach(&empty, INTERFACE, at, 0)?);
            others.links.push(bpf::attach(&first, INTERFACE, at, bpf::BEFORE)?);
            others.empty.insert(point, empty);
            others.readers.insert(point, [first, reader]);
        }
        Ok(others)
    }
}

/// A classifier that does nothing.
pub(super) fn empty_classifier() -> Result<OwnedFd> {
    bpf::load(bpf::SCHED_CLS, &EMPTY)
}

/// The programs that a process holds.
fn of_process(pid: u32) -> Result<AgentPrograms> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        // A descriptor that is closed meanwhile is none of a program.
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        ids.extend(text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
    }
    let mut programs = BTreeMap::new();
    for id in ids {
        let program = bpf::by_id(id)?;
        let name = bpf::runs(&program)?.name;
        if let Some(point) = AttachPoint::ALL.into_iter().find(|point| point.program() == name) {
            programs.insert(point, program);
        }
    }
    ensure!(
        programs.len() == AttachPoint::ALL.len(),
        "the agent holds only {} of its programs",
        programs.len()
    );
    Ok(programs)
}

/// Of netcheck's, the empty one, and the readers.
type Reading = BTreeMap<AttachPoint, (Runs, Runs, Option<[Runs; 2]>)>;

fn read(netcheck: &AgentPrograms, others: &Others) -> Result<Reading> {
    let all = |(&point, program)| {
        let both = others.readers.get(&point);
        let readers =
            both.map(|[first, reader]| Ok::<_, anyhow::Error>([bpf::runs(first)?, bpf::runs(reader)?]));
        Ok((point, (bpf::runs(program)?, bpf::runs(&others.empty[&point])?, readers.transpose()?)))
    };
    netcheck.iter().map(all).collect()
}

fn means(before: &Reading, after: &Reading) -> Vec<(AttachPoint, Means)> {
    let mean = |before: &Runs, after: &Runs| {
        let runs = after.count - before.count;
        (runs >= RUNS_MIN).then(|| (runs, (after.time_ns - before.time_ns) as f64 / runs as f64))
    };
    let points = before.iter().filter_map(|(point, before)| {
        let after = after.get(point)?;
        let ((runs, netcheck), (_, empty)) = (mean(&before.0, &after.0)?, mean(&before.1, &after.1)?);
        let readers = match (&before.2, &after.2) {
            (Some(before), Some(after)) => {
                Some([mean(&before[0], &after[0])?.1, mean(&before[1], &after[1])?.1])
            }
            _ => None,
        };
        Some((*point, Means { runs, netcheck, empty, readers }))
    });
    points.collect()
}

impl Programs {
    pub(super) fn goals(&self) -> Vec<Goal> {
        let goal = |row: &Row| {
            let most_ns = if row.what.contains("dropped") { 200.0 } else { 10.0 };
            let what = format!("{}, ns a packet over an empty program", row.what);
            Goal::new(what, row.body.median, Aim::AtMost(most_ns))
        };
        self.0.iter().map(goal).collect()
    }

    pub(super) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({"what": row.what, "runs": row.runs, "netcheck_ns": row.netcheck.to_json(),
                   "empty_ns": row.empty.to_json(), "body_ns": row.body.to_json(),
                   "first_ns": row.readers.map(|[first, _]| first.to_json()),
                   "reader_ns": row.readers.map(|[_, reader]| reader.to_json())})
        };
        self.0.iter().map(row).collect()
    }
}

impl fmt::Display for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.0.first().map_or(0, |row| row.body.rounds);
        writeln!(
            f,
            "programs on foreign packets, ns a run as the kernel measures, medians of {rounds} rounds"
        )?;
        writeln!(
            f,
            "{:<28} {:>10} {:>9} {:>7} {:>7}  {:<14} {:>7} {:>7}",
            "packets", "runs", "netcheck", "empty", "body", "quartiles", "reader", "first"
        )?;
        for Row { what, runs, netcheck, empty, body, readers } in &self.0 {
            let shown = |at: usize| {
                readers.as_ref().map_or_else(|| "-".to_owned(), |both| format!("{:.1}", both[at].median))
            };
            let ([low, high], netcheck, empty, body) =
                (body.quarters, netcheck.median, empty.median, body.median);
            writeln!(
                f,
                "{what:<28} {runs:>10} {netcheck:>9.1} {empty:>7.1} {body:>7.1}  {:<14} {:>7} {:>7}",
                format!("{low:.1} to {high:.1}"),
                shown(1),
                shown(0)
            )?;
        }
        writeln!(
            f,
            "reader: what a program that only reads the header costs over an empty one, behind netcheck's; first: before it"
        )
    }
}
