//! What the merge hands on: finished windows and what is known of lost probes. Times are CLOCK_MONOTONIC.

use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{Outcome, PathId, Sequence};
use netcheck_common::window::PathWindow;
use netcheck_proto::v1;
use rustix::io::Errno;

use crate::measure::backends::BackendSeen;
use crate::measure::ports::PortsSeen;
use crate::measure::sizes::SizesSeen;
use crate::model::observation::{DropCount, DropSeen, Flow, Hook, ProbeKey};
use crate::probe::exchange::search::Searched;
use crate::probe::exchange::tls::Trouble;

/// All windows of one span of time, complete: every probe sent in it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedWindow {
    pub(crate) start_ns: u64,
    pub(crate) duration_ns: u64,
    /// Ascending by path, each path once.
    pub(crate) paths: Vec<PathWindow>,
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
    /// Where the server's name was looked up: the address that it has, and who was asked last.
    pub(crate) resolved: Option<IpAddr>,
    /// See above.
    pub(crate) resolver: Option<IpAddr>,
    /// The answer to the same question over UDP was truncated.
    pub(crate) truncated: bool,
}

/// A probe that did not end with a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) probe: ProbeKey,
    pub(crate) sent_ns: u64,
    pub(crate) outcome: Outcome,
    pub(crate) suspect: bool,
    /// In the order in which they saw it.
    pub(crate) request_hooks: Vec<Hook>,
    pub(crate) reply_hooks: Vec<Hook>,
    pub(crate) detail: Detail,
    /// As it left the node, after translation.
    pub(crate) flow: Option<Flow>,
    /// No kernel hooks watched this probe.
    pub(crate) unwatched: bool,
    /// The whole IP packet, where its size was tried; else 0.
    pub(crate) size_bytes: u16,
}

/// What later replies told of a lost probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArrivalSeen {
    pub(crate) path: PathId,
    pub(crate) sequence: Sequence,
    pub(crate) arrived: bool,
    /// Its own reply came, after the deadline.
    pub(crate) late: bool,
}

/// Everything since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) windows: Vec<ClosedWindow>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) arrivals: Vec<ArrivalSeen>,
    pub(crate) drops: Vec<DropSeen>,
    /// Packets since the last report, not since the start.
    pub(crate) drop_counts: Vec<DropCount>,
    /// Paths whose sizes were measured anew.
    pub(crate) sizes: Vec<SizesSeen>,
    /// Paths of which some source ports lose everything, or did until now.
    pub(crate) ports: Vec<PortsSeen>,
    /// Who got the probes of paths whose address is translated.
    pub(crate) backends: Vec<BackendSeen>,
    /// How short names were looked up.
    pub(crate) searches: Vec<Searched>,
}

impl Report {
    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.windows.is_empty()
            && self.lost.is_empty()
            && self.arrivals.is_empty()
            && self.drops.is_empty()
            && self.drop_counts.is_empty()
            && self.sizes.is_empty()
            && self.ports.is_empty()
            && self.backends.is_empty()
            && self.searches.is_empty()
    }
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
