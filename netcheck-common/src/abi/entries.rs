//! Keys and values of the maps.

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

/// A path of another agent, and who sends its requests: anybody can write another's session and path into a header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReflectKey {
    /// Of the probe header.
    pub session: u64,
    /// Of the probe header.
    pub path: u32,
    /// Zero.
    pub _pad: u32,
    /// The requests' source as they come to this node.
    pub source: [u8; 16],
}

/// Paths of one source that may be new to a node in one second. An agent has some hundred to one node; who has more
/// floods.
pub const FRESH_PER_SECOND: u32 = 512;

/// How many paths of one source were new.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceBudget {
    /// In which second of the monotonic clock.
    pub second: u64,
    /// So many.
    pub fresh: u32,
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
    /// [`super::flags`] of the hook that saw the newest request last.
    pub request_flags: u8,
    /// [`super::flags`] of the hook that saw the newest reply last.
    pub reply_flags: u8,
    /// [`super::flags`] of the hook that saw a request first.
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

/// A request that comes so long after the one before is of another flow with the same ports: no probe waits longer.
pub const TUPLE_LIFE_NS: u64 = 60_000_000_000;

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
    /// When a request was seen last.
    pub request_ns: u64,
    /// When a reply was seen last; 0: never.
    pub reply_ns: u64,
    /// [`super::flags`] of the hook that saw a request last.
    pub request_flags: u8,
    /// [`super::flags`] of the hook that saw a reply last.
    pub reply_flags: u8,
    /// Zero.
    pub _pad: [u8; 6],
}

/// What drops are counted by. Written as one word: whoever reads it meanwhile finds all of it or nothing.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropKey {
    /// Interface of the agent's own network namespace; 0 for all that is dropped in others or without an interface.
    pub ifindex: u32,
    /// `enum skb_drop_reason`; never 0.
    pub reason: u32,
}

/// Drops of one kind on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropSlot {
    /// How many; 0: nobody's slot. The key is written first; whoever reads meanwhile may find none yet.
    pub packets: u64,
    /// Of which kind.
    pub key: DropKey,
}

/// Slots of a [`DropBank`]; a power of two.
pub const DROP_SLOTS: usize = 1024;
/// Slots, one behind the other, that one kind may have.
pub const DROP_WAYS: usize = 4;

/// Room to count drops on one CPU, from when it was empty to when it is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropBank {
    /// By [`DropKey::slot`].
    pub slots: [DropSlot; DROP_SLOTS],
}

impl DropBank {
    /// Nothing counted.
    pub const EMPTY: Self =
        Self { slots: [DropSlot { packets: 0, key: DropKey { ifindex: 0, reason: 0 } }; DROP_SLOTS] };

    /// Counts one. False where all slots that it may have are others'.
    #[inline(always)]
    pub fn count(&mut self, key: &DropKey) -> bool {
        let first = key.slot();
        for way in 0..DROP_WAYS {
            let slot = &mut self.slots[(first + way) & (DROP_SLOTS - 1)];
            if slot.packets == 0 {
                // SAFETY: a place of this bank's own; others read it while it is written, so the order is kept.
                unsafe { (&raw mut slot.key).write_volatile(*key) };
            } else if slot.key != *key {
                continue;
            }
            // SAFETY: as above.
            unsafe { (&raw mut slot.packets).write_volatile(slot.packets + 1) };
            return true;
        }
        false
    }
}

impl DropKey {
    /// The first of its [`DROP_WAYS`] slots: by multiplication with the golden ratio (Knuth, The Art of Computer
    /// Programming 3, 6.4).
    #[inline(always)]
    #[must_use]
    pub const fn slot(&self) -> usize {
        let both = (self.ifindex as u64) << 32 | self.reason as u64;
        (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - DROP_SLOTS.ilog2())) as usize
    }
}

/// Bytes that are kept of a function's name, the NUL behind it among them.
pub const NAME_LEN: usize = 64;

/// Name of a kernel function, ended by a NUL; behind a space the name of its module.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionName {
    /// As `%ps` prints it.
    pub bytes: [u8; NAME_LEN],
}

/// What was found out about a network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// When.
    pub looked_ns: u64,
    /// 1: it has a link to the agent's own.
    pub reached: u32,
    /// Zero.
    pub _pad: u32,
}
