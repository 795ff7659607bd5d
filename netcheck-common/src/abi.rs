//! The kernel ABI: what the kernel programs and the agent read and write in shared maps.
//!
//! Fixed-width integers in the machine's own byte order, explicit padding, no bool, enum or usize. Addresses are 16
//! bytes in network order, IPv4 as `::ffff:a.b.c.d`; ports are in host order. Times are `bpf_ktime_get_ns`, which
//! is CLOCK_MONOTONIC of this node.

use core::mem::size_of;

/// Map names and capacities.
pub mod maps {
    /// Ring buffer of [`super::StampEvent`] and [`super::DropEvent`].
    pub const EVENTS: &str = "EVENTS";
    /// Bytes; a power of two.
    pub const EVENTS_BYTES: u32 = 1 << 20;
    /// Array of u64: bit `port % 64` of entry `port / 64` sends packets with that port into the slow path.
    pub const PORTS: &str = "PORTS";
    /// 65,536 bits.
    pub const PORTS_ENTRIES: u32 = 1024;
    /// As [`PORTS`], for the drop tracepoint alone: ports of targets anywhere in the cluster.
    pub const WATCHED_PORTS: &str = "WATCHED_PORTS";
    /// Hash [`super::FlowKey`] → [`super::FlowValue`].
    pub const FLOWS: &str = "FLOWS";
    /// Own flows in flight at most.
    pub const FLOWS_ENTRIES: u32 = 16_384;
    /// Hash address → u32 of [`super::address_flags`].
    pub const ADDRESSES: &str = "ADDRESSES";
    /// Nodes and pods known at most.
    pub const ADDRESSES_ENTRIES: u32 = 131_072;
    /// LRU hash [`super::ReflectKey`] → [`super::ReflectValue`].
    pub const REFLECT: &str = "REFLECT";
    /// Foreign paths remembered.
    pub const REFLECT_ENTRIES: u32 = 16_384;
    /// LRU hash address of a pod on this node → ifindex (u32) of its veth's host end, as its packets show it.
    pub const POD_VETHS: &str = "POD_VETHS";
    /// Pods of one node at most.
    pub const POD_VETHS_ENTRIES: u32 = 4_096;
    /// LRU hash [`super::TupleKey`] → [`super::TupleValue`].
    pub const TUPLES: &str = "TUPLES";
    /// Foreign flows remembered.
    pub const TUPLES_ENTRIES: u32 = 16_384;
    /// Hash ifindex → u32 of [`super::roles`].
    pub const INTERFACES: &str = "INTERFACES";
    /// Interfaces with hooks at most.
    pub const INTERFACES_ENTRIES: u32 = 4_096;
    /// Hash netns inode → u8: namespaces whose drops count, when the global `SCOPED` is 1.
    pub const SCOPE: &str = "SCOPE";
    /// Namespaces of one node at most.
    pub const SCOPE_ENTRIES: u32 = 1_024;
    /// Per-CPU hash [`super::DropKey`] → u64.
    pub const DROPS: &str = "DROPS";
    /// Combinations counted at most.
    pub const DROPS_ENTRIES: u32 = 8_192;
    /// Per-CPU array of u64, indexed by [`super::counters`].
    pub const COUNTERS: &str = "COUNTERS";
}

/// Source ports of TCP and DNS probes, the same on all nodes: so a destination's hooks know a stranger's probe by its
/// port, whatever service it is for. Above Linux's default range of ephemeral ports (32768 to 60999), so that other
/// flows seldom have them. A probe that finds none free takes any port, and leaves no trace at its destination.
pub mod probe_ports {
    /// The first.
    pub const FIRST: u16 = 61_000;
    /// The last.
    pub const LAST: u16 = 64_999;

    /// Whether a port is one of them.
    #[inline(always)]
    #[must_use]
    pub const fn contain(port: u16) -> bool {
        port >= FIRST && port <= LAST
    }
}

/// Indices into [`maps::COUNTERS`].
pub mod counters {
    /// Stamps that the ring buffer had no room for.
    pub const STAMPS_LOST: u32 = 0;
    /// Drop records that the ring buffer had no room for.
    pub const DROPS_LOST: u32 = 1;
    /// Replies that the reflector could not write into.
    pub const REFLECT_FAILED: u32 = 2;
    /// Replies that the reflector wrote into.
    pub const REFLECTED: u32 = 3;
    /// Requests of other agents that arrived, each once.
    pub const REQUESTS: u32 = 4;
    /// Packets with magic and an unknown version.
    pub const UNKNOWN_VERSION: u32 = 5;
    /// Drops that [`super::maps::DROPS`] had no room to count.
    pub const DROP_KEYS_FULL: u32 = 6;
    /// Drops seen in namespaces in scope.
    pub const DROPS_SEEN: u32 = 7;
    /// Drops of foreign flows beyond what may be reported in a second.
    pub const FOREIGN_SUPPRESSED: u32 = 8;
    /// Number of counters.
    pub const COUNT: u32 = 9;
}

/// Values of [`maps::INTERFACES`].
pub mod roles {
    /// Towards other nodes.
    pub const UPLINK: u32 = 1;
    /// VXLAN, Geneve, IPIP, WireGuard.
    pub const TUNNEL: u32 = 2;
    /// A bridge.
    pub const BRIDGE: u32 = 3;
    /// The host's end of a pod's veth pair.
    pub const POD_VETH: u32 = 4;
}

/// Bits of [`maps::ADDRESSES`] values.
pub mod address_flags {
    /// A node's or pod's address, anywhere in the cluster.
    pub const KNOWN: u32 = 1;
    /// This node's own.
    pub const LOCAL_HOST: u32 = 2;
    /// Of a pod on this node.
    pub const LOCAL_POD: u32 = 4;
    /// Either of the two.
    pub const LOCAL: u32 = LOCAL_HOST | LOCAL_POD;
}

/// First byte of an event.
pub mod events {
    /// [`super::StampEvent`].
    pub const STAMP: u8 = 1;
    /// [`super::DropEvent`].
    pub const DROP: u8 = 2;
}

/// Bits of `flags` in events and of hooks in [`ReflectValue`] and [`TupleValue`].
pub mod flags {
    /// Leaving through the interface, else arriving.
    pub const EGRESS: u8 = 1;
    /// Inside a tunnel's packet.
    pub const ENCAPSULATED: u8 = 2;
    /// From the target back, else towards it.
    pub const REPLY: u8 = 4;
    /// The event's t2, t3, requests and arrived are the destination's.
    pub const REFLECTED: u8 = 8;
    /// TCP RST.
    pub const RESET: u8 = 16;
    /// Drops: the packet belonged to a local socket.
    pub const HAS_SOCKET: u8 = 32;
    /// Drops: a route had been chosen.
    pub const HAS_ROUTE: u8 = 64;
}

/// Whose packet a [`DropEvent`] is about.
pub mod identity {
    /// It carries a probe header.
    pub const PROBE: u8 = 1;
    /// A flow in [`super::maps::FLOWS`].
    pub const OWN_FLOW: u8 = 2;
    /// A flow to or from a watched port of a known address.
    pub const FOREIGN_FLOW: u8 = 3;
}

/// One of this agent's own packets passed a hook.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampEvent {
    /// [`events::STAMP`].
    pub kind: u8,
    /// [`flags`].
    pub flags: u8,
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub _pad: u8,
    /// Where.
    pub ifindex: u32,
    /// When.
    pub at_ns: u64,
    /// Path of the plan.
    pub path: u32,
    /// Number on the path.
    pub sequence: u32,
    /// As on the wire here.
    pub source: [u8; 16],
    /// As on the wire here.
    pub destination: [u8; 16],
    /// 0 for ICMP.
    pub source_port: u16,
    /// 0 for ICMP.
    pub destination_port: u16,
    /// Zero.
    pub _pad2: u32,
    /// With [`flags::REFLECTED`]: as in the probe header.
    pub t2_ns: u64,
    /// As above.
    pub t3_ns: u64,
    /// As above.
    pub requests: u64,
    /// As above.
    pub arrived: u64,
}

/// The kernel dropped a probe's packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    /// [`events::DROP`].
    pub kind: u8,
    /// [`flags`].
    pub flags: u8,
    /// IP protocol.
    pub protocol: u8,
    /// [`identity`].
    pub identity: u8,
    /// The packet's device; 0 where it had none.
    pub ifindex: u32,
    /// When.
    pub at_ns: u64,
    /// Of the probe header; 0 where there is none.
    pub session: u64,
    /// Of the probe header, or of the registered flow; else 0.
    pub path: u32,
    /// As above.
    pub sequence: u32,
    /// The packet's.
    pub source: [u8; 16],
    /// The packet's.
    pub destination: [u8; 16],
    /// 0 for ICMP.
    pub source_port: u16,
    /// 0 for ICMP.
    pub destination_port: u16,
    /// Inode of the network namespace; 0 where unknown.
    pub netns: u32,
    /// Address of the instruction that dropped it.
    pub location: u64,
    /// `dst_entry.input` of its route: which way it was to go; 0 where there is none.
    pub route_input: u64,
    /// `enum skb_drop_reason`.
    pub reason: u32,
    /// The interface that it came in by; 0 where it was made here.
    pub input_ifindex: u32,
    /// The interface that its route leads to; 0 where there is none.
    pub route_ifindex: u32,
    /// Zero.
    pub _pad: u32,
}

/// A flow of this agent: what its packets have in common on this node, whatever is translated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The local port.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
}

/// Which probe a flow is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowValue {
    /// Path of the plan.
    pub path: u32,
    /// Number on the path.
    pub sequence: u32,
    /// The socket's own address.
    pub address: [u8; 16],
}

/// A path of another agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReflectKey {
    /// Of the probe header.
    pub session: u64,
    /// Of the probe header.
    pub path: u32,
    /// Zero.
    pub _pad: u32,
}

/// Requests whose arrival time is kept for their replies; a power of two.
pub const REFLECT_SLOTS: usize = 4;

/// What arrived of a foreign path.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectValue {
    /// Requests, duplicates included.
    pub requests: u64,
    /// Bit i: request (highest − i) arrived.
    pub arrived: u64,
    /// The newest request.
    pub highest_sequence: u32,
    /// The interface that saw a request first; a second sight there is a duplicate.
    pub first_ifindex: u32,
    /// The interface that saw the newest request last.
    pub request_ifindex: u32,
    /// The interface that saw the newest reply last.
    pub reply_ifindex: u32,
    /// The newest reply.
    pub reply_sequence: u32,
    /// [`flags`] of the hook that saw the newest request last.
    pub request_flags: u8,
    /// [`flags`] of the hook that saw the newest reply last.
    pub reply_flags: u8,
    /// [`flags`] of the hook that saw a request first.
    pub first_flags: u8,
    /// Zero.
    pub _pad: u8,
    /// By sequence modulo [`REFLECT_SLOTS`].
    pub slots: [ReflectSlot; REFLECT_SLOTS],
}

/// When one request arrived.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectSlot {
    /// At the node's first hook.
    pub t2_ns: u64,
    /// Which request.
    pub sequence: u32,
    /// Zero.
    pub _pad: u32,
}

/// A foreign flow without probe header to something on this node, named by its request direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TupleKey {
    /// The client's.
    pub source: [u8; 16],
    /// The server's.
    pub destination: [u8; 16],
    /// The client's.
    pub source_port: u16,
    /// The server's.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub _pad: [u8; 3],
}

/// What the hooks saw of a foreign flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleValue {
    /// SYNs or datagrams, at every hook.
    pub requests: u32,
    /// SYN-ACKs, RSTs or datagrams, at every hook.
    pub replies: u32,
    /// The interface that saw a request last.
    pub request_ifindex: u32,
    /// The interface that saw a reply last.
    pub reply_ifindex: u32,
    /// [`flags`] of the hook that saw a request last.
    pub request_flags: u8,
    /// [`flags`] of the hook that saw a reply last.
    pub reply_flags: u8,
    /// Zero.
    pub _pad: [u8; 6],
}

/// What drops are counted by.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DropKey {
    /// Inode of the network namespace.
    pub netns: u32,
    /// Interface; 0 where the packet had none.
    pub ifindex: u32,
    /// `enum skb_drop_reason`.
    pub reason: u32,
}

/// Names of the globals that the loader must set. All offsets are from this kernel's BTF.
pub mod globals {
    /// u64: session in this agent's probe headers.
    pub const OWN_SESSION: &str = "OWN_SESSION";
    /// u16: where this node's responder listens.
    pub const RESPONDER_PORT: &str = "RESPONDER_PORT";
    /// u8: 1 if only namespaces in [`super::maps::SCOPE`] count.
    pub const SCOPED: &str = "SCOPED";
    /// i64: added to every time stamp; 0 but in tests.
    pub const CLOCK_OFFSET_NS: &str = "CLOCK_OFFSET_NS";
    /// [`super::KernelOffsets`].
    pub const OFFSETS: &str = "OFFSETS";
}

/// Where the drop tracepoint finds things, in bytes, and values of this kernel's enums.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelOffsets {
    /// 1 once filled: offset 0 would read garbage.
    pub valid: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `sk_buff.mac_header`.
    pub skb_mac_header: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `sk_buff.sk`.
    pub skb_sk: u32,
    /// `sk_buff.skb_iif`.
    pub skb_iif: u32,
    /// `sk_buff._skb_refdst`.
    pub skb_refdst: u32,
    /// `net_device.ifindex`.
    pub dev_ifindex: u32,
    /// `net_device.nd_net.net`.
    pub dev_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// `sock.__sk_common.skc_net.net`.
    pub sk_net: u32,
    /// `dst_entry.dev`.
    pub dst_dev: u32,
    /// `dst_entry.input`.
    pub dst_input: u32,
    /// `SKB_DROP_REASON_NO_SOCKET`.
    pub reason_no_socket: u32,
    /// `SKB_CONSUMED`; reasons up to it are not drops.
    pub reason_consumed: u32,
}

/// A type of this file: safe to copy byte by byte between kernel and user space.
///
/// # Safety
/// Implementors are `repr(C)`, valid for every bit pattern, and have no implicit padding.
pub unsafe trait KernelAbi: Copy + 'static {}

macro_rules! kernel_abi {
    ($($type:ty = $size:literal),+ $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: integers and arrays of integers only, padding explicit, as the size shows.
        unsafe impl KernelAbi for $type {}
    )+};
}

kernel_abi! {
    StampEvent = 96,
    DropEvent = 104,
    FlowKey = 4,
    FlowValue = 24,
    ReflectKey = 16,
    ReflectSlot = 16,
    ReflectValue = 104,
    TupleKey = 40,
    TupleValue = 24,
    DropKey = 12,
    KernelOffsets = 64,
}
