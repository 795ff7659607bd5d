//! Errors of the source's own kernel, and what the target or a router answered.

use super::*;

#[test]
fn send_errors() {
    let world = World::new();
    for (errno, stage) in [
        ("EINVAL", "Routing"),
        ("ENETUNREACH", "Routing"),
        // Netfilter's output or postrouting; an unreachable route or a silent neighbour: no errno distinguishes them.
        ("EPERM", "Send"),
        ("EHOSTUNREACH", "Send"),
        ("ENOBUFS", "Qdisc"),
        ("EMSGSIZE", "Send"),
    ] {
        let sample = LostSample { errno: errno.to_owned(), ..Default::default() };
        let lost = Lost::new(sample, Outcome::SendError, 0, 0);
        let located = world.locate("node/n2", ProbeKind::Icmp, &lost);
        assert_eq!(place(&located), format!("n1 - {stage} Request observed"));
        assert_eq!(located.location.unwrap().reason, errno);
    }
}

#[test]
fn icmp_errors_name_their_sender() {
    let world = World::new();
    let error = |from: [u8; 4], code| {
        let icmp_error = Some(IcmpError { from: Some(from.into()), kind: 3, code, mtu_bytes: 0 });
        let sample = LostSample { icmp_error, ..timed_out().sample };
        Lost::new(sample, Outcome::Unreachable, 0, 0)
    };
    let located = world.locate("pod/default/web-2", ProbeKind::Icmp, &error([10, 0, 0, 2], 13));
    assert_eq!(place(&located), "n2 - Unknown Request inferred", "a filter, or a prohibit route");
    let evidence = ["n2 (10.0.0.2) sent ICMP administratively prohibited", "n1 alone says so"];
    assert_eq!(located.evidence, evidence);
    let located = world.locate("node/n2", ProbeKind::Icmp, &error([10, 0, 0, 2], 13));
    assert_eq!(place(&located), "n2 - NetfilterInput Request inferred");
    let located = world.locate("node/n2", ProbeKind::Icmp, &error([192, 0, 2, 1], 0));
    assert_eq!(place(&located), "192.0.2.1 - Routing Request inferred");
}

#[test]
fn a_nodes_own_dns_cache_is_on_that_very_node() {
    let world = World::new();
    let settings = DnsSettings { node_local: vec![[169, 254, 20, 10].into()], ..DnsSettings::default() };
    let catalog = world.catalog.clone().with_dns(&world.roster, "a.b", &settings, &Found::new());
    let probe = catalog.probes.iter().find(|probe| probe.target.is_node_local()).unwrap();
    let sample = LostSample { dns_rcode: "SERVFAIL".to_owned(), ..Default::default() };
    for (outcome, place_of, summary) in [
        (Outcome::Refused, "n1 - Socket Request observed", "refused by the DNS cache of n1 (169.254.20.10)"),
        (
            Outcome::DnsError,
            "n1 - Application Request observed",
            "SERVFAIL from the DNS cache of n1 (169.254.20.10)",
        ),
    ] {
        let lost = Lost::new(sample.clone(), outcome, 0, 0);
        let located = locate(&world.input(probe, &lost), &lost);
        assert_eq!((place(&located).as_str(), located.summary.as_str()), (place_of, summary));
    }
    // From a pod of the node: it came to the node, and that is all that its hooks can know.
    let request_hooks = vec![veth(false)];
    let silent = LostSample { request_hooks, ..Default::default() };
    let lost = Lost::new(silent, Outcome::Timeout, 0, 0);
    assert_eq!(place(&locate(&world.input(probe, &lost), &lost)), "n1 veth1 Ingress Unknown inferred");
}

#[test]
fn refusals_and_dns_errors_name_who_answered() {
    let world = World::new();
    let sample =
        LostSample { flow: Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080)), ..Default::default() };
    let mut lost = Lost::new(sample, Outcome::Refused, 0, 0);
    let located = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), "n3 - Socket Request inferred", "n1 alone says so");
    assert_eq!(located.summary, "refused by backend default/web-3 (10.244.3.2) on n3");
    // The kernel's own record of the missing socket bears it out; a reject rule before it explains more.
    lost.add_drop(fact("n3", 1, record("NO_SOCKET", Stage::Socket, Direction::Request)));
    let again = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!((place(&again).as_str(), again.evidence.len()), ("n3 - Socket Request observed", 2));
    // Whose kernel had no socket refused it, whatever its port was seen with before.
    let mut other = lost.clone();
    let to_web_2 = Some(flow([10, 0, 0, 1], 4000, [10, 244, 2, 2], 8080));
    other.drops[0].record.flow = to_web_2;
    other.drops[0].node = "n2".into();
    let by_record = world.locate("service/default/web:80", ProbeKind::Tcp, &other);
    assert_eq!(by_record.summary, "refused by backend default/web-2 (10.244.2.2) on n2");
    lost.add_drop(fact("n3", 1, record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request)));
    let rejected = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&rejected), "n3 cni0 NetfilterForward Request observed");

    // A closed TCP port answers with a reset: a filter sent this, from an address that the service's hides.
    let from = Some([10, 96, 0, 80].into());
    let icmp_error = Some(IcmpError { from, kind: 3, code: 3, mtu_bytes: 0 });
    let to_backend = Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let translated = LostSample { icmp_error, flow: to_backend, ..Default::default() };
    let located = world.locate(
        "service/default/web:80",
        ProbeKind::Tcp,
        &Lost::new(translated, Outcome::Refused, 0, 0),
    );
    assert!(located.location.is_none(), "{located:?}");
    assert_eq!(located.evidence, ["it was sent to backend default/web-3 (10.244.3.2) on n3"]);
    // From an address of its own: the target's where its own stack rejects, another's where a node on the way does.
    for (from, expected) in [
        ([10, 244, 3, 2], "n3 - NetfilterInput Request inferred"),
        ([10, 0, 0, 2], "n2 - NetfilterForward Request inferred"),
        ([10, 0, 0, 1], "n1 - NetfilterOutput Request observed"),
    ] {
        let icmp_error = Some(IcmpError { from: Some(from.into()), kind: 3, code: 3, mtu_bytes: 0 });
        let flow = to_backend;
        let lost = Lost::new(LostSample { icmp_error, flow, ..Default::default() }, Outcome::Refused, 0, 0);
        assert_eq!(place(&world.locate("service/default/web:80", ProbeKind::Tcp, &lost)), expected);
    }

    let unknown = Lost::new(LostSample::default(), Outcome::Refused, 0, 0);
    let located = world.locate("service/default/web:80", ProbeKind::Tcp, &unknown);
    assert!(located.location.is_none() && located.want.is_none(), "no backend is guessed");

    let sample = LostSample { dns_rcode: "SERVFAIL".to_owned(), ..Default::default() };
    let lost = Lost::new(sample, Outcome::DnsError, 0, 0);
    let located = world.locate("dns/kube-system/coredns-x", ProbeKind::Dns, &lost);
    assert_eq!(place(&located), "n1 - Application Request observed");
    assert_eq!(located.summary, "SERVFAIL from pod kube-system/coredns-x (10.244.1.53) on n1");
}
