//! The agent's own types to and from their wire form. Times become wall-clock times here.

use std::net::SocketAddr;

use netcheck_common::domain::{Family, PathId, ProbeKind, ProbeSession};
use netcheck_proto::convert::{self, InvalidField};
use netcheck_proto::{columns, v1};

use crate::model::evidence::{EvidenceAnswer, EvidenceQuestion, FlowQuestion, PathQuestion};
use crate::model::observation::{
    Direction, Down, DropCount, DropIdentity, DropSeen, Flow, FlowSeen, Hook, PodLinkDown, Remembered,
};
use crate::model::report::{ArrivalSeen, BackendSeen, Lost, PortsSeen, Report, SizesSeen};
use crate::model::sample::{ExchangeSeen, IcmpSeen, Searched, Step, errno_name};
use crate::model::status::{PodLink, VantageStatus};

/// The part of a lost sample that only exchanges over TCP have.
fn exchange_seen(seen: &ExchangeSeen) -> v1::LostSample {
    let (tls_error, tls_detail) = match &seen.tls {
        Some(trouble) => (trouble.what.to_owned(), trouble.more.clone()),
        None => Default::default(),
    };
    v1::LostSample {
        step: seen.step.into(),
        http_status: seen.status.into(),
        tls_error,
        tls_detail,
        exchange_error: seen.broke.to_owned(),
        acknowledged: seen.acknowledged,
        waited: Some(convert::duration_from_ns(seen.waited_ns)),
        resolved_address: seen.resolved.map(convert::address_bytes).unwrap_or_default(),
        resolver: seen.resolver.map(|server| server.to_string()).unwrap_or_default(),
        truncated: seen.truncated,
        ..Default::default()
    }
}

fn searched(seen: &Searched) -> v1::NameSearch {
    let step = |step: &Step| v1::SearchStep { name: step.name.clone(), answer: step.answer.clone() };
    v1::NameSearch {
        name: seen.name.clone(),
        server: seen.server.map(|server| server.to_string()).unwrap_or_default(),
        ndots: seen.ndots as u32,
        steps: seen.steps.iter().map(step).collect(),
    }
}

/// Who reports, and how its clock stands to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporter {
    pub(crate) session: ProbeSession,
    pub(crate) unix_offset_ns: i64,
}

impl Reporter {
    fn unix_ns(&self, monotonic_ns: u64) -> i64 {
        (monotonic_ns as i64).saturating_add(self.unix_offset_ns)
    }

    /// A report as a batch that has no sequence yet.
    pub(crate) fn batch(&self, report: &Report) -> v1::SampleBatch {
        let windows = report.windows.iter().map(|window| {
            columns::encode(self.unix_ns(window.start_ns), window.duration_ns as i64, &window.paths)
        });
        v1::SampleBatch {
            windows: windows.collect(),
            lost: report.lost.iter().map(|lost| self.lost(lost)).collect(),
            arrivals: report.arrivals.iter().copied().map(arrival).collect(),
            drops: report.drops.iter().map(|drop| self.drop_record(drop)).collect(),
            drop_counters: report.drop_counts.iter().map(drop_counter).collect(),
            sizes: report.sizes.iter().map(|seen| self.path_size(seen)).collect(),
            ports: report.ports.iter().map(|seen| self.path_ports(seen)).collect(),
            backends: report.backends.iter().map(|seen| self.backend(seen)).collect(),
            searches: report.searches.iter().map(searched).collect(),
            ..Default::default()
        }
    }

    fn lost(&self, lost: &Lost) -> v1::LostSample {
        v1::LostSample {
            path_id: lost.probe.path.0,
            sequence: lost.probe.sequence.0,
            sent_unix_ns: self.unix_ns(lost.sent_ns),
            outcome: convert::outcome_to_wire(lost.outcome).into(),
            suspect: lost.suspect,
            request_hooks: lost.request_hooks.iter().map(hook).collect(),
            reply_hooks: lost.reply_hooks.iter().map(hook).collect(),
            errno: lost.detail.errno.map(errno_name).unwrap_or_default(),
            icmp_error: lost.detail.icmp.map(icmp_error),
            dns_rcode: lost.detail.rcode.as_deref().unwrap_or_default().to_owned(),
            flow: lost.flow.as_ref().map(flow_tuple),
            unwatched: lost.unwatched,
            packet_bytes: lost.size_bytes.into(),
            new_flows_lost: lost.new_flows_lost,
            ..lost.detail.exchange.as_deref().map(exchange_seen).unwrap_or_default()
        }
    }

    fn path_size(&self, seen: &SizesSeen) -> v1::PathSize {
        v1::PathSize {
            path_id: seen.path.0,
            route_bytes: seen.route_bytes.into(),
            passed_bytes: seen.passed_bytes.into(),
            lost_bytes: seen.lost_bytes.into(),
            icmp_mtu: seen.router_mtu.map_or(0, |(bytes, _)| bytes.into()),
            icmp_mtu_from: seen.router_mtu.map(|(_, by)| convert::address_bytes(by)).unwrap_or_default(),
            measured_unix_ns: self.unix_ns(seen.measured_ns),
            interval: Some(convert::duration_from_ns(seen.interval_ns)),
        }
    }

    fn path_ports(&self, seen: &PortsSeen) -> v1::PathPorts {
        let lost =
            seen.lost.iter().map(|of| v1::PortLoss { port: of.port.into(), sent: of.sent, lost: of.lost });
        v1::PathPorts {
            path_id: seen.path.0,
            ports: seen.ports.into(),
            lost: lost.collect(),
            others_sent: seen.others_sent,
            others_lost: seen.others_lost,
            measured_unix_ns: self.unix_ns(seen.measured_ns),
            interval: Some(convert::duration_from_ns(seen.interval_ns)),
            undecided: seen.undecided,
        }
    }

    fn backend(&self, seen: &BackendSeen) -> v1::BackendSeen {
        let unix_ns = |at_ns| if at_ns == 0 { 0 } else { self.unix_ns(at_ns) };
        v1::BackendSeen {
            path_id: seen.path.0,
            address: convert::address_bytes(seen.backend.ip()),
            port: seen.backend.port().into(),
            answered: seen.answered,
            lost: seen.lost,
            answered_unix_ns: unix_ns(seen.answered_ns),
            lost_unix_ns: unix_ns(seen.lost_ns),
        }
    }

    fn drop_record(&self, drop: &DropSeen) -> v1::DropRecord {
        let (session, probe) = match drop.identity {
            DropIdentity::Probe { session, probe } => (session, Some(probe)),
            DropIdentity::OwnFlow(probe) => (self.session, Some(probe)),
            DropIdentity::ForeignFlow => (ProbeSession(0), None),
        };
        v1::DropRecord {
            probe_session: session.0,
            path_id: probe.map_or(0, |probe| probe.path.0),
            sequence: probe.map_or(0, |probe| probe.sequence.0),
            flow: Some(flow_tuple(&drop.flow)),
            observed_unix_ns: self.unix_ns(drop.at_ns),
            interface: drop.hook.interface.as_ref().to_owned(),
            ifindex: drop.hook.ifindex,
            role: drop.hook.role.to_wire().into(),
            pod: drop.pod.as_deref().unwrap_or_default().to_owned(),
            stage: drop.stage.into(),
            direction: direction(drop.direction).into(),
            reason: drop.reason.as_ref().to_owned(),
            function: drop.function.as_ref().to_owned(),
            encapsulated: drop.hook.encapsulated,
        }
    }
}

/// The pod vantage of this node.
pub(crate) fn pod_vantage(status: &VantageStatus) -> v1::PodVantage {
    let can = |&(kind, family): &(ProbeKind, Family)| v1::VantageKind {
        kind: convert::kind_to_wire(kind).into(),
        ip_version: match family {
            Family::V4 => 4,
            Family::V6 => 6,
        },
    };
    let link = |link: &PodLink| v1::VantageLink {
        interface: link.interface.clone(),
        addresses: link.addresses.iter().copied().map(convert::address_bytes).collect(),
    };
    v1::PodVantage {
        pod: status.pod.clone(),
        addresses: status.addresses.iter().copied().map(convert::address_bytes).collect(),
        detail: status.detail.clone(),
        can: status.can.iter().map(can).collect(),
        refused: status.refused,
        responder_port: status.responder_port.into(),
        links: status.links.iter().map(link).collect(),
        leaving: status.leaving,
        name_servers: status.name_servers.iter().copied().map(convert::address_bytes).collect(),
        search_domains: status.search_domains.clone(),
    }
}

/// A pod's link that is down, as of `now_ns` (CLOCK_MONOTONIC).
pub(crate) fn pod_link_down(link: &PodLinkDown, now_ns: u64) -> v1::PodLinkDown {
    v1::PodLinkDown {
        interface: (*link.interface).to_owned(),
        pod: (*link.pod).to_owned(),
        no_carrier: link.why == Down::Peer,
        age: Some(convert::duration_from_ns(now_ns.saturating_sub(link.since_ns))),
        network: link.network.as_deref().unwrap_or_default().to_owned(),
    }
}

const fn direction(direction: Direction) -> v1::Direction {
    match direction {
        Direction::Request => v1::Direction::Request,
        Direction::Reply => v1::Direction::Reply,
    }
}

fn hook(hook: &Hook) -> v1::HookSeen {
    v1::HookSeen {
        interface: hook.interface.as_ref().to_owned(),
        role: hook.role.to_wire().into(),
        egress: hook.egress,
        encapsulated: hook.encapsulated,
    }
}

fn icmp_error(icmp: IcmpSeen) -> v1::IcmpError {
    v1::IcmpError {
        from: convert::address_bytes(icmp.from),
        r#type: icmp.kind.into(),
        code: icmp.code.into(),
        mtu_bytes: icmp.mtu_bytes,
    }
}

const fn arrival(arrival: ArrivalSeen) -> v1::Arrival {
    v1::Arrival {
        path_id: arrival.path.0,
        sequence: arrival.sequence.0,
        arrived: arrival.arrived,
        answered_late: arrival.late,
    }
}

fn drop_counter(count: &DropCount) -> v1::DropCounter {
    v1::DropCounter {
        interface: count.interface.as_ref().to_owned(),
        ifindex: count.ifindex,
        netns: count.netns.into(),
        reason: count.reason.as_ref().to_owned(),
        packets: count.packets,
    }
}

/// The wire form of a flow.
pub(crate) fn flow_tuple(flow: &Flow) -> v1::FlowTuple {
    v1::FlowTuple {
        kind: convert::kind_to_wire(flow.kind).into(),
        source_address: convert::address_bytes(flow.source.ip()),
        destination_address: convert::address_bytes(flow.destination.ip()),
        source_port: flow.source.port().into(),
        destination_port: flow.destination.port().into(),
    }
}

/// Reads a flow.
fn flow(tuple: &v1::FlowTuple) -> Result<Flow, InvalidField> {
    let end = |field, address: &[u8], port| {
        Ok(SocketAddr::new(convert::address(field, address)?, convert::port(field, port)?))
    };
    Ok(Flow {
        kind: convert::kind("kind", tuple.kind)?,
        source: end("source", &tuple.source_address, tuple.source_port)?,
        destination: end("destination", &tuple.destination_address, tuple.destination_port)?,
    })
}

/// Addresses of one source that are looked at.
const SOURCES: usize = 16;

/// Reads the hub's question. A flow that can't be read is answered as one that nobody saw.
pub(crate) fn evidence_question(question: v1::EvidenceQuestion) -> EvidenceQuestion {
    let path = |asked: v1::ReflectedPath| PathQuestion {
        session: ProbeSession(asked.probe_session),
        path: PathId(asked.path_id),
        sources: asked
            .source_addresses
            .iter()
            .take(SOURCES)
            .filter_map(|address| convert::address("source", address).ok())
            .collect(),
    };
    let asked_flow = |asked: v1::FlowQuestion| {
        let age = asked.max_age.and_then(|age| std::time::Duration::try_from(age).ok());
        let max_age_ns = age.map_or(u64::MAX, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        FlowQuestion { flow: asked.flow.as_ref().and_then(|tuple| flow(tuple).ok()), max_age_ns }
    };
    EvidenceQuestion {
        id: question.id,
        paths: question.paths.into_iter().map(path).collect(),
        flows: question.flows.into_iter().map(asked_flow).collect(),
    }
}

/// The answer for the hub.
pub(crate) fn evidence_answer(answer: EvidenceAnswer) -> v1::EvidenceAnswer {
    let EvidenceAnswer { id, paths, flows, at_ns } = answer;
    v1::EvidenceAnswer {
        id,
        paths: paths.into_iter().map(|(asked, held)| reflected_state(&asked, held)).collect(),
        flows: flows.into_iter().map(|(asked, seen)| flow_sighting(asked, seen, at_ns)).collect(),
    }
}

/// What the reflector holds of one path, or that it holds nothing.
fn reflected_state(asked: &PathQuestion, held: Remembered) -> v1::ReflectedState {
    let (probe_session, path_id) = (asked.session.0, asked.path.0);
    let unknown = v1::ReflectedState { probe_session, path_id, known: false, ..Default::default() };
    let state = match held {
        Remembered::Path(state) => state,
        Remembered::Nothing => return unknown,
        Remembered::Unsure => return v1::ReflectedState { unsure: true, ..unknown },
    };
    v1::ReflectedState {
        known: true,
        requests: state.requests,
        highest_sequence: state.highest_sequence.0,
        arrived: state.arrived,
        last_request_hook: state.last_request_hook.as_ref().map(hook),
        last_reply_hook: state.last_reply.as_ref().map(|(seen, _)| hook(seen)),
        last_reply_sequence: state.last_reply.map_or(0, |(_, sequence)| sequence.0),
        ..unknown
    }
}

/// What the hooks saw of one flow, or that they saw nothing. What is older than the question allows was another flow's.
fn flow_sighting(asked: FlowQuestion, seen: Option<FlowSeen>, now_ns: u64) -> v1::FlowSighting {
    let young = |(hook, at_ns): (Hook, u64)| {
        let age_ns = now_ns.saturating_sub(at_ns);
        (age_ns <= asked.max_age_ns).then_some((hook, convert::duration_from_ns(age_ns)))
    };
    let mut sighting = v1::FlowSighting { flow: asked.flow.as_ref().map(flow_tuple), ..Default::default() };
    let Some(FlowSeen { request_packets, reply_packets, last_request, last_reply }) = seen else {
        return sighting;
    };
    if let Some((seen, age)) = last_request.and_then(young) {
        sighting.known = true;
        sighting.request_packets = request_packets;
        sighting.last_request_hook = Some(hook(&seen));
        sighting.last_request_age = Some(age);
    }
    if let Some((seen, age)) = last_reply.and_then(young) {
        sighting.known = true;
        sighting.reply_packets = reply_packets;
        sighting.last_reply_hook = Some(hook(&seen));
        sighting.last_reply_age = Some(age);
    }
    sighting
}

#[cfg(test)]
mod tests;
