//! The hub's state → facts, and the evaluation on the hub's tick.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::convert::family;
use netcheck_proto::v1;

use crate::state::Hub;
use crate::state::State;
use crate::state::agent::Agent;
use netcheck_analysis::cluster::roster::Owner;
use netcheck_analysis::evidence::Lost;
use netcheck_analysis::evidence::locate::{destination, holder};
use netcheck_analysis::incident::groups::World;
use netcheck_analysis::incident::{Ending, Fact, Symptom, explain};
use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::ports::Ports;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::Pattern;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::Probe;
use netcheck_causes::{PodNetwork, Visibility};

/// How often causes are looked for at most.
const PERIOD_NS: i64 = SECOND_NS;
/// Looking for them takes at most one part of so many of the time.
const SHARE: i64 = 10;
/// Bad paths that are looked at in full; of more, the rest is known by its verdict alone.
const IN_FULL: usize = 20_000;

fn is_bad(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Degraded | Verdict::Unreachable)
}

/// What there is to be looked at.
#[derive(Default)]
struct Seen {
    bad: bool,
    large: bool,
    port: bool,
}

impl Seen {
    fn look(&mut self, agent: &Agent, now_ns: i64) {
        for row in agent.rows.iter() {
            self.bad |= is_bad(row.verdict);
            self.large |= row.has_size_loss(now_ns).is_some();
            self.port |= row.by_port(now_ns).is_some();
        }
    }
}

/// Facts of all agents, one after the other.
struct Gathering<'a> {
    range: &'a Range,
    seen: Seen,
    facts: Vec<Fact>,
    /// Facts of large packets that pass, and when they were tried.
    tried: Vec<(usize, i64)>,
    in_full: usize,
}

impl Gathering<'_> {
    fn add(&mut self, state: &State, at: NodeIx) {
        let agent = state.agent(at);
        let zone: Arc<str> = state.roster.zone(&agent.name).into();
        let source_pod: Option<Arc<str>> =
            Some(state.pod_of(agent)).filter(|pod| !pod.is_empty()).map(Into::into);
        for row in agent.rows.iter() {
            let symptom = is_bad(row.verdict).then(|| {
                self.in_full += 1;
                if self.in_full > IN_FULL {
                    return Symptom { lost: netcheck_analysis::model::verdict::RUN, ..Default::default() };
                }
                let cell = state.cell(at, row, row.verdict, self.range);
                state.symptom(&agent.name, row, cell, self.range)
            });
            let (answered, met) = answered(row, symptom.as_ref(), self.range);
            let fact = |verdict, symptom, large| Fact {
                answered,
                met: met.clone(),
                source_pod: source_pod.clone(),
                source: Arc::clone(&agent.name),
                zone: Arc::clone(&zone),
                path: Arc::clone(&row.path),
                verdict,
                symptom,
                large,
                by_port: false,
            };
            let large = symptom.as_ref().is_some_and(|symptom| symptom.oversize.is_some());
            if large {
                self.facts.push(fact(Verdict::Reachable, None, false));
            } else if self.seen.large
                && row.verdict == Verdict::Reachable
                && let Some(sizes) = row.sizes.as_ref().filter(|sizes| sizes.full_mtu_ok())
            {
                self.tried.push((self.facts.len(), sizes.measured_ns));
                self.facts.push(fact(Verdict::Reachable, None, true));
            }
            let by_port = symptom.as_ref().is_some_and(|symptom| symptom.by_port.is_some());
            if self.seen.port && row.verdict == Verdict::Reachable && row.path.probe.kind == ProbeKind::Udp {
                self.facts.push(Fact { by_port: true, ..fact(Verdict::Reachable, None, false) });
            }
            self.facts.push(Fact { by_port, ..fact(row.verdict, symptom, large) });
        }
    }

    fn end(self) -> Vec<Fact> {
        let Self { mut facts, tried, .. } = self;
        // What was tried before the first large packet was lost says nothing of now.
        let large = facts.iter().filter(|fact| fact.large).filter_map(|fact| fact.symptom.as_ref());
        if let Some(first_ns) = large.filter_map(|symptom| symptom.lost_ns).map(|(first, _)| first).min() {
            for (at, _) in tried.into_iter().filter(|&(_, measured_ns)| measured_ns < first_ns) {
                facts[at].verdict = Verdict::NoData;
            }
        }
        facts
    }
}

/// What a node's agent can report of packets that cross it.
fn visibility(agent: &Agent, now_ns: i64) -> Visibility {
    let drops = agent.status.as_ref().is_some_and(|status| !status.drops_unseen);
    match &agent.live {
        Some(live) if !live.is_silent(now_ns) => match (agent.has_hooks(), drops) {
            (true, true) => Visibility::Full,
            (true, false) => Visibility::Interfaces,
            (false, _) => Visibility::Blind,
        },
        _ => Visibility::Silent,
    }
}

/// Probes of a row that were answered: of one that is bad, since its first loss, and none where it is dead. Of a
/// service's, who answered.
fn answered(row: &Row, symptom: Option<&Symptom>, range: &Range) -> (u32, Vec<(IpAddr, u32)>) {
    if row.verdict == Verdict::Unreachable {
        return (0, Vec::new());
    }
    let from_ns = symptom.and_then(|symptom| symptom.lost_ns).map_or(i64::MIN, |(first_ns, _)| first_ns);
    let slots = range.slots(row).filter(|slot| slot.end_ns() > from_ns);
    let answered = slots.fold(0u32, |sum, slot| sum.saturating_add(slot.reply));
    let met = row.backends.iter().flat_map(|backends| backends.answering());
    (answered.max(u32::from(symptom.is_none())), met.collect())
}

/// Lost probes that ended alike, most first.
fn endings(state: &State, judged: &[&Lost], probe: &Probe) -> Vec<Ending> {
    let mut endings: Vec<Ending> = Vec::new();
    for lost in judged {
        let at = lost.located.location.as_ref();
        let passed = |(address, owner): &(IpAddr, &Owner)| *address != probe.address || owner.pod.is_some();
        let met = holder(&state.roster, lost).filter(passed).map(|(_, owner)| owner);
        let same =
            |one: &Ending| one.outcome == lost.outcome && one.at.as_ref() == at && one.met.as_ref() == met;
        match endings.iter_mut().find(|one| same(one)) {
            Some(one) => one.probes += 1,
            None => {
                endings.push(Ending { probes: 1, outcome: lost.outcome, at: at.cloned(), met: met.cloned() });
            }
        }
    }
    endings.sort_by_key(|one| std::cmp::Reverse(one.probes));
    endings
}

impl State {
    /// What the explainer is given of the cluster.
    fn world(&self, now_ns: i64) -> World {
        let agents = || self.agents.iter();
        let visibility = agents().map(|agent| (Arc::clone(&agent.name), visibility(agent, now_ns))).collect();
        let hooks = agents().filter_map(|agent| agent.status.as_ref()).flat_map(|status| &status.hooks);
        let tunnels: Vec<&v1::HookStatus> =
            hooks.filter(|hook| hook.role() == v1::InterfaceRole::Tunnel).collect();
        let pod_network = if tunnels.is_empty() { PodNetwork::Routed } else { PodNetwork::Overlay };
        let outer = if tunnels.is_empty() { None } else { self.outer_family(&tunnels) };
        World { roster: Arc::clone(&self.roster), visibility, pod_network, outer }
    }

    /// The family of what tunnels send, where all that say so agree; else that of the nodes, where they have one alone.
    fn outer_family(&self, tunnels: &[&v1::HookStatus]) -> Option<Family> {
        let known: BTreeSet<Family> =
            tunnels.iter().filter_map(|hook| family("hook.outer_family", hook.outer_family).ok()).collect();
        let families = if known.is_empty() {
            let addresses = self.roster.nodes.values().flat_map(|node| &node.addresses);
            addresses.copied().map(Family::of).collect()
        } else {
            known
        };
        families.first().copied().filter(|_| families.len() == 1)
    }

    fn symptom(&self, source: &str, row: &Row, cell: crate::state::cells::Cell, range: &Range) -> Symptom {
        let probe = &row.path.probe;
        let pattern = cell.pattern();
        let judged = || -> Box<dyn Iterator<Item = &Lost>> {
            match pattern {
                Pattern::Size => Box::new(range.oversize(row)),
                Pattern::Port => Box::new(range.by_port(row)),
                Pattern::Any => Box::new(range.lost(row).filter(|lost| !lost.sample.suspect)),
            }
        };
        let destination = |lost: &Lost| destination(&self.roster, source, probe, lost).map(ToOwned::to_owned);
        // A loss that nobody has placed and that may have gone anywhere says nothing of where the others went, as long as
        // most of them are not such.
        let is_placed = |lost: &&Lost| lost.located.location.is_some() || destination(lost).is_some();
        let all: Vec<&Lost> = judged().collect();
        let endings = endings(self, &all, probe);
        let reported: Vec<&Lost> = all.iter().copied().filter(is_placed).collect();
        let reported = if reported.len() * 2 >= all.len() { reported } else { all };
        let reported = || reported.iter().copied();
        let towards = only(reported().map(destination));
        let zone = |lost: &Lost| Some(self.roster.zone(&destination(lost)?).to_owned());
        let backend = only(reported().map(|lost| {
            // Who has a node port's address passes it on.
            let passed =
                |(address, owner): &(IpAddr, &Owner)| *address != probe.address || owner.pod.is_some();
            let (address, owner) = holder(&self.roster, lost).filter(passed)?;
            Some(owner.pod.clone().unwrap_or_else(|| address.to_string()))
        }));
        let stats = cell.cell.stats.unwrap_or_default();
        let (at, summary) = match cell.loss {
            Some(loss) => (Some(loss.location), loss.summary),
            None => (None, cell.unlocated.unwrap_or_default()),
        };
        Symptom {
            endings,
            lost: stats
                .sent
                .saturating_sub(stats.reply)
                .max(judged().count() as u64)
                .max(cell.by_port.as_ref().map_or(0, Ports::packets_lost)),
            towards_zone: only(reported().map(zone)).unwrap_or_default(),
            towards,
            backend,
            at,
            summary,
            evidence: cell.evidence,
            // Whether it is a port that loses everything, or some packets of any, a few more probes will show.
            waiting: row.ports.as_ref().is_some_and(|ports| ports.in_question(range.now_ns))
                || (judged().next().is_some() && judged().all(|lost| lost.located.want.is_some())),
            lost_ns: cell.lost_ns,
            outcome: cell.outcome,
            oversize: cell.oversize,
            by_port: cell.by_port.as_ref().map(Ports::losses),
            flows: cell.flows,
        }
    }
}

/// The one value that all have; none where they differ, or where one has none.
fn only(mut values: impl Iterator<Item = Option<String>>) -> Option<String> {
    let first = values.next()??;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}

impl Hub {
    /// All paths as of now. None where nothing is bad, and nothing was.
    fn facts(&self, range: &Range, idle: bool) -> Vec<Fact> {
        let mut seen = Seen::default();
        self.in_pieces(self.indices(), |state, at| seen.look(state.agent(at), range.now_ns));
        if !seen.bad && idle {
            return Vec::new();
        }
        let mut gathering = Gathering { range, seen, facts: Vec::new(), tried: Vec::new(), in_full: 0 };
        self.in_pieces(self.indices(), |state, at| gathering.add(state, at));
        gathering.end()
    }

    /// Looks for causes, if it is time to. Facts are taken under the lock, causes are found without it.
    pub(crate) fn evaluate(&self, now_ns: i64) {
        let state = self.lock();
        if now_ns < state.evaluate_ns {
            return;
        }
        let idle = state.incidents.is_idle();
        drop(state);
        self.release_incidents(now_ns);
        let began = std::time::Instant::now();
        let range = Range::newest(self.settings.default_range(), now_ns);
        let facts = self.facts(&range, idle);
        let mut state = self.lock();
        if facts.is_empty() && state.incidents.is_idle() {
            state.evaluate_ns = now_ns + PERIOD_NS;
            return;
        }
        let world = state.world(now_ns);
        drop(state);
        let causes = explain(&facts, &world);
        let mut state = self.lock();
        state.incidents.update(&causes, &facts, now_ns);
        let cost_ns = netcheck_analysis::model::clock::nanos(began.elapsed());
        state.evaluate_ns = now_ns + PERIOD_NS.max(cost_ns.saturating_mul(SHARE));
    }
}
