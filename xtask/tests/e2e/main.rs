//! netcheck end to end: real agents and a real hub on this machine's kernel, in clusters of network namespaces, read
//! through the command line and gRPC that operators use. Needs root; `cargo xtask test lab` builds what it starts.

#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod api;
mod checks;
mod clocks;
mod clusters;
mod culprits;
mod dns_caches;
mod docs;
mod faults;
mod forged;
mod history;
mod http;
mod ipv6_only;
mod kube_proxy;
mod lives;
mod networks;
mod new_flows;
mod prometheus;
mod relays;
mod services;
mod sizes;
mod surfaces;
mod turns;
mod vantage;

use std::time::Duration;

use netcheck_netlab::{Fault, Lab, LabSpec, Mode};
use xtask::cluster::{Cell, Cluster, Settings};

/// A healthy cluster.
fn healthy(name: &str, mode: Mode, settings: Settings) -> Cluster {
    let lab = Lab::up(LabSpec { mode, ..LabSpec::named(name) }).unwrap();
    let cluster = Cluster::start(lab, settings).unwrap();
    cluster.wait_healthy().unwrap();
    cluster
}

/// Arguments as their owner wants them.
fn args(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn is_bad(cell: &Cell) -> bool {
    cell.verdict == "unreachable" || cell.verdict == "degraded"
}

fn inject(cluster: &Cluster, fault: &str) -> Fault {
    let fault: Fault = fault.parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    fault
}

/// Waits until the cells satisfy a condition.
fn wait_cells(cluster: &Cluster, what: &str, condition: impl Fn(&[Cell]) -> bool) -> Vec<Cell> {
    let mut seen = Vec::new();
    cluster
        .wait(what, Duration::from_secs(25), |_| {
            seen = cluster.cells().unwrap();
            condition(&seen)
        })
        .unwrap();
    seen
}
