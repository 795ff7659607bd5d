//! What agents report of lost probes and dropped packets, read from the wire once: a value of these types holds together.
//! Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netcheck_common::domain::{PathId, ProbeKind};

use super::location::{Direction, InterfaceRole, Stage};

/// A packet's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The probe's kind: what its packets are, UDP or TCP, follows from it.
    pub kind: ProbeKind,
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

impl Flow {
    /// TCP rather than UDP.
    #[must_use]
    pub const fn tcp(&self) -> bool {
        match self.kind {
            ProbeKind::Tcp | ProbeKind::Http => true,
            ProbeKind::Icmp | ProbeKind::Udp | ProbeKind::Dns => false,
        }
    }
}

/// A hook that saw a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookSeen {
    /// The interface's name; empty where it is gone.
    pub interface: String,
    /// What the interface is for.
    pub role: InterfaceRole,
    /// The packet left through the interface; else it arrived.
    pub egress: bool,
    /// Seen inside a tunnel's outer packet.
    pub encapsulated: bool,
}

/// An ICMP or ICMPv6 error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it; none where its agent did not say.
    pub from: Option<IpAddr>,
    /// Its type (RFC 792, RFC 4443).
    pub kind: u32,
    /// Its code.
    pub code: u32,
    /// For fragmentation needed and packet too big: what the next hop takes; 0: not said.
    pub mtu_bytes: u32,
}

/// The steps of an exchange over TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExchangeStep {
    /// The probe is no exchange.
    #[default]
    None,
    /// The server's name is looked up.
    Resolve,
    /// The TCP handshake.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The request is sent, the answer has not begun.
    Answer,
    /// The answer has begun and is not complete.
    Body,
}

/// One probe that did not end with a reply, and what its own node saw of it. Texts are empty where there is nothing to say.
#[derive(Clone, Debug, PartialEq)]
pub struct LostSample {
    /// Its path in its agent's plan.
    pub path: PathId,
    /// Its number on the path. Wraps.
    pub sequence: u32,
    /// t0 on the agent's wall clock.
    pub sent_unix_ns: i64,
    /// The agent was too starved to judge: not a loss.
    pub suspect: bool,
    /// Hooks of the source node, in the order in which they saw the request.
    pub request_hooks: Vec<HookSeen>,
    /// The same of the reply.
    pub reply_hooks: Vec<HookSeen>,
    /// What the source's kernel answered when it was to send it, as in `EHOSTUNREACH`.
    pub errno: String,
    /// The error that refused it. A TCP reset has none.
    pub icmp_error: Option<IcmpError>,
    /// The rcode that a DNS server answered, as in `SERVFAIL`, or what became of a look-up.
    pub dns_rcode: String,
    /// The flow as it left the node, after translation: its destination is the backend. Of TCP, DNS and HTTP.
    pub flow: Option<Flow>,
    /// No kernel hooks watched this probe: empty hook lists mean nothing.
    pub unwatched: bool,
    /// For probes that try a packet size, the length of the IP packet; 0: any other probe.
    pub packet_bytes: u32,
    /// How far the exchange came.
    pub step: ExchangeStep,
    /// The HTTP status that was answered; 0: none.
    pub http_status: u32,
    /// What is wrong with the server's certificate or the handshake, in a few words that stay the same.
    pub tls_error: String,
    /// More of it: `3 days ago`.
    pub tls_detail: String,
    /// Why an exchange broke off that had begun, in a few words that stay the same.
    pub exchange_error: String,
    /// All that was sent was acknowledged by whoever holds the connection's other end.
    pub acknowledged: bool,
    /// How long the last step was waited for.
    pub waited: Option<Duration>,
    /// Where the server's name was looked up: the address that the probe went to.
    pub resolved_address: Option<IpAddr>,
    /// The DNS server that was asked for it last.
    pub resolver: String,
    /// DNS over UDP: the answer was truncated, and this is what became of the same question over TCP (RFC 7766 §5).
    pub truncated: bool,
    /// It was the first packet of a flow of its own: so many of the path's newest such in a row were lost, this one with
    /// them. 0 of ordinary probes.
    pub new_flows_lost: u32,
}

impl Default for LostSample {
    fn default() -> Self {
        Self {
            path: PathId(0),
            sequence: 0,
            sent_unix_ns: 0,
            suspect: false,
            request_hooks: Vec::new(),
            reply_hooks: Vec::new(),
            errno: String::new(),
            icmp_error: None,
            dns_rcode: String::new(),
            flow: None,
            unwatched: false,
            packet_bytes: 0,
            step: ExchangeStep::None,
            http_status: 0,
            tls_error: String::new(),
            tls_detail: String::new(),
            exchange_error: String::new(),
            acknowledged: false,
            waited: None,
            resolved_address: None,
            resolver: String::new(),
            truncated: false,
            new_flows_lost: 0,
        }
    }
}

/// Which probe a packet belongs to, as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeIdentity {
    /// Its agent's run; never 0.
    pub session: u64,
    /// Its path in its agent's plan.
    pub path: PathId,
    /// Its number on the path.
    pub sequence: u32,
}

/// A kernel's drop of a probe's packet. Texts are empty where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropRecord {
    /// Whose packet it was; none where the packet carries no probe header (TCP, DNS).
    pub probe: Option<ProbeIdentity>,
    /// The packet's own source and destination.
    pub flow: Option<Flow>,
    /// When, on the reporting agent's wall clock.
    pub observed_unix_ns: i64,
    /// Interface name.
    pub interface: String,
    /// Its number on its node.
    pub ifindex: u32,
    /// What the interface is for.
    pub role: InterfaceRole,
    /// `namespace/name` of the pod behind the interface.
    pub pod: String,
    /// The stage.
    pub stage: Stage,
    /// The half of the round trip.
    pub direction: Direction,
    /// The kernel's name of the reason.
    pub reason: String,
    /// The kernel function that dropped it.
    pub function: String,
    /// It was a tunnel's outer packet.
    pub encapsulated: bool,
}

/// A pod's link that takes no packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLinkDown {
    /// The node's end.
    pub interface: String,
    /// `namespace/name`.
    pub pod: String,
    /// The secondary network of pods that it is the pod's link to; empty: the cluster's own.
    pub network: String,
    /// The node's end is up, the pod's is not.
    pub no_carrier: bool,
}

/// What the kernel reflector of a destination holds of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReflectedState {
    /// False: no request of this path ever arrived here, or too long ago.
    pub known: bool,
    /// Where it is not known: it may have been forgotten for want of room.
    pub unsure: bool,
    /// The highest number that arrived.
    pub highest_sequence: u32,
    /// Bit i: request `highest_sequence - i` arrived.
    pub arrived: u64,
    /// The hook that saw the newest request.
    pub last_request_hook: Option<HookSeen>,
    /// The hook that saw the newest reply.
    pub last_reply_hook: Option<HookSeen>,
    /// The newest reply's number.
    pub last_reply_sequence: u32,
}

/// What a node's hooks saw of one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowSighting {
    /// They saw any of it.
    pub known: bool,
    /// Requests.
    pub request_packets: u64,
    /// Replies.
    pub reply_packets: u64,
    /// The hook that saw the newest request.
    pub last_request_hook: Option<HookSeen>,
    /// The hook that saw the newest reply.
    pub last_reply_hook: Option<HookSeen>,
    /// How long before the answer that request was seen.
    pub last_request_age: Option<Duration>,
    /// The same of the reply.
    pub last_reply_age: Option<Duration>,
}
