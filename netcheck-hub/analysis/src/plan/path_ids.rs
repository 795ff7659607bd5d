//! The plan of one agent over time: which number each path has, and when the agent is sent something new. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use netcheck_common::domain::{PathId, Vantage};
use netcheck_common::hash::Fnv1a;
use netcheck_proto::convert;

use super::groups::Groups;
use super::{Catalog, Identity, Plan, PlannedPath, Wanted};

/// Gives out path ids for one agent: stable while a path stays, and the same again when it comes back before it is
/// forgotten; never given to another path.
///
/// The first id comes from a hash of the first plan. So a restarted hub that finds the roster as it was gives the
/// same ids, and batches that an agent kept meanwhile still fit; if the roster changed, old ids mean nothing to it
/// (they are counted as unknown) instead of meaning something else. With a seed that only the hub knows, nobody else can
/// derive the ids from what a cluster consists of.
#[derive(Clone, Debug, Default)]
pub struct PathIdAllocator {
    next: Option<u32>,
    seed: u64,
    plan: Arc<Plan>,
    /// Identifies the catalog that the plan was made from.
    of: Option<Arc<Groups>>,
}

impl PathIdAllocator {
    /// The same, whose first id depends on this as well. Makes no difference once there is a plan.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The plan as it is.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Takes what `node` shall probe now. `retired` are paths that left its plan and are not forgotten yet. Returns the
    /// plan where it differs from the last one in what the agent is sent.
    pub(crate) fn update(
        &mut self,
        node: &str,
        wanted: &[Wanted<'_>],
        catalog: &Catalog,
        retired: &[Arc<PlannedPath>],
    ) -> Option<Arc<Plan>> {
        let mut next = self.next.unwrap_or_else(|| first_id(self.seed, node, wanted));
        let same_catalog = self.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &catalog.groups));
        // Within one catalog places distinguish paths, and what stays is as it was.
        let places: HashMap<(Vantage, u32), &Arc<PlannedPath>> = if same_catalog {
            self.plan.paths.iter().map(|path| ((path.vantage, path.at), path)).collect()
        } else {
            HashMap::new()
        };
        let numbered = |path: &Arc<PlannedPath>| (path.identity(), path.id);
        let planned = self.plan.paths.iter().filter(|_| !same_catalog);
        let known: HashMap<Identity, PathId> =
            retired.iter().map(numbered).chain(planned.map(numbered)).collect();
        let mut paths: Vec<Arc<PlannedPath>> = Vec::with_capacity(wanted.len());
        for &Wanted { vantage, at, probe } in wanted {
            if let Some(&path) = places.get(&(vantage, at)) {
                paths.push(Arc::clone(path));
                continue;
            }
            let id = known.get(&probe.identity(vantage)).copied().unwrap_or_else(|| {
                let id = PathId(next);
                // 0 is no path; the numbers do not run out in any hub's life.
                next = next.checked_add(1).unwrap_or(1);
                id
            });
            paths.push(Arc::new(PlannedPath { id, vantage, at, probe: probe.clone() }));
        }
        paths.sort_unstable_by_key(|path| path.id);
        let same = self.next.is_some()
            && self.plan.addresses == catalog.addresses
            && self.plan.watched_ports == catalog.watched_ports
            && self.plan.authorities == catalog.authorities
            && self.plan.search_names == catalog.search_names
            && self.plan.paths.iter().map(|path| path.id).eq(paths.iter().map(|path| path.id));
        self.next = Some(next);
        self.of = Some(Arc::clone(&catalog.groups));
        self.plan = Arc::new(Plan {
            version: if same { self.plan.version } else { self.plan.version + 1 },
            paths,
            addresses: Arc::clone(&catalog.addresses),
            watched_ports: Arc::clone(&catalog.watched_ports),
            authorities: Arc::clone(&catalog.authorities),
            search_names: Arc::clone(&catalog.search_names),
        });
        (!same).then(|| Arc::clone(&self.plan))
    }
}

/// FNV-1a over what the plan consists of, folded into 1 to 2³⁰.
fn first_id(seed: u64, node: &str, paths: &[Wanted<'_>]) -> u32 {
    let mut hash = Fnv1a::default();
    let mut eat = |bytes: &[u8]| hash = hash.write(bytes).write(&[0xff]);
    if seed != 0 {
        eat(&seed.to_be_bytes());
    }
    eat(node.as_bytes());
    for Wanted { vantage, probe, .. } in paths {
        eat(vantage.as_str().as_bytes());
        eat(probe.target.id.as_bytes());
        eat(probe.kind.as_str().as_bytes());
        eat(&convert::address_bytes(probe.address));
        eat(&probe.port.to_be_bytes());
        if let Some(question) = &probe.question {
            eat(question.name.as_bytes());
            eat(&question.record_type.to_be_bytes());
        }
        if let Some(exchange) = &probe.exchange {
            eat(exchange.detail().as_bytes());
        }
    }
    let hash = hash.finish();
    ((hash ^ (hash >> 32)) as u32 & 0x3fff_ffff) + 1
}
