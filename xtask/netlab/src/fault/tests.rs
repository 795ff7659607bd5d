use super::rules::{prefixes, scripts};
use super::{DnsAnswer, Fault, HELP, Hook, Match, Proto, Verdict};
use crate::spec::{LabSpec, Mode};
use crate::topology::Topology;

fn topology(mode: Mode) -> Topology {
    Topology::new(&LabSpec { mode, ..LabSpec::default() })
}

/// One of each kind, with every setting, in the form that is written.
const ALL: &[&str] = &[
    "drop node=n2 hook=forward",
    "drop node=n2 hook=prerouting family=ipv6 proto=udp src=zone-a dst=n2/pods sport=1 dport=2 iif=eth0 oif=cni0 longer=1400 percent=7",
    "reject node=n1 hook=input proto=tcp",
    "route node=n1 type=blackhole to=n3/pods",
    "route node=n1 type=unreachable to=10.0.0.0/8,fd00::/8",
    "route node=n1 type=prohibit to=web-n3",
    "route node=n1 type=throw to=n3/pods",
    "route-loop a=n1 b=n2 to=n3/pods",
    "reverse-path node=n2 from=n1",
    "slow-link pod=web-n2 rate-kbit=2",
    "veth-down pod=web-n2",
    "pod-link-down pod=web-n2",
    "uplink-down node=n4",
    "storage-down node=n2",
    "storage-address-gone pod=vantage-n3",
    "responder-filtered node=n2 port=6100",
    "responder-filtered node=n2 port=7000 family=ipv4",
    "request-loss from=n1 to=n2 at=destination port=6100",
    "reply-loss from=n1 to=web-n2 at=source family=ipv6 proto=icmp port=8080 percent=50",
    "loss node=n1 direction=in percent=100",
    "loss node=n1 direction=out percent=1 family=ipv6",
    "loss node=n1 direction=in percent=100 family=ipv4 longer=1400",
    "source-ports from=n1 to=n3 way=3",
    "source-ports from=n1 to=n3 way=0 family=ipv6",
    "duplicate node=n2 percent=100",
    "reorder node=n2 percent=50 delay-ms=300",
    "conntrack-full node=n2",
    "fragments-dropped node=n2",
    "fragments-dropped node=n1 from=n2",
    "dns answer=truncated",
    "dns answer=servfail",
    "dns answer=nxdomain",
    "dns answer=silent",
    "dns answer=slow delay-ms=250",
    "backend-refuses pod=web-n1",
    "backend-stuck pod=web-n1",
    "backend-dead pod=web-n1",
    "no-endpoints service=web",
    "no-node-port node=n2 service=shop",
    "no-translation node=n2 service=web",
    "node-killed node=n1",
    "zone-cut a=zone-a b=zone-b",
    "zone-cut a=zone-a b=zone-b family=ipv4 proto=udp",
    "wrong-neighbour node=n1 to=n2",
    "mtu-blackhole node=n1 mtu=1300",
    "mtu-blackhole node=n1 mtu=1300 at=pods",
    "mtu-blackhole node=n1 mtu=1300 at=cable",
    "no-hairpin pod=web-n1",
    "wrong-vni node=n2",
    "stale-tunnel node=n1 to=n2",
    "tunnel-blocked a=zone-a b=zone-b",
    "pod-mtu node=n2 mtu=1300",
    "pod-mask pod=web-n2",
    "echo-ignored at=n2",
    "forwarding-off node=n2",
    "dad-failed pod=web-n2",
    "duplicate-address of=web-n2 at=app-n2-2",
    "policy-deny pod=web-n2",
    "new-denied node=n2",
    "node-state node=n1 state=notready",
    "node-state node=n1 state=cordoned",
    "node-state node=n1 state=deleted",
    "pod-gone pod=web-n2",
];

#[test]
fn text_and_value_are_the_same() {
    for text in ALL {
        let fault: Fault = text.parse().unwrap();
        assert_eq!(fault.to_string(), *text);
    }
    let fault: Fault = "  drop hook=input   proto=icmp node=n3 ".parse().unwrap();
    let matching = Match { proto: Some(Proto::Icmp), ..Match::default() };
    let node = "n3".to_owned();
    assert_eq!(fault, Fault::Filter { node, hook: Hook::Input, verdict: Verdict::Drop, matching });
}

#[test]
fn what_may_be_left_out() {
    let same = |short: &str, long: &str| {
        let (short, long): (Fault, Fault) = (short.parse().unwrap(), long.parse().unwrap());
        assert_eq!(short, long);
    };
    same("responder-filtered node=n1", "responder-filtered node=n1 port=6100");
    same("reply-loss from=n1 to=n2", "reply-loss from=n1 to=n2 at=destination port=6100");
    same("source-ports from=n1 to=n3", "source-ports from=n1 to=n3 way=3");
    same("duplicate node=n1", "duplicate node=n1 percent=100");
    same("reorder node=n1", "reorder node=n1 percent=50 delay-ms=300");
    same("dns answer=slow", "dns answer=slow delay-ms=1000");
    let slow: Fault = "dns answer=slow".parse().unwrap();
    assert!(matches!(slow, Fault::Dns { answer: DnsAnswer::Slow(_) }));
}

#[test]
fn what_is_wrong_is_named() {
    for (text, named) in [
        ("", "no kind"),
        ("fly node=n1", "no such kind"),
        ("drop node=n1", "`hook=` is missing"),
        ("drop hook=input", "`node=` is missing"),
        ("drop node=n1 hook=ingress", "`hook` is one of prerouting, input"),
        ("drop node=n1 hook=input hook=output", "`hook` is given twice"),
        ("drop node=n1 hook=input colour=red", "`drop` has no setting `colour`"),
        ("drop node=n1 hook=input dport=70000", "`dport=70000` is no number that fits"),
        ("drop node=n1 hook=input percent=0", "`percent` is 1 to 100"),
        ("drop node=n1 hook=input percent=101", "`percent` is 1 to 100"),
        ("drop node= hook=input", "`node=` has no value"),
        ("drop node hook=input", "`node` is not of the form key=value"),
        ("reject node=n1 hook=postrouting", "no reject in postrouting"),
        ("loss node=n1 direction=in", "`percent=` is missing"),
        ("source-ports from=n1 to=n2 way=8", "`way` is 0 to 7"),
        ("dns answer=rude", "`answer` is one of servfail"),
        ("dns answer=silent delay-ms=3", "`delay-ms` goes with `answer=slow` only"),
        ("mtu-blackhole node=n1 mtu=900", "at least 1280"),
        ("pod-mtu node=n1 mtu=900", "at least 1280"),
    ] {
        let error = format!("{:#}", text.parse::<Fault>().unwrap_err());
        assert!(error.contains(named), "`{text}`: {error}");
    }
}

#[test]
fn help_names_every_kind() {
    for text in ALL {
        let kind = text.split(' ').next().unwrap();
        assert!(HELP.contains(&format!("  {kind} ")), "{kind}");
    }
}

#[test]
fn places() {
    let topology = topology(Mode::Vxlan);
    for (place, v4, v6) in [
        ("n2", "172.30.0.12", "fd00:172:30::12"),
        ("web-n2", "10.244.2.11", "fd00:10:244:2::11"),
        ("hub", "172.30.0.2", "fd00:172:30::2"),
        ("n2/pods", "10.244.2.0/24", "fd00:10:244:2::/64"),
        ("10.0.0.0/8,fd00::/8", "10.0.0.0/8", "fd00::/8"),
        ("10.0.0.1", "10.0.0.1", ""),
        (
            "zone-b",
            "172.30.0.13 10.244.3.0/24 172.30.0.14 10.244.4.0/24",
            "fd00:172:30::13 fd00:10:244:3::/64 fd00:172:30::14 fd00:10:244:4::/64",
        ),
    ] {
        let found = prefixes(&topology, place).unwrap();
        assert_eq!((found.0.join(" ").as_str(), found.1.join(" ").as_str()), (v4, v6), "{place}");
    }
    for wrong in ["nobody", "n9/pods", "10.0.0.0/33", "fd00::/129", "10.0.0.0/x", ""] {
        assert!(prefixes(&topology, wrong).is_err(), "{wrong}");
    }
}

fn rules(fault: &str, mode: Mode) -> Vec<(String, Vec<String>)> {
    let scripts = scripts(&fault.parse().unwrap(), &topology(mode)).unwrap();
    let rules = |text: &str| {
        let lines =
            text.lines().map(str::trim).filter(|line| line.ends_with("drop") || line.ends_with("accept"));
        lines.filter(|line| !line.starts_with("icmpv6 type { nd")).map(str::to_owned).collect()
    };
    scripts.iter().map(|script| (script.netns.clone(), rules(&script.inject))).collect()
}

#[test]
fn a_match_becomes_one_rule_a_family() {
    let found = rules("drop node=n2 hook=forward proto=udp src=n1 dport=6100 percent=30", Mode::Routed);
    let expected = [
        "meta protocol ip ip saddr { 172.30.0.11 } meta l4proto udp th dport 6100 numgen random mod 100 < 30 counter drop",
        "meta protocol ip6 ip6 saddr { fd00:172:30::11 } meta l4proto udp th dport 6100 numgen random mod 100 < 30 counter drop",
    ];
    assert_eq!(found, [("netlab.lab.n2".to_owned(), expected.map(str::to_owned).into())]);
    let found = rules("drop node=n2 hook=forward dst=10.0.0.0/8", Mode::Routed);
    assert_eq!(found[0].1, ["meta protocol ip ip daddr { 10.0.0.0/8 } counter drop"]);
    let nobody: Fault = "drop node=n2 hook=input family=ipv6 dst=10.0.0.0/8".parse().unwrap();
    assert!(scripts(&nobody, &topology(Mode::Routed)).is_err());
}

#[test]
fn a_cut_for_one_protocol_spares_the_overlay_itself() {
    let vxlan = rules("zone-cut a=zone-a b=zone-b proto=udp", Mode::Vxlan);
    let spaces: Vec<&str> = vxlan.iter().map(|(ns, _)| ns.as_str()).collect();
    assert_eq!(spaces, ["netlab.lab.n1", "netlab.lab.n2", "netlab.lab.n3", "netlab.lab.n4"]);
    assert!(vxlan.iter().all(|(_, rules)| rules[0] == "udp dport 8472 accept" && rules.len() == 3));
    let routed = rules("zone-cut a=zone-a b=zone-b proto=udp", Mode::Routed);
    assert!(routed.iter().all(|(_, rules)| rules.len() == 2));
    assert!(scripts(&"zone-cut a=zone-a b=zone-x".parse().unwrap(), &topology(Mode::Vxlan)).is_err());
}

#[test]
fn a_dead_way_is_at_the_switch_and_spares_the_overlay() {
    let found = rules("source-ports from=n1 to=n3 way=5 family=ipv6", Mode::Vxlan);
    let expected = [
        "udp dport 8472 accept",
        "meta protocol ip6 udp sport & 7 == 5 iifname \"PORT1\" oifname \"PORT3\" counter drop",
    ];
    let topology = topology(Mode::Vxlan);
    let port = |node: &str| topology.node(node).unwrap().switch_port();
    let expected = expected.map(|rule| rule.replace("PORT1", &port("n1")).replace("PORT3", &port("n3")));
    assert_eq!(found, [(topology.underlay_ns.clone(), expected.to_vec())]);
}

#[test]
fn one_way_loss_sits_where_the_leg_passes() {
    for (fault, netns, hook) in [
        ("request-loss from=n1 to=n2 at=source", "n1", "output"),
        ("request-loss from=n1 to=n2 at=destination", "n2", "input"),
        ("reply-loss from=n1 to=n2 at=source", "n1", "input"),
        ("reply-loss from=n1 to=n2 at=destination", "n2", "output"),
        ("request-loss from=web-n1 to=web-n2 at=source", "n1", "forward"),
        ("reply-loss from=web-n1 to=web-n2", "n2", "forward"),
        ("reply-loss from=n1 to=web-n2", "n2", "forward"),
        ("request-loss from=n2 to=web-n2", "n2", "output"),
        ("reply-loss from=n2 to=web-n2", "n2", "input"),
    ] {
        let found = scripts(&fault.parse().unwrap(), &topology(Mode::Vxlan)).unwrap();
        assert_eq!(found[0].netns, format!("netlab.lab.{netns}"), "{fault}");
        assert!(found[0].inject.contains(&format!("type filter hook {hook} ")), "{fault}");
    }
    let same_bridge: Fault = "request-loss from=web-n1 to=app-n1-2".parse().unwrap();
    assert!(scripts(&same_bridge, &topology(Mode::Vxlan)).is_err());
}
