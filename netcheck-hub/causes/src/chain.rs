//! What happens to the packets of one way under several causes. In: a way's steps, and of which causes they are. Out: the
//! share that passes, that is lost where it was seen to be lost, and how often each cause was met.

use crate::evidence::{LossSteps, Steps, bits};
use crate::joint::{MOST, Manner, NOISE, PASSES, Part};

/// How much less plausible a step is whose kernel would have reported it, beside one that is plain; an odd one beside that.
const LESS: f64 = 0.1;
/// What it costs an item if the kernel of its only explanation would have reported it, and did not; the same if it is the
/// less plausible by far.
const UNREPORTED: f64 = 2.0;
const ODD: f64 = 8.0;

/// What happens on a way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chain {
    /// It passes all.
    pub(crate) survives: f64,
    /// It is lost where it was seen to be: at steps that are plausible, at such whose kernel would have reported it, at
    /// others.
    pub(crate) plain: f64,
    pub(crate) unreported: f64,
    pub(crate) odd: f64,
    /// By cause.
    pub(crate) lost: [f64; MOST],
    pub(crate) tried: [f64; MOST],
    /// The same, of what is lost elsewhere.
    pub(crate) lost_else: [f64; MOST],
    pub(crate) tried_else: [f64; MOST],
    pub(crate) crossed: [f64; MOST],
}

impl Chain {
    /// How probable it is that it is lost where it was seen to be, what counts so much of what was shared out, and what it
    /// costs that only implausible steps explain it.
    pub(crate) fn within(&self) -> (f64, f64, f64) {
        let all = self.plain + self.unreported + self.odd;
        if self.plain > 0.05 * all {
            ((self.plain + LESS * self.unreported + LESS * LESS * self.odd).min(1.0), 1.0, 0.0)
        } else if self.plain + self.unreported > 0.05 * all {
            ((self.plain / LESS + self.unreported + LESS * self.odd).min(1.0), 1.0 / LESS, UNREPORTED)
        } else {
            let cost = if all < NOISE { 0.0 } else { ODD };
            (all.min(1.0), 1.0 / (LESS * LESS), cost)
        }
    }

    /// A share of packets goes along a way.
    pub(crate) fn along(
        &mut self,
        (way, (loss_steps, may)): (usize, (LossSteps, Steps)),
        parts: &[Part],
        (by_port, dead): (bool, Option<usize>),
        share: f64,
    ) {
        let steps = |part: &Part| match (part.manner, dead) {
            (Manner::Ports, Some(dead)) if by_port => part.steps[way] & 1 << dead,
            (Manner::Ports, None) if by_port => 0,
            _ => part.steps[way],
        };
        let all = parts.iter().fold(0, |all, part| all | steps(part));
        // Source ports are counted by themselves.
        let counted = |part: &Part| !by_port || part.manner != Manner::Ports;
        let mut survives = share;
        for step in bits(all) {
            let bit = 1 << step;
            let (mut pass, mut rates) = (1.0, 0.0);
            let mut own = [0.0; MOST];
            for (number, part) in parts.iter().enumerate().filter(|(_, part)| steps(part) & bit != 0) {
                let rate = if by_port && part.manner == Manner::Ports { 1.0 - PASSES } else { part.rate };
                own[number] = rate;
                pass *= 1.0 - rate;
                rates += rate;
                if counted(part) {
                    self.crossed[number] += share * f64::from(u8::from(may & bit == 0));
                }
            }
            let here = survives * (1.0 - pass);
            if loss_steps.steps & bit != 0 {
                let weight = match ((loss_steps.unreported | may) & bit != 0, loss_steps.odd & bit != 0) {
                    (_, true) => LESS * LESS,
                    (true, false) => LESS,
                    (false, false) => 1.0,
                };
                let best = if weight < LESS {
                    &mut self.odd
                } else if weight < 1.0 {
                    &mut self.unreported
                } else {
                    &mut self.plain
                };
                *best += here;
                for (number, part) in parts.iter().enumerate().filter(|(_, part)| counted(part)) {
                    self.lost[number] += weight * here * own[number] / rates;
                    let met = steps(part) & ((bit - 1) | bit);
                    self.tried[number] += weight * here * f64::from(met.count_ones());
                }
            }
            if loss_steps.steps & bit == 0 {
                for (number, part) in parts.iter().enumerate().filter(|(_, part)| counted(part)) {
                    self.lost_else[number] += here * own[number] / rates;
                    self.tried_else[number] +=
                        here * f64::from((steps(part) & ((bit - 1) | bit)).count_ones());
                }
            }
            // What is crossed in some clusters only may be crossed, and may not.
            if may & bit == 0 {
                survives *= pass;
            }
        }
        self.survives += survives;
    }
}
