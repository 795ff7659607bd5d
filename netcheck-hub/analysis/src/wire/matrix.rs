//! What is known of paths: as agents report it, and as readers get it.

use std::net::SocketAddr;
use std::time::Duration;

use netcheck_proto::{convert, v1};

use crate::cluster::roster::Roster;
use crate::matrix::backends::{Backends, Reached, Seen};
use crate::matrix::flows::Flows;
use crate::matrix::ports::{self, Nonsense, Ports};
use crate::matrix::sizes::{self, Sizes};
use crate::model::clock::timestamp;
use crate::model::ports::PortLosses;
use crate::model::verdict::Verdict;

impl Verdict {
    /// The wire form.
    #[must_use]
    pub const fn to_wire(self) -> v1::Verdict {
        match self {
            Self::Reachable => v1::Verdict::Reachable,
            Self::Degraded => v1::Verdict::Degraded,
            Self::Unreachable => v1::Verdict::Unreachable,
            Self::ExpectedAbsent => v1::Verdict::ExpectedAbsent,
            Self::NoData => v1::Verdict::NoData,
        }
    }
}

impl Sizes {
    /// Reads what an agent reported. `was`: what it had reported before. None where it does not hold together.
    #[must_use]
    pub fn read(wire: &v1::PathSize, was: Option<&Self>, offset_ns: i64) -> Option<Self> {
        let bytes = |wire: u32| u16::try_from(wire).ok();
        let icmp_mtu = match wire.icmp_mtu {
            0 => None,
            icmp_mtu => {
                Some((bytes(icmp_mtu)?, convert::address("icmp_mtu_from", &wire.icmp_mtu_from).ok()?))
            }
        };
        let found = sizes::Found {
            route_bytes: bytes(wire.route_bytes)?,
            passed_bytes: bytes(wire.passed_bytes)?,
            lost_bytes: bytes(wire.lost_bytes)?,
            icmp_mtu,
            measured_ns: wire.measured_unix_ns.saturating_add(offset_ns),
            interval: Duration::try_from(wire.interval?).ok()?,
        };
        Self::of(&found, was)
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> v1::PacketSizes {
        v1::PacketSizes {
            route_bytes: self.route_bytes.into(),
            largest_passed_bytes: self.passed_bytes.into(),
            smallest_lost_bytes: self.lost_bytes.into(),
            icmp_mtu: self.icmp_mtu.map_or(0, |(bytes, _)| bytes.into()),
            icmp_mtu_from: self.icmp_mtu.map(|(_, by)| by.to_string()).unwrap_or_default(),
            measured_at: Some(timestamp(self.measured_ns)),
        }
    }
}

impl Ports {
    /// Reads what an agent reported: that no port loses its packets any more, or which do.
    ///
    /// # Errors
    /// Where it does not hold together.
    pub fn read(wire: &v1::PathPorts, offset_ns: i64) -> Result<Option<Self>, Nonsense> {
        if wire.lost.is_empty() {
            return Ok(None);
        }
        let interval = wire.interval.and_then(|interval| Duration::try_from(interval).ok());
        let found = ports::Found {
            losses: PortLosses {
                ports: wire.ports,
                lost: lost(&wire.lost).ok_or(Nonsense)?,
                others: (wire.others_sent, wire.others_lost),
            },
            undecided: wire.undecided,
            measured_ns: wire.measured_unix_ns.saturating_add(offset_ns),
            interval: interval.ok_or(Nonsense)?,
        };
        Self::of(found).map(Some)
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> v1::SourcePorts {
        let lost = self.lost.iter().map(|&(port, sent, lost)| v1::PortLoss { port: port.into(), sent, lost });
        v1::SourcePorts {
            ports: self.ports,
            lost: lost.collect(),
            others_sent: self.others.0,
            others_lost: self.others.1,
            measured_at: Some(timestamp(self.measured_ns)),
        }
    }
}

fn lost(wire: &[v1::PortLoss]) -> Option<Vec<(u16, u32, u32)>> {
    wire.iter().map(|of| Some((u16::try_from(of.port).ok()?, of.sent, of.lost))).collect()
}

/// What readers got of a path's source ports. None where it does not hold together.
#[must_use]
pub fn port_losses(wire: &v1::SourcePorts) -> Option<PortLosses> {
    let others = (wire.others_sent, wire.others_lost);
    Some(PortLosses { ports: wire.ports, lost: lost(&wire.lost)?, others })
}

impl Backends {
    /// Takes what an agent reported of one.
    ///
    /// # Errors
    /// Where it does not hold together.
    pub fn add(&mut self, wire: &v1::BackendSeen, offset_ns: i64) -> Result<(), convert::InvalidField> {
        let address = convert::address("backends.address", &wire.address)?;
        let backend = SocketAddr::new(address, convert::port("backends.port", wire.port)?);
        if wire.answered == 0 && wire.lost == 0 {
            return Err(convert::InvalidField::Zero { field: "backends.answered, backends.lost" });
        }
        self.take(&Seen {
            backend,
            answered: wire.answered,
            lost: wire.lost,
            answered_ns: wire.answered_unix_ns.saturating_add(offset_ns),
            lost_ns: wire.lost_unix_ns.saturating_add(offset_ns),
        });
        Ok(())
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(&self, roster: &Roster) -> Vec<v1::BackendReach> {
        let one = |known: &Reached| {
            let owner = roster.owner(known.backend.ip());
            v1::BackendReach {
                address: known.backend.ip().to_string(),
                port: known.backend.port().into(),
                pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
                node: owner.map(|owner| owner.node.clone()).unwrap_or_default(),
                answered: known.answered,
                lost: known.lost,
                lost_in_a_row: known.run,
                last_answered: known.answered_ns.map(timestamp),
                last_sent: Some(timestamp(known.heard_ns)),
            }
        };
        self.iter().map(one).collect()
    }
}

impl Flows {
    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> v1::FlowsDiffer {
        v1::FlowsDiffer {
            new_denied: self.new_denied,
            since: Some(timestamp(self.since_ns)),
            lost: self.lost,
            answered: self.answered,
        }
    }
}
