//! What an agent is asked of one lost probe: at which place, and how the packet may look there. Pure.

use std::net::SocketAddr;

use netcheck_analysis::cluster::roster::{Backend, Owner, Roster, ServicePort, Transport};
use netcheck_analysis::evidence::Lost;
use netcheck_analysis::model::reason::{NO_ENDPOINT, OTHER_SOURCE};
use netcheck_analysis::model::target::{ServiceAddress, TargetKind};
use netcheck_analysis::plan::{Probe, Target};
use netcheck_common::domain::PathId;
use netcheck_proto::{convert, v1};

/// Flows of one case.
const FLOWS: usize = 8;

/// A request that came to a node under another's hardware address was sent so, and what another node passed on no further for its
/// time to live may have been sent with too little of it: its sender is asked, too. `source`: who probes; `target`: whom the
/// request was for.
pub(super) fn sender(
    at: &v1::LossLocation,
    source: &str,
    target: Option<&Owner>,
) -> Option<v1::LossLocation> {
    let request = at.direction() == v1::Direction::Request;
    let asked = v1::LossLocation { direction: at.direction, ..Default::default() };
    if at.reason == "OTHERHOST" && request && at.pod.is_empty() {
        return Some(v1::LossLocation {
            node: source.to_owned(),
            stage: v1::Stage::Wire.into(),
            next_node: at.node.clone(),
            ..asked
        });
    }
    let spent = at.reason == "IP_INHDR" && matches!(at.function.as_str(), "ip_forward" | "ip6_forward");
    let from = if request { source } else { target?.node.as_str() };
    (spent && from != at.node).then(|| v1::LossLocation {
        node: from.to_owned(),
        stage: v1::Stage::Routing.into(),
        reason: at.reason.clone(),
        ..asked
    })
}

/// What is too large for a cable was perhaps too large for who receives it, and no kernel reports that: the node there is
/// asked what its interface takes.
pub(super) fn receiver(at: &v1::LossLocation, tries_size: bool) -> Option<v1::LossLocation> {
    let asked = tries_size && at.stage() == v1::Stage::Wire && !at.next_node.is_empty();
    asked.then(|| v1::LossLocation {
        node: at.next_node.clone(),
        interface: at.next_interface.clone(),
        stage: v1::Stage::Ingress.into(),
        direction: at.direction,
        ..Default::default()
    })
}

/// Who was to get a packet that nobody saw die, or that never came to him: his own node is asked what keeps him from it.
/// `source`: whose address the request bore; `target`: whom it was for. A pod's own network is looked at for what is sent to it
/// as a target alone.
pub(super) fn far_end(
    at: Option<&v1::LossLocation>,
    source: Option<&Owner>,
    target: Option<&Owner>,
) -> Option<v1::LossLocation> {
    let reply = at.is_some_and(|at| at.direction() == v1::Direction::Reply);
    let end = if reply { source.filter(|end| end.pod.is_none())? } else { target? };
    let unseen = at.is_none_or(|at| {
        let before = matches!(at.stage(), v1::Stage::Wire | v1::Stage::Neighbour | v1::Stage::Send);
        before && at.node != end.node
    });
    unseen.then(|| v1::LossLocation {
        node: end.node.clone(),
        pod: end.pod.clone().unwrap_or_default(),
        direction: if reply { v1::Direction::Reply } else { v1::Direction::Request }.into(),
        ..Default::default()
    })
}

/// A router that is no node of this cluster knows no way for what it was sent: the node that should have had it, or that sent it
/// there, is asked about its routes. `ends`: who probes, and the target's node, where that is known.
pub(super) fn strayed(at: &v1::LossLocation, ends: [Option<&str>; 2]) -> Vec<v1::LossLocation> {
    let asked = |node: &str| v1::LossLocation {
        node: node.to_owned(),
        stage: v1::Stage::Routing.into(),
        direction: at.direction,
        ..Default::default()
    };
    ends.into_iter().flatten().map(asked).collect()
}

/// Whether the sender's node made an address of the service's that no endpoint of it has: who translates there has not heard of
/// a change, or is somebody else.
pub(super) fn no_endpoint(roster: &Roster, probe: &Probe, lost: &Lost) -> bool {
    let target = &probe.target;
    let of_service = target.kind == TargetKind::Service
        && target.at.as_ref().is_none_or(|at| at.address == ServiceAddress::ClusterIp);
    let left = lost.flow.filter(|flow| of_service && flow.destination.ip() != probe.address);
    let service = roster.services.get(&target.full_name());
    let (Some(flow), Some(service)) = (left, service) else { return false };
    let transport = if flow.tcp() { Transport::Tcp } else { Transport::Udp };
    let same = |port: &&ServicePort| port.port == target.port && port.transport == transport;
    let Some(port) = service.ports.iter().find(same) else { return false };
    let left = flow.destination;
    // Those that take no traffic may still be told to somebody.
    let is = |backend: &Backend| backend.address == left.ip() && backend.port(port) == Some(left.port());
    !service.backends.iter().any(is)
}

/// The sender's node, which made such an address of it.
pub(super) fn mistranslated(sender: &str) -> v1::LossLocation {
    v1::LossLocation {
        node: sender.to_owned(),
        stage: v1::Stage::NetfilterOutput.into(),
        direction: v1::Direction::Request.into(),
        reason: NO_ENDPOINT.to_owned(),
        ..Default::default()
    }
}

/// What its agent must know of a probe to find it at this place.
pub(super) fn case(
    probe: &Probe,
    lost: &Lost,
    at: &v1::LossLocation,
    (session, path): (u64, PathId),
) -> v1::CulpritCase {
    // From where the target answered, who asked it knows.
    let everywhere = at.reason == OTHER_SOURCE;
    let here = || lost.drops.iter().filter(|fact| everywhere || *fact.node == *at.node);
    let bears_header = probe.kind.carries_header();
    v1::CulpritCase {
        location: Some(at.clone()),
        probe_session: if bears_header { session } else { 0 },
        path_id: if bears_header { path.0 } else { 0 },
        flows: flows(
            probe,
            lost,
            at,
            &here()
                .filter_map(|fact| fact.record.flow.as_ref())
                .map(netcheck_analysis::wire::flow_tuple)
                .collect::<Vec<_>>(),
        ),
        encapsulated: here().any(|fact| fact.record.encapsulated),
        packet_bytes: lost.sample.packet_bytes,
        ..Default::default()
    }
}

/// Whether a node makes a backend's address of what is sent to this target. What is sent to a cluster address its sender's own
/// node translates, and nobody behind it; of a service's other addresses any node may.
pub(super) fn translates(target: &Target, senders_own: bool) -> bool {
    let of_service = match target.kind {
        TargetKind::Service => true,
        TargetKind::DnsServer => target.node.is_empty(),
        TargetKind::Pod | TargetKind::Node | TargetKind::Endpoint => false,
    };
    let at_cluster_address = target.at.as_ref().is_none_or(|at| at.address == ServiceAddress::ClusterIp);
    of_service && (senders_own || !at_cluster_address)
}

/// What the packet's two ends may be: as it was sent, as it left its node, as somebody saw it dropped. The sender's own
/// port is another one with the next probe.
fn flows(probe: &Probe, lost: &Lost, at: &v1::LossLocation, dropped: &[v1::FlowTuple]) -> Vec<v1::FlowTuple> {
    let mut flows: Vec<v1::FlowTuple> = Vec::new();
    let mut add = |flow: v1::FlowTuple| {
        if flows.len() < FLOWS && !flows.contains(&flow) {
            flows.push(flow);
        }
    };
    let stays = [u32::from(probe.port), lost.flow.map_or(0, |flow| u32::from(flow.destination.port()))];
    let port = |port: u32| if stays.contains(&port) { port } else { 0 };
    for flow in dropped {
        let (source_port, destination_port) = (port(flow.source_port), port(flow.destination_port));
        add(v1::FlowTuple { source_port, destination_port, ..flow.clone() });
    }
    if let Some(left) = &lost.flow {
        let kind = if left.tcp() { v1::ProbeKind::Tcp } else { v1::ProbeKind::Udp };
        let to = |destination: SocketAddr| v1::FlowTuple {
            kind: kind.into(),
            source_address: convert::address_bytes(left.source.ip()),
            destination_address: convert::address_bytes(destination.ip()),
            source_port: 0,
            destination_port: destination.port().into(),
        };
        if at.direction() == v1::Direction::Reply && dropped.is_empty() {
            add(v1::FlowTuple {
                kind: kind.into(),
                source_address: convert::address_bytes(left.destination.ip()),
                destination_address: convert::address_bytes(left.source.ip()),
                source_port: left.destination.port().into(),
                destination_port: 0,
            });
        }
        add(to(left.destination));
        add(to(SocketAddr::new(probe.address, probe.port)));
    } else if at.direction() != v1::Direction::Reply {
        // No source: it says where the packet goes, and is no flow to look for.
        add(v1::FlowTuple {
            kind: convert::kind_to_wire(probe.kind).into(),
            destination_address: convert::address_bytes(probe.address),
            destination_port: probe.port.into(),
            ..Default::default()
        });
    } else if dropped.is_empty() {
        // No destination: it says whose reply it is, and is no flow to look for.
        add(v1::FlowTuple {
            kind: convert::kind_to_wire(probe.kind).into(),
            source_address: convert::address_bytes(probe.address),
            source_port: probe.port.into(),
            ..Default::default()
        });
    }
    flows
}

#[cfg(test)]
mod tests {
    use netcheck_analysis::evidence::Flow;
    use netcheck_analysis::model::evidence::LostSample;
    use netcheck_analysis::plan::{At, Sources};
    use netcheck_common::domain::{Outcome, ProbeKind};

    use super::*;

    #[test]
    fn a_cluster_address_is_translated_by_its_senders_node_alone() {
        let of = |kind, at: Option<ServiceAddress>, node: &str| Target {
            kind,
            node: node.to_owned(),
            at: at.map(|address| At { address, port: 80, pod: String::new() }),
            ..Target::default()
        };
        let service = of(TargetKind::Service, None, "");
        assert_eq!((translates(&service, true), translates(&service, false)), (true, false));
        let node_port = of(TargetKind::Service, Some(ServiceAddress::NodePort), "n3");
        assert_eq!((translates(&node_port, true), translates(&node_port, false)), (true, true));
        for target in [of(TargetKind::Pod, None, "n3"), of(TargetKind::DnsServer, None, "n3")] {
            assert!(!translates(&target, true), "{target:?}");
        }
    }

    #[test]
    fn who_sent_what_ends_for_its_time_to_live_is_asked() {
        let target = Owner { node: "n3".to_owned(), pod: Some("default/web".to_owned()), network: None };
        let asked = |reason: &str, node: &str, direction: v1::Direction| {
            let at = v1::LossLocation {
                node: node.to_owned(),
                stage: v1::Stage::Routing.into(),
                reason: reason.to_owned(),
                function: "ip6_forward".to_owned(),
                direction: direction.into(),
                ..Default::default()
            };
            sender(&at, "n1", Some(&target)).map(|at| (at.node, at.reason, at.function))
        };
        let (request, reply) = (v1::Direction::Request, v1::Direction::Reply);
        let of = |node: &str| Some((node.to_owned(), "IP_INHDR".to_owned(), String::new()));
        assert_eq!(asked("IP_INHDR", "n3", request), of("n1"));
        assert_eq!(asked("IP_INHDR", "n1", reply), of("n3"));
        assert_eq!(asked("IP_INHDR", "n1", request), None, "it went round, and came back to its sender");
        assert_eq!(asked("IP_OUTNOROUTES", "n3", request), None);
    }

    #[test]
    fn what_is_no_endpoint_was_made_by_its_sender() {
        let items = "kind: List\nitems:\n\
            - {kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}}\n\
            - {kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.20, ports: [{name: http, port: 80}, {name: d, port: 80, protocol: UDP}]}}\n\
            - {kind: EndpointSlice, metadata: {name: v, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, \
               ports: [{name: other, port: 9090}], endpoints: [{addresses: [10.244.2.12]}]}\n\
            - {kind: EndpointSlice, metadata: {name: w, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, \
               ports: [{name: http, port: 8080}, {name: d, port: 8053, protocol: UDP}], endpoints: [{addresses: [10.244.2.11]}]}\n";
        let objects = netcheck_analysis::cluster::inventory::parse(std::path::Path::new("f"), items);
        let roster = objects.unwrap().roster();
        let probe = Probe {
            target: std::sync::Arc::new(Target {
                kind: TargetKind::Service,
                namespace: "default".to_owned(),
                name: "web".to_owned(),
                port: 80,
                ..Target::default()
            }),
            kind: ProbeKind::Tcp,
            address: "10.96.0.20".parse().unwrap(),
            port: 80,
            question: None,
            sources: Sources::All,
            exchange: None,
        };
        let found = |to: &str, tcp: bool| {
            let mut lost = Lost::new(LostSample::default(), Outcome::Refused, 0, 0);
            let kind = if tcp { ProbeKind::Tcp } else { ProbeKind::Udp };
            let (source, destination) = ("10.0.0.1:40000".parse().unwrap(), to.parse().unwrap());
            lost.flow = Some(Flow { kind, source, destination });
            no_endpoint(&roster, &probe, &lost)
        };
        for (to, tcp, expected) in [
            ("10.244.2.11:8080", true, false),
            ("10.244.2.11:8081", true, true),
            ("10.244.2.11:8053", true, true),
            ("10.244.2.11:8053", false, false),
            ("10.244.9.9:8080", true, true),
            // A pod of the service that has not this port.
            ("10.244.2.12:8080", true, true),
            // Nothing made anything of it.
            ("10.96.0.20:80", true, false),
        ] {
            assert_eq!(found(to, tcp), expected, "{to} {tcp}");
        }
    }

    #[test]
    fn who_was_to_get_what_nobody_saw_die_is_asked() {
        let of = |node: &str, pod: Option<&str>| Owner {
            node: node.to_owned(),
            pod: pod.map(ToOwned::to_owned),
            network: None,
        };
        let (node, pod, target) =
            (of("n1", None), of("n1", Some("netcheck/a")), of("n3", Some("default/web")));
        let asked = |at: Option<(v1::Stage, &str, v1::Direction)>| {
            let at = at.map(|(stage, node, direction)| v1::LossLocation {
                node: node.to_owned(),
                stage: stage.into(),
                direction: direction.into(),
                ..Default::default()
            });
            far_end(at.as_ref(), Some(&node), Some(&target)).map(|at| (at.node, at.pod))
        };
        let (request, reply) = (v1::Direction::Request, v1::Direction::Reply);
        let web = Some(("n3".to_owned(), "default/web".to_owned()));
        assert_eq!(asked(None), web);
        assert_eq!(asked(Some((v1::Stage::Wire, "n1", request))), web);
        assert_eq!(asked(Some((v1::Stage::Neighbour, "n2", request))), web, "a node on the way");
        assert_eq!(asked(Some((v1::Stage::Neighbour, "n3", request))), None, "it is asked already");
        assert_eq!(asked(Some((v1::Stage::Neighbour, "n3", reply))), Some(("n1".to_owned(), String::new())));
        assert_eq!(
            asked(Some((v1::Stage::NetfilterForward, "n2", request))),
            None,
            "who dropped it is known"
        );
        assert_eq!(far_end(None, Some(&node), None), None, "it is no node or pod of the cluster");
        let lost = v1::LossLocation {
            node: "n3".to_owned(),
            stage: v1::Stage::Wire.into(),
            direction: reply.into(),
            ..Default::default()
        };
        assert!(far_end(Some(&lost), Some(&node), Some(&target)).is_some());
        assert_eq!(far_end(Some(&lost), Some(&pod), Some(&target)), None, "a pod that asked is no target");
        assert_eq!(far_end(Some(&lost), None, Some(&target)), None, "whose the address is is not known");
    }
}
