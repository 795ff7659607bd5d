//! One path in full: figures, where its probes died, the newest lost probes with their evidence.

use std::net::SocketAddr;
use std::str::FromStr as _;

use netcheck_proto::v1;

use super::style::{Paint, ago, family, kind, short, symbol, time_of_day, trimmed, word};
use crate::evidence::locate::exchange;
use crate::model::clock::unix_now_ns;
use crate::view::certificates;
use crate::view::report::line::line;
use crate::words::names::{source_name, target_name};

/// Lost probes of one path that are shown.
const PROBES: usize = 5;

pub(super) fn render(answer: &v1::GetPathResponse, paint: Paint) -> String {
    let mut text = causes(answer, paint);
    for (at, path) in answer.paths.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        text += &one(path, paint);
    }
    text
}

/// The causes first: one line for all paths that die at the same place.
fn causes(answer: &v1::GetPathResponse, paint: Paint) -> String {
    let bad =
        |cell: &&v1::MatrixCell| matches!(cell.verdict(), v1::Verdict::Unreachable | v1::Verdict::Degraded);
    let all = || answer.paths.iter().filter_map(|path| path.cell.as_ref());
    // Those that lose packets from some source ports apart from those that lose any.
    type Kind<'a> = (Option<&'a v1::LossLocation>, bool);
    let mut groups: Vec<(Kind<'_>, Vec<&v1::MatrixCell>)> = Vec::new();
    for cell in all().filter(bad) {
        let at = cell.loss.as_ref().and_then(|loss| loss.location.as_ref());
        let at = (at, cell.ports.is_some() && cell.verdict() == v1::Verdict::Degraded);
        match groups.iter_mut().find(|(known, _)| *known == at) {
            Some((_, cells)) => cells.push(cell),
            None => groups.push((at, vec![cell])),
        }
    }
    let mut text = String::new();
    for (_, cells) in groups {
        let worst = if cells.iter().any(|cell| cell.verdict() == v1::Verdict::Unreachable) {
            v1::Verdict::Unreachable
        } else {
            v1::Verdict::Degraded
        };
        let loss = cells.first().and_then(|cell| cell.loss.as_ref());
        let line = line(&cells, all(), loss, None);
        text += &format!("{} {}\n", paint.verdict(worst, symbol(worst)), paint.bold(&line));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn one(detail: &v1::PathDetail, paint: Paint) -> String {
    let cell = detail.cell.clone().unwrap_or_default();
    let path = cell.path.clone().unwrap_or_default();
    let verdict = cell.verdict();
    let port = if path.port == 0 { String::new() } else { format!(" port {}", path.port) };
    let mut text = format!(
        "{} {} {}{} to {}{port}: {} {}\n",
        paint.verdict(verdict, symbol(verdict)),
        paint.bold(&format!(
            "{} → {}",
            source_name(&path.source_node, path.vantage() == v1::Vantage::Pod),
            path.target.as_ref().map(target_name).unwrap_or_default()
        )),
        label(&path),
        family(path.family()),
        path.address,
        paint.verdict(verdict, word(verdict)),
        paint.dim(
            &cell
                .since
                .as_ref()
                .map_or_else(String::new, |since| { format!("for {}", ago(Some(since), unix_now_ns())) })
        ),
    );
    if cell.resting {
        let last = match &cell.measured_at {
            Some(at) => format!("probed last {} ago", ago(Some(at), unix_now_ns())),
            None => "not probed yet".to_owned(),
        };
        text +=
            &format!("    not in turn now, {last}; it is probed for a minute because you ask: ask again\n");
        return text;
    }
    let stats = cell.stats.unwrap_or_default();
    let outcomes = [
        (stats.timeout, "timed out"),
        (stats.refused, "refused"),
        (stats.unreachable, "unreachable"),
        (stats.dns_error, "DNS error"),
        (stats.send_error, "send error"),
        (stats.http_error, "not as expected"),
        (stats.suspect, "not judged"),
    ];
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let failed = if failed.is_empty() { String::new() } else { format!(", {}", failed.join(", ")) };
    text += &format!("    probes    {} of {} answered{failed}\n", stats.reply, stats.sent);
    let phases = cell.phases.unwrap_or_default();
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
    if any {
        text += &trimmed(&table);
    }
    text += &cell.certificate_expires_at.as_ref().map(certificate).unwrap_or_default();
    text += &cell.sizes.as_ref().map(sizes).unwrap_or_default();
    text += &cell.ports.as_ref().map(ports).unwrap_or_default();
    for backend in &cell.backends {
        text += &reached(backend);
    }
    for loss in &detail.losses {
        text += &format!("    {:>2} lost   {}\n", loss.probes, loss.summary);
    }
    if detail.unlocated > 0 {
        text += &format!("    {:>2} lost   at no known place\n", detail.unlocated);
    }
    for probe in detail.lost_probes.iter().take(PROBES) {
        let sample = probe.sample.clone().unwrap_or_default();
        let how = match sample.outcome() {
            v1::Outcome::Refused => "was refused".to_owned(),
            v1::Outcome::Unreachable => "was answered unreachable".to_owned(),
            v1::Outcome::DnsError if sample.step() == v1::ExchangeStep::Resolve => {
                format!("was not sent: looking up its server's name: {}", sample.dns_rcode)
            }
            v1::Outcome::DnsError => format!("was answered {}", sample.dns_rcode),
            v1::Outcome::SendError => format!("could not be sent: {}", sample.errno),
            v1::Outcome::HttpError => format!("was not answered as expected: {}", exchange::reason(&sample)),
            v1::Outcome::Timeout | v1::Outcome::Reply | v1::Outcome::Unspecified => "timed out".to_owned(),
        };
        let how = if sample.truncated { format!("was answered truncated, and over TCP {how}") } else { how };
        let how = match sample.packet_bytes {
            0 => how,
            bytes => format!("of {bytes} bytes {how}"),
        };
        text += &format!("    #{} of {} {how}\n", sample.sequence, time_of_day(probe.sent_at.as_ref()));
        for line in &probe.evidence {
            text += &paint.dim(&format!("        {line}\n"));
        }
    }
    text
}

/// When the server's certificate expires.
fn certificate(at: &prost_types::Timestamp) -> String {
    format!("    TLS       the certificate {}\n", certificates::expiry(at.seconds, unix_now_ns()))
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
    let told = match sizes.told_bytes {
        0 => String::new(),
        bytes => format!(", {} takes {bytes} and says so", sizes.told_by),
    };
    format!("    packets   {passed} (the route of the source takes {}{told})\n", sizes.route_bytes)
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
