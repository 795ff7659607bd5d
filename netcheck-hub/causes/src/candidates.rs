//! Causes that come into question. In: crossings. Out: components with patterns that explain items and that no answer
//! contradicts, each with what speaks for it.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::cause::{Component, Extent, Heading, Pattern};
use crate::class::{Kinds, covers, means, patterns, restrictions};
use crate::crossings::{Crossings, Hit, Suspect};
use crate::rates::worth;
use crate::scope::{Key, component_reach, shape};
use crate::symptoms::Item;
use crate::topology::{Topology, Visibility};

/// A cause that comes into question: it loses all that it means.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) key: Key,
    pub(crate) pattern: Pattern,
    /// Items that it explains, ascending.
    pub(crate) items: Vec<u32>,
    /// Items of these that a kernel's report or an answer puts at it.
    pub(crate) proven: u32,
    /// Items of these about which a kernel is silent that would have reported them.
    pub(crate) unreported: u32,
    /// Items of these for which it is an implausible explanation.
    pub(crate) odd: u32,
    /// What it explains if all is open, in nats.
    pub(crate) worth: f64,
    /// Less is better, among causes that explain the same.
    pub(crate) rank: u32,
    /// Who else crosses it: among causes of one rank and shape the one that less crosses comes first.
    pub(crate) crossers: [u64; 4],
    /// Others that explain the same.
    pub(crate) equals: Vec<Key>,
}

impl Candidate {
    pub(crate) const fn new(key: Key, pattern: Pattern) -> Self {
        Self {
            key,
            pattern,
            items: Vec::new(),
            proven: 0,
            unreported: 0,
            odd: 0,
            worth: 0.0,
            rank: 0,
            crossers: [0; 4],
            equals: Vec::new(),
        }
    }

    /// The least extent and the plainest pattern first.
    pub(crate) fn plain_rank(&self) -> u32 {
        let way = match self.key.1 {
            Heading::Both => 0,
            Heading::In => 1,
            Heading::Out => 2,
        };
        8 * component_reach(self.key.0) + 12 * restrictions(&self.pattern) + way
    }

    pub(crate) fn take(&mut self, hit: Hit) {
        self.items.push(hit.item);
        self.proven += u32::from(hit.proof);
        self.unreported += u32::from(hit.unreported);
        self.odd += u32::from(hit.odd);
    }
}

/// Candidates that explain the same as another are its equals, and only the best of them is kept.
pub(crate) fn certain(
    topology: &Topology,
    crossings: &Crossings,
    items: &[Item],
    kinds: &Kinds,
) -> Vec<Candidate> {
    let mut all = Vec::new();
    for suspect in crossings.suspects.iter().filter(|suspect| !suspect.hits.is_empty()) {
        of_suspect(topology, crossings, (suspect, items, kinds), &mut all);
    }
    let mut all = merge(all);
    let open = vec![true; items.len()];
    for candidate in &mut all {
        candidate.worth = worth(candidate, items, &open);
    }
    all.sort_by(|one, other| other.worth.total_cmp(&one.worth));
    all
}

fn of_suspect(
    topology: &Topology,
    crossings: &Crossings,
    (suspect, items, kinds): (&Suspect, &[Item], &Kinds),
    to: &mut Vec<Candidate>,
) {
    let tallies = crossings.tallies(suspect.object);
    let usable = |item: &Item, hit: &Hit| {
        let contradicted = hit.may && tallies[usize::from(item.kind)].may > 0;
        hit.first && (item.dead || item.guess) && !contradicted
    };
    let crossers =
        tallies.iter().fold([suspect.hits.len() as u64, 0, 0, 0], |[hits, groups, probes, may], of| {
            let [own, answered, maybe] = [of.groups, of.answered, of.may].map(u64::from);
            [hits, groups + own, probes + answered, may + maybe]
        });
    let mut bad = vec![false; kinds.all.len()];
    let (mut passed, mut hit_of) = (vec![0_u32; kinds.all.len()], vec![0_u32; kinds.all.len()]);
    for &kind in &suspect.passed {
        passed[usize::from(kind)] += 1;
    }
    for hit in &suspect.hits {
        let item = &items[hit.item as usize];
        if usable(item, hit) {
            bad[usize::from(item.kind)] = true;
            hit_of[usize::from(item.kind)] += 1;
        }
    }
    for pattern in allowed(kinds, &bad, |kind| tallies[kind].groups == 0 && passed[kind] * 50 <= hit_of[kind])
    {
        let mut candidate = Candidate::new(suspect.key, pattern);
        for hit in &suspect.hits {
            let item = &items[hit.item as usize];
            if usable(item, hit) && means(&pattern, kinds.all[usize::from(item.kind)]) {
                candidate.take(*hit);
            }
        }
        candidate.rank = structure(topology, &candidate);
        candidate.crossers = crossers;
        to.push(candidate);
    }
}

/// The most general patterns that mean a bad kind and none that was answered.
fn allowed(kinds: &Kinds, bad: &[bool], clean: impl Fn(usize) -> bool) -> Vec<Pattern> {
    let mut found: Vec<Pattern> = Vec::new();
    let consistent = |pattern: &Pattern| {
        kinds.all.iter().enumerate().all(|(at, &kind)| clean(at) || !means(pattern, kind))
    };
    for (at, &kind) in kinds.all.iter().enumerate() {
        if !bad[at] || !clean(at) {
            continue;
        }
        patterns(kind, &mut |pattern| {
            if !found.iter().any(|it| covers(it, &pattern)) && consistent(&pattern) {
                found.retain(|it| !covers(&pattern, it));
                found.push(pattern);
            }
        });
    }
    found
}

/// Of candidates that explain the same items the best, with the rest as its equals.
fn merge(mut all: Vec<Candidate>) -> Vec<Candidate> {
    all.sort_by_cached_key(|it| (it.rank, shape(it.key), it.pattern, it.crossers, it.key));
    let mut places: HashMap<Vec<u32>, usize, FixedState> = HashMap::default();
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in all {
        match places.get(&candidate.items) {
            Some(&at) => {
                let best = &mut kept[at];
                if best.unreported == candidate.unreported && best.pattern == candidate.pattern {
                    best.equals.push(candidate.key);
                }
            }
            None => {
                places.insert(candidate.items.clone(), kept.len());
                kept.push(candidate);
            }
        }
    }
    kept
}

/// How plausible a cause is by its structure, among such as explain the same: what kernels say first, then the least
/// extent, the plainest pattern and the lowest layer.
pub(crate) fn structure(topology: &Topology, candidate: &Candidate) -> u32 {
    let all = u32::try_from(candidate.items.len()).unwrap_or(u32::MAX).max(1);
    let unreported = candidate.unreported.saturating_mul(100) / all;
    let unproven = if candidate.proven == 0 { 50 } else { 50 - 50 * candidate.proven.min(all) / all };
    2 * (unreported + unproven) + layer(topology, candidate.key.0) + candidate.plain_rank()
}

/// Lower layers first. A node of which nothing is heard is rather down than cut off.
pub(crate) fn layer(topology: &Topology, component: Component) -> u32 {
    let silent = |node: u32| {
        topology.nodes.get(node as usize).is_some_and(|node| node.visibility == Visibility::Silent)
    };
    match component {
        Component::Wire { .. } => 1,
        Component::Uplink(_) => 2,
        Component::Stack(Extent::Node(_)) | Component::Service(_) => 3,
        Component::Tunnel { .. } | Component::TunnelEnd(_) => 4,
        Component::Forwarding(_) | Component::SecondaryNetwork(_) => 5,
        Component::PodLink(_) => 6,
        Component::Stack(_) | Component::Hairpin(_) => 7,
        Component::Server { .. } => 8,
        Component::Translation { .. } => 9,
        Component::Node(node) => {
            if silent(node) {
                0
            } else {
                10
            }
        }
        Component::Cluster => 11,
    }
}
