//! What the kernel reports of probes, and what it has to know of them: the seam between `kernel` (eBPF) and the rest.
//!
//! In: kernel events. Out: [`Observation`]s, drained by the probe engine's thread on every turn of its loop.
//! All times are CLOCK_MONOTONIC of this node, in nanoseconds, and can't be compared across nodes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_common::domain::{PathId, ProbeKind, ProbeSession, Sequence};
use netcheck_proto::v1;

/// Which probe of this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeKey {
    /// The path that it measures.
    pub path: PathId,
    /// Its number on that path.
    pub sequence: Sequence,
}

/// What an interface is for on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterfaceRole {
    /// Not known (any more).
    Unknown,
    /// Towards other nodes.
    Uplink,
    /// VXLAN, Geneve, IPIP, WireGuard.
    Tunnel,
    /// A bridge that pods or uplinks are ports of.
    Bridge,
    /// The host's end of a pod's veth pair.
    PodVeth,
    /// `lo`.
    Loopback,
}

impl InterfaceRole {
    /// Its name in the contract.
    #[must_use]
    pub const fn to_wire(self) -> v1::InterfaceRole {
        match self {
            Self::Unknown => v1::InterfaceRole::Unspecified,
            Self::Uplink => v1::InterfaceRole::Uplink,
            Self::Tunnel => v1::InterfaceRole::Tunnel,
            Self::Bridge => v1::InterfaceRole::Bridge,
            Self::PodVeth => v1::InterfaceRole::PodVeth,
            Self::Loopback => v1::InterfaceRole::Loopback,
        }
    }
}

/// A place where a packet was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The interface's index in this network namespace.
    pub ifindex: u32,
    /// Its name; `if#N` where the interface is gone.
    pub interface: Arc<str>,
    /// What it is for.
    pub role: InterfaceRole,
    /// Leaving through it, else arriving.
    pub egress: bool,
    /// Seen inside a tunnel's outer packet.
    pub encapsulated: bool,
}

/// Which half of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the probe's source to its target.
    Request,
    /// Back.
    Reply,
}

/// A packet's addresses and ports as they were on the wire. Ports are 0 for ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// ICMP, UDP or TCP; DNS and HTTP flows are UDP and TCP here.
    pub kind: ProbeKind,
    /// Who sent this packet.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// What the destination's kernel wrote into a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reflected {
    /// Ingress of the request at the destination, on the destination's clock; 0 where it did not know any more.
    pub t2_ns: u64,
    /// Egress of the reply at the destination, on the same clock; 0 where it did not know any more.
    pub t3_ns: u64,
    /// Requests of this path that had arrived by then, duplicates included.
    pub requests: u64,
    /// Bit i: request (this sequence − i) had arrived when this one did. Bit 0 is set.
    pub arrived: u64,
}

/// One of this agent's own probe packets passed a hook of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which probe.
    pub probe: ProbeKey,
    /// When.
    pub at_ns: u64,
    /// Where.
    pub hook: Hook,
    /// Which half.
    pub direction: Direction,
    /// The flow as it was at this hook: after a service's translation for requests that leave.
    pub flow: Flow,
    /// For replies of ICMP and UDP probes whose destination reflects.
    pub reflected: Option<Reflected>,
    /// A TCP segment with RST.
    pub reset: bool,
}

/// Whose packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropIdentity {
    /// It carried a probe header: this agent's own where the session is its own.
    Probe {
        /// The sending agent.
        session: ProbeSession,
        /// The probe, in the numbering of that agent.
        probe: ProbeKey,
    },
    /// A flow that this agent registered.
    OwnFlow(ProbeKey),
    /// A flow between nodes of the cluster to a watched port, of whichever agent.
    ForeignFlow,
}

/// The kernel dropped a probe's packet on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropSeen {
    /// Whose.
    pub identity: DropIdentity,
    /// When.
    pub at_ns: u64,
    /// The interface that it was at; index 0 where none was known yet.
    pub hook: Hook,
    /// `namespace/name` of the pod behind the interface.
    pub pod: Option<Arc<str>>,
    /// How far it had come.
    pub stage: v1::Stage,
    /// Which half.
    pub direction: Direction,
    /// The packet itself.
    pub flow: Flow,
    /// The kernel's name of the drop reason, or `unknown(N)`.
    pub reason: Arc<str>,
    /// The kernel function; empty where addresses are hidden.
    pub function: Arc<str>,
}

/// Anything that the kernel reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A packet passed.
    Stamp(Stamp),
    /// A packet died.
    Drop(DropSeen),
}

/// A flow of this agent whose packets carry no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnFlow {
    /// Which probe.
    pub probe: ProbeKey,
    /// TCP or UDP, as [`ProbeKind::Tcp`] or [`ProbeKind::Udp`].
    pub transport: ProbeKind,
    /// The socket's own address and port.
    pub local: SocketAddr,
}

/// What a destination's kernel holds of a foreign path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReflectedPath {
    /// Requests that arrived, duplicates included.
    pub requests: u64,
    /// The newest of them.
    pub highest_sequence: Sequence,
    /// Bit i: request (highest − i) arrived.
    pub arrived: u64,
    /// The hook that saw the newest request last.
    pub last_request_hook: Option<Hook>,
    /// The hook that saw the newest reply last, and its sequence.
    pub last_reply: Option<(Hook, Sequence)>,
}

/// Whether this node's kernel remembers another agent's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It does.
    Path(ReflectedPath),
    /// None of its requests came, or long ago.
    Nothing,
    /// It may have been forgotten for want of room.
    Unsure,
}

/// What the hooks saw of a foreign flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSeen {
    /// Packets towards the target.
    pub request_packets: u64,
    /// Packets back.
    pub reply_packets: u64,
    /// The hook that saw a request last, and when.
    pub last_request: Option<(Hook, u64)>,
    /// The hook that saw a reply last, and when.
    pub last_reply: Option<(Hook, u64)>,
}

/// Drops of all packets at one interface for one reason, since the programs were loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DropCount {
    /// Inode of the network namespace; 0 for all that was dropped in others than the agent's or without an interface, and
    /// where the kernel does not say.
    pub netns: u32,
    /// The interface; 0 there.
    pub ifindex: u32,
    /// Its name; empty for what was dropped elsewhere, `other` for what was of more kinds than are kept apart.
    pub interface: Arc<str>,
    /// The kernel's name of the reason; `other` for what was of more kinds than are kept apart.
    pub reason: Arc<str>,
    /// How many.
    pub packets: u64,
}

/// Why a link takes no packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It was set down.
    Itself,
    /// Its other end is down: no carrier.
    Peer,
}

/// A pod's link that takes no packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLinkDown {
    /// This node's end.
    pub interface: Arc<str>,
    /// `namespace/name`.
    pub pod: Arc<str>,
    /// The secondary network of pods that it is the link to; none: the cluster's own.
    pub network: Option<Arc<str>>,
    /// Which end is down.
    pub why: Down,
    /// Since when, CLOCK_MONOTONIC.
    pub since_ns: u64,
}

/// How the kernel side is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelStatus {
    /// `EBPF_STATE_*`.
    pub state: v1::EbpfState,
    /// What is missing and why, one line each.
    pub degraded: Vec<String>,
    /// Every hook.
    pub hooks: Vec<v1::HookStatus>,
    /// Pods' links that take no packets, as far as it is known whose they are.
    pub pod_links_down: Vec<PodLinkDown>,
    /// Events that the ring buffer had no room for.
    pub ring_events_lost: u64,
    /// What the kernel drops is not reported.
    pub drops_unseen: bool,
}

/// One line of the plan's address table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAddress {
    /// A node's or a pod's address.
    pub address: IpAddr,
    /// `namespace/name` where it is a pod's.
    pub pod: Option<Arc<str>>,
    /// On this very node.
    pub local: bool,
    /// The secondary network of pods that it is on; none: the cluster's own.
    pub network: Option<Arc<str>>,
}

/// The kernel side as the probe engine uses it. Owned by the engine's thread; no call blocks. What is not implemented is as
/// where no kernel reports anything.
pub trait KernelSource: Send {
    /// Whether stamps are to be expected: false means that user-space times are all there is.
    fn stamps(&self) -> bool {
        false
    }
    /// Hands over everything that happened since the last call, in order.
    fn drain(&mut self, _sink: &mut dyn FnMut(Observation)) {}
    /// Announces a flow before its first packet leaves. False: no room, the flow will not be stamped.
    fn watch_flow(&mut self, _flow: &OwnFlow) -> bool {
        false
    }
    /// Ends a flow; to be called once for each that was watched.
    fn forget_flow(&mut self, _flow: &OwnFlow) {}
    /// Replaces the address table and the watched ports.
    fn set_addresses(&mut self, _addresses: &[KnownAddress], _watched_ports: &[u16]) {}
    /// Says which network namespace the pod vantage is in, and which addresses it has; none where there is none.
    fn set_vantage(&mut self, _vantage: Option<(u32, Vec<IpAddr>)>) {}
    /// What this node's kernel saw of another agent's path.
    fn reflected_path(&self, _session: ProbeSession, _path: PathId, _sources: &[IpAddr]) -> Remembered {
        Remembered::Nothing
    }
    /// What this node's hooks saw of a flow, named by its request direction; perhaps of an earlier one with the same
    /// ports.
    fn flow_seen(&self, _flow: &Flow) -> Option<FlowSeen> {
        None
    }
    /// How a flow's packets leave this node behind all translation; none where nobody knows it.
    fn left_as(&mut self, _flow: &Flow) -> Option<Flow> {
        None
    }
    /// All drop counters.
    fn drop_counts(&mut self) -> Vec<DropCount> {
        Vec::new()
    }
    /// Whether a look at the status should not wait: a link went up or down since the last call.
    fn news(&mut self) -> bool {
        false
    }
    /// How it is.
    fn status(&self) -> KernelStatus;
}
