//! The words of the field as types: what is probed, from where, and how it ended.

use std::fmt;
use std::net::IpAddr;

/// The reason of a loss that the hub concludes and agents act on: the packet left its node under a service's own address, which
/// that node was to translate.
pub const UNTRANSLATED: &str = "not translated";

/// The same: somebody on the way gave the packet an address of its own, which the other end knows nothing of.
pub const READDRESSED: &str = "sent on under its own address";

/// The same: the target answered, and not from the address that was asked.
pub const OTHER_SOURCE: &str = "answered from another address";

/// What an agent is asked for alone: its node made an address of a service's that is none of the service's endpoints.
pub const NO_ENDPOINT: &str = "sent on to what is no endpoint of the service";

/// Number of a path in one agent's plan; given by the hub, never reused while both live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

/// Number of a probe on its path. Starts at 1 with each start of the agent and wraps after 2³² probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u32);

/// Random number that an agent puts in its probe headers; new with each start of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeSession(pub u64);

/// Where a probe starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vantage {
    /// The node's own network namespace.
    Host,
    /// A pod's network namespace on that node.
    Pod,
}

/// One kind of packet exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// ICMP or ICMPv6 echo.
    Icmp,
    /// A UDP datagram to a netcheck responder.
    Udp,
    /// A TCP handshake.
    Tcp,
    /// A DNS query over UDP, TCP or TLS.
    Dns,
    /// An HTTP GET.
    Http,
}

impl ProbeKind {
    /// All kinds, in the order in which tables show them.
    pub const ALL: [Self; 5] = [Self::Icmp, Self::Udp, Self::Tcp, Self::Dns, Self::Http];

    /// Whether its packets carry netcheck's header, so that a destination's kernel can reflect them.
    #[must_use]
    pub const fn carries_header(self) -> bool {
        match self {
            Self::Icmp | Self::Udp => true,
            Self::Tcp | Self::Dns | Self::Http => false,
        }
    }

    /// Whether it is sent to a port.
    #[must_use]
    pub const fn has_port(self) -> bool {
        match self {
            Self::Icmp => false,
            Self::Udp | Self::Tcp | Self::Dns | Self::Http => true,
        }
    }
}

/// Address family of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address. An IPv4-mapped IPv6 address is IPv6 here: it is what is on the wire that counts.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The expected answer came back in time.
    Reply,
    /// Nothing came back before the deadline.
    Timeout,
    /// The target's own stack said no: TCP RST or ICMP port unreachable.
    Refused,
    /// A router or host said that it can't be reached: other ICMP errors.
    Unreachable,
    /// A DNS server answered, and not with what was asked for.
    DnsError,
    /// The kernel of the source refused to send it.
    SendError,
    /// A server was reached over TCP, and did not give the expected answer: another status, a certificate that is no
    /// good, a connection that it closed.
    HttpError,
}

impl Outcome {
    /// Everything but [`Outcome::Reply`], in the order of [`crate::window::PathWindow::failed`].
    pub const FAILURES: [Self; 6] =
        [Self::Timeout, Self::Refused, Self::Unreachable, Self::DnsError, Self::SendError, Self::HttpError];

    /// Index in [`Outcome::FAILURES`]; none for a reply.
    #[must_use]
    pub fn failure_index(self) -> Option<usize> {
        Self::FAILURES.iter().position(|&failure| failure == self)
    }
}

macro_rules! display_as {
    ($type:ty { $($variant:path => $text:literal),+ $(,)? }) => {
        impl $type {
            /// The word for it in tables, labels and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($variant => $text),+ }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

display_as!(Vantage { Self::Host => "host", Self::Pod => "pod" });
display_as!(Family { Self::V4 => "ipv4", Self::V6 => "ipv6" });
display_as!(ProbeKind {
    Self::Icmp => "icmp", Self::Udp => "udp", Self::Tcp => "tcp", Self::Dns => "dns", Self::Http => "http",
});
display_as!(Outcome {
    Self::Reply => "reply",
    Self::Timeout => "timeout",
    Self::Refused => "refused",
    Self::Unreachable => "unreachable",
    Self::DnsError => "dns_error",
    Self::SendError => "send_error",
    Self::HttpError => "http_error",
});
