//! `netcheck-agent status`: reads the document from the agent on its own host, and shows it as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::Status;
use crate::uplink::status::{RefusedDocument, StatusDocument, VantageDocument};

/// How long the agent on this host may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// More than this is not an agent's status.
const ANSWER_MAX: u64 = 16 << 20;

/// Reasons of refused paths in the table.
const REASONS_MAX: usize = 8;

impl StatusDocument {
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
        if let Some(vantage) = &self.vantage {
            let VantageDocument { pod, addresses, refused, .. } = vantage;
            row(
                "vantage",
                match (pod.as_str(), *refused) {
                    ("", refused) => format!("none, {refused} connections refused"),
                    (pod, refused) => {
                        format!("pod {pod} ({}), {refused} connections refused", addresses.join(", "))
                    }
                },
            );
            for line in &vantage.detail {
                row("", line.clone());
            }
        }
        if !self.dns_caches.is_empty() {
            let caches: Vec<String> = self.dns_caches.iter().map(ToString::to_string).collect();
            row("dns cache", format!("{}, of this node's own", caches.join(", ")));
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
    use crate::uplink::status::{HubDocument, PlanDocument};

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
