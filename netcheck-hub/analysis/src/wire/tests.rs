use netcheck_common::domain::Outcome;
use netcheck_proto::v1;

use super::evidence::{stage, stage_to_wire};
use super::*;
use crate::model::incident::IncidentKind;

#[test]
fn every_stage_keeps_its_name_both_ways() {
    // Numbers of the contract, with a gap before those of the bridge family.
    let known = (0..100).filter_map(|number| v1::Stage::try_from(number).ok());
    let mut count = 0;
    for wire in known {
        let own = stage(wire);
        assert_eq!(stage_to_wire(own), wire);
        assert_eq!(own.key(), wire.as_str_name().trim_start_matches("STAGE_").to_lowercase());
        count += 1;
    }
    assert_eq!(count, 22);
}

#[test]
fn every_kind_of_incident_has_a_wire_form_of_its_own() {
    let kinds: std::collections::BTreeSet<i32> =
        IncidentKind::ALL.into_iter().map(|kind| incident_kind(kind).into()).collect();
    assert_eq!(kinds, (1..=15).collect());
    assert!(v1::IncidentKind::try_from(16).is_err(), "one that is not among them");
}

#[test]
fn a_lost_probe_is_shown_as_it_was_reported() {
    let seen = |egress| v1::HookSeen {
        interface: "eth0".to_owned(),
        role: v1::InterfaceRole::Uplink.into(),
        egress,
        encapsulated: true,
    };
    let wire = v1::LostSample {
        new_flows_lost: 3,
        path_id: 7,
        sequence: 9,
        sent_unix_ns: 1_795_000_000_000_000_000,
        outcome: v1::Outcome::Unreachable.into(),
        suspect: true,
        request_hooks: vec![seen(true), seen(false)],
        reply_hooks: vec![seen(false)],
        errno: "EPERM".to_owned(),
        icmp_error: Some(v1::IcmpError { from: vec![10, 0, 0, 1], r#type: 3, code: 4, mtu_bytes: 1400 }),
        dns_rcode: "SERVFAIL".to_owned(),
        flow: Some(v1::FlowTuple {
            kind: v1::ProbeKind::Http.into(),
            source_address: vec![10, 0, 0, 1],
            destination_address: vec![10, 0, 0, 2],
            source_port: 40_000,
            destination_port: 80,
        }),
        unwatched: true,
        packet_bytes: 1500,
        step: v1::ExchangeStep::Body.into(),
        http_status: 503,
        tls_error: "certificate expired".to_owned(),
        tls_detail: "3 days ago".to_owned(),
        exchange_error: "connection reset".to_owned(),
        acknowledged: true,
        waited: Some(prost_types::Duration { seconds: 2, nanos: 5 }),
        resolved_address: vec![0; 16],
        resolver: "10.96.0.10".to_owned(),
        truncated: true,
    };
    assert_eq!(lost_sample_to_wire(&lost_sample(wire.clone()), Outcome::Unreachable), wire);
    // An address that is none is not shown; the error is.
    let error = v1::IcmpError { from: vec![1], r#type: 3, code: 1, mtu_bytes: 0 };
    let broken = v1::LostSample { icmp_error: Some(error), ..Default::default() };
    let read = lost_sample(broken);
    assert_eq!(read.icmp_error.map(|error| (error.from, error.code)), Some((None, 1)));
}

#[test]
fn a_drop_without_a_session_carries_no_probe() {
    let record = |probe_session| drop_record(v1::DropRecord { probe_session, ..Default::default() });
    assert_eq!(record(0).probe, None);
    assert_eq!(record(9).probe.map(|probe| probe.session), Some(9));
}
