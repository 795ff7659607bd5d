//! Netlink messages and attributes as the kernel sends them, read without trust. Pure.
//!
//! netlink-packet-netfilter reads rules too, but refuses a whole message for one attribute that it does not expect, and
//! slices what it has not measured. Here a malformed attribute ends its list, and nothing else.

use netlink_packet_core::{NLA_HEADER_SIZE, NetlinkBuffer, NlasIterator};

/// A list of attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Takes the bytes of a list.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Number and value of each, up to the first that is malformed.
    pub(crate) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        NlasIterator::new(self.0).map_while(Result::ok).map(|attribute| {
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            (kind, attribute.into_inner().get(NLA_HEADER_SIZE..length).unwrap_or_default())
        })
    }

    /// The first of this number.
    pub(crate) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(other, _)| *other == kind).map(|(_, value)| value)
    }

    /// A list within.
    pub(crate) fn nested(self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self)
    }

    /// A number of four bytes, network order.
    pub(crate) fn number(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// A number of eight bytes, network order.
    pub(crate) fn long(self, kind: u16) -> Option<u64> {
        self.get(kind)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A text that ends with a zero.
    pub(crate) fn text(self, kind: u16) -> Option<String> {
        self.get(kind).map(text)
    }
}

/// Bytes up to the first zero as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Subsystem in the high byte (`NFNL_SUBSYS_*`), message in the low one.
    pub(crate) kind: u16,
    /// Which request it answers.
    pub(crate) sequence: u32,
    /// Without the header.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// What follows netfilter's own header (`struct nfgenmsg`), and that header's family.
    pub(crate) fn netfilter(&self) -> Option<(u8, Attributes<'a>)> {
        let (header, rest) = self.payload.split_first_chunk::<4>()?;
        Some((header[0], Attributes::new(rest)))
    }

    /// The errno of an acknowledgement (`NLMSG_ERROR`), 0 for success; none of any other message.
    pub(crate) fn errno(&self) -> Option<i32> {
        let code = self.payload.first_chunk().filter(|_| self.kind == ERROR)?;
        Some(i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// The messages of a datagram, up to the first that is malformed.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = usize::try_from(header.length()).ok()?;
        let payload = datagram.get(NETLINK_HEADER..length)?;
        let message = Message { kind: header.message_type(), sequence: header.sequence_number(), payload };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Length of `struct nlmsghdr`.
const NETLINK_HEADER: usize = 16;
