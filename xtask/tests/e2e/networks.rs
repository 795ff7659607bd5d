//! A secondary network of pods, as Multus would attach it: measured from who is on it, distinguished from the cluster's
//! own.

use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec};
use xtask::cluster::{Cell, Cluster, Incident, Settings};

use crate::{inject, is_bad, wait_cells};

const PATIENCE: Duration = Duration::from_secs(25);
const NETWORK: &str = "default/storage";
/// Nodes of the lab, each with a vantage and an `app` pod on the network.
const NODES: usize = 3;

fn on_network(cell: &&Cell) -> bool {
    cell.network == NETWORK
}

fn open(cluster: &Cluster) -> Vec<Incident> {
    cluster.incidents().unwrap().into_iter().filter(|incident| incident.open).collect()
}

/// Every pod on the network from every other node's and the own one's vantage, and from nowhere else.
fn all_are_measured(cluster: &Cluster) {
    let cells = cluster.cells().unwrap();
    let further: Vec<&Cell> = cells.iter().filter(on_network).collect();
    for cell in &further {
        assert_eq!((cell.vantage.as_str(), cell.verdict.as_str()), ("pod", "reachable"), "{cell:?}");
        assert!(cell.target.ends_with("@default/storage"), "{cell:?}");
    }
    for source in 1..=NODES {
        for target in 1..=NODES {
            for family in ["ipv4", "ipv6"] {
                let of = |id: &str| -> Vec<&str> {
                    let node = format!("n{source}");
                    let own = further.iter().filter(|cell| cell.source == node && cell.family == family);
                    own.filter(|cell| cell.target == format!("pod/{id}@{NETWORK}"))
                        .map(|cell| cell.kind.as_str())
                        .collect()
                };
                let vantage = of(&format!("netcheck/vantage-n{target}"));
                let expected: &[&str] = if source == target { &[] } else { &["icmp", "tcp", "udp"] };
                let mut kinds = vantage.clone();
                kinds.sort_unstable();
                assert_eq!(kinds, expected, "n{source} → vantage of n{target} {family}");
            }
        }
    }
    let app = |cell: &&&Cell| cell.target == format!("pod/default/app-n2-2@{NETWORK}") && cell.kind == "icmp";
    assert_eq!(further.iter().filter(app).count(), NODES * 2, "app-n2-2 from every node's vantage");
    // They are packets of that network: the target's kernel says when it got them.
    let timed =
        |cell: &&&Cell| cell.source == "n1" && cell.kind == "icmp" && cell.target.contains("vantage-n2");
    assert!(further.iter().filter(timed).all(|cell| cell.responder_p50_s.is_some()), "{further:?}");
    let caveats = cluster.report().unwrap().caveats;
    assert!(!caveats.iter().any(|line| line.contains("network")), "{caveats:?}");
    assert_eq!(open(cluster), []);
    let matrix = cluster.shown(&["matrix"]).unwrap();
    assert!(matrix.contains("→ pods on network default/storage (icmp tcp udp; IPv4 IPv6)"), "{matrix}");
    let path = cluster.shown(&["path", "n1", "vantage-n2@storage"]).unwrap();
    assert!(path.contains("on network default/storage"), "{path}");
}

#[test]
fn a_secondary_network_is_measured_from_who_is_on_it_and_fails_alone() {
    let spec = LabSpec { nodes: NODES as u8, vantage: true, storage: true, ..LabSpec::named("e2e-networks") };
    let cluster = Cluster::start(Lab::up(spec).unwrap(), Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    all_are_measured(&cluster);

    // One node's way out of the network. Its own pods reach each other still.
    let fault = inject(&cluster, "storage-down node=n2");
    let crosses = |cell: &&Cell| (cell.source == "n2") != cell.target.contains("-n2");
    let cells = wait_cells(&cluster, "n2 is cut off from the network", |cells| {
        let mut crossing = cells.iter().filter(on_network).filter(crosses);
        crossing.clone().count() > 0 && crossing.all(|cell| cell.verdict == "unreachable")
    });
    for cell in &cells {
        let hurt = on_network(&cell) && crosses(&cell);
        assert_eq!(is_bad(cell), hurt, "{cell:?}");
        // Wherever it is located, it is at n2, or on the way to or from it.
        if let Some(at) = cell.location.as_ref().filter(|_| hurt) {
            let neighbour = at.stage == "neighbour";
            assert!(at.node == "n2" || at.next_node == "n2" || neighbour, "{cell:?}");
            // A bridge without a port for it sends copies into all others: none of these is the packet.
            assert!(at.pod.is_empty() || at.pod.contains(&format!("-{}", at.node)), "{cell:?}");
        }
    }
    cluster.wait("one incident", PATIENCE, |_| !open(&cluster).is_empty()).unwrap();
    let incidents = open(&cluster);
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    let headline = &incidents[0].headline;
    assert!(headline.starts_with("network default/storage at n2: "), "{incidents:#?}");
    assert!(incidents[0].cause.starts_with("network/default/storage/"), "{incidents:#?}");
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();

    // A vantage without the address that it is meant to have: it measures nothing there, and loses nothing elsewhere.
    let fault = inject(&cluster, "storage-address-gone pod=vantage-n3");
    let cells = wait_cells(&cluster, "nothing is measured from n3 on the network", |cells| {
        let mut mine = cells.iter().filter(on_network).filter(|cell| cell.source == "n3");
        mine.clone().count() > 0 && mine.all(|cell| cell.verdict == "no_data")
    });
    let to_it = |cell: &Cell| on_network(&cell) && cell.target.contains("vantage-n3");
    for cell in cells.iter().filter(|cell| is_bad(cell)) {
        assert!(to_it(cell), "{cell:?}");
    }
    let caveats = cluster.report().unwrap().caveats;
    let named = |line: &String| {
        line.contains("pod netcheck/vantage-n3 on n3 has no address 10.250.3.") && line.contains(NETWORK)
    };
    assert!(caveats.iter().any(named), "{caveats:?}");
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}
