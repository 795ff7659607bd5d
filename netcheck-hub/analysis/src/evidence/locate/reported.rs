//! Somebody said why: the target refused, the source's kernel could not send, a router sent an ICMP error.

use std::net::IpAddr;

use netcheck_common::domain::{Outcome, ProbeKind};

use super::super::words::whose;
use super::{Located, Locator, Visibility, exchange, located, stage_of, unlocated};
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::target::TargetKind;
use crate::words::location::icmp_name;

impl Locator<'_> {
    /// The target, or one backend of it, said no.
    pub(super) fn answered(&mut self) -> Located {
        let input = self.input;
        let icmp_from = self.lost.sample.icmp_error.as_ref();
        let icmp_from = icmp_from.and_then(|error| error.from);
        // An error that seems to come from the service itself was translated on its way back.
        let moved = self.lost.flow.is_some_and(|flow| flow.destination.ip() != input.probe.address);
        let own = |address: &IpAddr| {
            *address != input.probe.address || (!moved && input.roster.owner(*address).is_some())
        };
        let translated = icmp_from.is_some() && !icmp_from.as_ref().is_some_and(own);
        let icmp_from = icmp_from.filter(own);
        let tcp = input.probe.over_tcp();
        let refused = self.lost.outcome == Outcome::Refused;
        // Whoever passes it on rejects what it knows nobody for, and says so.
        let rejected = self.lost.sample.icmp_error.is_some() && input.probe.target.unbacked.is_some();
        let elsewhere = icmp_from.is_some_and(|from| from != input.probe.address);
        if refused && !rejected && !elsewhere && self.relayed() {
            return self.refused_relayed();
        }
        if self.lost.outcome == Outcome::DnsError && self.relayed() {
            return self.failed_relayed();
        }
        let unheard = self.lost.drops.iter().any(|fact| fact.record.stage == Stage::Socket);
        let filtered = tcp || (input.probe.kind == ProbeKind::Udp && !unheard);
        if filtered && translated {
            // A closed TCP port answers with a reset, and for a closed UDP port its kernel reports it. A filter sent
            // this, from an address that the translation hid.
            if let Some(flow) = self.lost.flow {
                let backend = whose(input.roster, flow.destination.ip());
                self.evidence.push(format!("it was sent to backend {}", backend.trim_start_matches("pod ")));
            }
            return unlocated(
                "rejected with ICMP port unreachable by a filter that hides behind the service",
            );
        }
        let sent_to = self.lost.flow.map_or(input.probe.address, |flow| flow.destination.ip());
        if let Some(from) = icmp_from.filter(|from| tcp || *from != sent_to) {
            let rejected = self.rejected(from, sent_to);
            return self.as_reported(rejected);
        }
        let from: Option<IpAddr> = icmp_from
            .or(super::refused_by(input.roster, self.lost))
            .or(self.lost.flow.map(|flow| flow.destination.ip()))
            .or_else(|| {
                // An address of its own is where the answer came from; a service's is not.
                let own =
                    input.probe.target.is_node_local() || input.roster.owner(input.probe.address).is_some();
                own.then_some(input.probe.address)
            });
        let Some(from) = from else {
            let what = match self.lost.outcome {
                Outcome::HttpError => exchange::summary(&self.lost.sample, "a backend"),
                _ => "answered with a refusal".to_owned(),
            };
            return unlocated(&format!("{what}, but which backend gave it is not known"));
        };
        let answered = self.answered_from(from);
        self.as_reported(answered)
    }

    /// The same, by whoever has this address.
    fn answered_from(&mut self, from: IpAddr) -> Located {
        let input = self.input;
        let (stage, reason) = match self.lost.outcome {
            Outcome::DnsError => (Stage::Application, self.lost.sample.dns_rcode.clone()),
            Outcome::HttpError => (Stage::Application, exchange::reason(&self.lost.sample)),
            _ => (Stage::Socket, "refused".to_owned()),
        };
        let how = match (&self.lost.sample.icmp_error, self.lost.outcome) {
            (_, Outcome::DnsError) => format!("answered {reason}"),
            (_, Outcome::HttpError) => exchange::evidence(&self.lost.sample),
            (Some(error), _) => format!("answered with {}", icmp_name(from, error)),
            (None, _) => "answered with a TCP reset".to_owned(),
        };
        let (node, who) = self.answerer(from);
        self.evidence.push(format!("{who} {how}"));
        if input.probe.target.kind == TargetKind::Node && input.visibility == Visibility::NoAgent {
            let node = &input.probe.target.name;
            self.evidence.push(format!("the agent of {node}, whose responder this is, is not connected"));
        }
        let owner = input.roster.owner(from);
        let service = input.probe.target.kind == TargetKind::Service;
        let who = if service && from != input.probe.address {
            format!("backend {}", who.trim_start_matches("pod "))
        } else {
            who
        };
        let summary = match self.lost.outcome {
            Outcome::DnsError => format!("{reason} from {who}"),
            Outcome::HttpError => exchange::summary(&self.lost.sample, &who),
            _ => format!("refused by {who}"),
        };
        Located {
            summary,
            ..located(Location {
                node,
                pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
                stage,
                direction: Direction::Request,
                reason,
                certainty: Certainty::Observed,
                ..Default::default()
            })
        }
    }

    /// The node of whoever answered from this address, and what he is called.
    fn answerer(&self, from: IpAddr) -> (String, String) {
        let input = self.input;
        if input.probe.target.is_node_local() && from == input.probe.address {
            return (input.source.to_owned(), format!("the DNS cache of {} ({from})", input.source));
        }
        let owner = input.roster.owner(from);
        let node = owner.map_or_else(|| from.to_string(), |owner| owner.node.clone());
        (node, whose(input.roster, from))
    }

    /// Port unreachable that no closed port sends: a filter rejects. Its answer bears the target's address where it is
    /// for the target's own stack, the filter's node's where it is passed on.
    fn rejected(&mut self, from: IpAddr, sent_to: IpAddr) -> Located {
        let owner = self.input.roster.owner(from);
        let node = owner.map_or_else(|| from.to_string(), |owner| owner.node.clone());
        let stage = if node == self.input.source {
            Stage::NetfilterOutput
        } else if from == sent_to {
            Stage::NetfilterInput
        } else {
            Stage::NetfilterForward
        };
        self.evidence.push(format!("{} sent ICMP port unreachable", whose(self.input.roster, from)));
        located(Location {
            node,
            pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
            stage,
            direction: Direction::Request,
            reason: "ICMP port unreachable".to_owned(),
            certainty: Certainty::Observed,
            ..Default::default()
        })
    }

    pub(super) fn send_error(&mut self) -> Located {
        let errno = self.lost.sample.errno.clone();
        let stage = stage_of(&errno);
        let pod = self.input.source_pod.clone().unwrap_or_default();
        let at = match pod.as_str() {
            "" => String::new(),
            pod => format!(", in the network of pod {pod},"),
        };
        self.evidence.push(format!("the kernel of {}{at} refused to send it: {errno}", self.input.source));
        located(Location {
            node: self.input.source.to_owned(),
            pod,
            stage,
            direction: Direction::Request,
            reason: errno,
            certainty: Certainty::Observed,
            ..Default::default()
        })
    }

    pub(super) fn icmp_error(&mut self) -> Located {
        let error = self.lost.sample.icmp_error.as_ref();
        let from = error.and_then(|error| error.from);
        let (Some(error), Some(from)) = (error, from) else { return self.silence() };
        let owner = self.input.roster.owner(from);
        if owner.is_none() && from == self.input.probe.address {
            // Translated on its way back, like every packet of the service's flows.
            let name = icmp_name(from, error);
            return unlocated(&format!("somebody behind the service's address sent {name}"));
        }
        if from == self.input.probe.address && self.relayed() {
            // Translated on its way back, where somebody behind the address sent it.
            let (who, name) = (whose(self.input.roster, from), icmp_name(from, error));
            return unlocated(&format!("{who} sent {name}, or somebody that it passed the request on to"));
        }
        let node = owner.map_or_else(|| from.to_string(), |owner| owner.node.clone());
        let local =
            Some(node.as_str()) == self.input.destination && self.input.probe.target.kind == TargetKind::Node;
        let stage = match (from, error.kind, error.code) {
            // No route of a node's is asked about what is for itself.
            (IpAddr::V4(_), 3, 9 | 10 | 13) | (IpAddr::V6(_), 1, 1 | 5 | 6) if local => Stage::NetfilterInput,
            (IpAddr::V4(_), 3, 4) | (IpAddr::V6(_), 2, _) => Stage::Egress,
            (IpAddr::V4(_), 3, 0)
            | (IpAddr::V4(_), 11, _)
            | (IpAddr::V6(_), 1, 0)
            | (IpAddr::V6(_), 3, _) => Stage::Routing,
            // A filter or a prohibit route; a route or a neighbour that does not answer; a filter or a closed port.
            _ => Stage::Unknown,
        };
        let name = icmp_name(from, error);
        self.evidence.push(format!("{} sent {name}", whose(self.input.roster, from)));
        let rejected_at = located(Location {
            node,
            pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
            stage,
            direction: Direction::Request,
            reason: name,
            certainty: Certainty::Observed,
            ..Default::default()
        });
        self.as_reported(rejected_at)
    }
}
