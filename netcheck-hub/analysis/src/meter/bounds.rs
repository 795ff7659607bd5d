//! Which names have series of their own, so that a page of metrics stays within a bound. Pure.
//!
//! Nodes have theirs always: some 40 each, whatever they do. What is left of [`SERIES`] is shared by zones, of which there
//! are as many pairs as zones squared, and services. Who comes first has a name; beyond that all are [`OTHER`], and
//! `Bounds::folded` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Zones;
use crate::cluster::roster::Roster;

/// The name of all that have none.
pub const OTHER: &str = "other";
/// Series of a hub with up to a thousand nodes.
pub const SERIES: usize = 50_000;
/// Pairs of nodes that series are made of at most: a hundred nodes.
pub const PAIRS: usize = 10_000;

/// Series of one node: see `docs/metrics.md`.
const OF_A_NODE: usize = 40;
/// For the hub itself, incidents and networks.
const OF_THE_HUB: usize = 1_000;
/// For zones and services, however many nodes there are.
const LEAST: usize = 8_000;
/// Of that for zones, in percent.
const ZONES: usize = 60;
/// Series from one zone to another: five sorts of probes at most, two families, two vantages.
const OF_A_PAIR_OF_ZONES: usize = 220;
/// Series of a service: some kinds, families and vantages.
const OF_A_SERVICE: usize = 56;

/// Series of kernel drops, of all nodes together.
const DROPS: usize = 4_000;
/// Of one node, however many there are; they are among [`OF_A_NODE`].
const LEAST_DROPS: usize = 4;
/// Of one node, however few there are.
const MOST_DROPS: usize = 64;

/// Names that have series.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Nodes with their zones.
    nodes: BTreeMap<Arc<str>, Arc<str>>,
    zones: BTreeSet<Arc<str>>,
    services: BTreeSet<Arc<str>>,
    most_zones: usize,
    most_services: usize,
    zones_folded: bool,
    services_folded: bool,
    pairs_wanted: bool,
}

impl Bounds {
    pub(super) fn new(pairs_wanted: bool) -> Self {
        Self { pairs_wanted, ..Self::default() }
    }

    /// Takes the nodes and their zones. Returns whether any name changed.
    pub(super) fn follow(&mut self, roster: &Roster) -> bool {
        let nodes = roster.nodes.len();
        let room = SERIES.saturating_sub(OF_THE_HUB + nodes * OF_A_NODE).max(LEAST);
        self.most_zones = (room * ZONES / 100 / OF_A_PAIR_OF_ZONES).isqrt().max(2);
        self.most_services = room * (100 - ZONES) / 100 / OF_A_SERVICE;
        let all: BTreeSet<&str> = roster.nodes.values().map(|node| node.zone.as_str()).collect();
        self.zones.retain(|zone| all.contains(&**zone));
        // One place is for the others, where there are any.
        let most = if all.len() > self.most_zones { self.most_zones - 1 } else { self.most_zones };
        for zone in &all {
            if self.zones.len() < most && !self.zones.contains(*zone) {
                self.zones.insert((*zone).into());
            }
        }
        self.zones_folded = self.zones.len() < all.len();
        let zones = &self.zones;
        let named = |zone: &str| zones.get(zone).cloned().unwrap_or_else(|| OTHER.into());
        let nodes =
            roster.nodes.values().map(|node| (node.name.as_str().into(), named(&node.zone))).collect();
        let changed = self.nodes != nodes;
        self.nodes = nodes;
        changed
    }

    /// Whether these zones have a name.
    pub(super) fn has(&self, zones: &Zones) -> bool {
        let has = |zone: &str| self.zones.contains(zone) || (self.zones_folded && zone == OTHER);
        has(&zones.source) && has(&zones.target)
    }

    /// A node's own name; none where the roster does not have it.
    pub(super) fn node(&self, name: &str) -> Option<Arc<str>> {
        self.nodes.get_key_value(name).map(|(name, _)| Arc::clone(name))
    }

    /// The names of two nodes' zones; none where the roster does not have one of them.
    pub(super) fn zones(&self, source: &str, target: &str) -> Option<Zones> {
        let zone = |node: &str| self.nodes.get(node).cloned();
        Some(Zones { source: zone(source)?, target: zone(target)? })
    }

    /// The name that a service goes by.
    pub(super) fn service(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.services.get(name) {
            return Arc::clone(known);
        }
        if self.services.len() >= self.most_services {
            self.services_folded = true;
            return OTHER.into();
        }
        self.services.insert(Arc::clone(name));
        Arc::clone(name)
    }

    /// Makes room for other services.
    pub(super) fn keep_services(&mut self, keep: impl Fn(&Arc<str>) -> bool) {
        self.services.retain(keep);
        self.services_folded = false;
    }

    pub(super) fn drops_of_a_node(&self) -> usize {
        (DROPS / self.nodes.len().max(1)).clamp(LEAST_DROPS, MOST_DROPS)
    }

    pub(super) fn folded(&self) -> bool {
        self.zones_folded || self.services_folded
    }

    pub(super) fn pairs(&self) -> bool {
        self.pairs_wanted && !self.too_many_pairs()
    }

    pub(super) fn pairs_refused(&self) -> bool {
        self.pairs_wanted && self.too_many_pairs()
    }

    fn too_many_pairs(&self) -> bool {
        self.nodes.len() * self.nodes.len() > PAIRS
    }
}
