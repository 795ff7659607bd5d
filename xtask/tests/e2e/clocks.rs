//! No clock agreement: an hour added to all stamps of one node changes no result.

use std::collections::BTreeMap;
use std::time::Duration;

use netcheck_netlab::{Fault, Mode};
use xtask::cluster::{Cluster, Settings};

use crate::{args, healthy};

/// What a cluster says: the place of a one-way loss each way, and how round trips split.
fn says(name: &str, settings: Settings) -> Vec<(String, String, String, String)> {
    let cluster = healthy(name, Mode::Routed, settings);
    split_adds_up(&cluster);
    let mut places = Vec::new();
    for fault in [
        "request-loss from=n1 to=n2 at=destination",
        "reply-loss from=n1 to=n2 at=destination",
        "loss node=n2 direction=in percent=100",
        "loss node=n2 direction=out percent=100",
    ] {
        let fault: Fault = fault.parse().unwrap();
        cluster.lab.inject(&fault).unwrap();
        let path = |cell: &&xtask::cluster::Cell| {
            cell.source == "n1" && cell.target == "node/n2" && cell.kind == "udp" && cell.family == "ipv4"
        };
        // A cut cable shows nothing until something comes through again.
        if fault.to_string().starts_with("loss") {
            cluster.wait("unreachable", Duration::from_secs(10), |report| report.unreachable > 0).unwrap();
            cluster.lab.heal(&fault).unwrap();
        }
        let mut seen = None;
        cluster
            .wait("a place for the loss", Duration::from_secs(10), |_| {
                seen = cluster.cells().unwrap().iter().find(path).and_then(|cell| cell.location.clone());
                // With a direction but no stage yet, the other node's answer is awaited.
                seen.as_ref().is_some_and(|at| !at.direction.is_empty() && !at.stage.is_empty())
            })
            .unwrap();
        let at = seen.unwrap();
        places.push((at.node, at.stage, at.direction, at.next_node));
        cluster.lab.heal_all().unwrap();
        cluster.wait_healthy().unwrap();
    }
    cluster.stop().unwrap().down().unwrap();
    places
}

/// Network and responder shares are there and in keeping with the round trip.
fn split_adds_up(cluster: &Cluster) {
    let cells = cluster.cells().unwrap();
    let split: Vec<_> = cells
        .iter()
        .filter(|cell| cell.target.starts_with("node/") && (cell.kind == "icmp" || cell.kind == "udp"))
        .collect();
    assert_eq!(split.len(), 4 * 3 * 2 * 2);
    for cell in split {
        let network = cell.network_p50_s.unwrap_or_else(|| panic!("no network share: {cell:?}"));
        let responder = cell.responder_p50_s.unwrap_or_else(|| panic!("no responder share: {cell:?}"));
        let round_trip = cell.round_trip_p50_s.unwrap();
        assert!(network > 0.0 && responder > 0.0, "{cell:?}");
        // Medians of a few samples don't add up to the digit; an hour would.
        assert!(network + responder < round_trip * 2.0, "{cell:?}");
        assert!(round_trip < 0.5, "an hour on a clock shows nowhere: {cell:?}");
    }
}

#[test]
fn an_hour_on_one_nodes_clock_changes_nothing() {
    let plain = says("e2e-clock", Settings::default());
    let offset = args("--clock-offset-ns 3600000000000");
    let shifted = Settings { node_args: BTreeMap::from([("n2".to_owned(), offset)]), ..Settings::default() };
    assert_eq!(says("e2e-clock", shifted), plain);
    let directions: Vec<&str> = plain.iter().map(|(_, _, direction, _)| direction.as_str()).collect();
    assert_eq!(directions, ["request", "reply", "request", "reply"], "{plain:?}");
    assert_eq!(plain[2].1, "wire", "no kernel saw it: {plain:?}");
    assert_eq!(plain[3].1, "wire", "no kernel saw it: {plain:?}");
}
