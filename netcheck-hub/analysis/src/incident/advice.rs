//! An incident in three lines for whoever is woken by it: what is broken and for whom, which object at which place, and what
//! to type next. Pure.

use std::collections::BTreeSet;

use netcheck_common::domain::{Family, Vantage};

use super::Incident;
use crate::model::culprit::Culprit;
use crate::model::incident::IncidentKind;
use crate::model::location::{Certainty, Location, Stage};
use crate::model::target::TargetKind;
use crate::model::verdict::Verdict;
use crate::plan::Target;
use crate::words::location::{reason, whereabouts};
use crate::words::names::{listed, probe_name, sources_listed};

/// The three lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// `n1, n3 can't reach n2 (ICMP, UDP over IPv6; 12 paths)`.
    pub broken: String,
    /// `on n2: rule 7 of chain input in table inet filter`.
    pub place: String,
    /// `on n2: nft -a list chain inet filter input`.
    pub next: String,
}

/// Says them.
#[must_use]
pub fn advice(incident: &Incident) -> Advice {
    Advice { broken: broken(incident), place: place(incident), next: next(incident) }
}

fn broken(incident: &Incident) -> String {
    let paths = || incident.paths.iter();
    if incident.paths.is_empty() {
        return incident.headline.clone();
    }
    let of = |path: &super::PathOf| (path.source.to_string(), path.path.vantage == Vantage::Pod);
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
    let how = match (incident.kind, incident.verdict, several) {
        (IncidentKind::Mtu, ..) if several => "lose large packets to",
        (IncidentKind::Mtu, ..) => "loses large packets to",
        (_, Verdict::Unreachable, _) => "can't reach",
        (_, _, true) => "lose probes to",
        (_, _, false) => "loses probes to",
    };
    let kinds: Vec<&str> = kinds.into_iter().map(probe_name).collect();
    let (what, count) = (listed(targets.into_iter()), incident.paths.len());
    let s = if count == 1 { "" } else { "s" };
    format!("{who} {how} {what} ({}{family}; {count} path{s})", kinds.join(", "))
}

/// The object where one was found, else the place, else what is blamed.
fn place(incident: &Incident) -> String {
    if let Some(culprit) = named(incident) {
        let owner = if culprit.owner.is_empty() {
            String::new()
        } else {
            format!(", looks like {}'s", culprit.owner)
        };
        return format!("on {}: {}{owner}", culprit.node, culprit.object);
    }
    match incident.places.most() {
        Some(at) if incident.kind == IncidentKind::Place => format!("{}{}", whereabouts(at), reason(at)),
        _ => incident.headline.clone(),
    }
}

/// The surest of those that agents found.
fn named(incident: &Incident) -> Option<&Culprit> {
    let known = incident.culprits.iter().filter(|culprit| !culprit.is_untold());
    known.min_by_key(|culprit| culprit.certainty != Some(Certainty::Observed))
}

fn next(incident: &Incident) -> String {
    if let Some(culprit) = named(incident).filter(|culprit| !culprit.see.is_empty()) {
        return format!("on {}: {}", culprit.node, culprit.see);
    }
    let at = incident.places.most().filter(|at| at.stage != Stage::Wire && !at.node.is_empty());
    if let Some(at) = at.filter(|_| incident.kind == IncidentKind::Place) {
        return format!("on {}: {}", at.node, look_at(at));
    }
    let Some(first) = incident.paths.first() else {
        return format!("kubectl netcheck incidents # {}", incident.id);
    };
    let target = &first.path.probe.target;
    match incident.kind {
        IncidentKind::Backend | IncidentKind::Service | IncidentKind::DnsServer | IncidentKind::Target => {
            of_target(target).unwrap_or_else(|| path_of(&first.source, target))
        }
        IncidentKind::Node => {
            let node = incident.cause.split(['/', ' ']).nth(1).unwrap_or(&first.source);
            format!("kubectl get node {node} -o wide; on {node}: ip -s link; ip route")
        }
        _ => path_of(&first.source, target),
    }
}

fn path_of(source: &str, target: &Target) -> String {
    let name = match target.kind {
        TargetKind::Node | TargetKind::Endpoint => target.name.clone(),
        _ => format!("{}/{}", target.namespace, target.name),
    };
    format!("kubectl netcheck path {source} {name}")
}

/// What Kubernetes has of a target.
fn of_target(target: &Target) -> Option<String> {
    let Target { namespace, name, .. } = target;
    Some(match target.kind {
        TargetKind::Pod => {
            format!("kubectl -n {namespace} describe pod {name}; kubectl -n {namespace} logs {name}")
        }
        TargetKind::Service => {
            format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}")
        }
        TargetKind::DnsServer => format!("kubectl -n {namespace} get pods,endpointslices -o wide"),
        TargetKind::Node => format!("kubectl get node {name} -o wide"),
        TargetKind::Endpoint => return None,
    })
}

/// What shows most about a stage of a kernel's packet path.
fn look_at(at: &Location) -> String {
    use Stage::{
        Application, BridgeForward, BridgeInput, BridgeOutput, BridgePostrouting, BridgePrerouting, Egress,
        Ingress, Neighbour, NetdevEgress, NetdevIngress, NetfilterForward, NetfilterInput, NetfilterOutput,
        NetfilterPostrouting, NetfilterPrerouting, Qdisc, Routing, Send, Socket, Unknown, Wire,
    };
    let interface = at.interface.as_str();
    match at.stage {
        NetfilterPrerouting | NetfilterInput | NetfilterForward | NetfilterOutput | NetfilterPostrouting => {
            "nft list ruleset || iptables-save".to_owned()
        }
        BridgePrerouting | BridgeInput | BridgeForward | BridgeOutput | BridgePostrouting => {
            "nft list ruleset bridge".to_owned()
        }
        NetdevIngress | NetdevEgress => "nft list ruleset netdev".to_owned(),
        Routing | Send => "ip rule; ip route show table all".to_owned(),
        Neighbour => "ip neigh".to_owned(),
        Qdisc if !interface.is_empty() => format!("tc -s qdisc show dev {interface}"),
        Egress | Ingress if !interface.is_empty() => {
            format!("ip -s link show {interface}; bpftool net show dev {interface}")
        }
        Socket | Application => "ss -lntup".to_owned(),
        Qdisc | Egress | Ingress | Wire | Unknown => "ip -s link".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::IncidentTracker;
    use crate::incident::tests::world::{World, dropped, timeout, to, touches};
    use crate::model::culprit::CulpritKind;
    use crate::model::location::Direction;

    fn incident(world: &World) -> Incident {
        let mut tracker = IncidentTracker::default();
        for now_ns in 0..3 {
            tracker.update(&world.explain(), &world.facts, now_ns);
        }
        tracker.open().remove(0)
    }

    #[test]
    fn a_place_says_who_is_hurt_where_and_what_shows_more() {
        let plain = World::plain(&["a", "a", "b"]);
        let mut incident =
            incident(&plain.clone().breaks(
                |fact| to(fact) == "n2" && touches(fact, "n2"),
                |_| dropped("n2", Direction::Request),
            ));
        let shown = advice(&incident);
        assert_eq!(shown.broken, "n1, n3 can't reach n2, pod default/pod-n2 (ICMP, UDP, TCP; 16 paths)");
        assert_eq!(shown.place, "at n2, interface eth0, netfilter input: NETFILTER_DROP");
        assert_eq!(shown.next, "on n2: nft list ruleset || iptables-save");
        // The object, where one was found.
        incident.culprits = vec![
            Culprit { kind: CulpritKind::Untold, node: "n1".to_owned(), ..Default::default() },
            Culprit {
                kind: CulpritKind::FilterRule,
                node: "n2".to_owned(),
                object: "rule 7 of chain input".to_owned(),
                owner: "Calico".to_owned(),
                see: "nft -a list chain inet filter input".to_owned(),
                ..Default::default()
            },
        ];
        let shown = advice(&incident);
        assert_eq!(shown.place, "on n2: rule 7 of chain input, looks like Calico's");
        assert_eq!(shown.next, "on n2: nft -a list chain inet filter input");
    }

    #[test]
    fn without_a_place_the_cause_is_reported_and_where_to_look_for_more() {
        let plain = World::plain(&["a", "a", "b", "b"]);
        let node = advice(&incident(&plain.clone().breaks(|fact| touches(fact, "n2"), |_| timeout())));
        assert_eq!(node.place, "n2 answers nobody and reaches nobody");
        assert!(node.next.starts_with("kubectl get node n2 -o wide; on n2: "), "{}", node.next);
        let between = |fact: &crate::incident::Fact| touches(fact, "n1") && touches(fact, "n3");
        let link = advice(&incident(&plain.breaks(between, |_| timeout())));
        assert!(link.next.starts_with("kubectl netcheck path n"), "{}", link.next);
    }
}
