//! Which filter rule drops a probe: asks nftables' trace where it may, and says what it found in words.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netcheck_common::domain::{NO_ENDPOINT, READDRESSED, UNTRANSLATED};
use netcheck_proto::shell::word;
use netcheck_proto::{convert, v1};

use super::nft::family_name;
use super::nft::owner::{is_iptables, owner};
use super::nft::request::{Layer, Mark, Matching};
use super::nft::trace::{Ended, EndedBy, TraceError, trace};
use super::{FLOWS, Tracing};

/// How long is listened at most: a path is probed once a second, or as soon as the hub asks for it.
const LISTEN: Duration = Duration::from_secs(2);
/// Culprits of one case.
const PER_CASE: usize = 2;

/// Whether rules come into question at this place.
pub(super) fn is_asked(case: &v1::CulpritCase) -> bool {
    wanted(case).is_some()
}

/// Whether a rule is what to look for before all else.
pub(super) fn comes_first(case: &v1::CulpritCase) -> bool {
    wanted(case).is_some_and(|wanted| wanted.first)
}

/// How the rule is to be found that ends probes at a place.
struct Wanted {
    /// Where they are to be marked.
    layers: Vec<Layer>,
    /// Before anything else is read: a filter had the packet, or it came to another than it was sent to, and that is no pod,
    /// whose own sockets say more.
    first: bool,
}

/// None where no rule can be what ends them.
fn wanted(case: &v1::CulpritCase) -> Option<Wanted> {
    use v1::Stage::{
        Application, BridgeForward, BridgeInput, BridgeOutput, BridgePostrouting, BridgePrerouting, Egress,
        Ingress, Neighbour, NetdevEgress, NetdevIngress, NetfilterForward, NetfilterInput, NetfilterOutput,
        NetfilterPostrouting, NetfilterPrerouting, Qdisc, Routing, Send, Socket, Unspecified, Wire,
    };
    let at = case.location.as_ref()?;
    let filtered = at.reason.is_empty() || at.reason == "EPERM" || at.reason == "NETFILTER_DROP";
    let rejected = at.reason.contains("prohibited") || at.reason.contains("port unreachable");
    match at.stage() {
        // It did not go where it was sent, or was sent elsewhere: no rule ended it.
        _ if strays(case) => Some(Wanted { layers: vec![Layer::Ip], first: at.pod.is_empty() }),
        NetfilterPrerouting | NetfilterInput | NetfilterForward | NetfilterOutput | NetfilterPostrouting => {
            Some(Wanted { layers: vec![Layer::Ip], first: true })
        }
        BridgePrerouting | BridgeInput | BridgeForward | BridgeOutput | BridgePostrouting => {
            Some(Wanted { layers: vec![Layer::Bridge], first: true })
        }
        NetdevIngress | NetdevEgress if !at.interface.is_empty() => {
            Some(Wanted { layers: vec![Layer::Device(at.interface.clone())], first: true })
        }
        // Nobody saw it die, and this node was to get it: its kernel would have reported a rule that drops it, and looking for
        // one would keep it from being looked for elsewhere for a while.
        Unspecified if at.reason.is_empty() => None,
        // It was never seen to be dropped, or was answered with an error that filters send, too.
        Ingress | Egress | Send | Unspecified if filtered || rejected => {
            let device = (!at.interface.is_empty()).then(|| Layer::Device(at.interface.clone()));
            Some(Wanted {
                layers: [Layer::Ip, Layer::Bridge].into_iter().chain(device).collect(),
                first: false,
            })
        }
        NetdevIngress | NetdevEgress | Ingress | Egress | Send | Unspecified | Routing | Neighbour
        | Qdisc | Wire | Socket | Application => None,
    }
}

/// Whether the packet came to where it was not sent, or its answer from where none was: a rule gave it another address than it
/// should have, or kept a rule from giving it one.
fn strays(case: &v1::CulpritCase) -> bool {
    let Some(at) = case.location.as_ref() else { return false };
    // Who answers in a pod's place answers under its address. What a service's address is made into is no stray.
    let at_socket = at.stage() == v1::Stage::Socket && !case.translates;
    at_socket || [UNTRANSLATED, READDRESSED, NO_ENDPOINT].contains(&at.reason.as_str())
}

/// It translates a service's address to a backend's, as it is meant to.
fn is_services(one: &Ended) -> bool {
    let comment = one.rule.as_ref().map(|rule| rule.comment.as_str()).unwrap_or_default();
    owner(&one.table, &one.chain, comment).is_some_and(|owner| owner.name == "kube-proxy")
}

/// Looks for the rules of all cases at once.
pub(super) async fn find(cases: &[&v1::CulpritCase], tracing: Tracing) -> Vec<Vec<v1::Culprit>> {
    let mut all_layers = Vec::new();
    let mut marks = Vec::new();
    for case in cases {
        let wanted = wanted(case);
        marks.push(if wanted.is_some() { marks_of(case) } else { Vec::new() });
        for layer in wanted.into_iter().flat_map(|wanted| wanted.layers) {
            if !all_layers.contains(&layer) {
                all_layers.push(layer);
            }
        }
    }
    let traced = match tracing {
        Tracing::Allowed if marks.iter().any(|marks| !marks.is_empty()) => {
            trace(&all_layers, &marks, LISTEN).await.map_err(Untraced::Failed)
        }
        Tracing::Allowed | Tracing::Later(_) => Err(Untraced::NotNow),
        Tracing::Forbidden(mode) => Err(Untraced::Forbidden(mode)),
    };
    let of_case = |(at, case): (usize, &&v1::CulpritCase)| {
        let Some(location) = case.location.as_ref().filter(|_| is_asked(case)) else { return Vec::new() };
        match &traced {
            Ok(ended) => {
                // Only where it made the wrong one.
                let of_services = location.reason == NO_ENDPOINT;
                let counts = |one: &&Ended| {
                    one.how != EndedBy::Altered || (strays(case) && (of_services || !is_services(one)))
                };
                let culprits: Vec<_> =
                    ended[at].iter().filter(counts).take(PER_CASE).map(described).collect();
                if culprits.is_empty() { unfound(location) } else { culprits }
            }
            // What rules make of a packet is one reason of several: that nobody may look for them is no news.
            Err(_) if strays(case) => Vec::new(),
            Err(Untraced::NotNow) => Vec::new(),
            Err(Untraced::Forbidden(mode)) => vec![unknown(match mode {
                v1::ExplainRules::OnDemand => {
                    "the agent there looks for rules only when it is asked to (--explain-rules on-demand)"
                }
                _ => "the agent there must not look for rules (--explain-rules off)",
            })],
            Err(Untraced::Failed(error)) => vec![unknown(&error.to_string())],
        }
    };
    cases.iter().enumerate().map(of_case).collect()
}

/// Why nothing was traced.
enum Untraced {
    NotNow,
    Forbidden(v1::ExplainRules),
    Failed(TraceError),
}

/// By what the probes of a case are known.
fn marks_of(case: &v1::CulpritCase) -> Vec<Mark> {
    let mut matching = Vec::new();
    if case.probe_session != 0 {
        matching.push(Matching::Path { session: case.probe_session, path: case.path_id });
    } else {
        matching.extend(case.flows.iter().take(FLOWS).filter_map(flow));
    }
    let inside: &[bool] = if case.encapsulated { &[false, true] } else { &[false] };
    let with = |matching| inside.iter().map(move |&encapsulated| Mark { matching, encapsulated });
    matching.into_iter().flat_map(with).collect()
}

/// A flow of TCP or UDP whose ends are of one family, and whose port is known at one end at least.
fn flow(wire: &v1::FlowTuple) -> Option<Matching> {
    let tcp = match wire.kind() {
        v1::ProbeKind::Tcp | v1::ProbeKind::Http => true,
        v1::ProbeKind::Udp | v1::ProbeKind::Dns => false,
        v1::ProbeKind::Icmp | v1::ProbeKind::Unspecified => return None,
    };
    let end = |address: &[u8], port: u32| -> Option<SocketAddr> {
        let address: IpAddr = convert::address("flow", address).ok()?;
        Some(SocketAddr::new(address, convert::port("flow", port).ok()?))
    };
    let source = end(&wire.source_address, wire.source_port)?;
    let destination = end(&wire.destination_address, wire.destination_port)?;
    let known = source.port() != 0 || destination.port() != 0;
    (known && source.is_ipv4() == destination.is_ipv4()).then_some(Matching::Flow {
        tcp,
        source,
        destination,
    })
}

/// What ended a probe, for people.
fn described(ended: &Ended) -> v1::Culprit {
    let Ended { family, table, chain, handle, how, through, rule } = ended;
    let name = family_name(*family);
    let place = format!("chain {chain} in table {name} {table}");
    let rule = rule.clone().unwrap_or_default();
    let owner = owner(table, chain, &rule.comment);
    let iptables = is_iptables(*family, table);
    let tool = if *family == 10 { "ip6tables" } else { "iptables" };
    let by_iptables =
        if iptables { format!(" # or: {tool} -t {table} -S {}", word(chain)) } else { String::new() };
    let led = match through.as_slice() {
        [] => String::new(),
        chains => format!(", which {} led to", chains.join(" → ")),
    };
    let (kind, object, text) = if *handle == 0 {
        (v1::CulpritKind::FilterPolicy, format!("policy drop of {place}"), "policy drop".to_owned())
    } else {
        let does = match how {
            EndedBy::Drop => "",
            EndedBy::Queue => " hands it to a program (queue)",
            EndedBy::Stolen => " keeps it, for another interface or to answer itself",
            EndedBy::Altered => " makes another packet of it",
        };
        (v1::CulpritKind::FilterRule, format!("rule with handle {handle} of {place}{led}{does}"), rule.text)
    };
    // nft(8) has no way to write other names.
    let sayable = sayable(table) && sayable(chain);
    let mend = match (owner, *handle) {
        (Some(owner), _) => owner.mend.to_owned(),
        (None, 0) if !sayable => "a rule of that chain that accepts it, or another policy".to_owned(),
        (None, _) if !sayable => "unless it is meant, the program that set it must take it back".to_owned(),
        (None, 0) => format!(
            "a rule of that chain that accepts it, or: nft chain {name} {table} {chain} '{{ policy accept; }}'"
        ),
        (None, handle) => {
            format!("unless it is meant: nft delete rule {name} {table} {chain} handle {handle}")
        }
    };
    let inferred = matches!(how, EndedBy::Queue | EndedBy::Altered);
    let certainty = if inferred { v1::Certainty::Inferred } else { v1::Certainty::Observed };
    v1::Culprit {
        kind: kind.into(),
        object,
        text,
        comment: rule.comment,
        owner: match owner {
            Some(owner) => owner.name.to_owned(),
            None if iptables => "iptables-nft".to_owned(),
            None => String::new(),
        },
        see: if sayable {
            format!("nft -a list chain {name} {table} {chain}{by_iptables}")
        } else {
            "nft -a list ruleset".to_owned()
        },
        mend,
        certainty: certainty.into(),
        rule: Some(v1::FilterRule {
            family: name.to_owned(),
            table: table.clone(),
            chain: chain.clone(),
            handle: *handle,
        }),
        ..Default::default()
    }
}

/// Whether nft(8) reads a name where a table or a chain is named (`string` in its scanner.l).
fn sayable(name: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphabetic() || "_.".contains(letter);
    name.starts_with(letter)
        && name.chars().all(|one| letter(one) || one.is_ascii_digit() || "/-".contains(one))
}

/// No rule of nftables dropped a probe while it was watched.
fn unfound(at: &v1::LossLocation) -> Vec<v1::Culprit> {
    let observed = at.certainty() == v1::Certainty::Observed;
    let filtered = observed && (at.reason == "NETFILTER_DROP" || at.reason == "EPERM");
    if !filtered {
        // That no rule did it is no news where nothing said that one had.
        return Vec::new();
    }
    match legacy_chain(at.stage()).and_then(|(chain, tables)| legacy(chain, tables, &legacy_tables())) {
        Some(culprit) => vec![culprit],
        None => vec![unknown("no rule of nftables ended a probe within the 2 s that were watched")],
    }
}

/// The chain of iptables-legacy that belongs to a stage, and the tables that have it (iptables(8)).
const fn legacy_chain(stage: v1::Stage) -> Option<(&'static str, &'static [&'static str])> {
    use v1::Stage::{
        Application, BridgeForward, BridgeInput, BridgeOutput, BridgePostrouting, BridgePrerouting, Egress,
        Ingress, Neighbour, NetdevEgress, NetdevIngress, NetfilterForward, NetfilterInput, NetfilterOutput,
        NetfilterPostrouting, NetfilterPrerouting, Qdisc, Routing, Send, Socket, Unspecified, Wire,
    };
    Some(match stage {
        NetfilterPrerouting => ("PREROUTING", &["raw", "mangle", "nat"]),
        NetfilterInput => ("INPUT", &["mangle", "nat", "filter", "security"]),
        NetfilterForward => ("FORWARD", &["mangle", "filter", "security"]),
        NetfilterOutput | Send => ("OUTPUT", &["raw", "mangle", "nat", "filter", "security"]),
        NetfilterPostrouting => ("POSTROUTING", &["mangle", "nat"]),
        // It has none there (of a bridge's own, ebtables has), or nobody knows which.
        BridgePrerouting | BridgeInput | BridgeForward | BridgeOutput | BridgePostrouting | NetdevIngress
        | NetdevEgress | Ingress | Egress | Unspecified | Routing | Neighbour | Qdisc | Wire | Socket
        | Application => return None,
    })
}

/// What may have done it. `present`: the tables that the kernel has, each with the tool that lists it.
fn legacy(chain: &str, tables: &[&str], present: &BTreeSet<(&str, String)>) -> Option<v1::Culprit> {
    let with_chain = || present.iter().filter(|(_, table)| tables.contains(&table.as_str()));
    let listed: Vec<String> =
        with_chain().map(|(tool, table)| format!("{tool} -t {table} -nvL {chain}")).collect();
    let names: BTreeSet<&str> = with_chain().map(|(_, table)| table.as_str()).collect();
    (!listed.is_empty()).then(|| v1::Culprit {
        kind: v1::CulpritKind::FilterLegacy.into(),
        object: format!(
            "iptables-legacy, in or below chain {chain} (tables: {})",
            names.into_iter().collect::<Vec<_>>().join(", ")
        ),
        text: "nftables dropped nothing, and the kernel does not trace iptables-legacy".to_owned(),
        see: listed.join("; "),
        mend: "watch whose packet counter rises while probes are lost".to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

/// Tables of iptables-legacy that the kernel has in this network namespace, each with its tool.
fn legacy_tables() -> BTreeSet<(&'static str, String)> {
    let files = [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")];
    let of = |(file, tool): (&str, &'static str)| {
        let text = std::fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
        text.lines().map(|table| (tool, table.to_owned())).collect::<Vec<_>>()
    };
    files.into_iter().flat_map(of).collect()
}

/// Nobody knows, and why.
fn unknown(why: &str) -> v1::Culprit {
    v1::Culprit { kind: v1::CulpritKind::Untold.into(), text: why.to_owned(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::forms::{commands, pasteable};

    fn ended(family: u8, table: &str, chain: &str, handle: u64) -> v1::Culprit {
        described(&Ended {
            family,
            table: table.to_owned(),
            chain: chain.to_owned(),
            handle,
            how: EndedBy::Drop,
            through: Vec::new(),
            rule: None,
        })
    }

    #[test]
    fn a_rule_is_named_by_its_handle_with_commands_that_can_be_pasted() {
        let found = ended(2, "filter", "INPUT", 7);
        assert_eq!(found.object, "rule with handle 7 of chain INPUT in table ip filter");
        assert_eq!(found.see, "nft -a list chain ip filter INPUT # or: iptables -t filter -S INPUT");
        for (table, chain, handle) in
            [("filter", "cali-INPUT", 0), ("x", "in", 3), ("x", "a;flush ruleset", 3), ("1", "in", 0)]
        {
            let found = ended(10, table, chain, handle);
            pasteable(&found.see);
            commands(&found.mend).into_iter().for_each(pasteable);
        }
        assert_eq!(ended(1, "x", "a;flush ruleset", 3).see, "nft -a list ruleset");
    }

    #[test]
    fn tables_of_iptables_legacy_are_listed_where_they_have_the_chain() {
        let of = |tool, table: &str| (tool, table.to_owned());
        let present = BTreeSet::from([
            of("iptables-legacy", "nat"),
            of("ip6tables-legacy", "mangle"),
            of("iptables-legacy", "filter"),
        ]);
        let named = |stage| legacy_chain(stage).and_then(|(chain, tables)| legacy(chain, tables, &present));
        let found = named(v1::Stage::NetfilterPrerouting).unwrap();
        assert_eq!(found.object, "iptables-legacy, in or below chain PREROUTING (tables: mangle, nat)");
        assert_eq!(
            found.see,
            "ip6tables-legacy -t mangle -nvL PREROUTING; iptables-legacy -t nat -nvL PREROUTING"
        );
        pasteable(&found.see);
        assert_eq!(named(v1::Stage::BridgeForward), None);
        assert_eq!(legacy("FORWARD", &["security"], &present), None);
    }
}
