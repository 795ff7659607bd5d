//! Which of its paths a node probes now, where it may not probe all of them at once. Pure.
//!
//! Paths are taken by target: all kinds and families of one go together, so that what fails can be held against what
//! does not.
//!
//! | share | of the plan |
//! |---|---|
//! | always | one node and one pod of each zone, services, DNS servers: at most half |
//! | kept | paths that are bad, and those to nodes that came back or were asked for: at most an eighth, or a quarter if one target needs it |
//! | in turn | all others, in an order that is each node's own (`plan/order.rs`), for [`RotationSlot::length_ns`] each |
//!
//! **What is promised.** A node's targets lie on a ring, in the node's order, and a cursor goes around it: a turn begins where
//! the one before it ended, and takes as many targets as there is room for. While nothing changes, every path has a whole
//! turn within [`RotationSlot::cover`]. When the catalog changes, the cursor stays where it is and so do all other targets,
//! for where a target is on the ring hangs on nothing but itself. So a target that was there all the time has a whole turn
//! before the cursor has been around once; what was added on the way there makes that longer by what it takes itself, one turn
//! for a room full of paths, and what was removed makes it shorter. A target that is new has its first turn within one round
//! as well, but that may be what is left of the turn of now. Only who is no longer probed always begins to wait as if it were
//! new.
//!
//! A turn is as long as it was meant to be at its begin. While it lasts, nothing is taken in from behind its end; where
//! its targets have become too many for it, the last ones have theirs next.

use std::time::Duration;

use super::Catalog;
use super::assignment::{NodeAssignment, Parts};
use super::order::{Order, point};
use crate::model::clock::nanos;

#[cfg(test)]
mod tests;

/// A turn is never shorter than this: two windows until a verdict, and losses want company.
pub const SHORTEST_TURN: Duration = Duration::from_secs(10);

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Paths that a node probes at a time, at most.
    pub paths_per_node: usize,
    /// How long it may take until every path was probed.
    pub cover: Duration,
    /// How often each path is probed: a turn holds at least ten probes.
    pub interval: Duration,
}

/// What `netcheck-hub --help` says.
impl Default for Rotation {
    fn default() -> Self {
        Self { paths_per_node: 1000, cover: Duration::from_secs(600), interval: Duration::from_secs(1) }
    }
}

/// A node probes so many at a time whatever the hub holds, for some are probed always: neighbours, services, DNS servers.
const FEWEST_PATHS: usize = 64;

impl Rotation {
    /// The same for so many nodes, where the hub holds no more than `held` paths that are probed.
    #[must_use]
    pub fn within(self, held: Option<u64>, nodes: usize) -> Self {
        let share = held.map(|held| usize::try_from(held / nodes.max(1) as u64).unwrap_or(usize::MAX));
        let most = share.map_or(usize::MAX, |share| share.max(FEWEST_PATHS));
        Self { paths_per_node: self.paths_per_node.min(most), ..self }
    }
}

/// How a node's paths take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotationSlot {
    /// How many turns it takes until every path was probed.
    pub count: usize,
    /// How long each of them is.
    pub length_ns: i64,
    /// When the one of now ends: unix time of the hub.
    pub ends_ns: i64,
    /// Which it is.
    pub cursor: Cursor,
}

/// The targets of one turn: from a rank in the node's order up to another one, where the next turn begins. All of them
/// where both are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The rank of its first target, at least.
    pub from: u64,
    /// The rank after its last.
    pub to: u64,
}

impl RotationSlot {
    /// How long it takes until every path was probed.
    #[must_use]
    pub fn cover(&self) -> Duration {
        crate::model::clock::duration(self.length_ns)
            .saturating_mul(u32::try_from(self.count).unwrap_or(u32::MAX))
    }

    /// The turn that is to be at this time, as far as it is known before its targets are.
    fn at(before: Option<&Self>, node: &str, count: usize, rotation: &Rotation, now_ns: i64) -> Self {
        let least_ns = nanos(SHORTEST_TURN.max(rotation.interval.saturating_mul(10)));
        let length_ns = (nanos(rotation.cover) / (count as i64).max(1)).max(least_ns);
        let turns = Self { count, length_ns, ..Self::default() };
        // Not all nodes begin a turn in the same moment.
        let shifted_ns = now_ns + (point(node) % length_ns as u64) as i64;
        let ends_ns = now_ns + length_ns - shifted_ns.rem_euclid(length_ns);
        match before {
            Some(before) if now_ns < before.ends_ns => {
                Self { ends_ns: before.ends_ns, cursor: before.cursor, ..turns }
            }
            // As planned, unless that was long ago.
            Some(before) if before.ends_ns + length_ns > now_ns + length_ns / 2 => Self {
                ends_ns: before.ends_ns + length_ns,
                cursor: Cursor { from: before.cursor.to, to: before.cursor.to },
                ..turns
            },
            _ => {
                // A hub that starts over and over does not begin at the same place each time.
                let turn = shifted_ns.div_euclid(length_ns).rem_euclid((count as i64).max(1));
                let from = ((turn as u128) << 64) / (count as u128).max(1);
                let from = before.map_or(from as u64, |before| before.cursor.to);
                // What has the first turn has a whole one.
                let short = ends_ns - now_ns < least_ns;
                let ends_ns = if short { ends_ns + length_ns } else { ends_ns };
                Self { ends_ns, cursor: Cursor { from, to: from }, ..turns }
            }
        }
    }
}

/// What a node probes now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathSelection {
    /// Groups of the catalog, ascending.
    pub(crate) picks: Vec<u32>,
    /// None where everything is probed all the time.
    pub(crate) turns: Option<RotationSlot>,
}

impl Rotation {
    /// Chooses. `before`: the turns as they were left last. `keep`: groups that must not leave the plan, in any order; those
    /// that the node has no paths to count for nothing.
    pub(crate) fn choose(
        &self,
        share: &NodeAssignment,
        catalog: &Catalog,
        before: Option<&RotationSlot>,
        keep: impl Iterator<Item = u32>,
        now_ns: i64,
    ) -> PathSelection {
        let groups = &*catalog.groups;
        let node = &*share.prober.node;
        let order = Order::of(node);
        let Some(parts) = &share.parts else {
            let mut picks: Vec<u32> = share.walk(groups, &order, 0).map(|(_, group)| group).collect();
            picks.sort_unstable();
            return PathSelection { picks, turns: None };
        };
        let mut turns = RotationSlot::at(before, node, parts.turns, self, now_ns);
        let mut picks = slice(share, parts, catalog, &order, &mut turns.cursor);
        picks.extend(&parts.always);
        picks.sort_unstable();
        let candidate = |group: &u32| share.size(*group) > 0 && picks.binary_search(group).is_err();
        let mut kept: Vec<(u64, u32)> =
            keep.filter(candidate).map(|group| (order.rank(groups.point(group)), group)).collect();
        // Each is one path at least.
        if kept.len() > parts.reserve * 4 && parts.reserve > 0 {
            kept.select_nth_unstable(parts.reserve * 4);
            kept.truncate(parts.reserve * 4);
        }
        kept.sort_unstable();
        kept.dedup();
        let mut left = parts.reserve;
        for (_, group) in kept {
            let size = share.size(group);
            if size <= left {
                left -= size;
                picks.push(group);
            }
        }
        picks.sort_unstable();
        PathSelection { picks, turns: Some(turns) }
    }
}

/// The targets in turn. The cursor is moved to where they end.
fn slice(
    share: &NodeAssignment,
    parts: &Parts,
    catalog: &Catalog,
    order: &Order,
    cursor: &mut Cursor,
) -> Vec<u32> {
    let until = cursor.to.wrapping_sub(cursor.from);
    let mut slice = Vec::new();
    let mut used = 0;
    for (far, group) in share.walk(&catalog.groups, order, cursor.from) {
        if until > 0 && far >= until {
            return slice;
        }
        if parts.always.binary_search(&group).is_ok() {
            continue;
        }
        used += share.size(group);
        if used > parts.room && !slice.is_empty() {
            cursor.to = cursor.from.wrapping_add(far);
            return slice;
        }
        slice.push(group);
    }
    slice
}
