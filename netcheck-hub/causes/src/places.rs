//! What places in a kernel's packet path have to do with the steps of a way.

use crate::cause::{Component, Extent, Heading};
use crate::observation::{Place, Role, Stage};
use crate::topology::Endpoint;
use crate::way::Step;

/// Where an interface is watched.
pub(crate) enum Tap {
    /// Ahead of it: what is lost in it was seen.
    Before,
    /// Behind it: what is lost in it was not.
    Behind,
}

pub(crate) const fn seen_at(step: &Step) -> Option<Tap> {
    match (step.component, step.heading) {
        (Component::Uplink(_) | Component::TunnelEnd(_), Heading::In)
        | (Component::PodLink(_), Heading::Out) => Some(Tap::Behind),
        (Component::Uplink(_) | Component::TunnelEnd(_), Heading::Out)
        | (Component::PodLink(_), Heading::In) => Some(Tap::Before),
        _ => None,
    }
}

/// Which way a packet goes at a place of a host's interface, where its stage says it.
pub(crate) const fn heading_of(place: &Place) -> Option<Heading> {
    match place.stage {
        Stage::Egress | Stage::Qdisc | Stage::NetfilterPostrouting | Stage::NetfilterOutput => {
            Some(Heading::Out)
        }
        Stage::Ingress | Stage::NetfilterPrerouting | Stage::NetfilterInput | Stage::Socket => {
            Some(Heading::In)
        }
        Stage::Send
        | Stage::Routing
        | Stage::Neighbour
        | Stage::NetfilterForward
        | Stage::Bridge
        | Stage::Application
        | Stage::Unknown => None,
    }
}

/// Whether a place in a kernel's path is a part of what a step crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    None,
    /// It may be, and something else is more plausible.
    Rather,
    Plain,
}

pub(crate) const fn part(plain: bool) -> Part {
    if plain { Part::Plain } else { Part::None }
}

/// Whether a place is a part of what the step crosses. The node is the same.
pub(crate) fn owns(place: &Place, step: &Step) -> Part {
    let component = step.component;
    if let Some(pod) = place.pod {
        return match component {
            Component::Stack(Extent::Pod(it)) => {
                part(it == pod && heading_of(place).is_none_or(|it| it == step.heading))
            }
            Component::Server { endpoint: Endpoint::Pod(it), .. } => {
                part(it == pod && at_socket(place.stage))
            }
            _ => Part::None,
        };
    }
    let headed = heading_of(place).is_none_or(|it| it == step.heading || step.heading == Heading::Both);
    let host = matches!(component, Component::Stack(Extent::Node(_)));
    let device = matches!(place.stage, Stage::Ingress | Stage::Egress | Stage::Qdisc | Stage::Bridge);
    let tunnel = place.reason.contains("VXLAN") || place.reason.contains("TUNNEL");
    match component {
        Component::PodLink(_) => match place.interface {
            Some(Role::PodLink) => {
                let towards = matches!(place.stage, Stage::Egress | Stage::Qdisc);
                let away = matches!(place.stage, Stage::Ingress);
                part((!towards || step.heading == Heading::In) && (!away || step.heading == Heading::Out))
            }
            Some(Role::Bridge) => {
                let away = matches!(place.stage, Stage::Ingress);
                part(device && (!away || step.heading == Heading::Out))
            }
            None => part(place.stage == Stage::Bridge),
            _ => Part::None,
        },
        Component::Hairpin(_) => {
            part(device && matches!(place.interface, Some(Role::PodLink | Role::Bridge)))
        }
        Component::Uplink(_) => part(headed && device && place.interface == Some(Role::Uplink) && !tunnel),
        Component::TunnelEnd(_) => match place.interface {
            Some(Role::Tunnel) => part(headed && device),
            Some(Role::Uplink) => part(headed && (!device || tunnel)),
            None if headed && !device && place.stage != Stage::NetfilterForward => {
                if at_socket(place.stage) || tunnel { Part::Plain } else { Part::Rather }
            }
            _ => Part::None,
        },
        Component::Forwarding(_) => part(
            !device && !at_socket(place.stage) && !matches!(place.stage, Stage::NetfilterInput | Stage::Send),
        ),
        Component::Translation { .. } => match place.stage {
            Stage::NetfilterPrerouting => Part::Plain,
            Stage::NetfilterOutput => Part::Rather,
            _ => Part::None,
        },
        Component::Stack(_) => part(host && !device && headed && place.stage != Stage::NetfilterForward),
        Component::Server { endpoint: Endpoint::Node(_), .. } => part(at_socket(place.stage)),
        _ => Part::None,
    }
}

pub(crate) const fn at_socket(stage: Stage) -> bool {
    matches!(stage, Stage::Socket | Stage::Application)
}
