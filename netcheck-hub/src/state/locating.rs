//! Concludes the places of lost probes anew when facts come; [`questions`] asks for those that only destinations' kernels have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::{PathId, ProbeKind, Vantage};
use netcheck_proto::v1;

use self::reverse::{send_error, send_unreported};
use crate::state::Settings;
use crate::state::State;
use crate::state::agent::{Agent, Live};
use netcheck_analysis::evidence::locate::{LocateInput, addressee, destination, locate};
use netcheck_analysis::evidence::{Lost, Visibility};
use netcheck_analysis::matrix::Row;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::location::{Certainty, InterfaceRole, Location};
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::Probe;

pub(super) mod questions;
mod reverse;

/// A probe whose place is not known by then stays without, unless a fact comes late.
const GIVE_UP_NS: i64 = 5 * SECOND_NS;
/// What kernels report of a lost probe's packets is here by then.
const SETTLED_NS: i64 = 3 * SECOND_NS / 2;

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
}
