//! A probe from its departure to its end: what was sent, how it ended, and what is known of why. Plain data. Times are
//! CLOCK_MONOTONIC of this node, in nanoseconds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_common::domain::{Family, Outcome, ProbeKind, Vantage};
use netcheck_common::header::{HEADER_LEN, ProbeHeader};
use netcheck_proto::v1;
use rustix::io::Errno;

use crate::model::observation::{ProbeKey, Reflected};

/// What a probe is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A sample of its path.
    Ordinary,
    /// To see whether packets of so many bytes pass, IP header included.
    Size(u16),
    /// To see whether a new flow passes: of ICMP and UDP, whose ordinary probes go on in old ones.
    NewFlow,
}

/// A probe as the engine sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) key: ProbeKey,
    pub(crate) vantage: Vantage,
    /// The probers' own number for the sockets that it left from.
    pub(crate) socket_set: u32,
    pub(crate) kind: ProbeKind,
    /// Port 0 for ICMP.
    pub(crate) target: SocketAddr,
    /// Whether kernel hooks watch it.
    pub(crate) watched: bool,
    /// The prober's own number for it, or of the socket that it left from; 0 where it needs none.
    pub(crate) slot: u32,
    /// How long its answer is waited for; 0: as long as all others'.
    pub(crate) timeout_ns: u64,
    pub(crate) purpose: Purpose,
}

impl Probe {
    /// The whole IP packet, where its size is what is tried: then it is no sample of its path. Else 0.
    pub(crate) const fn size_bytes(&self) -> u16 {
        match self.purpose {
            Purpose::Size(bytes) => bytes,
            Purpose::Ordinary | Purpose::NewFlow => 0,
        }
    }

    /// It has a flow of its own beside the ordinary ones.
    pub(crate) const fn is_new_flow(&self) -> bool {
        matches!(self.purpose, Purpose::NewFlow)
    }

    pub(crate) const fn family(&self) -> Family {
        Family::of(self.target.ip())
    }

    /// It is an exchange over TCP, with a timeout of its own. It counts in the window in which it ends, for others are
    /// not to wait for it.
    pub(crate) const fn is_exchange(&self) -> bool {
        self.timeout_ns != 0
    }
}

/// When user space learnt of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It was read at this time.
    pub(crate) at_ns: u64,
    /// It had not been there at this time: the last reading before.
    pub(crate) since_ns: u64,
    /// The reader slept until this very packet woke it, so that `at_ns` is a measurement (t5).
    pub(crate) prompt: bool,
}

/// How long the parts of an exchange over TCP took, one after the other; `None` for what there was none of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepTimes {
    /// Looking the server's name up.
    pub(crate) dns_ns: Option<u64>,
    pub(crate) connect_ns: Option<u64>,
    pub(crate) tls_ns: Option<u64>,
    /// From the request to the head of the answer.
    pub(crate) first_byte_ns: Option<u64>,
    /// From the first packet of all to the end of the answer.
    pub(crate) total_ns: u64,
}

/// How a probe ended, as far as user space knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// An answer, with what the destination's kernel wrote into it.
    Reply { seen: Seen, reflected: Option<Reflected> },
    /// The answer to an exchange over TCP, in time, and when the server's certificate expires (unix seconds).
    Exchanged { steps: StepTimes, not_after: Option<i64> },
    /// Something else than the answer.
    Failed { outcome: Outcome, detail: Detail },
    /// The agent itself could not send it: nothing is known of the network.
    OwnFault { detail: Detail },
}

/// An ICMP or ICMPv6 error about a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IcmpSeen {
    /// Who sent it.
    pub(crate) from: IpAddr,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// For "too big" errors: what the next hop takes; 0: not said.
    pub(crate) mtu_bytes: u32,
}

/// What is known of why a probe did not end with a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Detail {
    pub(crate) errno: Option<Errno>,
    pub(crate) icmp: Option<IcmpSeen>,
    pub(crate) rcode: Option<Arc<str>>,
    pub(crate) exchange: Option<Box<ExchangeSeen>>,
}

/// How far an exchange over TCP came, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExchangeSeen {
    pub(crate) step: v1::ExchangeStep,
    /// 0 where there was none.
    pub(crate) status: u16,
    pub(crate) tls: Option<Trouble>,
    /// Why it broke off, in a few words; empty where it did not.
    pub(crate) broke: &'static str,
    /// All that was sent was acknowledged.
    pub(crate) acknowledged: bool,
    /// How long the last step was waited for.
    pub(crate) waited_ns: u64,
    /// When the server's certificate expires, unix seconds.
    pub(crate) not_after: Option<i64>,
    /// The timer that ended it was late itself.
    pub(crate) late: bool,
    /// Where the server's name was looked up: the address that it has.
    pub(crate) resolved: Option<IpAddr>,
    /// Where the server's name was looked up: who was asked last.
    pub(crate) resolver: Option<IpAddr>,
    /// The answer to the same question over UDP was truncated.
    pub(crate) truncated: bool,
}

/// The name of an errno, as in `EHOSTUNREACH`.
pub(crate) fn errno_name(errno: Errno) -> String {
    let name = match errno {
        Errno::ACCESS => "EACCES",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::AGAIN => "EAGAIN",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::HOSTDOWN => "EHOSTDOWN",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::MFILE => "EMFILE",
        Errno::MSGSIZE => "EMSGSIZE",
        Errno::NETDOWN => "ENETDOWN",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::NFILE => "ENFILE",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NODEV => "ENODEV",
        Errno::NOMEM => "ENOMEM",
        Errno::NOPROTOOPT => "ENOPROTOOPT",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::PERM => "EPERM",
        Errno::PROTO => "EPROTO",
        Errno::TIMEDOUT => "ETIMEDOUT",
        other => return format!("errno {}", other.raw_os_error()),
    };
    name.to_owned()
}

/// What is wrong, in a few words that stay the same, and more of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) what: &'static str,
    pub(crate) more: String,
}

impl Trouble {
    pub(crate) fn new(what: &'static str, more: impl Into<String>) -> Self {
        Self { what, more: more.into() }
    }
}

/// The packet that an error quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quoted {
    /// ICMP, UDP or TCP.
    pub(crate) transport: ProbeKind,
    /// Where it was going; port 0 for ICMP.
    pub(crate) to: SocketAddr,
    /// Its source port, or its ICMP identifier.
    pub(crate) from_port: u16,
    /// Its ICMP sequence.
    pub(crate) icmp_sequence: u16,
    /// Its probe header, where enough was quoted.
    pub(crate) header: Option<ProbeHeader>,
}

/// One query of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The whole name.
    pub(crate) name: String,
    /// `NXDOMAIN`, `timeout`; empty for the answer.
    pub(crate) answer: String,
}

/// How a name was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Searched {
    pub(crate) name: String,
    /// Who was asked; none where the file names nobody.
    pub(crate) server: Option<IpAddr>,
    pub(crate) ndots: usize,
    /// In the order in which they were asked. The last one was answered, or none.
    pub(crate) steps: Vec<Step>,
}

/// Why a sample can't be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StarvationReason {
    /// A turn of the engine's loop came late or was slow.
    Late,
    /// A cgroup's CPU quota was used up.
    Throttled,
    /// The hypervisor ran others on this machine's CPUs.
    Stolen,
    /// Others ran while the engine's thread could have.
    Queued,
    /// The agent could not send it for want of something of its own: memory, descriptors, ports.
    OwnFault,
}

impl StarvationReason {
    pub(crate) const ALL: [Self; 5] =
        [Self::Late, Self::Throttled, Self::Stolen, Self::Queued, Self::OwnFault];

    /// Its name in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Throttled => "throttled",
            Self::Stolen => "steal",
            Self::Queued => "run_queue",
            Self::OwnFault => "own_fault",
        }
    }
}

/// What comes before the payload of an ICMP or UDP probe: IP header without options, and 8 bytes.
#[must_use]
pub(crate) const fn overhead_bytes(family: Family) -> u16 {
    match family {
        Family::V4 => 20 + 8,
        Family::V6 => 40 + 8,
    }
}

/// Finds the probe header at the start of a payload.
pub(crate) fn header_of(payload: &[u8]) -> Option<ProbeHeader> {
    payload.first_chunk::<HEADER_LEN>().and_then(ProbeHeader::from_bytes)
}
