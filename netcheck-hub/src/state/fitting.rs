//! What packets of a path look like: which drop records are taken for a lost probe's (see
//! [`netcheck_analysis::evidence::fits`]), and where its requests come from.

use std::sync::Arc;

use netcheck_analysis::cluster::roster::Roster;
use netcheck_analysis::evidence::fits::{Way, fits};
use netcheck_analysis::evidence::{DropFact, Lost};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::plan::PlannedPath;
use netcheck_common::domain::{PathId, Vantage};
use netcheck_proto::convert;

use crate::state::State;

/// One path, as far as it shows whose packets are its own. Holds what it looks at, so that the rows can change meanwhile.
pub(super) struct Course {
    source: Arc<str>,
    pod: Option<String>,
    path: Arc<PlannedPath>,
    roster: Arc<Roster>,
}

impl Course {
    /// Adds the record to the probe's where it fits. Returns whether it did.
    pub(super) fn offer(&self, fact: &DropFact, lost: &mut Lost) -> bool {
        let probe = lost.in_the_end(&self.path.probe);
        let way = Way {
            source: &self.source,
            source_pod: self.pod.as_deref(),
            probe: &probe,
            roster: &self.roster,
        };
        if let Err(misfit) = fits(way, fact, lost) {
            tracing::debug!(node = %fact.node, "a drop record is not of the probe that it names: {misfit:?}");
            return false;
        }
        lost.add_drop(fact.clone());
        true
    }
}

impl State {
    /// That of a path of `source`.
    pub(super) fn course(&self, source: NodeIx, path: &Arc<PlannedPath>) -> Course {
        let agent = self.agent(source);
        let pod = (path.vantage == Vantage::Pod).then(|| self.pod_of(agent)).filter(|pod| !pod.is_empty());
        Course {
            source: Arc::clone(&agent.name),
            pod,
            path: Arc::clone(path),
            roster: Arc::clone(&self.roster),
        }
    }

    /// Addresses that the probes of a path may come from, the likeliest first.
    pub(super) fn addresses_of(&self, source: NodeIx, path: PathId) -> Vec<Vec<u8>> {
        let agent = self.agent(source);
        let Some(row) = agent.rows.get(path) else { return Vec::new() };
        let (probe, of_pod) = (&row.path.probe, row.path.vantage == Vantage::Pod);
        let v4 = probe.address.is_ipv4();
        let pod = agent.vantage.known().filter(|_| of_pod);
        let pod = pod.and_then(|known| self.vantage_address(known, probe.target.network(), v4));
        // What comes from a pod may bear its node's address.
        let node = self.roster.nodes.get(&*agent.name);
        let node = node.into_iter().flat_map(|node| &node.addresses).copied();
        let all = pod.into_iter().chain(node).filter(|address| address.is_ipv4() == v4);
        all.map(convert::address_bytes).collect()
    }
}
