//! Which rule drops a probe: the one that the test put there, by its handle, and nothing of the search stays behind.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netcheck_agent::culprit::{Tracing, find};
use netcheck_proto::v1::{self, Stage};

use crate::SESSION_A;
use crate::nodes::pods::Pods;
use crate::nodes::{Bare, PATH, echo_from};

/// Tables of a search begin so.
const OWN: &str = "netcheck_trace_";

fn question(location: v1::LossLocation) -> v1::CulpritQuestion {
    let case = v1::CulpritCase {
        location: Some(location),
        probe_session: SESSION_A,
        path_id: PATH,
        ..Default::default()
    };
    v1::CulpritQuestion { id: 7, cases: vec![case], on_demand: false }
}

fn at(stage: Stage, interface: &str) -> v1::LossLocation {
    v1::LossLocation {
        stage: stage.into(),
        interface: interface.to_owned(),
        reason: "NETFILTER_DROP".to_owned(),
        certainty: v1::Certainty::Observed.into(),
        ..Default::default()
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Asks on the node while a probe from one address to another is lost there.
fn asked(pods: &Pods, question: v1::CulpritQuestion, from: (&Bare, IpAddr), to: IpAddr) -> Vec<v1::Culprit> {
    let search =
        pods.node.bare().beside(move || runtime().block_on(find("n1", &question, || Tracing::Allowed)));
    wait("no table", || pods.node.bare().nft_shows("list tables").contains(OWN));
    assert!(echo_from(from.0, from.1, to, SESSION_A, 1).is_none(), "the rule drops it");
    let answer = search.join().unwrap();
    assert!(!pods.node.bare().nft_shows("list tables").contains(OWN), "the table is gone");
    assert_eq!(answer.id, 7);
    answer.found.into_iter().filter_map(|found| found.culprit).collect()
}

/// The handle of the rule that has this in it, as nft itself shows it.
fn handle(pods: &Pods, chain: &str, contains: &str) -> u64 {
    let shown = pods.node.bare().nft_shows(&format!("-a list chain {chain}"));
    let rule = shown.lines().find(|line| line.contains(contains)).unwrap();
    rule.rsplit_once("# handle ").unwrap().1.trim().parse().unwrap()
}

#[test]
fn the_rule_is_named_at_every_hook() {
    use Stage::{
        BridgeForward, BridgeInput, BridgeOutput, BridgePostrouting, BridgePrerouting, NetdevEgress,
        NetdevIngress, NetfilterInput, NetfilterOutput, NetfilterPostrouting, NetfilterPrerouting,
    };
    let pods = Pods::new(SESSION_A);
    let (node, [first, second]) = (pods.node.v4, pods.addresses);
    for (family, hook, matching, source, stage) in [
        ("bridge", "output", "icmp type echo-request", node, BridgeOutput),
        ("bridge", "postrouting", "icmp type echo-request", node, BridgePostrouting),
        ("bridge", "prerouting", "icmp type echo-reply", node, BridgePrerouting),
        ("bridge", "input", "icmp type echo-reply", node, BridgeInput),
        ("bridge", "forward", "icmp type echo-request", second, BridgeForward),
        ("netdev", "ingress device p1", "icmp type echo-reply", node, NetdevIngress),
        ("netdev", "egress device p1", "icmp type echo-request", node, NetdevEgress),
        ("inet", "ingress device p1", "icmp type echo-reply", node, NetdevIngress),
        ("inet", "output", "icmp type echo-request", node, NetfilterOutput),
        ("inet", "postrouting", "icmp type echo-request", node, NetfilterPostrouting),
        ("inet", "prerouting", "icmp type echo-reply", node, NetfilterPrerouting),
        ("ip", "input", "icmp type echo-reply", node, NetfilterInput),
    ] {
        pods.node.nft(&format!(
            "add table {family} t; add chain {family} t c {{ type filter hook {hook} priority 0; }}; \
             add rule {family} t c meta mark 5 counter; \
             add rule {family} t c {matching} counter drop comment \"ours\""
        ));
        let number = handle(&pods, &format!("{family} t c"), "ours");
        let from = if source == node { pods.node.bare() } else { &pods.pods[1] };
        let found = asked(&pods, question(at(stage, "p1")), (from, source), first);
        let [culprit] = found.as_slice() else { panic!("{family} {hook}: {found:?}") };
        let rule = culprit.rule.as_ref().unwrap();
        let named = (rule.family.as_str(), rule.table.as_str(), rule.chain.as_str(), rule.handle);
        assert_eq!(named, (family, "t", "c", number), "{hook}");
        assert_eq!((culprit.comment.as_str(), culprit.certainty()), ("ours", v1::Certainty::Observed));
        assert!(culprit.text.ends_with("drop"), "{hook}: {}", culprit.text);
        assert_eq!(culprit.node, "n1");
        pods.node.nft(&format!("delete table {family} t"));
    }
}

#[test]
fn a_rule_that_makes_another_packet_of_a_probe_or_keeps_it_is_named() {
    let pods = Pods::new(SESSION_A);
    let (from, to) = ((&pods.pods[0], pods.addresses[0]), pods.node.v4);
    for (family, chain, does, place, says) in [
        (
            "ip",
            "type nat hook prerouting priority -100",
            "dnat to 10.78.0.77",
            Stage::Socket,
            "makes another",
        ),
        ("netdev", "type filter hook ingress device p1 priority 0", "fwd to lo", Stage::Ingress, "keeps it"),
    ] {
        pods.node.nft(&format!(
            "add table {family} t; add chain {family} t c {{ {chain}; }}; \
             add rule {family} t c icmp type echo-request counter {does} comment \"ours\""
        ));
        let number = handle(&pods, &format!("{family} t c"), "ours");
        let silent = v1::LossLocation { reason: String::new(), ..at(place, "p1") };
        let found = asked(&pods, question(silent), from, to);
        let [culprit] = found.as_slice() else { panic!("{does}: {found:?}") };
        let rule = culprit.rule.as_ref().map(|rule| (rule.family.as_str(), rule.handle));
        assert_eq!(rule, Some((family, number)), "{does}");
        assert!(culprit.object.contains(says), "{does}: {}", culprit.object);
        pods.node.nft(&format!("delete table {family} t"));
    }
}

#[test]
fn what_a_services_address_is_made_into_is_no_stray() {
    let pods = Pods::new(SESSION_A);
    pods.node.nft(
        "add table ip t; add chain ip t c { type nat hook prerouting priority -100; }; \
         add rule ip t c icmp type echo-request dnat to 10.78.0.77",
    );
    let mut question = question(v1::LossLocation { reason: String::new(), ..at(Stage::Socket, "") });
    question.cases[0].translates = true;
    let answer =
        pods.node.bare().beside(move || runtime().block_on(find("n1", &question, || Tracing::Allowed)));
    assert_eq!(answer.join().unwrap().found, []);
}

#[test]
fn chains_that_led_to_it_and_its_owner_are_named() {
    let pods = Pods::new(SESSION_A);
    pods.node.nft(
        "add table ip filter; add chain ip filter INPUT { type filter hook input priority 0; }; \
         add chain ip filter cali-INPUT; add chain ip filter cali-fw; add chain ip filter cali-none; \
         add rule ip filter INPUT jump cali-INPUT; add rule ip filter cali-INPUT jump cali-none; \
         add rule ip filter cali-INPUT jump cali-fw; \
         add rule ip filter cali-fw ip saddr 10.78.0.0/24 ct state new,established meta length > 60 reject",
    );
    let number = handle(&pods, "ip filter cali-fw", "reject");
    let location = at(Stage::NetfilterInput, "cni0");
    let found = asked(&pods, question(location), (&pods.pods[0], pods.addresses[0]), pods.node.v4);
    let [culprit] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        culprit.rule.as_ref().map(|rule| (rule.chain.as_str(), rule.handle)),
        Some(("cali-fw", number))
    );
    assert_eq!(culprit.owner, "Calico");
    assert!(culprit.object.ends_with(", which INPUT → cali-INPUT led to"), "{}", culprit.object);
    let text = "ip saddr 10.78.0.0/24 ct state established,new meta length > 60 reject";
    assert_eq!(culprit.text, text);
}

#[test]
fn a_policy_is_named_where_no_rule_took_the_packet() {
    let pods = Pods::new(SESSION_A);
    pods.node.nft("add table inet t; add chain inet t c { type filter hook input priority 0; policy drop; }");
    let location = at(Stage::NetfilterInput, "cni0");
    let found = asked(&pods, question(location), (&pods.pods[0], pods.addresses[0]), pods.node.v4);
    let [culprit] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(culprit.kind(), v1::CulpritKind::FilterPolicy);
    assert_eq!(culprit.object, "policy drop of chain c in table inet t");
}

#[test]
fn a_search_that_is_cancelled_leaves_nothing_behind() {
    let pods = Pods::new(SESSION_A);
    let question = question(at(Stage::NetfilterInput, "cni0"));
    let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
    let search = pods.node.bare().beside(move || {
        runtime().block_on(async {
            tokio::select! {
                answer = find("n1", &question, || Tracing::Allowed) => panic!("{answer:?}"),
                _ = cancelled => {}
            }
        });
    });
    wait("no table", || pods.node.bare().nft_shows("list tables").contains(OWN));
    cancel.send(()).unwrap();
    search.join().unwrap();
    assert_eq!(pods.node.bare().nft_shows("list tables"), "");
}
