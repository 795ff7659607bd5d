//! From causes that were found one by one to causes that fit together. In: what was chosen. Out: the same, with causes
//! replaced, taken together, left out or added wherever that makes what happened clearly more probable.
//!
//! Causes are found one by one, each as if it were alone. Together they may do with fewer, with one way through a component
//! instead of both, or with another manner of losing.

use crate::candidates::{Candidate, structure};
use crate::cause::{Component, Heading, Pattern};
use crate::class::{Kinds, covers, patterns, restrictions};
use crate::crossings::{Crossings, MANY_AT_ONCE};
use crate::explain::Chosen;
use crate::joint::{Joint, MOST, Manner, Part};
use crate::rates::Mode;
use crate::scope::has_ways;
use crate::symptoms::Item;
use crate::topology::Topology;

/// What a further cause must be worth, in nats.
const CAUSE: f64 = 14.0;
/// What each restriction of a pattern must be worth, and a rate.
const RESTRICTION: f64 = 3.0;
/// What a change must be worth.
const CHANGE: f64 = 5.0;
/// Changes at the most.
const CHANGES: usize = 8;
/// Suspects that are tried in a cause's place.
const OTHERS: usize = 40;
/// Rounds in which rates are fitted, of what is tried and of what is kept.
const TRIED: usize = 5;
const FITTED: usize = 25;
/// Ways of items that are looked at in all.
const BUDGET: usize = 2_500_000;

/// Makes the chosen causes fit together.
pub(crate) fn polish(
    topology: &Topology,
    (crossings, items, kinds): (&Crossings, &[Item], &Kinds),
    mut chosen: Vec<Chosen>,
) -> Vec<Chosen> {
    if chosen.is_empty() || items.len() > MANY_AT_ONCE {
        return chosen;
    }
    // Of very many the greatest: most of the rest explain what chance has left of these.
    let many = chosen.len() > MOST;
    if many {
        chosen.sort_by_key(|it| std::cmp::Reverse(it.candidate.items.len()));
        chosen.truncate(MOST - 1);
    }
    let joint = Joint::new(crossings, items, kinds);
    let mut parts = Vec::new();
    for chosen in &chosen {
        let number = crossings.suspects.iter().position(|it| it.key == chosen.candidate.key);
        let Some(number) = number else { return Vec::new() };
        let manner = match chosen.mode {
            None => Manner::All,
            Some(Mode::Chance) => Manner::Chance,
            Some(Mode::Ports) => Manner::Ports,
        };
        parts.push(joint.part(number, chosen.candidate.pattern, manner));
    }
    let mut polisher = Polisher { topology, crossings, items, kinds, joint, left: BUDGET, open: 0 };
    let (parts, changed) = polisher.run(parts);
    if changed { polisher.chosen(&parts, &chosen) } else { chosen }
}

struct Polisher<'a> {
    topology: &'a Topology,
    crossings: &'a Crossings,
    items: &'a [Item],
    kinds: &'a Kinds,
    joint: Joint<'a>,
    left: usize,
    /// Items that the causes at hand leave unexplained and that were lost altogether.
    open: usize,
}

/// A set of causes that may be better, by what it costs.
struct Trial {
    cost: f64,
    parts: Vec<Part>,
}

impl Polisher<'_> {
    fn run(&mut self, parts: Vec<Part>) -> (Vec<Part>, bool) {
        let mut now = self.trial(parts);
        let mut changed = false;
        for _ in 0..CHANGES {
            now = self.fitted(now.parts, FITTED);
            self.open = self.open(&now.parts);
            let Some(better) = self.change(&now) else { break };
            if better.cost > now.cost - CHANGE {
                break;
            }
            (now, changed) = (better, true);
        }
        (now.parts, changed)
    }

    fn trial(&mut self, parts: Vec<Part>) -> Trial {
        self.fitted(parts, TRIED)
    }

    fn fitted(&mut self, mut parts: Vec<Part>, rounds: usize) -> Trial {
        self.left = self.left.saturating_sub(self.joint.ways() * (rounds + 2));
        let mut cost = self.joint.cost(&mut parts, rounds);
        for part in &parts {
            let mut candidate = Candidate::new(self.joint.suspect(part).key, part.pattern);
            candidate.proven = 1;
            candidate.items.push(0);
            cost += CAUSE + 0.05 * f64::from(structure(self.topology, &candidate));
            cost += RESTRICTION * f64::from(restrictions(&part.pattern));
            cost += if part.manner == Manner::All { 0.0 } else { RESTRICTION };
        }
        Trial { cost, parts }
    }

    /// The best change of one or two causes.
    fn change(&mut self, now: &Trial) -> Option<Trial> {
        let mut best: Option<Trial> = None;
        let explained = self.joint.explained(&now.parts);
        let (items, kinds) = (self.items, self.kinds);
        let ported = |explained: &[u32]| {
            explained.iter().any(|&item| kinds.all[usize::from(items[item as usize].kind)].ported)
        };
        for (place, explained) in explained.iter().enumerate() {
            let rest: Vec<Part> = now
                .parts
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != place)
                .map(|(_, part)| part.clone())
                .collect();
            self.consider(rest.clone(), &mut best);
            let part = &now.parts[place];
            let mut own: Option<Trial> = None;
            for other in self.others(explained, part) {
                for manner in [Manner::All, Manner::Chance, Manner::Lately, Manner::Ports] {
                    if manner == Manner::Ports && part.manner != Manner::Ports && !ported(explained) {
                        continue;
                    }
                    let part = self.joint.part(other, part.pattern, manner);
                    self.consider(with(&rest, part), &mut own);
                }
            }
            let suspects =
                [Some(part.suspect), own.as_ref().and_then(|own| own.parts.last()).map(|it| it.suspect)];
            take(own, &mut best);
            for pattern in self.patterns(explained, &part.pattern) {
                for suspect in suspects.into_iter().flatten() {
                    let part = self.joint.part(suspect, pattern, part.manner);
                    self.consider(with(&rest, part), &mut best);
                }
            }
        }
        self.together(now, &explained, &mut best);
        self.more(now, &mut best);
        best
    }

    /// How many items these causes leave unexplained that were lost altogether.
    fn open(&self, parts: &[Part]) -> usize {
        self.joint.left(parts).iter().filter(|(item, _)| self.items[*item as usize].dead).count()
    }

    fn consider(&mut self, parts: Vec<Part>, best: &mut Option<Trial>) {
        // What is down or cut off loses all.
        let whole = |part: &Part| {
            let component = self.joint.suspect(part).key.0;
            matches!(part.manner, Manner::All | Manner::Lately)
                || !matches!(component, Component::Node(_) | Component::Cluster)
        };
        let twice = parts.split_last().is_some_and(|(last, rest)| {
            rest.iter().any(|it| it.suspect == last.suspect && it.pattern == last.pattern)
        });
        if self.left == 0 || twice || !parts.last().is_none_or(whole) {
            return;
        }
        let trial = self.trial(parts);
        // What was explained stays so.
        if best.as_ref().is_none_or(|best| trial.cost < best.cost) && self.open(&trial.parts) <= self.open {
            take(Some(trial), best);
        }
    }

    /// One cause in the place of two.
    fn together(&mut self, now: &Trial, explained: &[Vec<u32>], best: &mut Option<Trial>) {
        for one in 0..now.parts.len() {
            for two in one + 1..now.parts.len() {
                let rest: Vec<Part> = now
                    .parts
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| *at != one && *at != two)
                    .map(|(_, part)| part.clone())
                    .collect();
                let mut all: Vec<u32> = explained[one].iter().chain(&explained[two]).copied().collect();
                all.sort_unstable();
                all.dedup();
                let (this, that) = (&now.parts[one], &now.parts[two]);
                let mut patterns = vec![Pattern::default(), this.pattern, that.pattern];
                patterns.sort_unstable();
                patterns.dedup();
                let mut manners = vec![this.manner];
                if that.manner != this.manner {
                    manners.push(that.manner);
                }
                if !manners.contains(&Manner::Lately) {
                    manners.push(Manner::Lately);
                }
                let others = self.others(&all, this);
                for other in others.into_iter().take(OTHERS / 4).chain([this.suspect, that.suspect]) {
                    for &pattern in &patterns {
                        for &manner in &manners {
                            let part = self.joint.part(other, pattern, manner);
                            self.consider(with(&rest, part), best);
                        }
                    }
                }
            }
        }
    }

    /// A further cause for what is left unexplained.
    fn more(&mut self, now: &Trial, best: &mut Option<Trial>) {
        if now.parts.len() >= MOST {
            return;
        }
        let left = self.joint.left(&now.parts);
        if left.iter().map(|(_, open)| *open).sum::<f64>() < 3.0 {
            return;
        }
        let mut open = vec![0.0; self.items.len()];
        for (item, lost) in left {
            open[item as usize] = lost;
        }
        let worth = |number: &usize| -> f64 {
            self.crossings.suspects[*number].hits.iter().map(|hit| open[hit.item as usize]).sum()
        };
        let mut all: Vec<(f64, usize)> =
            (0..self.crossings.suspects.len()).map(|at| (worth(&at), at)).filter(|it| it.0 > 2.0).collect();
        all.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| self.order(one.1, other.1)));
        for (_, number) in all.into_iter().take(OTHERS) {
            for manner in [Manner::All, Manner::Chance] {
                let part = self.joint.part(number, Pattern::default(), manner);
                self.consider(with(&now.parts, part), best);
            }
        }
    }

    /// Suspects that may explain most of these items.
    fn others(&self, items: &[u32], part: &Part) -> Vec<usize> {
        let mut own = vec![false; self.items.len()];
        for &item in items {
            own[item as usize] = true;
        }
        let shared = |number: usize| {
            self.crossings.suspects[number].hits.iter().filter(|hit| own[hit.item as usize]).count()
        };
        let mut all: Vec<(usize, usize)> = (0..self.crossings.suspects.len())
            .map(|at| (shared(at), at))
            .filter(|&(shared, at)| shared * 2 > items.len() || at == part.suspect)
            .collect();
        all.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| self.order(one.1, other.1)));
        all.truncate(OTHERS);
        all.into_iter().map(|(_, at)| at).collect()
    }

    fn order(&self, one: usize, other: usize) -> std::cmp::Ordering {
        let key = |at: usize| {
            let suspect = &self.crossings.suspects[at];
            (Candidate::new(suspect.key, Pattern::default()).plain_rank(), suspect.hits.len())
        };
        key(one).cmp(&key(other))
    }

    /// Patterns that mean the kinds of most of these items, or that mean more or less than another one.
    fn patterns(&self, items: &[u32], current: &Pattern) -> Vec<Pattern> {
        let mut counts = vec![0_usize; self.kinds.all.len()];
        for &item in items {
            counts[usize::from(self.items[item as usize].kind)] += 1;
        }
        let mut all: Vec<Pattern> = Vec::new();
        for (&kind, _) in self.kinds.all.iter().zip(&counts).filter(|(_, count)| **count > 0) {
            patterns(kind, &mut |pattern| {
                let near = covers(&pattern, current) || covers(current, &pattern);
                let few = restrictions(&pattern).abs_diff(restrictions(current)) <= 2;
                if near && few && pattern != *current {
                    all.push(pattern);
                }
            });
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Causes as they are reported: what did not change is as it was.
    fn chosen(&mut self, parts: &[Part], before: &[Chosen]) -> Vec<Chosen> {
        let explained = self.joint.explained(parts);
        let mut chosen = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let key = self.joint.suspect(part).key;
            let mode = match part.manner {
                Manner::All => None,
                Manner::Chance | Manner::Lately => Some(Mode::Chance),
                Manner::Ports => Some(Mode::Ports),
            };
            let same = before.iter().find(|it| {
                it.candidate.key == key && it.candidate.pattern == part.pattern && it.mode == mode
            });
            if let Some(same) = same {
                chosen.push(same.clone());
                continue;
            }
            let mut candidate = Candidate::new(key, part.pattern);
            for hit in &self.joint.suspect(part).hits {
                if explained[at].binary_search(&hit.item).is_ok() {
                    candidate.take(*hit);
                }
            }
            candidate.rank = structure(self.topology, &candidate);
            candidate.equals = self.equals(parts, at, &explained[at]);
            chosen.push(Chosen { candidate, mode, cost: 0.0 });
        }
        chosen
    }

    /// Others that explain the same as well.
    fn equals(&mut self, parts: &[Part], at: usize, explained: &[u32]) -> Vec<(Component, Heading)> {
        let mut parts = parts.to_vec();
        let cost = self.joint.cost(&mut parts, FITTED);
        let mut equals = Vec::new();
        let part = parts[at].clone();
        for other in self.others(explained, &part) {
            let key = self.crossings.suspects[other].key;
            if other == part.suspect || part.manner != Manner::All && !has_ways(key.0) {
                continue;
            }
            let mut trial = parts.clone();
            trial[at] = self.joint.part(other, part.pattern, part.manner);
            if (self.joint.cost(&mut trial, FITTED) - cost).abs() < 1e-6 {
                equals.push(key);
            }
        }
        equals
    }
}

fn with(rest: &[Part], part: Part) -> Vec<Part> {
    let mut parts = rest.to_vec();
    parts.push(part);
    parts
}

/// The cheaper one; the first of two that cost the same.
fn take(trial: Option<Trial>, best: &mut Option<Trial>) {
    if let Some(trial) = trial
        && best.as_ref().is_none_or(|best| trial.cost < best.cost - 1e-6)
    {
        *best = Some(trial);
    }
}
