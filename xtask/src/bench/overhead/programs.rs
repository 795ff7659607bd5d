//! The kernel's own measurement of each program (`BPF_ENABLE_STATS`), beside an empty program at the same place.
//! What the kernel adds for measuring is in both, so that the difference is the program's body.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::super::cable::{Cable, FAR, FAR_V4, INTERFACE, NEAR};
use super::super::spread::{Aim, Goal, Spread};
use super::{NO_HUB, iperf};
use crate::bpf::{self, Insn, Runs, insn};

/// `return TCX_NEXT`, which means nothing to a tracepoint.
const EMPTY: [Insn; 2] = [insn(0xb7, 0, 0, -1), insn(0x95, 0, 0, 0)];
/// A port whose packets the far node's firewall drops.
const DROPPED_PORT: u16 = 9;
/// How long packets are sent that are dropped.
const DROPPING: Duration = Duration::from_secs(1);
/// A mean of fewer runs says nothing.
const RUNS_MIN: u64 = 1000;

/// A place where both programs sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Ingress,
    Egress,
    Drop,
}

impl Place {
    const ALL: [Self; 3] = [Self::Ingress, Self::Egress, Self::Drop];

    /// netcheck's program there.
    const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "netcheck_in_l2",
            Self::Egress => "netcheck_out_l2",
            Self::Drop => "netcheck_drops",
        }
    }
}

/// One kind of packets at one place.
struct Row {
    what: &'static str,
    /// All rounds together.
    runs: u64,
    /// Nanoseconds a run.
    netcheck: Spread,
    empty: Spread,
    /// Differences of each round.
    body: Spread,
}

/// What was measured.
pub(super) struct Programs(Vec<Row>);

/// Means of one round, nanoseconds: netcheck's and the empty program's.
type Means = (u64, f64, f64);

pub(super) fn measure(cable: &Cable, rounds: u16, bar: &ProgressBar) -> Result<Programs> {
    let agent = cable.start_agent(FAR, NO_HUB)?;
    let rule = format!(
        "nft 'table inet bench {{ chain in {{ type filter hook input priority 0; udp dport {DROPPED_PORT} drop; }}; }}'"
    );
    cable.sh(FAR, &rule)?;
    let netcheck = of_process(agent.id())?;
    let empty = cable.lab.enter(FAR, Empty::attach)??;
    let measuring = bpf::measure()?;
    let mut all: BTreeMap<(usize, Place), Vec<Means>> = BTreeMap::new();
    for _ in 0..rounds {
        for (index, (_, _, traffic)) in TRAFFIC.iter().enumerate() {
            let before = read(&netcheck, &empty)?;
            traffic(cable)?;
            let after = read(&netcheck, &empty)?;
            for (place, means) in means(&before, &after) {
                all.entry((index, place)).or_default().push(means);
            }
        }
        bar.inc(1);
    }
    drop(measuring);
    drop(empty);
    cable.sh(FAR, "nft delete table inet bench")?;
    Cable::stop_agent(agent)?;
    let rows = TRAFFIC.iter().enumerate().map(|(index, (what, place, _))| {
        let rounds = all.remove(&(index, *place)).with_context(|| format!("no packets: {what}"))?;
        let spread = |of: fn(&Means) -> f64| Spread::of(rounds.iter().map(of).collect());
        Ok(Row {
            what,
            runs: rounds.iter().map(|(runs, ..)| runs).sum(),
            netcheck: spread(|(_, netcheck, _)| *netcheck),
            empty: spread(|(.., empty)| *empty),
            body: spread(|(_, netcheck, empty)| netcheck - empty),
        })
    });
    Ok(Programs(rows.collect::<Result<_>>()?))
}

/// Makes packets for a while.
type Traffic = fn(&Cable) -> Result<()>;

/// What is sent, and where it is looked at, from the far node.
const TRAFFIC: [(&str, Place, Traffic); 5] = [
    ("TCP, arriving", Place::Ingress, |cable| iperf(cable, "").map(drop)),
    ("TCP, leaving", Place::Egress, |cable| iperf(cable, "--reverse").map(drop)),
    ("UDP, 64 bytes, arriving", Place::Ingress, |cable| iperf(cable, SMALL).map(drop)),
    ("UDP, 64 bytes, leaving", Place::Egress, |cable| iperf(cable, &format!("{SMALL} --reverse")).map(drop)),
    ("UDP, dropped by a firewall", Place::Drop, send_to_be_dropped),
];

/// As many small packets as there can be.
pub(super) const SMALL: &str = "--udp --bitrate 0 --length 64";

fn send_to_be_dropped(cable: &Cable) -> Result<()> {
    cable.lab.enter(NEAR, || -> Result<()> {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect((FAR_V4, DROPPED_PORT))?;
        let end = Instant::now() + DROPPING;
        while Instant::now() < end {
            socket.send(&[0; 64]).context("sending what is to be dropped")?;
        }
        Ok(())
    })?
}

/// Empty programs at the same places, behind netcheck's.
struct Empty {
    programs: BTreeMap<Place, OwnedFd>,
    links: Vec<OwnedFd>,
}

impl Empty {
    /// In the caller's network namespace.
    fn attach() -> Result<Self> {
        let mut empty = Self { programs: BTreeMap::new(), links: Vec::new() };
        for place in Place::ALL {
            let (program, link);
            match place {
                Place::Ingress | Place::Egress => {
                    program = bpf::load(bpf::SCHED_CLS, &EMPTY)?;
                    let at = if place == Place::Ingress { bpf::AT_TCX_INGRESS } else { bpf::AT_TCX_EGRESS };
                    link = bpf::attach(&program, INTERFACE, at, 0)?;
                }
                Place::Drop => {
                    program = bpf::load(bpf::RAW_TRACEPOINT, &EMPTY)?;
                    link = bpf::attach_tracepoint(&program, "kfree_skb")?;
                }
            }
            empty.programs.insert(place, program);
            empty.links.push(link);
        }
        Ok(empty)
    }
}

/// The programs that a process holds, by their places.
fn of_process(pid: u32) -> Result<BTreeMap<Place, OwnedFd>> {
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
        if let Some(place) = Place::ALL.into_iter().find(|place| place.program() == name) {
            programs.insert(place, program);
        }
    }
    ensure!(programs.len() == Place::ALL.len(), "the agent holds only {} of its programs", programs.len());
    Ok(programs)
}

type Reading = BTreeMap<Place, (Runs, Runs)>;

fn read(netcheck: &BTreeMap<Place, OwnedFd>, empty: &Empty) -> Result<Reading> {
    let both = |(&place, program)| Ok((place, (bpf::runs(program)?, bpf::runs(&empty.programs[&place])?)));
    netcheck.iter().map(both).collect()
}

fn means(before: &Reading, after: &Reading) -> Vec<(Place, Means)> {
    let mean = |before: &Runs, after: &Runs| {
        let runs = after.count - before.count;
        (runs >= RUNS_MIN).then(|| (runs, (after.time_ns - before.time_ns) as f64 / runs as f64))
    };
    let places = before.iter().filter_map(|(place, before)| {
        let after = after.get(place)?;
        let ((runs, netcheck), (_, empty)) = (mean(&before.0, &after.0)?, mean(&before.1, &after.1)?);
        Some((*place, (runs, netcheck, empty)))
    });
    places.collect()
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
                   "empty_ns": row.empty.to_json(), "body_ns": row.body.to_json()})
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
            "{:<28} {:>10} {:>9} {:>7} {:>7}  quartiles",
            "packets", "runs", "netcheck", "empty", "body"
        )?;
        for Row { what, runs, netcheck, empty, body } in &self.0 {
            let ([low, high], netcheck, empty, body) =
                (body.quarters, netcheck.median, empty.median, body.median);
            writeln!(
                f,
                "{what:<28} {runs:>10} {netcheck:>9.1} {empty:>7.1} {body:>7.1}  {low:.1} to {high:.1}"
            )?;
        }
        Ok(())
    }
}
