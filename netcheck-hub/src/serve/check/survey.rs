//! How far a check is: which of its paths were probed since it began, and whose are missing. Read from the rows, without
//! the cells that a reader gets: it is done again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{PathId, Vantage};
use netcheck_common::schedule::packets;
use netcheck_proto::v1;

use super::pace::Pace;
use super::wanted::Wanted;
use crate::state::agent::Agent;
use crate::state::{Hub, State};
use crate::view::inactive::InactivePath;
use netcheck_analysis::matrix::Row;
use netcheck_analysis::matrix::judging::judge_row;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{duration, nanos, wire_duration};
use netcheck_analysis::model::target::TargetKind;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::Probe;
use netcheck_analysis::plan::coverage::LastVerdict;

/// Nodes that progress names.
const NAMED: usize = 3;
/// Targets of a source that are asked for out of turn; the agents' plans have room for about as many.
const ASKED: usize = 64;

const PARTS: [v1::RoundPart; 3] =
    [v1::RoundPart::PodToPod, v1::RoundPart::PodToNode, v1::RoundPart::PodToService];

/// One part of a node's round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    planned: u64,
    missing: u64,
}

/// What one node has of a check.
#[derive(Debug)]
struct NodePart {
    name: Arc<str>,
    waiting: u64,
    inactive: u64,
    parts: [Part; 3],
    /// Nobody can report from there, and why: it counts as missing.
    silent: Option<String>,
}

/// A check at one moment.
#[derive(Debug, Default)]
pub(super) struct Survey {
    total: u64,
    done: u64,
    failed: u64,
    nodes: Vec<NodePart>,
    /// Paths in turn that it waits for, by agent.
    pub(super) waiting: Vec<(NodeIx, Vec<u32>)>,
    /// Paths that it waits for and that are not in turn.
    pub(super) inactive: u64,
    /// Targets of those that may be asked for out of turn.
    pub(super) asked: Vec<(NodeIx, Vec<String>)>,
    /// Paths that lose probes.
    pub(super) bad: HashSet<(Arc<str>, PathId)>,
    /// How long it takes until every path of the slowest node had its turn.
    cover: Duration,
    /// It has probes that ask something of a server.
    exchanges: bool,
    /// The slowest node's budget of packets: how long a round of its own is, and how long it takes until it has probed
    /// once all that is waited for.
    pace: Pace,
}

/// When something counts as probed by a check.
pub(super) struct Since {
    /// Windows that begin at or after it, up to now.
    pub(super) range: Range,
    /// The verdict of a path whose turn ended then or later rests on such windows alone.
    pub(super) turn_ns: i64,
}

impl Since {
    /// What a path was in a turn of this check. Where it is in turn again, and this turn says nothing yet, that is its result:
    /// on many nodes there is always one whose turn has only begun, and a check that waited for all of them would not end.
    pub(super) fn of_turn(&self, last: Option<LastVerdict>) -> Option<Verdict> {
        last.filter(|last| last.measured_ns >= self.turn_ns).map(|last| last.verdict)
    }
}

impl Survey {
    /// Looks at all agents.
    pub(super) fn take(hub: &Hub, wanted: &Wanted, since: &Since) -> Self {
        let mut survey = Self::default();
        let mut chosen = wanted.take_turns.then(|| hub.chosen(&wanted.selector));
        for source in hub.indices() {
            let state = hub.lock();
            let agent = state.agent(source);
            if !wanted.selector.takes_source(&agent.name) || agent.name.is_empty() {
                continue;
            }
            let mut node = NodePart::of(&state, agent);
            survey.rows(hub, (&state, source), &mut node, wanted, since);
            let turns = agent.turns;
            // What is not in turn is sorted out without the lock.
            let found = chosen.as_mut().and_then(|chosen| state.inactive(source, chosen));
            drop(state);
            if let Some(found) = found {
                let mut asked = Vec::new();
                for path in found.paths(&wanted.selector, since.range.now_ns) {
                    if wanted.is_single()
                        && !found.cell(&path).path.is_some_and(|path| wanted.takes_wire(&path))
                    {
                        continue;
                    }
                    survey.inactive_path(&mut node, &path, found.probe(&path), since);
                    let target = found.target(&path);
                    if !path.measured_since(since.turn_ns)
                        && asked.len() <= ASKED
                        && asked.last().is_none_or(|last| last != target)
                    {
                        asked.push(target.to_owned());
                    }
                }
                if node.inactive > 0 {
                    survey.cover = survey.cover.max(turns.map_or(Duration::ZERO, |turns| turns.cover()));
                }
                // More than that is a round, and has its turns.
                if !asked.is_empty() && asked.len() <= ASKED {
                    survey.asked.push((source, asked));
                }
            }
            survey.nodes.push(node);
        }
        survey
    }

    fn rows(
        &mut self,
        hub: &Hub,
        (state, source): (&State, NodeIx),
        node: &mut NodePart,
        wanted: &Wanted,
        since: &Since,
    ) {
        let agent = state.agent(source);
        let rules = agent.rules(&hub.settings.timing);
        let absent = state.roster.node_absent(&agent.name).is_some();
        let mut waiting = Vec::new();
        let mut to_send = 0;
        for row in agent.rows.shown().filter(|row| wanted.takes(&agent.name, &row.path)) {
            let probe = &row.path.probe;
            let absent = absent || state.leaves.is_away(probe.kind, probe.to(), since.range.now_ns);
            let probed = sent(row, &since.range) >= wanted.rounds;
            let earlier = since.of_turn(row.last_verdict).filter(|_| !probed);
            let verdict = match (judge_row(row, &rules, absent, &since.range), earlier) {
                (Verdict::NoData, Some(earlier)) => earlier,
                (verdict, _) => verdict,
            };
            let reported = probed || earlier.is_some() || verdict == Verdict::ExpectedAbsent;
            let probeable = agent.live.is_some()
                && row.retired_ns.is_none()
                && !agent.refused_paths.contains_key(&row.path.id.0);
            self.total += 1;
            self.exchanges |= probe.exchange.is_some();
            if matches!(verdict, Verdict::Unreachable | Verdict::Degraded) {
                self.failed += 1;
                self.bad.insert((Arc::clone(&agent.name), row.path.id));
            }
            if row.path.vantage == Vantage::Pod && row.retired_ns.is_none() {
                node.count(probe, reported);
            }
            // Samples that could not be judged are no round; what nobody can probe is waited for in vain.
            if reported || !probeable {
                self.done += 1;
            } else {
                waiting.push(row.path.id.0);
                to_send += u64::from(packets(probe.kind));
            }
        }
        node.waiting = waiting.len() as u64;
        if !waiting.is_empty() {
            let round = duration(rules.interval_ns);
            self.pace = self.pace.max(Pace::of(to_send, round, hub.settings.timing.interval));
            self.waiting.push((source, waiting));
        }
    }

    fn inactive_path(&mut self, node: &mut NodePart, path: &InactivePath, probe: &Probe, since: &Since) {
        let reported = path.measured_since(since.turn_ns);
        self.total += 1;
        self.exchanges |= probe.exchange.is_some();
        if path.vantage() == Vantage::Pod {
            node.count(probe, reported);
        }
        if reported {
            self.done += 1;
            self.failed += u64::from(matches!(path.verdict, Verdict::Unreachable | Verdict::Degraded));
        } else {
            node.inactive += 1;
            self.inactive += 1;
        }
    }

    /// Nothing is waited for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.inactive == 0
    }

    /// How long it takes from when a probe is sent until its window is there.
    pub(super) fn settled(&self, hub: &Hub) -> Duration {
        let timing = &hub.settings.timing;
        let exchange = if self.exchanges { timing.exchange.timeout } else { Duration::ZERO };
        // A window ends, and is reported, within about two of its length.
        timing.window * 2 + timing.timeout.max(exchange)
    }

    /// How long it takes from the check's begin to its end, if nothing is lost.
    pub(super) fn expected(&self, hub: &Hub, wanted: &Wanted) -> Duration {
        let rounds = u32::try_from(wanted.rounds - 1).unwrap_or(u32::MAX);
        let Pace { round, first } = self.pace;
        let once = first + round.saturating_mul(rounds) + self.settled(hub);
        let turns = if self.inactive > 0 { self.cover + settled(hub) } else { Duration::ZERO };
        once + turns
    }

    /// What a reader is sent meanwhile.
    pub(super) fn progress(&self, elapsed: Duration) -> v1::CheckProgress {
        let mut slow: Vec<&NodePart> =
            self.nodes.iter().filter(|node| node.waiting + node.inactive > 0).collect();
        slow.sort_by_key(|node| std::cmp::Reverse(node.waiting + node.inactive));
        let waiting = slow.into_iter().take(NAMED).map(|node| v1::CheckWaiting {
            node: node.name.to_string(),
            paths: node.waiting + node.inactive,
            inactive: node.inactive,
        });
        v1::CheckProgress {
            paths_done: self.done,
            paths_total: self.total,
            failed: self.failed,
            elapsed: Some(wire_duration(elapsed)),
            waiting: waiting.collect(),
            ..Default::default()
        }
    }

    /// Whose part of the round is missing.
    pub(super) fn round(&self, wanted: &Wanted) -> v1::CheckRound {
        if !wanted.takes_pods() {
            return v1::CheckRound { complete: true, ..Default::default() };
        }
        let has = |at: usize| self.nodes.iter().any(|node| node.parts[at].planned > 0);
        let missing: Vec<v1::RoundGap> =
            self.nodes.iter().filter_map(|node| node.gap(has, wanted.narrowed)).collect();
        let absent = PARTS.iter().enumerate().filter(|(at, _)| !wanted.narrowed && !has(*at));
        v1::CheckRound {
            complete: missing.is_empty(),
            missing,
            absent: absent.map(|(_, part)| i32::from(*part)).collect(),
        }
    }
}

/// How long after a check's begin a turn must end, for its verdict not to rest on older windows.
pub(super) fn settled(hub: &Hub) -> Duration {
    hub.settings.default_range() + hub.settings.timing.window
}

/// The same as a moment.
pub(super) fn settled_ns(hub: &Hub, started_ns: i64) -> i64 {
    started_ns.saturating_add(nanos(settled(hub)))
}

fn sent(row: &Row, range: &Range) -> u64 {
    range.slots(row).map(|slot| u64::from(slot.reply) + slot.lost()).sum()
}

impl NodePart {
    fn of(state: &State, agent: &Agent) -> Self {
        let expected = state.roster.nodes.get(&*agent.name).is_some_and(|node| node.unanswering().is_none());
        let silent = match (&agent.live, agent.vantage.known(), agent.vantage.missing()) {
            _ if !expected => None,
            (None, ..) if agent.hello.is_none() => Some("no agent of it ever connected".to_owned()),
            (None, ..) => Some("its agent is away".to_owned()),
            (_, _, Some(missing)) => Some(missing.to_owned()),
            (_, None, None) => Some("it has no vantage in the pod network".to_owned()),
            (_, Some(_), None) => None,
        };
        Self { name: Arc::clone(&agent.name), waiting: 0, inactive: 0, parts: [Part::default(); 3], silent }
    }

    fn count(&mut self, probe: &Probe, reported: bool) {
        let at = match probe.target.kind {
            TargetKind::Pod => 0,
            TargetKind::Node => 1,
            TargetKind::Service => 2,
            TargetKind::DnsServer | TargetKind::Endpoint => return,
        };
        self.parts[at].planned += 1;
        self.parts[at].missing += u64::from(!reported);
    }

    /// What it did not report. `has`: some node of the cluster has this part.
    fn gap(&self, has: impl Fn(usize) -> bool, narrowed: bool) -> Option<v1::RoundGap> {
        let lacks = |at: usize| {
            let part = self.parts[at];
            part.missing > 0 || (part.planned == 0 && !narrowed && has(at) && self.silent.is_some())
        };
        let parts: Vec<usize> = (0..PARTS.len()).filter(|&at| lacks(at)).collect();
        (!parts.is_empty()).then(|| v1::RoundGap {
            node: self.name.to_string(),
            paths: parts.iter().map(|&at| self.parts[at].missing).sum(),
            parts: parts.iter().map(|&at| PARTS[at].into()).collect(),
            why: self.silent.clone().unwrap_or_else(|| match self.inactive {
                0 => "they were not probed in time".to_owned(),
                waiting => format!("{waiting} of its paths had no turn in time"),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Settings;

    fn node(name: &str, parts: [(u64, u64); 3], silent: Option<&str>) -> NodePart {
        NodePart {
            name: name.into(),
            waiting: 0,
            inactive: 0,
            parts: parts.map(|(planned, missing)| Part { planned, missing }),
            silent: silent.map(ToOwned::to_owned),
        }
    }

    fn round(nodes: Vec<NodePart>) -> v1::CheckRound {
        let wanted = Wanted::read(&v1::RunCheckRequest::default()).unwrap();
        Survey { nodes, ..Survey::default() }.round(&wanted)
    }

    #[test]
    fn a_turn_of_this_check_counts_and_an_older_one_does_not() {
        let since = Since { range: Range { from_ns: 5, strict: true, now_ns: 30 }, turn_ns: 10 };
        let last = |measured_ns| Some(LastVerdict { verdict: Verdict::Unreachable, measured_ns });
        assert_eq!(since.of_turn(last(10)), Some(Verdict::Unreachable));
        assert_eq!((since.of_turn(last(9)), since.of_turn(None)), (None, None));
    }

    #[test]
    fn the_estimate_grows_with_rounds_a_small_budget_and_turns() {
        let second = Duration::from_secs(1);
        let hub = Hub::new(Settings::every(second));
        let timing = &hub.settings.timing;
        let expected = |rounds, pace| {
            let request = v1::RunCheckRequest { rounds, ..Default::default() };
            Survey { pace, ..Survey::default() }.expected(&hub, &Wanted::read(&request).unwrap())
        };
        let once = timing.window * 2 + timing.timeout;
        let fast = Pace::of(100, second, second);
        assert_eq!(expected(1, fast), once + second / 10);
        assert_eq!(expected(3, fast), once + second / 10 + 2 * second);
        let round = Duration::from_millis(2_450);
        assert_eq!(expected(3, fast.max(Pace::of(1, round, second))), once + 3 * round);
        // Paths that are not in turn wait for a whole round of turns.
        let turns = Survey { inactive: 1, cover: 60 * second, ..Survey::default() };
        let wanted = Wanted::read(&v1::RunCheckRequest::default()).unwrap();
        assert_eq!(turns.expected(&hub, &wanted), once + 60 * second + settled(&hub));
    }

    #[test]
    fn a_round_is_complete_when_every_node_reported_each_part() {
        let all = || node("n1", [(4, 0), (2, 0), (3, 0)], None);
        assert!(round(vec![all(), node("n2", [(4, 0), (2, 0), (3, 0)], None)]).complete);
        for at in 0..3 {
            let mut parts = [(4, 0), (2, 0), (3, 0)];
            parts[at].1 = 1;
            let round = round(vec![all(), node("n2", parts, None)]);
            assert!(!round.complete);
            let gap = &round.missing[0];
            assert_eq!(
                (gap.node.as_str(), gap.parts.as_slice(), gap.paths),
                ("n2", &[PARTS[at].into()][..], 1)
            );
        }
        let silent = round(vec![all(), node("n2", [(0, 0); 3], Some("its agent is away"))]);
        assert_eq!(
            (silent.missing.len(), silent.missing[0].parts.len()),
            (1, 3),
            "who has nothing is missing"
        );
        let alone = round(vec![node("n1", [(0, 0), (2, 0), (0, 0)], Some("no vantage"))]);
        assert!(alone.complete && alone.absent.len() == 2, "a part that nobody has is none of the round");
    }
}
