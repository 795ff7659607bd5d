//! An incident as it is sent to receivers. Pure data; what is text is for people, what is a list is bounded by who
//! makes it.

use serde::{Deserialize, Serialize};

/// What did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Culprit {
    /// On which node.
    pub node: String,
    /// The object in words: `rule with handle 7 of chain input in table inet filter`.
    pub object: String,
    /// Whose it looks like; empty where that is not known.
    pub owner: String,
    /// The command, run on that node, that shows it.
    pub see: String,
    /// What would mend it.
    pub mend: String,
}

/// A Kubernetes object that an incident blames.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// `Node`, `Service`.
    pub kind: String,
    /// Its namespace; empty for nodes.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An incident that is open or was. Times are unix nanoseconds on the hub's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The incident's id: the same as long as it lasts, also over restarts of the hub.
    pub id: String,
    /// What kind of thing is broken, in the words of `netcheck_incidents_open`: `node`, `dns_server`.
    pub kind: String,
    /// `unreachable` or `degraded`: the worst of its paths.
    pub verdict: String,
    /// `observed` or `inferred`.
    pub certainty: String,
    /// One line, cause first. May change with every path that joins.
    pub headline: String,
    /// Names the cause: the same in every evaluation, and after a restart.
    pub cause: String,
    /// What is broken and for whom, one line.
    pub broken: String,
    /// Which object at which place, one line.
    pub place: String,
    /// What to type next, and where.
    pub command: String,
    /// What did it, as far as agents could find out.
    pub culprits: Vec<Culprit>,
    /// The arithmetic first, then facts, one line each.
    pub evidence: Vec<String>,
    /// Bad paths that it explains.
    pub paths: u64,
    /// Nodes that these come from; some of them where there are many.
    pub sources: Vec<String>,
    /// What they go to; some of them where there are many.
    pub targets: Vec<String>,
    /// The object that it blames, where it blames one.
    pub blames: Option<Object>,
    /// When the first probe that it explains was lost.
    pub first_seen_ns: i64,
    /// The same of the newest.
    pub last_seen_ns: i64,
    /// When it opened.
    pub opened_ns: i64,
    /// When it closed; none while it is open.
    pub closed_ns: Option<i64>,
    /// Closed because another incident explains all of it: that one's id.
    pub merged_into: Option<String>,
}

impl Notice {
    /// The cause, as far as a receiver wants to hear of a change: what is blamed and how bad it is. Numbers of paths, the
    /// list of those who suffer and the newest loss change all the time and are left out.
    #[must_use]
    pub fn essence(&self) -> String {
        let culprits = self.culprits.iter().flat_map(|culprit| [&*culprit.node, &*culprit.object]);
        let parts = [&*self.kind, &*self.cause, &*self.verdict].into_iter().chain(culprits);
        parts.collect::<Vec<_>>().join("\u{1f}")
    }

    /// It is not over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_ns.is_none()
    }
}
