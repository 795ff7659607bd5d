//! Whether causes that were named are the true ones, as far as the facts allow anybody to judge.
//!
//! Two causes are the same for the hub if they lose the same probes at steps that leave the same evidence. So a cause is
//! judged by what it would lose, and not by its name.

use netcheck_causes::{Cause, Certainty, Component, Heading, Pattern};

use self::bench::{Bench, Mode};
use crate::case::Case;

mod bench;

/// What is said to be broken.
pub type Named = (Component, Heading, Pattern);

/// How an answer compares with the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The true causes and nothing else.
    Exact,
    /// The true causes and more.
    Superset,
    /// Something that is not true, and not all that is.
    Wrong,
    /// Nothing that is not true, and not all that is.
    Missed,
}

/// How an answer compares with the truth.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// For each true fault whether it was named.
    pub named: Vec<bool>,
    /// For each cause of the answer whether it is true.
    pub correct: Vec<bool>,
    /// Causes that were called observed and are not true.
    pub observed_and_false: usize,
}

/// Judges an answer.
#[must_use]
pub fn judge(case: &Case, answer: &[Cause]) -> Judgement {
    let bench = Bench::new(case);
    let answered: Vec<Named> = answer.iter().map(|it| (it.component, it.heading, it.pattern)).collect();
    let truth = bench.truth();
    let mut named = vec![false; truth.len()];
    let mut correct = vec![false; answer.len()];
    for (at, cause) in answer.iter().enumerate() {
        let free = (0..truth.len()).find(|&number| !named[number] && bench.same_with(&truth, number, cause));
        if let Some(number) = free {
            named[number] = true;
            correct[at] = true;
        }
    }
    let whole = answer.len() <= truth.len()
        && bench.same(&answered)
        && answer.iter().enumerate().all(|(at, cause)| bench.same_with(&answered, at, cause));
    if whole {
        named.fill(true);
        correct.fill(true);
    }
    let all = named.iter().all(|&it| it);
    let only = correct.iter().all(|&it| it);
    let verdict = match (all, only) {
        _ if whole => Verdict::Exact,
        (true, false) => Verdict::Superset,
        (false, true) => Verdict::Missed,
        _ => Verdict::Wrong,
    };
    let observed = answer.iter().zip(&correct).zip(&answered);
    let false_ones = observed
        .filter(|((cause, correct), named)| {
            cause.certainty == Certainty::Observed && !**correct && !bench.part_of_truth(**named)
        })
        .count();
    Judgement { verdict, named, correct, observed_and_false: false_ones }
}

/// The first probes by which the hub can distinguish an answer from the truth, in words; none where it cannot.
#[must_use]
pub fn distinguishing(case: &Case, answer: &[Cause]) -> Option<String> {
    let answered: Vec<Named> = answer.iter().map(|it| (it.component, it.heading, it.pattern)).collect();
    Bench::new(case).distinguishing(&answered)
}

/// The truth of a case as an answer: what the judge must call exact.
#[must_use]
pub fn truth_as_answer(case: &Case) -> Vec<Cause> {
    let cause = |fault: &crate::fault::Fault| Cause {
        component: fault.component,
        heading: fault.heading,
        pattern: fault.pattern,
        certainty: Certainty::Observed,
        alternatives: Vec::new(),
        places: Vec::new(),
        explains: Vec::new(),
        contradictions: Vec::new(),
        lost: 0,
        crossed: 0,
        avoiding_answered: 0,
        avoiding_lost: 0,
    };
    case.truth.iter().map(cause).collect()
}

/// Leaves out what another fault hides altogether. What it lost all the same, but where it looks like the other one's
/// losses, is the other one's then.
pub(crate) fn prune(case: &mut Case) {
    for at in (0..case.truth.len()).rev() {
        if case.truth.len() < 2 {
            return;
        }
        let bench = Bench::new(case);
        let mut rest = bench.truth();
        rest.remove(at);
        if !bench.same(&rest) {
            continue;
        }
        let mut lost = case.lost.clone();
        for (flow, lost) in lost.iter_mut().enumerate() {
            for lost in lost {
                if lost.fault == at {
                    let alike = |&&(step, ..): &&(usize, usize, Mode)| bench.compatible(flow, lost, step);
                    let Some(&(step, fault, _)) = bench.predict(flow, &rest).iter().find(alike) else {
                        continue;
                    };
                    (lost.step, lost.fault) = (step, fault);
                } else {
                    lost.fault -= usize::from(lost.fault > at);
                }
            }
        }
        case.lost = lost;
        case.truth.remove(at);
    }
}
