//! What did what happened at a loss location: an object on a node, as its agent found it. Pure data.

use super::location::Certainty;

/// What kind of object did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CulpritKind {
    /// One that only newer agents know.
    #[default]
    Unknown,
    /// Nobody knows; the text says why.
    Untold,
    /// A rule of nftables, or of iptables that is kept there.
    FilterRule,
    /// The policy of a base chain: no rule took the packet.
    FilterPolicy,
    /// iptables that is not kept in nftables.
    FilterLegacy,
    /// A route, or that there is none.
    Route,
    /// A rule of the routing policy database.
    RoutingRule,
    /// A sysctl.
    Sysctl,
    /// A tc, tcx or XDP program.
    Program,
    /// A queue.
    Queue,
    /// The table of connection tracking.
    Conntrack,
    /// A neighbour entry.
    Neighbour,
    /// An interface.
    Interface,
    /// A socket.
    Socket,
    /// A policy of IPsec.
    IpsecPolicy,
}

/// Where a rule is, in nft's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterRule {
    /// `ip`, `ip6`, `inet`, `bridge`, `netdev`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its chain.
    pub chain: String,
    /// 0: the chain's policy.
    pub handle: u64,
}

/// An object on a node that did it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Culprit {
    /// The node.
    pub node: String,
    /// What kind of object it is.
    pub kind: CulpritKind,
    /// One line for people: `rule with handle 12 of chain forward in table inet filter`.
    pub object: String,
    /// The object in its tool's own words.
    pub text: String,
    /// What its owner wrote beside it.
    pub comment: String,
    /// Whose it looks like; empty where that is not known.
    pub owner: String,
    /// The command, run on the node, that shows it.
    pub see: String,
    /// What would mend it: a command or a hint.
    pub mend: String,
    /// Observed where a kernel named it for a probe, inferred where it was read and fits; none where it was not found.
    pub certainty: Option<Certainty>,
    /// For rules and policies of nftables.
    pub rule: Option<FilterRule>,
    /// When it was found, unix nanoseconds.
    pub found_ns: Option<i64>,
    /// It shows what happened and not why: whatever else is found says more.
    pub symptom: bool,
}

impl Culprit {
    /// Whether it is none: nobody knows what did it.
    #[must_use]
    pub fn is_untold(&self) -> bool {
        self.kind == CulpritKind::Untold
    }
}
