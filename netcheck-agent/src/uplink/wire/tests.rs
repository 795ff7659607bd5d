use netcheck_common::domain::{Outcome, Sequence};
use rustix::io::Errno;

use super::*;
use crate::model::observation::{InterfaceRole, ProbeKey};
use crate::model::sample::Detail;

const REPORTER: Reporter = Reporter { session: ProbeSession(9), unix_offset_ns: 1_000_000 };

#[test]
fn flows_round_trip_and_bad_ones_are_refused() {
    let tuple = v1::FlowTuple {
        kind: v1::ProbeKind::Tcp.into(),
        source_address: vec![10, 0, 0, 1],
        destination_address: vec![10, 0, 0, 2],
        source_port: 4000,
        destination_port: 80,
    };
    assert_eq!(flow_tuple(&flow(&tuple).unwrap()), tuple);
    assert!(flow(&v1::FlowTuple { source_address: vec![1], ..tuple.clone() }).is_err());
    assert!(flow(&v1::FlowTuple { destination_port: 65_536, ..tuple }).is_err());
}

#[test]
fn lost_samples_say_why() {
    let icmp = IcmpSeen { from: "10.0.0.9".parse().unwrap(), kind: 3, code: 13, mtu_bytes: 0 };
    let lost = Lost {
        probe: ProbeKey { path: PathId(4), sequence: Sequence(5) },
        sent_ns: 7,
        outcome: Outcome::Unreachable,
        suspect: false,
        origin: None,
        request_hooks: vec![Hook {
            ifindex: 2,
            interface: "eth0".into(),
            role: InterfaceRole::Uplink,
            egress: true,
            encapsulated: false,
        }],
        reply_hooks: Vec::new(),
        detail: Detail { errno: Some(Errno::HOSTUNREACH), icmp: Some(icmp), ..Detail::default() },
        flow: None,
        unwatched: false,
        size_bytes: 1450,
        new_flows_lost: 4,
    };
    let report = Report { lost: vec![lost], ..Report::default() };
    let wire = REPORTER.batch(&report).lost.remove(0);
    assert_eq!((wire.sent_unix_ns, wire.errno.as_str()), (1_000_007, "EHOSTUNREACH"));
    assert_eq!(wire.outcome(), v1::Outcome::Unreachable);
    assert_eq!(wire.icmp_error.unwrap().code, 13);
    assert_eq!((wire.packet_bytes, wire.new_flows_lost), (1450, 4));
    assert_eq!(wire.request_hooks[0].role(), v1::InterfaceRole::Uplink);
}

#[test]
fn only_what_is_young_enough_is_this_flows() {
    const MS: u64 = 1_000_000;
    let hook = |interface: &str| Hook {
        ifindex: 2,
        interface: interface.into(),
        role: InterfaceRole::Uplink,
        egress: false,
        encapsulated: false,
    };
    let now_ns = 100_000 * MS;
    let seen = |request_ms: u64, reply_ms: Option<u64>| FlowSeen {
        request_packets: 2,
        reply_packets: 1,
        last_request: Some((hook("eth0"), now_ns - request_ms * MS)),
        last_reply: reply_ms.map(|ms| (hook("veth1"), now_ns - ms * MS)),
    };
    // (request seen and reply seen so many ms ago, at most) → (requests, replies)
    for (seen, most_ms, expected) in [
        (Some(seen(900, Some(800))), Some(2000), (2, 1)),
        (Some(seen(900, None)), Some(2000), (2, 0)),
        // The ports were another flow's before, and that one was answered.
        (Some(seen(900, Some(4000))), Some(2000), (2, 0)),
        (Some(seen(4001, Some(4000))), Some(2000), (0, 0)),
        (Some(seen(2000, Some(2000))), Some(2000), (2, 1)),
        (Some(seen(50_000, Some(50_000))), None, (2, 1)),
        (None, Some(2000), (0, 0)),
    ] {
        let asked = v1::FlowQuestion {
            flow: Some(v1::FlowTuple {
                kind: v1::ProbeKind::Tcp.into(),
                source_address: vec![10, 0, 0, 1],
                source_port: 61_000,
                destination_address: vec![10, 0, 0, 2],
                destination_port: 80,
            }),
            max_age: most_ms.map(|ms| convert::duration_from_ns(ms * MS)),
        };
        let question = evidence_question(v1::EvidenceQuestion {
            id: 3,
            flows: vec![asked.clone(), v1::FlowQuestion::default()],
            ..Default::default()
        });
        let [flow, unreadable] = question.flows.as_slice() else { panic!("both are answered") };
        let flows = vec![(*flow, seen), (*unreadable, None)];
        let mut answer = evidence_answer(EvidenceAnswer { id: 3, paths: Vec::new(), flows, at_ns: now_ns });
        assert!(!answer.flows.remove(1).known);
        let sighting = answer.flows.remove(0);
        let (requests, replies) = expected;
        assert_eq!((sighting.request_packets, sighting.reply_packets), expected, "{sighting:?}");
        assert_eq!(sighting.known, requests + replies > 0, "{sighting:?}");
        assert_eq!(sighting.last_request_hook.is_some(), requests > 0, "{sighting:?}");
        assert_eq!(
            (sighting.last_reply_hook.is_some(), sighting.last_reply_age.is_some()),
            (replies > 0, replies > 0)
        );
        assert_eq!(sighting.flow, asked.flow);
    }
}

#[test]
fn an_unknown_path_says_so() {
    let asked = PathQuestion { session: ProbeSession(1), path: PathId(2), sources: Vec::new() };
    for (held, unsure) in [(Remembered::Nothing, false), (Remembered::Unsure, true)] {
        let state = reflected_state(&asked, held);
        assert!(!state.known && state.probe_session == 1 && state.path_id == 2);
        assert_eq!(state.unsure, unsure);
    }
}
