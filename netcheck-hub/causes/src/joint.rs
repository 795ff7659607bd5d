//! How probable all that happened is by several causes together. In: causes. Out: their rates of losses, a cost in nats,
//! and what each of them explains.
//!
//! The packets of an item cross the steps of its way in order. At a step of a cause they are lost by its rate, and what is
//! lost earlier never comes to a later one; where the item was seen to be lost says at which steps it may have been. So
//! losses on two steps of one way speak of two causes, or of one that is met twice. Rates are fitted by expectation and
//! maximisation: each loss is shared out among the causes that may have had it.

use std::sync::Arc;

use crate::cause::Pattern;
use crate::chain::Chain;
use crate::class::{Kinds, means};
use crate::crossings::{Crossings, Suspect};
use crate::evidence::{LossSteps, Steps, bits};
use crate::symptoms::Item;

/// Probes that are lost without a cause.
pub(crate) const NOISE: f64 = 0.01;
/// Losses of which what is known is misleading.
const MISLED: f64 = 0.000_5;
/// What passes a cause that loses all.
pub(crate) const PASSES: f64 = 0.000_5;
/// Of what is lost where others were seen to be lost so much is not seen.
const UNREPORTED: f64 = 0.25;
/// What it costs an item that was lost altogether if nothing explains it.
const DEAD: f64 = 20.0;
/// More causes at once are not looked at together.
pub(crate) const MOST: usize = 8;

/// How a cause picks what it loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    All,
    /// Each packet at each step by chance.
    Chance,
    /// All since it began, which some probes came before: what passes it once passes it again.
    Lately,
    Ports,
}

/// A suspect that loses packets of a pattern in a manner.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) suspect: usize,
    pub(crate) pattern: Pattern,
    pub(crate) manner: Manner,
    pub(crate) rate: f64,
    /// Its steps, by number of the way.
    pub(crate) steps: Arc<[Steps]>,
    /// How often probes crossed it that were answered and are in no item; of source ports: how many of these.
    pub(crate) passed: f64,
}

/// All items with their ways.
pub(crate) struct Joint<'a> {
    crossings: &'a Crossings,
    items: &'a [Item],
    kinds: &'a Kinds,
    ways: Vec<(u32, LossSteps, Steps)>,
    /// Number of the first way, by item.
    first: Vec<usize>,
    /// Answered probes, by item: of several items of one group the first has them.
    answered: Vec<f64>,
}

/// Losses and crossings that were shared out among causes.
#[derive(Clone, Copy, Default)]
struct Shares {
    lost: [f64; MOST],
    tried: [f64; MOST],
}

impl<'a> Joint<'a> {
    pub(crate) fn new(crossings: &'a Crossings, items: &'a [Item], kinds: &'a Kinds) -> Self {
        let mut ways = Vec::new();
        let mut first = Vec::with_capacity(items.len());
        let mut answered = Vec::with_capacity(items.len());
        let mut last = usize::MAX;
        for (at, item) in items.iter().enumerate() {
            first.push(ways.len());
            answered.push(if last == item.group { 0.0 } else { f64::from(item.answered) });
            last = item.group;
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            ways.extend(item.ways.iter().map(|(way, loss_steps)| (at, *loss_steps, way.may())));
        }
        first.push(ways.len());
        Self { crossings, items, kinds, ways, first, answered }
    }

    fn way(&self, number: usize) -> (LossSteps, Steps) {
        let (_, loss_steps, may) = self.ways[number];
        (loss_steps, may)
    }

    /// How many ways all items have.
    pub(crate) fn ways(&self) -> usize {
        self.ways.len()
    }

    pub(crate) fn part(&self, number: usize, pattern: Pattern, manner: Manner) -> Part {
        let suspect = &self.crossings.suspects[number];
        let tallies = self.crossings.tallies(suspect.object);
        let mut steps = vec![0; self.ways.len()];
        let (mut crossings, mut crossed) = (0.0, 0.0);
        for it in &suspect.crossed {
            let (item, _, may) = self.ways[it.way as usize];
            let kind = usize::from(self.items[item as usize].kind);
            crossings += f64::from((it.steps & !may).count_ones());
            crossed += f64::from(u8::from(it.steps & !may != 0));
            if means(&pattern, self.kinds.all[kind]) {
                let known = if tallies[kind].may > 0 { !may } else { Steps::MAX };
                let own = it.steps & known;
                // What came through at the first step came before it began.
                let first = own & own.wrapping_neg();
                steps[it.way as usize] = if manner == Manner::Lately { first } else { own };
            }
        }
        let each = match manner {
            Manner::Lately => 1.0,
            _ => f64::max(crossings / f64::max(crossed, 1.0), 1.0),
        };
        let meant = tallies.iter().zip(&self.kinds.all).filter(|(_, kind)| means(&pattern, **kind));
        let passed: f64 = meant
            .map(|(tally, kind)| match manner {
                Manner::Ports if kind.ported || !kind.fresh => f64::from(tally.groups),
                _ => f64::from(tally.answered),
            })
            .sum();
        let rate = if manner == Manner::All { 1.0 - PASSES } else { self.share_lost(&steps, passed * each) };
        Part { suspect: number, pattern, manner, rate, steps: steps.into(), passed: passed * each }
    }

    /// The share of losses among all that cross these steps, or have passed: where a rate begins.
    fn share_lost(&self, steps: &[Steps], passed: f64) -> f64 {
        let (mut lost, mut all) = (0.0, passed);
        for (at, item) in self.items.iter().enumerate() {
            if steps[self.first[at]..self.first[at + 1]].iter().any(|&steps| steps != 0) {
                lost += f64::from(item.lost);
                all += f64::from(item.lost) + self.answered[at];
            }
        }
        (0.7 * lost / f64::max(all, 1.0)).clamp(0.01, 0.9)
    }

    pub(crate) fn suspect(&self, part: &Part) -> &'a Suspect {
        &self.crossings.suspects[part.suspect]
    }

    /// How improbable all items and all that passed are by these causes, in nats. Their rates are fitted in so many rounds.
    pub(crate) fn cost(&self, parts: &mut [Part], rounds: usize) -> f64 {
        let fixed = parts.iter().all(|part| part.manner == Manner::All);
        let mut cost = 0.0;
        for round in 0..if fixed { 1 } else { rounds } {
            let mut shares = Shares::default();
            cost = (0..self.items.len()).map(|at| self.item(at, parts, Some(&mut shares))).sum();
            for part in parts.iter() {
                cost -= part.passed * (1.0 - part.rate).ln();
            }
            if round + 1 == rounds {
                break;
            }
            for (at, part) in parts.iter_mut().enumerate() {
                if part.manner != Manner::All {
                    let tried = shares.tried[at] + part.passed;
                    part.rate = ((shares.lost[at] + 0.05) / (tried + 0.1)).clamp(0.002, 0.99);
                }
            }
        }
        cost
    }

    /// How improbable an item is, in nats.
    fn item(&self, at: usize, parts: &[Part], shares: Option<&mut Shares>) -> f64 {
        let kind = self.kinds.all[usize::from(self.items[at].kind)];
        let by_port = kind.ported || !kind.fresh;
        let ports = self.first[at]..self.first[at + 1];
        let ported: Steps = parts
            .iter()
            .filter(|part| by_port && part.manner == Manner::Ports)
            .flat_map(|part| ports.clone().map(|way| part.steps[way]))
            .fold(0, |all, steps| all | steps);
        if ported == 0 {
            return self.of_ways(at, parts, by_port, shares);
        }
        // One source port is lost at one of the steps, or at none.
        let mut left = 1.0;
        let mut outcomes: Vec<(f64, Chain)> = Vec::new();
        for dead in bits(ported) {
            let meets = |part: &&Part| {
                part.manner == Manner::Ports && ports.clone().any(|way| part.steps[way] & 1 << dead != 0)
            };
            let pass: f64 = parts.iter().filter(meets).map(|part| 1.0 - part.rate).product();
            outcomes.push((left * (1.0 - pass), self.chain(at, parts, (true, Some(dead)))));
            left *= pass;
        }
        outcomes.push((left, self.chain(at, parts, (true, None))));
        let logs: Vec<f64> = outcomes
            .iter()
            .map(|(chance, chain)| chance.ln() - self.share(at, chain, (0.0, parts.len()), None))
            .collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
        if let Some(shares) = shares {
            for ((_, chain), log) in outcomes.iter().zip(&logs) {
                self.share(at, chain, ((log - most).exp() / sum, parts.len()), Some(shares));
            }
            share_ports(&ports, parts, (&outcomes, &logs, most, sum), ported, shares);
        }
        -(most + sum.ln())
    }

    /// Probes may have gone one of several ways each, or all of them the same one.
    fn of_ways(&self, at: usize, parts: &[Part], by_port: bool, shares: Option<&mut Shares>) -> f64 {
        let chain = self.chain(at, parts, (by_port, None));
        let ways = self.first[at]..self.first[at + 1];
        let mut best = (self.share(at, &chain, (1.0, parts.len()), None), chain);
        if ways.len() > 1 {
            let choice = f64::from(u32::try_from(ways.len()).unwrap_or(u32::MAX)).ln();
            for way in ways {
                let mut chain = Chain::default();
                chain.along((way, self.way(way)), parts, (by_port, None), 1.0);
                let cost = self.share(at, &chain, (1.0, parts.len()), None) + choice;
                if cost < best.0 {
                    best = (cost, chain);
                }
            }
        }
        if let Some(shares) = shares {
            self.share(at, &best.1, (1.0, parts.len()), Some(shares));
        }
        best.0
    }

    /// How improbable an item is by what happens on its way, in nats; what it says of the causes counts so much.
    fn share(
        &self,
        at: usize,
        chain: &Chain,
        (weight, parts): (f64, usize),
        shares: Option<&mut Shares>,
    ) -> f64 {
        let (lost, answered) = (f64::from(self.items[at].lost), self.answered[at]);
        let (within, scale, odd) = chain.within();
        let chance = within + NOISE * chain.survives + MISLED;
        let vague = f64::from(self.items[at].vague).min(lost);
        let known = lost - vague;
        let elsewhere = (1.0 - chain.survives - within).max(0.0);
        let somewhere = UNREPORTED * within + elsewhere + NOISE * chain.survives + MISLED;
        if let Some(shares) = shares {
            let here = weight * scale * (known / chance + vague * UNREPORTED / somewhere);
            let there = weight * vague / somewhere;
            for number in 0..parts {
                shares.lost[number] += here * chain.lost[number] + there * chain.lost_else[number];
                shares.tried[number] += here * chain.tried[number] + there * chain.tried_else[number];
                shares.tried[number] += weight * answered * chain.crossed[number];
            }
        }
        // What is lost altogether is lost to something.
        let nothing = if within < NOISE && self.items[at].sole { DEAD } else { 0.0 };
        let passed = answered * chain.survives.max(PASSES).ln();
        odd + nothing - known * chance.ln() - vague * somewhere.min(1.0).ln() - passed
    }

    /// What happens to an item's packets; of a source port that is lost at a step, where it is.
    fn chain(&self, at: usize, parts: &[Part], ports: (bool, Option<usize>)) -> Chain {
        let ways = self.first[at]..self.first[at + 1];
        let mut sum = Chain::default();
        let share = 1.0 / f64::from(u32::try_from(ways.len()).unwrap_or(u32::MAX)).max(1.0);
        for way in ways {
            sum.along((way, self.way(way)), parts, ports, share);
        }
        sum
    }

    /// For each cause the items that it explains, ascending: those of which it had a good part.
    pub(crate) fn explained(&self, parts: &[Part]) -> Vec<Vec<u32>> {
        let mut explained = vec![Vec::new(); parts.len()];
        for at in 0..self.items.len() {
            let shares = self.shares(at, parts);
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            for (explained, share) in explained.iter_mut().zip(shares) {
                if share > 0.2 {
                    explained.push(number);
                }
            }
        }
        explained
    }

    /// Items that these causes leave unexplained, with the losses that are left.
    pub(crate) fn left(&self, parts: &[Part]) -> Vec<(u32, f64)> {
        let open =
            |at: usize| f64::from(self.items[at].lost) * (1.0 - self.shares(at, parts).iter().sum::<f64>());
        let all = (0..self.items.len()).map(|at| (u32::try_from(at).unwrap_or(u32::MAX), open(at)));
        all.filter(|(_, open)| *open > 0.5).collect()
    }

    /// The share of an item's losses that each cause had.
    fn shares(&self, at: usize, parts: &[Part]) -> [f64; MOST] {
        let mut shares = Shares::default();
        self.item(at, parts, Some(&mut shares));
        let kind = self.kinds.all[usize::from(self.items[at].kind)];
        let by_port = kind.ported || !kind.fresh;
        let mut of = [0.0; MOST];
        for (number, part) in parts.iter().enumerate() {
            // Of a source port one loss is all of them.
            let all =
                if by_port && part.manner == Manner::Ports { 1.0 } else { f64::from(self.items[at].lost) };
            of[number] = shares.lost[number] / all;
        }
        of
    }
}

/// A source port is tried once at each step that it comes to, and lost there or not.
fn share_ports(
    ways: &std::ops::Range<usize>,
    parts: &[Part],
    (outcomes, logs, most, sum): (&[(f64, Chain)], &[f64], f64, f64),
    ported: Steps,
    shares: &mut Shares,
) {
    for (number, part) in parts.iter().enumerate().filter(|(_, part)| part.manner == Manner::Ports) {
        let own = ways.clone().map(|way| part.steps[way]).fold(0, |all, steps| all | steps);
        for (place, log) in logs.iter().enumerate().take(outcomes.len()) {
            let chance = (log - most).exp() / sum;
            let mut tried = 0.0;
            for (order, step) in bits(ported).enumerate().take_while(|(order, _)| *order <= place) {
                if own & 1 << step != 0 {
                    tried += 1.0;
                    if order == place {
                        shares.lost[number] += chance;
                    }
                }
            }
            shares.tried[number] += chance * tried;
        }
    }
}
