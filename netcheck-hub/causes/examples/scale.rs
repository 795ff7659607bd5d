//! How long an evaluation takes in a large cluster: 1,000 nodes in four zones, some 300,000 groups, some 5,000 of them bad.

use std::time::{Duration, Instant};

use netcheck_causes::{
    Class, Direction, End, Endpoint, Entry, Group, Loss, Node, Place, Pod, PodNetwork, Role, Size, Stage,
    Target, Topology, Visibility, explain,
};
use netcheck_common::domain::{Family, ProbeKind};

/// How many of ten probes from one node to another are lost.
type Lost = dyn Fn(u32, u32) -> u32;

const NODES: u32 = 1_000;
const PEERS: u32 = 75;

fn topology() -> Topology {
    let node =
        |at: u32| Node { name: format!("n{at}").into(), zone: Some(at % 4), visibility: Visibility::Full };
    let pod = |at: u32| Pod { name: format!("default/p{at}").into(), node: at % NODES, network: None };
    Topology {
        nodes: (0..NODES).map(node).collect(),
        zones: (0..4).map(|zone| format!("z{zone}").into()).collect(),
        pods: (0..2 * NODES).map(pod).collect(),
        pod_network: PodNetwork::Overlay,
        ..Topology::default()
    }
}

/// Each node and a pod of it probe some peers. `lost` says how many of ten probes between two nodes are lost.
fn groups(lost: impl Fn(u32, u32) -> u32) -> Vec<Group> {
    let mut groups = Vec::new();
    for source in 0..NODES {
        for step in 1..=PEERS {
            let peer = (source + step * step * 7 + step) % NODES;
            for pod in [false, true] {
                for kind in [ProbeKind::Icmp, ProbeKind::Udp] {
                    groups.push(group((source, peer), pod, kind, lost(source, peer)));
                }
            }
        }
    }
    groups
}

fn group((from, to): (u32, u32), pod: bool, kind: ProbeKind, lost: u32) -> Group {
    let endpoint = |node: u32| if pod { Endpoint::Pod(node) } else { Endpoint::Node(node) };
    let at = Place {
        node: from,
        pod: None,
        stage: Stage::Egress,
        interface: Some(Role::Uplink),
        reason: "".into(),
        function: "".into(),
    };
    let end = End::LastSeen { at, missing: Some(to) };
    let loss = Loss { probes: lost, direction: Some(Direction::Request), end };
    Group {
        source: endpoint(from),
        target: Target { endpoint: Some(endpoint(to)), service: None, entry: Entry::Direct },
        class: Class { kind, family: Family::V4, size: Size::Small, fresh: false, source_port: None },
        answered: 10 - lost,
        lost,
        losses: if lost > 0 { vec![loss] } else { Vec::new() },
    }
}

fn apart(from: u32, to: u32) -> bool {
    from.is_multiple_of(20) && to % 4 == 2
}

/// Time that this thread has been on a CPU: the first number of its schedstat (Documentation/scheduler/sched-stats.rst).
fn on_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn main() {
    let topology = topology();
    let cases: [(&str, Box<Lost>); 4] = [
        ("healthy", Box::new(|_, _| 0)),
        ("8 uplinks", Box::new(|from, to| if from % 125 == 0 || to % 125 == 0 { 10 } else { 0 })),
        (
            "8 uplinks, in part",
            Box::new(|from, to| if from % 125 == 0 || to % 125 == 0 { 3 + (from + to) % 3 } else { 0 }),
        ),
        ("50 nodes and a zone", Box::new(|from, to| if apart(from, to) || apart(to, from) { 10 } else { 0 })),
    ];
    for (name, lost) in cases {
        let groups = groups(lost);
        let bad = groups.iter().filter(|group| group.lost > 1).count();
        for _ in 0..3 {
            let (begun, on_cpu) = (Instant::now(), on_cpu());
            let causes = explain(&topology, &groups);
            let (took, on_cpu) = (begun.elapsed(), self::on_cpu() - on_cpu);
            let (groups, causes) = (groups.len(), causes.len());
            println!("{name}: {groups} groups, {bad} bad, {causes} causes, {on_cpu:?} of CPU in {took:?}");
        }
    }
}
