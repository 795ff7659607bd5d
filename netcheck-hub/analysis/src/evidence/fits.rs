//! Whether a kernel's drop record can be of one lost probe at all. Pure.
//!
//! What a packet says of itself anybody can write: a pod may send a header with another's session, path and number, and the
//! kernel that drops it reports so, honestly. So a record counts for a probe only where protocol, addresses and time are
//! the probe's, too. What nobody's roster knows (a tunnel's address, say) is let pass; what belongs to somebody else is
//! not.

use std::net::{IpAddr, SocketAddr};

use netcheck_common::domain::ProbeKind;

use super::{DropFact, Flow, Lost};
use crate::cluster::roster::Roster;
use crate::model::clock::SECOND_NS;
use crate::model::location::Direction;
use crate::model::target::TargetKind;
use crate::plan::Probe;

/// How far a record that names its probe may be from t0, either way: the error of moving clocks onto one axis, a clock
/// that was set since its agent said hello, a reply that comes late. That it names the probe's number says more: numbers
/// begin where nobody can guess.
const AROUND_NS: i64 = 30 * SECOND_NS;
/// The same of a record that is known by its flow alone, before t0: clocks.
const BEFORE_NS: i64 = SECOND_NS;
/// After t0: retransmissions of a SYN, a late reply.
const AFTER_NS: i64 = 6 * SECOND_NS;

/// What is known of the way of a lost probe.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// The probe's node.
    pub source: &'a str,
    /// `namespace/name` of the pod that it was sent from; none where it was sent from the node itself.
    pub source_pod: Option<&'a str>,
    /// The probe as it was last sent.
    pub probe: &'a Probe,
    /// Whose the addresses are.
    pub roster: &'a Roster,
}

/// What of a record is not the probe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It was dropped too long before or after.
    Time,
    /// Another protocol.
    Protocol,
    /// It has no addresses, or they are not those of the probe's ends.
    Addresses,
}

/// Whether `fact` can be of a packet of this probe, or of an answer to it.
///
/// # Errors
/// What does not fit.
pub fn fits(way: Way<'_>, fact: &DropFact, lost: &Lost) -> Result<(), Misfit> {
    let after_ns = fact.observed_ns.saturating_sub(lost.sent_ns);
    let named = fact.record.probe.is_some();
    let range = if named { -AROUND_NS..=AROUND_NS } else { -BEFORE_NS..=AFTER_NS };
    if !range.contains(&after_ns) {
        return Err(Misfit::Time);
    }
    let Some(flow) = fact.record.flow else { return Err(Misfit::Addresses) };
    if !same_protocol(way.probe, lost, flow) {
        return Err(Misfit::Protocol);
    }
    let headed = way.probe.kind.carries_header();
    // Its own kernel knows such a packet by the socket that sent it, not by what stands in it.
    if named && !headed && *fact.node == *way.source {
        return Ok(());
    }
    let (out, back) = ((flow.source, flow.destination), (flow.destination, flow.source));
    let ends: &[(SocketAddr, SocketAddr)] = match fact.record.direction {
        Direction::Request => &[out],
        Direction::Reply => &[back],
        Direction::Unknown => &[out, back],
    };
    let between =
        |&(near, far): &(SocketAddr, SocketAddr)| way.begins_at(near, lost) && way.ends_at(far, lost);
    if ends.iter().any(between) { Ok(()) } else { Err(Misfit::Addresses) }
}

fn same_protocol(probe: &Probe, lost: &Lost, flow: Flow) -> bool {
    match probe.kind {
        ProbeKind::Icmp => flow.kind == ProbeKind::Icmp,
        ProbeKind::Udp => flow.kind == ProbeKind::Udp,
        ProbeKind::Tcp | ProbeKind::Http => flow.tcp(),
        // An answer over UDP that was truncated is asked for again over TCP.
        ProbeKind::Dns if lost.sample.truncated => flow.kind != ProbeKind::Icmp,
        ProbeKind::Dns => flow.kind != ProbeKind::Icmp && flow.tcp() == probe.over_tcp(),
    }
}

impl Way<'_> {
    /// Whether this can be the probe's own end: its socket's, as it left its node, or an address of its node or pod, or
    /// one that nobody is known to have.
    fn begins_at(&self, near: SocketAddr, lost: &Lost) -> bool {
        if let Some(flow) = lost.flow
            && !self.probe.kind.carries_header()
        {
            return near == flow.source;
        }
        self.roster.owner(near.ip()).is_none_or(|owner| {
            // What a pod sends may bear its node's address.
            let own = owner.pod.is_none() || owner.pod.as_deref() == self.source_pod;
            owner.node == self.source && own
        })
    }

    /// Whether this can be the other end: the address that was probed, the one that it was translated to, or where the
    /// probe is for a service a backend of that.
    fn ends_at(&self, far: SocketAddr, lost: &Lost) -> bool {
        let address = far.ip();
        let left_for = lost.flow.is_some_and(|flow| flow.destination.ip() == address);
        if left_for || lost.probed_address(self.probe) == Some(address) {
            return true;
        }
        let target = &self.probe.target;
        match target.kind {
            TargetKind::Service => self.is_backend(address),
            // An Ingress or a Gateway passes on what comes to it: to whom is not known.
            _ if target.is_frontend() => true,
            // A server that nobody looked up yet.
            _ => lost.probed_address(self.probe).is_none(),
        }
    }

    fn is_backend(&self, address: IpAddr) -> bool {
        let target = &self.probe.target;
        let services = &self.roster.services;
        let service = services.get(&target.full_name());
        service.is_none_or(|service| {
            service.backends.iter().any(|backend| backend.address == address)
                || service.cluster_addresses.contains(&address)
                // A node port, as it was sent or as one node hands it to the next.
                || self.roster.owner(address).is_some_and(|owner| owner.pod.is_none())
        })
    }
}
