//! An incident in three lines for whoever is woken by it: what is broken and for whom, which object at which place, and what
//! to type next. Pure.
//!
//! Every command can be pasted as it stands: those for a node stand on a line of their own behind `on NODE: `, all others are for
//! where kubectl is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netcheck_common::domain::{Family, Vantage};
use netcheck_proto::shell::word;

use super::{Incident, PathOf};
use crate::model::culprit::Culprit;
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Direction, Location, Stage};
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;
use crate::plan::Target;
use crate::words::location::{reason, whereabouts};
use crate::words::names::{listed, probe_name, sources_listed};

#[cfg(test)]
#[path = "../../../../proto/src/shell/forms.rs"]
mod forms;
#[cfg(test)]
mod tests;

/// Nodes at which the same command is to be run.
const NODES: usize = 3;

/// The three lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// `n1, n3 can't reach n2 (ICMP, UDP over IPv6; 12 paths)`, `n2 answers nobody and reaches nobody (48 paths)`.
    pub broken: String,
    /// `on n2: rule with handle 7 of chain input in table inet filter [observed]`.
    pub place: String,
    /// `on n2: nft -a list chain inet filter input`; of several commands each has a line.
    pub next: String,
}

/// Says them.
#[must_use]
pub fn advice(incident: &Incident) -> Advice {
    Advice { broken: broken(incident), place: place(incident), next: next(incident).join("\n") }
}

/// Whether the line of a cause says better what is broken than its sources and targets do: they are most of the cluster.
const fn speaks_for_itself(kind: IncidentKind) -> bool {
    match kind {
        IncidentKind::Node
        | IncidentKind::PodNetwork
        | IncidentKind::Link
        | IncidentKind::OneWay
        | IncidentKind::Protocol
        | IncidentKind::Family
        | IncidentKind::Cluster
        | IncidentKind::Scattered => true,
        IncidentKind::Place
        | IncidentKind::Backend
        | IncidentKind::Service
        | IncidentKind::DnsServer
        | IncidentKind::Target
        | IncidentKind::Mtu
        | IncidentKind::SourcePorts => false,
    }
}

fn broken(incident: &Incident) -> String {
    let count = incident.paths.len();
    if count == 0 {
        return incident.what.clone();
    }
    let s = if count == 1 { "" } else { "s" };
    if speaks_for_itself(incident.kind) {
        return format!("{} ({count} path{s})", incident.what);
    }
    let paths = || incident.paths.iter();
    let of = |path: &PathOf| (path.source.to_string(), path.path.vantage == Vantage::Pod);
    let who = sources_listed(paths().map(of));
    let targets: BTreeSet<String> = paths().map(|path| path.path.probe.target.label()).collect();
    let kinds: BTreeSet<_> = paths().map(|path| path.path.probe.kind).collect();
    let families: BTreeSet<_> = paths().map(|path| Family::of(path.path.probe.address)).collect();
    let family = match families.into_iter().collect::<Vec<_>>().as_slice() {
        [Family::V4] => " over IPv4",
        [Family::V6] => " over IPv6",
        _ => "",
    };
    let several = who.contains(", ") || who.contains(" and ") || who.starts_with("pods of ");
    let lose = if several { "lose" } else { "loses" };
    let dead = incident.losses.dead;
    let (how, paths) = match (incident.kind, incident.verdict) {
        (IncidentKind::Mtu, _) => (format!("{lose} large packets to"), format!("{count} path{s}")),
        (_, Verdict::Unreachable) if (1..count).contains(&dead) => {
            ("can't reach".to_owned(), format!("{dead} of {count} paths; the others lose probes"))
        }
        (_, Verdict::Unreachable) => ("can't reach".to_owned(), format!("{count} path{s}")),
        _ => (format!("{lose} {}probes to", share(incident)), format!("{count} path{s}")),
    };
    let kinds: Vec<&str> = kinds.into_iter().map(probe_name).collect();
    format!("{who} {how} {} ({}{family}; {paths})", listed(targets.into_iter()), kinds.join(", "))
}

/// `28 % of `; empty where that is not known.
fn share(incident: &Incident) -> String {
    let (lost, answered) = (incident.losses.lost, incident.losses.answered);
    match (lost * 100).checked_div(lost + answered) {
        None => String::new(),
        Some(0) => "less than 1 % of ".to_owned(),
        Some(percent) => format!("{percent} % of "),
    }
}

const fn sure(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Observed => " [observed]",
        Certainty::Inferred => " [inferred]",
    }
}

/// The object where one was found, else the place, else what is blamed and why.
fn place(incident: &Incident) -> String {
    if let Some(culprit) = named(incident) {
        let owner = if culprit.owner.is_empty() {
            String::new()
        } else {
            format!(", looks like {}'s", culprit.owner)
        };
        let certainty = culprit.certainty.unwrap_or_default();
        return format!("on {}: {}{owner}{}", culprit.node, culprit.object, sure(certainty));
    }
    let at = incident.places.most();
    let known = at.map(|at| format!("{}{}", whereabouts(at), reason(at)));
    let observed = at.is_some_and(|at| at.certainty == Certainty::Observed);
    let text = match (incident.kind, known) {
        (IncidentKind::Place, Some(at)) if observed => at,
        (IncidentKind::Place, Some(at)) => format!("{at}; no kernel reported a drop"),
        (kind, known) if speaks_for_itself(kind) => {
            // The first line has the cause: this one says what speaks for it.
            let place = match known {
                Some(at) if observed => format!("most were dropped {at}"),
                Some(at) => format!("most were lost {at}; no kernel reported a drop"),
                None => "no kernel reported a drop".to_owned(),
            };
            let arithmetic = incident.evidence.first().map(|line| format!("; {line}")).unwrap_or_default();
            format!("{place}{arithmetic}")
        }
        _ => incident.what.clone(),
    };
    // A headline may say it already.
    if text.contains("[observed]") || text.contains("[inferred]") {
        return text;
    }
    text + sure(incident.certainty)
}

/// The surest of those that agents found.
fn named(incident: &Incident) -> Option<&Culprit> {
    let known = incident.culprits.iter().filter(|culprit| !culprit.is_untold());
    known.min_by_key(|culprit| culprit.certainty != Some(Certainty::Observed))
}

fn on(node: &str, command: &str) -> String {
    format!("on {node}: {command}")
}

fn next(incident: &Incident) -> Vec<String> {
    if let Some(culprit) = named(incident).filter(|culprit| !culprit.see.is_empty()) {
        return vec![on(&culprit.node, &culprit.see)];
    }
    let at = incident.places.most().filter(|at| at.stage != Stage::Wire && !at.node.is_empty());
    if let Some(at) = at.filter(|_| incident.kind == IncidentKind::Place) {
        return at_place(incident, at);
    }
    if let Some(line) = incident.places.most().and_then(|at| sent_elsewhere(incident, at)) {
        return vec![line];
    }
    let explain = || vec![format!("kubectl netcheck explain {}", word(&incident.id))];
    let Some(first) = incident.paths.first() else { return explain() };
    let target = &first.path.probe.target;
    match incident.kind {
        IncidentKind::Backend => {
            let at = incident.places.most().map(|at| at.pod.as_str());
            let pod = at.filter(|pod| !pod.is_empty()).or_else(|| backend(&incident.cause));
            pod.and_then(of_pod).or_else(|| of_target(first)).unwrap_or_else(explain)
        }
        IncidentKind::Service | IncidentKind::DnsServer | IncidentKind::Target => {
            of_target(first).unwrap_or_else(explain)
        }
        IncidentKind::Node | IncidentKind::PodNetwork if incident.cause.contains("loop/") => {
            let to = incident.paths.iter().find(|path| path.path.probe.target.kind == TargetKind::Node);
            let to = to.unwrap_or(first).path.probe.address;
            let looks = |node: &String| on(node, &format!("ip route get {to}"));
            some_or(incident.nodes.iter().take(NODES).map(looks).collect(), explain)
        }
        IncidentKind::Node => match incident.nodes.as_slice() {
            [node] => vec![
                format!("kubectl get node {} -o wide", word(node)),
                on(node, "ip -s link; ip route; ip -6 route"),
            ],
            _ => vec!["kubectl get nodes -o wide".to_owned()],
        },
        IncidentKind::PodNetwork => match incident.nodes.as_slice() {
            [node] => vec![
                format!(
                    "kubectl get pods -A -o wide --field-selector {}",
                    word(&format!("spec.nodeName={node}"))
                ),
                on(node, "sysctl net/ipv4/ip_forward net/ipv6/conf/all/forwarding; bridge link; ip -d link"),
            ],
            _ => explain(),
        },
        IncidentKind::Mtu => {
            let node = incident.nodes.first().unwrap_or(&target.node);
            some_or([too_large(first, incident.losses.too_large), links(node)].concat(), explain)
        }
        IncidentKind::Place
        | IncidentKind::Link
        | IncidentKind::OneWay
        | IncidentKind::Protocol
        | IncidentKind::Family
        | IncidentKind::Cluster
        | IncidentKind::Scattered
        | IncidentKind::SourcePorts => explain(),
    }
}

fn some_or(lines: Vec<String>, other: impl Fn() -> Vec<String>) -> Vec<String> {
    if lines.is_empty() { other() } else { lines }
}

/// Of a cause `backend/default/web-1 (10.244.1.11)` or `backend/default/web-1/default/web:80`: `default/web-1`.
fn backend(cause: &str) -> Option<&str> {
    let rest = cause.strip_prefix("backend/")?;
    let name = rest.split(' ').next()?;
    let end = name.match_indices('/').nth(1).map_or(name.len(), |(at, _)| at);
    Some(&name[..end]).filter(|name| name.contains('/'))
}

/// Sends a packet that is too large, of which nothing on the way may make two; from a node: nobody can from a pod.
fn too_large(path: &PathOf, bytes: Option<u16>) -> Vec<String> {
    let to = path.path.probe.address;
    // Headers of IP and ICMP.
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let bytes = bytes.filter(|_| path.path.vantage == Vantage::Host);
    let size = bytes.and_then(|bytes| bytes.checked_sub(headers));
    size.map(|size| on(&path.source, &format!("ping -c 3 -M do -s {size} {to}"))).into_iter().collect()
}

fn links(node: &str) -> Vec<String> {
    if node.is_empty() { Vec::new() } else { vec![on(node, "ip -d link")] }
}

/// What Kubernetes has of a pod, `namespace/name`.
fn of_pod(pod: &str) -> Option<Vec<String>> {
    let (namespace, name) = pod.split_once('/')?;
    let (namespace, name) = (word(namespace), word(name));
    Some(vec![
        format!("kubectl -n {namespace} describe pod {name}"),
        format!("kubectl -n {namespace} logs {name}"),
    ])
}

fn endpoints(target: &Target) -> Vec<String> {
    let label = format!("kubernetes.io/service-name={}", target.name);
    vec![format!("kubectl -n {} get endpointslices -l {}", word(&target.namespace), word(&label))]
}

/// What Kubernetes has of a path's target.
fn of_target(path: &PathOf) -> Option<Vec<String>> {
    let target = &path.path.probe.target;
    Some(match target.kind {
        TargetKind::Service => endpoints(target),
        TargetKind::DnsServer if target.is_node_local() => {
            vec![on(&path.source, &format!("ss -lnup sport = :{}", path.path.probe.port))]
        }
        // A server is a service, or a pod behind one.
        TargetKind::DnsServer if target.node.is_empty() => endpoints(target),
        TargetKind::Pod | TargetKind::DnsServer => {
            return of_pod(&target.full_name());
        }
        TargetKind::Node => vec![
            format!("kubectl get node {} -o wide", word(&target.name)),
            on(&target.name, "ip -s link; ip route; ip -6 route"),
        ],
        TargetKind::Endpoint => return None,
    })
}

/// What shows more of a place.
fn at_place(incident: &Incident, at: &Location) -> Vec<String> {
    let explain = || vec![format!("kubectl netcheck explain {}", word(&incident.id))];
    let Some(first) = incident.paths.first() else { return explain() };
    let paths = || incident.paths.iter();
    let is_node = |path: &PathOf| *path.source == *at.node || path.path.probe.target.node == at.node;
    if at.node.parse::<IpAddr>().is_ok() && !paths().any(is_node) {
        // A router that is no node of the cluster: what it is asked for is seen from where the packet came.
        return vec![on(&first.source, &format!("ip route get {}", first.path.probe.address))];
    }
    if let Some(line) = sent_elsewhere(incident, at) {
        return vec![line];
    }
    // What happened in a pod's own network is not seen on its node.
    let in_pod = at.interface.is_empty() || matches!(at.stage, Stage::Socket | Stage::Application);
    if let Some(pod) = of_pod(&at.pod).filter(|_| in_pod) {
        return pod;
    }
    vec![on(&at.node, &look_at(at, incident.family))]
}

/// Whoever sent it has another's hardware address for the next hop.
fn sent_elsewhere(incident: &Incident, at: &Location) -> Option<String> {
    if at.reason != "OTHERHOST" {
        return None;
    }
    let ends = |path: &PathOf| match at.direction {
        Direction::Request => Some((path.source.to_string(), path.path.probe.target.node.clone())),
        Direction::Reply => Some((path.path.probe.target.node.clone(), path.source.to_string())),
        Direction::Unknown => None,
    };
    let goes_there = |path: &&PathOf| ends(path).is_some_and(|(from, to)| to == at.node && from != to);
    let path = incident.paths.iter().find(goes_there)?;
    let (sender, _) = ends(path).filter(|(sender, _)| !sender.is_empty())?;
    let probe = &path.path.probe;
    Some(match (at.direction, probe.target.kind) {
        (Direction::Request, TargetKind::Node) => on(&sender, &format!("ip neigh show {}", probe.address)),
        _ => on(&sender, "ip neigh"),
    })
}

/// What shows most about a stage of a kernel's packet path.
fn look_at(at: &Location, family: Option<Family>) -> String {
    use Stage::{
        Application, BridgeForward, BridgeInput, BridgeOutput, BridgePostrouting, BridgePrerouting, Egress,
        Ingress, Neighbour, NetdevEgress, NetdevIngress, NetfilterForward, NetfilterInput, NetfilterOutput,
        NetfilterPostrouting, NetfilterPrerouting, Qdisc, Routing, Send, Socket, Unknown, Wire,
    };
    let interface = word(&at.interface);
    let is_named = !at.interface.is_empty();
    match at.stage {
        NetfilterPrerouting | NetfilterInput | NetfilterForward | NetfilterOutput | NetfilterPostrouting => {
            // iptables-legacy is not in nft's list.
            let legacy = match family {
                Some(Family::V4) => "iptables-legacy-save 2>/dev/null",
                Some(Family::V6) => "ip6tables-legacy-save 2>/dev/null",
                None => "iptables-legacy-save 2>/dev/null; ip6tables-legacy-save 2>/dev/null",
            };
            format!("nft list ruleset; {legacy}")
        }
        BridgePrerouting | BridgeInput | BridgeForward | BridgeOutput | BridgePostrouting => {
            "nft list ruleset bridge".to_owned()
        }
        // A chain of the family inet may be at the hook ingress, too.
        NetdevIngress | NetdevEgress => "nft list ruleset netdev; nft list ruleset inet".to_owned(),
        Send if at.reason == "EPERM" => "nft list ruleset; ip xfrm policy".to_owned(),
        Routing | Send => "ip rule; ip -6 rule; ip route show table all".to_owned(),
        Neighbour => "ip neigh".to_owned(),
        Qdisc if is_named => format!("tc -s qdisc show dev {interface}"),
        Egress | Ingress if is_named => {
            format!("ip -s link show {interface}; bpftool net show dev {interface}")
        }
        Socket | Application => "ss -lntup".to_owned(),
        Qdisc | Egress | Ingress | Wire | Unknown => "ip -s link".to_owned(),
    }
}
