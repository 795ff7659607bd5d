//! The places that can be concluded where no kernel named one: the wire, a hook that saw the packet last, a pod's link, a
//! node that cannot answer, a socket and who reads from it.

use std::net::IpAddr;

use netcheck_common::domain::{Outcome, ProbeKind};

use super::super::Flow;
use super::silence::left;
use super::{Located, Locator, Visibility, inferred, stage_of};
use crate::model::evidence::{HookSeen, PodLinkDown};
use crate::model::location::{Direction, InterfaceRole, Location, Stage};
use crate::model::reason::{DropReason, OTHER_SOURCE, READDRESSED, ROUTING_LOOP, UNTRANSLATED};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::plan::Probe;

impl Locator<'_> {
    /// It left one uplink and never came to the other's.
    pub(super) fn on_the_wire(
        &self,
        destination: &str,
        last: Option<&HookSeen>,
        direction: Direction,
    ) -> Located {
        let next_interface = match &self.input.visibility {
            Visibility::Hooks { uplink, .. } => uplink.clone().unwrap_or_default(),
            Visibility::NoAgent | Visibility::Silent | Visibility::NoHooks | Visibility::Elsewhere => {
                String::new()
            }
        };
        inferred(Location {
            node: self.input.source.to_owned(),
            interface: last.map(|hook| hook.interface.clone()).unwrap_or_default(),
            role: last.map_or(InterfaceRole::Unknown, |hook| hook.role),
            stage: Stage::Wire,
            direction,
            next_node: destination.to_owned(),
            next_interface,
            ..Default::default()
        })
    }

    /// It left for another node, where it is not known to have arrived, and came back by the interface (or the tunnel) that
    /// it had left through: its sender's kernel passes on what is not for itself, under ports that nobody knows where it
    /// translates them, and somewhere on the way round its time to live runs out.
    pub(super) fn routing_loop(&mut self, last: &HookSeen) -> Option<Located> {
        let to_nodes = matches!(last.role, InterfaceRole::Uplink | InterfaceRole::Tunnel);
        let back = !last.egress && to_nodes && !self.relayed();
        let destination = self.input.destination.filter(|node| back && *node != self.input.source)?;
        // What a switch floods comes to other interfaces, if to any.
        let same_way = |hook: &HookSeen| hook.egress && hook.interface == last.interface;
        let hooks = &self.lost.sample.request_hooks;
        if !hooks.iter().any(left) || !hooks.iter().any(same_way) {
            return None;
        }
        let source = self.input.source;
        self.evidence
            .push(format!("it had left {source} before: what {source} sends to {destination} goes round"));
        Some(inferred(Location {
            node: source.to_owned(),
            stage: Stage::Routing,
            direction: Direction::Request,
            reason: ROUTING_LOOP.to_owned(),
            ..Default::default()
        }))
    }

    /// It left its node under the cluster address of a service. Each node translates those itself, and nobody behind it does:
    /// whoever got it had no use for it, whatever he answered.
    pub(super) fn untranslated(&mut self) -> Option<Located> {
        let Probe { target, address, .. } = self.input.probe;
        let of_service = matches!(target.kind, TargetKind::Service | TargetKind::DnsServer)
            && target.node.is_empty()
            && target.peer.is_none()
            && target.at.as_ref().is_none_or(|at| at.address == ServiceAddress::ClusterIp)
            && target.unbacked.is_none()
            && self.input.roster.owner(*address).is_none();
        let in_vain = matches!(self.lost.outcome, Outcome::Timeout | Outcome::Unreachable | Outcome::Refused);
        if !of_service || !in_vain {
            return None;
        }
        let source = self.input.source;
        let gone = self.lost.sample.request_hooks.iter().rev().find(|hook| left(hook));
        let line = match (self.lost.flow, gone) {
            (Some(flow), Some(gone)) if flow.destination.ip() == *address => format!(
                "it left {source} through {} for {}, the service's own address: nothing there made a backend's of it",
                gone.interface, flow.destination
            ),
            (flow, _)
                if flow.map_or_else(|| self.only_pods_behind(), |flow| flow.destination.ip() == *address) =>
            {
                let stranger = self.bounced()?;
                format!(
                    "{stranger}, which is no node or pod of the cluster, was sent it, and knows no way to the service's own \
                     address: nothing on {source} made a backend's of it"
                )
            }
            _ => return None,
        };
        self.evidence.push(line);
        let pod = self.input.source_pod.is_some();
        Some(inferred(Location {
            node: source.to_owned(),
            stage: if pod { Stage::NetfilterPrerouting } else { Stage::NetfilterOutput },
            direction: Direction::Request,
            reason: UNTRANSLATED.to_owned(),
            ..Default::default()
        }))
    }

    /// The router outside of the cluster that sent it back as one that it knows no way for.
    fn bounced(&self) -> Option<IpAddr> {
        let error = self.lost.sample.icmp_error.as_ref()?;
        let from = error.from.filter(|from| self.input.roster.owner(*from).is_none())?;
        let no_way = match from {
            IpAddr::V4(_) => error.kind == 3 && matches!(error.code, 0 | 1),
            IpAddr::V6(_) => error.kind == 1 && matches!(error.code, 0 | 3),
        };
        (no_way && from != self.input.probe.address && !self.of_translation(from)).then_some(from)
    }

    /// Nobody but pods is behind the service. What is sent to another from a pod leaves masqueraded, so that no hook knows it.
    fn only_pods_behind(&self) -> bool {
        let target = &self.input.probe.target;
        let service = self.input.roster.services.get(&target.full_name());
        service.is_some_and(|service| service.backends.iter().all(|backend| backend.pod.is_some()))
    }

    /// It may be a service's address: what somebody behind it sent was translated on its way back.
    fn of_translation(&self, address: IpAddr) -> bool {
        self.input.roster.services.values().any(|service| service.cluster_addresses.contains(&address))
    }

    /// Its answer came under another address than it was asked at, so that its socket did not get it: the sender's own node
    /// did not take its translation back, or a node on the way, which is neither end, gave it its own address.
    pub(super) fn readdressed(&mut self) -> Option<Located> {
        let (roster, source, probe) = (self.input.roster, self.input.source, self.input.probe);
        let unheard = self.lost.drops.iter().find_map(|fact| {
            let record = &fact.record;
            let unheard = record.direction == Direction::Reply
                && record.stage == Stage::Socket
                && DropReason::of(&record.reason) == DropReason::NoSocket
                && !record.encapsulated;
            record.flow.filter(|_| unheard && *fact.node == *source)
        })?;
        let from = unheard.source.ip();
        let sent_to = self.lost.flow.map_or(probe.address, |flow| flow.destination.ip());
        if from == probe.address || self.lost.probed_address(probe) == Some(from) {
            return None;
        }
        let at = if from == sent_to {
            let stage = Stage::NetfilterPrerouting;
            Location { node: source.to_owned(), stage, reason: UNTRANSLATED.to_owned(), ..Default::default() }
        } else if let Some(owner) = roster.owner(from) {
            let node = Some(&owner.node).filter(|node| owner.pod.is_none() && *node != source)?;
            // Who answers under another of its own addresses has sent it on to nobody.
            roster.owner(sent_to).filter(|owner| owner.node != *node)?;
            let stage = Stage::NetfilterPostrouting;
            Location { node: node.clone(), stage, reason: READDRESSED.to_owned(), ..Default::default() }
        } else {
            self.other_source(unheard, sent_to)?
        };
        self.evidence.push(format!(
            "an answer came from {} and not from {}, which was asked: no socket of {source} waits for that",
            unheard.source, probe.address
        ));
        Some(inferred(Location { direction: Direction::Reply, ..at }))
    }

    /// The target itself answered, from an address that nobody knows of: its own kernel chose another one of its addresses for
    /// a socket that is bound to none. Not so where its answer was seen on its node as it should be.
    fn other_source(&self, answer: Flow, sent_to: IpAddr) -> Option<Location> {
        let owner = self.input.roster.owner(sent_to)?;
        let asked_port = self.lost.flow.map_or(self.input.probe.port, |flow| flow.destination.port());
        let as_asked = self
            .lost
            .answer
            .as_ref()
            .is_some_and(|seen| seen.last_reply_hook.is_some() && seen.arrived == Some(true));
        (answer.source.port() == asked_port && !as_asked).then(|| Location {
            node: owner.node.clone(),
            pod: owner.pod.clone().unwrap_or_default(),
            stage: Stage::Socket,
            reason: OTHER_SOURCE.to_owned(),
            ..Default::default()
        })
    }

    /// The destination's kernel reports what it drops.
    pub(super) fn reports_drops(&self) -> bool {
        matches!(self.input.visibility, Visibility::Hooks { drops: true, .. })
    }

    /// Who keeps what went into a pod, behind the last hook before it. Had the pod's kernel or the queue before it refused
    /// it, they would have said so.
    fn inside_pod(&mut self, node: &str) -> Option<Stage> {
        if !self.reports_drops() {
            self.evidence.push(format!("whether the kernel of {node} dropped it is not known"));
            return None;
        }
        if self.input.probe.kind == ProbeKind::Icmp {
            return None;
        }
        if self.input.probe.over_tcp() {
            // Of a listener whose queue is full a kernel says nothing (net/ipv4/tcp_input.c, tcp_conn_request); that it is
            // nothing before the listener, echo requests show it.
            if !self.input.echo_answered {
                return None;
            }
            self.note_echo_answered();
            self.evidence.push("no kernel dropped it: the listener takes no connections".to_owned());
        }
        Some(self.reader())
    }

    /// Who has what came to the socket's address.
    fn reader(&self) -> Stage {
        if self.input.probe.over_tcp() { Stage::Socket } else { Stage::Application }
    }

    pub(super) fn note_echo_answered(&mut self) {
        self.evidence.push("echo requests to the same address are answered meanwhile".to_owned());
    }

    /// The way to the target's address is open: what is left is the socket and who reads from it.
    pub(super) fn behind_socket(&self, destination: &str) -> Located {
        let address = self.lost.flow.map_or(self.input.probe.address, |flow| flow.destination.ip());
        let owner = self.input.roster.owner(address);
        inferred(Location {
            node: destination.to_owned(),
            pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
            stage: self.reader(),
            direction: Direction::Request,
            ..Default::default()
        })
    }

    /// The destination's kernel can't send to this source at all: what it wanted to answer died there.
    pub(super) fn cannot_answer(&mut self, destination: &str) -> Option<Located> {
        let errno = self.input.reverse_errno?;
        let source = self.input.source;
        self.evidence.push(format!("the kernel of {destination} cannot send to {source} either: {errno}"));
        Some(inferred(Location {
            node: destination.to_owned(),
            stage: stage_of(errno),
            direction: Direction::Reply,
            reason: errno.to_owned(),
            ..Default::default()
        }))
    }

    /// A pod's link took no packets then: a bridge in front of it drops them without a word.
    pub(super) fn pod_cut_off(&mut self, node: &str, link: Option<&PodLinkDown>) -> Option<Located> {
        let link = link?;
        let state = if link.no_carrier { "has no carrier: its other end is down" } else { "is down" };
        self.evidence.push(format!("the link {} of pod {} {state} on {node}", link.interface, link.pod));
        Some(inferred(Location {
            node: node.to_owned(),
            interface: link.interface.clone(),
            role: InterfaceRole::PodVeth,
            pod: link.pod.clone(),
            stage: Stage::Egress,
            direction: Direction::Request,
            reason: if link.no_carrier { "ENOLINK" } else { "ENETDOWN" }.to_owned(),
            ..Default::default()
        }))
    }

    /// Last seen at a hook of `node`, never at the next place.
    pub(super) fn seen_at(&mut self, node: &str, hook: &HookSeen, direction: Direction) -> Located {
        let own = self.lost.flow.map_or(self.input.probe.address, |flow| flow.destination.ip());
        let pod = self.input.roster.owner(own).and_then(|owner| owner.pod.clone()).unwrap_or_default();
        let reply = direction == Direction::Reply;
        // On the source's own node there may be two pods' links on its way: the one that it comes out of, and the one
        // that it goes into.
        let source_pod = self.input.source_pod.as_ref().filter(|_| node == self.input.source);
        let (pod, to_source) = match source_pod {
            Some(source) if reply == hook.egress => (source.clone(), true),
            _ => (pod, false),
        };
        let into_pod = hook.egress && hook.role == InterfaceRole::PodVeth && !(to_source && reply);
        let inside = if into_pod { self.inside_pod(node) } else { None };
        let stage = inside.unwrap_or(if hook.egress { Stage::Egress } else { Stage::Ingress });
        // Whoever does not answer has the request.
        let direction = if inside.is_some() { Direction::Request } else { direction };
        inferred(Location {
            node: node.to_owned(),
            interface: hook.interface.clone(),
            role: hook.role,
            pod: if hook.role == InterfaceRole::PodVeth { pod } else { String::new() },
            stage,
            direction,
            ..Default::default()
        })
    }
}
