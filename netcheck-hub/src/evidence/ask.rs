//! Renews the places of lost probes, and asks destination agents where only their kernels can tell.
//!
//! One question at a time per agent, so a node that everybody lost is not asked by everybody at once; an answer counts
//! only for the probes that its question was about.

use std::collections::HashMap;
use std::sync::Arc;

use netcheck_common::domain::PathId;
use netcheck_proto::v1;

use super::locate::{Scene, destination, locate};
use super::{Answer, Lost, Sight, Want};
use crate::clock::SECOND_NS;
use crate::hub::{NodeIx, Settings, State};
use crate::plan::Probe;

/// Probes in one question. What does not fit waits for the next one.
const PROBES_PER_QUESTION: usize = 256;
/// A question that is not answered by then is forgotten.
const ANSWER_NS: i64 = 2 * SECOND_NS;
/// A probe whose place is not known by then stays without, unless a fact comes late.
const GIVE_UP_NS: i64 = 5 * SECOND_NS;
/// How often an agent is asked about one probe.
const ASK_TIMES: u8 = 2;
/// How long to wait before asking again.
const AGAIN_NS: i64 = SECOND_NS;

#[derive(Debug)]
struct Asked {
    to: NodeIx,
    until_ns: i64,
    probes: Vec<(NodeIx, PathId, u32)>,
}

/// Questions that are out.
#[derive(Debug, Default)]
pub struct Questions {
    next: u64,
    out: HashMap<u64, Asked>,
}

impl State {
    fn scene_of<'a>(&'a self, source: &'a str, probe: &'a Probe, lost: &Lost, give_up: bool) -> Scene<'a> {
        let destination = destination(&self.roster, probe, lost);
        let agent = destination.and_then(|node| self.find(node)).map(|at| self.agent(at));
        let sight = match agent.filter(|agent| agent.live.is_some()) {
            None => Sight::NoAgent,
            Some(agent) if agent.has_hooks() => Sight::Sees { uplink: agent.uplink().map(ToOwned::to_owned) },
            Some(_) => Sight::Blind,
        };
        Scene { source, probe, roster: &self.roster, destination, sight, give_up }
    }

    /// Locates the lost probes whose facts changed, and those that still wait.
    pub fn locate_dirty(&mut self, _settings: &Settings, now_ns: i64) {
        let dirty = std::mem::take(&mut self.dirty);
        for (source, path) in dirty {
            let Some(row) = self.agent_mut(source).rows.get_mut(path) else { continue };
            let mut losses = std::mem::take(&mut row.lost);
            let planned = Arc::clone(&row.path);
            let name = Arc::clone(&self.agent(source).name);
            let mut waiting = false;
            for lost in &mut losses {
                let give_up = now_ns - lost.reported_ns > GIVE_UP_NS;
                lost.located = locate(&self.scene_of(&name, &planned.probe, lost, give_up), lost);
                waiting |= lost.located.want.is_some();
            }
            if let Some(row) = self.agent_mut(source).rows.get_mut(path) {
                row.lost = losses;
            }
            if waiting {
                self.dirty.insert((source, path));
            }
        }
    }

    /// Asks about probes whose place hangs on what their destination saw.
    pub fn ask(&mut self, now_ns: i64) {
        self.questions.out.retain(|_, asked| asked.until_ns > now_ns);
        let mut wanted: HashMap<NodeIx, Vec<(NodeIx, PathId, u32, Want)>> = HashMap::new();
        for &(source, path) in &self.dirty {
            let Some(row) = self.agent(source).rows.get(path) else { continue };
            for lost in &row.lost {
                let due = lost.asked == 0 || (lost.asked < ASK_TIMES && now_ns - lost.asked_ns >= AGAIN_NS);
                let Some(want) = lost.located.want.filter(|_| due && lost.answer.is_none()) else { continue };
                let node = destination(&self.roster, &row.path.probe, lost);
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
            self.ask_one(to, &probes, now_ns);
        }
    }

    fn ask_one(&mut self, to: NodeIx, probes: &[(NodeIx, PathId, u32, Want)], now_ns: i64) {
        self.questions.next += 1;
        let id = self.questions.next;
        let mut question = v1::EvidenceQuestion { id, ..Default::default() };
        for &(source, path, sequence, want) in probes {
            let agent = &mut self.agents[source.0];
            let probe_session = agent.hello.as_ref().map_or(0, |hello| hello.probe_session);
            let Some(row) = agent.rows.get_mut(path) else { continue };
            let Some(lost) = row.lost.iter_mut().rev().find(|lost| lost.sample.sequence == sequence) else {
                continue;
            };
            lost.asked += 1;
            lost.asked_ns = now_ns;
            match want {
                Want::Path => {
                    let path = v1::ReflectedPath { probe_session, path_id: path.0 };
                    if !question.paths.contains(&path) {
                        question.paths.push(path);
                    }
                }
                Want::Flow => question.flows.extend(lost.sample.flow.clone()),
            }
        }
        let probes = probes.iter().map(|&(source, path, sequence, _)| (source, path, sequence)).collect();
        if self.send(to, v1::session_response::Message::EvidenceQuestion(question)) {
            self.counters.questions += 1;
            self.questions.out.insert(id, Asked { to, until_ns: now_ns + ANSWER_NS, probes });
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
        for (source, path, sequence) in probes {
            let agent = &mut self.agents[source.0];
            let session = agent.hello.as_ref().map_or(0, |hello| hello.probe_session);
            let Some(row) = agent.rows.get_mut(path) else { continue };
            let Some(lost) = row.lost.iter_mut().rev().find(|lost| lost.sample.sequence == sequence) else {
                continue;
            };
            let state =
                answer.paths.iter().find(|state| state.probe_session == session && state.path_id == path.0);
            let sighting =
                answer.flows.iter().find(|seen| seen.flow.is_some() && seen.flow == lost.sample.flow);
            lost.answer = match (row.path.probe.kind.carries_header(), state, sighting) {
                (true, Some(state), _) => Some(reflected(state, sequence)),
                (false, _, Some(seen)) => Some(sighted(seen)),
                _ => continue,
            };
            self.dirty.insert((source, path));
        }
    }
}

/// What a reflector's state says about one probe of its path. It was asked after the probe had timed out, so a probe
/// above the highest that arrived did not arrive.
#[must_use]
pub fn reflected(state: &v1::ReflectedState, sequence: u32) -> Answer {
    if !state.known {
        return Answer { arrived: Some(false), ..Answer::default() };
    }
    // Numbers wrap: what matters is which way round the shorter distance is.
    let behind = state.highest_sequence.wrapping_sub(sequence) as i32;
    let arrived = match behind {
        ..=-1 => Some(false),
        0..=63 => Some(state.arrived >> behind & 1 == 1),
        64.. => None,
    };
    let newer_reply = state.last_reply_sequence.wrapping_sub(sequence) as i32 >= 0;
    Answer {
        arrived,
        replied: state.last_reply_hook.is_some() && newer_reply,
        last_request_hook: state.last_request_hook.clone(),
        last_reply_hook: state.last_reply_hook.clone(),
    }
}

/// What the hooks' sighting of one flow says.
#[must_use]
pub fn sighted(seen: &v1::FlowSighting) -> Answer {
    Answer {
        arrived: Some(seen.known && seen.request_packets > 0),
        replied: seen.reply_packets > 0,
        last_request_hook: seen.last_request_hook.clone(),
        last_reply_hook: seen.last_reply_hook.clone(),
    }
}
