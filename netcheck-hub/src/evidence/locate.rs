//! Facts of one lost probe → where it died. Pure.
//!
//! The order is that of strength: a kernel's drop record, an error that the source's own kernel returned, an answer
//! of the target or of a router, and only then what can be concluded from who saw the packet and who did not.

use std::net::IpAddr;

use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::{convert, v1};

use super::words::{hook_name, icmp_name};
use super::{Answer, DropFact, Lost};
use crate::plan::Probe;
use crate::roster::Roster;

/// What the agent of the destination node can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// No agent is connected there.
    NoAgent,
    /// Its agent has no kernel hooks.
    Blind,
    /// Its hooks see; this is the one that faces the other nodes.
    Sees {
        /// Interface name, where it is known.
        uplink: Option<String>,
    },
}

/// What is known around the probe.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// The probe's node.
    pub source: &'a str,
    /// What it was.
    pub probe: &'a Probe,
    /// Whose the addresses are.
    pub roster: &'a Roster,
    /// The node where the request was to arrive; none where that is not known.
    pub destination: Option<&'a str>,
    /// What that node's agent can tell.
    pub sight: Sight,
    /// No more answers are to be expected.
    pub give_up: bool,
}

/// What to ask the destination's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What its reflector holds of the path.
    Path,
    /// What its hooks saw of the flow.
    Flow,
}

/// The conclusion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    /// Where it died.
    pub location: Option<v1::LossLocation>,
    /// One line: the place, or why there is none.
    pub summary: String,
    /// What it rests on, one line each.
    pub evidence: Vec<String>,
    /// What would help.
    pub want: Option<Want>,
}

impl Located {
    /// Whether a kernel said so.
    #[must_use]
    pub fn observed(&self) -> bool {
        let certainty = self.location.as_ref().map(v1::LossLocation::certainty);
        certainty == Some(v1::Certainty::Observed)
    }
}

/// The node where a request of this probe was to arrive: the holder of the address that its packets went to.
#[must_use]
pub fn destination<'a>(roster: &'a Roster, probe: &Probe, lost: &Lost) -> Option<&'a str> {
    let address = lost.flow.map_or(probe.address, |flow| flow.destination.ip());
    roster.owner(address).or_else(|| roster.owner(probe.address)).map(|owner| owner.node.as_str())
}

/// Concludes.
#[must_use]
pub fn locate(scene: &Scene<'_>, lost: &Lost) -> Located {
    let mut case = Case { scene, lost, evidence: Vec::new() };
    let mut located = case.decide();
    if located.summary.is_empty() {
        let location = located.location.as_ref();
        located.summary = location.map(super::words::place).unwrap_or_default();
    }
    located.evidence = case.evidence;
    located
}

struct Case<'a> {
    scene: &'a Scene<'a>,
    lost: &'a Lost,
    evidence: Vec<String>,
}

impl Case<'_> {
    fn decide(&mut self) -> Located {
        if self.lost.sample.suspect {
            return unlocated("the agent was too starved to judge this probe: not counted as lost");
        }
        let drop = self.best_drop().cloned();
        if let Some(drop) = &drop {
            self.evidence.push(super::words::drop_line(drop));
        }
        if matches!(self.lost.outcome, Outcome::Refused | Outcome::DnsError) {
            // The target itself answered. A drop before its socket (a reject rule) explains more than the answer.
            let before_socket = drop.as_ref().filter(|drop| {
                self.lost.outcome == Outcome::Refused && drop.record.stage() != v1::Stage::Socket
            });
            return match before_socket {
                Some(drop) => Self::observed_drop(drop),
                None => self.answered(),
            };
        }
        if let Some(drop) = &drop {
            return Self::observed_drop(drop);
        }
        match self.lost.outcome {
            Outcome::SendError => self.send_error(),
            Outcome::Unreachable => self.icmp_error(),
            Outcome::Reply | Outcome::Timeout | Outcome::Refused | Outcome::DnsError => self.silence(),
        }
    }

    /// The record that says most: a reason of its own before "no socket" and "not specified", then the earliest.
    fn best_drop(&self) -> Option<&DropFact> {
        let vague =
            |reason: &str| matches!(reason, "" | "NOT_SPECIFIED" | "NO_SOCKET" | "SKB_DROP_REASON_NO_SOCKET");
        let icmp = self.scene.probe.kind == ProbeKind::Icmp;
        let counts = |fact: &&DropFact| {
            // The kernel reports every echo reply that a raw socket got a copy of as dropped for want of a socket.
            let copy = icmp
                && fact.record.direction() == v1::Direction::Reply
                && fact.record.reason.ends_with("NO_SOCKET");
            !copy
        };
        self.lost
            .drops
            .iter()
            .filter(counts)
            .min_by_key(|fact| (vague(&fact.record.reason), fact.observed_ns))
    }

    fn observed_drop(drop: &DropFact) -> Located {
        let record = &drop.record;
        located(v1::LossLocation {
            node: drop.node.to_string(),
            interface: record.interface.clone(),
            role: record.role,
            pod: record.pod.clone(),
            stage: record.stage,
            direction: record.direction,
            reason: record.reason.clone(),
            function: record.function.clone(),
            certainty: v1::Certainty::Observed.into(),
            ..Default::default()
        })
    }

    /// The target, or one backend of it, said no.
    fn answered(&mut self) -> Located {
        let scene = self.scene;
        let icmp_from = self.lost.sample.icmp_error.as_ref();
        let icmp_from = icmp_from.and_then(|error| convert::address("icmp_error.from", &error.from).ok());
        let from: Option<IpAddr> =
            icmp_from.or(self.lost.flow.map(|flow| flow.destination.ip())).or_else(|| {
                // An address of its own is where the answer came from; a service's is not.
                scene.roster.owner(scene.probe.address).map(|_| scene.probe.address)
            });
        let Some(from) = from else {
            return unlocated("answered with a refusal, but which backend gave it is not known");
        };
        let (stage, reason) = match self.lost.outcome {
            Outcome::DnsError => (v1::Stage::Application, self.lost.sample.dns_rcode.clone()),
            _ => (v1::Stage::Socket, "refused".to_owned()),
        };
        let how = match (&self.lost.sample.icmp_error, self.lost.outcome) {
            (_, Outcome::DnsError) => format!("answered {reason}"),
            (Some(error), _) => format!("answered with {}", icmp_name(from, error)),
            (None, _) => "answered with a TCP reset".to_owned(),
        };
        self.evidence.push(format!("{} {how}", super::words::whose(scene.roster, from)));
        let owner = scene.roster.owner(from);
        let who = super::words::whose(scene.roster, from);
        let service = scene.probe.target.kind == v1::TargetKind::Service;
        let who = if service { format!("backend {}", who.trim_start_matches("pod ")) } else { who };
        let summary = match self.lost.outcome {
            Outcome::DnsError => format!("{reason} from {who}"),
            _ => format!("refused by {who}"),
        };
        Located {
            summary,
            ..located(v1::LossLocation {
                node: owner.map_or_else(|| from.to_string(), |owner| owner.node.clone()),
                pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
                stage: stage.into(),
                direction: v1::Direction::Request.into(),
                reason,
                certainty: v1::Certainty::Observed.into(),
                ..Default::default()
            })
        }
    }

    fn send_error(&mut self) -> Located {
        let errno = self.lost.sample.errno.clone();
        let stage = match errno.as_str() {
            // What the routing table's special routes answer: unreachable, throw or none, prohibit, blackhole.
            "EHOSTUNREACH" | "ENETUNREACH" | "EACCES" | "EINVAL" | "ENETDOWN" => v1::Stage::Routing,
            "EPERM" => v1::Stage::NetfilterOutput,
            "ENOBUFS" => v1::Stage::Qdisc,
            _ => v1::Stage::Send,
        };
        self.evidence.push(format!("the kernel of {} refused to send it: {errno}", self.scene.source));
        located(v1::LossLocation {
            node: self.scene.source.to_owned(),
            stage: stage.into(),
            direction: v1::Direction::Request.into(),
            reason: errno,
            certainty: v1::Certainty::Observed.into(),
            ..Default::default()
        })
    }

    fn icmp_error(&mut self) -> Located {
        let error = self.lost.sample.icmp_error.as_ref();
        let from = error.and_then(|error| convert::address("icmp_error.from", &error.from).ok());
        let (Some(error), Some(from)) = (error, from) else { return self.silence() };
        let owner = self.scene.roster.owner(from);
        let node = owner.map_or_else(|| from.to_string(), |owner| owner.node.clone());
        let local = Some(node.as_str()) == self.scene.destination
            && self.scene.probe.target.kind == v1::TargetKind::Node;
        let stage = match (from, error.r#type, error.code) {
            (IpAddr::V4(_), 3, 9 | 10 | 13) | (IpAddr::V6(_), 1, 1 | 5 | 6) if local => {
                v1::Stage::NetfilterInput
            }
            (IpAddr::V4(_), 3, 9 | 10 | 13) | (IpAddr::V6(_), 1, 1 | 5 | 6) => v1::Stage::NetfilterForward,
            (IpAddr::V4(_), 3, 4) | (IpAddr::V6(_), 2, _) => v1::Stage::Egress,
            (IpAddr::V4(_), 3, 2 | 3) | (IpAddr::V6(_), 1, 4) => v1::Stage::Socket,
            (IpAddr::V6(_), 1, 3) => v1::Stage::Neighbour,
            _ => v1::Stage::Routing,
        };
        let name = icmp_name(from, error);
        self.evidence.push(format!("{} sent {name}", super::words::whose(self.scene.roster, from)));
        located(v1::LossLocation {
            node,
            pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
            stage: stage.into(),
            direction: v1::Direction::Request.into(),
            reason: name,
            certainty: v1::Certainty::Observed.into(),
            ..Default::default()
        })
    }

    /// Nothing came back, and no kernel reported a drop: only conclusions are left.
    fn silence(&mut self) -> Located {
        let source = self.scene.source;
        let sample = &self.lost.sample;
        if let Some(last) = sample.reply_hooks.last() {
            self.evidence.push(format!("the reply was seen at {} of {source}", hook_name(last)));
            self.evidence.push("no socket of the agent got it in time".to_owned());
            return self.seen_at(source, last, v1::Direction::Reply);
        }
        if sample.unwatched {
            self.evidence.push(format!("no kernel hooks watched this probe on {source}"));
            return self.beyond_source(None);
        }
        let Some(last) = sample.request_hooks.last() else {
            if self.scene.destination == Some(source) {
                return unlocated(&format!("its way stays inside {source}, where no hook watches"));
            }
            self.evidence.push(format!("no hook of {source} saw the request leave"));
            return inferred(v1::LossLocation {
                node: source.to_owned(),
                stage: v1::Stage::Send.into(),
                direction: v1::Direction::Request.into(),
                ..Default::default()
            });
        };
        self.evidence.push(format!("the request was last seen on {source} {}", passing(last)));
        if self.scene.destination == Some(source) {
            return self.seen_at(source, last, v1::Direction::Request);
        }
        let left =
            last.egress && matches!(last.role(), v1::InterfaceRole::Uplink | v1::InterfaceRole::Tunnel);
        if left { self.beyond_source(Some(last)) } else { self.seen_at(source, last, v1::Direction::Request) }
    }

    /// The request left its node, as far as its node can tell.
    fn beyond_source(&mut self, last: Option<&v1::HookSeen>) -> Located {
        let scene = self.scene;
        let Some(destination) = scene.destination else {
            return unlocated(&format!("the target has no node that could be asked; left {} ", scene.source));
        };
        let answer = self.lost.answer.as_ref();
        let arrived = match self.lost.arrival {
            Some(arrived) => {
                let word = if arrived { "had arrived" } else { "had not arrived" };
                self.evidence.push(format!("a later reply of {destination} tells that the request {word}"));
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
            Some(true) => self.after_arrival(destination, answer),
            Some(false) => self.on_the_wire(destination, last),
            None => self.unknown(destination, last),
        }
    }

    fn unknown(&mut self, destination: &str, last: Option<&v1::HookSeen>) -> Located {
        match &self.scene.sight {
            Sight::NoAgent => {
                self.evidence.push(format!("node {destination} has no agent to ask"));
                match last {
                    Some(_) => self.on_the_wire(destination, last),
                    None => {
                        unlocated(&format!("no hooks on {}, no agent on {destination}", self.scene.source))
                    }
                }
            }
            Sight::Blind => {
                self.evidence.push(format!("the agent of {destination} has no kernel hooks"));
                unlocated(&format!(
                    "left {}; {destination} cannot tell whether it arrived",
                    self.scene.source
                ))
            }
            Sight::Sees { .. } if self.scene.give_up => unlocated(&format!(
                "left {}; no answer from {destination} whether it arrived",
                self.scene.source
            )),
            Sight::Sees { .. } => {
                let want = self.want();
                let why = if want.is_some() { "waiting for the answer of" } else { "nothing to ask of" };
                Located { want, ..unlocated(&format!("left {}; {why} {destination}", self.scene.source)) }
            }
        }
    }

    fn want(&self) -> Option<Want> {
        if self.scene.probe.kind.carries_header() {
            return Some(Want::Path);
        }
        self.lost.flow.map(|_| Want::Flow)
    }

    fn on_the_wire(&self, destination: &str, last: Option<&v1::HookSeen>) -> Located {
        let next_interface = match &self.scene.sight {
            Sight::Sees { uplink } => uplink.clone().unwrap_or_default(),
            Sight::NoAgent | Sight::Blind => String::new(),
        };
        inferred(v1::LossLocation {
            node: self.scene.source.to_owned(),
            interface: last.map(|hook| hook.interface.clone()).unwrap_or_default(),
            role: last.map_or(0, |hook| hook.role),
            stage: v1::Stage::Wire.into(),
            direction: v1::Direction::Request.into(),
            next_node: destination.to_owned(),
            next_interface,
            ..Default::default()
        })
    }

    /// The request arrived at the destination node; the source has seen no reply.
    fn after_arrival(&mut self, destination: &str, answer: Option<&Answer>) -> Located {
        let Some(answer) = answer else {
            let ask = matches!(self.scene.sight, Sight::Sees { .. }) && !self.scene.give_up;
            let place = v1::LossLocation {
                node: destination.to_owned(),
                direction: v1::Direction::Reply.into(),
                ..Default::default()
            };
            let summary = format!("the request reached {destination}, its reply got lost");
            let want = if ask { self.want() } else { None };
            return Located { want, summary, ..inferred(place) };
        };
        if !answer.replied {
            self.evidence.push(format!("no hook of {destination} saw a reply to it"));
            let Some(hook) = answer.last_request_hook.clone() else {
                return unlocated(&format!("died on {destination}, at no known place"));
            };
            self.evidence.push(format!("the request was last seen on {destination} {}", passing(&hook)));
            return self.seen_at(destination, &hook, v1::Direction::Request);
        }
        let Some(hook) = answer.last_reply_hook.clone() else {
            return unlocated(&format!("the reply was lost behind {destination}, at no known place"));
        };
        self.evidence.push(format!("its reply was last seen on {destination} {}", passing(&hook)));
        let left =
            hook.egress && matches!(hook.role(), v1::InterfaceRole::Uplink | v1::InterfaceRole::Tunnel);
        if !left {
            return self.seen_at(destination, &hook, v1::Direction::Reply);
        }
        if self.lost.sample.unwatched {
            return unlocated(&format!(
                "the reply left {destination}; no hooks on {} to see it",
                self.scene.source
            ));
        }
        self.evidence.push(format!("no hook of {} saw it", self.scene.source));
        let back = self.lost.sample.request_hooks.last().filter(|hook| hook.egress);
        inferred(v1::LossLocation {
            node: destination.to_owned(),
            interface: hook.interface,
            role: hook.role,
            stage: v1::Stage::Wire.into(),
            direction: v1::Direction::Reply.into(),
            next_node: self.scene.source.to_owned(),
            next_interface: back.map(|hook| hook.interface.clone()).unwrap_or_default(),
            ..Default::default()
        })
    }

    /// Last seen at a hook of `node`, never at the next place.
    fn seen_at(&self, node: &str, hook: &v1::HookSeen, direction: v1::Direction) -> Located {
        let into_pod = hook.egress && hook.role() == v1::InterfaceRole::PodVeth;
        let own = self.lost.flow.map_or(self.scene.probe.address, |flow| flow.destination.ip());
        let pod = self.scene.roster.owner(own).and_then(|owner| owner.pod.clone()).unwrap_or_default();
        let stage = match (into_pod, self.scene.probe.kind, hook.egress) {
            (true, ProbeKind::Icmp | ProbeKind::Tcp, _) => v1::Stage::Socket,
            (true, ProbeKind::Udp | ProbeKind::Dns | ProbeKind::Http, _) => v1::Stage::Application,
            (false, _, true) => v1::Stage::Egress,
            (false, _, false) => v1::Stage::Ingress,
        };
        inferred(v1::LossLocation {
            node: node.to_owned(),
            interface: hook.interface.clone(),
            role: hook.role,
            pod: if hook.role() == v1::InterfaceRole::PodVeth { pod } else { String::new() },
            stage: stage.into(),
            direction: direction.into(),
            ..Default::default()
        })
    }
}

fn passing(hook: &v1::HookSeen) -> String {
    let way = if hook.egress { "leaving through" } else { "arriving at" };
    format!("{way} {}", hook_name(hook))
}

fn located(location: v1::LossLocation) -> Located {
    Located { location: Some(location), ..Default::default() }
}

fn inferred(location: v1::LossLocation) -> Located {
    located(v1::LossLocation { certainty: v1::Certainty::Inferred.into(), ..location })
}

fn unlocated(why: &str) -> Located {
    Located { summary: why.trim().to_owned(), ..Default::default() }
}
