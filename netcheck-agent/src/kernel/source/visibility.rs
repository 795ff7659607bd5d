//! Events of the ring in the agent's words: hooks by name, drops by reason, function, stage and pod.

use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::abi::{
    DropEvent, ReflectKey, StampEvent, TUPLE_LIFE_NS, TupleKey, address_flags, flags, identity,
};
use netcheck_common::domain::{PathId, ProbeSession, Sequence};

use super::{EbpfSource, WAITING};
use crate::kernel::events::{address_bytes, direction_of, flow_of, ip_address};
use crate::kernel::stage::{self, Facts};
use crate::kernel::symbols::Lookup;
use crate::kernel::tables::Abi;
use crate::model::observation::{
    Direction, DropIdentity, DropSeen, Hook, InterfaceRole, Observation, ProbeKey, Reflected, Stamp,
};

impl EbpfSource {
    pub(super) fn hook(&self, ifindex: u32, event_flags: u8) -> Hook {
        let known = self.shared.lock().interfaces.get(&ifindex).cloned();
        Hook {
            ifindex,
            interface: known
                .as_ref()
                .map_or_else(|| Arc::from(format!("if#{ifindex}")), |interface| Arc::clone(&interface.name)),
            role: known.map_or(InterfaceRole::Unknown, |interface| interface.role),
            egress: event_flags & flags::EGRESS != 0,
            encapsulated: event_flags & flags::ENCAPSULATED != 0,
        }
    }

    pub(super) fn stamp(&mut self, event: &StampEvent) -> Stamp {
        let hook = self.hook(event.ifindex, event.flags);
        let flow = flow_of(
            event.protocol,
            (event.source, event.source_port),
            (event.destination, event.destination_port),
        );
        // What comes out of a pod's veth has the pod's address; what goes in may be a copy for another.
        if hook.role == InterfaceRole::PodVeth
            && !hook.egress
            && let Some(end) = self.pods.get(&flow.source.ip())
        {
            self.pod_behind.insert(event.ifindex, end.clone());
        }
        Stamp {
            probe: ProbeKey { path: PathId(event.path), sequence: Sequence(event.sequence) },
            at_ns: event.at_ns,
            hook,
            direction: direction_of(event.flags),
            flow,
            reflected: (event.flags & flags::REFLECTED != 0).then_some(Reflected {
                t2_ns: event.t2_ns,
                t3_ns: event.t3_ns,
                requests: event.requests,
                arrived: event.arrived,
            }),
            reset: event.flags & flags::RESET != 0,
        }
    }

    /// Whether a bridge sends into a pod of this node what is for a pod of another: a copy, for want of a port that leads
    /// there. The packet itself went no further than the bridge.
    pub(super) fn is_stray_copy(&self, stamp: &Stamp) -> bool {
        let to = stamp.flow.destination.ip();
        stamp.hook.role == InterfaceRole::PodVeth
            && stamp.hook.egress
            && self.pods.contains_key(&to)
            && !self.local_pods.contains_key(&to)
    }

    /// A drop in full, or none while a function's name is being looked up.
    pub(super) fn drop_seen(&mut self, event: &DropEvent, wait: bool) -> Option<DropSeen> {
        let function = self.name(event.location, wait)?;
        let route_input = self.name(event.route_input, wait)?;
        let callers = self.callers(event, wait)?;
        let flow = flow_of(
            event.protocol,
            (event.source, event.source_port),
            (event.destination, event.destination_port),
        );
        let reason = self.reasons.name(event.reason);
        let stage = stage::of(&Facts {
            reason: &reason,
            function: &function,
            callers: &callers,
            has_socket: event.flags & flags::HAS_SOCKET != 0,
            has_route: event.flags & flags::HAS_ROUTE != 0,
            route_input: &route_input,
            ifindex: event.ifindex,
            input_ifindex: event.input_ifindex,
            route_ifindex: event.route_ifindex,
            to_self: self.is_own(flow.destination.ip()),
            into_pod: self.local_pods.contains_key(&flow.destination.ip())
                && !self.local_pods.contains_key(&flow.source.ip())
                && !self.is_own(flow.source.ip()),
        });
        let ifindex = stage::place(&reason, event.ifindex, event.route_ifindex);
        let mut hook = self.hook(ifindex, event.flags);
        let mut pod = self.pod_behind.get(&ifindex).map(|end| Arc::clone(&end.pod));
        if event.netns != self.own_netns {
            // In another namespace, a pod's: its indices are not ours, its addresses show whose it is.
            hook.interface = Arc::from("");
            hook.role = InterfaceRole::Unknown;
            let behind = self.pod_behind.get(&event.peer_ifindex).map(|end| Arc::clone(&end.pod));
            let by_address = || self.pod_of_netns(event.netns, flow.destination.ip(), flow.source.ip());
            pod = behind.or_else(by_address);
        } else if ifindex == 0 {
            hook.interface = Arc::from("");
            pod = None;
        }
        let probe = ProbeKey { path: PathId(event.path), sequence: Sequence(event.sequence) };
        Some(DropSeen {
            identity: match event.identity {
                identity::PROBE => DropIdentity::Probe { session: ProbeSession(event.session), probe },
                identity::OWN_FLOW => DropIdentity::OwnFlow(probe),
                _ => DropIdentity::ForeignFlow,
            },
            at_ns: event.at_ns,
            hook,
            pod,
            stage,
            direction: direction_of(event.flags),
            flow,
            reason,
            function,
        })
    }

    /// The function that holds an address: empty for 0, and where there is none. None to wait for it.
    fn name(&mut self, address: u64, wait: bool) -> Option<Arc<str>> {
        if address == 0 {
            return Some(Arc::from(""));
        }
        match self.symbols.name(address) {
            Lookup::Known(name) => Some(name),
            Lookup::Pending => (!wait).then(|| Arc::from("")),
        }
    }

    /// Who called the function that dropped a packet, innermost first; empty where that is not known. None to wait for it.
    fn callers(&mut self, event: &DropEvent, wait: bool) -> Option<Vec<Arc<str>>> {
        let frames = event.stack.iter().skip_while(|&&frame| frame != event.location).skip(1);
        frames.take_while(|&&frame| frame != 0).map(|&frame| self.name(frame, wait)).collect()
    }

    /// The pod of this node in whose namespace a packet was. With the vantage both ends may be pods of this node.
    fn pod_of_netns(&self, netns: u32, destination: IpAddr, source: IpAddr) -> Option<Arc<str>> {
        let vantage = |address: &IpAddr| {
            let (inode, own) = self.vantage.as_ref()?;
            own.contains(address).then_some(*inode == netns)
        };
        let mut ends = [destination, source].into_iter().filter(|address| vantage(address) != Some(false));
        let known = ends.clone().find(|address| vantage(address) == Some(true));
        let address = known.or_else(|| ends.find(|address| self.local_pods.contains_key(address)))?;
        self.local_pods.get(&address).map(Arc::clone)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let bits = self.addresses.get(&address_bytes(address));
        bits.is_some_and(|bits| bits & address_flags::LOCAL_HOST != 0)
    }

    /// Whether a pod dropped what its bridge sent to all ports for want of the right one: a copy, not the packet. What the
    /// pod itself was to get is none: its bridge has another address for it than it has.
    pub(super) fn is_flooded_copy(&self, event: &DropEvent) -> bool {
        if event.netns == self.own_netns || Some(event.reason) != self.other_host {
            return false;
        }
        // What a tunnel wraps is for the node that ends it, whatever is inside.
        if event.flags & flags::ENCAPSULATED != 0 {
            return true;
        }
        let to = ip_address(event.destination);
        let addressee = self.pods.get(&to).filter(|_| self.local_pods.contains_key(&to));
        addressee.is_none() || self.pod_behind.get(&event.peer_ifindex) != addressee
    }

    /// Whether a kernel gave a request up without a reason though it has answered it: it frees so what an echo was made of,
    /// and a handshake's second request that the first one's answer is on its way to.
    pub(super) fn is_answered(&self, event: &DropEvent) -> bool {
        if Some(event.reason) != self.not_specified || event.flags & flags::REPLY != 0 {
            return false;
        }
        if event.identity == identity::PROBE {
            let key = ReflectKey { session: event.session, path: event.path, _pad: 0, source: event.source };
            let held = self.maps.reflect.get(&Abi(key), 0);
            return held
                .is_ok_and(|Abi(held)| held.reply_ifindex != 0 && held.reply_sequence == event.sequence);
        }
        let key = TupleKey {
            source: event.source,
            destination: event.destination,
            source_port: event.source_port,
            destination_port: event.destination_port,
            protocol: event.protocol,
            _pad: [0; 3],
        };
        let held = self.maps.tuples.get(&Abi(key), 0);
        held.is_ok_and(|Abi(held)| {
            held.replies > 0 && event.at_ns.saturating_sub(held.reply_ns) < TUPLE_LIFE_NS
        })
    }

    pub(super) fn drain_waiting(&mut self, sink: &mut dyn FnMut(Observation)) {
        for _ in 0..self.waiting.len() {
            let Some(event) = self.waiting.pop_front() else { return };
            let too_many = self.waiting.len() >= WAITING;
            match self.drop_seen(&event, !too_many) {
                Some(seen) if is_delivered(&seen) => {}
                Some(seen) => sink(Observation::Drop(seen)),
                None => self.waiting.push_back(event),
            }
        }
    }
}

/// Whether a reply is only freed, without a reason, by those that have given it to its socket: no loss.
pub(super) fn is_delivered(seen: &DropSeen) -> bool {
    let receiving = ["tcp_", "udp_", "udpv6_", "raw_", "rawv6_", "ping_", "icmp_rcv", "icmpv6_rcv"];
    &*seen.reason == "NOT_SPECIFIED"
        && seen.direction == Direction::Reply
        && receiving.iter().any(|prefix| seen.function.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use netcheck_common::domain::ProbeKind;
    use netcheck_proto::v1::Stage;

    use super::*;
    use crate::model::observation::Flow;

    #[test]
    fn a_reply_that_is_freed_where_sockets_receive_is_no_loss() {
        let end = SocketAddr::from(([10, 0, 0, 1], 80));
        let seen = |reason: &str, function: &str, direction| DropSeen {
            identity: DropIdentity::ForeignFlow,
            at_ns: 1,
            hook: Hook {
                ifindex: 2,
                interface: Arc::from("eth0"),
                role: InterfaceRole::Uplink,
                egress: false,
                encapsulated: false,
            },
            pod: None,
            stage: Stage::Socket,
            direction,
            flow: Flow { kind: ProbeKind::Tcp, source: end, destination: end },
            reason: Arc::from(reason),
            function: Arc::from(function),
        };
        for (reason, function, direction, expected) in [
            ("NOT_SPECIFIED", "tcp_rcv_state_process", Direction::Reply, true),
            ("NOT_SPECIFIED", "icmpv6_rcv", Direction::Reply, true),
            ("NOT_SPECIFIED", "icmpv6_rcv", Direction::Request, false),
            ("NOT_SPECIFIED", "ip_error", Direction::Reply, false),
            ("NO_SOCKET", "tcp_v4_rcv", Direction::Reply, false),
        ] {
            assert_eq!(is_delivered(&seen(reason, function, direction)), expected, "{reason} in {function}");
        }
    }
}
