//! How the agent is, in three forms: for the hub, as a JSON document over HTTP, and as the table of
//! `netcheck-agent status`, which reads that document from the agent on its own host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use netcheck_common::domain::Outcome;
use netcheck_proto::v1;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::buffer::BufferStatus;
use crate::clock::monotonic_ns;
use crate::config::Status;
use crate::engine::EngineStatus;
use crate::session::HubState;
use crate::usage::{self, Uptime};
use crate::wire;

/// How long the agent on this host may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// More than this is not an agent's status.
const ANSWER_MAX: u64 = 16 << 20;

/// Reasons of refused paths in the table.
const REASONS_MAX: usize = 8;

/// The form for the hub.
pub(crate) fn agent_status(
    engine: &EngineStatus,
    buffer: BufferStatus,
    hub: &HubState,
    uptime: Uptime,
) -> v1::AgentStatus {
    v1::AgentStatus {
        ebpf: engine.kernel.state.into(),
        degraded: degraded(engine, hub),
        hooks: engine.kernel.hooks.clone(),
        ring_events_lost: engine.kernel.ring_events_lost,
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
    }
}

/// What is missing and why, one line each.
pub(crate) fn degraded(engine: &EngineStatus, hub: &HubState) -> Vec<String> {
    let own = engine.kernel.degraded.iter().chain(&engine.degraded).cloned();
    own.chain(hub.degraded(Instant::now())).collect()
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
    pub(crate) plan: PlanDocument,
    pub(crate) ebpf: String,
    pub(crate) degraded: Vec<String>,
    pub(crate) hooks: Vec<HookDocument>,
    pub(crate) counters: CountersDocument,
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
}

/// How things stand with the hub.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HubDocument {
    pub(crate) url: String,
    pub(crate) connected: bool,
    pub(crate) sessions: u64,
    pub(crate) trouble: String,
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
    pub(crate) fn new(
        node: &str,
        hub_url: &str,
        engine: &EngineStatus,
        buffer: BufferStatus,
        hub: &HubState,
        uptime: Uptime,
    ) -> Self {
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
                sessions: hub.sessions,
                trouble: hub.trouble(Instant::now()).to_owned(),
            },
            plan: PlanDocument {
                version: engine.plan.version,
                paths: engine.plan.paths,
                effective_interval_seconds: engine.plan.effective_interval.as_secs_f64(),
                refused: engine.plan.refused.iter().map(refused).collect(),
            },
            ebpf: ebpf_word(engine.kernel.state).to_owned(),
            degraded: degraded(engine, hub),
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

    /// The table for people.
    fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a String can't fail.
            let _ = writeln!(out, "{name:<10} {value}");
        };
        row("node", format!("{}, agent {}, up {} s", self.node, self.version, self.uptime_seconds));
        row(
            "hub",
            match (self.hub.connected, self.hub.trouble.as_str()) {
                (true, "") => format!("{}, connected (session {})", self.hub.url, self.hub.sessions),
                (true, trouble) => {
                    format!("{}, connected (session {}); before: {trouble}", self.hub.url, self.hub.sessions)
                }
                (false, "") => format!("{}, not connected yet", self.hub.url),
                (false, trouble) => format!("{}, not connected: {trouble}", self.hub.url),
            },
        );
        let plan = &self.plan;
        row(
            "plan",
            match plan.version {
                0 => "none".to_owned(),
                version => format!(
                    "version {version}, {} paths every {:.3} s, {} refused",
                    plan.paths,
                    plan.effective_interval_seconds,
                    plan.refused.len()
                ),
            },
        );
        for line in refusals(&plan.refused) {
            row("", line);
        }
        row("ebpf", self.ebpf.clone());
        for line in &self.degraded {
            row("degraded", line.clone());
        }
        for hook in &self.hooks {
            row(
                "hook",
                format!("{:<16} {:<8} {} {}", hook.interface, hook.direction, hook.state, hook.detail)
                    .trim_end()
                    .to_owned(),
            );
        }
        let counters = &self.counters;
        row(
            "probes",
            format!(
                "{} replies, {} not, {} suspect, {} in flight",
                counters.replies, counters.not_replies, counters.suspect, counters.in_flight
            ),
        );
        row(
            "packets",
            format!(
                "{} late, {} duplicate, {} forged; {} kernel events lost",
                counters.late, counters.duplicate, counters.forged, counters.ring_events_lost
            ),
        );
        row(
            "buffer",
            format!(
                "{} batches waiting; {} batches ({} samples) dropped",
                counters.buffered_batches, counters.dropped_batches, counters.dropped_samples
            ),
        );
        row(
            "cost",
            format!(
                "{:.1} s CPU, {:.1} MiB resident",
                self.cpu_seconds,
                self.resident_bytes as f64 / f64::from(1 << 20)
            ),
        );
        out
    }
}

/// Refused paths by reason, most first: a line each for the most common ones.
fn refusals(refused: &[RefusedDocument]) -> Vec<String> {
    let mut paths: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
    for one in refused {
        paths.entry(&one.why).or_insert((0, one.path)).0 += 1;
    }
    let mut reasons: Vec<_> = paths.into_iter().collect();
    reasons.sort_by_key(|&(_, (count, _))| std::cmp::Reverse(count));
    let mut lines: Vec<String> = reasons
        .iter()
        .take(REASONS_MAX)
        .map(|&(why, (count, first))| match count {
            1 => format!("path {first} refused: {why}"),
            _ => format!("{count} paths refused: {why}"),
        })
        .collect();
    let rest = reasons.get(REASONS_MAX..).unwrap_or_default();
    if !rest.is_empty() {
        let count: usize = rest.iter().map(|&(_, (count, _))| count).sum();
        lines.push(format!("{count} paths refused for {} other reasons; --json has them all", rest.len()));
    }
    lines
}

/// Asks the agent on this host and says how it is.
///
/// # Errors
/// No agent answers there.
pub fn show(flags: &Status) -> anyhow::Result<String> {
    let address = local(flags.http.http_addr);
    let body = get(address, "/status").with_context(|| format!("no agent answers on {address}"))?;
    let document: StatusDocument =
        serde_json::from_str(&body).with_context(|| format!("what answers on {address} is not an agent"))?;
    if flags.json {
        return serde_json::to_string_pretty(&document).context("encode");
    }
    Ok(document.table())
}

/// Where an agent that listens on all addresses is reached from its own host.
fn local(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

/// An HTTP/1.0 GET: the body of a 200.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("not an HTTP answer") };
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => bail!("{}", head.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_what_an_operator_asks_for() {
        let document = StatusDocument {
            node: "n1".into(),
            hub: HubDocument {
                url: "http://hub:7070/".into(),
                trouble: "can't connect".into(),
                ..Default::default()
            },
            plan: PlanDocument {
                version: 3,
                paths: 12,
                refused: vec![RefusedDocument { path: 9, why: "127.0.0.1 is a loopback address".into() }],
                ..Default::default()
            },
            ebpf: "failed".into(),
            degraded: vec!["no BPF: permission denied".into()],
            ..Default::default()
        };
        let table = document.table();
        for part in [
            "n1",
            "not connected: can't connect",
            "version 3, 12 paths",
            "path 9 refused: 127",
            "failed",
            "no BPF",
        ] {
            assert!(table.contains(part), "{part} in\n{table}");
        }
    }

    #[test]
    fn refused_paths_are_a_line_per_reason() {
        let refused = |path: u32, why: String| RefusedDocument { path, why };
        let raw = "no icmp probes over IPv4: capability CAP_NET_RAW is missing";
        let mut all: Vec<_> = (0..44).map(|path| refused(path, raw.to_owned())).collect();
        assert_eq!(refusals(&all), [format!("44 paths refused: {raw}")]);
        all.extend((50..60).map(|path| refused(path, format!("127.0.0.{path} is a loopback address"))));
        let lines = refusals(&all);
        assert_eq!(lines.len(), REASONS_MAX + 1);
        assert_eq!(lines[1], "path 50 refused: 127.0.0.50 is a loopback address");
        assert_eq!(lines[REASONS_MAX], "3 paths refused for 3 other reasons; --json has them all");
        assert!(refusals(&[]).is_empty());
    }

    #[test]
    fn nobody_there_is_one_clear_line() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let flags = Status { http: crate::config::Http { http_addr: free }, json: false };
        let error = format!("{:#}", show(&flags).unwrap_err());
        assert!(error.contains("no agent answers on 127.0.0.1") && !error.contains('\n'), "{error}");
    }
}
