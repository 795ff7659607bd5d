//! Nobody said anything: what can be concluded from who saw the packet and who did not.

use netcheck_common::abi::probe_ports;
use netcheck_common::domain::ProbeKind;

use super::super::Flow;
use super::super::words::whose;
use super::{Answer, Located, Locator, Visibility, Want, inferred, unlocated};
use crate::model::evidence::HookSeen;
use crate::model::location::{Direction, InterfaceRole, Location, Stage};
use crate::model::target::TargetKind;
use crate::plan::Probe;
use crate::words::location::{hook_name, passing};

impl Locator<'_> {
    /// Nothing came back, and no kernel reported a drop: only conclusions are left.
    pub(super) fn silence(&mut self) -> Located {
        let source = self.input.source;
        let sample = &self.lost.sample;
        if !self.input.settled {
            // Meanwhile the destination can be asked.
            let want = if self.may_ask() { self.want() } else { None };
            let why = "waiting for what the kernels on its way have to report";
            return Located { want: want.or(Some(Want::Reports)), ..unlocated(why) };
        }
        if let Some(flow) = self.lost.flow.filter(|flow| flow.destination.ip() != self.input.probe.address) {
            let backend = whose(self.input.roster, flow.destination.ip());
            self.evidence.push(format!("it was sent to backend {}", backend.trim_start_matches("pod ")));
        }
        if let Some(last) = sample.reply_hooks.last() {
            self.evidence.push(format!("the reply was seen at {} of {source}", hook_name(last)));
            self.evidence.push("no socket of the agent got it in time".to_owned());
            return self.seen_at(source, last, Direction::Reply);
        }
        if sample.unwatched {
            self.evidence.push(format!("no kernel hooks watched this probe on {source}"));
            return self.beyond_source(None);
        }
        let last = sample.request_hooks.last();
        let inside = self.input.destination == Some(source);
        if let Some(unwatched) = self.note_last_seen(last, inside) {
            return unwatched;
        }
        if !inside && (last.is_some_and(left) || self.arrived() == Some(true)) {
            return self.beyond_source(last);
        }
        if !inside && self.left_translated() {
            return self.beyond_source(None);
        }
        if !inside && self.arrived().is_none() && self.may_ask() {
            // What was seen there refutes what was not seen here.
            let want = self.want();
            let why = format!("was not seen to leave {source}; waiting for the answer of its destination");
            return Located { want, ..unlocated(&why) };
        }
        if let Some(located) = last.and_then(|last| self.routing_loop(last)) {
            return located;
        }
        if !inside && last.is_some_and(|last| self.may_be_masqueraded(last)) {
            return unlocated(&format!(
                "may have left {source} under another port (masquerade), by which no hook knows it again"
            ));
        }
        // A switch may have flooded it to another interface of its own node: it left all the same.
        if let Some(gone) = sample.request_hooks.iter().rev().find(|hook| left(hook)).filter(|_| !inside) {
            return self.beyond_source(Some(gone));
        }
        if !inside && !self.input.source_watches_uplinks {
            return unlocated(&format!("no hook at an uplink of {source} to see whether it left"));
        }
        if let Some(located) = self.pod_cut_off(source, self.input.pod_link_down).filter(|_| inside) {
            return located;
        }
        if let Some(located) =
            self.pod_cut_off(source, self.input.source_link_down).filter(|_| last.is_none())
        {
            return located;
        }
        match last {
            // Where both ends are on one node nobody saw which half it was.
            Some(last) if inside => self.seen_at(source, last, Direction::Unknown),
            Some(last) => self.seen_at(source, last, Direction::Request),
            None => inferred(Location {
                node: source.to_owned(),
                pod: self.input.source_pod.clone().unwrap_or_default(),
                stage: Stage::Send,
                direction: Direction::Request,
                ..Default::default()
            }),
        }
    }

    /// Notes where the request was seen last. Answers where nothing could have seen it.
    fn note_last_seen(&mut self, last: Option<&HookSeen>, inside: bool) -> Option<Located> {
        let source = self.input.source;
        match last {
            Some(last) => {
                self.evidence.push(format!("the request was last seen on {source} {}", passing(last)));
            }
            None => match &self.input.source_pod {
                Some(pod) if !self.input.source_watches_pods => {
                    return Some(unlocated(&format!("no hook to see whether it came out of pod {pod}")));
                }
                Some(pod) => self.evidence.push(format!("no hook of {source} saw it come out of pod {pod}")),
                None if inside => {
                    return Some(unlocated(&format!("its way stays inside {source}, where no hook watches")));
                }
                None => self.evidence.push(format!("no hook of {source} saw the request leave")),
            },
        }
        None
    }

    /// The table of connections has what a pod sent under another source, which no hook knows it by: entries are made where a
    /// packet leaves netfilter (nf_conntrack_confirm in the postrouting hook), so it left.
    fn left_translated(&mut self) -> bool {
        let roster = self.input.roster;
        let flow = self.lost.flow.filter(|flow| {
            let pod = roster.owner(flow.source.ip()).and_then(|owner| owner.pod.as_ref());
            self.input.source_pod.is_some() && pod != self.input.source_pod.as_ref()
        });
        if let Some(flow) = flow {
            self.evidence.push(format!("it left {} as {}", self.input.source, flow.source));
        }
        flow.is_some()
    }

    /// What a pod sends to where no pod is gets its node's address on the way out, and with it another port: hooks behind that
    /// know such a flow by its ports alone, and so do not know it. `last`: where it was seen last.
    fn may_be_masqueraded(&self, last: &HookSeen) -> bool {
        let probe = self.input.probe;
        let to = self.input.roster.owner(probe.address);
        let out_of_pod = !last.egress && matches!(last.role, InterfaceRole::PodVeth | InterfaceRole::Bridge);
        self.input.source_pod.is_some()
            && out_of_pod
            && !probe.kind.carries_header()
            && to.is_some_and(|owner| owner.pod.is_none())
    }

    /// Whether the request reached its destination's node, as far as anybody there said.
    fn arrived(&self) -> Option<bool> {
        let balanced = self.input.probe.target.kind == TargetKind::Service;
        let reported = self.lost.arrival.filter(|_| !balanced);
        reported.or_else(|| self.lost.answer.as_ref().and_then(|answer| answer.arrived))
    }

    /// The destination's agent can still be asked for what it keeps.
    fn may_ask(&self) -> bool {
        let sees = matches!(self.input.visibility, Visibility::Hooks { .. });
        let inside = self.input.destination == Some(self.input.source);
        sees && !inside && !self.input.give_up && self.lost.answer.is_none() && self.want().is_some()
    }

    /// Nothing was lost: the answer came when nobody waited for it any more.
    pub(super) fn late(&mut self, how: &str) -> Located {
        self.evidence.push(how.to_owned());
        // A handshake asks no program: its kernel was late with it, or the way.
        let asks = self.input.probe.kind != ProbeKind::Tcp;
        match self.input.destination.filter(|_| asks && self.input.echo_answered && !self.relayed()) {
            Some(destination) => {
                self.evidence.push("echo requests to the same address are answered in time".to_owned());
                self.behind_socket(destination)
            }
            None => unlocated("the answer came too late, and nothing shows what held it up"),
        }
    }

    /// The request left its node, as far as its node knows.
    fn beyond_source(&mut self, last: Option<&HookSeen>) -> Located {
        let input = self.input;
        let Some(destination) = input.destination else {
            let address = self.lost.flow.map_or(input.probe.address, |flow| flow.destination.ip());
            return unlocated(&format!(
                "left {}; {address} is no node or pod of the cluster, and nobody there can be asked",
                input.source
            ));
        };
        let answer = self.lost.answer.as_ref();
        // Of a service's backends each counts what itself gets.
        let balanced = input.probe.target.kind == TargetKind::Service;
        let arrived = match self.lost.arrival.filter(|_| !balanced) {
            Some(arrived) => {
                let word = if arrived { "had arrived" } else { "had not arrived" };
                self.evidence.push(format!("a later reply of {destination} shows that the request {word}"));
                Some(arrived)
            }
            None => {
                let arrived = answer.and_then(|answer| answer.arrived);
                if let Some(arrived) = arrived {
                    let word = if arrived { "saw the request" } else { "never saw the request" };
                    self.evidence.push(format!("the kernel of {destination} {word}"));
                }
                arrived
            }
        };
        match arrived {
            Some(true) if self.relayed() => self.lost_behind(destination),
            Some(true) => self.after_arrival(destination, answer),
            Some(false) => self.on_the_wire(destination, last, Direction::Request),
            None => self.unknown(destination, last),
        }
    }

    fn unknown(&mut self, destination: &str, last: Option<&HookSeen>) -> Located {
        match &self.input.visibility {
            // Whatever is between this node's uplink and the target's socket may have dropped it.
            Visibility::NoAgent | Visibility::Silent => {
                self.evidence.push(if self.input.visibility == Visibility::Silent {
                    format!("the agent of {destination} has fallen silent")
                } else {
                    format!("node {destination} has no agent to ask")
                });
                if self.input.echo_answered {
                    self.note_echo_answered();
                }
                let left = match last {
                    Some(hook) => format!("left {} through {}", self.input.source, hook_name(hook)),
                    None => format!("no hooks on {}", self.input.source),
                };
                unlocated(&format!("{left}; nobody on {destination} can tell whether it arrived"))
            }
            Visibility::NoHooks => {
                self.evidence.push(format!("the agent of {destination} has no kernel hooks"));
                unlocated(&format!(
                    "left {}; {destination} cannot tell whether it arrived",
                    self.input.source
                ))
            }
            Visibility::Elsewhere => {
                let network = scene_network(self.input.probe);
                self.evidence.push(format!("no hook of {destination} is known to see network {network}"));
                unlocated(&format!(
                    "left {}; {destination} cannot tell whether it arrived on network {network}",
                    self.input.source
                ))
            }
            Visibility::Hooks { .. } if self.input.give_up && self.want().is_some() => unlocated(&format!(
                "left {}; no answer from {destination} whether it arrived",
                self.input.source
            )),
            // Its kernel reports each packet of such a flow that it drops.
            Visibility::Hooks { .. }
                if self.reports_drops()
                    && self.want().is_none()
                    && self.input.echo_answered
                    && !self.relayed() =>
            {
                self.note_echo_answered();
                self.evidence.push(format!("no kernel on {destination} or on the way reported a drop"));
                self.behind_socket(destination)
            }
            Visibility::Hooks { .. } => {
                let want = self.want();
                let source = self.input.source;
                let why = match want {
                    Some(_) => format!("left {source}; waiting for the answer of {destination}"),
                    None => format!("left {source}; {destination} keeps no record of such flows"),
                };
                Located { want, ..unlocated(&why) }
            }
        }
    }

    /// What the destination's kernel keeps: per path of probes with a header, flows to its own responder, and flows
    /// from a probe port. Others leave no trace there but their drops.
    pub(super) fn want(&self) -> Option<Want> {
        let probe = self.input.probe;
        if probe.kind.carries_header() {
            return Some(Want::Path);
        }
        let responder = probe.kind == ProbeKind::Tcp && probe.target.kind == TargetKind::Node;
        let kept = |flow: &Flow| responder || probe_ports::contain(flow.source.port());
        self.lost.flow.filter(kept).map(|_| Want::Flow)
    }

    /// The request arrived at the destination node; the source has seen no reply.
    fn after_arrival(&mut self, destination: &str, answer: Option<&Answer>) -> Located {
        let Some(answer) = answer else {
            let ask = matches!(self.input.visibility, Visibility::Hooks { .. }) && !self.input.give_up;
            let place =
                Location { node: destination.to_owned(), direction: Direction::Reply, ..Default::default() };
            let summary = format!("the request reached {destination}, its reply got lost");
            let want = if ask { self.want() } else { None };
            return Located { want, summary, ..inferred(place) };
        };
        if !answer.replied {
            self.evidence.push(format!("no hook of {destination} saw a reply to it"));
            if let Some(located) = self.pod_cut_off(destination, self.input.pod_link_down) {
                return located;
            }
            if let Some(located) = self.cannot_answer(destination) {
                return located;
            }
            if self.input.reverse_unreported && !self.input.give_up {
                let why = format!(
                    "reached {destination}; waiting for whether it can send to {}",
                    self.input.source
                );
                return Located { want: Some(Want::Reports), ..unlocated(&why) };
            }
            let Some(hook) = answer.last_request_hook.clone() else {
                return unlocated(&format!("died on {destination}, at no known place"));
            };
            self.evidence.push(format!("the request was last seen on {destination} {}", passing(&hook)));
            // The kernel makes some replies itself, and drops them before any hook: which half it was stays open.
            return self.seen_at(destination, &hook, Direction::Unknown);
        }
        let Some(hook) = answer.last_reply_hook.clone() else {
            return unlocated(&format!("the reply was lost behind {destination}, at no known place"));
        };
        self.evidence.push(format!("its reply was last seen on {destination} {}", passing(&hook)));
        if !left(&hook) {
            if !self.input.destination_watches_uplinks {
                return unlocated(&format!(
                    "no hook at an uplink of {destination} to see whether its reply left"
                ));
            }
            return self.seen_at(destination, &hook, Direction::Reply);
        }
        if self.lost.sample.unwatched {
            return unlocated(&format!(
                "the reply left {destination}; no hooks on {} to see it",
                self.input.source
            ));
        }
        let datagrams = self.input.probe.kind == ProbeKind::Dns && !self.input.probe.over_tcp();
        if datagrams && !self.input.promptly_answered {
            // Whoever asked may have stopped waiting before it left.
            return unlocated(&format!("its reply left {destination}, perhaps after the deadline"));
        }
        self.evidence.push(format!("no hook of {} saw it", self.input.source));
        let back = self.lost.sample.request_hooks.last().filter(|hook| hook.egress);
        inferred(Location {
            node: destination.to_owned(),
            interface: hook.interface,
            role: hook.role,
            stage: Stage::Wire,
            direction: Direction::Reply,
            next_node: self.input.source.to_owned(),
            next_interface: back.map(|hook| hook.interface.clone()).unwrap_or_default(),
            ..Default::default()
        })
    }
}

/// Whether it has left the node. A tunnel's device only wraps: what it sent has left when the wrapped packet was seen
/// at an uplink.
pub(super) fn left(hook: &HookSeen) -> bool {
    hook.egress && hook.role == InterfaceRole::Uplink
}

fn scene_network(probe: &Probe) -> &str {
    probe.target.network().unwrap_or_default()
}
