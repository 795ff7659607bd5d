//! What sets of causes would lose, flow by flow, and whether the hub could distinguish them.

use std::collections::BTreeMap;

use netcheck_causes::{
    Answer, Cause, Component, End, Endpoint, Heading, Pattern, Stage, Topology, Visibility,
};

use super::Named;
use crate::case::Case;
use crate::observe::{Lost, Said, lossy, way_of, window};
use crate::way::{Part, Way};

/// Expected losses that did not happen, below which chance may well have it so.
const SLACK: f64 = 3.0;
/// By how much the lost share of probes with unknown backends may be off.
const SHARE: f64 = 0.2;
/// So many alternatives still help a person.
const ALTERNATIVES: usize = 3;

/// A case with the ways of its flows.
pub(super) struct Bench<'a> {
    case: &'a Case,
    ways: Vec<Way>,
    /// For each fault whether all of its pattern's probes were lost, or some, where the facts allow both.
    either: Vec<bool>,
}

/// How much of a flow a cause loses on a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    All,
    Part,
    Ports,
}

const fn mode(pattern: Pattern) -> Mode {
    if pattern.by_port {
        Mode::Ports
    } else if pattern.partial {
        Mode::Part
    } else {
        Mode::All
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(case: &'a Case) -> Self {
        let ways = case.flows.iter().map(|flow| way_of(&case.topology, flow)).collect();
        let mut bench = Self { case, ways, either: Vec::new() };
        bench.either = (0..case.truth.len()).map(|fault| bench.either(fault)).collect();
        bench
    }

    pub(super) fn truth(&self) -> Vec<Named> {
        self.case.truth.iter().map(|it| (it.component, it.heading, it.pattern)).collect()
    }

    fn topology(&self) -> &Topology {
        &self.case.topology
    }

    /// It has just begun, or it happened to lose all.
    fn either(&self, fault: usize) -> bool {
        let truth = &self.case.truth[fault];
        let pairs = self.case.flows.iter().zip(&self.case.lost);
        let mut met = pairs.filter(|(_, lost)| lost.iter().any(|it| it.fault == fault));
        let all = met.all(|(flow, lost)| lost.iter().map(|it| it.probes).sum::<u32>() == flow.probes);
        truth.before > 0.0 || all && truth.pattern.partial
    }

    /// Where a set of causes loses packets of a flow: by cause, up to the first step that none passes.
    pub(super) fn predict(&self, flow: usize, causes: &[Named]) -> Vec<(usize, usize, Mode)> {
        let mut met = Vec::new();
        for (number, &cause) in causes.iter().enumerate() {
            let on = lossy(self.topology(), cause, &self.case.flows[flow], &self.ways[flow]);
            met.extend(on.map(|step| (step, number, mode(cause.2))));
        }
        // Whether a node's forwarding is what passes on packets that are none of its pods' is not said: where none was
        // lost, it is not held against anybody.
        let transit = |step: usize| matches!(self.ways[flow].steps[step].part, Part::Transit(_));
        if !self.case.lost[flow].iter().any(|lost| transit(lost.step)) {
            met.retain(|&(step, ..)| !transit(step));
        }
        met.sort_unstable_by_key(|&(step, number, mode)| (step, mode != Mode::All, number));
        let end = met.iter().position(|&(_, _, mode)| mode == Mode::All).map_or(met.len(), |at| at + 1);
        met.truncate(end);
        met
    }

    /// Whether a set of causes leaves the hub with the same facts as the truth.
    pub(super) fn same(&self, causes: &[Named]) -> bool {
        let truth = self.truth();
        let mut slack = 0.0;
        for flow in 0..self.case.flows.len() {
            if self.is_dim(flow) {
                continue;
            }
            let (wanted, got) = (self.predict(flow, &truth), self.predict(flow, causes));
            match self.differ(flow, &wanted, &got) {
                Some(chance) => slack += chance,
                None => return false,
            }
            if slack > SLACK {
                return false;
            }
        }
        let by_chance = self.same_shares(&truth).unwrap_or(f64::INFINITY);
        self.same_shares(causes).is_some_and(|chance| slack + (chance - by_chance).max(0.0) <= SLACK)
    }

    /// The first flow by which the hub can distinguish a set of causes from the truth, in words.
    pub(super) fn distinguishing(&self, causes: &[Named]) -> Option<String> {
        let truth = self.truth();
        let flows = 0..self.case.flows.len();
        let (flow, wanted, got) = flows
            .filter(|&flow| !self.is_dim(flow))
            .map(|flow| (flow, self.predict(flow, &truth), self.predict(flow, causes)))
            .find(|(flow, wanted, got)| self.differ(*flow, wanted, got).is_none_or(|chance| chance > 0.0))?;
        let steps = |all: &[(usize, usize, Mode)]| {
            let step = |&(step, _, mode): &(usize, usize, Mode)| {
                let at = self.ways[flow].steps[step];
                format!("{mode:?} at {:?}, out {}, reply {}", at.part, at.out, at.reply)
            };
            all.iter().map(step).collect::<Vec<_>>()
        };
        let of = self.case.flows[flow];
        Some(format!(
            "{:?} -> {:?} {:?}, {} probes: {:?}, not {:?}; known: {:?}",
            of.source,
            of.target,
            of.class,
            of.probes,
            steps(&wanted),
            steps(&got),
            self.case.lost[flow].iter().map(|lost| (lost.probes, lost.said)).collect::<Vec<_>>()
        ))
    }

    /// Whether the hub does not know a flow's backend, not even of what was answered.
    fn is_dim(&self, flow: usize) -> bool {
        self.case.flows[flow].anonymous
    }

    /// Of probes whose backends nobody knows, the hub has the share that was lost and what is known of it: how far a set of
    /// causes fits these.
    fn same_shares(&self, causes: &[Named]) -> Option<f64> {
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, flow) in self.case.flows.iter().enumerate().filter(|&(at, _)| self.is_dim(at)) {
            alike.entry((flow.source, flow.target.service, flow.class)).or_default().push(at);
        }
        let shares = alike.values().map(|flows| self.same_share(causes, flows));
        shares.sum()
    }

    fn same_share(&self, causes: &[Named], flows: &[usize]) -> Option<f64> {
        let [mut all, mut lost, mut least, mut maybe] = [0.0; 4];
        let predicted: Vec<_> = flows.iter().map(|&flow| (flow, self.predict(flow, causes))).collect();
        for (flow, predicted) in &predicted {
            let probes = f64::from(self.case.flows[*flow].probes);
            all += probes;
            lost += f64::from(self.case.lost[*flow].iter().map(|lost| lost.probes).sum::<u32>());
            match predicted.first() {
                Some(&(_, _, Mode::All)) => least += probes,
                Some(_) => maybe += probes,
                None => {}
            }
        }
        // Up to its translation the way is the same to each backend, and a refusal does not say whose it is.
        let explained = |lost: &Lost| {
            let fits = |(flow, all): &(usize, Vec<(usize, usize, Mode)>)| {
                all.iter().any(|&(at, ..)| self.compatible(*flow, lost, at))
            };
            predicted.iter().any(fits)
        };
        if !flows.iter().flat_map(|&flow| &self.case.lost[flow]).all(explained) {
            return None;
        }
        let rate = self.case.truth.iter().map(|it| it.rate).fold(1.0, f64::min);
        let begun = self.case.truth.iter().any(|it| it.before > 0.0);
        let none = lost == 0.0;
        let fits = (begun || lost >= least - SHARE * all) && lost <= least + maybe + SHARE * all;
        let extremes = (!none || least == 0.0) && (none || least + maybe > 0.0);
        let whole = lost < all || least + maybe >= all;
        (fits && extremes && whole).then_some(if none { maybe * rate } else { 0.0 })
    }

    /// Expected losses by which two predictions differ for a flow; none if the facts distinguish them.
    fn differ(
        &self,
        flow: usize,
        wanted: &[(usize, usize, Mode)],
        got: &[(usize, usize, Mode)],
    ) -> Option<f64> {
        let passes = wanted.iter().find(|(_, _, mode)| *mode == Mode::All).map_or(usize::MAX, |it| it.0);
        // Probes that come as far as a step: none beyond what passes none.
        let left = |step: usize| {
            let before = self.case.lost[flow].iter().filter(|lost| lost.step < step);
            let lost: u32 = before.map(|lost| lost.probes).sum();
            if step > passes { 0.0 } else { f64::from(self.case.flows[flow].probes - lost) }
        };
        let mut slack = 0.0;
        for &(step, fault, mode) in wanted {
            let alike = |&&(at, _, other): &&(usize, usize, Mode)| {
                (mode == other || self.either[fault] && other != Mode::Ports)
                    && self.alike(flow, step, fault, at)
            };
            if got.iter().any(|it| alike(&it)) {
                continue;
            }
            let happened = self.case.lost[flow].iter().any(|it| it.fault == fault && it.step == step);
            if happened || mode == Mode::All {
                return None;
            }
            let truth = &self.case.truth[fault];
            slack += truth.rate * if mode == Mode::Ports { left(step).min(1.0) } else { left(step) };
        }
        for &(at, _, mode) in got {
            let alike = |&(step, fault, other): &(usize, usize, Mode)| {
                (mode == other || self.either[fault] && mode != Mode::Ports)
                    && self.alike(flow, step, fault, at)
            };
            if wanted.iter().any(alike) {
                continue;
            }
            if mode == Mode::All {
                return None;
            }
            let rate = self.case.truth.iter().map(|it| it.rate).fold(1.0, f64::min);
            slack += rate * if mode == Mode::Ports { left(at).min(1.0) } else { left(at) };
        }
        Some(slack)
    }

    /// Whether losses at step `at` look to the hub as those of a fault at `step`. Where none happened, nothing is known.
    fn alike(&self, flow: usize, step: usize, fault: usize, at: usize) -> bool {
        let mut lost = self.case.lost[flow].iter().filter(|it| it.fault == fault && it.step == step);
        step == at || lost.all(|lost| self.compatible(flow, lost, at))
    }

    pub(super) fn compatible(&self, flow: usize, lost: &Lost, at: usize) -> bool {
        let way = &self.ways[flow];
        // The way to another backend may be shorter.
        let Some(&truth) = way.steps.get(lost.step) else { return lost.said == Said::Unknown };
        let other = way.steps[at];
        if lost.step == at {
            return true;
        }
        let same_node = self.node(truth.part) == self.node(other.part) && truth.reply == other.reply;
        let filters = matches!(other.part, Part::Forwarding { .. } | Part::Transit(_));
        match lost.said {
            Said::Unknown => true,
            // A kernel that reports all that its rules and routes drop reported none.
            Said::Silent if filters && self.reports_all(other.part) => false,
            Said::Silent => {
                let places = |hooks| window(self.topology(), way, hooks);
                places(lost.hooks) == places(other.hooks)
            }
            Said::Here(report) => match report.into {
                Stage::Socket => same_end(truth.part, other.part) && !other.reply,
                // Rules ahead of routing meet what is translated, what is forwarded, and what the node itself sends.
                Stage::NetfilterPrerouting => {
                    let sent = is_nodes(other.part) && other.out;
                    same_node && (filters || sent || matches!(other.part, Part::Translation { .. }))
                }
                Stage::NetfilterInput => {
                    truth.out
                        && same_node
                        && matches!(other.part, Part::Translation { .. })
                        && is_nodes(truth.part)
                }
                _ => false,
            },
            Said::Receiver => {
                let between = matches!(other.part, Part::TunnelEnd(_) | Part::Wire { .. });
                between && truth.reply == other.reply
            }
            Said::Answered(Answer::Refused) if matches!(lost.end, End::Answered { by: None, .. }) => {
                (answerer(other.part).is_some() && !other.out || filters) && !other.reply
            }
            Said::Answered(Answer::Refused) => same_end(truth.part, other.part) && !other.reply && !other.out,
            Said::Answered(Answer::Unreachable) => same_node,
            Said::Answered(Answer::Error) | Said::NotSent => false,
        }
    }

    fn reports_all(&self, part: Part) -> bool {
        self.node(part)
            .is_some_and(|node| self.topology().nodes[node as usize].visibility == Visibility::Full)
    }

    fn node(&self, part: Part) -> Option<u32> {
        match part {
            Part::Stack(endpoint) | Part::Server { endpoint, .. } => self.topology().node_of(endpoint),
            Part::PodLink(pod) | Part::Hairpin(pod) => Some(self.topology().pods[pod as usize].node),
            Part::Forwarding { node, .. }
            | Part::Transit(node)
            | Part::Translation { node, .. }
            | Part::TunnelEnd(node)
            | Part::Uplink(node) => Some(node),
            Part::Wire { .. } | Part::Secondary(_) => None,
        }
    }

    /// Whether a set of causes leaves the same facts as the truth with a cause, and with each of its alternatives, in one
    /// place of the set.
    pub(super) fn same_with(&self, causes: &[Named], at: usize, cause: &Cause) -> bool {
        let mut causes = causes.to_vec();
        let mut with = |(component, heading): (Component, Heading)| {
            causes[at] = (component, heading, cause.pattern);
            self.same(&causes)
        };
        cause.alternatives.len() <= ALTERNATIVES
            && with((cause.component, cause.heading))
            && cause.alternatives.iter().all(|&alternative| with(alternative))
    }

    /// Whether all that a cause would lose is what a true one loses, or was lost where it says: it says less than the
    /// truth, and nothing false.
    pub(super) fn part_of_truth(&self, cause: Named) -> bool {
        (0..self.case.flows.len()).all(|flow| {
            let got = self.predict(flow, &[cause]);
            got.first().is_none_or(|&(at, _, _)| {
                let (of, way) = (&self.case.flows[flow], &self.ways[flow]);
                let true_one = |&fault: &Named| lossy(self.topology(), fault, of, way).any(|step| step == at);
                let lost = &self.case.lost[flow];
                let by_chance = mode(cause.2) != Mode::All && lost.is_empty();
                by_chance
                    || self.truth().iter().any(true_one)
                    || lost.iter().any(|lost| self.compatible(flow, lost, at))
            })
        })
    }
}

/// Whether both are of one endpoint: what it answers, its kernel, its translation or its program may.
fn same_end(one: Part, other: Part) -> bool {
    answerer(one).is_some() && answerer(one) == answerer(other)
}

/// Who says no, where something does.
const fn answerer(part: Part) -> Option<Endpoint> {
    match part {
        Part::Stack(endpoint) | Part::Server { endpoint, .. } => Some(endpoint),
        Part::Translation { node, .. } => Some(Endpoint::Node(node)),
        _ => None,
    }
}

/// Whether it is a node's own stack.
const fn is_nodes(part: Part) -> bool {
    matches!(part, Part::Stack(Endpoint::Node(_)))
}
