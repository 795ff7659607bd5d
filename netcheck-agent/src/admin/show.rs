//! `netcheck-agent status`: reads the document from the agent on its own host, and shows it as a table.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Write as _};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::Status;
use crate::uplink::status::{
    CountersDocument, HookDocument, HubDocument, PlanDocument, RefusedDocument, RelayDocument,
    StatusDocument, VantageDocument,
};

/// How long the agent on this host may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// More than this is not an agent's status.
const ANSWER_MAX: u64 = 16 << 20;

/// Reasons of refused paths in the table.
const REASONS_MAX: usize = 8;

/// The table for people, row by row.
#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, value: Arguments<'_>) {
        let line = format!("{name:<10} {value}");
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{}", line.trim_end());
    }

    /// A row that goes on with what the one before it is about.
    fn more(&mut self, value: Arguments<'_>) {
        self.row("", value);
    }
}

impl StatusDocument {
    /// The table for people.
    fn table(&self) -> String {
        let mut table = Table::default();
        let uptime = self.uptime_seconds;
        table.row("node", format_args!("{}, agent {}, up {uptime} s", self.node, self.version));
        self.hub_rows(&mut table);
        self.relay_rows(&mut table);
        self.plan_rows(&mut table);
        table.row("ebpf", format_args!("{}", self.ebpf));
        for line in &self.degraded {
            table.row("degraded", format_args!("{line}"));
        }
        self.vantage_rows(&mut table);
        for HookDocument { interface, direction, state, detail } in &self.hooks {
            table.row("hook", format_args!("{interface:<16} {direction:<8} {state} {detail}"));
        }
        self.counter_rows(&mut table);
        let mebibytes = self.resident_bytes as f64 / f64::from(1 << 20);
        table.row("cost", format_args!("{:.1} s CPU, {mebibytes:.1} MiB resident", self.cpu_seconds));
        table.0
    }

    fn hub_rows(&self, table: &mut Table) {
        let HubDocument { url, connected, relayed_by, sessions, trouble, .. } = &self.hub;
        match (connected, trouble.as_str()) {
            (true, _) if !relayed_by.is_empty() => {
                table.row("hub", format_args!("{url}, connected through {relayed_by} (session {sessions})"));
            }
            (true, "") => table.row("hub", format_args!("{url}, connected (session {sessions})")),
            (true, _) => {
                table.row("hub", format_args!("{url}, connected (session {sessions}); before: {trouble}"));
            }
            (false, "") => table.row("hub", format_args!("{url}, not connected yet")),
            (false, _) => table.row("hub", format_args!("{url}, not connected: {trouble}")),
        }
    }

    fn relay_rows(&self, table: &mut Table) {
        let Some(RelayDocument { open, sessions, to_hub_bytes, from_hub_bytes, refused }) = &self.relay
        else {
            return;
        };
        if *sessions > 0 {
            let counts = format_args!(
                "{open} sessions of other agents now, {sessions} so far; {to_hub_bytes} bytes to the hub, {from_hub_bytes} from it"
            );
            table.row("relay", counts);
        }
        if !refused.is_empty() {
            let refused: Vec<String> = refused.iter().map(|(why, count)| format!("{count} {why}")).collect();
            table.row("relay", format_args!("not passed on: {}", refused.join(", ")));
        }
    }

    fn plan_rows(&self, table: &mut Table) {
        let PlanDocument { version, paths, effective_interval_seconds: interval, refused } = &self.plan;
        if *version == 0 {
            table.row("plan", format_args!("none"));
        } else {
            let plan = format_args!(
                "version {version}, {paths} paths every {interval:.3} s, {} refused",
                refused.len()
            );
            table.row("plan", plan);
        }
        for line in refusals(refused) {
            table.more(format_args!("{line}"));
        }
    }

    fn vantage_rows(&self, table: &mut Table) {
        if let Some(VantageDocument { pod, addresses, detail, refused, .. }) = &self.vantage {
            if pod.is_empty() {
                table.row("vantage", format_args!("none, {refused} connections refused"));
            } else {
                let addresses = addresses.join(", ");
                table.row("vantage", format_args!("pod {pod} ({addresses}), {refused} connections refused"));
            }
            for line in detail {
                table.more(format_args!("{line}"));
            }
        }
        if !self.dns_caches.is_empty() {
            let caches: Vec<String> = self.dns_caches.iter().map(ToString::to_string).collect();
            table.row("dns cache", format_args!("{}, of this node's own", caches.join(", ")));
        }
    }

    fn counter_rows(&self, table: &mut Table) {
        let CountersDocument { replies, not_replies, suspect, in_flight, .. } = self.counters;
        let probes =
            format_args!("{replies} replies, {not_replies} not, {suspect} suspect, {in_flight} in flight");
        table.row("probes", probes);
        let CountersDocument { late, duplicate, forged, ring_events_lost, .. } = self.counters;
        let packets = format_args!(
            "{late} late, {duplicate} duplicate, {forged} forged; {ring_events_lost} kernel events lost"
        );
        table.row("packets", packets);
        let CountersDocument { buffered_batches, dropped_batches, dropped_samples, .. } = self.counters;
        let buffer = format_args!(
            "{buffered_batches} batches waiting; {dropped_batches} batches ({dropped_samples} samples) dropped"
        );
        table.row("buffer", buffer);
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
    fn the_table_shows_what_an_operator_asks_for() {
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
