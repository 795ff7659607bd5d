//! Why a packet was dropped, as far as decisions hang on it. The name is the kernel's own (`enum skb_drop_reason`,
//! include/net/dropreason-core.h), an errno that a sender got, or a conclusion of ours. Pure.

pub use netcheck_common::domain::{NO_ENDPOINT, OTHER_SOURCE, READDRESSED, UNTRANSLATED};

/// The name of a conclusion: the packet came back to the node that had sent it to another.
pub const ROUTING_LOOP: &str = "routing loop";

/// A drop reason, read from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason<'a> {
    /// Nobody named one.
    None,
    /// The kernel dropped it at a place that names no reason.
    NotSpecified,
    /// Nobody has a socket for it.
    NoSocket,
    /// It bears another's hardware address.
    OtherHost,
    /// A hook of netfilter dropped it.
    NetfilterDrop,
    /// The segment reset its connection: it was taken.
    TcpReset,
    /// The segment does not fit what its connection has come to: a retransmission of what did arrive.
    OutOfStep,
    /// The next hop's hardware address is not known.
    Neighbour,
    /// The routing table has no way for it.
    NoRoute,
    /// It came in with an address of this node as its source.
    LocalSource,
    /// Its header is broken, or its time to live ran out.
    BadHeader,
    /// What the kernel answered the sender: `EHOSTUNREACH`.
    Errno(&'a str),
    /// See [`ROUTING_LOOP`].
    RoutingLoop,
    /// Any other. It says why.
    Other(&'a str),
}

impl<'a> DropReason<'a> {
    /// Reads a name.
    #[must_use]
    pub fn of(name: &'a str) -> Self {
        match name {
            "" => Self::None,
            "NOT_SPECIFIED" => Self::NotSpecified,
            "NO_SOCKET" => Self::NoSocket,
            "OTHERHOST" => Self::OtherHost,
            "NETFILTER_DROP" => Self::NetfilterDrop,
            "TCP_RESET" => Self::TcpReset,
            "TCP_OVERWINDOW"
            | "TCP_OLD_SEQUENCE"
            | "TCP_OLD_DATA"
            | "TCP_OLD_ACK"
            | "TCP_OLD_SYN"
            | "TCP_INVALID_SEQUENCE"
            | "TCP_INVALID_ACK_SEQUENCE" => Self::OutOfStep,
            "IP_OUTNOROUTES" | "IP_INNOROUTES" => Self::NoRoute,
            "IP_LOCAL_SOURCE" => Self::LocalSource,
            "IP_INHDR" => Self::BadHeader,
            ROUTING_LOOP => Self::RoutingLoop,
            name if name.contains("NEIGH") => Self::Neighbour,
            name if name.starts_with('E') && !name.contains('_') => Self::Errno(name),
            name => Self::Other(name),
        }
    }

    /// It says that a packet was dropped, and not why.
    #[must_use]
    pub const fn says_nothing(self) -> bool {
        matches!(self, Self::None | Self::NotSpecified | Self::NoSocket | Self::OtherHost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_few_reasons_say_nothing() {
        for name in ["", "NOT_SPECIFIED", "NO_SOCKET", "OTHERHOST"] {
            assert!(DropReason::of(name).says_nothing(), "{name}");
        }
        for (name, reason) in [
            ("NETFILTER_DROP", DropReason::NetfilterDrop),
            ("NEIGH_FAILED", DropReason::Neighbour),
            ("TCP_OLD_DATA", DropReason::OutOfStep),
            ("EHOSTUNREACH", DropReason::Errno("EHOSTUNREACH")),
            ("routing loop", DropReason::RoutingLoop),
            ("QDISC_DROP", DropReason::Other("QDISC_DROP")),
            ("unknown(99)", DropReason::Other("unknown(99)")),
        ] {
            assert_eq!(DropReason::of(name), reason);
            assert!(!reason.says_nothing(), "{name}");
        }
    }
}
