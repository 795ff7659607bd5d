//! Throughput of the veth pair, with and without an agent's hooks at both of its ends, in turns.

use std::fmt;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::super::spread::{Aim, Goal, Spread};
use super::super::veth_pair::{FAR, NEAR, VethPair};
use super::iperf;
use super::programs::SMALL;

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// TCP, received.
    gbit_per_s: f64,
    /// UDP of 64 bytes, sent.
    packets_per_s: f64,
    /// Of these, the share that was dropped at the receiver's socket.
    lost: f64,
}

/// All pairs.
pub(super) struct Throughput {
    tcp: Compared,
    udp: Compared,
    /// Share of the UDP packets that the receiver had no room for. Each of these is a drop, which costs the tracepoint
    /// of both agents, so that the ratio of UDP is not that of the hooks alone.
    lost: Compared,
}

/// One figure, with and without.
struct Compared {
    without: Spread,
    with: Spread,
    /// Of each pair.
    ratio: Spread,
}

pub(super) fn measure(veth_pair: &VethPair, rounds: u16, bar: &ProgressBar) -> Result<Throughput> {
    // What a first run pays is nobody's cost.
    once(veth_pair)?;
    let mut pairs = Vec::new();
    for round in 0..rounds {
        // Each of them first in turns: what drifts goes to both.
        pairs.push(if round % 2 == 0 {
            let without = once(veth_pair)?;
            (without, hooked(veth_pair)?)
        } else {
            let with = hooked(veth_pair)?;
            (once(veth_pair)?, with)
        });
        bar.inc(1);
    }
    let compared = |of: fn(&Run) -> f64| Compared {
        without: Spread::of(pairs.iter().map(|(without, _)| of(without)).collect()),
        with: Spread::of(pairs.iter().map(|(_, with)| of(with)).collect()),
        ratio: Spread::of(pairs.iter().map(|(without, with)| of(with) / of(without)).collect()),
    };
    Ok(Throughput {
        tcp: compared(|run| run.gbit_per_s),
        udp: compared(|run| run.packets_per_s),
        lost: compared(|run| run.lost),
    })
}

fn hooked(veth_pair: &VethPair) -> Result<Run> {
    let agents = [veth_pair.start_alone(NEAR)?, veth_pair.start_alone(FAR)?];
    // What they do once, at their start, is no packet's cost.
    agents.iter().try_for_each(|agent| VethPair::wait_idle(agent.id()))?;
    let run = once(veth_pair)?;
    agents.into_iter().try_for_each(VethPair::stop_agent)?;
    Ok(run)
}

fn once(veth_pair: &VethPair) -> Result<Run> {
    let figure = |value: &Value| value.as_f64().context("iperf3's report lacks a sum");
    let tcp = iperf(veth_pair, "")?;
    let udp = iperf(veth_pair, SMALL)?;
    Ok(Run {
        gbit_per_s: figure(&tcp["sum_received"]["bits_per_second"])? / 1e9,
        packets_per_s: figure(&udp["sum"]["packets"])? / figure(&udp["sum"]["seconds"])?,
        lost: figure(&udp["sum"]["lost_percent"])? / 100.0,
    })
}

impl Throughput {
    pub(super) fn goals(&self) -> Vec<Goal> {
        let what = "TCP through the veth, share of that without hooks";
        vec![Goal::new(what, self.tcp.ratio.median, Aim::AtLeast(0.98))]
    }

    pub(super) fn to_json(&self) -> Value {
        let compared = |compared: &Compared| {
            json!({"without": compared.without.to_json(), "with": compared.with.to_json(),
                   "ratio": compared.ratio.to_json()})
        };
        json!({"tcp_gbit_per_s": compared(&self.tcp), "udp_packets_per_s": compared(&self.udp),
               "udp_lost": compared(&self.lost)})
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.tcp.ratio.rounds;
        writeln!(
            f,
            "iperf3 through a veth pair, agents' hooks at both ends, medians of {rounds} interleaved pairs"
        )?;
        writeln!(f, "{:<28} {:>10} {:>9} {:>7}  quartiles", "", "without", "with", "ratio")?;
        for (what, scale, Compared { without, with, ratio }) in
            [("TCP, Gbit/s", 1.0, &self.tcp), ("UDP, 64 bytes, 1000/s", 1e3, &self.udp)]
        {
            let (without, with, [low, high]) = (without.median / scale, with.median / scale, ratio.quarters);
            let ratio = ratio.median;
            writeln!(f, "{what:<28} {without:>10.2} {with:>9.2} {ratio:>7.3}  {low:.3} to {high:.3}")?;
        }
        let (without, with) = (100.0 * self.lost.without.median, 100.0 * self.lost.with.median);
        writeln!(
            f,
            "{:<28} {without:>10.1} {with:>9.1}          drops, which cost the tracepoint of both agents",
            "of these lost, %"
        )
    }
}
