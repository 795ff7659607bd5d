//! The probe header: the first bytes of the payload of netcheck's ICMP and UDP probes.
//!
//! ```text
//!  0  magic                 8 bytes
//!  8  version               u8
//!  9  flags                 u8      bit 0: the destination's kernel has written what follows at 32
//!                                   bit 1: a netcheck responder sent it back
//! 10  reserved              u16     0
//! 12  source node           u32     index that the hub gave; 0 where it has not
//! 16  session               u64     random, new with each start of the source's agent
//! 24  path                  u32     of the source's plan
//! 28  sequence              u32     of the path; begins anywhere, never 0
//! 32  t2                    u64     ns, clock of the destination; 0: not known
//! 40  t3                    u64     ns, same clock; 0: not known
//! 48  requests              u64     of this session and path that had arrived, duplicates included
//! 56  arrived               u64     bit i: request (sequence - i) had arrived
//! ```
//!
//! Numbers are big-endian. A target's own kernel (ICMP) or responder (UDP) sends the payload back as it came; the
//! destination node's egress hook fills the second half on the way out. The direction is given by the ICMP type, or
//! for UDP by the bit that the responder sets.

/// First bytes of every probe header.
pub const MAGIC: [u8; 8] = *b"\xb7netchk\x01";
/// The version that this code writes and the only one that it understands.
pub const VERSION: u8 = 1;
/// Length of the header.
pub const HEADER_LEN: usize = 64;
/// [`ProbeHeader::flags`]: the destination's kernel wrote t2, t3, requests and arrived.
pub const FLAG_REFLECTED: u8 = 1;
/// [`ProbeHeader::flags`]: a responder sent it back (UDP; an echo's direction is in the ICMP type).
pub const FLAG_REPLY: u8 = 2;
/// Where the part that the destination writes begins.
pub const REFLECTED_OFFSET: usize = 32;
/// Length of the part that the destination writes.
pub const REFLECTED_LEN: usize = 32;
/// Where the flags stand, on an even offset together with the version before them.
pub const VERSION_FLAGS_OFFSET: usize = 8;
/// TCP and UDP port of netcheck's responder, by default.
pub const DEFAULT_RESPONDER_PORT: u16 = 6100;

/// A probe header, in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeHeader {
    /// [`FLAG_REFLECTED`], [`FLAG_REPLY`].
    pub flags: u8,
    /// Index that the hub gave to the source node.
    pub source_node: u32,
    /// Random number of the source's agent.
    pub session: u64,
    /// Path of the source's plan.
    pub path: u32,
    /// Number on that path.
    pub sequence: u32,
    /// Request at the destination's ingress, ns, the destination's clock; 0: not known.
    pub t2_ns: u64,
    /// Reply at the destination's egress, ns, the destination's clock; 0: not known.
    pub t3_ns: u64,
    /// Requests of this session and path that had arrived, duplicates included.
    pub requests: u64,
    /// Bit i: request (sequence − i) had arrived.
    pub arrived: u64,
}

impl ProbeHeader {
    /// Writes it in wire order.
    #[must_use]
    #[inline(always)]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = VERSION;
        bytes[9] = self.flags;
        bytes[12..16].copy_from_slice(&self.source_node.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.session.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.path.to_be_bytes());
        bytes[28..32].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.t2_ns.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.t3_ns.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.requests.to_be_bytes());
        bytes[56..64].copy_from_slice(&self.arrived.to_be_bytes());
        bytes
    }

    /// Reads it from wire order. None unless magic and version are ours.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let view = HeaderView(bytes);
        view.is_ours().then(|| Self {
            flags: view.flags(),
            source_node: view.source_node(),
            session: view.session(),
            path: view.path(),
            sequence: view.sequence(),
            t2_ns: view.t2_ns(),
            t3_ns: view.t3_ns(),
            requests: view.requests(),
            arrived: view.arrived(),
        })
    }

    /// Whether the destination's kernel has written its part.
    #[must_use]
    pub const fn reflected(&self) -> bool {
        self.flags & FLAG_REFLECTED != 0
    }
}

/// A header in wire order, read field by field where it lies: the kernel's stack has no room for a copy.
#[derive(Clone, Copy)]
pub struct HeaderView<'a>(pub &'a [u8; HEADER_LEN]);

impl HeaderView<'_> {
    /// Whether it starts with our magic.
    #[must_use]
    #[inline(always)]
    pub fn has_magic(&self) -> bool {
        self.u64_at(0) == u64::from_be_bytes(MAGIC)
    }

    /// Whether magic and version are ours.
    #[must_use]
    #[inline(always)]
    pub fn is_ours(&self) -> bool {
        self.has_magic() && self.0[8] == VERSION
    }

    #[inline(always)]
    fn u32_at(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    #[inline(always)]
    fn u64_at(&self, at: usize) -> u64 {
        u64::from(self.u32_at(at)) << 32 | u64::from(self.u32_at(at + 4))
    }
}

macro_rules! fields {
    ($($field:ident: $type:ident = $read:ident($at:literal)),+ $(,)?) => {
        impl HeaderView<'_> {$(
            #[doc = concat!("[`ProbeHeader::", stringify!($field), "`].")]
            #[must_use]
            #[inline(always)]
            pub fn $field(&self) -> $type {
                self.$read($at)
            }
        )+}
    };
}

fields! {
    source_node: u32 = u32_at(12),
    session: u64 = u64_at(16),
    path: u32 = u32_at(24),
    sequence: u32 = u32_at(28),
    t2_ns: u64 = u64_at(32),
    t3_ns: u64 = u64_at(40),
    requests: u64 = u64_at(48),
    arrived: u64 = u64_at(56),
}

impl HeaderView<'_> {
    /// [`ProbeHeader::flags`].
    #[must_use]
    #[inline(always)]
    pub fn flags(&self) -> u8 {
        self.0[9]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(flags: u8, source_node: u32, session: u64, path: u32, sequence: u32,
                      t2_ns: u64, t3_ns: u64, requests: u64, arrived: u64) {
            let header = ProbeHeader { flags, source_node, session, path, sequence, t2_ns, t3_ns, requests, arrived };
            prop_assert_eq!(ProbeHeader::from_bytes(&header.to_bytes()), Some(header));
        }

        #[test]
        fn one_wrong_byte_of_magic_or_version_is_not_ours(at in 0usize..9, with: u8) {
            let mut bytes = ProbeHeader::default().to_bytes();
            prop_assume!(bytes[at] != with);
            bytes[at] = with;
            prop_assert_eq!(ProbeHeader::from_bytes(&bytes), None);
        }
    }
}
