//! Records that name a probe and are not of it.

use super::super::fits::{Misfit, Way, fits};
use super::*;

const SENT_NS: i64 = 100 * SECOND_NS;

fn named(node: &str, kind: ProbeKind, ends: ([u8; 4], [u8; 4]), direction: Direction) -> DropFact {
    let flow = Flow { kind, source: (ends.0, 0).into(), destination: (ends.1, 0).into() };
    let probe = Some(ProbeIdentity { session: 9, path: PathId(1), sequence: 7 });
    let record =
        DropRecord { probe, flow: Some(flow), ..record("NETFILTER_DROP", Stage::NetfilterInput, direction) };
    fact(node, SENT_NS, record)
}

#[test]
fn a_header_that_another_sends_is_not_the_probes() {
    let world = World::new();
    let probe = world.probe("node/n2", ProbeKind::Udp);
    let way = Way { source: "n1", source_pod: None, probe, roster: &world.roster };
    let lost = timed_out();
    let (n1, n2, web_1, web_2, tunnel) =
        ([10, 0, 0, 1], [10, 0, 0, 2], [10, 244, 1, 2], [10, 244, 2, 2], [10, 244, 1, 0]);
    let request =
        |source, destination| named("n2", ProbeKind::Udp, (source, destination), Direction::Request);
    let reply = |source, destination| named("n1", ProbeKind::Udp, (source, destination), Direction::Reply);
    let open = |source, destination| named("n3", ProbeKind::Udp, (source, destination), Direction::Unknown);
    for (fact, expected) in [
        (request(n1, n2), Ok(())),
        (request(tunnel, n2), Ok(())),
        (reply(n2, n1), Ok(())),
        (open(n2, n1), Ok(())),
        // A pod that writes n1's session, path and number into a packet of its own.
        (request(web_2, n2), Err(Misfit::Addresses)),
        (request(web_1, n2), Err(Misfit::Addresses)),
        (request(n1, web_2), Err(Misfit::Addresses)),
        (request(n2, n1), Err(Misfit::Addresses)),
        (reply(web_2, n1), Err(Misfit::Addresses)),
        (open(web_2, web_1), Err(Misfit::Addresses)),
        (named("n2", ProbeKind::Icmp, (n1, n2), Direction::Request), Err(Misfit::Protocol)),
    ] {
        assert_eq!(fits(way, &fact, &lost), expected, "{fact:?}");
    }
    for (seconds, expected) in [(-31, false), (-29, true), (29, true), (31, false)] {
        let fact = DropFact { observed_ns: SENT_NS + seconds * SECOND_NS, ..request(n1, n2) };
        assert_eq!(fits(way, &fact, &lost).is_ok(), expected, "{seconds} s");
    }
    let mut without = request(n1, n2);
    without.record.flow = None;
    assert_eq!(fits(way, &without, &lost), Err(Misfit::Addresses));
    // From a pod it is that pod's packet, or its node's where that translates.
    let from_pod = Way { source_pod: Some("default/web-1"), ..way };
    assert_eq!(fits(from_pod, &request(web_1, n2), &lost), Ok(()));
    assert_eq!(fits(from_pod, &request(n1, n2), &lost), Ok(()));
    assert_eq!(fits(from_pod, &request(web_2, n2), &lost), Err(Misfit::Addresses));
}

#[test]
fn a_packet_to_a_probes_port_is_not_its_answer() {
    let world = World::new();
    let probe = world.probe("service/default/web:80", ProbeKind::Tcp);
    let way = Way { source: "n1", source_pod: None, probe, roster: &world.roster };
    let mut lost = timed_out();
    lost.flow = Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let dropped = |node: &str, direction, flow| {
        let record =
            DropRecord { flow: Some(flow), ..record("NETFILTER_DROP", Stage::NetfilterInput, direction) };
        fact(node, SENT_NS, record)
    };
    let answer = |from| dropped("n1", Direction::Reply, flow(from, 8080, [10, 0, 0, 1], 4000));
    assert_eq!(fits(way, &answer([10, 244, 3, 2]), &lost), Ok(()));
    assert_eq!(fits(way, &answer([10, 244, 2, 2]), &lost), Ok(()), "another backend of it");
    // Any pod can send to that port.
    assert_eq!(fits(way, &answer([10, 244, 1, 2]), &lost), Err(Misfit::Addresses));
    assert_eq!(fits(way, &answer([192, 0, 2, 1]), &lost), Err(Misfit::Addresses));
    let other_port = dropped("n3", Direction::Request, flow([10, 0, 0, 1], 4001, [10, 244, 3, 2], 8080));
    assert_eq!(fits(way, &other_port, &lost), Err(Misfit::Addresses));
    let late = DropFact { observed_ns: SENT_NS + 7 * SECOND_NS, ..answer([10, 244, 3, 2]) };
    assert_eq!(fits(way, &late, &lost), Err(Misfit::Time));
}

#[test]
fn nobodys_records_keep_out_those_of_others() {
    let mut drops = PendingDrops::default();
    let of = |node: &str, sequence| {
        let probe = Some(ProbeIdentity { session: 9, path: PathId(1), sequence });
        Arc::new(fact(node, 0, DropRecord { probe, ..Default::default() }))
    };
    drops.add(of("n2", 7), 0);
    (0..70_000).for_each(|sequence| drops.add(of("n3", sequence + 1000), 0));
    assert_eq!(drops.len(), 65_536);
    assert_eq!(drops.of(9, &timed_out()).len(), 1, "that of n2 is still there");
    drops.expire(31 * SECOND_NS);
    assert!(drops.is_empty());

    let mut lost = timed_out();
    for at in 0..20 {
        let record = record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request);
        lost.add_drop(fact("n3", at, DropRecord { ifindex: at as u32, ..record }));
    }
    let true_one = record("NOT_SPECIFIED", Stage::NetfilterInput, Direction::Request);
    lost.add_drop(fact("n2", 50, true_one));
    let located = World::new().locate("node/n2", ProbeKind::Icmp, &lost);
    assert_eq!(place(&located), "n2 cni0 NetfilterInput Request observed", "the end's own goes first");
    let line = "n3 says that its kernel dropped the request, too";
    assert!(located.evidence.iter().any(|evidence| evidence == line), "{:?}", located.evidence);
}

#[test]
fn a_node_that_no_packet_of_it_comes_to_proves_nothing() {
    let world = World::new();
    let reported_by = |node: &str, lost: Lost, target: &str, kind| {
        let mut lost = lost;
        lost.add_drop(fact(node, 1, record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request)));
        let located = world.locate(target, kind, &lost);
        let alone = format!("{node} alone says so");
        (located.location.unwrap().certainty, located.evidence.last() == Some(&alone))
    };
    let of = |node: &str, target: &str, kind| reported_by(node, timed_out(), target, kind);
    let (proven, alone) = ((Certainty::Observed, false), (Certainty::Inferred, true));
    for (node, expected) in [("n1", proven), ("n2", proven), ("n3", alone), ("stranger", alone)] {
        assert_eq!(of(node, "node/n2", ProbeKind::Udp), expected, "{node}");
        assert_eq!(of(node, "pod/default/web-2", ProbeKind::Icmp), expected, "{node}");
    }
    // Any of a service's backends can get it, and what is sent to a node's port comes by that node.
    let web = "service/default/web:80";
    assert_eq!(of("n3", web, ProbeKind::Tcp), proven);
    assert_eq!(of("stranger", web, ProbeKind::Tcp), alone);
    let dns = "dns/kube-system/coredns-x";
    assert_eq!((of("n1", dns, ProbeKind::Dns), of("n3", dns, ProbeKind::Dns)), (proven, alone));
}

#[test]
fn what_one_agent_says_of_another_node_proves_nothing() {
    let world = World::new();
    let to_web_3 = Some(flow([10, 0, 0, 1], 4000, [10, 244, 3, 2], 8080));
    let sample = LostSample { flow: to_web_3, ..timed_out().sample };
    let refused = || Lost::new(sample.clone(), Outcome::Refused, SENT_NS, SENT_NS);
    let locate = |lost: &Lost| world.locate("service/default/web:80", ProbeKind::Tcp, lost);
    let alone = locate(&refused());
    assert_eq!(place(&alone), "n3 - Socket Request inferred");
    assert_eq!(alone.evidence.last().unwrap(), "n1 alone says so");
    // Its listener's answer would bear out a connection, not a refusal.
    let mut connected = refused();
    connected.answer = Some(Answer { arrived: Some(true), replied: true, ..Answer::default() });
    assert_eq!(place(&locate(&connected)), "n3 - Socket Request inferred");
    // A third node's record of a missing socket does not move the blame to whoever it names.
    let mut moved = refused();
    let to_web_2 = Some(flow([10, 0, 0, 1], 4000, [10, 244, 2, 2], 8080));
    let no_socket = DropRecord { flow: to_web_2, ..record("NO_SOCKET", Stage::Socket, Direction::Request) };
    moved.add_drop(fact("n1", 1, no_socket.clone()));
    assert_eq!(place(&locate(&moved)), "n3 - Socket Request inferred");
    let mut borne_out = refused();
    borne_out.add_drop(fact("n3", 1, DropRecord { flow: to_web_3, ..no_socket }));
    assert_eq!(place(&locate(&borne_out)), "n3 - Socket Request observed");

    // An answer's words are its server's where that server's node saw an answer leave.
    let sample = LostSample { dns_rcode: "SERVFAIL".to_owned(), flow: to_web_3, ..Default::default() };
    let dns = world.probe("dns/kube-system/coredns-x", ProbeKind::Dns);
    let mut failed = Lost::new(sample, Outcome::DnsError, SENT_NS, SENT_NS);
    let input = |lost: &Lost| LocateInput { source: "n2", ..world.input(dns, lost) };
    failed.flow = Some(Flow { kind: ProbeKind::Dns, ..flow([10, 0, 0, 2], 61_000, [10, 244, 1, 53], 53) });
    let asking = locate::locate(&input(&failed), &failed);
    assert_eq!(
        (place(&asking).as_str(), asking.want),
        ("n1 - Application Request inferred", Some(Want::Flow))
    );
    failed.answer = Some(Answer { arrived: Some(true), replied: true, ..Answer::default() });
    assert_eq!(place(&locate::locate(&input(&failed), &failed)), "n1 - Application Request observed");
    failed.answer = Some(Answer { arrived: Some(true), replied: false, ..Answer::default() });
    let denied = locate::locate(&input(&failed), &failed);
    assert_eq!(denied.evidence.last().unwrap(), "n2 alone says so");
}

#[test]
fn what_may_have_been_forgotten_is_not_known_never_to_have_come() {
    for (unsure, expected) in [(false, Some(false)), (true, None)] {
        let state = ReflectedState { known: false, unsure, ..Default::default() };
        assert_eq!(reflected(&state, 7).arrived, expected);
    }
    let world = World::new();
    let mut lost = timed_out();
    lost.answer = Some(reflected(&ReflectedState { unsure: true, ..Default::default() }, 7));
    let visibility = Visibility::Hooks { uplink: None, drops: true };
    let located = world.locate_with(world.probe("node/n2", ProbeKind::Icmp), &lost, visibility, true);
    assert!(located.location.is_none(), "{located:?}");
}
