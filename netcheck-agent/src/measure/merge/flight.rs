//! One probe on its way: what its socket and the hooks saw, in whichever order, and what follows from it.
//!
//! Nothing here depends on the order of the events: of every hook the earliest sight counts (later ones are
//! retransmissions or the rest of a TCP handshake). From the host, t1 is the last egress hook of the request, t4 the
//! first ingress hook of the reply. From a pod, t1 is the first hook at all (the host's end of its veth pair), t4 the
//! last one.

use arrayvec::ArrayVec;
use netcheck_common::domain::{ProbeKind, Vantage};

use crate::model::observation::{Direction, DropSeen, Flow, Hook, Reflected, Stamp};
use crate::model::sample::{Ending, Probe, Seen, StarvationReason};

/// Hooks remembered per direction: uplink, bond, bridge, tunnel and veth are five.
const HOOKS_MAX: usize = 8;
/// Drops remembered per probe: a TCP handshake retransmits.
const DROPS_MAX: usize = 4;

/// Delays of one exchange, nanoseconds; `None` where not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) round_trip_ns: Option<u64>,
    pub(crate) network_ns: Option<u64>,
    pub(crate) host_ns: Option<u64>,
    pub(crate) responder_ns: Option<u64>,
}

/// What is known of one probe on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) probe: Probe,
    pub(crate) t0_ns: u64,
    /// How long a reply is waited for.
    pub(crate) timeout_ns: u64,
    /// Number of the window that it counts in, if in any.
    pub(crate) window: Option<u64>,
    pub(crate) ended: Option<Ending>,
    /// The engine's loop was late or slow when it was sent: if it is not answered, nothing follows from that.
    pub(crate) unreliable: bool,
    pub(crate) drops: Vec<DropSeen>,
    pub(crate) reflected: Option<Reflected>,
    pub(crate) reset: bool,
    /// It began as a datagram, and goes on over TCP: what hooks report of datagrams is not of this part.
    stream_alone: bool,
    request: ArrayVec<(u64, Hook), HOOKS_MAX>,
    reply: ArrayVec<(u64, Hook), HOOKS_MAX>,
    /// The flow at the last egress hook of the request.
    flow: Option<(u64, Flow)>,
    /// The flow at the first hook of the request.
    origin: Option<(u64, Flow)>,
}

impl Flight {
    pub(crate) fn new(probe: Probe, t0_ns: u64, timeout_ns: u64, window: Option<u64>) -> Self {
        Self {
            probe,
            t0_ns,
            timeout_ns,
            window,
            ended: None,
            unreliable: false,
            drops: Vec::new(),
            reflected: None,
            reset: false,
            stream_alone: false,
            request: ArrayVec::new(),
            reply: ArrayVec::new(),
            flow: None,
            origin: None,
        }
    }

    /// It goes on as an exchange over TCP, until then at most. Hands back the window that it counted in until now.
    pub(crate) fn continue_over_tcp(&mut self, probe: Probe, until_ns: u64) -> Option<u64> {
        self.probe = probe;
        self.timeout_ns = until_ns.saturating_sub(self.t0_ns);
        self.stream_alone = true;
        self.request.clear();
        self.reply.clear();
        (self.flow, self.origin, self.reset, self.reflected) = (None, None, false, None);
        self.drops.clear();
        self.window.take()
    }

    /// A hook saw one of its packets.
    pub(crate) fn stamp(&mut self, stamp: &Stamp) {
        if self.stream_alone && stamp.flow.kind != ProbeKind::Tcp {
            return;
        }
        self.reflected = self.reflected.or(stamp.reflected);
        self.reset |= stamp.reset;
        let hooks = match stamp.direction {
            Direction::Request => &mut self.request,
            Direction::Reply => &mut self.reply,
        };
        let same = |hook: &Hook| {
            (hook.ifindex, hook.egress, hook.encapsulated)
                == (stamp.hook.ifindex, stamp.hook.egress, stamp.hook.encapsulated)
        };
        match hooks.iter_mut().find(|(_, hook)| same(hook)) {
            Some((at_ns, _)) if *at_ns <= stamp.at_ns => return,
            Some((at_ns, _)) => *at_ns = stamp.at_ns,
            None => {
                // A full list keeps what it has: the first hooks are the ones next to the socket or to the wire.
                let _ = hooks.try_push((stamp.at_ns, stamp.hook.clone()));
            }
        }
        if stamp.direction == Direction::Request && self.origin.is_none_or(|(at_ns, _)| at_ns > stamp.at_ns) {
            self.origin = Some((stamp.at_ns, stamp.flow));
        }
        if stamp.direction == Direction::Request
            && stamp.hook.egress
            && self.flow.is_none_or(|(at_ns, _)| at_ns < stamp.at_ns)
        {
            self.flow = Some((stamp.at_ns, stamp.flow));
        }
    }

    /// A kernel drop of one of its packets. Only evidence if it does not end with a reply.
    pub(crate) fn dropped(&mut self, drop: DropSeen) {
        if self.stream_alone && drop.flow.kind != ProbeKind::Tcp {
            return;
        }
        if self.drops.len() < DROPS_MAX {
            self.drops.push(drop);
        }
    }

    /// Source egress of the request.
    pub(crate) fn t1_ns(&self) -> Option<u64> {
        match self.probe.vantage {
            Vantage::Host => {
                self.request.iter().filter(|(_, hook)| hook.egress).map(|&(at_ns, _)| at_ns).max()
            }
            // To a pod its node is network already: the packet leaves it where it first meets a hook.
            Vantage::Pod => self.request.iter().map(|&(at_ns, _)| at_ns).min(),
        }
    }

    /// Source ingress of the reply.
    pub(crate) fn t4_ns(&self) -> Option<u64> {
        match self.probe.vantage {
            Vantage::Host => {
                self.reply.iter().filter(|(_, hook)| !hook.egress).map(|&(at_ns, _)| at_ns).min()
            }
            Vantage::Pod => self.reply.iter().map(|&(at_ns, _)| at_ns).max(),
        }
    }

    /// When it is given up: the time that it spent on its way out of this host is not held against the network.
    pub(crate) fn deadline_ns(&self) -> u64 {
        self.t1_ns().map_or(self.t0_ns, |t1_ns| t1_ns.max(self.t0_ns)).saturating_add(self.timeout_ns)
    }

    /// Whether an answer came in time, or why that is not known.
    pub(crate) fn in_time(
        &self,
        seen: Seen,
        why_starved: impl FnOnce(u64) -> Option<StarvationReason>,
    ) -> Result<bool, StarvationReason> {
        let deadline_ns = self.deadline_ns();
        if let Some(t4_ns) = self.t4_ns() {
            return Ok(t4_ns <= deadline_ns);
        }
        if seen.at_ns <= deadline_ns {
            Ok(true)
        } else if seen.since_ns > deadline_ns {
            Ok(false)
        } else {
            // It came between two readings that are a tick apart: in doubt for the network.
            why_starved(self.t0_ns).map_or(Ok(!seen.prompt), Err)
        }
    }

    /// Splits an exchange that ended with a reply.
    pub(crate) fn shares(&self, seen: Seen, reflected: Option<Reflected>) -> Shares {
        let (t1_ns, t4_ns) = (self.t1_ns(), self.t4_ns());
        let t5_ns = seen.prompt.then_some(seen.at_ns);
        let sent_ns = t1_ns.and_then(|t1_ns| t1_ns.checked_sub(self.t0_ns));
        let received_ns = match (t4_ns, t5_ns) {
            (Some(t4_ns), Some(t5_ns)) => t5_ns.checked_sub(t4_ns),
            _ => Some(0),
        };
        let outside_ns = t4_ns.zip(t1_ns).and_then(|(t4_ns, t1_ns)| t4_ns.checked_sub(t1_ns));
        // What a destination claims to have kept the packet for can't be longer than the packet was away.
        let responder_ns = reflected
            .filter(|reflected| reflected.t2_ns != 0 && reflected.t3_ns != 0)
            .and_then(|reflected| reflected.t3_ns.checked_sub(reflected.t2_ns))
            .filter(|&kept_ns| outside_ns.is_none_or(|outside_ns| kept_ns <= outside_ns));
        Shares {
            round_trip_ns: t5_ns.or(t4_ns).and_then(|end_ns| end_ns.checked_sub(self.t0_ns)),
            network_ns: outside_ns.map(|outside_ns| outside_ns - responder_ns.unwrap_or(0)),
            host_ns: outside_ns
                .and(sent_ns)
                .zip(received_ns)
                .map(|(sent_ns, received_ns)| sent_ns + received_ns),
            responder_ns,
        }
    }

    /// What the network took of a TCP handshake: from the SYN's way out to the way in of what came back.
    pub(crate) fn handshake_ns(&self) -> Option<u64> {
        self.t4_ns()?.checked_sub(self.t1_ns()?)
    }

    /// Hooks in the order in which they saw the request, and the reply.
    pub(crate) fn hooks(&mut self) -> (Vec<Hook>, Vec<Hook>) {
        let sorted = |hooks: &mut ArrayVec<(u64, Hook), HOOKS_MAX>| {
            hooks.sort_by_key(|&(at_ns, _)| at_ns);
            hooks.drain(..).map(|(_, hook)| hook).collect()
        };
        (sorted(&mut self.request), sorted(&mut self.reply))
    }

    /// The flow as it came to the first hook, before any translation there.
    pub(crate) fn origin(&self) -> Option<Flow> {
        self.origin.map(|(_, flow)| flow)
    }

    /// The flow as it left the node.
    pub(crate) fn flow(&self) -> Option<Flow> {
        self.flow.map(|(_, flow)| flow)
    }
}
