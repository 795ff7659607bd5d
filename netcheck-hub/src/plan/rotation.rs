//! Which of its paths a node probes now, where it may not probe all of them at once. Pure.
//!
//! Paths are taken by target: all kinds and families of one go together, so that what fails can be held against what
//! does not.
//!
//! | share | of the plan |
//! |---|---|
//! | always | one node and one pod of each zone, services, DNS servers: at most half |
//! | kept | paths that are bad, and those to nodes that came back or were asked for: at most an eighth, or a quarter if one target needs it |
//! | in turn | all others, in an order that is each node's own, for [`Turns::length_ns`] each |

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use netcheck_proto::v1;

use super::Wanted;
use crate::clock::nanos;

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

/// How a node's paths take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// How many turns it takes until every path was probed.
    pub count: usize,
    /// How long each of them is.
    pub length_ns: i64,
    /// When the one of now ends: unix time of the hub.
    pub ends_ns: i64,
}

impl Turns {
    /// How long it takes until every path was probed.
    #[must_use]
    pub fn cover(&self) -> Duration {
        crate::clock::duration(self.length_ns).saturating_mul(u32::try_from(self.count).unwrap_or(u32::MAX))
    }
}

/// What a node probes now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Places in what was wanted, ascending.
    pub(crate) picks: Vec<usize>,
    /// None where everything is probed all the time.
    pub(crate) turns: Option<Turns>,
}

/// All that is wanted of one target.
struct Group {
    members: Range<usize>,
    rank: u64,
}

/// Chooses. `wanted` has the paths of one target next to each other; `keep` says which must not leave the plan.
pub(crate) fn choose(
    node: &str,
    wanted: &[Wanted<'_>],
    keep: impl Fn(&Wanted<'_>) -> bool,
    rotation: &Rotation,
    now_ns: i64,
) -> Choice {
    let most = rotation.paths_per_node;
    if wanted.len() <= most {
        return Choice { picks: (0..wanted.len()).collect(), turns: None };
    }
    let groups = groups(node, wanted);
    let always = always(&groups, wanted, most / 2);
    let size = |group: &usize| groups[*group].members.len();
    let mut waiting: Vec<usize> = (0..groups.len()).filter(|group| !always.contains(group)).collect();
    waiting.sort_unstable_by_key(|&group| (groups[group].rank, group));
    let largest = waiting.iter().map(size).max().unwrap_or(0);
    let reserve = (most / 8).max(largest.min(most / 4));
    let room = most.saturating_sub(reserve + always.iter().map(size).sum::<usize>());
    let slices = cut(&waiting, room, size);
    let length_ns = {
        let least = SHORTEST_TURN.max(rotation.interval.saturating_mul(10));
        (nanos(rotation.cover) / (slices.len() as i64).max(1)).max(nanos(least))
    };
    // Not all nodes begin a turn in the same moment.
    let shifted_ns = now_ns + (hash(node, "") % length_ns as u64) as i64;
    let turn = shifted_ns.div_euclid(length_ns);
    let turns = Turns {
        count: slices.len(),
        length_ns,
        ends_ns: now_ns + length_ns - shifted_ns.rem_euclid(length_ns),
    };
    let slice = slices.get(turn.rem_euclid((slices.len() as i64).max(1)) as usize).cloned().unwrap_or(0..0);
    let mut chosen: BTreeSet<usize> = always;
    chosen.extend(&waiting[slice]);
    let mut left = reserve;
    for &group in &waiting {
        if wanted[groups[group].members.clone()].iter().any(&keep)
            && !chosen.contains(&group)
            && size(&group) <= left
        {
            left -= size(&group);
            chosen.insert(group);
        }
    }
    let picks = chosen.into_iter().flat_map(|group| groups[group].members.clone()).collect();
    Choice { picks, turns: Some(turns) }
}

fn groups(node: &str, wanted: &[Wanted<'_>]) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut at = 0;
    for paths in wanted.chunk_by(|one, next| one.probe.target.id == next.probe.target.id) {
        let rank = hash(node, &paths[0].probe.target.id);
        groups.push(Group { members: at..at + paths.len(), rank });
        at += paths.len();
    }
    groups
}

/// Zones first, so that every pair of zones is always covered, on each network of pods; then what all nodes want of all others: services and
/// DNS. As much as there is room for.
fn always(groups: &[Group], wanted: &[Wanted<'_>], room: usize) -> BTreeSet<usize> {
    let mut of_zone: BTreeMap<(&str, bool, Option<&str>), usize> = BTreeMap::new();
    let mut shared = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let target = &wanted[group.members.start].probe.target;
        match target.kind {
            v1::TargetKind::Node | v1::TargetKind::Pod if target.absent.is_none() => {
                let pod = target.kind == v1::TargetKind::Pod;
                let first = of_zone.entry((&target.zone, pod, target.network())).or_insert(at);
                if group.rank < groups[*first].rank {
                    *first = at;
                }
            }
            v1::TargetKind::Node | v1::TargetKind::Pod => {}
            _ => shared.push(at),
        }
    }
    shared.sort_unstable_by_key(|&at| (groups[at].rank, at));
    // Nodes before pods.
    let (pods, nodes): (Vec<_>, Vec<_>) = of_zone.into_iter().partition(|((_, pod, _), _)| *pod);
    let zones = nodes.into_iter().chain(pods).map(|(_, at)| at);
    let mut left = room;
    let mut taken = BTreeSet::new();
    for at in zones.chain(shared) {
        let size = groups[at].members.len();
        if size <= left {
            left -= size;
            taken.insert(at);
        }
    }
    taken
}

/// Cuts what waits into turns of at most `room` paths each, but of one target at least.
fn cut(waiting: &[usize], room: usize, size: impl Fn(&usize) -> usize) -> Vec<Range<usize>> {
    let mut turns: Vec<Range<usize>> = Vec::new();
    let mut used = 0;
    for (at, group) in waiting.iter().enumerate() {
        let more = size(group);
        match turns.last_mut() {
            Some(turn) if used + more <= room => {
                turn.end = at + 1;
                used += more;
            }
            _ => {
                turns.push(at..at + 1);
                used = more;
            }
        }
    }
    turns
}

/// FNV-1a, then mixed: neighbouring names shall not stay neighbours.
fn hash(node: &str, target: &str) -> u64 {
    let bytes = node.bytes().chain([0xff]).chain(target.bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}
