//! Questions to the agents of lost probes' destinations: what their kernels saw of them.
//!
//! One question at a time per agent, so a node that everybody lost is not asked by everybody at once; an answer counts
//! only for the probes that its question was about.

use std::collections::HashMap;
use std::time::Duration;

use netcheck_analysis::evidence::answers::{reflected, sighted};
use netcheck_analysis::evidence::locate::destination;
use netcheck_analysis::evidence::{Lost, Want};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::wire;
use netcheck_common::domain::PathId;
use netcheck_proto::{convert, v1};

use crate::state::State;

/// Probes in one question. What does not fit waits for the next one.
const PROBES_PER_QUESTION: usize = 256;
/// A question that is not answered by then is forgotten.
const ANSWER_NS: i64 = 2 * SECOND_NS;
/// How long a report and a question may be on their way.
const ON_THE_WAY_NS: i64 = SECOND_NS;
/// How often an agent is asked about one probe.
const ASK_TIMES: u8 = 2;
/// How long to wait before asking again.
const AGAIN_NS: i64 = SECOND_NS;

#[derive(Debug)]
struct Asked {
    to: NodeIx,
    until_ns: i64,
    probes: Vec<AskedProbe>,
}

/// A lost probe that was asked about.
#[derive(Clone, Debug)]
struct AskedProbe {
    source: NodeIx,
    path: PathId,
    sequence: u32,
    /// Where the question has its path, for kinds that carry a header.
    at: Option<usize>,
}

/// Questions that are out.
#[derive(Debug, Default)]
pub struct Questions {
    next: u64,
    out: HashMap<u64, Asked>,
}

/// How long ago a lost probe's packets may have been seen at most, when the question about them arrives. Both clocks
/// count, its agent's as far as the hub knows it and the hub's own: an old sighting taken for new is a smaller evil
/// than a new one that is passed over.
fn max_age_ns(lost: &Lost, timeout: Duration, now_ns: i64) -> u64 {
    let timeout_ns = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
    let by_report_ns = now_ns.saturating_sub(lost.reported_ns).saturating_add(timeout_ns);
    let age_ns = now_ns.saturating_sub(lost.sent_ns).max(by_report_ns).saturating_add(ON_THE_WAY_NS);
    u64::try_from(age_ns).unwrap_or(0)
}

impl State {
    /// Asks about probes whose place hangs on what their destination saw. `timeout`: how long agents wait for replies.
    pub fn ask(&mut self, timeout: Duration, now_ns: i64) {
        self.questions.out.retain(|_, asked| asked.until_ns > now_ns);
        let mut wanted: HashMap<NodeIx, Vec<(NodeIx, PathId, u32, Want)>> = HashMap::new();
        for &(source, path) in &self.dirty {
            let agent = self.agent(source);
            let Some(row) = agent.rows.get(path) else { continue };
            for lost in &row.lost {
                let due = lost.asked == 0 || (lost.asked < ASK_TIMES && now_ns - lost.asked_ns >= AGAIN_NS);
                let asks = |want: &Want| *want != Want::Reports && due && lost.answer.is_none();
                let Some(want) = lost.located.want.filter(asks) else { continue };
                let node = destination(&self.roster, &agent.name, &row.path.probe, lost);
                if let Some(to) = node.and_then(|node| self.find(node)) {
                    wanted.entry(to).or_default().push((source, path, lost.sample.sequence, want));
                }
            }
        }
        for (to, mut probes) in wanted {
            if self.questions.out.values().any(|asked| asked.to == to) {
                continue;
            }
            probes.truncate(PROBES_PER_QUESTION);
            self.ask_one(to, &probes, timeout, now_ns);
        }
    }

    fn ask_one(
        &mut self,
        to: NodeIx,
        probes: &[(NodeIx, PathId, u32, Want)],
        timeout: Duration,
        now_ns: i64,
    ) {
        self.questions.next += 1;
        let id = self.questions.next;
        let mut question = v1::EvidenceQuestion { id, ..Default::default() };
        let mut asked = Vec::new();
        for &(source, path, sequence, want) in probes {
            let mut source_addresses = self.addresses_of(source, path);
            let agent = &mut self.agents[source.0];
            let probe_session = agent.hello.as_ref().map_or(0, |hello| hello.probe_session);
            let Some(row) = agent.rows.get_mut(path) else { continue };
            let Some(lost) = row.lost.iter_mut().rev().find(|lost| lost.sample.sequence == sequence) else {
                continue;
            };
            lost.asked += 1;
            lost.asked_ns = now_ns;
            let mut at = None;
            match want {
                Want::Path => {
                    // As it left, which translation may have made another's.
                    if let Some(left) = lost.sample.flow {
                        let left = convert::address_bytes(left.source.ip());
                        source_addresses.retain(|address| *address != left);
                        source_addresses.insert(0, left);
                    }
                    let path = v1::ReflectedPath { probe_session, path_id: path.0, source_addresses };
                    at = question.paths.iter().position(|known| *known == path);
                    if at.is_none() {
                        at = Some(question.paths.len());
                        question.paths.push(path);
                    }
                }
                Want::Flow => {
                    let max_age = Some(convert::duration_from_ns(max_age_ns(lost, timeout, now_ns)));
                    question.flows.push(v1::FlowQuestion {
                        flow: lost.sample.flow.as_ref().map(wire::flow_tuple),
                        max_age,
                    });
                }
                Want::Reports => {}
            }
            asked.push(AskedProbe { source, path, sequence, at });
        }
        if self.send(to, v1::session_response::Message::EvidenceQuestion(question)) {
            self.counters.questions += 1;
            self.questions.out.insert(id, Asked { to, until_ns: now_ns + ANSWER_NS, probes: asked });
        }
    }

    /// Takes an agent's answer.
    pub fn answered(&mut self, from: NodeIx, answer: &v1::EvidenceAnswer) {
        let Some(asked) = self.questions.out.get(&answer.id).filter(|asked| asked.to == from) else {
            self.counters.answers_unasked += 1;
            return;
        };
        self.counters.answers += 1;
        let probes = asked.probes.clone();
        self.questions.out.remove(&answer.id);
        for AskedProbe { source, path, sequence, at } in probes {
            let agent = &mut self.agents[source.0];
            let session = agent.hello.as_ref().map_or(0, |hello| hello.probe_session);
            let Some(row) = agent.rows.get_mut(path) else { continue };
            let Some(lost) = row.lost.iter_mut().rev().find(|lost| lost.sample.sequence == sequence) else {
                continue;
            };
            let state = at.and_then(|at| answer.paths.get(at));
            let state = state.filter(|state| state.probe_session == session && state.path_id == path.0);
            let sighting = lost
                .sample
                .flow
                .as_ref()
                .map(wire::flow_tuple)
                .and_then(|flow| answer.flows.iter().find(|seen| seen.flow.as_ref() == Some(&flow)));
            lost.answer = match (row.path.probe.kind.carries_header(), state, sighting) {
                (true, Some(state), _) => Some(reflected(&wire::reflected_state(state), sequence)),
                (false, _, Some(seen)) => Some(sighted(&wire::flow_sighting(seen))),
                _ => continue,
            };
            self.dirty.insert((source, path));
        }
    }
}

#[cfg(test)]
mod tests {
    use netcheck_analysis::model::evidence::LostSample;
    use netcheck_common::domain::Outcome;

    use super::*;

    #[test]
    fn a_sighting_may_be_as_old_as_the_probe() {
        // (sent, reported, now) in s → at most; the agents' timeout is 2 s.
        for (sent, reported, now, expected) in [
            (100, 103, 104, 5),
            // Reported late, for its agent was cut off: it is as old as it says.
            (100, 160, 161, 62),
            // Its agent's clock was set back or forth since it said hello.
            (50, 103, 104, 55),
            (900, 103, 104, 4),
        ] {
            let second = SECOND_NS;
            let lost = Lost::new(LostSample::default(), Outcome::Timeout, sent * second, reported * second);
            let age_ns = max_age_ns(&lost, Duration::from_secs(2), now * second);
            assert_eq!(age_ns, expected * second as u64, "{sent} {reported} {now}");
        }
    }
}
