//! The probe engine's view of the kernel: reads the ring buffer, keeps flows and addresses in the maps.

mod reflected;
mod visibility;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use netcheck_common::abi::{self, DropEvent, DropKey, FlowValue, TupleKey, address_flags, counters};
use netcheck_common::domain::{PathId, ProbeSession};
use netcheck_common::packet::{GENEVE_PORT, VXLAN_LINUX_PORT, VXLAN_PORT};
use netcheck_proto::v1;
use tracing::warn;

use super::btf::DropReasons;
use super::conntrack::Conntrack;
use super::events::{RawEvent, address_bytes, flow_key, protocol_of};
use super::interfaces::Shared;
use super::lingering::Lingering;
use super::symbols::Symbols;
pub(crate) use super::tables::{Abi, Maps};
use crate::model::observation::{
    DropCount, Flow, FlowSeen, KernelSource, KernelStatus, KnownAddress, Observation, OwnFlow, PodLinkDown,
    Remembered,
};
use crate::net::interface_drops::InterfaceDrops;

use self::reflected::Forgetting;
use self::visibility::is_delivered;

/// Drop events that wait for the name of a kernel function, at most; older ones go on without it.
const WAITING: usize = 1024;

/// What is behind an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PodEnd {
    pod: Arc<str>,
    /// The secondary network that the pod is on there.
    network: Option<Arc<str>>,
}

/// The kernel side, open.
pub(crate) struct EbpfSource {
    maps: Maps,
    shared: Arc<Shared>,
    reasons: DropReasons,
    symbols: Symbols,
    /// Drop events whose function is being looked up, oldest first.
    waiting: VecDeque<DropEvent>,
    /// Pods by address, for naming what is behind an interface.
    pods: HashMap<IpAddr, PodEnd>,
    /// Those of this node.
    local_pods: HashMap<IpAddr, Arc<str>>,
    /// The network namespace of the pod vantage, and its addresses.
    vantage: Option<(u32, Vec<IpAddr>)>,
    /// Which pod's packets were seen at an interface.
    pod_behind: HashMap<u32, PodEnd>,
    /// The plan's table.
    known: Vec<KnownAddress>,
    forgetting: Forgetting,
    /// What stands in the kernel's map.
    addresses: HashMap<[u8; 16], u32>,
    /// Version of the node's own addresses that stands there.
    own_version: u64,
    /// The newest change of links that was reported.
    links_version: u64,
    own_netns: u32,
    /// Where the kernel does not report its drops: what interfaces count.
    interface_drops: Option<InterfaceDrops>,
    /// Flows whose probes are over.
    lingering: Lingering,
    /// This kernel's number of drop reason OTHERHOST.
    other_host: Option<u32>,
    /// This kernel's number of drop reason NOT_SPECIFIED.
    not_specified: Option<u32>,
    /// None where the agent may not ask for it.
    conntrack: Option<Conntrack>,
}

/// What the kernel side is made of.
pub(crate) struct SourceParts {
    pub(crate) maps: Maps,
    /// With the task that attaches.
    pub(crate) shared: Arc<Shared>,
    /// This kernel's drop reasons.
    pub(crate) reasons: DropReasons,
    /// This kernel's functions.
    pub(crate) symbols: Symbols,
    /// Number of the agent's network namespace.
    pub(crate) own_netns: u32,
    /// Whose flows are followed besides those of probe ports.
    pub(crate) responder_port: u16,
    /// The drop tracepoint is attached.
    pub(crate) drops_seen: bool,
}

impl EbpfSource {
    pub(crate) fn new(parts: SourceParts) -> Self {
        let SourceParts { mut maps, shared, reasons, symbols, own_netns, responder_port, drops_seen } = parts;
        let tunnels = [VXLAN_PORT, VXLAN_LINUX_PORT, GENEVE_PORT];
        let probes = abi::probe_ports::FIRST..=abi::probe_ports::LAST;
        maps.ports.fix(tunnels.into_iter().chain([responder_port]).chain(probes));
        Self {
            maps,
            shared,
            other_host: reasons.number("OTHERHOST"),
            not_specified: reasons.number("NOT_SPECIFIED"),
            reasons,
            symbols,
            waiting: VecDeque::new(),
            pods: HashMap::new(),
            local_pods: HashMap::new(),
            vantage: None,
            pod_behind: HashMap::new(),
            known: Vec::new(),
            forgetting: Forgetting::default(),
            addresses: HashMap::new(),
            own_version: 0,
            links_version: 0,
            own_netns,
            lingering: Lingering::default(),
            interface_drops: (!drops_seen).then(InterfaceDrops::start),
            conntrack: Conntrack::open()
                .inspect_err(|error| warn!(%error, "the table of connections can't be asked: what pods send to nodes is lost sight of"))
                .ok(),
        }
    }

    /// Brings the kernel's map in line with the plan's table and the node's own addresses. The latter count as known
    /// to be local only: a tunnel's address says nothing of who else has it.
    fn write_addresses(&mut self) {
        self.own_version = self.shared.addresses_version();
        let mut wanted: HashMap<[u8; 16], u32> = HashMap::new();
        for &own in &self.shared.lock().own_addresses {
            wanted.insert(address_bytes(own), address_flags::LOCAL_HOST);
        }
        for known in &self.known {
            let mut bits = address_flags::KNOWN;
            if known.local {
                bits |=
                    if known.pod.is_some() { address_flags::LOCAL_POD } else { address_flags::LOCAL_HOST };
            }
            *wanted.entry(address_bytes(known.address)).or_insert(0) |= bits;
        }
        for gone in self.addresses.keys().filter(|address| !wanted.contains_key(*address)) {
            let _ = self.maps.addresses.remove(gone);
        }
        for (address, bits) in &wanted {
            if self.addresses.get(address) != Some(bits)
                && let Err(error) = self.maps.addresses.insert(address, bits, 0)
            {
                warn!(%error, "the kernel's table of addresses can't be written");
            }
        }
        self.addresses = wanted;
    }

    /// Forgets flows that have been watched long enough.
    fn end_flows(&mut self) {
        while let Some((flow, newest)) = self.lingering.next(Instant::now()) {
            if newest {
                let _ = self.maps.flows.remove(&Abi(flow_key(&flow)));
            }
            self.maps.ports.release(flow.local.port());
        }
    }

    /// Pods' links that are down. Whose a link is has shown by what came out of it.
    fn pod_links_down(&self) -> Vec<PodLinkDown> {
        let state = self.shared.lock();
        let mut down: Vec<PodLinkDown> = self
            .pod_behind
            .iter()
            .filter_map(|(ifindex, end)| {
                let interface = state.interfaces.get(ifindex)?;
                let (why, since_ns) = interface.down?;
                Some(PodLinkDown {
                    interface: Arc::clone(&interface.name),
                    pod: Arc::clone(&end.pod),
                    network: end.network.clone(),
                    why,
                    since_ns,
                })
            })
            .collect();
        down.sort_by(|a, b| a.interface.cmp(&b.interface));
        down
    }

    fn counter(&self, index: u32) -> u64 {
        self.maps.counters.get(&index, 0).map_or(0, |values| values.iter().sum())
    }
}

impl KernelSource for EbpfSource {
    fn stamps(&self) -> bool {
        true
    }

    fn drain(&mut self, sink: &mut dyn FnMut(Observation)) {
        if self.own_version != self.shared.addresses_version() {
            self.write_addresses();
        }
        self.end_flows();
        self.maps.translated.turn(Instant::now());
        self.drain_waiting(sink);
        loop {
            // Copied out at once: the ring's slot must be free before anything else is asked of `self`.
            let event = match self.maps.events.next() {
                None => return,
                Some(bytes) => RawEvent::read(&bytes),
            };
            match event {
                Some(RawEvent::Stamp(event)) => {
                    let stamp = self.stamp(&event);
                    if !self.is_stray_copy(&stamp) {
                        sink(Observation::Stamp(stamp));
                    }
                }
                Some(RawEvent::Drop(event)) if self.is_flooded_copy(&event) || self.is_answered(&event) => {}
                Some(RawEvent::Drop(event)) => match self.drop_seen(&event, true) {
                    Some(seen) if is_delivered(&seen) => {}
                    Some(seen) => sink(Observation::Drop(seen)),
                    None => self.waiting.push_back(event),
                },
                None => {}
            }
        }
    }

    fn watch_flow(&mut self, flow: &OwnFlow) -> bool {
        if self.lingering.is_taken(flow) {
            return false;
        }
        let value = FlowValue {
            path: flow.probe.path.0,
            sequence: flow.probe.sequence.0,
            address: address_bytes(flow.local.ip()),
        };
        if self.maps.flows.insert(Abi(flow_key(flow)), Abi(value), 0).is_err() {
            return false;
        }
        self.lingering.began(flow);
        self.maps.ports.want(flow.local.port());
        true
    }

    fn forget_flow(&mut self, flow: &OwnFlow) {
        self.lingering.ended(flow, Instant::now());
    }

    fn set_addresses(&mut self, addresses: &[KnownAddress], watched_ports: &[u16]) {
        self.known = addresses.to_vec();
        let pods = |known: &KnownAddress| Some((known.address, Arc::clone(known.pod.as_ref()?)));
        let end = |known: &KnownAddress| {
            let (address, pod) = pods(known)?;
            Some((address, PodEnd { pod, network: known.network.clone() }))
        };
        self.pods = addresses.iter().filter_map(end).collect();
        self.local_pods = addresses.iter().filter(|known| known.local).filter_map(pods).collect();
        let here: HashSet<&PodEnd> =
            self.local_pods.keys().filter_map(|address| self.pods.get(address)).collect();
        self.pod_behind.retain(|_, end| here.contains(end));
        self.write_addresses();
        let before = self.maps.watched_ports.wanted();
        watched_ports.iter().for_each(|&port| self.maps.watched_ports.want(port));
        before.iter().for_each(|&port| self.maps.watched_ports.release(port));
    }

    fn set_vantage(&mut self, vantage: Option<(u32, Vec<IpAddr>)>) {
        self.vantage = vantage;
    }

    fn reflected_path(&self, session: ProbeSession, path: PathId, sources: &[IpAddr]) -> Remembered {
        self.remembered(session, path, sources)
    }

    fn flow_seen(&self, flow: &Flow) -> Option<FlowSeen> {
        let key = TupleKey {
            source: address_bytes(flow.source.ip()),
            destination: address_bytes(flow.destination.ip()),
            source_port: flow.source.port(),
            destination_port: flow.destination.port(),
            protocol: protocol_of(flow.kind)?,
            _pad: [0; 3],
        };
        let Abi(value) = self.maps.tuples.get(&Abi(key), 0).ok()?;
        let seen =
            |ifindex, flags, at_ns| (ifindex != 0 && at_ns != 0).then(|| (self.hook(ifindex, flags), at_ns));
        Some(FlowSeen {
            request_packets: u64::from(value.requests),
            reply_packets: u64::from(value.replies),
            last_request: seen(value.request_ifindex, value.request_flags, value.request_ns),
            last_reply: seen(value.reply_ifindex, value.reply_flags, value.reply_ns),
        })
    }

    fn left_as(&mut self, flow: &Flow) -> Option<Flow> {
        self.conntrack.as_mut()?.left_as(flow)
    }

    fn drop_counts(&mut self) -> Vec<DropCount> {
        self.forgetting.note(self.counter(counters::REFLECT_FRESH), self.counter(counters::REFLECT_REFUSED));
        if let Some(interfaces) = &self.interface_drops {
            return interfaces.counts();
        }
        let here: HashSet<u32> = self.shared.lock().interfaces.keys().copied().collect();
        let totals = self.maps.drops.totals(&here);
        let named = |(key, packets): (DropKey, u64)| DropCount {
            netns: if key.ifindex == 0 { 0 } else { self.own_netns },
            ifindex: key.ifindex,
            interface: if key.ifindex == 0 { Arc::from("") } else { self.hook(key.ifindex, 0).interface },
            reason: self.reasons.name(key.reason),
            packets,
        };
        let mut counts: Vec<DropCount> = totals.into_iter().map(named).collect();
        let unsorted = self.counter(counters::DROPS_UNSORTED);
        if unsorted > 0 {
            let other: Arc<str> = Arc::from("other");
            let (interface, reason) = (Arc::clone(&other), other);
            counts.push(DropCount { netns: 0, ifindex: 0, interface, reason, packets: unsorted });
        }
        counts
    }

    fn news(&mut self) -> bool {
        let version = self.shared.links_version();
        std::mem::replace(&mut self.links_version, version) != version
    }

    fn status(&self) -> KernelStatus {
        let pod_links_down = self.pod_links_down();
        let state = self.shared.lock();
        let mut hooks: Vec<v1::HookStatus> = state.hooks.values().cloned().collect();
        hooks.sort_by(|a, b| (&a.interface, a.egress).cmp(&(&b.interface, b.egress)));
        let mut degraded = state.degraded.clone();
        drop(state);
        let nameless = self.counter(counters::NAMES_LOST);
        if nameless > 0 {
            degraded.push(format!("functions of drops without a name, for want of room: {nameless}"));
        }
        let attached = |hook: &v1::HookStatus| hook.state() == v1::HookState::Attached;
        for hook in hooks.iter().filter(|hook| !attached(hook)) {
            let direction = if hook.egress { "egress" } else { "ingress" };
            let what = if hook.state() == v1::HookState::Shadowed { "shadowed" } else { "not attached" };
            degraded.push(format!("hook {} {direction} {what}: {}", hook.interface, hook.detail));
        }
        KernelStatus {
            state: if degraded.is_empty() { v1::EbpfState::Attached } else { v1::EbpfState::Partial },
            degraded,
            hooks,
            pod_links_down,
            ring_events_lost: self.counter(counters::STAMPS_LOST) + self.counter(counters::DROPS_LOST),
            // The interfaces' own counters are what is left then.
            drops_unseen: self.interface_drops.is_some(),
        }
    }
}
