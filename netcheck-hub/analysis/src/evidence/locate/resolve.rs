//! The server's name could not be looked up: nothing was sent to the server itself.

use super::super::words::whose;
use super::{Located, Locator, located, unlocated};
use crate::model::evidence::LostSample;
use crate::model::location::{Certainty, Direction, Location, Stage};

/// What a look-up came to, in a few words that stay the same.
#[must_use]
pub(crate) fn reason(sample: &LostSample) -> String {
    format!("{} for its name", sample.dns_rcode)
}

impl Locator<'_> {
    /// Notes where its server's name led it, and who said so.
    pub(super) fn note_resolved(&mut self) {
        let sample = &self.lost.sample;
        let lookup = self.input.probe.exchange.as_ref().and_then(|exchange| exchange.lookup.as_deref());
        if let (Some(name), Some(address)) = (lookup, sample.resolved_address) {
            let server = &sample.resolver;
            self.evidence.push(format!("DNS server {server} answered {address} for {name}"));
        }
    }

    /// The name had no address. Who said so is known; of a server that said nothing, not why.
    pub(super) fn unresolved(&mut self) -> Located {
        let sample = &self.lost.sample;
        let exchange = self.input.probe.exchange.as_ref();
        let name = exchange.and_then(|exchange| exchange.lookup.as_deref()).unwrap_or("its name");
        let Ok(server) = sample.resolver.parse::<std::net::IpAddr>() else {
            return unlocated(&format!("looking up {name}: {}", sample.dns_rcode));
        };
        let mut services = self.input.roster.services.values();
        let who = match services.find(|service| service.cluster_addresses.contains(&server)) {
            Some(service) => format!("DNS server {} ({server})", service.full_name()),
            None => format!("DNS server {}", whose(self.input.roster, server)),
        };
        // What resolvers call answers, apart from what became of the question.
        if sample.dns_rcode.chars().any(|letter| letter.is_ascii_lowercase()) {
            return unlocated(&format!("looking up {name} at {who}: {}", sample.dns_rcode));
        }
        self.evidence.push(format!("{who} answered {} for {name}", sample.dns_rcode));
        let owner = self.input.roster.owner(server);
        let answered = Located {
            summary: format!("looking up {name}: {} from {who}", sample.dns_rcode),
            ..located(Location {
                node: owner.map_or_else(|| server.to_string(), |owner| owner.node.clone()),
                pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
                stage: Stage::Application,
                direction: Direction::Request,
                reason: reason(sample),
                certainty: Certainty::Observed,
                ..Default::default()
            })
        };
        self.as_reported(answered)
    }
}
