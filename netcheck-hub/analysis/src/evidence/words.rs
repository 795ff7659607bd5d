//! Facts in words for people.

use std::net::IpAddr;

use super::DropFact;
use crate::cluster::roster::Roster;
use crate::words::location::direction;

/// An address with its owner's name.
#[must_use]
pub fn whose(roster: &Roster, address: IpAddr) -> String {
    match roster.owner(address) {
        Some(owner) => match &owner.pod {
            Some(pod) => match &owner.network {
                None => format!("pod {pod} ({address}) on {}", owner.node),
                Some(network) => format!("pod {pod} ({address} on network {network}) on {}", owner.node),
            },
            None => format!("{} ({address})", owner.node),
        },
        None => format!("{address} (no node or pod of the cluster)"),
    }
}

/// One line about a drop record.
#[must_use]
pub fn drop_line(fact: &DropFact) -> String {
    let record = &fact.record;
    let mut line = format!(
        "the kernel of {} dropped the {}: {}",
        fact.node,
        direction(record.direction),
        if record.reason.is_empty() { "no reason given" } else { &record.reason },
    );
    if !record.function.is_empty() {
        line += &format!(" in {}", record.function);
    }
    if !record.interface.is_empty() {
        line += &format!(" at {}", record.interface);
    }
    if let Some(flow) = record.flow {
        line += &if flow.source.port() == 0 && flow.destination.port() == 0 {
            format!(" ({} → {})", flow.source.ip(), flow.destination.ip())
        } else {
            format!(" ({} → {})", flow.source, flow.destination)
        };
    }
    line
}
