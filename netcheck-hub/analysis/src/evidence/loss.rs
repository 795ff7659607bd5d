//! One lost probe: what is known of it, and where that puts its end. Pure.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_common::domain::Outcome;

use crate::model::evidence::{DropRecord, Flow, HookSeen, LostSample};
use crate::model::location::{Certainty, Location};
use crate::plan::Probe;
use crate::plan::exchange::{Exchange, Talk};

/// Drop records that are kept for one probe.
const DROPS_PER_PROBE: usize = 18;
/// Of those, what one node may have reported: a request, its answer, and some that say nothing.
const DROPS_PER_NODE: usize = 6;

/// A drop record and the node that reported it.
#[derive(Clone, Debug)]
pub struct DropFact {
    /// Who reported it.
    pub node: Arc<str>,
    /// When, on the hub's axis.
    pub observed_ns: i64,
    /// What.
    pub record: DropRecord,
}

/// What the destination's kernel answered about one probe.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The request reached the destination node; none where its answer does not reach back that far.
    pub arrived: Option<bool>,
    /// Replies to this probe, or to later ones of its path, were seen.
    pub replied: bool,
    /// Hooks of the destination node that saw them last.
    pub last_request_hook: Option<HookSeen>,
    /// See above.
    pub last_reply_hook: Option<HookSeen>,
    /// From the request's last sighting to the reply's, by the destination's clock, where both were seen and the
    /// packets are this probe's own.
    pub reply_delay_ns: Option<u64>,
    /// How long after the last reply it saw the last request, nanoseconds: of flows alone.
    pub quiet_ns: Option<i64>,
}

/// One lost probe, what is known of it, and where that puts its end.
#[derive(Clone, Debug)]
pub struct Lost {
    /// What its agent reported.
    pub sample: LostSample,
    /// How it ended.
    pub outcome: Outcome,
    /// t0, on the hub's axis.
    pub sent_ns: i64,
    /// When the hub heard of it.
    pub reported_ns: i64,
    /// The flow as it left its node.
    pub flow: Option<Flow>,
    /// What kernels dropped of it.
    pub drops: Vec<DropFact>,
    /// What a later reply reported.
    pub arrival: Option<bool>,
    /// Its own reply came, after the deadline.
    pub answered_late: bool,
    /// What the destination's agent answered.
    pub answer: Option<Answer>,
    /// How often it was asked, and when last.
    pub asked: u8,
    /// See above.
    pub asked_ns: i64,
    /// The conclusion.
    pub located: Located,
}

impl Lost {
    /// A lost probe as reported.
    #[must_use]
    pub fn new(sample: LostSample, outcome: Outcome, sent_ns: i64, now_ns: i64) -> Self {
        Self {
            flow: sample.flow,
            sample,
            outcome,
            sent_ns,
            reported_ns: now_ns,
            drops: Vec::new(),
            arrival: None,
            answered_late: false,
            answer: None,
            asked: 0,
            asked_ns: 0,
            located: Located::default(),
        }
    }

    /// The address that it went to before any translation; none where a server's name had no address.
    #[must_use]
    pub fn probed_address(&self, probe: &Probe) -> Option<IpAddr> {
        if probe.address.is_unspecified() { self.sample.resolved_address } else { Some(probe.address) }
    }

    /// The probe as it was last sent: to the address that the server's name had, or over TCP after an answer that was
    /// truncated.
    #[must_use]
    pub fn in_the_end<'a>(&self, probe: &'a Probe) -> Cow<'a, Probe> {
        let address = self.probed_address(probe).filter(|_| probe.address.is_unspecified());
        let again = self.sample.truncated && probe.exchange.is_none();
        if address.is_none() && !again {
            return Cow::Borrowed(probe);
        }
        let over_tcp = Exchange { talk: Talk::Dns, tls: None, external: false, lookup: None };
        let exchange = if again { Some(Arc::new(over_tcp)) } else { probe.exchange.clone() };
        let address = address.unwrap_or(probe.address);
        Cow::Owned(Probe { address, exchange, ..probe.clone() })
    }

    /// It was to show whether packets of its size pass: it says nothing of smaller ones.
    #[must_use]
    pub fn tries_size(&self) -> bool {
        self.sample.packet_bytes != 0
    }

    /// Adds a drop record. A few are enough: what one probe leaves behind is at most some records per node on its way. No
    /// reporter takes more than its share, so that none keeps out the others'.
    pub fn add_drop(&mut self, fact: DropFact) {
        let same = |old: &DropFact| old.node == fact.node && old.record == fact.record;
        let own = self.drops.iter().filter(|old| old.node == fact.node).count();
        if self.drops.len() < DROPS_PER_PROBE && own < DROPS_PER_NODE && !self.drops.iter().any(same) {
            self.drops.push(fact);
        }
    }
}

/// What is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What its reflector holds of the path.
    Path,
    /// What its hooks saw of the flow.
    Flow,
    /// Nothing is to be asked: kernels' reports may be on their way.
    Reports,
}

/// The conclusion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Located {
    /// Where it died.
    pub location: Option<Location>,
    /// One line: the place, or why there is none.
    pub summary: String,
    /// What it rests on, one line each.
    pub evidence: Vec<String>,
    /// What would help.
    pub want: Option<Want>,
}

impl Located {
    /// Whether a kernel said so.
    #[must_use]
    pub fn observed(&self) -> bool {
        self.location.as_ref().is_some_and(|at| at.certainty == Certainty::Observed)
    }
}
