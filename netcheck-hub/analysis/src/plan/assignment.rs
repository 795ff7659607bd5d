//! What of a catalog is one node's, and how much of it is probed always, kept, and in turn. Made once for each catalog:
//! it changes neither with time nor with what is bad. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::groups::{Groups, Sizes};
use super::order::{Order, mix, point};
use super::prober::Prober;
use super::{Catalog, Wanted};
use crate::plan::rotation::Rotation;

/// One node's share of a catalog.
#[derive(Debug)]
pub struct NodeAssignment {
    /// Whose it is.
    pub prober: Prober,
    sizes: Arc<Sizes>,
    /// Groups that are not as large as for others of its profile, and those that only some nodes probe; ascending.
    own: Vec<(u32, u16)>,
    /// Those that only some nodes probe.
    node_specific: Vec<u32>,
    /// Its paths, now or in turn.
    pub paths: u64,
    /// None where all are probed all the time.
    pub(crate) parts: Option<Parts>,
}

/// How the paths of a plan are parted, where not all fit.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Groups that are probed all the time, ascending.
    pub(crate) always: Vec<u32>,
    /// Paths that are kept at most.
    pub(crate) reserve: usize,
    /// Paths that are in turn at a time at most, but one group at least.
    pub(crate) room: usize,
    /// Turns until every other path had one, at most, wherever they begin.
    pub(crate) turns: usize,
}

impl NodeAssignment {
    /// Of this node.
    pub(crate) fn of(prober: Prober, catalog: &Catalog, rotation: &Rotation) -> Self {
        let groups = &*catalog.groups;
        let sizes = groups.sizes(prober.profile(), &catalog.probes);
        let count = |group: u32| {
            let probes = &catalog.probes[range(groups.places(group))];
            let paths: usize = probes.iter().map(|probe| prober.vantages(probe).count()).sum();
            (group, u16::try_from(paths).unwrap_or(u16::MAX))
        };
        let node_specific = prober.node_specific(groups);
        let own = prober.own(catalog, groups).into_iter().chain(node_specific.iter().copied());
        let mut own: Vec<(u32, u16)> = own.map(count).collect();
        own.sort_unstable();
        own.dedup();
        let paths = own.iter().fold(sizes.total, |sum, &(group, size)| {
            sum - u64::from(sizes.of[group as usize]) + u64::from(size)
        });
        let mut share = Self { prober, sizes, own, node_specific, paths, parts: None };
        if paths > rotation.paths_per_node as u64 {
            share.parts = Some(share.part(groups, rotation.paths_per_node));
        }
        share
    }

    /// How many paths of this node go to a target.
    pub(crate) fn size(&self, group: u32) -> usize {
        let own = self.own.binary_search_by_key(&group, |(group, _)| *group).ok().map(|at| self.own[at].1);
        usize::from(own.unwrap_or_else(|| self.sizes.of[group as usize]))
    }

    /// Its paths to these targets, in the order of the catalog.
    pub(crate) fn wanted<'a>(&self, catalog: &'a Catalog, picks: &[u32]) -> Vec<Wanted<'a>> {
        self.prober.wanted(catalog, picks.iter().map(|&group| catalog.groups.places(group)))
    }

    /// All targets that it has paths to, in its own order from a rank on, each with how far it is from there.
    pub(crate) fn walk<'a>(
        &'a self,
        groups: &'a Groups,
        order: &'a Order,
        from: u64,
    ) -> impl Iterator<Item = (u64, u32)> + 'a {
        groups.walk(order, &self.node_specific, from).filter(|(_, group)| self.size(*group) > 0)
    }

    /// Zones first, so that every pair of zones is always covered, on each network of pods; then what all nodes want of all
    /// others: services and DNS. As much as there is room for.
    fn always(&self, groups: &Groups, room: usize) -> Vec<u32> {
        let node = point(&self.prober.node);
        let drawn = |group: &u32| (mix(groups.point(*group) ^ node), *group);
        let some = |group: &u32| self.size(*group) > 0;
        // Of each zone, another one for every node.
        let zones = groups.zones.iter().filter_map(|zone| {
            let first = zone.iter().copied().min_by_key(drawn)?;
            // It may be the node itself, or nothing that the node has an address for.
            if some(&first) { Some(first) } else { zone.iter().copied().filter(some).min_by_key(drawn) }
        });
        let order = Order::of(&self.prober.node);
        // Pods of secondary networks wait as all others do.
        let node_specific = groups.node_specific(&self.prober.node);
        let mut shared: Vec<u32> = groups.shared.iter().chain(node_specific).copied().filter(some).collect();
        shared.sort_by_cached_key(|&group| (order.rank(groups.point(group)), group));
        let mut left = room;
        let mut taken = Vec::new();
        for group in zones.chain(shared) {
            let size = self.size(group);
            if size <= left {
                left -= size;
                taken.push(group);
            }
            if left == 0 {
                break;
            }
        }
        taken.sort_unstable();
        taken
    }

    fn part(&self, groups: &Groups, most: usize) -> Parts {
        let always = self.always(groups, most / 2);
        let always_paths: usize = always.iter().map(|&group| self.size(group)).sum();
        // How many others there are of each size.
        let mut counts: BTreeMap<u16, i64> =
            self.sizes.counts.iter().map(|(&size, &count)| (size, i64::from(count))).collect();
        for &(group, size) in &self.own {
            *counts.entry(self.sizes.of[group as usize]).or_default() -= 1;
            *counts.entry(size).or_default() += 1;
        }
        for &group in &always {
            *counts.entry(self.size(group) as u16).or_default() -= 1;
        }
        counts.retain(|&size, &mut count| size > 0 && count > 0);
        let largest = counts.last_key_value().map_or(0, |(&size, _)| usize::from(size));
        let waiting = (self.paths as usize).saturating_sub(always_paths);
        let reserve = (most / 8).max(largest.min(most / 4));
        let room = most.saturating_sub(reserve + always_paths);
        let mut parts = Parts { always, reserve, room, turns: 1 };
        if waiting > room {
            // A turn ends where the next target does not fit.
            let least = (room + 1).saturating_sub(largest).max(1);
            parts.turns = if largest * 8 <= room {
                waiting.div_ceil(least)
            } else {
                // Too rough where targets are large. Cut elsewhere it may be one turn more.
                self.cut(groups, &parts) + 1
            };
        }
        parts
    }

    /// How many turns there are from the node's first target on.
    fn cut(&self, groups: &Groups, parts: &Parts) -> usize {
        let order = Order::of(&self.prober.node);
        let (mut turns, mut used) = (0, usize::MAX);
        for (_, group) in self.walk(groups, &order, 0) {
            if parts.always.binary_search(&group).is_ok() {
                continue;
            }
            let size = self.size(group);
            if used.saturating_add(size) > parts.room {
                turns += 1;
                used = size;
            } else {
                used += size;
            }
        }
        turns
    }
}

fn range(places: std::ops::Range<u32>) -> std::ops::Range<usize> {
    places.start as usize..places.end as usize
}

#[cfg(test)]
mod tests;
