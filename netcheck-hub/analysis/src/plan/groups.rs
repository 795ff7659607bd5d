//! The targets of a catalog as turns take them: precomputed once for all nodes. Pure.
//!
//! A group is all probes of one target; the groups of a catalog are numbered in its order. Those that every node wants
//! are in one ring, which each node goes around in its own [`Order`]; those that only some nodes probe are listed by node,
//! as node ports, or by secondary network of pods.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::order::{Order, SECTORS, point, rank_at, sector_of, within};
use super::prober::{Profile, class};
use super::{Probe, Sources};
use crate::model::target::TargetKind;

/// Profiles whose sizes are kept. Clusters have one or a few; agents that say odd things of themselves cost time only.
const PROFILES: usize = 64;

/// One target.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Places of its probes in the catalog.
    begin: u32,
    end: u32,
    /// Its own among all.
    point: u64,
}

/// How many paths each target is to nodes of one profile.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// By group; 0 for those that only some nodes probe.
    pub(crate) of: Vec<u16>,
    /// All together.
    pub(crate) total: u64,
    /// How many groups there are of each size above 0.
    pub(crate) counts: BTreeMap<u16, u32>,
}

/// All targets of a catalog.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    all: Vec<Group>,
    /// Those that every node wants, ascending by point.
    ring: Vec<u32>,
    /// Where each sector begins in the ring, and the end.
    sectors: Vec<u32>,
    /// Nodes of each zone that are not meant to be away, then the same of pods, on each of their networks.
    pub(crate) zones: Vec<Vec<u32>>,
    /// Of the ring, those that are neither node nor pod.
    pub(crate) shared: Vec<u32>,
    /// Those that only some nodes probe, by node.
    node_specific: HashMap<String, Vec<u32>>,
    /// Those on secondary networks of pods, by network.
    secondary: HashMap<String, Vec<u32>>,
    /// Whether every node probes it, by place in the catalog.
    common: Vec<bool>,
    /// Whose addresses these are, ascending: of the ring.
    addresses: Vec<(IpAddr, u32)>,
    sizes: Mutex<HashMap<Profile, Arc<Sizes>>>,
}

fn is_common(probe: &Probe) -> bool {
    matches!(probe.sources, Sources::All)
}

impl Groups {
    /// Of probes that are sorted by target.
    pub(crate) fn of(probes: &[Probe]) -> Self {
        let mut groups = Self { common: vec![true; probes.len()], ..Self::default() };
        let mut zones: BTreeMap<(bool, &str, Option<&str>), Vec<u32>> = BTreeMap::new();
        let mut begin = 0;
        for (number, members) in (0u32..).zip(probes.chunk_by(|one, next| one.target.id == next.target.id)) {
            let end = begin + members.len();
            let target = &members[0].target;
            groups.all.push(Group { begin: begin as u32, end: end as u32, point: point(&target.id) });
            let of_zone = matches!(target.kind, TargetKind::Node | TargetKind::Pod);
            if of_zone && target.absent.is_none() {
                let pod = target.kind == TargetKind::Pod;
                zones.entry((pod, &target.zone, target.network())).or_default().push(number);
            }
            if let Some(network) = target.network() {
                groups.common[begin..end].fill(false);
                groups.secondary.entry(network.to_owned()).or_default().push(number);
            } else if members.iter().all(is_common) {
                groups.ring.push(number);
                groups.addresses.extend(target.addresses.iter().map(|&address| (address, number)));
                // What other clusters have waits for its turn as nodes and pods do.
                let shared = !of_zone && target.peer.is_none();
                groups.shared.extend(shared.then_some(number));
            } else {
                groups.common[begin..end].fill(false);
                groups.list(number, members);
            }
            begin = end;
        }
        groups.zones = zones.into_values().collect();
        groups.addresses.sort_unstable();
        groups.part();
        groups.ring.sort_unstable_by_key(|&group| groups.all[group as usize].point);
        let ring = groups.ring.iter().map(|&group| sector_of(groups.all[group as usize].point));
        let mut counts = vec![0u32; SECTORS + 1];
        ring.for_each(|sector| counts[sector + 1] += 1);
        groups.sectors = counts
            .into_iter()
            .scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            })
            .collect();
        groups
    }

    /// Notes whose a group is that only some nodes probe.
    fn list(&mut self, number: u32, members: &[Probe]) {
        for probe in members {
            let (Sources::Only(nodes) | Sources::Rest(nodes)) = &probe.sources else { continue };
            for node in nodes.iter() {
                let of_node = match self.node_specific.get_mut(node) {
                    Some(of_node) => of_node,
                    None => self.node_specific.entry(node.clone()).or_default(),
                };
                if of_node.last() != Some(&number) {
                    of_node.push(number);
                }
            }
        }
    }

    /// No two at one point: a turn that ended between them would begin with both, for ever.
    fn part(&mut self) {
        let mut by_point: Vec<u32> = (0..self.all.len() as u32).collect();
        by_point.sort_unstable_by_key(|&group| (self.all[group as usize].point, group));
        let mut last = None;
        for group in by_point {
            let group = &mut self.all[group as usize];
            if let Some(last) = last {
                group.point = group.point.max(u64::saturating_add(last, 1));
            }
            last = Some(group.point);
        }
    }

    /// How many targets there are.
    pub(crate) fn len(&self) -> u32 {
        self.all.len() as u32
    }

    /// Places of its probes in the catalog.
    pub(crate) fn places(&self, group: u32) -> Range<u32> {
        let Group { begin, end, .. } = self.all[group as usize];
        begin..end
    }

    /// Where it is among all.
    pub(crate) fn point(&self, group: u32) -> u64 {
        self.all[group as usize].point
    }

    /// The group of the probe at that place.
    pub(crate) fn holding(&self, at: u32) -> u32 {
        self.all.partition_point(|group| group.end <= at) as u32
    }

    /// The group of a target.
    pub(crate) fn find(&self, probes: &[Probe], target: &str) -> Option<u32> {
        let id = |group: &Group| &*probes[group.begin as usize].target.id;
        self.all.binary_search_by(|group| id(group).cmp(target)).ok().map(|group| group as u32)
    }

    /// The groups of what has this address, of those that every node wants.
    pub(crate) fn at(&self, address: IpAddr) -> impl Iterator<Item = u32> + '_ {
        let first = self.addresses.partition_point(|(other, _)| *other < address);
        self.addresses[first..]
            .iter()
            .take_while(move |(other, _)| *other == address)
            .map(|(_, group)| *group)
    }

    /// The groups that this node probes and not every other does.
    pub(crate) fn node_specific(&self, node: &str) -> &[u32] {
        self.node_specific.get(node).map_or(&[], Vec::as_slice)
    }

    /// The groups on a secondary network of pods.
    pub(crate) fn on(&self, network: &str) -> &[u32] {
        self.secondary.get(network).map_or(&[], Vec::as_slice)
    }

    /// Whether every node wants the probe at that place.
    pub(crate) fn is_common(&self, at: u32) -> bool {
        self.common[at as usize]
    }

    /// What all nodes of one profile have in common.
    pub(crate) fn sizes(&self, profile: Profile, probes: &[Probe]) -> Arc<Sizes> {
        let known = || self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sizes) = known().get(&profile) {
            return Arc::clone(sizes);
        }
        let mut sizes = Sizes { of: vec![0; self.all.len()], ..Sizes::default() };
        for &group in &self.ring {
            let Range { start, end } = self.places(group);
            let members = &probes[start as usize..end as usize];
            let size =
                members.iter().map(|probe| u16::from(profile[class(probe)])).fold(0, u16::saturating_add);
            sizes.of[group as usize] = size;
            sizes.total += u64::from(size);
            if size > 0 {
                *sizes.counts.entry(size).or_default() += 1;
            }
        }
        let sizes = Arc::new(sizes);
        let mut known = known();
        if known.len() < PROFILES {
            known.insert(profile, Arc::clone(&sizes));
        }
        sizes
    }

    /// The ring and these others in a node's order, from a rank on and once around; each with how far it is from there.
    pub(crate) fn walk<'a>(
        &'a self,
        order: &'a Order,
        node_specific: &[u32],
        from: u64,
    ) -> impl Iterator<Item = (u64, u32)> + 'a {
        let first = sector_of(from);
        let mut ring = (0..=SECTORS)
            .flat_map(move |step| {
                let place = (first + step) % SECTORS;
                let sector = order.sector(place);
                let bounds = self.sectors.get(sector).zip(self.sectors.get(sector + 1));
                let members =
                    bounds.map_or(&[][..], |(&begin, &end)| &self.ring[begin as usize..end as usize]);
                // What is before the first one in its sector comes last.
                let (before, after) = members
                    .split_at(members.partition_point(|&group| within(self.point(group)) < within(from)));
                let members = match step {
                    0 => after,
                    SECTORS => before,
                    _ => members,
                };
                members
                    .iter()
                    .map(move |&group| (rank_at(place, self.point(group)).wrapping_sub(from), group))
            })
            .peekable();
        let far = |&group: &u32| (order.rank(self.point(group)).wrapping_sub(from), group);
        let mut node_specific: Vec<(u64, u32)> = node_specific.iter().map(far).collect();
        node_specific.sort_unstable();
        let mut node_specific = node_specific.into_iter().peekable();
        std::iter::from_fn(move || match (ring.peek(), node_specific.peek()) {
            (Some(one), Some(other)) if other < one => node_specific.next(),
            (Some(_), _) => ring.next(),
            (None, _) => node_specific.next(),
        })
    }
}
