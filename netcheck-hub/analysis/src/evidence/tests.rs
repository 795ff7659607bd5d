use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{Outcome, PathId, ProbeKind};
use proptest::prelude::*;

use super::answers::{reflected, sighted};
use super::flows::LostFlows;
use super::locate::{LocateInput, destination, locate};
use super::pending::PendingDrops;
use super::*;
use crate::cluster::inventory;
use crate::cluster::roster::Roster;
use crate::cluster::selection::Selection;
use crate::model::NodeIx;
use crate::model::clock::SECOND_NS;
use crate::model::evidence::{
    DropRecord, ExchangeStep, FlowSighting, HookSeen, IcmpError, LostSample, PodLinkDown, ProbeIdentity,
    ReflectedState,
};
use crate::model::location::{Certainty, Direction, InterfaceRole, Stage};
use crate::plan::dns::{DnsSettings, Found};
use crate::plan::{Catalog, Probe};

mod exchange;
mod fits;
mod networks;
mod pending;
mod relay;
mod reported;
mod vantage;
mod visibility;

const CLUSTER: &str = include_str!("../../../tests/hub/cluster.yaml");

struct World {
    roster: Roster,
    catalog: Catalog,
}

impl World {
    fn new() -> Self {
        Self::of(CLUSTER)
    }

    fn of(cluster: &str) -> Self {
        let roster = inventory::parse(Path::new("f"), cluster).unwrap().roster();
        let catalog = Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b");
        Self { roster, catalog }
    }

    fn probe(&self, target: &str, kind: ProbeKind) -> &Probe {
        self.catalog.probes.iter().find(|probe| *probe.target.id == *target && probe.kind == kind).unwrap()
    }

    fn input<'a>(&'a self, probe: &'a Probe, lost: &Lost) -> LocateInput<'a> {
        LocateInput {
            source: "n1",
            source_pod: None,
            source_link_down: None,
            source_watches_pods: true,
            probe,
            roster: &self.roster,
            destination: destination(&self.roster, "n1", probe, lost),
            visibility: Visibility::Hooks { uplink: Some("ens3".to_owned()), drops: true },
            settled: true,
            give_up: false,
            source_watches_uplinks: true,
            destination_watches_uplinks: true,
            echo_answered: false,
            reverse_errno: None,
            reverse_unreported: false,
            promptly_answered: false,
            pod_link_down: None,
        }
    }

    fn locate_with(&self, probe: &Probe, lost: &Lost, visibility: Visibility, give_up: bool) -> Located {
        locate(&LocateInput { visibility, give_up, ..self.input(probe, lost) }, lost)
    }

    fn locate(&self, target: &str, kind: ProbeKind, lost: &Lost) -> Located {
        let visibility = Visibility::Hooks { uplink: Some("ens3".to_owned()), drops: true };
        self.locate_with(self.probe(target, kind), lost, visibility, false)
    }
}

fn hook(interface: &str, role: InterfaceRole, egress: bool) -> HookSeen {
    HookSeen { interface: interface.to_owned(), role, egress, encapsulated: false }
}

fn uplink(egress: bool) -> HookSeen {
    hook("eth0", InterfaceRole::Uplink, egress)
}

fn veth(egress: bool) -> HookSeen {
    hook("veth1", InterfaceRole::PodVeth, egress)
}

/// A probe that left through eth0 and timed out.
fn timed_out() -> Lost {
    let sample =
        LostSample { path: PathId(1), sequence: 7, request_hooks: vec![uplink(true)], ..Default::default() };
    Lost::new(sample, Outcome::Timeout, 100 * SECOND_NS, 101 * SECOND_NS)
}

fn record(reason: &str, stage: Stage, direction: Direction) -> DropRecord {
    DropRecord {
        interface: "cni0".to_owned(),
        stage,
        direction,
        reason: reason.to_owned(),
        function: "some_function".to_owned(),
        ..Default::default()
    }
}

fn fact(node: &str, observed_ns: i64, record: DropRecord) -> DropFact {
    DropFact { node: node.into(), observed_ns, record }
}

fn flow(source: [u8; 4], source_port: u16, destination: [u8; 4], destination_port: u16) -> Flow {
    Flow {
        kind: ProbeKind::Tcp,
        source: (source, source_port).into(),
        destination: (destination, destination_port).into(),
    }
}

/// Node, interface, stage, direction and certainty, in one line.
fn place(located: &Located) -> String {
    located.location.as_ref().map_or_else(
        || format!("unlocated: {}", located.summary),
        |at| {
            let sure = if at.certainty == Certainty::Observed { "observed" } else { "inferred" };
            format!(
                "{} {} {:?} {:?} {sure} {}",
                at.node,
                if at.interface.is_empty() { "-" } else { &at.interface },
                at.stage,
                at.direction,
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
    let vague = record("NOT_SPECIFIED", Stage::Ingress, Direction::Request);
    lost.add_drop(fact("n2", 1, vague));
    let specific = record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request);
    lost.add_drop(fact("n2", 2, specific));
    let located = world.locate("node/n2", ProbeKind::Icmp, &lost);
    assert_eq!(place(&located), "n2 cni0 NetfilterForward Request observed");
    assert_eq!(located.location.unwrap().reason, "NETFILTER_DROP");
}

#[test]
fn the_copy_of_an_echo_reply_that_a_raw_socket_got_is_no_drop() {
    let world = World::new();
    let mut lost = timed_out();
    lost.add_drop(fact("n1", 1, record("NO_SOCKET", Stage::Socket, Direction::Reply)));
    let icmp = world.locate("node/n2", ProbeKind::Icmp, &lost);
    assert_eq!(icmp.want, Some(Want::Path), "{icmp:?}");
    let udp = world.locate("node/n2", ProbeKind::Udp, &lost);
    assert_eq!(place(&udp), "n1 cni0 Socket Reply observed");
}

#[test]
fn a_flooded_copy_that_a_bystander_did_not_want_is_no_drop() {
    let world = World::new();
    let mut lost = timed_out();
    lost.add_drop(fact("n3", 1, record("OTHERHOST", Stage::Ingress, Direction::Request)));
    assert_eq!(world.locate("node/n2", ProbeKind::Icmp, &lost).want, Some(Want::Path));
    lost.add_drop(fact("n2", 1, record("OTHERHOST", Stage::Ingress, Direction::Request)));
    assert_eq!(place(&world.locate("node/n2", ProbeKind::Icmp, &lost)), "n2 cni0 Ingress Request observed");
}

#[test]
fn a_dropped_answer_shows_who_got_the_request() {
    let world = World::new();
    let service = world.probe("service/default/web:80", ProbeKind::Tcp);
    for (from, expected) in [([10, 244, 2, 2], Some("n2")), ([10, 96, 0, 10], None)] {
        let mut lost = timed_out();
        let answer = DropRecord {
            flow: Some(flow(from, 8080, [10, 0, 0, 1], 61_000)),
            ..record("OTHERHOST", Stage::Ingress, Direction::Reply)
        };
        lost.add_drop(fact("n1", 1, answer.clone()));
        assert_eq!(destination(&world.roster, "n1", service, &lost), expected, "{from:?}");
        let mut wrapped = timed_out();
        wrapped.add_drop(fact("n1", 1, DropRecord { encapsulated: true, ..answer }));
        assert_eq!(destination(&world.roster, "n1", service, &wrapped), None, "a tunnel's ends are nodes'");
    }
}

#[test]
fn what_a_given_up_connection_leaves_behind_is_no_cause() {
    let world = World::new();
    let mut lost = timed_out();
    lost.add_drop(fact("n1", 1, record("NO_SOCKET", Stage::Socket, Direction::Reply)));
    lost.add_drop(fact("n2", 2, record("NOT_SPECIFIED", Stage::Socket, Direction::Request)));
    let located = world.locate("node/n2", ProbeKind::Tcp, &lost);
    assert!(!located.observed(), "{located:?}");
    let mut own = timed_out();
    own.outcome = Outcome::Unreachable;
    own.add_drop(fact("n1", 1, record("NO_SOCKET", Stage::Socket, Direction::Reply)));
    assert!(!world.locate("node/n2", ProbeKind::Tcp, &own).observed(), "its end is closed, however it ended");
    // A question's answer that finds nobody waiting was not lost; it was late.
    let dns = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let late = world.locate("dns/kube-system/coredns-x", ProbeKind::Dns, &lost);
    assert!(late.location.is_none() && late.summary.contains("too late"), "{late:?}");
    // A kernel that gave the late answer up says more than that it was late.
    let mut filtered = timed_out();
    filtered.answered_late = true;
    filtered.add_drop(fact("n1", 1, record("NETFILTER_DROP", Stage::NetfilterInput, Direction::Reply)));
    let located = world.locate("node/n2", ProbeKind::Udp, &filtered);
    assert_eq!(place(&located), "n1 cni0 NetfilterInput Reply observed");
    // A kernel answers a SYN itself: who was late with it is not known.
    let tcp = world.probe("node/n2", ProbeKind::Tcp);
    let mut handshake = timed_out();
    handshake.answered_late = true;
    let input = LocateInput { echo_answered: true, ..world.input(tcp, &handshake) };
    assert!(locate(&input, &handshake).location.is_none());
    // Where echo requests to the same address are in time it was not the way that held it up.
    let mut slow = timed_out();
    for reported in [&lost, &{
        slow.answered_late = true;
        slow
    }] {
        let input = LocateInput { echo_answered: true, ..world.input(dns, reported) };
        assert_eq!(place(&locate(&input, reported)), "n1 - Application Request inferred");
    }
    lost.add_drop(fact("n2", 2, record("TCP_RESET", Stage::Socket, Direction::Request)));
    assert!(!world.locate("node/n2", ProbeKind::Tcp, &lost).observed(), "its own reset");
    lost.add_drop(fact("n2", 2, record("TCP_OVERWINDOW", Stage::Socket, Direction::Request)));
    assert!(!world.locate("node/n2", ProbeKind::Tcp, &lost).observed(), "what it sent again");
    lost.add_drop(fact("n2", 3, record("TCP_OVERFLOW", Stage::Socket, Direction::Request)));
    let located = world.locate("node/n2", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n2 cni0 Socket Request observed");
}

#[test]
fn where_the_way_is_open_only_the_socket_is_left() {
    let world = World::new();
    let probe = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let lost = timed_out();
    let input = |echo_answered, drops| LocateInput {
        source: "n2",
        destination: Some("n1"),
        echo_answered,
        visibility: Visibility::Hooks { uplink: None, drops },
        ..world.input(probe, &lost)
    };
    assert!(locate(&input(false, true), &lost).location.is_none());
    assert!(locate(&input(true, false), &lost).location.is_none(), "anything there may have dropped it");
    let located = locate(&input(true, true), &lost);
    assert_eq!(place(&located), "n1 - Application Request inferred");
    assert_eq!(located.location.unwrap().pod, "kube-system/coredns-x");
}

#[test]
fn what_nobody_is_behind_says_so_first() {
    let roster =
        inventory::parse(Path::new("f"), &CLUSTER.replace("ready: true", "ready: false")).unwrap().roster();
    let catalog = Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b");
    let world = World { roster, catalog };
    let mut lost = timed_out();
    lost.add_drop(fact("n1", 1, record("NETFILTER_DROP", Stage::NetfilterOutput, Direction::Request)));
    let located = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n1 cni0 NetfilterOutput Request observed");
    assert!(located.summary.starts_with("service default/web has no ready endpoints: request dropped at n1"));
}

fn any_hook() -> impl Strategy<Value = HookSeen> {
    let roles = [
        InterfaceRole::Unknown,
        InterfaceRole::Uplink,
        InterfaceRole::Tunnel,
        InterfaceRole::Bridge,
        InterfaceRole::PodVeth,
        InterfaceRole::Loopback,
    ];
    (prop::sample::select(roles.to_vec()), any::<bool>()).prop_map(|(role, egress)| hook("x", role, egress))
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
        lost.answer = Some(Answer { arrived, replied, last_request_hook: hooks.0, last_reply_hook: hooks.1, reply_delay_ns: None, quiet_ns: None });
        if dropped {
            lost.add_drop(fact("n2", 1, record("X", Stage::Ingress, Direction::Request)));
        }
        let located = world.locate("node/n2", ProbeKind::Icmp, &lost);
        prop_assert_eq!(located.observed(), dropped);
        prop_assert!(!located.summary.is_empty());
    }
}
