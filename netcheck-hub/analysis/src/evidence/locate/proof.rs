//! Whose own report confirms a location: it counts as observed only where the agent of the node that is blamed says so itself.
//!
//! An agent that lies, or a pod that makes one believe what is not so, can say anything of its own probes. Of another
//! node it proves nothing.

use std::collections::BTreeSet;

use netcheck_common::domain::Outcome;

use super::{Answer, DropFact, Located, Locator, Visibility};
use crate::model::location::{Certainty, Direction, Location};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::words::location::direction;

impl Locator<'_> {
    /// An answer in words: that its node's kernel saw an answer leave bears it out. Of a refused connection an answer of
    /// its listener reports nothing, and an error is no answer.
    fn in_words(&self) -> bool {
        matches!(self.lost.outcome, Outcome::DnsError | Outcome::HttpError)
    }

    /// The agent of `node` itself reports on this probe: its kernel dropped a packet of it, or saw an answer to it leave.
    fn borne_out(&self, node: &str) -> bool {
        let answered = |answer: &Answer| answer.arrived == Some(true) && answer.replied;
        let asked = self.input.destination == Some(node) && self.in_words();
        node == self.input.source
            || self.lost.drops.iter().any(|fact| *fact.node == *node)
            || (asked && self.lost.answer.as_ref().is_some_and(answered))
    }

    /// Whether a packet of this probe, or an answer to it, can come to `node` as far as the roster shows: it is the
    /// source's, has an address that it was sent to, or holds a backend of the service that it was sent to. Where
    /// somebody passes it on whom no roster says anything (a load balancer, an external address, an Ingress or a
    /// Gateway), it can be any.
    fn can_meet(&self, node: &str) -> bool {
        let Self { input, lost, .. } = self;
        let target = &input.probe.target;
        if node == input.source || input.destination == Some(node) || target.is_frontend() {
            return true;
        }
        let flow = lost.flow.map(|flow| flow.destination.ip());
        let mut sent_to =
            [Some(input.probe.address), lost.probed_address(input.probe), flow].into_iter().flatten();
        if sent_to.any(|address| input.roster.owner(address).is_some_and(|owner| owner.node == node)) {
            return true;
        }
        if matches!(target.kind, TargetKind::Node | TargetKind::Pod) {
            return false;
        }
        if target.is_at(ServiceAddress::LoadBalancer) || target.is_at(ServiceAddress::ExternalIp) {
            return true;
        }
        let service = input.roster.services.get(&target.full_name());
        let backends = service.into_iter().flat_map(|service| &service.backends);
        backends.filter_map(|backend| input.roster.owner(backend.address)).any(|owner| owner.node == node)
    }

    /// A kernel's record. Where no packet of the probe's can come to that node, as far as anybody knows, its agent alone
    /// says that one did.
    pub(super) fn recorded(&mut self, drop: &DropFact) -> Located {
        let located = Self::observed_drop(drop);
        if self.can_meet(&drop.node) {
            return located;
        }
        self.evidence.push(format!("{} alone says so", drop.node));
        let location = located.location.map(|at| Location { certainty: Certainty::Inferred, ..at });
        Located { location, ..located }
    }

    /// What the source says that somebody on `node` answered. Where the agent there can be asked, it is; where it does
    /// not bear it out, the source alone says so.
    pub(super) fn as_reported(&mut self, located: Located) -> Located {
        let Some(at) = &located.location else { return located };
        if self.borne_out(&at.node) {
            return located;
        }
        let asks = self.in_words() && self.input.destination == Some(at.node.as_str());
        let sees = matches!(self.input.visibility, Visibility::Hooks { .. });
        let may_ask = asks && sees && !self.input.give_up && self.lost.answer.is_none();
        let want = if may_ask { self.want() } else { None };
        if want.is_none() {
            self.evidence.push(format!("{} alone says so", self.input.source));
        }
        let location = located.location.map(|at| Location { certainty: Certainty::Inferred, ..at });
        Located { location, want, ..located }
    }

    /// Notes what speaks against a record: another node that reports the same packet's end, or that it saw the packet
    /// behind that place.
    pub(super) fn note_contradictions(&mut self, drop: &DropFact) {
        let half = drop.record.direction;
        let others = self.lost.drops.iter().filter(|fact| {
            fact.node != drop.node && fact.record.direction == half && half != Direction::Unknown
        });
        let others: BTreeSet<&str> = others.map(|fact| &*fact.node).collect();
        for node in others {
            let half = direction(half);
            self.evidence.push(format!("{node} says that its kernel dropped the {half}, too"));
        }
        let Some(destination) = self.input.destination.filter(|node| *node != &*drop.node) else { return };
        let arrived = self.lost.answer.as_ref().and_then(|answer| answer.arrived);
        if half == Direction::Request && arrived == Some(true) {
            self.evidence.push(format!("but the kernel of {destination} saw the request"));
        }
        let replied = self.lost.answer.as_ref().is_some_and(|answer| answer.replied);
        if half == Direction::Request && arrived != Some(true) && self.lost.arrival == Some(true) && !replied
        {
            self.evidence
                .push(format!("but a later reply of {destination} shows that the request had arrived"));
        }
    }
}
