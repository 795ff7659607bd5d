//! Which nodes send a probe.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Which nodes send a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sources {
    /// Every node.
    #[default]
    All,
    /// These, by name.
    Only(Arc<BTreeSet<String>>),
    /// These, by name, while the same probe as others send it is expected to fail from here.
    Rest(Arc<BTreeSet<String>>),
}

impl Sources {
    /// Whether this node is among them.
    #[must_use]
    pub fn take(&self, node: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(nodes) | Self::Rest(nodes) => nodes.contains(node),
        }
    }

    /// Whether they are those from which the probe is expected to fail.
    #[must_use]
    pub const fn are_rest(&self) -> bool {
        matches!(self, Self::Rest(_))
    }
}

impl FromIterator<String> for Sources {
    fn from_iter<I: IntoIterator<Item = String>>(nodes: I) -> Self {
        Self::Only(Arc::new(nodes.into_iter().collect()))
    }
}
