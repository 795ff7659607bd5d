//! One path in full: figures, where its probes died, the newest lost probes with their evidence.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::{SystemTime, UNIX_EPOCH};

use netcheck_proto::v1;
use netcheck_proto::words::{self, source_name, target_name};

use crate::style::{Paint, ago, family, kind, short, symbol, time_of_day, trimmed, word};

/// Lost probes of one path that are shown.
const PROBES: usize = 5;

pub(crate) fn render(answer: &v1::GetPathResponse, paint: Paint) -> String {
    let mut text = String::new();
    // The causes first.
    for finding in &answer.findings {
        let verdict = finding.verdict();
        text += &format!("{} {}\n", paint.verdict(verdict, symbol(verdict)), paint.bold(&finding.headline));
    }
    for (at, path) in answer.paths.iter().enumerate() {
        if at > 0 || !answer.findings.is_empty() {
            text.push('\n');
        }
        text += &one(path, paint);
    }
    text
}

fn one(detail: &v1::PathDetail, paint: Paint) -> String {
    let cell = detail.cell.clone().unwrap_or_default();
    let mut text = head(&cell, paint);
    if cell.inactive {
        let last = match &cell.measured_at {
            Some(at) => format!("probed last {} ago", ago(Some(at))),
            None => "not probed yet".to_owned(),
        };
        text +=
            &format!("    not in turn now, {last}; it is probed for a minute because you ask: ask again\n");
        return text;
    }
    let stats = cell.stats.unwrap_or_default();
    text += &answered(&stats);
    text += &delays(&stats, &cell.phases.unwrap_or_default(), paint);
    text += &cell.certificate_expires_at.as_ref().map(certificate).unwrap_or_default();
    text += &cell.sizes.as_ref().map(sizes).unwrap_or_default();
    text += &cell.ports.as_ref().map(ports).unwrap_or_default();
    text += &cell.flows.as_ref().map(flows).unwrap_or_default();
    for backend in &cell.backends {
        text += &reached(backend);
    }
    text + &lost(detail, paint)
}

/// Which path it is, and its verdict.
fn head(cell: &v1::MatrixCell, paint: Paint) -> String {
    let path = cell.path.clone().unwrap_or_default();
    let verdict = cell.verdict();
    let port = if path.port == 0 { String::new() } else { format!(" port {}", path.port) };
    let source = source_name(&path.source_node, path.vantage() == v1::Vantage::Pod);
    let target = path.target.as_ref().map(target_name).unwrap_or_default();
    let since = cell.since.as_ref().map_or_else(String::new, |since| format!("for {}", ago(Some(since))));
    format!(
        "{} {} {}{} to {}{port}: {} {}\n",
        paint.verdict(verdict, symbol(verdict)),
        paint.bold(&format!("{source} → {target}")),
        label(&path),
        family(path.family()),
        path.address,
        paint.verdict(verdict, word(verdict)),
        paint.dim(&since),
    )
}

/// How many probes were answered, and what became of the others.
fn answered(stats: &v1::PathStats) -> String {
    let outcomes = [
        (stats.timeout, "timed out"),
        (stats.refused, "refused"),
        (stats.unreachable, "unreachable"),
        (stats.dns_error, "DNS error"),
        (stats.send_error, "send error"),
        (stats.http_error, "not as expected"),
        (stats.suspect, "not judged"),
    ];
    let mut text = format!("    probes    {} of {} answered", stats.reply, stats.sent);
    for (count, name) in outcomes.iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {count} {name}");
    }
    if stats.new_flow_sent > 0 {
        text += &format!("; as new flows {} of {}", stats.new_flow_reply, stats.new_flow_sent);
    }
    text + "\n"
}

/// How new flows fare where they fare otherwise than old ones.
fn flows(of: &v1::FlowsDiffer) -> String {
    let since = time_of_day(of.since.as_ref());
    if of.new_denied {
        format!("    flows     new connections are denied since {since}, old ones go on\n")
    } else {
        format!("    flows     old connections are lost since {since}, new ones go on\n")
    }
}

/// The table of delays; empty where none was measured.
fn delays(stats: &v1::PathStats, phases: &v1::Phases, paint: Paint) -> String {
    let delays = [
        ("round trip", &stats.round_trip),
        ("DNS", &phases.dns),
        ("connect", &phases.connect),
        ("TLS", &phases.tls),
        ("first byte", &phases.first_byte),
        ("network", &stats.network),
        ("host", &stats.host),
        ("responder", &stats.responder),
    ];
    let mut table = paint.table();
    table.set_header(["   ", "delay", "min", "p50", "p90", "p99", "max"]);
    let mut any = false;
    for (name, delay) in delays {
        let Some(delay) = delay.as_ref().filter(|delay| delay.samples > 0) else { continue };
        any = true;
        let figures = [&delay.min, &delay.p50, &delay.p90, &delay.p99, &delay.max];
        let figures = figures.map(|figure| short(figure.as_ref()));
        table.add_row(["", name].map(ToOwned::to_owned).into_iter().chain(figures));
    }
    if any { trimmed(&table) } else { String::new() }
}

/// Where its probes were lost, and the newest of them.
fn lost(detail: &v1::PathDetail, paint: Paint) -> String {
    let mut text = String::new();
    for loss in &detail.losses {
        text += &format!("    {:>2} lost   {}\n", loss.probes, loss.summary);
    }
    if detail.unlocated > 0 {
        text += &format!("    {:>2} lost   at no known place\n", detail.unlocated);
    }
    for probe in detail.lost_probes.iter().take(PROBES) {
        let sequence = probe.sample.as_ref().map_or(0, |sample| sample.sequence);
        let at = time_of_day(probe.sent_at.as_ref());
        text += &format!("    #{sequence} of {at} {}\n", probe.summary);
        for line in &probe.evidence {
            text += &paint.dim(&format!("        {line}\n"));
        }
    }
    text
}

/// When the server's certificate expires.
fn certificate(at: &prost_types::Timestamp) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    format!("    TLS       the certificate {}\n", words::expiry(at.seconds, now_s))
}

/// `icmp`, `https /readyz`, `dns over TCP`.
fn label(path: &v1::Path) -> String {
    match (path.kind(), path.detail.as_str()) {
        (of, "") => kind(of).to_owned(),
        (v1::ProbeKind::Http, detail) => format!("{detail} "),
        (of, detail) => format!("{} {detail} ", kind(of)),
    }
}

/// Which packets pass.
fn sizes(sizes: &v1::PacketSizes) -> String {
    let passed = match (sizes.largest_passed_bytes, sizes.smallest_lost_bytes) {
        (0, 0) => return String::new(),
        (passed, 0) => format!("up to {passed} bytes pass"),
        (passed, lost) => format!("{passed} bytes pass, {lost} don't"),
    };
    let router = match sizes.icmp_mtu {
        0 => String::new(),
        bytes => format!(", {} takes {bytes} and says so", sizes.icmp_mtu_from),
    };
    format!("    packets   {passed} (the route of the source takes {}{router})\n", sizes.route_bytes)
}

/// What became of the probes that one backend got.
fn reached(of: &v1::BackendReach) -> String {
    let address = std::net::IpAddr::from_str(&of.address).map(|ip| SocketAddr::new(ip, of.port as u16));
    let address = address.map_or_else(|_| of.address.clone(), |end| end.to_string());
    let who = match (of.pod.as_str(), of.node.as_str()) {
        ("", "") => address,
        ("", node) => format!("{node} ({address})"),
        (pod, node) => format!("{pod} ({address}) on {node}"),
    };
    let last = of.last_answered.as_ref().map(|at| format!(", last at {}", time_of_day(Some(at))));
    let sent = of.answered + of.lost;
    let how = match of.answered {
        0 => format!("never answered, {sent} probes"),
        answered if of.lost_in_a_row > 0 => {
            format!("{answered} of {sent} answered{}", last.unwrap_or_default())
        }
        answered => format!("{answered} of {sent} answered"),
    };
    format!("    backend   {who}: {how}\n")
}

/// Which source ports lose their packets.
fn ports(ports: &v1::SourcePorts) -> String {
    let lost: Vec<String> =
        ports.lost.iter().map(|of| format!("{} ({} of {})", of.port, of.lost, of.sent)).collect();
    let others = (ports.ports as usize).saturating_sub(ports.lost.len());
    format!(
        "    ports     lost from {}; {} of {} from the {others} others\n",
        lost.join(", "),
        ports.others_lost,
        ports.others_sent
    )
}
