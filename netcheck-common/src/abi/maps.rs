//! Map names and capacities.

/// Hash address in the kernel's code (u64) → [`super::FunctionName`] of the function that holds it. Made once for each
/// address.
pub const NAMES: &str = "NAMES";
/// Addresses with a name at most. Packets are dropped at a few hundred places of a kernel.
pub const NAMES_ENTRIES: u32 = 1_024;
/// Ring buffer of [`super::StampEvent`] and [`super::DropEvent`].
pub const EVENTS: &str = "EVENTS";
/// Bytes; a power of two.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// Array of u64: bit `port % 64` of entry `port / 64` sends packets with that port into the slow path.
pub const PORTS: &str = "PORTS";
/// 65,536 bits.
pub const PORTS_ENTRIES: u32 = 1024;
/// [`PORT_PREFILTER_BYTES`] in a section of their own, which the fast path reads without a lookup: byte `port / 256` is not 0
/// where one of its ports is in [`PORTS`].
pub const PORT_PREFILTER: &str = ".data.prefilter";
/// One for each value of a port's high byte.
pub const PORT_PREFILTER_BYTES: usize = 256;
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
/// LRU hash address → [`super::SourceBudget`]: how many new paths each source had.
pub const REFLECT_SOURCES: &str = "REFLECT_SOURCES";
/// Sources remembered.
pub const REFLECT_SOURCES_ENTRIES: u32 = 8_192;
/// LRU hash address of a pod on this node → ifindex (u32) of its veth's host end, as its packets show it.
pub const POD_VETHS: &str = "POD_VETHS";
/// LRU hash ifindex (u32) of a veth's host end → hardware address (6 bytes) of the pod's end, as its packets show it.
pub const POD_HARDWARE: &str = "POD_HARDWARE";
/// Pods of one node at most.
pub const POD_VETHS_ENTRIES: u32 = 4_096;
/// LRU hash [`super::TupleKey`] → [`super::TupleValue`].
pub const TUPLES: &str = "TUPLES";
/// Foreign flows remembered.
pub const TUPLES_ENTRIES: u32 = 16_384;
/// LRU hash [`super::TupleKey`] → [`super::FlowValue`]: own flows whose port was translated on this node, by what their
/// requests left it as.
pub const TRANSLATED: &str = "TRANSLATED";
/// Translated flows remembered.
pub const TRANSLATED_ENTRIES: u32 = 4_096;
/// Two arrays of [`TRANSLATED_BYTES`] in sections of their own, which the fast path reads without a lookup: the byte of a
/// pair of ports ([`translated_byte`]) is not 0 where an answer with these may be to a flow in [`TRANSLATED`]. The programs
/// write into both and read either; they are emptied in turn.
pub const TRANSLATED_PREFILTERS: [&str; 2] = [".data.nat0", ".data.nat1"];
/// A power of two. Few flows are translated at any time, so that few bytes are not 0.
pub const TRANSLATED_BYTES: usize = 1_024;

/// Which byte of the prefilter stands for two ports, in either order and in the order of bytes that both are in.
#[inline(always)]
#[must_use]
pub const fn translated_byte(one: u16, other: u16) -> usize {
    // The ports of services' backends are few: it is the other one that spreads.
    (one ^ other) as usize & (TRANSLATED_BYTES - 1)
}

/// Hash ifindex → u32 of [`super::roles`].
pub const INTERFACES: &str = "INTERFACES";
/// Interfaces with hooks at most.
pub const INTERFACES_ENTRIES: u32 = 4_096;
/// LRU hash netns inode → [`super::Reached`], when the global `SCOPED` is [`super::scope::REACHED`].
pub const REACHED: &str = "REACHED";
/// Namespaces remembered.
pub const REACHED_ENTRIES: u32 = 1_024;
/// Hash netns inode → u8: namespaces whose drops count, when the global `SCOPED` is [`super::scope::LISTED`].
pub const SCOPE: &str = "SCOPE";
/// Namespaces of one node at most.
pub const SCOPE_ENTRIES: u32 = 1_024;
/// Per-CPU array of [`super::DropBank`]. The programs count in the one that [`DROP_BANK`] says; the other one is read, and
/// emptied.
pub const DROPS: &str = "DROPS";
/// Banks.
pub const DROPS_ENTRIES: u32 = 2;
/// A u32 in a section of its own: which bank drops are counted in.
pub const DROP_BANK: &str = ".data.bank";
/// Per-CPU array of u64, indexed by [`super::counters`].
pub const COUNTERS: &str = "COUNTERS";
