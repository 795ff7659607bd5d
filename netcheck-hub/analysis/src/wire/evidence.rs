//! What is known of lost probes: as agents report it, and as readers get it.

use std::net::SocketAddr;
use std::time::Duration;

use netcheck_common::domain::{Outcome, PathId};
use netcheck_proto::{convert, v1};

use crate::evidence::LocatedLoss;
use crate::model::clock::{positive, timestamp};
use crate::model::evidence::{
    DropRecord, ExchangeStep, Flow, FlowSighting, HookSeen, IcmpError, LostSample, PodLinkDown,
    ProbeIdentity, ReflectedState,
};
use crate::model::location::{Certainty, Direction, InterfaceRole, Location, Stage};

both_ways!(direction_to_wire, direction, Direction { Unknown, Request, Reply });
both_ways!(role_to_wire, role, InterfaceRole { Unknown, Uplink, Tunnel, Bridge, PodVeth, Loopback });
both_ways!(step_to_wire, step, ExchangeStep { None, Resolve, Connect, Tls, Answer, Body });
both_ways!(
    stage_to_wire,
    stage,
    Stage {
        Unknown,
        Send,
        NetfilterOutput,
        Routing,
        Neighbour,
        NetfilterPostrouting,
        Qdisc,
        Egress,
        Wire,
        Ingress,
        NetfilterPrerouting,
        NetfilterForward,
        NetfilterInput,
        Socket,
        Application,
        BridgePrerouting,
        BridgeInput,
        BridgeForward,
        BridgeOutput,
        BridgePostrouting,
        NetdevIngress,
        NetdevEgress,
    }
);

pub(super) const fn certainty_to_wire(certainty: Certainty) -> v1::Certainty {
    match certainty {
        Certainty::Observed => v1::Certainty::Observed,
        Certainty::Inferred => v1::Certainty::Inferred,
    }
}

/// Reads a flow. None where it does not hold together.
#[must_use]
pub fn flow(wire: &v1::FlowTuple) -> Option<Flow> {
    let end = |address: &[u8], port: u32| {
        Some(SocketAddr::new(convert::address("flow", address).ok()?, convert::port("flow", port).ok()?))
    };
    Some(Flow {
        kind: convert::kind("flow.kind", wire.kind).ok()?,
        source: end(&wire.source_address, wire.source_port)?,
        destination: end(&wire.destination_address, wire.destination_port)?,
    })
}

/// The wire form of a flow.
#[must_use]
pub fn flow_tuple(flow: &Flow) -> v1::FlowTuple {
    v1::FlowTuple {
        kind: convert::kind_to_wire(flow.kind).into(),
        source_address: convert::address_bytes(flow.source.ip()),
        destination_address: convert::address_bytes(flow.destination.ip()),
        source_port: flow.source.port().into(),
        destination_port: flow.destination.port().into(),
    }
}

fn hook(wire: v1::HookSeen) -> HookSeen {
    HookSeen {
        role: role(wire.role()),
        interface: wire.interface,
        egress: wire.egress,
        encapsulated: wire.encapsulated,
    }
}

fn hook_to_wire(hook: &HookSeen) -> v1::HookSeen {
    v1::HookSeen {
        interface: hook.interface.clone(),
        role: role_to_wire(hook.role).into(),
        egress: hook.egress,
        encapsulated: hook.encapsulated,
    }
}

fn hooks(wire: Vec<v1::HookSeen>) -> Vec<HookSeen> {
    wire.into_iter().map(hook).collect()
}

/// Reads a lost probe's record. How it ended stands beside it.
#[must_use]
pub fn lost_sample(wire: v1::LostSample) -> LostSample {
    let icmp_error = wire.icmp_error.as_ref().map(|error| IcmpError {
        from: convert::address("icmp_error.from", &error.from).ok(),
        kind: error.r#type,
        code: error.code,
        mtu_bytes: error.mtu_bytes,
    });
    LostSample {
        step: step(wire.step()),
        path: PathId(wire.path_id),
        sequence: wire.sequence,
        sent_unix_ns: wire.sent_unix_ns,
        suspect: wire.suspect,
        request_hooks: hooks(wire.request_hooks),
        reply_hooks: hooks(wire.reply_hooks),
        errno: wire.errno,
        icmp_error,
        dns_rcode: wire.dns_rcode,
        flow: wire.flow.as_ref().and_then(flow),
        unwatched: wire.unwatched,
        packet_bytes: wire.packet_bytes,
        http_status: wire.http_status,
        tls_error: wire.tls_error,
        tls_detail: wire.tls_detail,
        exchange_error: wire.exchange_error,
        acknowledged: wire.acknowledged,
        waited: positive(wire.waited.as_ref()),
        resolved_address: convert::address("resolved_address", &wire.resolved_address).ok(),
        resolver: wire.resolver,
        truncated: wire.truncated,
        new_flows_lost: wire.new_flows_lost,
    }
}

/// A lost probe's record as readers get it.
#[must_use]
pub fn lost_sample_to_wire(sample: &LostSample, outcome: Outcome) -> v1::LostSample {
    v1::LostSample {
        path_id: sample.path.0,
        sequence: sample.sequence,
        sent_unix_ns: sample.sent_unix_ns,
        outcome: convert::outcome_to_wire(outcome).into(),
        suspect: sample.suspect,
        request_hooks: sample.request_hooks.iter().map(hook_to_wire).collect(),
        reply_hooks: sample.reply_hooks.iter().map(hook_to_wire).collect(),
        errno: sample.errno.clone(),
        icmp_error: sample.icmp_error.map(|error| v1::IcmpError {
            from: error.from.map(convert::address_bytes).unwrap_or_default(),
            r#type: error.kind,
            code: error.code,
            mtu_bytes: error.mtu_bytes,
        }),
        dns_rcode: sample.dns_rcode.clone(),
        flow: sample.flow.as_ref().map(flow_tuple),
        unwatched: sample.unwatched,
        packet_bytes: sample.packet_bytes,
        step: step_to_wire(sample.step).into(),
        http_status: sample.http_status,
        tls_error: sample.tls_error.clone(),
        tls_detail: sample.tls_detail.clone(),
        exchange_error: sample.exchange_error.clone(),
        acknowledged: sample.acknowledged,
        waited: sample.waited.map(convert::duration),
        resolved_address: sample.resolved_address.map(convert::address_bytes).unwrap_or_default(),
        resolver: sample.resolver.clone(),
        truncated: sample.truncated,
        new_flows_lost: sample.new_flows_lost,
    }
}

/// Reads a drop record.
#[must_use]
pub fn drop_record(wire: v1::DropRecord) -> DropRecord {
    let identity =
        ProbeIdentity { session: wire.probe_session, path: PathId(wire.path_id), sequence: wire.sequence };
    DropRecord {
        probe: Some(identity).filter(|probe| probe.session != 0),
        role: role(wire.role()),
        stage: stage(wire.stage()),
        direction: direction(wire.direction()),
        flow: wire.flow.as_ref().and_then(flow),
        observed_unix_ns: wire.observed_unix_ns,
        interface: wire.interface,
        ifindex: wire.ifindex,
        pod: wire.pod,
        reason: wire.reason,
        function: wire.function,
        encapsulated: wire.encapsulated,
    }
}

/// Reads a pod's link that takes no packets. Since when stands beside it.
#[must_use]
pub fn pod_link_down(wire: &v1::PodLinkDown) -> PodLinkDown {
    PodLinkDown {
        interface: wire.interface.clone(),
        pod: wire.pod.clone(),
        network: wire.network.clone(),
        no_carrier: wire.no_carrier,
    }
}

/// Reads what a reflector holds of one path.
#[must_use]
pub fn reflected_state(wire: &v1::ReflectedState) -> ReflectedState {
    ReflectedState {
        known: wire.known,
        unsure: wire.unsure,
        highest_sequence: wire.highest_sequence,
        arrived: wire.arrived,
        last_request_hook: wire.last_request_hook.clone().map(hook),
        last_reply_hook: wire.last_reply_hook.clone().map(hook),
        last_reply_sequence: wire.last_reply_sequence,
    }
}

/// Reads what hooks saw of one flow.
#[must_use]
pub fn flow_sighting(wire: &v1::FlowSighting) -> FlowSighting {
    let age = |wire: Option<&prost_types::Duration>| -> Option<Duration> {
        wire.map(|age| positive(Some(age)).unwrap_or_default())
    };
    FlowSighting {
        known: wire.known,
        request_packets: wire.request_packets,
        reply_packets: wire.reply_packets,
        last_request_hook: wire.last_request_hook.clone().map(hook),
        last_reply_hook: wire.last_reply_hook.clone().map(hook),
        last_request_age: age(wire.last_request_age.as_ref()),
        last_reply_age: age(wire.last_reply_age.as_ref()),
    }
}

/// A location as readers get it.
#[must_use]
pub fn location(at: &Location) -> v1::LossLocation {
    v1::LossLocation {
        node: at.node.clone(),
        interface: at.interface.clone(),
        role: role_to_wire(at.role).into(),
        pod: at.pod.clone(),
        stage: stage_to_wire(at.stage).into(),
        direction: direction_to_wire(at.direction).into(),
        reason: at.reason.clone(),
        function: at.function.clone(),
        certainty: certainty_to_wire(at.certainty).into(),
        next_node: at.next_node.clone(),
        next_interface: at.next_interface.clone(),
        tunnel: at.tunnel.clone(),
    }
}

/// A location and how much it explains, as readers get it.
#[must_use]
pub fn located_loss(loss: &LocatedLoss) -> v1::LocatedLoss {
    v1::LocatedLoss {
        location: Some(location(&loss.location)),
        probes: loss.probes,
        first_seen: Some(timestamp(loss.first_ns)),
        last_seen: Some(timestamp(loss.last_ns)),
        summary: loss.summary.clone(),
    }
}
