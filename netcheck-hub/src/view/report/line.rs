//! Bad paths that one thing explains → the line that a tired person reads first: which paths, how much of them, since
//! when, where and why, how sure that is, and what of the same paths is fine. Pure.

use std::collections::BTreeSet;

use netcheck_proto::v1;
use netcheck_proto::words::{family_name, kind_name, time_of_day};

use netcheck_analysis::evidence::LocatedLoss;
use netcheck_analysis::model::location::{Certainty, InterfaceRole};
use netcheck_analysis::model::ports::PortLosses;
use netcheck_analysis::wire::matrix::port_losses;
use netcheck_analysis::words::location as words;
use netcheck_analysis::words::names::{listed, sources_listed, target_name};
use netcheck_analysis::words::patterns::{FlowsFare, flows_differ};

/// A cell's path, as far as the line goes.
struct Path<'a> {
    source: &'a str,
    from_pod: bool,
    target: &'a v1::Target,
    kind: v1::ProbeKind,
    family: v1::Family,
    address: &'a str,
}

impl Path<'_> {
    /// The target, with its address where it has others of the family that are not among the bad ones.
    fn target_name(&self, bad: &[Path<'_>]) -> String {
        let name = target_name(self.target);
        let own = matches!(self.target.kind(), v1::TargetKind::Node | v1::TargetKind::Pod);
        let v6 = self.address.contains(':');
        let impaired =
            |address: &str| bad.iter().any(|of| of.target.id == self.target.id && of.address == address);
        let fine = self.target.addresses.iter().any(|other| other.contains(':') == v6 && !impaired(other));
        if own && fine && !self.address.is_empty() { format!("{name} at {}", self.address) } else { name }
    }
}

fn path(cell: &v1::MatrixCell) -> Option<Path<'_>> {
    let path = cell.path.as_ref()?;
    let target = path.target.as_ref()?;
    Some(Path {
        source: &path.source_node,
        from_pod: path.vantage() == v1::Vantage::Pod,
        target,
        kind: path.kind(),
        family: path.family(),
        address: &path.address,
    })
}

/// The line of these bad cells. `all`: every cell that is known, for what is fine beside them. `loss`: the place that
/// stands for all. `why`: what is known where there is no place.
#[must_use]
pub fn line<'a>(
    bad: &[&'a v1::MatrixCell],
    all: impl Iterator<Item = &'a v1::MatrixCell>,
    loss: Option<&LocatedLoss>,
    why: Option<&str>,
) -> String {
    let paths: Vec<Path<'a>> = bad.iter().filter_map(|cell| path(cell)).collect();
    let pair = |of: &Path<'a>| (of.source, of.from_pod, of.target.id.as_str());
    let pairs: BTreeSet<(&str, bool, &str)> = paths.iter().map(pair).collect();
    let kinds: BTreeSet<v1::ProbeKind> = paths.iter().map(|of| of.kind).collect();
    let families: BTreeSet<v1::Family> = paths.iter().map(|of| of.family).collect();
    let all: Vec<&v1::MatrixCell> = all.collect();
    let same: Vec<&v1::MatrixCell> =
        all.iter().copied().filter(|cell| path(cell).is_some_and(|of| pairs.contains(&pair(&of)))).collect();
    let at = loss.map(|loss| &loss.location);

    let sources = sources_listed(paths.iter().map(|of| (of.source.to_owned(), of.from_pod)));
    let targets = listed(paths.iter().map(|of| of.target_name(&paths)));
    let mut text = format!("{sources} → {targets}");
    if !paths.is_empty() && paths.iter().all(|of| of.target.kind() == v1::TargetKind::Pod) {
        text += ", pod path";
    }
    if let Some(at) = at.filter(|at| at.role == InterfaceRole::Tunnel) {
        text += &through(&at.tunnel);
    }
    text += &format!(", {}", joined(&kinds.iter().map(|kind| kind_name(*kind)).collect::<Vec<_>>()));
    text += &which(bad, &same);
    let other_family = same.iter().filter_map(|cell| path(cell)).any(|of| !families.contains(&of.family));
    if let (1, Some(family), true) = (families.len(), families.first(), other_family) {
        text += &format!(" over {}", family_name(*family));
    }
    let by_port = by_port(bad);
    text += &match netcheck_analysis::words::patterns::ports_shared(&by_port) {
        Some(ports) => {
            format!(": {ports}{}{}", since(bad), netcheck_analysis::words::patterns::ports_named(&by_port))
        }
        None => {
            // What was answered is not lost.
            let answered = |cell: &&v1::MatrixCell| {
                let at = cell.loss.as_ref().and_then(|loss| loss.location.as_ref());
                at.is_some_and(|at| at.stage() == v1::Stage::Application)
            };
            let failed = kinds.iter().eq(&[v1::ProbeKind::Http]) && bad.iter().all(answered);
            let verb = if failed { "failed" } else { "lost" };
            match flows(bad) {
                Some(how) => format!(": {how}{}", since(bad)),
                None => format!(": {} {verb}{}", oversize(bad).unwrap_or_else(|| share(bad)), since(bad)),
            }
        }
    };
    text += &place(bad, loss, why);
    text += &fine(bad, &same, &kinds, &families);
    let from_node = |cell: &&v1::MatrixCell| {
        path(cell).is_some_and(|of| {
            !of.from_pod
                && kinds.contains(&of.kind)
                && pairs.contains(&(of.source, true, of.target.id.as_str()))
        })
    };
    let beside: Vec<&v1::MatrixCell> = all.into_iter().filter(from_node).collect();
    let from_pods = !paths.is_empty() && paths.iter().all(|of| of.from_pod);
    if from_pods && !beside.is_empty() && beside.iter().all(|cell| cell.verdict() == v1::Verdict::Reachable) {
        text += "; from the nodes themselves it is fine";
    }
    text
}

/// ` over TCP`, ` (https /readyz)`: what distinguishes these paths from others of the same kind; nothing where they differ.
fn which(bad: &[&v1::MatrixCell], same: &[&v1::MatrixCell]) -> String {
    let of = |cell: &v1::MatrixCell| cell.path.as_ref().map(|path| (path.kind(), path.detail.clone()));
    let own: BTreeSet<_> = bad.iter().filter_map(|cell| of(cell)).collect();
    let Some((kind, detail)) = own.first().filter(|_| own.len() == 1) else { return String::new() };
    let others = same.iter().filter_map(|cell| of(cell)).any(|(other, how)| other == *kind && how != *detail);
    match (kind, detail.as_str()) {
        (v1::ProbeKind::Dns, "") if others => " over UDP".to_owned(),
        (_, "") => String::new(),
        (v1::ProbeKind::Http, detail) => format!(" ({detail})"),
        (_, detail) => format!(" {detail}"),
    }
}

/// ` over VXLAN`.
fn through(tunnel: &str) -> String {
    match tunnel {
        "" => " through a tunnel".to_owned(),
        "vxlan" | "ipip" | "sit" | "gre" => format!(" over {}", tunnel.to_uppercase()),
        "geneve" => " over Geneve".to_owned(),
        "wireguard" => " over WireGuard".to_owned(),
        other => format!(" over a tunnel ({other})"),
    }
}

/// The source ports that lose their packets, where each of the paths has some.
fn by_port(bad: &[&v1::MatrixCell]) -> Vec<PortLosses> {
    let degraded = |cell: &&v1::MatrixCell| cell.verdict() == v1::Verdict::Degraded;
    let of = |cell: &&v1::MatrixCell| port_losses(cell.ports.as_ref().filter(|_| degraded(cell))?);
    bad.iter().map(of).collect::<Option<_>>().unwrap_or_default()
}

/// `new connections are denied, old ones go on`, where most paths that have both say so. A service's need not: its
/// flows lead to several backends.
fn flows(bad: &[&v1::MatrixCell]) -> Option<FlowsFare> {
    let both = |cell: &&&v1::MatrixCell| {
        path(cell).is_some_and(|of| {
            matches!(of.kind, v1::ProbeKind::Icmp | v1::ProbeKind::Udp)
                && of.target.kind() != v1::TargetKind::Service
        })
    };
    let known = bad.iter().filter(both).map(|cell| cell.flows.as_ref().map(|flows| flows.new_denied));
    flows_differ(&known.collect::<Vec<_>>())
}

/// `packets above 1400 bytes`, where all ordinary probes are answered.
fn oversize(bad: &[&v1::MatrixCell]) -> Option<String> {
    let border = |cell: &&v1::MatrixCell| {
        let sizes = cell.sizes.as_ref().filter(|sizes| sizes.smallest_lost_bytes > 0)?;
        let answered = cell.stats.as_ref().is_none_or(|stats| stats.sent == stats.reply);
        let bytes = |bytes: u32| u16::try_from(bytes).ok();
        answered.then_some((bytes(sizes.largest_passed_bytes)?, bytes(sizes.smallest_lost_bytes)?))
    };
    let borders: Option<Vec<(u16, u16)>> = bad.iter().map(border).collect();
    netcheck_analysis::words::patterns::sizes_lost(&borders?)
}

/// `100 % of requests`. A path is unreachable since its newest probes are lost without exception.
fn share(bad: &[&v1::MatrixCell]) -> String {
    let directions: BTreeSet<v1::Direction> = bad
        .iter()
        .map(|cell| cell.loss.as_ref().and_then(|loss| loss.location.as_ref()))
        .map(|at| at.map_or(v1::Direction::Unspecified, v1::LossLocation::direction))
        .collect();
    let what = match (directions.len(), directions.first()) {
        (1, Some(v1::Direction::Request)) => "requests",
        (1, Some(v1::Direction::Reply)) => "replies",
        _ => "probes",
    };
    let stats = || bad.iter().filter_map(|cell| cell.stats.as_ref());
    let (sent, lost) = (stats().map(|stats| stats.sent).sum::<u64>(), lost(bad));
    if bad.iter().all(|cell| cell.verdict() == v1::Verdict::Unreachable) {
        return format!("100 % of {what}");
    }
    match (lost * 100).checked_div(sent.max(lost)) {
        None | Some(0) => format!("less than 1 % of {what}"),
        Some(percent) => format!("{percent} % of {what}"),
    }
}

/// Probes that were lost, as far as windows or places show.
fn lost(bad: &[&v1::MatrixCell]) -> u64 {
    let of = |cell: &&v1::MatrixCell| {
        let counted = cell.stats.as_ref().map_or(0, |stats| stats.sent.saturating_sub(stats.reply));
        counted.max(cell.loss.as_ref().map_or(0, |loss| loss.probes))
    };
    bad.iter().map(of).sum()
}

/// ` since 12:04:31 UTC`: since the paths are as they are, or since the oldest loss that is known.
fn since(bad: &[&v1::MatrixCell]) -> String {
    let verdicts = bad.iter().filter_map(|cell| cell.since.as_ref());
    let losses = bad.iter().filter_map(|cell| cell.loss.as_ref()?.first_seen.as_ref());
    let first = verdicts.chain(losses).filter(|at| at.seconds > 0).min_by_key(|at| (at.seconds, at.nanos));
    first.map_or_else(String::new, |at| format!(" since {}", time_of_day(at)))
}

/// Where and why, and how sure that is.
fn place(bad: &[&v1::MatrixCell], loss: Option<&LocatedLoss>, why: Option<&str>) -> String {
    let why = why.filter(|why| !why.is_empty());
    let Some(loss) = loss else {
        return why.map_or_else(|| ", cause not located".to_owned(), |why| format!(", not located: {why}"));
    };
    let located: u64 = bad.iter().filter_map(|cell| cell.loss.as_ref()).map(|loss| loss.probes).sum();
    let at = &loss.location;
    let sure = match at.certainty {
        Certainty::Observed => "observed",
        Certainty::Inferred => "inferred",
    };
    // Whoever said no is in the summary.
    let place = if loss.summary.is_empty() || loss.summary.ends_with(&words::place(at)) {
        format!(" {}{}", words::whereabouts(at), words::reason(at))
    } else {
        format!(": {}", loss.summary)
    };
    format!("{place} ({sure}, {located} of {})", lost(bad).max(located))
}

/// What of the same paths is fine.
fn fine(
    bad: &[&v1::MatrixCell],
    same: &[&v1::MatrixCell],
    kinds: &BTreeSet<v1::ProbeKind>,
    families: &BTreeSet<v1::Family>,
) -> String {
    let mut judged: BTreeSet<v1::ProbeKind> = BTreeSet::new();
    let mut broken: BTreeSet<v1::ProbeKind> = kinds.clone();
    let mut other_family: Option<(v1::Family, bool)> = None;
    let mut other_ways: std::collections::BTreeMap<String, bool> = std::collections::BTreeMap::new();
    let ways: BTreeSet<&str> =
        bad.iter().filter_map(|cell| cell.path.as_ref()).map(|path| path.detail.as_str()).collect();
    for cell in same {
        let Some(of) = path(cell) else { continue };
        let good = cell.verdict() == v1::Verdict::Reachable;
        if kinds.contains(&of.kind) {
            let way = cell.path.as_ref().map_or("", |path| path.detail.as_str());
            if !ways.contains(way) {
                let name = match (of.kind, way) {
                    (v1::ProbeKind::Http, way) => way.to_owned(),
                    (kind, "") => format!("{} over UDP", kind_name(kind)),
                    (kind, way) => format!("{} {way}", kind_name(kind)),
                };
                *other_ways.entry(name).or_insert(true) &= good;
            } else if !families.contains(&of.family) {
                let all = other_family.is_none_or(|(_, all)| all) && good;
                other_family = Some((of.family, all));
            }
        } else if good {
            judged.insert(of.kind);
        } else {
            broken.insert(of.kind);
        }
    }
    let mut names: Vec<&str> =
        judged.iter().filter(|kind| !broken.contains(kind)).map(|kind| kind_name(*kind)).collect();
    names.extend(other_ways.iter().filter(|(_, good)| **good).map(|(name, _)| name.as_str()));
    if let Some((family, true)) = other_family {
        names.push(family_name(family));
    }
    match names.len() {
        0 => String::new(),
        1 => format!("; {} on the same path is fine", joined(&names)),
        _ => format!("; {} on the same path are fine", joined(&names)),
    }
}

/// `a, b and c`.
fn joined(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests;
