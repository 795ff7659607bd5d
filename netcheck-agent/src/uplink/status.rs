//! How the agent is, in two forms: for the hub, and as a JSON document over HTTP, which `netcheck-agent status` reads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netcheck_common::domain::Outcome;
use netcheck_proto::{convert, v1};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::host::clock::monotonic_ns;
use crate::host::usage::{self, Uptime};
use crate::model::status::{EngineStatus, HubState, VantageStatus};
use crate::relay::RelayCounts;
use crate::uplink::buffer::BufferStatus;
use crate::uplink::wire;

/// How the agent's parts are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) engine: &'a EngineStatus,
    pub(crate) buffer: BufferStatus,
    pub(crate) hub: &'a HubState,
    pub(crate) uptime: Uptime,
}

/// The form for the hub.
pub(crate) fn agent_status(Parts { engine, buffer, hub, uptime }: Parts<'_>) -> v1::AgentStatus {
    v1::AgentStatus {
        ebpf: engine.kernel.state.into(),
        degraded: degraded(engine, hub),
        hooks: engine.kernel.hooks.clone(),
        ring_events_lost: engine.kernel.ring_events_lost,
        drops_unseen: engine.kernel.drops_unseen,
        buffer_dropped_batches: buffer.dropped_batches,
        buffer_dropped_samples: buffer.dropped_samples,
        suspect_samples: engine.counters.suspects_total(),
        forged_packets: engine.counters.forged,
        uptime: prost_types::Duration::try_from(uptime.elapsed()).ok(),
        cpu_time: prost_types::Duration::try_from(usage::cpu_time()).ok(),
        resident_bytes: usage::resident_bytes(),
        pod_links_down: engine
            .kernel
            .pod_links_down
            .iter()
            .map(|link| wire::pod_link_down(link, monotonic_ns()))
            .collect(),
        // The session knows.
        leaving: false,
        vantage: engine.vantage.as_ref().map(wire::pod_vantage),
        dns_caches: engine.dns_caches.found.iter().copied().map(convert::address_bytes).collect(),
    }
}

/// What is missing and why, one line each.
pub(crate) fn degraded(engine: &EngineStatus, hub: &HubState) -> Vec<String> {
    let own = engine.kernel.degraded.iter().chain(&engine.degraded).cloned();
    own.chain(engine.dns_caches.degraded()).chain(hub.degraded(Instant::now())).collect()
}

/// The word for the kernel side's state.
pub(crate) const fn ebpf_word(state: v1::EbpfState) -> &'static str {
    match state {
        v1::EbpfState::Unspecified => "unknown",
        v1::EbpfState::Attached => "attached",
        v1::EbpfState::Partial => "partial",
        v1::EbpfState::Off => "off",
        v1::EbpfState::Failed => "failed",
    }
}

/// The word for a hook's state.
pub(crate) const fn hook_word(state: v1::HookState) -> &'static str {
    match state {
        v1::HookState::Unspecified => "unknown",
        v1::HookState::Attached => "attached",
        v1::HookState::Shadowed => "shadowed",
        v1::HookState::Failed => "failed",
    }
}

/// The JSON document at /status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusDocument {
    pub(crate) node: String,
    pub(crate) version: String,
    pub(crate) uptime_seconds: u64,
    pub(crate) hub: HubDocument,
    /// Sessions of other agents; none where this one passes none on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) relay: Option<RelayDocument>,
    pub(crate) plan: PlanDocument,
    pub(crate) ebpf: String,
    pub(crate) degraded: Vec<String>,
    /// Where one is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vantage: Option<VantageDocument>,
    /// Found on this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns_caches: Vec<IpAddr>,
    pub(crate) hooks: Vec<HookDocument>,
    pub(crate) counters: CountersDocument,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
}

/// The pod vantage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VantageDocument {
    /// Empty: none is connected.
    pub(crate) pod: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) detail: Vec<String>,
    pub(crate) refused: u64,
    pub(crate) sockets: u64,
}

impl VantageDocument {
    fn new(status: &VantageStatus) -> Self {
        Self {
            pod: status.pod.clone(),
            addresses: status.addresses.iter().map(|&address| status.named(address)).collect(),
            detail: status.detail.clone(),
            refused: status.refused,
            sockets: status.sockets,
        }
    }
}

/// How things stand with the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HubDocument {
    pub(crate) url: String,
    pub(crate) connected: bool,
    /// The node whose agent passes the session on; empty where none does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) relayed_by: String,
    pub(crate) sessions: u64,
    #[serde(default)]
    pub(crate) relayed_sessions: u64,
    pub(crate) trouble: String,
}

/// Sessions of other agents that this one passes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelayDocument {
    /// Now.
    pub(crate) open: u64,
    /// Since the start.
    pub(crate) sessions: u64,
    pub(crate) to_hub_bytes: u64,
    pub(crate) from_hub_bytes: u64,
    /// Connections that were not passed on, by a word for the reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

impl From<RelayCounts> for RelayDocument {
    fn from(counts: RelayCounts) -> Self {
        let RelayCounts { open, sessions, to_hub_bytes, from_hub_bytes, refused } = counts;
        let refused = refused.into_iter().filter(|(_, count)| *count > 0);
        let refused = refused.map(|(why, count)| (why.to_owned(), count)).collect();
        Self { open, sessions, to_hub_bytes, from_hub_bytes, refused }
    }
}

/// The plan in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlanDocument {
    pub(crate) version: u64,
    pub(crate) paths: usize,
    pub(crate) effective_interval_seconds: f64,
    pub(crate) refused: Vec<RefusedDocument>,
}

/// A path that can't be probed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RefusedDocument {
    pub(crate) path: u32,
    pub(crate) why: String,
}

/// One hook of the kernel side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HookDocument {
    pub(crate) interface: String,
    pub(crate) direction: String,
    pub(crate) state: String,
    pub(crate) detail: String,
}

/// Counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CountersDocument {
    pub(crate) replies: u64,
    pub(crate) not_replies: u64,
    pub(crate) suspect: u64,
    pub(crate) in_flight: usize,
    pub(crate) forged: u64,
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
    pub(crate) ring_events_lost: u64,
    pub(crate) buffered_batches: u64,
    pub(crate) dropped_batches: u64,
    pub(crate) dropped_samples: u64,
}

impl StatusDocument {
    pub(crate) fn new(node: &str, hub_url: &str, parts: Parts<'_>) -> Self {
        let Parts { engine, buffer, hub, uptime } = parts;
        let counters = &engine.counters;
        let hook = |hook: &v1::HookStatus| HookDocument {
            interface: hook.interface.clone(),
            direction: if hook.egress { "egress" } else { "ingress" }.to_owned(),
            state: hook_word(hook.state()).to_owned(),
            detail: hook.detail.clone(),
        };
        let refused =
            |refused: &v1::RefusedPath| RefusedDocument { path: refused.path_id, why: refused.why.clone() };
        Self {
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: uptime.elapsed().as_secs(),
            hub: HubDocument {
                url: hub_url.to_owned(),
                connected: hub.connected(),
                relayed_by: hub.relay().unwrap_or_default().to_owned(),
                relayed_sessions: hub.relayed_sessions,
                sessions: hub.sessions,
                trouble: hub.trouble(Instant::now()).to_owned(),
            },
            relay: None,
            plan: PlanDocument {
                version: engine.plan.version,
                paths: engine.plan.paths,
                effective_interval_seconds: engine.plan.effective_interval.as_secs_f64(),
                refused: engine.plan.refused.iter().map(refused).collect(),
            },
            ebpf: ebpf_word(engine.kernel.state).to_owned(),
            degraded: degraded(engine, hub),
            vantage: engine.vantage.as_ref().map(VantageDocument::new),
            dns_caches: engine.dns_caches.found.clone(),
            hooks: engine.kernel.hooks.iter().map(hook).collect(),
            counters: CountersDocument {
                replies: counters.total(Outcome::Reply),
                not_replies: Outcome::FAILURES.iter().map(|&outcome| counters.total(outcome)).sum(),
                suspect: counters.suspects_total(),
                in_flight: engine.in_flight,
                forged: counters.forged,
                late: counters.late,
                duplicate: counters.duplicate,
                ring_events_lost: engine.kernel.ring_events_lost,
                buffered_batches: buffer.batches,
                dropped_batches: buffer.dropped_batches,
                dropped_samples: buffer.dropped_samples,
            },
            cpu_seconds: usage::cpu_time().as_secs_f64(),
            resident_bytes: usage::resident_bytes(),
        }
    }
}
