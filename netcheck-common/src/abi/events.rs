//! What comes through the ring buffer: stamps and drops, distinguished by their first byte.

/// [`StampEvent`].
pub const STAMP: u8 = 1;
/// [`DropEvent`].
pub const DROP: u8 = 2;

/// One of this agent's own packets passed a hook.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampEvent {
    /// [`STAMP`].
    pub kind: u8,
    /// [`super::flags`].
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
    /// With [`super::flags::REFLECTED`]: as in the probe header.
    pub t2_ns: u64,
    /// As above.
    pub t3_ns: u64,
    /// As above.
    pub requests: u64,
    /// As above.
    pub arrived: u64,
}

/// Frames of the kernel's stack that come with a drop.
pub const FRAMES: usize = 16;

/// The kernel dropped a probe's packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropEvent {
    /// [`DROP`].
    pub kind: u8,
    /// [`super::flags`].
    pub flags: u8,
    /// IP protocol.
    pub protocol: u8,
    /// [`super::identity`].
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
    /// The interface in the agent's own namespace that is the other end of its device, where that is one of a pair; else
    /// 0.
    pub peer_ifindex: u32,
    /// Of what netfilter dropped: return addresses on the kernel's stack, innermost first, [`DropEvent::location`] among
    /// them where the kernel can unwind it; 0 where there are no more. Else all 0.
    pub stack: [u64; FRAMES],
}
