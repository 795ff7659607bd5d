//! Node ports, load balancers, external addresses: what is sent there is passed on by whoever has the address, under
//! another address. What became of it behind that can't be seen from the sender's packets, and is not guessed.

use std::net::SocketAddr;

use super::super::words::whose;
use super::super::{DropFact, Flow};
use super::{Located, Locator, unlocated};
use crate::model::location::{Direction, Stage};
use crate::model::reason::DropReason;
use crate::model::target::ServiceAddress;
use crate::words::names::service_address;

impl Locator<'_> {
    /// Whether it left for an address where it is passed on. Where the sender's own node translates the address already,
    /// as it does with all of a service's that it knows, its packets left for a backend.
    pub(super) fn relayed(&self) -> bool {
        let target = &self.input.probe.target;
        let outer = [ServiceAddress::NodePort, ServiceAddress::LoadBalancer, ServiceAddress::ExternalIp];
        let untranslated = |flow: Flow| flow.destination.ip() == self.input.probe.address;
        let passed_on = outer.into_iter().any(|at| target.is_at(at)) || target.is_frontend();
        passed_on && self.lost.flow.is_none_or(untranslated)
    }

    /// The address's name.
    fn address_name(&self) -> String {
        match service_address(&self.input.probe.target.to_wire()) {
            place if place.is_empty() => self.input.probe.target.name.clone(),
            place => place,
        }
    }

    /// A DNS server behind it answered with an error.
    pub(super) fn failed_relayed(&mut self) -> Located {
        let (rcode, place) = (&self.lost.sample.dns_rcode, self.address_name());
        unlocated(&format!("{rcode} at {place}, from whichever server it was passed on to"))
    }

    /// Somebody refused it. Only a kernel that had no socket for it shows who.
    pub(super) fn refused_relayed(&mut self) -> Located {
        let place = self.address_name();
        let Some(drop) = self.unheard() else {
            let who = whose(self.input.roster, self.input.probe.address);
            return unlocated(&format!(
                "refused at {place}, by {who} or by a backend that it was passed on to"
            ));
        };
        let sent_to = SocketAddr::new(self.input.probe.address, self.input.probe.port);
        let dropped = drop.record.flow;
        if let Some(flow) = dropped.filter(|flow| flow.destination != sent_to) {
            let backend = whose(self.input.roster, flow.destination.ip());
            let summary = format!("refused by backend {}", backend.trim_start_matches("pod "));
            return Located { summary, ..Self::observed_drop(&drop) };
        }
        let node = drop.node.to_string();
        let service = self.input.probe.target.at.as_ref().map_or(0, |at| at.port);
        let target = &self.input.probe.target;
        let summary = format!(
            "refused by {node} itself: nothing there passes {place} on to service {}/{}:{service}",
            target.namespace, target.name
        );
        Located { summary, ..Self::observed_drop(&drop) }
    }

    /// A kernel's word that nobody listened: at the address as it was sent, or, where the packet itself says whose it is,
    /// at whichever it was passed on to.
    fn unheard(&self) -> Option<DropFact> {
        let probe = self.input.probe;
        let sent_to = SocketAddr::new(probe.address, probe.port);
        let here = |fact: &&DropFact| {
            let record = &fact.record;
            let flow = record.flow;
            record.stage == Stage::Socket
                && record.direction == Direction::Request
                && DropReason::of(&record.reason) == DropReason::NoSocket
                && (record.probe.is_some() || flow.is_some_and(|flow| flow.destination == sent_to))
        };
        self.lost.drops.iter().find(here).cloned()
    }

    /// It reached whoever passes it on.
    pub(super) fn lost_behind(&mut self, node: &str) -> Located {
        let place = service_address(&self.input.probe.target.to_wire());
        unlocated(&format!("the request reached {node}; where it went from {place} is not known"))
    }
}
