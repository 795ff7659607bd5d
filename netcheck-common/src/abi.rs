//! The kernel ABI: what the kernel programs and the agent read and write in shared maps.
//!
//! Fixed-width integers in the machine's own byte order, explicit padding, no bool, enum or usize. Addresses are 16
//! bytes in network order, IPv4 as `::ffff:a.b.c.d`; ports are in host order. Times are `bpf_ktime_get_ns`, which
//! is CLOCK_MONOTONIC of this node.

mod entries;
pub mod events;
pub mod globals;
pub mod maps;

use core::mem::size_of;

pub use self::entries::{
    DROP_SLOTS, DROP_WAYS, DropBank, DropKey, DropSlot, FRESH_PER_SECOND, FlowKey, FlowValue, FunctionName,
    NAME_LEN, REFLECT_SLOTS, Reached, ReflectKey, ReflectSlot, ReflectValue, SourceBudget, TUPLE_LIFE_NS,
    TupleKey, TupleValue,
};
pub use self::events::{DropEvent, FRAMES, StampEvent};
pub use self::globals::KernelOffsets;

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
    /// Drops of kinds that [`super::maps::DROPS`] had no slot for.
    pub const DROPS_UNSORTED: u32 = 6;
    /// Drops seen in namespaces in scope.
    pub const DROPS_SEEN: u32 = 7;
    /// Drops of foreign flows beyond what may be reported in a second.
    pub const FOREIGN_SUPPRESSED: u32 = 8;
    /// Functions whose names found no room in [`super::maps::NAMES`], once for each record that wanted one.
    pub const NAMES_LOST: u32 = 9;
    /// Paths of other agents that were new to [`super::maps::REFLECT`].
    pub const REFLECT_FRESH: u32 = 10;
    /// Requests that were not remembered: their source had too many new paths.
    pub const REFLECT_REFUSED: u32 = 11;
    /// Number of counters.
    pub const COUNT: u32 = 12;
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

/// Whose drops count: values of the global `SCOPED`.
pub mod scope {
    /// All of this kernel's.
    pub const ALL: u8 = 0;
    /// Those of the namespaces in [`super::maps::SCOPE`].
    pub const LISTED: u8 = 1;
    /// Those of the agent's own namespace, and of all that have a link to it.
    pub const REACHED: u8 = 2;
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

/// A type of this module: safe to copy byte by byte between kernel and user space.
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
    DropEvent = 232,
    FlowKey = 4,
    FlowValue = 24,
    ReflectKey = 32,
    ReflectSlot = 16,
    ReflectValue = 104,
    SourceBudget = 16,
    TupleKey = 40,
    TupleValue = 40,
    DropKey = 8,
    DropSlot = 16,
    DropBank = 16384,
    FunctionName = 64,
    KernelOffsets = 88,
    Reached = 16,
}
