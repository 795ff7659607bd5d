//! Who crosses what. In: groups and the items of the bad ones. Out: for each component that a bad item may have died at,
//! these items, and how the probes of all other groups that cross it fared, by kind of packets.

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::FixedState;

use crate::class::{Kind, Kinds};
use crate::evidence::Steps;
use crate::objects::{Lifted, Objects};
use crate::observation::Group;
use crate::scope::{Key, both_ways, has_ways, lifts, one_way};
use crate::symptoms::{Item, State, unmet};
use crate::topology::Topology;
use crate::way::{Route, Step, Way, backends};
use crate::{Component, Heading};

/// More items than this are not looked at again one by one.
pub(crate) const MANY_AT_ONCE: usize = 4_000;

/// An item that a component may explain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) item: u32,
    /// It was lost where the component is first met: a component that lets nothing through explains it.
    pub(crate) first: bool,
    /// Each step that explains it has a kernel that would have reported it.
    pub(crate) unreported: bool,
    /// Each such step is implausible.
    pub(crate) odd: bool,
    /// Each such step is crossed in some clusters only.
    pub(crate) may: bool,
    /// A kernel's report or an answer names the component.
    pub(crate) proof: bool,
}

/// The steps of one way of a bad item that are a component's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossed {
    /// Number of the way, counted over all ways of all items.
    pub(crate) way: u32,
    pub(crate) steps: Steps,
}

/// How probes fared that are no symptom.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Groups that were answered, at least in part.
    pub(crate) groups: u32,
    /// Answered probes of groups that are no symptom.
    pub(crate) answered: u32,
    /// Stray losses of these.
    pub(crate) stray: u32,
    /// Groups that were answered and may have crossed it.
    pub(crate) may: u32,
}

/// A component with its way, and what it may explain.
#[derive(Debug)]
pub(crate) struct Suspect {
    pub(crate) key: Key,
    pub(crate) object: u32,
    /// Of a component with both ways through it, where it is suspected of one way alone.
    pub(crate) one_way: [Option<u32>; 2],
    /// By item, ascending.
    pub(crate) hits: Vec<Hit>,
    /// Items whose packets are known to have passed it, by kind.
    pub(crate) passed: Vec<u16>,
    /// Ways of items that cross it, ascending; none where there are too many items to look at each way again.
    pub(crate) crossed: Vec<Crossed>,
}

/// Who crosses what.
#[derive(Debug)]
pub(crate) struct Crossings {
    pub(crate) suspects: Vec<Suspect>,
    kinds: usize,
    tallies: Vec<Tally>,
}

impl Crossings {
    pub(crate) fn new(topology: &Topology, groups: &[Group], items: &[Item], kinds: &mut Kinds) -> Self {
        let mut collector = Collector::new(topology, items.len() <= MANY_AT_ONCE);
        for (at, item) in items.iter().enumerate() {
            collector.item(u32::try_from(at).unwrap_or(u32::MAX), item);
        }
        let Collector { objects, mut suspects, numbers: keys, .. } = collector;
        for suspect in &mut suspects {
            let (component, heading) = suspect.key;
            if heading == Heading::Both && has_ways(component) {
                suspect.one_way = one_way(component).map(|key| keys.get(&key).copied());
            }
        }
        let numbers: Vec<u16> = groups.iter().map(|group| kinds.number(Kind::of(&group.class))).collect();
        let count = kinds.all.len();
        let tallies = vec![Tally::default(); objects.count as usize * count];
        let mut this = Self { suspects, kinds: count, tallies };
        this.count(topology, &objects, groups, &numbers);
        this
    }

    /// How others fared that cross a component, by kind.
    pub(crate) fn tallies(&self, object: u32) -> &[Tally] {
        &self.tallies[object as usize * self.kinds..][..self.kinds]
    }

    fn count(&mut self, topology: &Topology, objects: &Objects, groups: &[Group], numbers: &[u16]) {
        let mut walker = Walker::new(topology, objects);
        for (group, &kind) in groups.iter().zip(numbers) {
            let state = State::of(group);
            if state == State::Dead || group.answered == 0 {
                continue;
            }
            walker.walk(group, state);
            for &object in &walker.certain {
                let tally = &mut self.tallies[object as usize * self.kinds + usize::from(kind)];
                tally.groups += 1;
                if state == State::Well {
                    tally.answered += group.answered;
                    tally.stray += group.lost;
                }
            }
            for &object in &walker.may {
                self.tallies[object as usize * self.kinds + usize::from(kind)].may += 1;
            }
        }
    }
}

/// Finds the objects that a group's probes cross.
pub(crate) struct Walker<'a> {
    topology: &'a Topology,
    lifted: Lifted<'a>,
    stamps: Vec<u32>,
    stamp: u32,
    last: Option<(Route, bool)>,
    /// Objects that the last group crosses, each once.
    pub(crate) certain: Vec<u32>,
    /// Objects that it may cross.
    pub(crate) may: Vec<u32>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(topology: &'a Topology, objects: &'a Objects) -> Self {
        Self {
            topology,
            lifted: Lifted::new(topology, objects),
            stamps: vec![0; objects.count as usize],
            stamp: 0,
            last: None,
            certain: Vec::new(),
            may: Vec::new(),
        }
    }

    /// Finds what a group crosses. Groups that differ in their packets alone go the same way.
    pub(crate) fn walk(&mut self, group: &Group, state: State) {
        let route = Route::of(self.topology, group);
        let all = backends(self.topology, group);
        // So many new flows that went well have met each backend.
        let each = route.end.is_none()
            && state == State::Well
            && group.class.fresh
            && unmet(all.len(), group.answered) < 0.01;
        if self.last == Some((route, each)) {
            return;
        }
        self.last = Some((route, each));
        self.certain.clear();
        self.may.clear();
        self.stamp += 1;
        self.add(route);
        if each {
            for &backend in all {
                self.add(route.to(backend));
            }
        }
    }

    fn add(&mut self, route: Route) {
        let Self { topology, lifted, stamps, stamp, certain, may, .. } = self;
        route.request(topology, &mut |step| {
            lifted.each(&step, &mut |object| {
                if step.may {
                    // Whether a backend that is not known is behind it has nothing to do with how this cluster sends.
                    if route.end.is_some() {
                        may.push(object);
                    }
                } else if std::mem::replace(&mut stamps[object as usize], *stamp) != *stamp {
                    certain.push(object);
                }
            });
        });
    }
}

/// Collects suspects from items.
struct Collector<'a> {
    topology: &'a Topology,
    objects: Objects,
    numbers: HashMap<Key, u32, FixedState>,
    suspects: Vec<Suspect>,
    /// Suspects of which a step is a part.
    parts: HashMap<Key, Rc<[u32]>, FixedState>,
    /// Steps of each suspect on the way at hand, and the suspects that have some.
    steps: Vec<Steps>,
    touched: Vec<u32>,
    /// Ways so far.
    ways: u32,
    /// Whether each way is kept.
    each_way: bool,
}

impl<'a> Collector<'a> {
    fn new(topology: &'a Topology, each_way: bool) -> Self {
        let objects = Objects::new(topology);
        let numbers = HashMap::default();
        let parts = HashMap::default();
        Self {
            topology,
            objects,
            numbers,
            suspects: Vec::new(),
            parts,
            steps: Vec::new(),
            touched: Vec::new(),
            ways: 0,
            each_way,
        }
    }

    fn item(&mut self, at: u32, item: &Item) {
        for (way, loss_steps) in &item.ways {
            self.way(way);
            let number_of_way = self.ways;
            self.ways += 1;
            for number in std::mem::take(&mut self.touched) {
                let crossed = std::mem::take(&mut self.steps[number as usize]);
                let explained = crossed & loss_steps.steps;
                let suspect = &mut self.suspects[number as usize];
                if self.each_way {
                    suspect.crossed.push(Crossed { way: number_of_way, steps: crossed });
                }
                let certain = crossed & !way.may();
                if !item.guess && certain.trailing_zeros() < loss_steps.steps.trailing_zeros() {
                    suspect.passed.push(item.kind);
                }
                if explained == 0 {
                    continue;
                }
                // A kernel that reports and a program that answers are neither down nor cut off.
                let whole = matches!(suspect.key.0, Component::Node(_) | Component::Cluster);
                if whole && loss_steps.proof != 0 {
                    continue;
                }
                let first = certain.trailing_zeros() >= explained.trailing_zeros();
                let hit = Hit {
                    item: at,
                    first: first || suspect.key.0 == Component::Cluster,
                    unreported: explained & !(loss_steps.unreported | way.may()) == 0,
                    may: explained & !way.may() == 0,
                    odd: explained & !loss_steps.odd == 0,
                    proof: explained & loss_steps.proof != 0,
                };
                match suspect.hits.last_mut() {
                    Some(last) if last.item == at => {
                        last.first |= hit.first;
                        last.unreported &= hit.unreported;
                        last.odd &= hit.odd;
                        last.may &= hit.may;
                        last.proof |= hit.proof;
                    }
                    _ => suspect.hits.push(hit),
                }
            }
        }
    }

    /// Which steps of a way each component has.
    fn way(&mut self, way: &Way) {
        for at in 0..way.steps.len().min(64) {
            let step = way.steps[at];
            let key = (step.component, step.heading);
            let list = if let Some(list) = self.parts.get(&key) {
                Rc::clone(list)
            } else {
                let list: Rc<[u32]> = self.parts_of(&step).into();
                self.parts.insert(key, Rc::clone(&list));
                list
            };
            for &number in list.iter() {
                let steps = &mut self.steps[number as usize];
                if *steps == 0 {
                    self.touched.push(number);
                }
                *steps |= 1 << at;
            }
        }
    }

    fn parts_of(&mut self, step: &Step) -> Box<[u32]> {
        let mut keys = Vec::new();
        lifts(self.topology, step, &mut |component| {
            if has_ways(component) {
                keys.push((component, step.heading));
            }
            keys.push((both_ways(component), Heading::Both));
        });
        keys.into_iter().map(|key| self.number(key)).collect()
    }

    fn number(&mut self, key: Key) -> u32 {
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        let number = u32::try_from(self.suspects.len()).unwrap_or(u32::MAX);
        let object = self.objects.intern(both_ways(key.0));
        let (hits, passed, crossed) = (Vec::new(), Vec::new(), Vec::new());
        self.suspects.push(Suspect { key, object, one_way: [None; 2], hits, passed, crossed });
        self.steps.push(0);
        self.numbers.insert(key, number);
        number
    }
}
