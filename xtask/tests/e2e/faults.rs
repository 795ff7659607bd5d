//! Every fault is detected, and located where it is: never anywhere else.

use std::time::{Duration, Instant};

use netcheck_netlab::{Fault, Mode};
use xtask::cluster::{Cluster, Finding, Location, Report, Settings};

use crate::healthy;

/// A fault and what must be said of it.
struct Case {
    fault: &'static str,
    /// Probe kinds whose paths it must take down (or degrade), each in both families.
    kinds: &'static [&'static str],
    /// What each of its places must be.
    right: fn(&Location) -> bool,
}

const CASES: &[Case] = &[
    Case {
        fault: "drop node=n2 hook=forward",
        kinds: &["icmp"],
        // Where the record of a flow is missing, what was last seen on the right node is an honest half of the answer.
        right: |at| {
            let seen_before = at.certainty == "inferred" && at.stage == "ingress";
            at.node == "n2"
                && (seen_before || (at.stage == "netfilter_forward" && observed(at, "NETFILTER_DROP")))
        },
    },
    Case {
        fault: "route node=n3 type=blackhole to=n1",
        kinds: &["icmp", "udp", "tcp"],
        right: |at| at.node == "n3" && (at.stage == "routing" || reply_never_left(at, "n3")),
    },
    Case {
        fault: "veth-down pod=web-n2",
        kinds: &["icmp", "tcp"],
        // The bridge drops it without a word, and floods copies into other pods' veths.
        right: |at| at.node == "n2" && at.interface == "vethweb-n2" && at.reason == "ENETDOWN",
    },
    Case {
        fault: "responder-filtered node=n2",
        kinds: &["udp"],
        right: |at| at.node == "n2" && at.stage == "netfilter_input" && observed(at, "NETFILTER_DROP"),
    },
    Case {
        fault: "reply-loss from=n1 to=n2 at=destination",
        kinds: &["icmp", "udp"],
        right: |at| at.node == "n2" && at.direction == "reply" && at.stage.starts_with("netfilter"),
    },
    Case {
        fault: "reply-loss from=n1 to=n2 at=source",
        kinds: &["icmp", "udp", "tcp"],
        right: |at| at.node == "n1" && at.direction == "reply" && at.stage.starts_with("netfilter"),
    },
    Case {
        fault: "request-loss from=n1 to=n2 at=destination",
        kinds: &["icmp", "udp", "tcp"],
        right: |at| at.node == "n2" && at.direction == "request" && at.stage.starts_with("netfilter"),
    },
    Case {
        fault: "dns answer=servfail",
        kinds: &["dns"],
        // Its port is closed for a moment while the lab gives it the new configuration.
        right: |at| {
            at.node == "n4"
                && at.pod == "kube-system/dns-n4"
                && (at.stage == "application" || at.stage == "socket")
        },
    },
    Case {
        fault: "backend-refuses pod=web-n1",
        kinds: &["tcp"],
        right: |at| at.node == "n1" && at.pod == "default/web-n1" && at.stage == "socket",
    },
];

fn observed(at: &Location, reason: &str) -> bool {
    at.certainty == "observed" && at.reason == reason && !at.function.is_empty()
}

/// The kernel's own answers (echo, reset) are never made where no route leads back: there is no packet to drop.
fn reply_never_left(at: &Location, node: &str) -> bool {
    at.node == node && at.certainty == "inferred" && at.direction == "reply"
}

/// How long a fault's places are looked at.
const ROUNDS: Duration = Duration::from_secs(3);
/// Detection takes one to two intervals (it is printed); a busy machine may need more.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn over_vxlan() {
    all("e2e-vxlan", Mode::Vxlan);
}

#[test]
fn routed() {
    all("e2e-routed", Mode::Routed);
}

fn all(name: &str, mode: Mode) {
    let cluster = healthy(name, mode, Settings::default());
    let mut wrong = Vec::new();
    for case in CASES {
        if let Err(error) = one(&cluster, case) {
            wrong.push(format!("{mode} {}: {error:#}", case.fault));
        }
        cluster.lab.heal_all().unwrap();
        cluster.wait_healthy().unwrap();
    }
    cluster.stop().unwrap().down().unwrap();
    assert!(wrong.is_empty(), "{} of {} faults:\n{}", wrong.len(), CASES.len(), wrong.join("\n\n"));
}

fn one(cluster: &Cluster, case: &Case) -> anyhow::Result<()> {
    let fault: Fault = case.fault.parse()?;
    cluster.lab.inject(&fault)?;
    let (_, took) = cluster.wait(case.fault, PATIENCE, |report| complete(report, case))?;
    println!("{:<45} {:>5.1} s", case.fault, took.as_secs_f64());
    // A few more rounds: a place that is wrong later is wrong too. Losses without a place must get one.
    let start = Instant::now();
    let mut wrong = None;
    cluster.wait("a place for every loss", ROUNDS + PATIENCE, |report| {
        let stray = |finding: &&Finding| finding.location.as_ref().is_some_and(|at| !(case.right)(at));
        if let Some(stray) = report.findings.iter().find(stray) {
            wrong = Some(format!("{}\n    {}", stray.headline, stray.evidence.join("\n    ")));
        }
        let placed = report.findings.iter().all(|finding| finding.location.is_some());
        wrong.is_some() || (placed && start.elapsed() >= ROUNDS)
    })?;
    anyhow::ensure!(wrong.is_none(), "this is wrong:\n  {}", wrong.unwrap_or_default());
    Ok(())
}

/// Whether each kind has lost paths in both families, all explained by the right place.
fn complete(report: &Report, case: &Case) -> bool {
    let right = |finding: &&Finding| finding.location.as_ref().is_some_and(case.right);
    case.kinds.iter().all(|kind| {
        ["ipv4", "ipv6"].iter().all(|family| {
            let mut paths = report.findings.iter().filter(right).flat_map(|finding| &finding.paths);
            paths.any(|path| path.kind == *kind && path.family == *family)
        })
    })
}
