//! What a check between two clusters comes to, in a few lines: which pattern of failures is called what. Pure.
//!
//! Paths are counted by leg: from nodes or pods of one cluster to one sort of thing of the other one. A leg of which all
//! paths fail speaks of a network (a route, or a firewall in front of all of it), one of which some fail speaks of pairs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netcheck_proto::v1;
use netcheck_proto::words::family_name;

use crate::style;

#[cfg(test)]
mod tests;

/// Lines that are printed at most.
const LINES: usize = 6;
/// Sources or targets that a line names.
const NAMED: usize = 3;

/// Which way: from the first cluster to the second, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    There,
    Back,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::There, Self::Back];
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    Nodes,
    Pods,
}

/// Where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum To {
    Nodes,
    Pods,
    /// At addresses that only the cluster itself translates.
    ClusterIps,
    /// At addresses that are meant for others: node ports, load balancers, external IPs, Ingresses, Gateways.
    External,
}

impl To {
    /// What a target of another cluster is.
    pub(crate) fn of(target: &v1::Target) -> Self {
        match (target.peer_kind(), target.service_address()) {
            (v1::TargetKind::Node | v1::TargetKind::Unspecified, _) => Self::Nodes,
            (v1::TargetKind::Pod, _) | (_, v1::ServiceAddress::Endpoint) => Self::Pods,
            (_, v1::ServiceAddress::ClusterIp) => Self::ClusterIps,
            _ => Self::External,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::ClusterIps => "service addresses",
            Self::External => "load balancers, node ports and Ingresses",
        }
    }

    const fn one(self) -> &'static str {
        match self {
            Self::Nodes => "node",
            Self::Pods => "pod",
            Self::ClusterIps => "service address",
            Self::External => "load balancer, node port or Ingress",
        }
    }
}

/// Paths of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    measured: u64,
    failed: u64,
}

impl Count {
    const fn all(self) -> bool {
        self.measured > 0 && self.failed == self.measured
    }
}

/// Paths from nodes or pods of one cluster to one sort of thing of the other.
#[derive(Clone, Debug, Default)]
struct Leg {
    all: Count,
    families: BTreeMap<&'static str, Count>,
    kinds: BTreeMap<&'static str, Count>,
    sources: BTreeMap<String, Count>,
    targets: BTreeMap<String, Count>,
}

/// All that was measured between two clusters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Legs {
    legs: BTreeMap<(Way, From, To), Leg>,
}

/// One line, and whether the check fails for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) fails: bool,
}

impl Legs {
    /// Counts a cell. What was not measured says nothing here.
    pub(crate) fn add(&mut self, way: Way, cell: &v1::MatrixCell) {
        let failed = match cell.verdict() {
            v1::Verdict::Unreachable => 1,
            v1::Verdict::Reachable | v1::Verdict::Degraded => 0,
            v1::Verdict::NoData | v1::Verdict::ExpectedAbsent | v1::Verdict::Unspecified => return,
        };
        let path = cell.path.clone().unwrap_or_default();
        let target = path.target.clone().unwrap_or_default();
        let from = if path.vantage() == v1::Vantage::Pod { From::Pods } else { From::Nodes };
        let leg = self.legs.entry((way, from, To::of(&target))).or_default();
        let add = |count: &mut Count| {
            count.measured += 1;
            count.failed += failed;
        };
        add(&mut leg.all);
        add(leg.families.entry(family_name(path.family())).or_default());
        add(leg.kinds.entry(style::kind(path.kind())).or_default());
        add(leg.sources.entry(path.source_node).or_default());
        add(leg.targets.entry(target.name).or_default());
    }

    fn count(&self, way: Way, from: From, to: To) -> Count {
        self.legs.get(&(way, from, to)).map(|leg| leg.all).unwrap_or_default()
    }

    /// Of both sources together.
    fn to(&self, way: Way, to: To) -> Count {
        let [one, other] = [From::Nodes, From::Pods].map(|from| self.count(way, from, to));
        Count { measured: one.measured + other.measured, failed: one.failed + other.failed }
    }

    /// Paths that were measured on this way.
    pub(crate) fn measured(&self, way: Way) -> u64 {
        self.legs.iter().filter(|((own, ..), _)| *own == way).map(|(_, leg)| leg.all.measured).sum()
    }

    /// Whether nothing at all is reached at addresses that only the other cluster translates: that is usual.
    pub(crate) fn cluster_ips_are_its_own(&self, way: Way) -> bool {
        self.to(way, To::ClusterIps).all()
    }
}

/// The names of the clusters: of the first and of the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) src: &'a str,
    pub(crate) dst: &'a str,
}

impl<'a> Names<'a> {
    /// From which to which.
    pub(crate) const fn of(self, way: Way) -> (&'a str, &'a str) {
        match way {
            Way::There => (self.src, self.dst),
            Way::Back => (self.dst, self.src),
        }
    }
}

/// What it comes to, worst first; one line at least.
pub(crate) fn conclude(legs: &Legs, names: Names<'_>) -> Vec<Line> {
    let networks = networks(legs, names);
    let explained: Vec<Key> = networks.iter().flat_map(|(_, covered)| covered.iter().copied()).collect();
    let its_own = |&(way, _, to): &Key| to == To::ClusterIps && legs.cluster_ips_are_its_own(way);
    let some =
        legs.legs.iter().filter(|(key, leg)| !explained.contains(key) && !its_own(key) && leg.all.failed > 0);
    let lines = networks.into_iter().map(|(text, _)| text);
    let lines = lines.chain(some.map(|(key, leg)| of_leg(*key, leg, names)));
    let mut lines: Vec<Line> = lines.map(|text| Line { text, fails: true }).collect();
    if lines.len() > LINES {
        let more = lines.len() - LINES + 1;
        lines.truncate(LINES - 1);
        lines.push(Line {
            text: format!("and {more} more sorts of paths fail; the table has them"),
            fails: true,
        });
    }
    if lines.is_empty() {
        lines.push(well(legs, names));
    }
    let own = |way: &Way| {
        let is_of_cluster_ips = |&(own, _, to): &Key| (own, to) == (*way, To::ClusterIps);
        legs.cluster_ips_are_its_own(*way) && !explained.iter().any(is_of_cluster_ips)
    };
    lines.extend(Way::BOTH.into_iter().filter(own).map(|way| usual(way, names)));
    lines
}

type Key = (Way, From, To);

/// Whole networks that are not reached, each with the legs that the line speaks of.
fn networks(legs: &Legs, names: Names<'_>) -> Vec<(String, Vec<Key>)> {
    let keys = |ways: &[Way], tos: &[To]| -> Vec<Key> {
        let own = |&(way, _, to): &&Key| ways.contains(way) && tos.contains(to);
        legs.legs.keys().filter(own).copied().collect()
    };
    let hosts = [To::Nodes, To::Pods];
    let Names { src, dst } = names;
    let measured = |way| hosts.iter().any(|&to| legs.to(way, to).measured > 0);
    let nothing = |way| {
        measured(way) && hosts.iter().all(|&to| legs.to(way, to).all() || legs.to(way, to).measured == 0)
    };
    let all = [To::Nodes, To::Pods, To::ClusterIps, To::External];
    if Way::BOTH.into_iter().all(nothing) {
        let text = format!(
            "nothing passes between the clusters {src} and {dst}: there is no route between their networks, or a firewall \
             denies all of it"
        );
        // External addresses may have a way of their own.
        let tos = if Way::BOTH
            .iter()
            .all(|&way| legs.to(way, To::External).failed == legs.to(way, To::External).measured)
        {
            &all[..]
        } else {
            &hosts[..]
        };
        return vec![(text, keys(&Way::BOTH, tos))];
    }
    let mut lines = Vec::new();
    let pods = Way::BOTH.map(|way| legs.count(way, From::Pods, To::Pods).all());
    if pods == [true, true] {
        let nodes = Way::BOTH.map(|way| legs.count(way, From::Nodes, To::Nodes));
        let reach = nodes.iter().all(|count| count.measured > 0 && count.failed == 0);
        let but = if reach { "; nodes reach each other" } else { "" };
        let own: Vec<Key> = keys(&Way::BOTH, &[To::Pods])
            .into_iter()
            .filter(|&(way, from, to)| from == From::Pods || legs.count(way, from, to).all())
            .collect();
        let paths: u64 = own.iter().map(|&(way, from, to)| legs.count(way, from, to).failed).sum();
        lines.push((
            format!(
                "no route between the clusters' pod networks: no pod of {src} reaches a pod of {dst}, nor the other way \
                 ({paths} paths){but}"
            ),
            own,
        ));
    }
    for way in Way::BOTH {
        let (from, to) = names.of(way);
        for sort in hosts {
            let covered: Vec<Key> =
                lines.iter().flat_map(|(_, covered): &(String, Vec<Key>)| covered.clone()).collect();
            let own: Vec<Key> =
                keys(&[way], &[sort]).into_iter().filter(|key| !covered.contains(key)).collect();
            let wholly =
                !own.is_empty() && own.iter().all(|&(way, from, to)| legs.count(way, from, to).all());
            if wholly && covered.iter().all(|&(other, _, of)| (other, of) != (way, sort)) {
                let paths: u64 = own.iter().map(|&(way, from, to)| legs.count(way, from, to).failed).sum();
                lines.push((
                    format!(
                        "no route to {to}'s {} from {from}: none of {paths} paths reaches one (or a firewall denies all of \
                         them)",
                        sort.name()
                    ),
                    own,
                ));
            }
        }
    }
    lines
}

/// A leg of which some or all paths fail.
fn of_leg((way, from, to): Key, leg: &Leg, names: Names<'_>) -> String {
    let (a, b) = names.of(way);
    let who = if from == From::Pods { "pods" } else { "nodes" };
    let Count { measured, failed } = leg.all;
    if leg.all.all() {
        let one = who.trim_end_matches('s');
        return format!("no {one} of {a} reaches a {} of {b}: all {failed} paths fail", to.one());
    }
    let only = only(leg).map(|what| format!(", {what}")).unwrap_or_default();
    format!("some pairs fail: {failed} of {measured} paths from {who} of {a} to {} of {b}{only}", to.name())
}

/// What all failed paths of a leg have in common, and nothing else has.
fn only(leg: &Leg) -> Option<String> {
    fn wholly<K: AsRef<str>>(counts: &BTreeMap<K, Count>) -> Option<Vec<&str>> {
        let bad = counts.iter().filter(|(_, count)| count.failed > 0);
        let sound = counts.len() > 1 && bad.clone().all(|(_, count)| count.all());
        (sound && bad.clone().count() < counts.len()).then(|| bad.map(|(name, _)| name.as_ref()).collect())
    }
    fn named(names: &[&str]) -> String {
        match names.len() {
            0..=NAMED => names.join(", "),
            many => format!("{} and {} more", names[..NAMED - 1].join(", "), many - NAMED + 1),
        }
    }
    let what = |names: Vec<&str>, how: &str| format!("{how} {}", named(&names));
    if let Some(families) = wholly(&leg.families) {
        return Some(format!("all of {}, and no other: a route or rule is missing for it", named(&families)));
    }
    if let Some(kinds) = wholly(&leg.kinds) {
        return Some(format!("all by {}, and no other: a firewall, for a route takes all", named(&kinds)));
    }
    // Of what is left, whether it is of one family or by one kind at least.
    fn alone(counts: &BTreeMap<&'static str, Count>) -> Option<&'static str> {
        let mut bad = counts.iter().filter(|(_, count)| count.failed > 0);
        let first = bad.next().filter(|_| bad.next().is_none() && counts.len() > 1);
        first.map(|(name, _)| *name)
    }
    let family = alone(&leg.families).map(|family| format!(", over {family} alone")).unwrap_or_default();
    let kind = alone(&leg.kinds).map(|kind| format!(", by {kind} alone")).unwrap_or_default();
    let sources = wholly(&leg.sources).map(|names| what(names, "all of them from"));
    let targets = wholly(&leg.targets).map(|names| what(names, "all of them to"));
    // Else those that lose most of theirs.
    let worst = |counts: &BTreeMap<String, Count>| {
        let mut bad: Vec<_> = counts.iter().filter(|(_, count)| count.failed > 0).collect();
        bad.sort_by_key(|(name, count)| (std::cmp::Reverse(count.failed), (*name).clone()));
        bad.iter().map(|(name, _)| (*name).clone()).collect::<Vec<_>>()
    };
    let pairs = || {
        let (sources, targets) = (worst(&leg.sources), worst(&leg.targets));
        let texts = |names: &[String]| named(&names.iter().map(String::as_str).collect::<Vec<_>>());
        format!("from {} to {}", texts(&sources), texts(&targets))
    };
    let whom = sources.or(targets).or_else(|| (leg.all.failed > 0).then(pairs));
    whom.map(|whom| whom + &family + &kind)
}

fn usual(way: Way, names: Names<'_>) -> Line {
    let (from, to) = names.of(way);
    let text = format!(
        "service addresses of {to} are not reachable from {from}, which is usual unless the clusters share a mesh or routes \
         for them: they do not count as failed"
    );
    Line { text, fails: false }
}

fn well(legs: &Legs, names: Names<'_>) -> Line {
    let Names { src, dst } = names;
    let measured: u64 = Way::BOTH.into_iter().map(|way| legs.measured(way)).sum();
    match measured {
        0 => Line { text: format!("nothing was measured between {src} and {dst}"), fails: false },
        _ => {
            let usual: u64 = Way::BOTH
                .into_iter()
                .filter(|&way| legs.cluster_ips_are_its_own(way))
                .map(|way| legs.to(way, To::ClusterIps).measured)
                .sum();
            let text = format!("{src} and {dst} reach each other: none of {} paths fails", measured - usual);
            Line { text, fails: false }
        }
    }
}

/// The smallest networks, one of each family, that hold all of these addresses.
pub(crate) fn covering(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
    let (mut v4, mut v6) = (None::<(u128, u128)>, None::<(u128, u128)>);
    for address in addresses {
        let (range, bits) = match address {
            IpAddr::V4(address) => (&mut v4, u128::from(u32::from(address))),
            IpAddr::V6(address) => (&mut v6, u128::from(address)),
        };
        let (least, most) = range.unwrap_or((bits, bits));
        *range = Some((least.min(bits), most.max(bits)));
    }
    let common = |(least, most): (u128, u128), width: u32| {
        let differ = 128 - (least ^ most).leading_zeros();
        (if differ == 128 { 0 } else { least >> differ << differ }, width - differ)
    };
    let v4 = v4.map(|range| {
        let (network, length) = common(range, 32);
        format!("{}/{length}", std::net::Ipv4Addr::from(u32::try_from(network).unwrap_or_default()))
    });
    let v6 = v6.map(|range| {
        let (network, length) = common(range, 128);
        format!("{}/{length}", std::net::Ipv6Addr::from(network))
    });
    v4.into_iter().chain(v6).collect()
}
