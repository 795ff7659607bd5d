use std::collections::BTreeMap;
use std::path::Path;

use netcheck_common::domain::{PathId, ProbeKind};
use proptest::prelude::*;

use super::ask::{reflected, sighted};
use super::flows::LostFlows;
use super::locate::{Scene, destination, locate};
use super::pending::PendingDrops;
use super::*;
use crate::clock::SECOND_NS;
use crate::hub::NodeIx;
use crate::inventory;
use crate::plan::{Catalog, Probe};
use crate::roster::Roster;

const CLUSTER: &str = include_str!("../../tests/hub/cluster.yaml");

struct World {
    roster: Roster,
    catalog: Catalog,
}

impl World {
    fn new() -> Self {
        let roster = inventory::parse(Path::new("f"), CLUSTER).unwrap().roster();
        let catalog = Catalog::of(&roster, &BTreeMap::new(), "a.b");
        Self { roster, catalog }
    }

    fn probe(&self, target: &str, kind: ProbeKind) -> &Probe {
        self.catalog.probes.iter().find(|probe| *probe.target.id == *target && probe.kind == kind).unwrap()
    }

    fn scene<'a>(&'a self, probe: &'a Probe, lost: &Lost) -> Scene<'a> {
        Scene {
            source: "n1",
            probe,
            roster: &self.roster,
            destination: destination(&self.roster, probe, lost),
            sight: Sight::Sees { uplink: Some("ens3".to_owned()) },
            settled: true,
            give_up: false,
            source_watches_uplinks: true,
            destination_watches_uplinks: true,
            echo_answered: false,
            reverse_errno: None,
        }
    }

    fn locate_with(&self, probe: &Probe, lost: &Lost, sight: Sight, give_up: bool) -> Located {
        locate(&Scene { sight, give_up, ..self.scene(probe, lost) }, lost)
    }

    fn locate(&self, target: &str, kind: ProbeKind, lost: &Lost) -> Located {
        let sight = Sight::Sees { uplink: Some("ens3".to_owned()) };
        self.locate_with(self.probe(target, kind), lost, sight, false)
    }
}

fn hook(interface: &str, role: v1::InterfaceRole, egress: bool) -> v1::HookSeen {
    v1::HookSeen { interface: interface.to_owned(), role: role.into(), egress, encapsulated: false }
}

fn uplink(egress: bool) -> v1::HookSeen {
    hook("eth0", v1::InterfaceRole::Uplink, egress)
}

fn veth(egress: bool) -> v1::HookSeen {
    hook("veth1", v1::InterfaceRole::PodVeth, egress)
}

/// A probe that left through eth0 and timed out.
fn timed_out() -> Lost {
    let sample =
        v1::LostSample { path_id: 1, sequence: 7, request_hooks: vec![uplink(true)], ..Default::default() };
    Lost::new(sample, Outcome::Timeout, 100 * SECOND_NS, 101 * SECOND_NS)
}

fn record(reason: &str, stage: v1::Stage, direction: v1::Direction) -> v1::DropRecord {
    v1::DropRecord {
        interface: "cni0".to_owned(),
        stage: stage.into(),
        direction: direction.into(),
        reason: reason.to_owned(),
        function: "some_function".to_owned(),
        ..Default::default()
    }
}

fn fact(node: &str, observed_ns: i64, record: v1::DropRecord) -> DropFact {
    DropFact { node: node.into(), observed_ns, record }
}

fn flow(source: [u8; 4], source_port: u32, destination: [u8; 4], destination_port: u32) -> v1::FlowTuple {
    v1::FlowTuple {
        kind: v1::ProbeKind::Tcp.into(),
        source_address: source.to_vec(),
        destination_address: destination.to_vec(),
        source_port,
        destination_port,
    }
}

/// Node, interface, stage, direction and certainty, in one line.
fn place(located: &Located) -> String {
    located.location.as_ref().map_or_else(
        || format!("unlocated: {}", located.summary),
        |at| {
            let sure = if at.certainty() == v1::Certainty::Observed { "observed" } else { "inferred" };
            format!(
                "{} {} {:?} {:?} {sure} {}",
                at.node,
                if at.interface.is_empty() { "-" } else { &at.interface },
                at.stage(),
                at.direction(),
                at.next_node
            )
            .trim()
            .to_owned()
        },
    )
}

#[test]
fn a_specific_drop_beats_a_vague_one_and_every_inference() {
    let world = World::new();
    let mut lost = timed_out();
    lost.arrival = Some(false);
    let vague = record("NOT_SPECIFIED", v1::Stage::Ingress, v1::Direction::Request);
    lost.add_drop(fact("n2", 1, vague));
    let specific = record("NETFILTER_DROP", v1::Stage::NetfilterForward, v1::Direction::Request);
    lost.add_drop(fact("n2", 2, specific));
    let located = world.locate("node/n2", ProbeKind::Icmp, &lost);
    assert_eq!(place(&located), "n2 cni0 NetfilterForward Request observed");
    assert_eq!(located.location.unwrap().reason, "NETFILTER_DROP");
}

#[test]
fn the_copy_of_an_echo_reply_that_a_raw_socket_got_is_no_drop() {
    let world = World::new();
    let mut lost = timed_out();
    lost.add_drop(fact("n1", 1, record("NO_SOCKET", v1::Stage::Socket, v1::Direction::Reply)));
    let icmp = world.locate("node/n2", ProbeKind::Icmp, &lost);
    assert_eq!(icmp.want, Some(Want::Path), "{icmp:?}");
    let udp = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!(place(&udp), "n1 cni0 Socket Reply observed");
}

#[test]
fn a_flooded_copy_that_a_bystander_did_not_want_is_no_drop() {
    let world = World::new();
    let mut lost = timed_out();
    lost.add_drop(fact("n3", 1, record("OTHERHOST", v1::Stage::Ingress, v1::Direction::Request)));
    assert_eq!(world.locate("node/n2", ProbeKind::Icmp, &lost).want, Some(Want::Path));
    lost.add_drop(fact("n2", 1, record("OTHERHOST", v1::Stage::Ingress, v1::Direction::Request)));
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), "n2 cni0 Ingress Request observed");
}

#[test]
fn what_a_given_up_connection_leaves_behind_is_no_cause() {
    let world = World::new();
    let mut lost = timed_out();
    lost.add_drop(fact("n1", 1, record("NO_SOCKET", v1::Stage::Socket, v1::Direction::Reply)));
    lost.add_drop(fact("n2", 2, record("NOT_SPECIFIED", v1::Stage::Socket, v1::Direction::Request)));
    let located = world.locate("node/n2", ProbeKind::Tcp, &lost);
    assert!(!located.observed(), "{located:?}");
    // A question's answer that finds nobody waiting was not lost; it was late.
    let dns = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let late = world.locate("dns/kube-system/coredns-x", ProbeKind::Dns, &lost);
    assert!(late.location.is_none() && late.summary.contains("too late"), "{late:?}");
    // A kernel that gave the late answer up says more than that it was late.
    let mut filtered = timed_out();
    filtered.answered_late = true;
    filtered.add_drop(fact(
        "n1",
        1,
        record("NETFILTER_DROP", v1::Stage::NetfilterInput, v1::Direction::Reply),
    ));
    let located = world.locate("node/n2", ProbeKind::Udp, &filtered);
    assert_eq!(place(&located), "n1 cni0 NetfilterInput Reply observed");
    // Where echo requests to the same address are in time it was not the way that held it up.
    let mut slow = timed_out();
    for told in [&lost, &{
        slow.answered_late = true;
        slow
    }] {
        let scene = Scene { echo_answered: true, ..world.scene(dns, told) };
        assert_eq!(place(&locate(&scene, told)), "n1 - Application Request inferred");
    }
    lost.add_drop(fact("n2", 2, record("TCP_RESET", v1::Stage::Socket, v1::Direction::Request)));
    assert!(!world.locate("node/n2", ProbeKind::Tcp, &lost).observed(), "its own reset");
    lost.add_drop(fact("n2", 3, record("TCP_OVERFLOW", v1::Stage::Socket, v1::Direction::Request)));
    let located = world.locate("node/n2", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n2 cni0 Socket Request observed");
}

#[test]
fn where_the_way_is_open_only_the_socket_is_left() {
    let world = World::new();
    let probe = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let lost = timed_out();
    let scene = |echo_answered| Scene {
        source: "n2",
        destination: Some("n1"),
        echo_answered,
        ..world.scene(probe, &lost)
    };
    assert!(locate(&scene(false), &lost).location.is_none());
    let located = locate(&scene(true), &lost);
    assert_eq!(place(&located), "n1 - Application Request inferred");
    assert_eq!(located.location.unwrap().pod, "kube-system/coredns-x");
}

#[test]
fn send_errors() {
    let world = World::new();
    for (errno, stage) in [
        ("EINVAL", "Routing"),
        ("ENETUNREACH", "Routing"),
        // Netfilter's output or postrouting; an unreachable route or a silent neighbour: no errno tells them apart.
        ("EPERM", "Send"),
        ("EHOSTUNREACH", "Send"),
        ("ENOBUFS", "Qdisc"),
        ("EMSGSIZE", "Send"),
    ] {
        let sample = v1::LostSample { errno: errno.to_owned(), ..Default::default() };
        let lost = Lost::new(sample, Outcome::SendError, 0, 0);
        let located = world.locate("node/n2", ProbeKind::Icmp, &lost);
        assert_eq!(place(&located), format!("n1 - {stage} Request observed"));
        assert_eq!(located.location.unwrap().reason, errno);
    }
}

#[test]
fn icmp_errors_name_their_sender() {
    let world = World::new();
    let error = |from: [u8; 4], code| {
        let icmp_error = Some(v1::IcmpError { from: from.to_vec(), r#type: 3, code, mtu_bytes: 0 });
        let sample = v1::LostSample { icmp_error, ..timed_out().sample };
        Lost::new(sample, Outcome::Unreachable, 0, 0)
    };
    let located = world.locate("pod/default/web-2", ProbeKind::Icmp, &error([10, 0, 0, 2], 13));
    assert_eq!(place(&located), "n2 - Unspecified Request observed", "a filter, or a prohibit route");
    assert_eq!(located.evidence, ["n2 (10.0.0.2) sent ICMP administratively prohibited"]);
    let located = world.locate("node/n2", ProbeKind::Icmp, &error([10, 0, 0, 2], 13));
    assert_eq!(place(&located), "n2 - NetfilterInput Request observed");
    let located = world.locate("node/n2", ProbeKind::Icmp, &error([192, 0, 2, 1], 0));
    assert_eq!(place(&located), "192.0.2.1 - Routing Request observed");
}

#[test]
fn refusals_and_dns_errors_name_who_answered() {
    let world = World::new();
    let sample =
        v1::LostSample { flow: Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080)), ..Default::default() };
    let mut lost = Lost::new(sample, Outcome::Refused, 0, 0);
    let located = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n3 - Socket Request observed");
    assert_eq!(located.summary, "refused by backend default/web-3 (10.244.3.2) on n3");
    // The kernel's own record of the missing socket only adds to it; a reject rule before it explains more.
    lost.add_drop(fact("n3", 1, record("NO_SOCKET", v1::Stage::Socket, v1::Direction::Request)));
    let again = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!((&again.location, again.evidence.len()), (&located.location, 2));
    lost.add_drop(fact(
        "n2",
        1,
        record("NETFILTER_DROP", v1::Stage::NetfilterForward, v1::Direction::Request),
    ));
    let rejected = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&rejected), "n2 cni0 NetfilterForward Request observed");

    // A closed TCP port answers with a reset: a filter sent this, from an address that the service's hides.
    let from = vec![10, 96, 0, 80];
    let icmp_error = Some(v1::IcmpError { from, r#type: 3, code: 3, mtu_bytes: 0 });
    let to_backend = Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let translated = v1::LostSample { icmp_error, flow: to_backend.clone(), ..Default::default() };
    let located = world.locate(
        "service/default/web:80",
        ProbeKind::Tcp,
        &Lost::new(translated, Outcome::Refused, 0, 0),
    );
    assert!(located.location.is_none(), "{located:?}");
    assert_eq!(located.evidence, ["it was sent to backend default/web-3 (10.244.3.2) on n3"]);
    // From an address of its own: the target's where its own stack rejects, another's where a node on the way does.
    for (from, expected) in [
        (vec![10, 244, 3, 2], "n3 - NetfilterInput Request observed"),
        (vec![10, 0, 0, 2], "n2 - NetfilterForward Request observed"),
        (vec![10, 0, 0, 1], "n1 - NetfilterOutput Request observed"),
    ] {
        let icmp_error = Some(v1::IcmpError { from, r#type: 3, code: 3, mtu_bytes: 0 });
        let flow = to_backend.clone();
        let lost =
            Lost::new(v1::LostSample { icmp_error, flow, ..Default::default() }, Outcome::Refused, 0, 0);
        assert_eq!(place(&world.locate("service/default/web:80", ProbeKind::Tcp, &lost)), expected);
    }

    let unknown = Lost::new(v1::LostSample::default(), Outcome::Refused, 0, 0);
    let located = world.locate("service/default/web:80", ProbeKind::Tcp, &unknown);
    assert!(located.location.is_none() && located.want.is_none(), "no backend is guessed");

    let sample = v1::LostSample { dns_rcode: "SERVFAIL".to_owned(), ..Default::default() };
    let lost = Lost::new(sample, Outcome::DnsError, 0, 0);
    let located = world.locate("dns/kube-system/coredns-x", ProbeKind::Dns, &lost);
    assert_eq!(place(&located), "n1 - Application Request observed");
    assert_eq!(located.summary, "SERVFAIL from pod kube-system/coredns-x (10.244.1.53) on n1");
}

#[test]
fn what_the_source_saw_bounds_the_place() {
    let world = World::new();
    let with = |request: &[v1::HookSeen], reply: &[v1::HookSeen]| {
        let mut lost = timed_out();
        lost.sample.request_hooks = request.to_vec();
        lost.sample.reply_hooks = reply.to_vec();
        place(&world.locate("node/n2", ProbeKind::Icmp, &lost))
    };
    let asks = "unlocated: was not seen to leave n1; waiting for the answer of its destination";
    let young =
        Scene { settled: false, ..world.scene(world.probe("node/n2", ProbeKind::Icmp), &timed_out()) };
    let located = locate(&young, &timed_out());
    assert_eq!((located.location.is_none(), located.want), (true, Some(Want::Path)), "asked meanwhile");
    let young = Scene { destination: Some("n1"), ..young };
    assert_eq!(locate(&young, &timed_out()).want, Some(Want::Reports));
    assert_eq!(with(&[], &[]), asks, "what was seen there refutes what was not seen here");
    assert_eq!(with(&[uplink(true)], &[uplink(false)]), "n1 eth0 Ingress Reply inferred");
    let bridge = hook("br0", v1::InterfaceRole::Bridge, true);
    assert_eq!(with(std::slice::from_ref(&bridge), &[]), asks);
    // A tunnel's device only wraps: nothing has left before the wrapped packet was seen at an uplink.
    let tunnel = hook("flannel.1", v1::InterfaceRole::Tunnel, true);
    let mut lost = timed_out();
    for (hooks, expected) in [
        (vec![], "n1 - Send Request inferred"),
        (vec![bridge], "n1 br0 Egress Request inferred"),
        (vec![tunnel.clone()], "n1 flannel.1 Egress Request inferred"),
        (vec![tunnel, uplink(true)], "n1 eth0 Wire Request inferred n2"),
    ] {
        lost.sample.request_hooks = hooks;
        lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
        assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), expected);
        lost.answer =
            Some(Answer { arrived: Some(true), last_request_hook: Some(uplink(false)), ..Answer::default() });
        let arrived = place(&world.locate("node/n2", ProbeKind::Icmp, &lost));
        assert_eq!(arrived, "n2 eth0 Ingress Unspecified inferred");
    }
    let mut lost = timed_out();
    lost.sample.request_hooks = vec![veth(true)];
    let own = world.locate("pod/default/web-1", ProbeKind::Icmp, &lost);
    assert_eq!(place(&own), "n1 veth1 Egress Unspecified inferred");
    assert_eq!(own.location.unwrap().pod, "default/web-1");
    lost.sample.request_hooks.clear();
    let inside = world.locate("pod/default/web-1", ProbeKind::Icmp, &lost);
    assert!(inside.location.is_none(), "no hook is on every way inside a node: {inside:?}");
}

#[test]
fn what_the_destination_saw_tells_the_halves_apart() {
    let world = World::new();
    let mut lost = timed_out();
    let asked = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!((asked.location.is_none(), asked.want), (true, Some(Want::Path)));
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let located = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!(place(&located), "n1 eth0 Wire Request inferred n2");
    assert_eq!(located.location.unwrap().next_interface, "ens3");

    lost.answer =
        Some(Answer { arrived: Some(true), last_request_hook: Some(uplink(false)), ..Answer::default() });
    // The kernel makes some replies itself, and drops them before any hook.
    assert_eq!(
        place(&world.locate("node/n2", ProbeKind::Udp, &lost)),
        "n2 eth0 Ingress Unspecified inferred"
    );
    lost.answer =
        Some(Answer { arrived: Some(true), last_request_hook: Some(veth(true)), ..Answer::default() });
    let pod = world.locate("pod/default/web-2", ProbeKind::Icmp, &lost);
    assert_eq!(place(&pod), "n2 veth1 Egress Unspecified inferred");
    assert_eq!(pod.location.unwrap().pod, "default/web-2");

    let replied = |hook| {
        Some(Answer { arrived: Some(true), replied: true, last_reply_hook: Some(hook), ..Answer::default() })
    };
    lost.answer = replied(uplink(true));
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Udp, &lost)), "n2 eth0 Wire Reply inferred n1");
    lost.answer = replied(veth(false));
    assert_eq!(
        place(&world.locate("pod/default/web-2", ProbeKind::Icmp, &lost)),
        "n2 veth1 Ingress Reply inferred"
    );

    // A later reply told first: the direction is known before the place.
    lost.answer = None;
    lost.arrival = Some(true);
    let located = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!(
        (place(&located).as_str(), located.want),
        ("n2 - Unspecified Reply inferred", Some(Want::Path))
    );
    lost.arrival = Some(false);
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Udp, &lost)), "n1 eth0 Wire Request inferred n2");
}

#[test]
fn who_cannot_be_asked_is_not_guessed_about() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Icmp);
    let mut lost = timed_out();
    let located = world.locate_with(probe, &lost, Sight::NoAgent, false);
    assert!(located.location.is_none(), "the wire, or anything on n2: {located:?}");
    assert_eq!(located.summary, "left n1 through eth0; nobody on n2 can tell whether it arrived");
    assert!(located.evidence.contains(&"node n2 has no agent to ask".to_owned()));
    for (sight, give_up) in [(Sight::Blind, false), (Sight::Sees { uplink: None }, true)] {
        let located = world.locate_with(probe, &lost, sight, give_up);
        assert!(
            located.location.is_none() && located.want.is_none() && !located.summary.is_empty(),
            "{located:?}"
        );
    }
    lost.sample.unwatched = true;
    lost.sample.request_hooks.clear();
    let located = world.locate_with(probe, &lost, Sight::NoAgent, false);
    assert!(located.location.is_none(), "{located:?}");
    // Without hooks at the source the destination still knows whether it arrived.
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), "n1 - Wire Request inferred n2");
}

#[test]
fn a_destination_that_cannot_send_back_is_where_the_reply_died() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Icmp);
    let located =
        |lost: &Lost| locate(&Scene { reverse_errno: Some("EINVAL"), ..world.scene(probe, lost) }, lost);
    let mut lost = timed_out();
    let last_request_hook = Some(uplink(false));
    lost.answer = Some(Answer { arrived: Some(true), last_request_hook, ..Answer::default() });
    assert_eq!(place(&located(&lost)), "n2 - Routing Reply inferred");
    // The kernel's vague record of the request that it could not answer says less.
    lost.answer = None;
    lost.add_drop(fact("n2", 1, record("NOT_SPECIFIED", v1::Stage::Socket, v1::Direction::Request)));
    assert_eq!(place(&located(&lost)), "n2 - Routing Reply inferred");
    lost.add_drop(fact("n2", 1, record("NETFILTER_DROP", v1::Stage::NetfilterInput, v1::Direction::Request)));
    assert_eq!(place(&located(&lost)), "n2 cni0 NetfilterInput Request observed");
    // That it can't send says nothing of a request that never came.
    lost.drops.clear();
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    assert_eq!(place(&located(&lost)), "n1 eth0 Wire Request inferred n2");
}

#[test]
fn flows_that_no_destination_keeps_are_not_asked_about() {
    let world = World::new();
    let mut lost = timed_out();
    lost.flow = Flow::read(&flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let service = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!((service.location.is_none(), service.want), (true, None));
    lost.flow = Flow::read(&flow([10, 0, 0, 1], 4000, [10, 0, 0, 2], 6100));
    assert_eq!(world.locate("node/n2", ProbeKind::Tcp, &lost).want, Some(Want::Flow));
    let silent = world.locate_with(world.probe("node/n2", ProbeKind::Tcp), &lost, Sight::Silent, false);
    assert!(
        silent.location.is_none()
            && silent.evidence.contains(&"the agent of n2 has fallen silent".to_owned())
    );
}

#[test]
fn answers_of_reflectors() {
    let state = |known, highest_sequence, arrived, last_reply_sequence| v1::ReflectedState {
        known,
        highest_sequence,
        arrived,
        last_reply_sequence,
        last_reply_hook: (last_reply_sequence > 0).then(|| uplink(true)),
        ..Default::default()
    };
    let arrived = |state: &v1::ReflectedState, sequence| reflected(state, sequence).arrived;
    assert_eq!(arrived(&state(false, 0, 0, 0), 5), Some(false));
    assert_eq!(arrived(&state(true, 4, 0b1111, 0), 5), Some(false));
    assert_eq!(arrived(&state(true, 5, 0b1, 0), 5), Some(true));
    assert_eq!(arrived(&state(true, 7, 0b101, 0), 6), Some(false));
    assert_eq!(arrived(&state(true, 7, 0b101, 0), 5), Some(true));
    assert_eq!(arrived(&state(true, 69, u64::MAX, 0), 5), None, "too long ago");
    // Numbers wrap.
    assert_eq!(arrived(&state(true, 1, 0b111, 0), u32::MAX), Some(true));
    assert_eq!(arrived(&state(true, u32::MAX, 0b1, 0), 1), Some(false));
    assert!(reflected(&state(true, 7, 0b111, 6), 6).replied);
    assert!(!reflected(&state(true, 7, 0b111, 5), 6).replied);
    let seen = v1::FlowSighting { known: true, request_packets: 2, ..Default::default() };
    assert_eq!(sighted(&seen), Answer { arrived: Some(true), ..Answer::default() });
}

#[test]
fn waiting_records_are_found_by_probe_and_by_flow_and_bounded() {
    let mut drops = PendingDrops::default();
    let own = v1::DropRecord { probe_session: 9, path_id: 1, sequence: 7, ..Default::default() };
    drops.add(Arc::new(fact("n2", 0, own)), 0);
    let mut lost = timed_out();
    assert_eq!(drops.of(9, &lost).len(), 1);
    assert!(drops.of(8, &lost).is_empty(), "another agent's");
    lost.flow = Flow::read(&flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let seconds = |second: i64, flow| {
        let record = v1::DropRecord { flow: Some(flow), ..Default::default() };
        Arc::new(fact("n3", second * SECOND_NS, record))
    };
    // The reply, before its translation back; and what is not of this probe: too late, or of another port.
    drops.add(seconds(101, flow([10, 244, 3, 2], 8080, [10, 0, 0, 1], 4000)), 0);
    drops.add(seconds(120, flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080)), 0);
    drops.add(seconds(101, flow([10, 0, 0, 1], 4001, [10, 244, 3, 2], 8080)), 0);
    assert_eq!(drops.of(9, &lost).len(), 2);
    drops.expire(31 * SECOND_NS);
    assert!(drops.is_empty() && drops.of(9, &lost).is_empty());
    for sequence in 0..70_000 {
        let record = v1::DropRecord { probe_session: 9, path_id: 1, sequence, ..Default::default() };
        drops.add(Arc::new(fact("n2", 0, record)), 0);
    }
    assert_eq!((drops.len() as u64, drops.evicted), (65_536, 70_000 - 65_536));
    lost.sample.sequence = 69_999;
    lost.flow = None;
    assert_eq!(drops.of(9, &lost).len(), 1);
}

fn any_hook() -> impl Strategy<Value = v1::HookSeen> {
    (0i32..7, any::<bool>()).prop_map(|(role, egress)| v1::HookSeen {
        interface: "x".to_owned(),
        role,
        egress,
        encapsulated: false,
    })
}

proptest! {
    #[test]
    fn without_a_report_nothing_is_observed_and_with_a_drop_it_always_is(
        request in prop::collection::vec(any_hook(), 0..3),
        reply in prop::collection::vec(any_hook(), 0..2),
        unwatched: bool,
        arrival: Option<bool>,
        arrived: Option<bool>,
        replied: bool,
        hooks in (prop::option::of(any_hook()), prop::option::of(any_hook())),
        dropped: bool,
    ) {
        let world = World::new();
        let mut lost = timed_out();
        lost.sample.request_hooks = request;
        lost.sample.reply_hooks = reply;
        lost.sample.unwatched = unwatched;
        lost.arrival = arrival;
        lost.answer = Some(Answer { arrived, replied, last_request_hook: hooks.0, last_reply_hook: hooks.1 });
        if dropped {
            lost.add_drop(fact("n2", 1, record("X", v1::Stage::Ingress, v1::Direction::Request)));
        }
        let located = world.locate("node/n2", ProbeKind::Icmp, &lost);
        prop_assert_eq!(located.observed(), dropped);
        prop_assert!(!located.summary.is_empty());
    }
}

#[test]
fn without_hooks_at_the_uplinks_nothing_is_said_to_have_stayed() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Icmp);
    let mut lost = timed_out();
    lost.sample.request_hooks = vec![hook("flannel.1", v1::InterfaceRole::Tunnel, true)];
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let blind = Scene { source_watches_uplinks: false, ..world.scene(probe, &lost) };
    assert!(locate(&blind, &lost).location.is_none());
    let last_reply_hook = Some(hook("flannel.1", v1::InterfaceRole::Tunnel, true));
    lost.answer = Some(Answer { arrived: Some(true), replied: true, last_reply_hook, ..Answer::default() });
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), "n2 flannel.1 Egress Reply inferred");
    let blind = Scene { destination_watches_uplinks: false, ..world.scene(probe, &lost) };
    assert!(locate(&blind, &lost).location.is_none());
}

#[test]
fn a_datagrams_answer_that_left_may_have_left_too_late() {
    let world = World::new();
    let mut lost = timed_out();
    lost.flow = Flow::read(&flow([10, 0, 0, 1], 4000, [10, 244, 1, 53], 53));
    lost.answer = Some(Answer {
        arrived: Some(true),
        replied: true,
        last_reply_hook: Some(uplink(true)),
        ..Answer::default()
    });
    let probe = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let from_n2 = Scene { source: "n2", destination: Some("n1"), ..world.scene(probe, &lost) };
    let located = locate(&from_n2, &lost);
    assert!(located.location.is_none() && located.summary.contains("perhaps after"), "{located:?}");
}

#[test]
fn records_that_come_late_find_the_paths_of_their_flow_whoever_has_its_address() {
    let mut flows = LostFlows::default();
    let (path, other) = ((NodeIx(1), PathId(7)), (NodeIx(2), PathId(7)));
    // A tunnel's address, which no roster knows.
    let client = |port| Flow::read(&flow([10, 244, 1, 0], port, [10, 244, 3, 2], 8080)).unwrap();
    flows.add(&client(4000), path, 0);
    flows.add(&client(4001), other, 20 * SECOND_NS);
    let reply = Flow::read(&flow([10, 244, 3, 2], 8080, [10, 244, 1, 0], 4000)).unwrap();
    assert_eq!((flows.of(&client(4000)), flows.of(&reply)), (vec![path], vec![path]));
    assert_eq!((flows.of(&client(4001)), flows.of(&client(4002))), (vec![other], vec![]));
    flows.expire(31 * SECOND_NS);
    assert_eq!((flows.of(&client(4000)), flows.of(&client(4001))), (vec![], vec![other]));
    for port in 0..70_000 {
        flows.add(&client(port % 60_000 + 1), path, 40 * SECOND_NS);
    }
    assert_eq!(flows.of(&client(4001)), [path], "bounded: the oldest went first");
}

#[test]
fn what_nobody_is_behind_says_so_first() {
    let roster =
        inventory::parse(Path::new("f"), &CLUSTER.replace("ready: true", "ready: false")).unwrap().roster();
    let catalog = Catalog::of(&roster, &BTreeMap::new(), "a.b");
    let world = World { roster, catalog };
    let mut lost = timed_out();
    lost.add_drop(fact(
        "n1",
        1,
        record("NETFILTER_DROP", v1::Stage::NetfilterOutput, v1::Direction::Request),
    ));
    let located = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n1 cni0 NetfilterOutput Request observed");
    assert!(located.summary.starts_with("service default/web has no ready endpoints: request dropped on n1"));
}
