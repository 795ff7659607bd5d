//! Services at node ports, load balancers and endpoints.

use std::sync::Arc;

use netcheck_common::domain::{Family, Outcome, PathId, ProbeKind, Vantage};

use super::world::{World, died, timeout, to, touches};
use super::{SIX, kinds};
use crate::incident::{Fact, Symptom, place};
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Direction, Stage};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::model::verdict::Verdict;
use crate::plan::{At, PlannedPath, Probe, Sources, Target};

#[test]
fn a_node_with_a_wrong_neighbour_entry_for_a_pod_is_one_cause() {
    let to_pod = |fact: &Fact| &*fact.path.probe.target.id == "pod/default/pod-n2";
    let misaddressed = |pod: &str| {
        let mut symptom = died("n2", Direction::Request, Stage::Ingress, "OTHERHOST", "ip_rcv_core");
        let at = symptom.at.as_mut().unwrap();
        (at.interface, at.pod) = (String::new(), pod.to_owned());
        symptom
    };
    let met = |fact: &Fact| {
        let service = fact.path.probe.target.kind == TargetKind::Service;
        service && matches!(&*fact.source, "n1" | "n4")
    };
    let pod = |symptom: Symptom| Symptom {
        backend: Some("default/pod-n2".to_owned()),
        towards: Some("n2".to_owned()),
        ..symptom
    };
    // Not every path has its place yet.
    let symptom =
        |fact: &Fact| pod(if *fact.source == *"n3" { timeout() } else { misaddressed("default/pod-n2") });
    let broken =
        World::plain(&SIX).breaks(to_pod, symptom).breaks(met, |_| pod(misaddressed("default/pod-n2")));
    let one = broken.explain();
    assert_eq!(kinds(&one), [("place/n2/pod default/pod-n2/ingress/OTHERHOST", IncidentKind::Place, 16)]);
    // Between nodes it is who sent it.
    let between = World::plain(&SIX).breaks(to_pod, |_| misaddressed("")).explain();
    assert!(between.iter().all(|cause| cause.kind != IncidentKind::Place), "{:?}", kinds(&between));
    // What else dies at that node without a place is not explained by one pod's neighbour entry.
    let udp = |fact: &Fact| to(fact) == "n2" && fact.path.probe.kind == ProbeKind::Icmp && !to_pod(fact);
    let two = broken.breaks(udp, |_| timeout()).explain();
    assert_eq!(two.len(), 2, "{:?}", kinds(&two));
}

#[test]
fn a_silent_pod_is_no_backend_beside() {
    let to_pod = |fact: &Fact| &*fact.path.probe.target.id == "pod/default/pod-n2";
    let met = |fact: &Fact| {
        let service = fact.path.probe.target.kind == TargetKind::Service;
        service && matches!(&*fact.source, "n1" | "n4")
    };
    let silent = || Symptom {
        backend: Some("default/pod-n2".to_owned()),
        towards: Some("n2".to_owned()),
        ..timeout()
    };
    let seen = |fact: &Fact| {
        let at = |interface: &str| {
            let mut symptom = died("n2", Direction::Request, Stage::Ingress, "", "");
            let seen = symptom.at.as_mut().unwrap();
            (seen.interface, seen.certainty) = (interface.to_owned(), Certainty::Inferred);
            Symptom { at: symptom.at, ..silent() }
        };
        at(if *fact.source == *"n2" { "vethother" } else { "cni0" })
    };
    let one = World::plain(&SIX).breaks(to_pod, seen).breaks(met, |_| silent()).explain();
    assert_eq!(one.len(), 1, "{:?}", kinds(&one));
}

#[test]
fn what_a_lossy_link_takes_from_a_backend_is_no_cause_of_its_own() {
    let family = |fact: &Fact| fact.family() == Family::V4;
    let failed = |fact: &Fact, other: &str| {
        let direction = if *fact.source == *"n1" { Direction::Request } else { Direction::Reply };
        let symptom = died("n1", direction, Stage::Neighbour, "NEIGH_FAILED", "neigh_invalidate");
        Symptom { towards: Some(other.to_owned()), ..symptom }
    };
    let between = |fact: &Fact| touches(fact, "n1") && touches(fact, "n2") && family(fact);
    let lossy = World::plain(&SIX)
        .breaks(|fact| between(fact) && fact.path.id.0.is_multiple_of(3), |fact| failed(fact, "n2"));
    let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service && family(fact);
    let from = |symptom: Symptom| Symptom {
        backend: Some("default/pod-n1".to_owned()),
        towards: Some("n1".to_owned()),
        ..symptom
    };
    let one =
        lossy.clone().breaks(|fact| service(fact) && *fact.source == *"n2", |fact| from(failed(fact, "n1")));
    assert_eq!(one.explain().len(), 1, "{:?}", kinds(&one.explain()));
    // Some wait for that neighbour still, and were not reported.
    let unseen = |_: &Fact| {
        let mut symptom = died("n1", Direction::Request, Stage::Send, "", "");
        let at = symptom.at.as_mut().unwrap();
        (at.interface, at.certainty) = (String::new(), Certainty::Inferred);
        Symptom { towards: Some("n2".to_owned()), ..symptom }
    };
    let waits = |fact: &Fact| between(fact) && *fact.source == *"n1" && fact.path.id.0 % 3 == 1;
    let waiting = lossy.clone().breaks(waits, unseen);
    assert_eq!(waiting.explain().len(), 1, "{:?}", kinds(&waiting.explain()));
    // What the kernel looked for was another node.
    let two = lossy.breaks(|fact| service(fact) && *fact.source == *"n3", |fact| from(failed(fact, "n1")));
    assert_eq!(two.explain().len(), 2, "{:?}", kinds(&two.explain()));
}

#[test]
fn a_server_that_reads_nothing_is_to_blame_and_not_the_pods_of_its_node() {
    let dns = |fact: &Fact| fact.path.probe.target.kind == TargetKind::DnsServer;
    let asked = |fact: &Fact| {
        let mut symptom = died("n4", Direction::Request, Stage::Application, "", "");
        let at = symptom.at.as_mut().unwrap();
        (at.pod, at.certainty) = ("kube-system/dns-n4".to_owned(), Certainty::Inferred);
        // Of some nothing is known yet but where they went.
        let known = *fact.source != *"n1";
        Symptom {
            backend: known.then(|| "kube-system/dns-n4".to_owned()),
            towards: Some("n4".to_owned()),
            at: symptom.at.filter(|_| known),
            ..timeout()
        }
    };
    let hung = World::plain(&SIX).with_vantages().breaks(dns, asked).explain();
    assert_eq!(hung.len(), 1, "{:?}", kinds(&hung));
    assert_eq!(hung[0].kind, IncidentKind::DnsServer, "{:?}", hung[0].headline);
    // One family of it alone.
    let v4 = |fact: &Fact| dns(fact) && fact.family() == Family::V4;
    let half = World::plain(&SIX).with_vantages().breaks(v4, asked).explain();
    assert_eq!(half.len(), 1, "{:?}", kinds(&half));
    assert_eq!((half[0].kind, half[0].family), (IncidentKind::DnsServer, Some(Family::V4)));
}

#[test]
fn services_that_a_node_and_its_pods_are_denied_are_one_cause() {
    let world = || World::plain(&SIX).with_vantages();
    let services = |fact: &Fact| {
        let kind = fact.path.probe.target.kind;
        *fact.source == *"n3" && matches!(kind, TargetKind::Service | TargetKind::DnsServer)
    };
    let denied = |fact: &Fact| {
        let pod = fact.path.vantage == Vantage::Pod;
        let stage = if pod { Stage::NetfilterForward } else { Stage::NetfilterOutput };
        died("n3", Direction::Request, stage, "NETFILTER_DROP", "nft_do_chain")
    };
    let one = world().breaks(services, denied).explain();
    assert_eq!(one.len(), 1, "{:?}", kinds(&one));
    // What pods are denied besides is another rule's doing.
    let icmp = |fact: &Fact| {
        *fact.source == *"n3" && fact.path.vantage == Vantage::Pod && fact.path.probe.kind == ProbeKind::Icmp
    };
    let two = world().breaks(services, denied).breaks(icmp, denied).explain();
    assert_eq!(two.len(), 2, "{:?}", kinds(&two));
}

#[test]
fn a_policy_of_ipsec_is_no_answer_of_a_service() {
    let at = |reason| died("n2", Direction::Request, Stage::Socket, reason, "tcp_v4_rcv").at.unwrap();
    assert!(place::answered(&at("NO_SOCKET"), TargetKind::Service));
    assert!(!place::answered(&at("XFRM_POLICY"), TargetKind::Service));
    assert!(!place::answered(&at("NO_SOCKET"), TargetKind::Node), "its node's own socket is the place");
}

/// The cluster with the service's node port on every node, a load balancer, and an endpoint on three of the nodes, each
/// probed by all.
fn world() -> World {
    let mut world = World::plain(&SIX);
    let web = world.facts.iter().find(|fact| fact.path.probe.target.kind == TargetKind::Service).unwrap();
    let web = Target::clone(&web.path.probe.target);
    let at = |address, place: &str, pod: &str| Target {
        id: format!("service/default/web:80/{place}").into(),
        at: Some(At { address, port: 80, pod: pod.to_owned() }),
        ..web.clone()
    };
    let mut targets = vec![Target {
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ..at(ServiceAddress::LoadBalancer, "load-balancer/192.0.2.1", "")
    }];
    for (number, zone) in SIX.iter().enumerate() {
        let node = format!("n{}", number + 1);
        let here = Target { node: node.clone(), zone: (*zone).to_owned(), ..web.clone() };
        let port = at(ServiceAddress::NodePort, &format!("node-port/{node}"), "");
        targets.push(Target { node: here.node.clone(), zone: here.zone.clone(), port: 30080, ..port });
        if number < 3 {
            let pod = format!("default/pod-{node}");
            let endpoint = at(ServiceAddress::Endpoint, &format!("endpoint/pod-{node}"), &pod);
            targets.push(Target { node: here.node, zone: here.zone, backends: 1, ..endpoint });
        }
    }
    let sources: Vec<Fact> = SIX
        .iter()
        .enumerate()
        .map(|(number, _)| {
            let name = format!("n{}", number + 1);
            world.facts.iter().find(|fact| *fact.source == *name).unwrap().clone()
        })
        .collect();
    for source in sources {
        for (number, target) in targets.iter().enumerate() {
            let probe = Probe {
                target: Arc::new(target.clone()),
                kind: ProbeKind::Tcp,
                address: "10.0.0.1".parse().unwrap(),
                port: target.port,
                exchange: None,
                question: None,
                sources: Sources::All,
            };
            let id = 900 + number as u32;
            let path = PlannedPath { id: PathId(id), vantage: Vantage::Host, at: id, probe };
            world.facts.push(Fact {
                path: Arc::new(path),
                verdict: Verdict::Reachable,
                symptom: None,
                ..source.clone()
            });
        }
    }
    world
}

fn is_at(fact: &Fact, address: ServiceAddress) -> bool {
    fact.path.probe.target.is_at(address)
}

fn refused() -> Symptom {
    Symptom { outcome: Some(Outcome::Refused), ..timeout() }
}

#[test]
fn a_node_port_that_fails_on_one_node_is_one_cause_that_names_both() {
    let port = |fact: &Fact| is_at(fact, ServiceAddress::NodePort) && fact.path.probe.target.node == "n3";
    let causes = world().breaks(port, |_| refused()).explain();
    assert_eq!(kinds(&causes), [("target/service/default/web:80/node-port/n3", IncidentKind::Service, 6)]);
    assert!(
        causes[0].headline.starts_with("NodePort 30080 on n3 of service default/web:80 answers nobody"),
        "{}",
        causes[0].headline
    );
}

#[test]
fn a_load_balancer_that_fails_is_one_cause() {
    let causes = world().breaks(|fact| is_at(fact, ServiceAddress::LoadBalancer), |_| timeout()).explain();
    assert_eq!(
        kinds(&causes),
        [("target/service/default/web:80/load-balancer/192.0.2.1", IncidentKind::Service, 6)]
    );
    let begin = "load balancer 192.0.2.1 of service default/web:80 answers nobody";
    assert!(causes[0].headline.starts_with(begin), "{}", causes[0].headline);
}

#[test]
fn node_ports_that_fail_on_all_nodes_are_one_cause() {
    let causes = world().breaks(|fact| is_at(fact, ServiceAddress::NodePort), |_| refused()).explain();
    assert_eq!(kinds(&causes), [("service/default/web:80 node port", IncidentKind::Service, 36)]);
}

#[test]
fn a_service_that_fails_everywhere_is_one_cause() {
    let service = |fact: &Fact| fact.path.probe.target.kind == TargetKind::Service;
    let causes = world().breaks(service, |_| refused()).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].key, "service/default/web");
}

#[test]
fn a_dead_node_takes_its_node_port_along() {
    let causes = world()
        .breaks(|fact| touches(fact, "n5"), |_| timeout())
        .silent(|fact| *fact.source == *"n5", Verdict::NoData)
        .explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert!(causes[0].key.starts_with("node/n5"), "{}", causes[0].key);
}

#[test]
fn an_endpoint_and_the_service_that_it_fails_are_one_cause() {
    let endpoint =
        |fact: &Fact| fact.path.probe.target.at.as_ref().is_some_and(|at| at.pod == "default/pod-n2");
    let met = |fact: &Fact| is_at(fact, ServiceAddress::ClusterIp);
    let mut world = world();
    for fact in &mut world.facts {
        if fact.path.probe.target.kind == TargetKind::Service && fact.path.probe.target.at.is_none() {
            let mut path = PlannedPath::clone(&fact.path);
            let at = Some(At { address: ServiceAddress::ClusterIp, port: 80, pod: String::new() });
            path.probe.target = Arc::new(Target { at, ..Target::clone(&path.probe.target) });
            fact.path = Arc::new(path);
        }
    }
    let backend = || Symptom { backend: Some("default/pod-n2".to_owned()), ..refused() };
    let causes = world.breaks(|fact| endpoint(fact) || met(fact), |_| backend()).explain();
    assert_eq!(causes.len(), 1, "{:?}", kinds(&causes));
    assert_eq!(causes[0].key, "backend/default/pod-n2");
}
