//! Which nodes' hooks are known to see packets of which secondary network of pods.
//!
//! A pod's interface there need not end at a link of its node that has hooks: a virtual function of a network card goes
//! past the node's kernel. So that nobody saw a packet means something only where packets of that network were seen. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use netcheck_common::window::PathWindow;

use crate::plan::Target;

/// Node and network, and whether it is about what stays inside of the node: that goes another way than what leaves it.
#[derive(Clone, Debug, Default)]
pub struct SeenNetworks(BTreeSet<(String, Arc<str>, bool)>);

impl SeenNetworks {
    /// Takes note of what a window of a path to `target` from `source` shows: that hooks of the source timed its packets
    /// on their way out and in, and that the target's kernel wrote its own times into replies.
    pub fn learn(&mut self, source: &str, target: &Target, window: &PathWindow) {
        let Some(network) = target.network() else { return };
        let inside = *source == *target.node;
        for (node, seen) in
            [(source, !window.network.is_empty()), (&target.node, !window.responder.is_empty())]
        {
            if seen && !self.sees(node, network, inside) {
                self.0.insert((node.to_owned(), network.into(), inside));
            }
        }
    }

    /// Whether a node's hooks see this network's packets, those that leave the node or those that stay inside of it, as far
    /// as that is known.
    #[must_use]
    pub fn sees(&self, node: &str, network: &str, inside: bool) -> bool {
        self.0.contains(&(node.to_owned(), network.into(), inside))
    }

    /// Forgets a node.
    pub fn forget(&mut self, node: &str) {
        self.0.retain(|(of, ..)| of != node);
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::domain::PathId;

    use super::*;
    use crate::model::target::TargetKind;

    fn target(id: &str) -> Target {
        Target {
            id: id.into(),
            kind: TargetKind::Pod,
            namespace: "default".into(),
            name: "db-1".into(),
            node: "n2".into(),
            ..Target::default()
        }
    }

    #[test]
    fn what_was_timed_was_seen() {
        let mut seen_networks = SeenNetworks::default();
        let mut window = PathWindow::empty(PathId(1));
        let (secondary, own) = (target("pod/default/db-1@a/storage"), target("pod/default/db-1"));
        seen_networks.learn("n1", &secondary, &window);
        assert!(
            !seen_networks.sees("n1", "a/storage", false) && !seen_networks.sees("n2", "a/storage", false)
        );
        window.network.record(5);
        seen_networks.learn("n1", &secondary, &window);
        assert!(
            seen_networks.sees("n1", "a/storage", false) && !seen_networks.sees("n2", "a/storage", false)
        );
        window.responder.record(5);
        seen_networks.learn("n1", &own, &window);
        assert!(!seen_networks.sees("n2", "a/storage", false));
        seen_networks.learn("n1", &secondary, &window);
        assert!(seen_networks.sees("n2", "a/storage", false) && !seen_networks.sees("n2", "a/db", false));
        assert!(!seen_networks.sees("n2", "a/storage", true), "what stays inside goes another way");
        seen_networks.learn("n2", &secondary, &window);
        assert!(seen_networks.sees("n2", "a/storage", true) && !seen_networks.sees("n1", "a/storage", true));
        seen_networks.forget("n2");
        assert!(
            !seen_networks.sees("n2", "a/storage", false) && seen_networks.sees("n1", "a/storage", false)
        );
    }
}
