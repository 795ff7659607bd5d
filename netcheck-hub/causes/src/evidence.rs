//! What is known of a lost probe, to the steps at which it may have been lost. In: a way and a loss. Out: bits of steps.
//!
//! A kernel's report puts the loss at one place, which may be a part of several components (a filter behind the uplink
//! is met by what is encapsulated and by what is bare). A place of last sight says what had been passed, and where it was
//! missed next, what it had not reached. Some components do their harm further on: what a tunnel's endpoint sends
//! wrongly is dropped at the other end; a neighbour that does not answer is reported by who asked for it.

use crate::cause::{Component, Extent, Heading};
use crate::observation::{Answer, Direction, End, Loss, Place, Role, Stage};
use crate::topology::{Endpoint, NodeIx, Topology, Visibility};
use crate::way::{Step, Way};

/// Steps of a way, one bit each.
pub(crate) type Steps = u64;

/// Where a loss may have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sight {
    /// Steps at which it may have been lost.
    pub(crate) steps: Steps,
    /// Those of them whose kernel would have told of it, and did not.
    pub(crate) doubt: Steps,
    /// Those of them that a kernel's report, or an answer, names.
    pub(crate) proof: Steps,
}

/// A way, and what there is beside it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) way: &'a Way,
}

impl View<'_> {
    /// Where it may have been lost; none where nothing is known.
    pub(crate) fn sight(&self, loss: &Loss) -> Option<Sight> {
        let half = loss.direction;
        let sight = match &loss.end {
            End::Unknown => {
                let steps = self.half(half);
                half.map(|_| Sight { steps, ..Sight::default() })
            }
            End::Dropped(place) if !place.says_nothing() => self.dropped(place, half),
            End::Dropped(place) => self.last_seen(place, None, half),
            End::LastSeen { at, missing } => self.last_seen(at, *missing, half),
            End::Answered { by, answer } => self.answered(*by, *answer),
            End::NotSent(errno) => self.not_sent(errno),
        };
        sight.filter(|sight| sight.steps != 0)
    }

    /// The steps of one half of the way, or all.
    fn half(&self, direction: Option<Direction>) -> Steps {
        self.steps(|at, _| direction.is_none_or(|it| it == self.way.direction(at)))
    }

    fn steps(&self, which: impl Fn(usize, &Step) -> bool) -> Steps {
        let all = self.way.steps.iter().enumerate().take(64);
        all.filter(|(at, step)| which(*at, step)).fold(0, |steps, (at, _)| steps | 1 << at)
    }

    fn dropped(&self, place: &Place, half: Option<Direction>) -> Option<Sight> {
        let within = self.half(half);
        let here = |step: &Step| step.node(self.topology) == Some(place.node);
        let proof = within & self.steps(|_, step| here(step) && owns(place, step));
        let steps = if proof == 0 { within & self.steps(|_, step| here(step)) } else { proof };
        if steps == 0 {
            return None;
        }
        let mut further = self.harm_from_afar(steps);
        if place.stage == Stage::Neighbour {
            further |= bits(steps).fold(0, |steps, at| steps | self.until_next_kernel(at));
        }
        let proof = if place.stage == Stage::Neighbour { 0 } else { proof };
        Some(Sight { steps: steps | further, doubt: 0, proof })
    }

    /// Steps before these whose fault shows at these: a tunnel's endpoint that sends wrongly is noticed where its packets
    /// are unwrapped.
    fn harm_from_afar(&self, steps: Steps) -> Steps {
        let end = |at: usize, heading: Heading| {
            let step = &self.way.steps[at];
            step.heading == heading && matches!(step.component, Component::TunnelEnd(_))
        };
        let mut further = 0;
        for at in bits(steps).filter(|&at| end(at, Heading::In)) {
            let half = self.way.direction(at);
            let mut before = (0..at).rev().take_while(|&at| self.way.direction(at) == half);
            if let Some(sender) = before.find(|&at| end(at, Heading::Out)) {
                further |= 1 << sender;
            }
        }
        further
    }

    /// What lies behind a step until the next kernel has taken the packet, with that kernel's own first steps.
    fn until_next_kernel(&self, from: usize) -> Steps {
        let mut steps = 0;
        let half = self.way.direction(from);
        for at in from + 1..self.way.steps.len().min(64) {
            if self.way.direction(at) != half {
                break;
            }
            steps |= 1 << at;
            let step = self.way.steps[at];
            let taken = matches!(step.component, Component::Uplink(_) | Component::Stack(_));
            if taken && step.heading == Heading::In {
                break;
            }
        }
        steps
    }

    fn last_seen(&self, place: &Place, missing: Option<NodeIx>, half: Option<Direction>) -> Option<Sight> {
        let halves = match half {
            Some(half) => vec![half],
            None => vec![Direction::Request, Direction::Reply],
        };
        let mut steps = 0;
        for half in halves {
            let within = self.half(Some(half));
            let Some(from) = self.position(place, within) else { continue };
            let until = self.limit(from, missing, within, place);
            steps |= within & self.steps(|at, _| at >= from && at <= until);
        }
        steps |= self.harm_from_afar(steps);
        let doubt = self.would_have_told(steps);
        let doubt = if doubt == steps { 0 } else { doubt };
        (steps != 0).then_some(Sight { steps, doubt, proof: 0 })
    }

    /// The first step that may have lost what was seen at this place.
    fn position(&self, place: &Place, within: Steps) -> Option<usize> {
        let mut on_node = bits(within).filter(|&at| {
            let step = &self.way.steps[at];
            step.node(self.topology) == Some(place.node)
        });
        if let Some(pod) = place.pod {
            return on_node.find(|&at| self.way.steps[at].component == Component::Stack(Extent::Pod(pod)));
        }
        if place.stage == Stage::Send {
            return on_node.next();
        }
        let heading = heading_of(place);
        let fits = |at: usize, wanted: fn(&Component) -> bool| {
            let step = &self.way.steps[at];
            wanted(&step.component) && heading.is_none_or(|it| it == step.heading)
        };
        let past = usize::from(behind_the_interface(place.stage));
        let found = |at: usize, heading: Heading| if heading == Heading::In { at + past } else { at };
        match place.interface {
            Some(Role::Uplink) => {
                let at = on_node.find(|&at| fits(at, |it| matches!(it, Component::Uplink(_))))?;
                Some(found(at, self.way.steps[at].heading))
            }
            Some(Role::Tunnel) => {
                let at = on_node.find(|&at| fits(at, |it| matches!(it, Component::TunnelEnd(_))))?;
                Some(found(at, self.way.steps[at].heading))
            }
            // A copy that a bridge floods to another pod's link is met on the node of neither end's link, or of one
            // whose link is on the way: a place on the way is the most that it can be taken for.
            Some(Role::PodLink) => on_node.find(|&at| {
                let step = &self.way.steps[at];
                matches!(step.component, Component::PodLink(_))
                    && step.heading == if place.stage == Stage::Egress { Heading::In } else { Heading::Out }
            }),
            Some(Role::Bridge) => self.bridge(place, within),
            Some(Role::Loopback) => on_node.find(|&at| matches!(self.way.steps[at].component, Component::Stack(_))),
            None => on_node.find(|&at| owns(place, &self.way.steps[at])),
        }
    }

    /// A bridge is met between a pod's link and what the node makes of the packet.
    fn bridge(&self, place: &Place, within: Steps) -> Option<usize> {
        let link = |heading: Heading| {
            bits(within).find(|&at| {
                let step = &self.way.steps[at];
                step.node(self.topology) == Some(place.node)
                    && matches!(step.component, Component::PodLink(_))
                    && step.heading == heading
            })
        };
        let towards = || link(Heading::In);
        let away = || link(Heading::Out).map(|at| at + 1);
        match place.stage {
            Stage::Egress | Stage::Qdisc | Stage::NetfilterPostrouting => towards().or_else(away),
            _ => away().or_else(towards),
        }
    }

    /// The last step that may have lost what did not arrive where it was missed.
    fn limit(&self, from: usize, missing: Option<NodeIx>, within: Steps, place: &Place) -> usize {
        let last = bits(within).last().unwrap_or(from);
        if place.stage == Stage::Send {
            // It never reached an interface of its own node.
            let interface = |at: &usize| is_interface(&self.way.steps[*at]);
            return bits(within).filter(|&at| at >= from).find(interface).unwrap_or(last);
        }
        let Some(node) = missing else { return last };
        let sees = self.topology.nodes.get(node as usize).map(|node| node.visibility);
        if !matches!(sees, Some(Visibility::Full | Visibility::Interfaces)) {
            return last;
        }
        let of_node = |at: &usize| {
            let step = &self.way.steps[*at];
            step.node(self.topology) == Some(node) && is_interface(step)
        };
        bits(within).filter(|&at| at > from).find(of_node).unwrap_or(last)
    }

    /// Steps whose kernel tells of each packet that it drops.
    fn would_have_told(&self, steps: Steps) -> Steps {
        self.steps(|at, step| {
            let tells = step.node(self.topology).is_some_and(|node| {
                let node = self.topology.nodes.get(node as usize);
                node.is_some_and(|node| node.visibility == Visibility::Full)
            });
            let kernel = matches!(
                step.component,
                Component::Stack(_) | Component::Forwarding(_) | Component::Translation { .. } | Component::Hairpin(_)
            );
            steps & (1 << at) != 0 && tells && kernel
        })
    }

    fn answered(&self, by: Option<Endpoint>, answer: Answer) -> Option<Sight> {
        let at_node = |step: &Step| match by {
            None => true,
            Some(endpoint) => step.node(self.topology) == self.topology.node_of(endpoint),
        };
        let of_end = |step: &Step| match (step.component, by) {
            (Component::Stack(extent), Some(endpoint)) => match endpoint {
                Endpoint::Pod(pod) => extent == Extent::Pod(pod),
                Endpoint::Node(node) => extent == Extent::Node(node),
                Endpoint::Outside => false,
            },
            (Component::Server { endpoint, .. }, Some(by)) => endpoint == by,
            _ => by.is_none(),
        };
        let request = self.half(Some(Direction::Request));
        let server = self.steps(|_, step| matches!(step.component, Component::Server { .. }) && of_end(step));
        let rejects = |step: &Step| match step.component {
            Component::Forwarding(_) | Component::Translation { .. } => {
                at_node(step) && !matches!(by, Some(Endpoint::Pod(_)))
            }
            Component::Stack(_) => step.heading == Heading::In && of_end(step),
            _ => false,
        };
        match answer {
            Answer::Error => {
                let server = if server == 0 { self.servers() } else { server };
                Some(Sight { steps: server, doubt: 0, proof: server })
            }
            Answer::Refused => {
                let steps = request & (server | self.steps(|_, step| rejects(step)));
                Some(Sight { steps, doubt: 0, proof: if by.is_some() { steps } else { 0 } })
            }
            Answer::Unreachable => {
                let first = request & self.steps(|_, step| rejects(step));
                let further = bits(first).fold(0, |steps, at| steps | self.until_next_kernel(at));
                Some(Sight { steps: first | further, doubt: 0, proof: 0 })
            }
        }
    }

    fn servers(&self) -> Steps {
        self.steps(|_, step| matches!(step.component, Component::Server { .. }))
    }

    /// The source's kernel did not send it: its own doing, or the next kernel did not answer when its hardware address
    /// was asked for.
    fn not_sent(&self, errno: &str) -> Option<Sight> {
        let own = self.steps(|at, step| at == 0 && matches!(step.component, Component::Stack(_)));
        let further = if errno == "EHOSTUNREACH" { self.until_next_kernel(0) } else { 0 };
        let proof = if further == 0 { own } else { 0 };
        Some(Sight { steps: own | further, doubt: 0, proof })
    }
}

/// Bits that are set, from the lowest.
pub(crate) fn bits(mut steps: Steps) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = steps.trailing_zeros() as usize;
        (steps != 0).then(|| {
            steps &= steps - 1;
            at
        })
    })
}

const fn is_interface(step: &Step) -> bool {
    matches!(step.component, Component::PodLink(_) | Component::Uplink(_) | Component::TunnelEnd(_))
}

/// Which way a packet goes at a place of a host's interface, where its stage says it.
const fn heading_of(place: &Place) -> Option<Heading> {
    match place.stage {
        Stage::Egress | Stage::Qdisc | Stage::NetfilterPostrouting | Stage::NetfilterOutput | Stage::Neighbour => {
            Some(Heading::Out)
        }
        Stage::Ingress | Stage::NetfilterPrerouting | Stage::NetfilterInput | Stage::Socket => Some(Heading::In),
        _ => None,
    }
}

/// A packet that came in at an interface is past the interface here.
const fn behind_the_interface(stage: Stage) -> bool {
    matches!(
        stage,
        Stage::NetfilterPrerouting
            | Stage::NetfilterForward
            | Stage::NetfilterInput
            | Stage::Routing
            | Stage::Socket
            | Stage::Application
    )
}

/// Whether a place in a kernel's path is a part of what the step crosses. The node is the same.
fn owns(place: &Place, step: &Step) -> bool {
    let component = step.component;
    if let Some(pod) = place.pod {
        return match component {
            Component::Stack(Extent::Pod(it)) => it == pod,
            Component::Server { endpoint: Endpoint::Pod(it), .. } => it == pod && at_socket(place.stage),
            _ => false,
        };
    }
    let headed = heading_of(place).is_none_or(|it| it == step.heading || step.heading == Heading::Both);
    let host = matches!(component, Component::Stack(Extent::Node(_)));
    let device = matches!(place.stage, Stage::Ingress | Stage::Egress | Stage::Qdisc | Stage::Bridge);
    match component {
        Component::PodLink(_) => match place.interface {
            Some(Role::PodLink | Role::Bridge) => {
                let towards = matches!(place.stage, Stage::Egress | Stage::Qdisc);
                let away = matches!(place.stage, Stage::Ingress | Stage::NetfilterPrerouting);
                (!towards || step.heading == Heading::In) && (!away || step.heading == Heading::Out)
            }
            None => place.stage == Stage::Bridge,
            _ => false,
        },
        Component::Hairpin(_) => {
            matches!(place.interface, Some(Role::PodLink | Role::Bridge)) || place.stage == Stage::Bridge
        }
        Component::Uplink(_) => {
            headed && place.interface == Some(Role::Uplink) && !place.reason.contains("VXLAN")
        }
        Component::TunnelEnd(_) => match place.interface {
            Some(Role::Tunnel) => place.stage == Stage::Unknown || headed,
            Some(Role::Uplink) => headed && (!device || place.reason.contains("VXLAN")),
            None => headed && !device && place.stage != Stage::NetfilterForward,
            _ => false,
        },
        Component::Forwarding(_) => !device && !at_socket(place.stage) && place.stage != Stage::NetfilterInput,
        Component::Translation { .. } => {
            matches!(place.stage, Stage::NetfilterPrerouting | Stage::NetfilterOutput | Stage::NetfilterForward)
        }
        Component::Stack(_) => host && !device && headed && place.stage != Stage::NetfilterForward,
        Component::Server { endpoint: Endpoint::Node(_), .. } => at_socket(place.stage),
        _ => false,
    }
}

const fn at_socket(stage: Stage) -> bool {
    matches!(stage, Stage::Socket | Stage::Application)
}
