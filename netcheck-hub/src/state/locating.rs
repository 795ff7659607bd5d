//! Renews the places of lost probes, and asks destination agents where only their kernels can know.
//!
//! One question at a time per agent, so a node that everybody lost is not asked by everybody at once; an answer counts
//! only for the probes that its question was about.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::{PathId, ProbeKind, Vantage};
use netcheck_proto::{convert, v1};

use self::reverse::{send_error, send_unreported};
use crate::state::Settings;
use crate::state::State;
use crate::state::agent::{Agent, Live};
use netcheck_analysis::evidence::answers::{reflected, sighted};
use netcheck_analysis::evidence::locate::{LocateInput, addressee, destination, locate};
use netcheck_analysis::evidence::{Lost, Visibility, Want};
use netcheck_analysis::matrix::Row;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::location::{Certainty, InterfaceRole, Location};
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::Probe;
use netcheck_analysis::wire;

mod reverse;

/// Probes in one question. What does not fit waits for the next one.
const PROBES_PER_QUESTION: usize = 256;
/// A question that is not answered by then is forgotten.
const ANSWER_NS: i64 = 2 * SECOND_NS;
/// A probe whose place is not known by then stays without, unless a fact comes late.
const GIVE_UP_NS: i64 = 5 * SECOND_NS;
/// What kernels report of a lost probe's packets is here by then.
const SETTLED_NS: i64 = 3 * SECOND_NS / 2;
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

/// Whether its hooks see all that leaves the node.
fn watches_uplinks(agent: &Agent) -> bool {
    let hooks = agent.status.iter().flat_map(|status| &status.hooks);
    let mut uplinks = hooks.filter(|hook| hook.egress && hook.role() == v1::InterfaceRole::Uplink).peekable();
    uplinks.peek().is_some() && uplinks.all(|hook| hook.state() == v1::HookState::Attached)
}

/// All its ordinary probes are answered, whatever becomes of large ones.
fn answers(verdict: Verdict, has_size_loss: bool) -> bool {
    verdict == Verdict::Reachable || (verdict == Verdict::Degraded && has_size_loss)
}

/// A probe, and from where it was sent.
#[derive(Clone, Copy)]
struct Sent<'a> {
    source: &'a str,
    vantage: Vantage,
    probe: &'a Probe,
}

impl State {
    fn locate_input<'a>(
        &'a self,
        sent: Sent<'a>,
        lost: &Lost,
        settings: &Settings,
        now_ns: i64,
    ) -> LocateInput<'a> {
        let Sent { source, vantage, probe } = sent;
        let destination = destination(&self.roster, source, probe, lost);
        let agent = destination.and_then(|node| self.find(node)).map(|at| self.agent(at));
        let silent = |agent: &Agent, live: &Live| {
            let heard_ns = agent.last_batch_ns.unwrap_or(0).max(live.since_ns);
            now_ns - heard_ns > agent.rules(&settings.timing).stale_ns()
        };
        let network = probe.target.network();
        let inside = destination == Some(source);
        let sees = |node: &str| network.is_none_or(|network| self.seen_networks.sees(node, network, inside));
        let destination_sees = destination.is_some_and(sees);
        let visibility = match agent.and_then(|agent| Some((agent, agent.live.as_ref()?))) {
            None => Visibility::NoAgent,
            Some((agent, live)) if silent(agent, live) => Visibility::Silent,
            Some((agent, _)) if agent.has_hooks() && !destination_sees => Visibility::Elsewhere,
            Some((agent, _)) if agent.has_hooks() => {
                let uplink = agent.uplink().map(ToOwned::to_owned);
                Visibility::Hooks {
                    uplink,
                    drops: agent.status.as_ref().is_some_and(|status| !status.drops_unseen),
                }
            }
            Some(_) => Visibility::NoHooks,
        };
        // Only where it was there and did not answer does it matter what it can send.
        let reached = lost.arrival == Some(true) || lost.answer.is_some() || !lost.drops.is_empty();
        let reverse_errno = agent.filter(|_| reached && destination != Some(source)).and_then(|agent| {
            let to = self.replies_to(sent, lost)?;
            send_error(agent, to, lost.sent_ns)
        });
        let give_up = now_ns - lost.reported_ns > GIVE_UP_NS;
        let reverse_unreported = reached
            && reverse_errno.is_none()
            && agent
                .filter(|_| destination != Some(source))
                .zip(self.replies_to(sent, lost))
                .is_some_and(|(agent, to)| agent.live.is_some() && send_unreported(agent, to, lost.sent_ns));
        let echo_answered = probe.kind != ProbeKind::Icmp && self.echo_answered(sent, lost);
        let own = self.find(source).map(|at| self.agent(at));
        let source_pod = own.filter(|_| vantage == Vantage::Pod).map(|own| self.pod_of(own));
        LocateInput {
            source,
            source_link_down: own
                .zip(source_pod.as_ref())
                .and_then(|(own, pod)| own.pod_links.of(pod, network, lost.sent_ns)),
            source_pod,
            source_watches_pods: sees(source) && own.is_some_and(Agent::watches_pods),
            probe,
            roster: &self.roster,
            destination,
            visibility,
            settled: now_ns - lost.reported_ns > SETTLED_NS,
            give_up,
            source_watches_uplinks: sees(source) && own.is_some_and(watches_uplinks),
            destination_watches_uplinks: destination_sees && agent.is_some_and(watches_uplinks),
            echo_answered,
            reverse_errno,
            reverse_unreported,
            promptly_answered: lost.answer.as_ref().and_then(|answer| answer.reply_delay_ns).is_some_and(
                |delay| {
                    // An answer that comes too late nevertheless is reported as a drop by a source that sees drops.
                    let sees = own.and_then(|own| own.status.as_ref()).map(v1::AgentStatus::ebpf)
                        == Some(v1::EbpfState::Attached);
                    sees && delay <= u64::try_from(settings.timing.timeout.as_nanos() / 2).unwrap_or(u64::MAX)
                },
            ),
            pod_link_down: agent.and_then(|agent| {
                let owner = addressee(&self.roster, probe, lost)?;
                agent.pod_links.of(owner.pod.as_ref()?, owner.network.as_deref(), lost.sent_ns)
            }),
        }
    }

    /// The pod that an agent's vantage is, by the name that the roster has for it.
    pub(crate) fn pod_of(&self, agent: &Agent) -> String {
        let Some(known) = agent.vantage.known() else { return String::new() };
        self.pod_behind(known).map_or_else(|| known.pod.clone(), |(id, _)| id.to_owned())
    }

    /// Whether this source's echo requests to the address that the probe went to are answered.
    fn echo_answered(&self, sent: Sent<'_>, lost: &Lost) -> bool {
        let Sent { source, vantage, probe } = sent;
        let address = lost.flow.map_or(probe.address, |flow| flow.destination.ip());
        let agent = self.find(source).map(|at| self.agent(at));
        agent.into_iter().flat_map(|agent| agent.rows.iter()).any(|row| {
            let other = &row.path.probe;
            other.kind == ProbeKind::Icmp
                && row.path.vantage == vantage
                && other.address == address
                && answers(row.verdict, row.has_size_loss(lost.sent_ns).is_some())
        })
    }

    /// The address that the target's replies go to, where it is known.
    fn replies_to(&self, sent: Sent<'_>, lost: &Lost) -> Option<IpAddr> {
        let Sent { source, vantage, probe } = sent;
        let own = || {
            if vantage == Vantage::Pod {
                let agent = self.agent(self.find(source)?);
                let known = agent.vantage.known()?;
                return self.vantage_address(known, probe.target.network(), probe.address.is_ipv4());
            }
            let addresses = &self.roster.nodes.get(source)?.addresses;
            addresses.iter().copied().find(|address| address.is_ipv4() == probe.address.is_ipv4())
        };
        lost.flow.map(|flow| flow.source.ip()).or_else(own)
    }

    /// What kind of tunnel a loss was at, as the agent of its node says.
    fn name_tunnel(&self, location: Option<&mut Location>) {
        let Some(at) = location.filter(|at| at.role == InterfaceRole::Tunnel) else { return };
        let agent = self.find(&at.node).map(|index| self.agent(index));
        let hooks = agent.and_then(|agent| agent.status.as_ref()).map_or(&[][..], |status| &status.hooks);
        if let Some(hook) = hooks.iter().find(|hook| hook.interface == at.interface) {
            at.tunnel.clone_from(&hook.kind);
        }
    }

    /// Looks anew at losses of this source whose end was inferred to be at one of these nodes: they reported what they
    /// had not reported before.
    pub(crate) fn locate_again(
        &mut self,
        source: NodeIx,
        reporters: &BTreeSet<Arc<str>>,
        settings: &Settings,
        now_ns: i64,
    ) {
        let there = |lost: &Lost| {
            let at = lost.located.location.as_ref();
            at.is_some_and(|at| at.certainty == Certainty::Inferred && reporters.contains(at.node.as_str()))
        };
        let rows = self.agents[source.0].rows.iter().filter(|row| row.lost.iter().any(there));
        let paths: Vec<PathId> = rows.map(Row::id).collect();
        for path in paths {
            self.locate_row(source, path, settings, now_ns);
        }
    }

    /// Locates the lost probes whose facts changed, and those that still wait.
    pub fn locate_dirty(&mut self, settings: &Settings, now_ns: i64) {
        for (source, path) in std::mem::take(&mut self.dirty) {
            self.locate_row(source, path, settings, now_ns);
        }
    }

    /// Locates the lost probes of one path, and has it looked at again while one of them waits for something.
    fn locate_row(&mut self, source: NodeIx, path: PathId, settings: &Settings, now_ns: i64) {
        let Some(row) = self.agent_mut(source).rows.get_mut(path) else { return };
        let mut losses = std::mem::take(&mut row.lost);
        let planned = Arc::clone(&row.path);
        let name = Arc::clone(&self.agent(source).name);
        let mut waiting = false;
        for lost in &mut losses {
            let probe = lost.in_the_end(&planned.probe);
            let sent = Sent { source: &name, vantage: planned.vantage, probe: &probe };
            let input = self.locate_input(sent, lost, settings, now_ns);
            lost.located = locate(&input, lost);
            self.name_tunnel(lost.located.location.as_mut());
            waiting |= lost.located.want.is_some();
        }
        if let Some(row) = self.agent_mut(source).rows.get_mut(path) {
            row.lost = losses;
        }
        if waiting {
            self.dirty.insert((source, path));
        }
    }

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
