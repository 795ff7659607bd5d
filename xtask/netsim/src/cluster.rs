//! Random clusters, and who probes what in them.

use netcheck_causes::{
    Class, Endpoint, Entry, Node, Pod, PodNetwork, Service, ServiceIx, Size, Target, Topology, Visibility,
};
use netcheck_common::domain::{Family, ProbeKind};

use crate::rng::Rng;

/// Probes that are alike, all to the same endpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Who probes.
    pub source: Endpoint,
    /// What is probed, with who answers.
    pub target: Target,
    /// What kind of packets.
    pub class: Class,
    /// How many.
    pub probes: u32,
    /// Its source's address and port are replaced on the way, so that no hook knows it, nor its backend.
    pub anonymous: bool,
}

/// What a cluster's agents were told to do.
#[derive(Clone, Debug)]
struct Plan {
    hosts: bool,
    pods: bool,
    classes: Vec<Class>,
    probes: u32,
    most: usize,
    services: Vec<ServicePlan>,
    masquerade: bool,
}

#[derive(Clone, Debug)]
struct ServicePlan {
    kind: ProbeKind,
    entry: Entry,
    families: Vec<Family>,
}

/// A cluster, and what is probed in it.
#[must_use]
pub fn draw(rng: &mut Rng) -> (Topology, Vec<Flow>) {
    let mut topology = nodes(rng);
    pods(rng, &mut topology);
    let families = match rng.below(10) {
        0..6 => vec![Family::V4],
        6 => vec![Family::V6],
        _ => vec![Family::V4, Family::V6],
    };
    let services = services(rng, &mut topology, &families);
    secondary(rng, &mut topology);
    visibility(rng, &mut topology);
    let vantage = rng.below(10);
    let plan = Plan {
        hosts: vantage != 0,
        pods: vantage < 6,
        classes: classes(rng, &families),
        probes: rng.between(10, 60),
        most: most(rng, topology.nodes.len()),
        services,
        masquerade: rng.percent(15),
    };
    let mut flows = flows(rng, &topology, &plan);
    gone(rng, &topology, &mut flows);
    (topology, flows)
}

fn nodes(rng: &mut Rng) -> Topology {
    let count = match rng.below(100) {
        0..70 => rng.between(3, 12),
        70..92 => rng.between(13, 40),
        92..99 => rng.between(41, 150),
        _ => rng.between(151, 500),
    };
    let zones = if count < 4 { 0 } else { *rng.pick(&[0, 0, 2, 3, 3, 4]).unwrap_or(&0) };
    let offset = rng.index(7);
    let node = |at: u32| Node {
        name: format!("n{}", at + 1).into(),
        zone: (zones > 0).then(|| (at + offset) % zones),
        visibility: Visibility::Full,
    };
    Topology {
        nodes: (0..count).map(node).collect(),
        zones: (0..zones).map(|zone| format!("z{}", zone + 1).into()).collect(),
        pod_network: if rng.percent(50) { PodNetwork::Routed } else { PodNetwork::Overlay },
        ..Topology::default()
    }
}

fn pods(rng: &mut Rng, topology: &mut Topology) {
    let most = if topology.nodes.len() > 40 { 2 } else { 4 };
    let usual = rng.between(1, most);
    for node in 0..topology.nodes.len() {
        let count = if rng.percent(80) { usual } else { rng.between(1, most) };
        for number in 0..count {
            let name = format!("default/p{}-{number}", node + 1).into();
            topology.pods.push(Pod { name, node: u32::try_from(node).unwrap_or(0), network: None });
        }
    }
}

fn services(rng: &mut Rng, topology: &mut Topology, families: &[Family]) -> Vec<ServicePlan> {
    let mut plans = Vec::new();
    for group in 0..rng.between(0, 4) {
        let dns = group == 0;
        let entry = match rng.below(10) {
            5..7 if !dns => Entry::NodePort(rng.index(topology.nodes.len())),
            7 if !dns => Entry::External,
            8.. if !dns => Entry::Direct,
            _ => Entry::ClusterIp,
        };
        let backends = backends(rng, topology);
        let ports = if dns { 1 } else { rng.between(3, 8) / 4 };
        for port in 0..ports.max(1) {
            let kinds = [ProbeKind::Tcp, ProbeKind::Http, ProbeKind::Udp];
            let kind = if dns { ProbeKind::Dns } else { kinds[rng.below(3)] };
            let name = if dns {
                "kube-system/kube-dns:dns".into()
            } else {
                format!("default/s{group}:{port}").into()
            };
            topology.services.push(Service { name, group, backends: backends.clone() });
            plans.push(ServicePlan { kind, entry, families: families.to_vec() });
        }
    }
    plans
}

fn backends(rng: &mut Rng, topology: &Topology) -> Vec<Endpoint> {
    let host = rng.percent(10);
    let mut all: Vec<Endpoint> = if host {
        (0..topology.nodes.len()).map(|at| Endpoint::Node(u32::try_from(at).unwrap_or(0))).collect()
    } else {
        (0..topology.pods.len()).map(|at| Endpoint::Pod(u32::try_from(at).unwrap_or(0))).collect()
    };
    rng.shuffle(&mut all);
    all.truncate(rng.between(1, 4) as usize);
    all.sort_unstable();
    all
}

fn secondary(rng: &mut Rng, topology: &mut Topology) {
    if !rng.percent(12) {
        return;
    }
    let networks = rng.between(1, 2);
    for network in 0..networks {
        topology.secondary_networks.push(format!("default/net{network}").into());
        let members = rng.between(2, 5).min(u32::try_from(topology.nodes.len()).unwrap_or(0));
        for member in 0..members {
            let name = format!("default/x{network}-{member}").into();
            topology.pods.push(Pod { name, node: member, network: Some(network) });
        }
    }
}

fn visibility(rng: &mut Rng, topology: &mut Topology) {
    let shares = match rng.below(10) {
        0..5 => [100, 100, 100],
        5 => [0, 100, 100],
        6 => [0, 0, 100],
        _ => [70, 85, 95],
    };
    for node in &mut topology.nodes {
        let drawn = rng.below(100);
        node.visibility = match shares.iter().position(|&share| drawn < share) {
            Some(0) => Visibility::Full,
            Some(1) => Visibility::Interfaces,
            Some(_) => Visibility::Blind,
            None => Visibility::Silent,
        };
    }
}

fn classes(rng: &mut Rng, families: &[Family]) -> Vec<Class> {
    let mut kinds = vec![ProbeKind::Icmp, ProbeKind::Udp, ProbeKind::Tcp];
    if rng.percent(40) {
        kinds.remove(rng.below(3));
    }
    let (full, fresh) = (rng.percent(50), rng.percent(40));
    let mut classes = Vec::new();
    for &family in families {
        for &kind in &kinds {
            let tcp = kind == ProbeKind::Tcp;
            let class = Class { kind, family, size: Size::Small, fresh: tcp, source_port: None };
            classes.push(class);
            if full && !tcp {
                classes.push(Class { size: Size::Full, ..class });
            }
            if fresh && !tcp {
                classes.push(Class { fresh: true, ..class });
            }
        }
    }
    classes
}

fn most(rng: &mut Rng, nodes: usize) -> usize {
    match rng.below(100) {
        0..3 => 14_000,
        _ if nodes > 40 => 6_000,
        3..60 => 1_200,
        _ => 3_000,
    }
}

/// Who probes whom: all that there is, or as many as a source is told to probe, in turn.
fn flows(rng: &mut Rng, topology: &Topology, plan: &Plan) -> Vec<Flow> {
    let sources = sources(topology, plan);
    let share = (plan.most / sources.len().max(1) / plan.classes.len().max(1)).max(3);
    let mut flows = Vec::new();
    for &source in &sources {
        let mut targets = targets(topology, source);
        rng.shuffle(&mut targets);
        targets.truncate(share);
        for endpoint in targets {
            let target = Target { endpoint: Some(endpoint), service: None, entry: Entry::Direct };
            // A path that has just been added has few probes yet.
            let young = rng.percent(3);
            for &class in &plan.classes {
                flows.push(Flow {
                    source,
                    target,
                    class,
                    probes: if young { 4 } else { plan.probes },
                    anonymous: false,
                });
            }
        }
        for (service, wanted) in plan.services.iter().enumerate() {
            let service = u32::try_from(service).unwrap_or(0);
            flows.extend(to_service(rng, topology, plan, (source, service, wanted)));
        }
    }
    flows
}

fn sources(topology: &Topology, plan: &Plan) -> Vec<Endpoint> {
    let mut sources = Vec::new();
    let heard = |node: u32| topology.nodes[node as usize].visibility != Visibility::Silent;
    for node in 0..u32::try_from(topology.nodes.len()).unwrap_or(0) {
        if plan.hosts && heard(node) {
            sources.push(Endpoint::Node(node));
        }
    }
    for (at, pod) in topology.pods.iter().enumerate() {
        if (plan.pods || pod.network.is_some()) && heard(pod.node) {
            sources.push(Endpoint::Pod(u32::try_from(at).unwrap_or(0)));
        }
    }
    sources
}

fn targets(topology: &Topology, source: Endpoint) -> Vec<Endpoint> {
    let mut targets = Vec::new();
    let network = |endpoint| match endpoint {
        Endpoint::Pod(pod) => topology.pods[pod as usize].network,
        _ => None,
    };
    let own = topology.node_of(source);
    let overlay = topology.pod_network == PodNetwork::Overlay;
    for node in 0..u32::try_from(topology.nodes.len()).unwrap_or(0) {
        // Whether a pod's packet to another node is encapsulated or masqueraded differs between overlays.
        let is_known = !matches!(source, Endpoint::Pod(_)) || !overlay || own == Some(node);
        if network(source).is_none() && Endpoint::Node(node) != source && is_known {
            targets.push(Endpoint::Node(node));
        }
    }
    for (at, pod) in topology.pods.iter().enumerate() {
        let target = Endpoint::Pod(u32::try_from(at).unwrap_or(0));
        if target != source && pod.network == network(source) {
            targets.push(target);
        }
    }
    targets
}

fn to_service(
    rng: &mut Rng,
    topology: &Topology,
    plan: &Plan,
    (source, service, wanted): (Endpoint, ServiceIx, &ServicePlan),
) -> Vec<Flow> {
    if let Endpoint::Pod(pod) = source
        && topology.pods[pod as usize].network.is_some()
    {
        return Vec::new();
    }
    let elsewhere = matches!(wanted.entry, Entry::NodePort(node) if Some(node) != topology.node_of(source));
    if elsewhere && matches!(source, Endpoint::Pod(_)) && topology.pod_network == PodNetwork::Overlay {
        return Vec::new();
    }
    let backends = &topology.services[service as usize].backends;
    let mut flows = Vec::new();
    for &family in &wanted.families {
        for &backend in backends {
            let target = Target { endpoint: Some(backend), service: Some(service), entry: wanted.entry };
            let class =
                Class { kind: wanted.kind, family, size: Size::Small, fresh: true, source_port: None };
            let probes = plan.probes / u32::try_from(backends.len()).unwrap_or(1);
            let anonymous =
                plan.masquerade && wanted.entry != Entry::Direct && matches!(source, Endpoint::Node(_));
            flows.push(Flow { source, target, class, probes: (probes + rng.index(3)).max(3), anonymous });
        }
    }
    flows
}

/// Adds flows to an endpoint that is gone and that one node's translation still has.
fn gone(rng: &mut Rng, topology: &Topology, flows: &mut Vec<Flow>) {
    let pods: Vec<u32> = (0..u32::try_from(topology.pods.len()).unwrap_or(0))
        .filter(|&pod| topology.pods[pod as usize].network.is_none())
        .collect();
    let Some(&pod) = rng.pick(&pods) else { return };
    let translated: Vec<Flow> =
        flows.iter().filter(|flow| flow.target.entry == Entry::ClusterIp).copied().collect();
    let Some(one) = rng.pick(&translated) else { return };
    let Some(service) = one.target.service else { return };
    let backend = Endpoint::Pod(pod);
    if topology.services[service as usize].backends.contains(&backend) {
        return;
    }
    let node = topology.node_of(one.source);
    let first = topology.services[service as usize].backends.first().copied();
    let of_node = |flow: &&Flow| {
        flow.target.service == Some(service)
            && flow.target.endpoint == first
            && topology.node_of(flow.source) == node
    };
    let target = Target { endpoint: Some(backend), ..one.target };
    flows.extend(translated.iter().filter(of_node).map(|flow| Flow { target, ..*flow }));
}
