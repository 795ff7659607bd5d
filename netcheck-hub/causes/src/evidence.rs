//! What is known of a lost probe, to the steps at which it may have been lost. In: a way and a loss. Out: bits of steps.
//!
//! A kernel's report puts the loss at one place, which may be a part of several components (a filter behind the uplink
//! is met by what is encapsulated and by what is bare). A place of last sight says what had been passed, and where it was
//! missed next, what it had not reached. Some components do their harm further on: what a tunnel's endpoint sends
//! wrongly is dropped at the other end; a neighbour that does not answer is reported by who asked for it.

use crate::cause::{Component, Extent, Heading};
use crate::observation::{Answer, Direction, End, Loss, Place, Role, Stage};
use crate::places::{Part, Tap, heading_of, owns, seen_at};
use crate::topology::{Endpoint, NodeIx, Topology, Visibility};
use crate::way::{Step, Way};

/// Steps of a way, one bit each.
pub(crate) type Steps = u64;

/// Where a loss may have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LossSteps {
    /// Steps at which it may have been lost.
    pub(crate) steps: Steps,
    /// Those of them whose kernel would have reported it, and did not.
    pub(crate) unreported: Steps,
    /// Those of these that are the less plausible ones by far.
    pub(crate) odd: Steps,
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
    pub(crate) fn loss_steps(&self, loss: &Loss) -> Option<LossSteps> {
        let half = loss.direction;
        let loss_steps = match &loss.end {
            End::Unknown => {
                let steps = self.half(half);
                half.map(|_| LossSteps { steps, ..LossSteps::default() })
            }
            End::Dropped(place) if !place.says_nothing() => self.dropped(place, half),
            // It is not said that this half was lost: what accompanies healthy work is met on a half that went well.
            // Nor is it the last that was seen of it.
            End::Dropped(place) => self.last_seen((place, None), half, true),
            End::LastSeen { at, missing } => self.last_seen((at, *missing), half, half.is_none()),
            End::Answered { by, answer } => self.answered(*by, *answer),
            End::NotSent(errno) => self.not_sent(errno),
        };
        loss_steps.filter(|loss_steps| loss_steps.steps != 0)
    }

    /// The steps of one half of the way, or all.
    fn half(&self, direction: Option<Direction>) -> Steps {
        self.steps(|at, _| direction.is_none_or(|it| it == self.way.direction(at)))
    }

    fn steps(&self, which: impl Fn(usize, &Step) -> bool) -> Steps {
        let all = self.way.steps.iter().enumerate().take(64);
        all.filter(|(at, step)| which(*at, step)).fold(0, |steps, (at, _)| steps | 1 << at)
    }

    fn dropped(&self, place: &Place, half: Option<Direction>) -> Option<LossSteps> {
        let within = self.half(half);
        let here = |step: &Step| step.node(self.topology) == Some(place.node);
        let proof = within & self.steps(|_, step| here(step) && owns(place, step) == Part::Plain);
        let rather = within & self.steps(|_, step| here(step) && owns(place, step) == Part::Rather);
        let steps =
            if proof | rather == 0 { within & self.steps(|_, step| here(step)) } else { proof | rather };
        if steps == 0 {
            return None;
        }
        let odd = if proof == 0 { 0 } else { rather | self.harm_from_afar(rather) };
        let mut further = self.harm_from_afar(steps);
        if place.stage == Stage::Neighbour {
            further |= bits(steps).fold(0, |steps, at| steps | self.until_next_kernel(at));
        }
        let unreported = if proof == 0 { 0 } else { (rather | further) & !proof };
        let proof = if place.stage == Stage::Neighbour || further & !steps != 0 { 0 } else { proof };
        Some(LossSteps { steps: steps | further, unreported, odd: odd & !proof, proof })
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

    /// With `turns` a request may have arrived, and its reply have been lost.
    fn last_seen(
        &self,
        (place, missing): (&Place, Option<NodeIx>),
        half: Option<Direction>,
        turns: bool,
    ) -> Option<LossSteps> {
        let request = self.half(Some(Direction::Request));
        let reply = self.half(Some(Direction::Reply));
        let on_request = (half != Some(Direction::Reply)).then(|| self.position(place, request)).flatten();
        let (from, within) = match on_request {
            Some(from) => (from, if turns { request | reply } else { request }),
            None if half == Some(Direction::Request) => return None,
            None => (self.position(place, reply)?, reply),
        };
        let seen = within & self.steps(|at, _| at >= from);
        // What accompanies healthy work at an end of the way is met before the reply is.
        let record = !place.reason.is_empty() || !place.function.is_empty();
        let vague = record && matches!(self.way.steps[from].component, Component::Stack(_));
        let seen = if vague { seen } else { seen & self.until(seen, from, missing, place.node) };
        let seen = if seen == 0 { 1 << from } else { seen };
        let afar = self.harm_from_afar(seen) | self.sent_elsewhere(from, seen);
        let odd = self.would_have_reported(seen) & seen;
        let unreported = (odd | self.bridge_behind(place, seen)) & seen;
        let afar = afar & !seen;
        let (unreported, odd) = match (odd == seen, afar) {
            (true, 0) => (0, 0),
            (true, _) => (odd, odd),
            (false, _) => (unreported | afar, odd),
        };
        Some(LossSteps { steps: seen | afar, unreported, odd, proof: 0 })
    }

    /// A tunnel's endpoint or a translation that sends a packet to the wrong place: it was seen, and comes nowhere.
    fn sent_elsewhere(&self, from: usize, seen: Steps) -> Steps {
        let request = seen & self.half(Some(Direction::Request)) != 0;
        let half = self.way.direction(from);
        self.steps(|at, step| match step.component {
            Component::Translation { .. } => request && at < from,
            Component::TunnelEnd(_) => {
                at < from
                    && step.heading == Heading::Out
                    && self.way.direction(at) == half
                    && matches!(self.way.steps[from].component, Component::Uplink(_))
                    && self.way.steps[from].heading == Heading::Out
                    && self.way.steps[from].node(self.topology) == step.node(self.topology)
            }
            _ => false,
        })
    }

    /// Seen at a pod's link, and not yet at the bridge behind it: the bridge can have lost it.
    fn bridge_behind(&self, place: &Place, seen: Steps) -> Steps {
        let link = place.interface == Some(Role::PodLink) && place.stage == Stage::Ingress;
        self.steps(|at, step| {
            link && seen & (1 << at) != 0
                && matches!(step.component, Component::PodLink(_))
                && step.heading == Heading::Out
                && step.node(self.topology) == Some(place.node)
        })
    }

    /// The first step that may have lost what was seen at this place.
    fn position(&self, place: &Place, within: Steps) -> Option<usize> {
        let mut on_node =
            bits(within).filter(|&at| self.way.steps[at].node(self.topology) == Some(place.node));
        if let Some(pod) = place.pod {
            let heading = heading_of(place);
            return on_node.find(|&at| {
                let step = &self.way.steps[at];
                step.component == Component::Stack(Extent::Pod(pod))
                    && heading.is_none_or(|it| it == step.heading)
            });
        }
        if place.stage == Stage::Send {
            return on_node.next();
        }
        let heading = heading_of(place);
        let mut find = |wanted: fn(&Component) -> bool| {
            on_node.find(|&at| {
                let step = &self.way.steps[at];
                wanted(&step.component) && heading.is_none_or(|it| it == step.heading)
            })
        };
        match place.interface {
            Some(Role::Uplink) => self.past(find(|it| matches!(it, Component::Uplink(_)))?),
            Some(Role::Tunnel) => self.past(find(|it| matches!(it, Component::TunnelEnd(_)))?),
            // A copy that a bridge floods to another pod's link is no sight of the way: a way has no such link there.
            Some(Role::PodLink) => on_node.find(|&at| {
                let step = &self.way.steps[at];
                matches!(step.component, Component::PodLink(_))
                    && step.heading == if place.stage == Stage::Egress { Heading::In } else { Heading::Out }
            }),
            Some(Role::Bridge) => self.bridge(place, within),
            Some(Role::Loopback) => find(|it| matches!(it, Component::Stack(_))),
            None => on_node.find(|&at| owns(place, &self.way.steps[at]) != Part::None),
        }
    }

    /// What came in at an interface has passed it; what goes out may be lost in it.
    fn past(&self, at: usize) -> Option<usize> {
        let at = if self.way.steps[at].heading == Heading::In { at + 1 } else { at };
        (at < self.way.steps.len().min(64)).then_some(at)
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
        let hairpin = |at: usize| {
            let before = at.checked_sub(1).filter(|&at| {
                matches!(self.way.steps[at].component, Component::Hairpin(_)) && within & (1 << at) != 0
            });
            before.unwrap_or(at)
        };
        let towards = || link(Heading::In).map(hairpin);
        let away = || link(Heading::Out).map(|at| at + 1).filter(|&at| at < self.way.steps.len());
        match place.stage {
            Stage::Egress | Stage::Qdisc | Stage::NetfilterPostrouting => towards().or_else(away),
            Stage::Send
            | Stage::NetfilterOutput
            | Stage::Routing
            | Stage::Neighbour
            | Stage::Ingress
            | Stage::NetfilterPrerouting
            | Stage::NetfilterForward
            | Stage::NetfilterInput
            | Stage::Bridge
            | Stage::Socket
            | Stage::Application
            | Stage::Unknown => away().or_else(towards),
        }
    }

    /// Steps up to the next interface that would have seen it: on the same node, or where it was missed.
    fn until(&self, seen: Steps, from: usize, missing: Option<NodeIx>, here: NodeIx) -> Steps {
        let sees = |node: NodeIx| {
            let node = self.topology.nodes.get(node as usize);
            node.is_some_and(|node| matches!(node.visibility, Visibility::Full | Visibility::Interfaces))
        };
        let mut steps = 0;
        for at in bits(seen) {
            let step = &self.way.steps[at];
            let watched = step
                .node(self.topology)
                .is_some_and(|node| (node == here || Some(node) == missing) && sees(node) && !step.may);
            match seen_at(step) {
                Some(Tap::Before) if watched && at > from => break,
                Some(Tap::Behind) if watched => return steps | 1 << at,
                _ => steps |= 1 << at,
            }
        }
        steps
    }

    /// Steps whose kernel reports each packet that it drops.
    fn would_have_reported(&self, steps: Steps) -> Steps {
        self.steps(|at, step| {
            let reports = step.node(self.topology).is_some_and(|node| {
                let node = self.topology.nodes.get(node as usize);
                node.is_some_and(|node| node.visibility == Visibility::Full)
            });
            let kernel = matches!(
                step.component,
                Component::Stack(_)
                    | Component::Forwarding(_)
                    | Component::Translation { .. }
                    | Component::Hairpin(_)
            );
            steps & (1 << at) != 0 && reports && kernel
        })
    }

    fn answered(&self, by: Option<Endpoint>, answer: Answer) -> Option<LossSteps> {
        let request = self.half(Some(Direction::Request));
        let server = self.steps(|_, step| match step.component {
            Component::Server { endpoint, .. } => by.is_none_or(|by| by == endpoint),
            Component::Service(_) => true,
            _ => false,
        });
        let rejects = |step: &Step| match (step.component, by) {
            (Component::Stack(Extent::Pod(pod)), Some(by)) => by == Endpoint::Pod(pod),
            (Component::Stack(Extent::Node(node)), Some(by)) => by == Endpoint::Node(node),
            (Component::Forwarding(_) | Component::Translation { .. }, Some(Endpoint::Node(node))) => {
                step.node(self.topology) == Some(node)
            }
            (Component::Stack(_) | Component::Forwarding(_) | Component::Translation { .. }, None) => true,
            _ => false,
        };
        let rejecting = request & self.steps(|_, step| rejects(step));
        match answer {
            Answer::Error => {
                let server = if server == 0 { self.servers() } else { server };
                Some(LossSteps { steps: server, proof: server, ..LossSteps::default() })
            }
            Answer::Refused => {
                let steps = request & server | rejecting;
                Some(LossSteps { steps, proof: if by.is_some() { steps } else { 0 }, ..LossSteps::default() })
            }
            Answer::Unreachable => {
                let further = bits(rejecting).fold(0, |steps, at| steps | self.until_next_kernel(at));
                let unreported = further & !rejecting;
                Some(LossSteps { steps: rejecting | further, unreported, odd: unreported, proof: 0 })
            }
        }
    }

    fn servers(&self) -> Steps {
        self.steps(|_, step| matches!(step.component, Component::Server { .. } | Component::Service(_)))
    }

    /// The source's kernel did not send it: its own doing, or the next kernel did not answer when its hardware address
    /// was asked for.
    fn not_sent(&self, errno: &str) -> Option<LossSteps> {
        let own = self.steps(|at, step| at == 0 && matches!(step.component, Component::Stack(_)));
        let further = if errno == "EHOSTUNREACH" { self.until_next_kernel(0) } else { 0 };
        let proof = if further == 0 { own } else { 0 };
        Some(LossSteps { steps: own | further, proof, ..LossSteps::default() })
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
