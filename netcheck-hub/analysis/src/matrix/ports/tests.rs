use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::{convert, v1};
use proptest::prelude::*;

use super::*;
use crate::model::evidence::{Flow, LostSample};
use crate::words::patterns::{port_names, ports_named, ports_shared};

fn wire(lost: &[(u32, u32, u32)], at_s: i64) -> v1::PathPorts {
    let lost = lost.iter().map(|&(port, sent, lost)| v1::PortLoss { port, sent, lost });
    v1::PathPorts {
        path_id: 1,
        ports: 8,
        lost: lost.collect(),
        others_sent: 48,
        others_lost: 0,
        measured_unix_ns: at_s * SECOND_NS,
        interval: Some(convert::duration_from_ns(20 * SECOND_NS as u64)),
        undecided: false,
    }
}

fn lost(port: Option<u16>, sent_s: i64) -> Lost {
    let flow = port.map(|source_port| Flow {
        kind: ProbeKind::Udp,
        source: ([10, 0, 0, 1], source_port).into(),
        destination: ([10, 0, 0, 2], 6100).into(),
    });
    let sample = LostSample { flow, ..Default::default() };
    Lost::new(sample, Outcome::Timeout, sent_s * SECOND_NS, sent_s * SECOND_NS)
}

#[test]
fn hurt_until_it_is_over_or_forgotten() {
    let ports = Ports::read(&wire(&[(61_007, 8, 8)], 100), 0).unwrap().unwrap();
    assert!(ports.stands(160 * SECOND_NS) && !ports.stands(161 * SECOND_NS));
    assert_eq!((ports.packets_lost(), ports.to_wire().lost[0].port), (8, 61_007));
    for (port, sent_s, expected) in
        [(Some(61_007), 90, true), (Some(61_008), 90, false), (None, 90, true), (Some(61_007), 39, false)]
    {
        assert_eq!(ports.shown_by(&lost(port, sent_s), 100 * SECOND_NS), expected, "{port:?} {sent_s}");
    }
    let undecided = v1::PathPorts { undecided: true, ..wire(&[(61_007, 2, 2)], 100) };
    let undecided = Ports::read(&undecided, 0).unwrap().unwrap();
    let at = |seconds: i64| seconds * SECOND_NS;
    assert!(!undecided.stands(at(100)) && undecided.in_question(at(100)) && !undecided.in_question(at(161)));
    assert!(!ports.in_question(at(100)));
    let mut sized = lost(None, 90);
    sized.sample.packet_bytes = 1500;
    assert!(!ports.shown_by(&sized, 100 * SECOND_NS));
    assert_eq!(Ports::read(&wire(&[], 101), 0), Ok(None));
}

#[test]
fn ports_in_words() {
    let of = |lost: &[(u32, u32, u32)], others_lost| {
        let wire = v1::PathPorts { others_lost, ..wire(lost, 0) };
        Ports::read(&wire, 0).unwrap().unwrap()
    };
    let one = of(&[(61_007, 8, 8)], 0);
    let two = of(&[(61_007, 8, 8), (61_001, 8, 4)], 1);
    for (paths, expected) in [
        (vec![one.losses()], "1 of 8 source ports loses everything, the others nothing, lost port 61007"),
        (
            vec![two.losses()],
            "2 of 8 source ports lose 75 % of their packets, the others hardly any, lost ports 61001 and 61007",
        ),
        (
            vec![one.losses(), two.losses()],
            "1 to 2 of 8 source ports lose 83 % of their packets, the others hardly any, lost ports 61001 and 61007",
        ),
    ] {
        assert_eq!(ports_shared(&paths).unwrap() + &ports_named(&paths), expected);
    }
    assert_eq!(ports_shared(&[]), None);
    assert_eq!(port_names([1, 2, 3, 4, 5, 6].into_iter()), "1, 2, 3, 4 and 2 more");
    assert_eq!(
        two.lines(),
        [
            "source ports 61001 and 61007: 12 of 16 packets lost",
            "the 6 others: 1 of 48; as when one of several parallel ways is dead"
        ]
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = wire(&[(61_007, 8, 8)], 0);
    assert!(Ports::read(&good, 0).is_ok());
    for bad in [
        wire(&[(70_000, 8, 8)], 0),
        wire(&[(61_007, 8, 9)], 0),
        wire(&[(61_007, 8, 0)], 0),
        wire(&[(61_007, 8, 8); 8], 0),
        v1::PathPorts { ports: 1000, ..good.clone() },
        v1::PathPorts { others_lost: 49, ..good.clone() },
        v1::PathPorts { interval: None, ..good },
    ] {
        assert_eq!(Ports::read(&bad, 0), Err(Nonsense), "{bad:?}");
    }
}

proptest! {
    /// Whatever an agent says: it is refused, or can be shown.
    #[test]
    fn any_report_is_taken_or_refused(
        lost in prop::collection::vec(any::<(u32, u32, u32)>(), 0..10),
        ports in any::<u32>(),
        others in any::<(u32, u32)>(),
        seconds in any::<i64>(),
        at_ns in any::<i64>(),
    ) {
        let wire = v1::PathPorts {
            ports: ports % 70,
            others_sent: others.0,
            others_lost: others.1,
            measured_unix_ns: at_ns,
            interval: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..wire(&lost.iter().map(|of| (of.0 % 65_600, of.1, of.2)).collect::<Vec<_>>(), 0)
        };
        if let Ok(Some(ports)) = Ports::read(&wire, at_ns) {
            prop_assert!(ports.lines().iter().all(|line| !line.is_empty()));
            prop_assert!(ports_shared(&[ports.losses()]).is_some());
            let _ = ports.stands(at_ns);
        }
    }
}
