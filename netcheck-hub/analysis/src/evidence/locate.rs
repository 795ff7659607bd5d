//! Facts of one lost probe → where it died. Pure.
//!
//! The order is that of strength: a kernel's drop record, an error that the source's own kernel returned, an answer
//! of the target or of a router, and only then what can be concluded from who saw the packet and who did not.

use std::net::IpAddr;

use netcheck_common::domain::{Outcome, ProbeKind};

use self::exchange::ExchangeError;
use super::{Answer, DropFact, Located, Lost, Want};
use crate::cluster::roster::{Owner, Roster};
use crate::model::evidence::{DropRecord, ExchangeStep, PodLinkDown};
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::reason::DropReason;
use crate::plan::Probe;

pub mod exchange;
mod places;
mod proof;
mod relay;
mod reported;
mod resolve;
mod silence;

/// What the agent of the destination node can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Visibility {
    /// No agent is connected there.
    NoAgent,
    /// Its agent is connected, and has said nothing for longer than it should: it won't answer either.
    Silent,
    /// Its agent has no kernel hooks.
    NoHooks,
    /// Its hooks are not known to see anything of the secondary network that the probe stays in.
    Elsewhere,
    /// Its hooks see; this is the one that faces the other nodes.
    Hooks {
        /// Interface name, where it is known.
        uplink: Option<String>,
        /// Its kernel reports what it drops, so that its silence says something, too.
        drops: bool,
    },
}

/// What is known around the probe.
#[derive(Clone, Debug)]
pub struct LocateInput<'a> {
    /// The probe's node.
    pub source: &'a str,
    /// What it was.
    pub probe: &'a Probe,
    /// Whose the addresses are.
    pub roster: &'a Roster,
    /// The pod that it was sent from; none where it was sent from the node itself.
    pub source_pod: Option<String>,
    /// That pod's link, where its node says that it took no packets then.
    pub source_link_down: Option<&'a PodLinkDown>,
    /// The hooks of its own node see all that comes out of pods: what they did not see has not left its pod.
    pub source_watches_pods: bool,
    /// The node where the request was to arrive; none where that is not known.
    pub destination: Option<&'a str>,
    /// What that node's agent can report.
    pub visibility: Visibility,
    /// What kernels have to report of it is here: an agent looks for the name of a function before it reports a drop.
    pub settled: bool,
    /// No more answers are to be expected.
    pub give_up: bool,
    /// Every uplink of the source's node has a hook that sees what leaves: what it did not see has not left.
    pub source_watches_uplinks: bool,
    /// The same of the destination's node.
    pub destination_watches_uplinks: bool,
    /// Echo requests from this source to the same address are answered meanwhile.
    pub echo_answered: bool,
    /// What the destination node's own kernel says when it is to send to this source: the errno of its newest probe
    /// that could not be sent. Its replies meet the same.
    pub reverse_errno: Option<&'a str>,
    /// Without such an error: the destination's agent probes this source too, and has reported no probe since.
    pub reverse_unreported: bool,
    /// The destination's reply left it well within the time that the source waits, and the source's kernel would have
    /// reported one that came too late.
    pub promptly_answered: bool,
    /// The target pod's link, where its node says that it took no packets then.
    pub pod_link_down: Option<&'a PodLinkDown>,
}

/// The address that its packets went to after any translation, and its holder: as the kernel says that refused one, as they
/// left their node, or as a kernel says that dropped one, or an answer to one.
#[must_use]
pub fn holder<'a>(roster: &'a Roster, lost: &Lost) -> Option<(IpAddr, &'a Owner)> {
    let left = lost.flow.map(|flow| flow.destination.ip());
    let bare = lost.drops.iter().map(|fact| &fact.record).filter(|record| !record.encapsulated);
    let dropped = bare.filter_map(|record| {
        let flow = record.flow?;
        match record.direction {
            Direction::Request => Some(flow.destination.ip()),
            Direction::Reply => Some(flow.source.ip()),
            Direction::Unknown => None,
        }
    });
    refused_by(roster, lost)
        .into_iter()
        .chain(left)
        .chain(dropped)
        .find_map(|address| Some((address, roster.owner(address)?)))
}

/// Whose kernel had no socket for a request that was refused, by its own word: whoever else its port was seen with before,
/// that one refused it.
fn refused_by(roster: &Roster, lost: &Lost) -> Option<IpAddr> {
    let no_socket = |record: &DropRecord| {
        record.direction == Direction::Request
            && !record.encapsulated
            && DropReason::of(&record.reason) == DropReason::NoSocket
    };
    let by = |fact: &DropFact| {
        let to = fact.record.flow.filter(|_| no_socket(&fact.record))?.destination.ip();
        roster.owner(to).is_none_or(|owner| owner.node == *fact.node).then_some(to)
    };
    lost.drops.iter().find_map(by).filter(|_| lost.outcome == Outcome::Refused)
}

/// Whom a request of this probe was for: the holder of the address that its packets went to, or else of its own.
#[must_use]
pub fn addressee<'a>(roster: &'a Roster, probe: &Probe, lost: &Lost) -> Option<&'a Owner> {
    let known = holder(roster, lost).map(|(_, owner)| owner);
    known.or_else(|| roster.owner(lost.probed_address(probe)?))
}

/// The node where a request of this probe of `source`'s was to arrive.
#[must_use]
pub fn destination<'a>(roster: &'a Roster, source: &'a str, probe: &Probe, lost: &Lost) -> Option<&'a str> {
    if probe.target.is_node_local() {
        return Some(source);
    }
    addressee(roster, probe, lost).map(|owner| owner.node.as_str())
}

/// Concludes.
#[must_use]
pub fn locate(input: &LocateInput<'_>, lost: &Lost) -> Located {
    let mut case = Locator { input, lost, evidence: Vec::new() };
    let mut located = case.decide();
    if located.summary.is_empty() {
        let location = located.location.as_ref();
        located.summary = location.map(crate::words::location::place).unwrap_or_default();
    }
    if let Some(why) = &input.probe.target.unbacked {
        located.summary = format!("{why}: {}", located.summary);
    }
    located.evidence = case.evidence;
    located
}

struct Locator<'a> {
    input: &'a LocateInput<'a>,
    lost: &'a Lost,
    evidence: Vec<String>,
}

impl Locator<'_> {
    fn decide(&mut self) -> Located {
        if self.lost.sample.suspect {
            return unlocated("the agent was too starved to judge this probe: not counted as lost");
        }
        if self.lost.sample.step == ExchangeStep::Resolve {
            return self.unresolved();
        }
        self.note_resolved();
        if self.lost.sample.truncated {
            let line = "the answer over UDP was truncated, so that it was asked again over TCP (RFC 7766)";
            self.evidence.push(line.to_owned());
        }
        let drop = self.best_drop().cloned();
        if let Some(drop) = &drop {
            self.evidence.push(super::words::drop_line(drop));
            self.note_contradictions(drop);
        }
        let said_why = drop.as_ref().is_some_and(|drop| !vague(&drop.record.reason));
        let changed = if said_why { None } else { self.readdressed().or_else(|| self.untranslated()) };
        if let Some(located) = changed {
            return located;
        }
        if matches!(self.lost.outcome, Outcome::Refused | Outcome::DnsError | Outcome::HttpError) {
            // The target itself answered. A drop before its socket (a reject rule) explains more than the answer.
            let reset = self.lost.outcome == Outcome::Refused
                || ExchangeError::of(&self.lost.sample) == ExchangeError::Reset;
            let before_socket = drop.as_ref().filter(|drop| reset && drop.record.stage != Stage::Socket);
            return match before_socket {
                Some(drop) => self.recorded(drop),
                None => self.answered(),
            };
        }
        if (self.lost.answered_late && !said_why) || self.came_late(drop.as_ref()) {
            return self.late("its answer came after the deadline: nobody waited for it any more");
        }
        if let Some(drop) = &drop {
            let vague = vague(&drop.record.reason);
            let reverse = self.input.destination.filter(|_| vague).and_then(|node| self.cannot_answer(node));
            return reverse.unwrap_or_else(|| self.recorded(drop));
        }
        match self.lost.outcome {
            Outcome::SendError => self.send_error(),
            Outcome::Unreachable => self.icmp_error(),
            _ if self.established() => self.broken_off(),
            Outcome::Reply | Outcome::Timeout | Outcome::Refused | Outcome::DnsError | Outcome::HttpError => {
                self.silence()
            }
        }
    }

    /// It is an exchange over TCP whose connection stood.
    fn established(&self) -> bool {
        !matches!(self.lost.sample.step, ExchangeStep::None | ExchangeStep::Connect)
    }

    /// Whether the best record is of an answer that found its socket closed: each DNS question has one of its own, until
    /// it times out, and asks only once.
    fn came_late(&self, drop: Option<&DropFact>) -> bool {
        let late = |drop: &DropFact| {
            &*drop.node == self.input.source
                && drop.record.direction == Direction::Reply
                && DropReason::of(&drop.record.reason) == DropReason::NoSocket
        };
        self.input.probe.kind == ProbeKind::Dns
            && !self.input.probe.over_tcp()
            && self.lost.outcome == Outcome::Timeout
            && drop.is_some_and(late)
    }

    /// The record that says most. Those of both ends go first: nobody else can put his own word in their place. Then a
    /// reason of its own before "no socket" and "not specified", then the earliest.
    fn best_drop(&self) -> Option<&DropFact> {
        let ends = [Some(self.input.source), self.input.destination];
        let icmp = self.input.probe.kind == ProbeKind::Icmp;
        let over_tcp = self.input.probe.over_tcp();
        let tcp_gave_up = over_tcp && self.lost.outcome == Outcome::Timeout;
        let counts = |fact: &&DropFact| {
            // The kernel reports every echo reply that a raw socket got a copy of as dropped for want of a socket.
            let copy = icmp
                && fact.record.direction == Direction::Reply
                && fact.record.reason.ends_with("NO_SOCKET");
            // A switch that does not know a port for it floods it: that others did not want their copy says nothing.
            let flooded = DropReason::of(&fact.record.reason) == DropReason::OtherHost
                && !ends.contains(&Some(&*fact.node));
            // Whoever gives a connection up has no socket for its retransmissions, and resets what the other end holds
            // of it: what follows from the loss, not what it came from. So it is with all that comes for a connection
            // that its own end has closed, however it ended.
            let reason = &fact.record.reason;
            let own_end =
                over_tcp && fact.record.direction == Direction::Reply && *fact.node == *self.input.source;
            let aftermath = (tcp_gave_up || own_end)
                && fact.record.stage == Stage::Socket
                && (vague(reason) || out_of_step(reason));
            // The kernel frees the echo requests that it has answered under this reason (net/ipv6/icmp.c, icmpv6_rcv).
            let taken = icmp
                && fact.record.direction == Direction::Request
                && vague(reason)
                && matches!(fact.record.function.as_str(), "icmpv6_rcv" | "icmp_rcv");
            // A connection that is reset ends so, and the reset with it.
            let reset = DropReason::of(&fact.record.reason) == DropReason::TcpReset;
            !copy && !flooded && !taken && !self.bystander(fact) && !aftermath && !reset
        };
        let third = |fact: &DropFact| !ends.contains(&Some(&*fact.node));
        self.lost
            .drops
            .iter()
            .filter(counts)
            .min_by_key(|fact| (third(fact), vague(&fact.record.reason), fact.observed_ns))
    }

    /// It is of a pod's own kernel, and of no pod that it was sent from or to: a bridge that does not know a port for a
    /// packet sends a copy to every pod, and what becomes of copies says nothing.
    fn bystander(&self, fact: &DropFact) -> bool {
        let record = &fact.record;
        let of_pod = !record.pod.is_empty() && record.interface.is_empty();
        let source = self.input.source_pod.as_deref() == Some(&*record.pod);
        let to = addressee(self.input.roster, self.input.probe, self.lost);
        of_pod && !source && to.is_some_and(|owner| owner.pod.as_deref() != Some(&*record.pod))
    }

    fn observed_drop(drop: &DropFact) -> Located {
        let record = &drop.record;
        located(Location {
            node: drop.node.to_string(),
            interface: record.interface.clone(),
            role: record.role,
            pod: record.pod.clone(),
            stage: record.stage,
            direction: record.direction,
            reason: record.reason.clone(),
            function: record.function.clone(),
            certainty: Certainty::Observed,
            ..Default::default()
        })
    }
}

/// Reasons that say that a packet was dropped, and not why.
fn vague(reason: &str) -> bool {
    DropReason::of(reason).says_nothing()
}

/// Reasons that say that a segment does not fit what its connection has come to: a retransmission of what did arrive,
/// because the answer to it did not.
fn out_of_step(reason: &str) -> bool {
    DropReason::of(reason) == DropReason::OutOfStep
}

/// The stage at which the kernel gives this error to a sender.
fn stage_of(errno: &str) -> Stage {
    match errno {
        // What the routing table's special routes answer: throw or none, prohibit, blackhole.
        "ENETUNREACH" | "EACCES" | "EINVAL" | "ENETDOWN" => Stage::Routing,
        "ENOBUFS" => Stage::Qdisc,
        // EPERM is what netfilter's output and postrouting say alike, EHOSTUNREACH what an unreachable route and a
        // neighbour that does not answer do.
        _ => Stage::Send,
    }
}

fn located(location: Location) -> Located {
    Located { location: Some(location), ..Default::default() }
}

fn inferred(location: Location) -> Located {
    located(Location { certainty: Certainty::Inferred, ..location })
}

fn unlocated(why: &str) -> Located {
    Located { summary: why.trim().to_owned(), ..Default::default() }
}
