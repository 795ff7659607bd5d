use proptest::prelude::*;

use super::*;

const NAMES: Names<'_> = Names { src: "west", dst: "east" };

/// What a path is, as far as a conclusion goes.
#[derive(Clone, Debug)]
struct Facts {
    way: Way,
    from: From,
    source: u8,
    to: To,
    target: u8,
    family: v1::Family,
    kind: v1::ProbeKind,
}

fn cell(facts: &Facts, verdict: v1::Verdict) -> v1::MatrixCell {
    let (kind, address) = match facts.to {
        To::Nodes => (v1::TargetKind::Node, v1::ServiceAddress::Unspecified),
        To::Pods => (v1::TargetKind::Pod, v1::ServiceAddress::Unspecified),
        To::ClusterIps => (v1::TargetKind::Service, v1::ServiceAddress::ClusterIp),
        To::External => (v1::TargetKind::Service, v1::ServiceAddress::NodePort),
    };
    let vantage = if facts.from == From::Pods { v1::Vantage::Pod } else { v1::Vantage::Host };
    let target = v1::Target {
        id: format!("peer/x/{}", facts.target),
        name: format!("t{}", facts.target),
        peer: NAMES.of(facts.way).1.to_owned(),
        peer_kind: kind.into(),
        service_address: address.into(),
        ..Default::default()
    };
    let path = v1::Path {
        source_node: format!("s{}", facts.source),
        vantage: vantage.into(),
        target: Some(target),
        kind: facts.kind.into(),
        family: facts.family.into(),
        ..Default::default()
    };
    v1::MatrixCell { path: Some(path), verdict: verdict.into(), ..Default::default() }
}

/// Every path there is between two clusters of `size` nodes each, and as many pods.
fn all(size: u8) -> Vec<Facts> {
    let mut all = Vec::new();
    for way in Way::BOTH {
        for from in [From::Nodes, From::Pods] {
            for to in [To::Nodes, To::Pods, To::ClusterIps, To::External] {
                // Services are asked for on one way alone.
                if way == Way::Back && matches!(to, To::ClusterIps | To::External) {
                    continue;
                }
                for (source, target) in
                    (0..size).flat_map(|source| (0..size).map(move |target| (source, target)))
                {
                    for family in [v1::Family::Ipv4, v1::Family::Ipv6] {
                        for kind in [v1::ProbeKind::Icmp, v1::ProbeKind::Tcp] {
                            all.push(Facts { way, from, source, to, target, family, kind });
                        }
                    }
                }
            }
        }
    }
    all
}

/// What is said where these paths fail.
fn said(fails: impl Fn(&Facts) -> bool) -> Vec<Line> {
    let mut legs = Legs::default();
    for facts in all(3) {
        let verdict = if fails(&facts) { v1::Verdict::Unreachable } else { v1::Verdict::Reachable };
        legs.add(facts.way, &cell(&facts, verdict));
    }
    conclude(&legs, NAMES)
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn no_route_is_distinguished_from_some_pairs() {
    let lines = said(|facts| facts.to == To::Pods);
    assert_eq!(
        texts(&lines),
        [
            "no route between the clusters' pod networks: no pod of west reaches a pod of east, nor the other way (144 paths); \
          nodes reach each other"
        ]
    );
    assert!(lines[0].fails);
    let lines = said(|facts| facts.to == To::Pods && facts.from == From::Pods && facts.source == 1);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        lines[0].text,
        "some pairs fail: 12 of 36 paths from pods of west to pods of east, all of them from s1"
    );
    let lines = said(|facts| (facts.way, facts.to, facts.target) == (Way::There, To::Nodes, 2));
    assert!(texts(&lines).iter().all(|line| line.starts_with("some pairs fail: 12 of 36 ")), "{lines:?}");
    assert!(texts(&lines).iter().all(|line| line.ends_with("all of them to t2")), "{lines:?}");
    let lines = said(|facts| (facts.way, facts.to) == (Way::There, To::Pods) && facts.source == facts.target);
    assert!(lines[0].text.contains("from s0, s1, s2 to t0, t1, t2"), "{lines:?}");
}

#[test]
fn one_way_and_one_sort_alone() {
    let lines = said(|facts| (facts.way, facts.to) == (Way::Back, To::Nodes));
    assert_eq!(
        texts(&lines),
        [
            "no route to west's nodes from east: none of 72 paths reaches one (or a firewall denies all of them)"
        ]
    );
    let lines = said(|facts| (facts.way, facts.from, facts.to) == (Way::There, From::Pods, To::Pods));
    assert_eq!(texts(&lines), ["no pod of west reaches a pod of east: all 36 paths fail"]);
    // IPv6 alone, or TCP alone: that is no missing network.
    let lines = said(|facts| facts.to == To::Pods && facts.family == v1::Family::Ipv6);
    assert!(
        texts(&lines).iter().all(|line| line.contains("all of IPv6, and no other: a route")),
        "{lines:?}"
    );
    let lines = said(|facts| facts.to == To::Pods && facts.kind == v1::ProbeKind::Tcp);
    assert!(
        texts(&lines).iter().all(|line| line.contains("all by TCP, and no other: a firewall")
            || line.contains("all by tcp, and no other: a firewall")),
        "{lines:?}"
    );
}

#[test]
fn service_addresses_may_be_the_clusters_own() {
    let lines = said(|facts| facts.to == To::ClusterIps);
    assert_eq!(texts(&lines)[0], "west and east reach each other: none of 360 paths fails");
    assert!(
        lines[1]
            .text
            .starts_with("service addresses of east are not reachable from west, which is usual unless")
    );
    assert!(lines.iter().all(|line| !line.fails), "{lines:?}");
    // Where some answer, those that don't are failures.
    let lines = said(|facts| facts.to == To::ClusterIps && facts.target == 0);
    assert!(
        lines.iter().all(|line| line.fails && line.text.contains("to service addresses of east")),
        "{lines:?}"
    );
    // What is meant for others is never expected to fail.
    let lines = said(|facts| facts.to == To::External);
    assert!(lines.iter().all(|line| line.fails), "{lines:?}");
}

#[test]
fn nothing_at_all() {
    let lines = said(|_| true);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].text.starts_with("nothing passes between the clusters west and east"));
    let legs = Legs::default();
    assert_eq!(texts(&conclude(&legs, NAMES)), ["nothing was measured between west and east"]);
}

#[test]
fn networks_that_hold_addresses() {
    let cover = |texts: &[&str]| covering(texts.iter().map(|text| text.parse().unwrap()));
    assert_eq!(cover(&["10.244.1.11"]), ["10.244.1.11/32"]);
    assert_eq!(cover(&["10.244.1.11", "10.244.2.12"]), ["10.244.0.0/22"]);
    assert_eq!(cover(&["1.1.1.1", "200.1.1.1", "fd00::1", "fd00::3"]), ["0.0.0.0/0", "fd00::/126"]);
    assert_eq!(cover(&["::1", "ff::1"]), ["::/8"]);
    assert!(covering(std::iter::empty()).is_empty());
}

fn facts() -> impl Strategy<Value = Facts> {
    proptest::sample::select(all(3))
}

proptest! {
    /// Whatever fails: nothing that fails is passed over but service addresses of which none answers, nobody is accused
    /// where nothing fails, and it stays a few lines.
    #[test]
    fn a_check_fails_exactly_when_something_does(failing in proptest::collection::vec(facts(), 0..40)) {
        let same = |one: &Facts, other: &Facts| format!("{one:?}") == format!("{other:?}");
        let fails = |facts: &Facts| failing.iter().any(|one| same(one, facts));
        let lines = said(fails);
        prop_assert_eq!(lines.iter().any(|line| line.fails), !failing.is_empty());
        prop_assert!(!lines.is_empty() && lines.len() <= LINES + 2);
        // So few are never a network.
        prop_assert!(lines.iter().all(|line| !line.text.contains("no route") && !line.text.contains("nothing passes")), "{lines:?}");
    }

    /// Whole legs: each that fails is in some line, each that does not in none.
    #[test]
    fn whole_legs_are_named(mask in 0u8..=255) {
        let at = |facts: &Facts| (usize::from(facts.way == Way::Back) << 2) | (usize::from(facts.from == From::Pods) << 1) | usize::from(facts.to == To::Pods);
        let host = |facts: &Facts| matches!(facts.to, To::Nodes | To::Pods);
        let lines = said(|facts| host(facts) && mask >> at(facts) & 1 == 1);
        prop_assert_eq!(lines.iter().any(|line| line.fails), mask != 0);
        prop_assert!(lines.iter().all(|line| !line.text.contains("some pairs")), "{lines:?}");
        // Pods to pods, both ways.
        let pods = mask >> 3 & 1 == 1 && mask >> 7 & 1 == 1;
        let named = lines.iter().any(|line| line.text.contains("between the clusters' pod networks") || line.text.contains("nothing passes"));
        let folded = lines.iter().any(|line| line.text.contains("more sorts of paths"));
        prop_assert!(named == pods || folded, "{mask:08b} {lines:?}");
    }

    #[test]
    fn a_covering_network_holds_all(addresses in proptest::collection::vec(any::<u32>(), 1..20)) {
        let ips = || addresses.iter().map(|&bits| std::net::Ipv4Addr::from(bits));
        let cover = covering(ips().map(IpAddr::V4));
        let (network, length) = cover[0].split_once('/').unwrap();
        let (network, length): (std::net::Ipv4Addr, u32) = (network.parse().unwrap(), length.parse().unwrap());
        let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
        prop_assert!(ips().all(|ip| u32::from(ip) & mask == u32::from(network)));
        // And no smaller one does.
        if length < 32 {
            let smaller = u32::MAX << (31 - length);
            let first = addresses[0] & smaller;
            prop_assert!(addresses.iter().any(|&bits| bits & smaller != first));
        }
    }
}
