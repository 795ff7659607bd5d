//! What can be the cause of bad paths, and what it is called.

use netcheck_common::domain::{Family, ProbeKind};

use crate::model::incident::IncidentKind;
use crate::model::target::TargetKind;
use crate::words::names::probe_name;

/// Number of a name in one evaluation; 0 is none.
pub type Symbol = u32;

/// Which half of a node's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It answers nobody and reaches nobody.
    Both,
    /// It answers nobody.
    In,
    /// It reaches nobody.
    Out,
}

impl Side {
    /// Which way its packets go, before its name: `to and from`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Both => "to and from",
            Self::In => "to",
            Self::Out => "from",
        }
    }
}

/// Whom or what to blame. Two symbols of an undirected pair ascend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suspect {
    /// A drop or an end at one place (its number in the index).
    Place(usize),
    /// Packets from one node to another.
    LinkOneWay(Symbol, Symbol),
    /// Between two nodes.
    Link(Symbol, Symbol),
    /// Packets from one zone to another.
    ZonesOneWay(Symbol, Symbol),
    /// Between two zones.
    Zones(Symbol, Symbol),
    /// One of those that answer in a service's stead.
    Backend(Symbol),
    /// One target: pod, service port, DNS server.
    Target(Symbol),
    /// A service with all its ports.
    Service(Symbol),
    /// The pods of a node.
    Pods(Symbol),
    /// What leaves the pods of a node.
    PodsOut(Symbol),
    /// What leaves any pod, towards one target.
    PodsTo(Symbol),
    /// What leaves any pod.
    AllPods,
    /// What wraps and unwraps packets at a node: all that it sends to pods of others, and they to its.
    TunnelEnd(Symbol),
    /// A node.
    Node(Symbol, Side),
    /// The wire at a node: packets that are not encapsulated there.
    Cable(Symbol),
    /// Packets to this node are in a routing loop.
    Loop(Symbol),
    /// All paths.
    Everywhere,
    /// One source's paths to one target.
    From(Symbol, Symbol),
    /// Many paths that have nothing in common.
    Scattered,
}

impl Suspect {
    /// Of two that explain the same paths, the lower.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Place(_) | Self::Loop(_) => 0,
            Self::Backend(_) => 1,
            Self::Pods(_) | Self::PodsOut(_) => 2,
            Self::TunnelEnd(_) => 3,
            Self::Target(_) => 4,
            Self::Service(_) | Self::PodsTo(_) => 5,
            Self::Node(..) => 6,
            Self::Cable(_) => 7,
            Self::LinkOneWay(..) => 8,
            Self::Link(..) => 9,
            Self::ZonesOneWay(..) => 10,
            Self::Zones(..) | Self::AllPods => 11,
            Self::Everywhere => 12,
            Self::From(..) => 13,
            Self::Scattered => 14,
        }
    }

    /// Nodes or zones whose packets in this direction alone are lost.
    #[must_use]
    pub const fn undirected(&self) -> Option<Self> {
        match *self {
            Self::LinkOneWay(a, b) => Some(if a < b { Self::Link(a, b) } else { Self::Link(b, a) }),
            Self::ZonesOneWay(a, b) => Some(if a < b { Self::Zones(a, b) } else { Self::Zones(b, a) }),
            _ => None,
        }
    }

    /// It is met by what travels between nodes as it is on the wire: inside of a tunnel, only the outer packet counts.
    #[must_use]
    pub const fn is_underlay(&self) -> bool {
        matches!(
            self,
            Self::Node(..) | Self::Link(..) | Self::LinkOneWay(..) | Self::Zones(..) | Self::ZonesOneWay(..)
        )
    }
}

/// Only some packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Of one kind of probe.
    pub probe: Option<ProbeKind>,
    /// And of those that run over it: DNS over UDP, HTTP over TCP.
    pub carried: bool,
    /// Of one family.
    pub family: Option<Family>,
    /// The family is that of what is on the wire: inside of a tunnel, of the outer packet. With no kind of probe.
    pub on_wire: bool,
}

/// Packets of a path, as far as scopes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packets {
    /// With what it is probed.
    pub probe: ProbeKind,
    /// Over what.
    pub family: Family,
    /// The family of what is on the wire: of the outer packet, inside of a tunnel. None where that is not known, and where
    /// there are no tunnels, so that it is always the path's own.
    pub on_wire: Option<Family>,
}

/// What carries a kind of probe, or is carried with others.
const fn carrier(probe: ProbeKind) -> Option<ProbeKind> {
    match probe {
        ProbeKind::Udp | ProbeKind::Dns => Some(ProbeKind::Udp),
        ProbeKind::Tcp | ProbeKind::Http => Some(ProbeKind::Tcp),
        ProbeKind::Icmp => None,
    }
}

impl Scope {
    /// All scopes that take these packets.
    pub fn around(packets: Packets) -> impl Iterator<Item = Self> {
        let Packets { probe, family, on_wire } = packets;
        let carried = carrier(probe).map(|carrier| (Some(carrier), true));
        let kinds = [Some((None, false)), Some((Some(probe), false)), carried];
        let inner = kinds.into_iter().flatten().flat_map(move |(probe, carried)| {
            [None, Some(family)].map(|family| Self { probe, carried, family, on_wire: false })
        });
        inner.chain(on_wire.map(|_| Self { family: on_wire, on_wire: true, ..Self::default() }))
    }

    /// It takes these packets.
    #[must_use]
    pub fn takes(&self, packets: Packets) -> bool {
        let Packets { probe, family, on_wire } = packets;
        let kind = self.probe.is_none_or(|own| own == probe || (self.carried && Some(own) == carrier(probe)));
        let family = if self.on_wire { on_wire } else { Some(family) };
        kind && (self.family.is_none() || self.family == family)
    }

    /// It means something where this suspect is met.
    #[must_use]
    pub const fn fits(&self, suspect: Suspect) -> bool {
        !self.on_wire || suspect.is_underlay()
    }

    /// Of two that explain the same paths, the lower.
    #[must_use]
    pub const fn rank(&self) -> u8 {
        let family = self.family.is_some() as u8 * 2 + self.on_wire as u8;
        self.probe.is_some() as u8 * 8 + self.carried as u8 * 4 + family
    }

    /// `UDP over IPv6`; empty for all packets.
    #[must_use]
    pub fn name(&self) -> String {
        let family = self.family.map(|family| match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        });
        match (self.probe.map(probe_name), family) {
            (None, Some(family)) if self.on_wire => format!("{family} on the wire"),
            (None, None) => String::new(),
            (Some(probe), None) => probe.to_owned(),
            (None, Some(family)) => family.to_owned(),
            (Some(probe), Some(family)) => format!("{probe} over {family}"),
        }
    }
}

/// A suspect, and which of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// Who.
    pub suspect: Suspect,
    /// Which packets.
    pub scope: Scope,
}

impl Cause {
    /// The wire form of its kind. `target`: what kind of target it is about, where it is about one.
    #[must_use]
    pub fn kind(&self, target: Option<TargetKind>) -> IncidentKind {
        let dns = target == Some(TargetKind::DnsServer);
        match self.suspect {
            Suspect::Place(_) => IncidentKind::Place,
            Suspect::LinkOneWay(..) | Suspect::ZonesOneWay(..) => IncidentKind::OneWay,
            Suspect::Link(..) | Suspect::Zones(..) => IncidentKind::Link,
            Suspect::Backend(_) | Suspect::Target(_) | Suspect::Service(_) | Suspect::From(..) if dns => {
                IncidentKind::DnsServer
            }
            Suspect::Backend(_) => IncidentKind::Backend,
            Suspect::Target(_) | Suspect::Service(_) | Suspect::From(..) => match target {
                Some(TargetKind::Service) => IncidentKind::Service,
                _ => IncidentKind::Target,
            },
            Suspect::Loop(_) if target == Some(TargetKind::Node) => IncidentKind::Node,
            Suspect::Pods(_)
            | Suspect::PodsOut(_)
            | Suspect::PodsTo(_)
            | Suspect::AllPods
            | Suspect::TunnelEnd(_)
            | Suspect::Loop(_) => IncidentKind::PodNetwork,
            Suspect::Node(..) | Suspect::Cable(_) => IncidentKind::Node,
            Suspect::Everywhere => match (self.scope.probe, self.scope.family) {
                (Some(ProbeKind::Dns), _) => IncidentKind::DnsServer,
                (Some(_), _) => IncidentKind::Protocol,
                (None, Some(_)) => IncidentKind::Family,
                (None, None) => IncidentKind::Cluster,
            },
            Suspect::Scattered => IncidentKind::Scattered,
        }
    }
}
