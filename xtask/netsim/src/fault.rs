//! Faults with known truth: what is broken, for which packets, and what the kernels that meet it say.

use netcheck_causes::{Answer, Component, Heading, Pattern, Role, Stage};

/// One thing that is broken.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What it is called in the table of scores.
    pub kind: &'static str,
    /// What is broken.
    pub component: Component,
    /// Which way.
    pub heading: Heading,
    /// For which packets.
    pub pattern: Pattern,
    /// What is said of a packet that it loses.
    pub manner: Manner,
    /// The share of packets (of source ports, where it loses some of these) that it loses.
    pub rate: f64,
    /// It has begun within the seconds that are looked at: the share of probes that were answered before.
    pub before: f64,
}

/// What is said of a packet that a fault loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Nothing: it is gone.
    Silent,
    /// The kernel where it is lost reports it.
    Dropped(Report),
    /// The kernel of the node that it was sent to reports it: what comes out of a tunnel and fits nothing there.
    AtReceiver(Report),
    /// It is sent on to somewhere else: the last that sees it is the node that translated it.
    Strays,
    /// It is sent on to an endpoint that is gone: the node that had it finds nobody.
    Gone,
    /// Somebody answers.
    Answered(Answer),
    /// The source's kernel refuses to send it; where it is a reply, its kernel drops it.
    NotSent(&'static str),
}

/// A kernel's report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Where in the packet's path; on the way out of a stack.
    pub out: Stage,
    /// The same on the way in.
    pub into: Stage,
    /// The interface.
    pub role: Option<Role>,
    /// `enum skb_drop_reason` (include/net/dropreason-core.h).
    pub reason: &'static str,
    /// Kernel functions that it may be reported by.
    pub functions: [&'static str; 2],
}

/// A rule of netfilter in a host's or pod's own chains.
pub const RULE: Report = Report {
    out: Stage::NetfilterOutput,
    into: Stage::NetfilterInput,
    role: None,
    reason: "NETFILTER_DROP",
    functions: ["nf_hook_slow", "nft_do_chain"],
};

/// A rule of netfilter in the forward chain.
pub const FORWARD_RULE: Report =
    Report { out: Stage::NetfilterForward, into: Stage::NetfilterForward, ..RULE };

/// A rule ahead of routing.
pub const PREROUTING_RULE: Report =
    Report { out: Stage::NetfilterPrerouting, into: Stage::NetfilterPrerouting, ..RULE };

/// A rule of netfilter in the bridge family.
pub const BRIDGE_RULE: Report =
    Report { out: Stage::Bridge, into: Stage::Bridge, role: Some(Role::PodLink), ..RULE };

/// No route, or one that says so.
pub const ROUTE: Report = Report {
    out: Stage::Routing,
    into: Stage::Routing,
    role: None,
    reason: "IP_INNOROUTES",
    functions: ["ip_error", "dst_discard"],
};

/// A source address that should not come this way.
pub const RP_FILTER: Report =
    Report { reason: "IP_RPFILTER", functions: ["ip_rcv_finish_core", "ip_rcv_finish_core"], ..ROUTE };

/// A next hop that does not answer.
pub const NEIGHBOUR: Report = Report {
    out: Stage::Neighbour,
    into: Stage::Neighbour,
    role: None,
    reason: "NEIGH_FAILED",
    functions: ["neigh_invalidate", "__neigh_event_send"],
};

/// A queue of an interface is full.
pub const fn queue(role: Role) -> Report {
    Report {
        out: Stage::Qdisc,
        into: Stage::Qdisc,
        role: Some(role),
        reason: "QDISC_DROP",
        functions: ["__dev_xmit_skb", "tbf_enqueue"],
    }
}

/// A program on an interface.
pub const fn program(role: Role) -> Report {
    Report {
        out: Stage::Egress,
        into: Stage::Ingress,
        role: Some(role),
        reason: "TC_EGRESS",
        functions: ["sch_handle_egress", "tcf_classify"],
    }
}

/// A packet larger than an interface takes.
pub const fn too_big(role: Role) -> Report {
    Report {
        out: Stage::Egress,
        into: Stage::Egress,
        role: Some(role),
        reason: "PKT_TOO_BIG",
        functions: ["ip_forward", "ip6_forward"],
    }
}

/// A tunnel's number that the receiver does not know.
pub const VNI: Report = Report {
    out: Stage::Ingress,
    into: Stage::Ingress,
    role: Some(Role::Uplink),
    reason: "VXLAN_VNI_NOT_FOUND",
    functions: ["vxlan_rcv", "vxlan_rcv"],
};

/// A tunnel's port on which the receiver has no socket: a record that healthy work has, too.
pub const NO_TUNNEL_SOCKET: Report = Report {
    out: Stage::Socket,
    into: Stage::Socket,
    role: None,
    reason: "NO_SOCKET",
    functions: ["__udp4_lib_rcv", "__udp6_lib_rcv"],
};

/// A full queue of connections.
pub const BACKLOG: Report = Report {
    out: Stage::Socket,
    into: Stage::Socket,
    role: None,
    reason: "LISTENOVERFLOWS",
    functions: ["tcp_conn_request", "tcp_v4_syn_recv_sock"],
};

/// A table of connections or of ports is full.
pub const CONNTRACK: Report = Report {
    out: Stage::NetfilterPrerouting,
    into: Stage::NetfilterPrerouting,
    role: None,
    reason: "NETFILTER_DROP",
    functions: ["nf_hook_slow", "nf_conntrack_in"],
};
