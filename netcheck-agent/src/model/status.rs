//! How the agent and its parts are, as status, metrics and the hub are shown it. Plain data.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::v1;
use serde::{Deserialize, Serialize};
use tokio::time::Instant as TokioInstant;

use crate::model::counters::Counters;
use crate::model::observation::{DropCount, KernelStatus};

/// Most addresses of a pod that are reported.
pub(crate) const ADDRESSES_MAX: usize = 64;
/// Most interfaces of a pod that are reported.
pub(crate) const LINKS_MAX: usize = 32;

/// How the engine is; brought up to date once a second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EngineStatus {
    pub(crate) counters: Counters,
    pub(crate) kernel: KernelStatus,
    /// Drops of all packets since the kernel programs were loaded.
    pub(crate) drops: Vec<DropCount>,
    /// What of the engine's own is missing and why, one line each.
    pub(crate) degraded: Vec<String>,
    /// Where one is expected.
    pub(crate) vantage: Option<VantageStatus>,
    /// The DNS caches of this node.
    pub(crate) dns_caches: Caches,
    pub(crate) plan: PlanSummary,
    pub(crate) in_flight: usize,
    /// Replies are read on ticks, for the kernel stamps them.
    pub(crate) batched: bool,
    /// When this was brought up to date.
    pub(crate) published: Instant,
}

/// How the kernel side is before it was ever asked.
impl Default for EngineStatus {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            kernel: KernelStatus::default(),
            drops: Vec::new(),
            degraded: Vec::new(),
            vantage: None,
            dns_caches: Caches::default(),
            plan: PlanSummary::default(),
            in_flight: 0,
            batched: false,
            published: Instant::now(),
        }
    }
}

/// The plan in force, in short.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PlanSummary {
    pub(crate) version: u64,
    pub(crate) paths: usize,
    pub(crate) refused: Vec<v1::RefusedPath>,
    pub(crate) effective_interval: Duration,
}

impl PlanSummary {
    pub(crate) fn to_wire(&self) -> v1::PlanApplied {
        v1::PlanApplied {
            version: self.version,
            refused: self.refused.clone(),
            effective_interval: prost_types::Duration::try_from(self.effective_interval).ok(),
        }
    }
}

/// The pod vantage of an agent that expects one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VantageStatus {
    /// `namespace/name`; empty: none is connected.
    pub(crate) pod: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// Which of its interfaces has which of them.
    pub(crate) links: Vec<PodLink>,
    /// 0 for none.
    pub(crate) responder_port: u16,
    /// Who is asked for names there.
    pub(crate) name_servers: Vec<IpAddr>,
    /// What short names are completed with there.
    pub(crate) search_domains: Vec<String>,
    /// What can be probed from it.
    pub(crate) can: Vec<(ProbeKind, Family)>,
    /// What can't be and why, or why there is none; one line each.
    pub(crate) detail: Vec<String>,
    /// Connections that were refused since the agent's start.
    pub(crate) refused: u64,
    /// Sockets that were taken since the agent's start.
    pub(crate) sockets: u64,
    /// It is about to go on purpose, or went so.
    pub(crate) leaving: bool,
}

impl VantageStatus {
    /// An address, with the interface that has it.
    pub(crate) fn named(&self, address: IpAddr) -> String {
        match self.links.iter().find(|link| link.addresses.contains(&address)) {
            Some(link) if self.links.len() > 1 => format!("{address} on {}", link.interface),
            _ => address.to_string(),
        }
    }

    pub(crate) fn none(why: String) -> Self {
        Self { detail: vec![why], ..Self::default() }
    }
}

/// What was counted since the agent's start.
#[derive(Debug, Default)]
pub(crate) struct VantageCounts {
    /// Connections that ended because something was not as agreed.
    pub(crate) refused: AtomicU64,
    /// Sockets that were taken.
    pub(crate) sockets: AtomicU64,
}

/// An interface of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodLink {
    pub(crate) interface: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The DNS caches of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caches {
    /// Ascending.
    pub(crate) found: Vec<IpAddr>,
    /// Programs are configured to ask these, which were found before and are at no address of the node any more.
    pub(crate) gone: Vec<IpAddr>,
}

impl Caches {
    /// What is wrong with them, one line each.
    pub(crate) fn degraded(&self) -> impl Iterator<Item = String> {
        self.gone.iter().map(|gone| {
            format!(
                "DNS cache {gone} is gone from this node, whose programs or pods are still configured to ask it"
            )
        })
    }
}

/// How a connection goes to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To this address of its own, where that is known.
    Direct(Option<SocketAddr>),
    /// Through the agent of this node.
    Relay(Arc<str>),
}

impl Way {
    /// The node whose agent passes it on.
    pub(crate) fn relay(&self) -> Option<&Arc<str>> {
        match self {
            Self::Direct(_) => None,
            Self::Relay(node) => Some(node),
        }
    }
}

/// How things stand with the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HubState {
    /// When the session in progress got its welcome.
    connected_since: Option<TokioInstant>,
    /// How it goes there.
    way: Option<Way>,
    /// Sessions that got a welcome.
    pub(crate) sessions: u64,
    /// Those of them that went through another agent.
    pub(crate) relayed_sessions: u64,
    /// Sessions and attempts that ended, by a word for the reason.
    pub(crate) ended: BTreeMap<&'static str, u64>,
    /// Why the last one ended or did not begin.
    last_end: String,
    /// It ended because another agent took this node's place: so long, the next session may end the same way. Else 0.
    contested_for: Duration,
    /// Another node's agent has this one's probe session: only an agent that is started anew has another.
    pub(crate) session_taken: bool,
}

impl HubState {
    /// The hub said welcome, to a session that goes this way.
    pub(crate) fn welcomed(&mut self, now: TokioInstant, way: Way) {
        self.connected_since = Some(now);
        self.sessions += 1;
        self.relayed_sessions += u64::from(way.relay().is_some());
        self.way = Some(way);
    }

    /// While the session goes through another agent: why it can't go directly.
    pub(crate) fn not_direct(&mut self, line: String) {
        self.last_end = line;
    }

    /// The node whose agent passes the session on.
    pub(crate) fn relay(&self) -> Option<&str> {
        self.way.as_ref()?.relay().map(AsRef::as_ref)
    }

    /// The hub's address that the session in progress goes to directly.
    pub(crate) fn direct(&self) -> Option<SocketAddr> {
        match self.way {
            Some(Way::Direct(address)) => address,
            Some(Way::Relay(_)) | None => None,
        }
    }

    /// A session ended, or did not begin: the reason in a word and in a line, and for how long the next one is contested.
    pub(crate) fn ended(&mut self, reason: &'static str, line: String, contested_for: Duration) {
        self.connected_since = None;
        self.way = None;
        *self.ended.entry(reason).or_default() += 1;
        self.last_end = line;
        self.contested_for = contested_for;
    }

    pub(crate) const fn connected(&self) -> bool {
        self.connected_since.is_some()
    }

    /// Why there is no session, or why the one in progress may not last; empty where neither is so.
    pub(crate) fn trouble(&self, now: TokioInstant) -> &str {
        match self.connected_since {
            None => &self.last_end,
            Some(since) if now.duration_since(since) < self.contested_for => &self.last_end,
            Some(_) => "",
        }
    }

    /// The same, as a line of what is degraded.
    pub(crate) fn degraded(&self, now: TokioInstant) -> Option<String> {
        if let Some(relay) = self.relay() {
            return Some(format!("the session with the hub goes through {relay}: {}", self.last_end));
        }
        match (self.trouble(now), self.connected()) {
            ("", _) => None,
            (trouble, true) => Some(format!("the session with the hub is contested: {trouble}")),
            (trouble, false) => Some(format!("no session with the hub: {trouble}")),
        }
    }
}
