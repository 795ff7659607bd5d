//! What the hub asks of this node's kernel about losses of other nodes' probes, and what there is to answer.

use std::net::IpAddr;

use netcheck_common::domain::{PathId, ProbeSession};

use crate::model::observation::{Flow, FlowSeen, Remembered};

/// What is known of some paths and flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvidenceQuestion {
    /// The hub's number for it.
    pub(crate) id: u64,
    pub(crate) paths: Vec<PathQuestion>,
    pub(crate) flows: Vec<FlowQuestion>,
}

/// Which requests of another agent's path arrived here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathQuestion {
    pub(crate) session: ProbeSession,
    pub(crate) path: PathId,
    /// Where its requests may come from, as far as the hub knows.
    pub(crate) sources: Vec<IpAddr>,
}

/// Where this node's hooks saw a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowQuestion {
    /// None where the hub names one that can't be read: nobody saw it.
    pub(crate) flow: Option<Flow>,
    /// What was seen longer ago was another flow's, with the same ports.
    pub(crate) max_age_ns: u64,
}

/// Each question with what is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvidenceAnswer {
    pub(crate) id: u64,
    pub(crate) paths: Vec<(PathQuestion, Remembered)>,
    pub(crate) flows: Vec<(FlowQuestion, Option<FlowSeen>)>,
    /// When it was looked up, CLOCK_MONOTONIC.
    pub(crate) at_ns: u64,
}
