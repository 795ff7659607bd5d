//! Exchanges over TCP: what was answered is the server's, what was not is told as far as it is known.

use std::net::IpAddr;

use netcheck_proto::convert::duration_from_ns;

use super::*;
use crate::plan::exchange::{Exchange, Request, Talk};

const MS: u64 = 1_000_000;

/// An HTTP probe to the service web, in the stead of its TCP probe.
fn probe(world: &World) -> Probe {
    let request = Request { host: "web".to_owned(), path: "/".to_owned(), expected: Vec::new() };
    let exchange = Exchange { talk: Talk::Http(request), tls: None, external: false, lookup: None };
    let tcp = world.probe("service/default/web:80", ProbeKind::Tcp).clone();
    Probe { kind: ProbeKind::Http, exchange: Some(Arc::new(exchange)), ..tcp }
}

fn sample(step: v1::ExchangeStep) -> v1::LostSample {
    v1::LostSample {
        step: step.into(),
        flow: Some(flow([10, 0, 0, 1], 61_500, [10, 244, 3, 2], 8080)),
        acknowledged: true,
        waited: Some(duration_from_ns(1_000 * MS)),
        // Of the handshake, which went well.
        reply_hooks: vec![uplink(false)],
        ..timed_out().sample
    }
}

fn lost(sample: v1::LostSample, outcome: Outcome) -> Lost {
    Lost::new(sample, outcome, 100 * SECOND_NS, 101 * SECOND_NS)
}

fn answered(quiet_ms: i64) -> Answer {
    Answer {
        arrived: Some(true),
        replied: true,
        last_request_hook: Some(veth(true)),
        last_reply_hook: Some(uplink(true)),
        reply_delay_ns: None,
        quiet_ns: Some(quiet_ms * MS as i64),
    }
}

#[test]
fn what_a_server_did_is_told_with_its_name() {
    let world = World::new();
    let probe = probe(&world);
    let base = || sample(v1::ExchangeStep::Body);
    for (sample, reason, summary) in [
        (v1::LostSample { http_status: 503, ..base() }, "HTTP 503", "HTTP 503 from backend "),
        (
            v1::LostSample {
                tls_error: "certificate expired".to_owned(),
                tls_detail: "3 days ago".to_owned(),
                ..base()
            },
            "certificate expired",
            "TLS handshake failed: certificate expired 3 days ago (backend ",
        ),
        (
            v1::LostSample {
                tls_error: "name mismatch".to_owned(),
                tls_detail: "it is for a, not b".to_owned(),
                ..base()
            },
            "name mismatch",
            "TLS handshake failed: name mismatch: it is for a, not b (backend ",
        ),
        (
            v1::LostSample { exchange_error: "connection reset".to_owned(), ..base() },
            "connection reset",
            "connection reset by backend ",
        ),
    ] {
        let located = world.locate_with(&probe, &lost(sample, Outcome::HttpError), Sight::Blind, false);
        let at = located.location.clone().unwrap();
        assert_eq!((at.stage(), at.certainty()), (v1::Stage::Application, v1::Certainty::Observed));
        assert_eq!(at.reason, reason);
        assert!(located.summary.starts_with(summary), "{}", located.summary);
    }
}

#[test]
fn a_connection_that_is_reset_by_a_rule_died_at_the_rule() {
    let world = World::new();
    let sample =
        v1::LostSample { exchange_error: "connection reset".to_owned(), ..sample(v1::ExchangeStep::Answer) };
    let mut lost = lost(sample, Outcome::HttpError);
    let record = record("NETFILTER_DROP", v1::Stage::NetfilterForward, v1::Direction::Request);
    lost.add_drop(fact("n2", 100 * SECOND_NS, record));
    let located = world.locate_with(&probe(&world), &lost, Sight::Blind, false);
    assert_eq!(place(&located), "n2 cni0 NetfilterForward Request observed");
}

#[test]
fn silence_after_the_handshake_is_the_programs_only_where_nothing_was_sent_meanwhile() {
    let world = World::new();
    let probe = probe(&world);
    let sees = |drops| Sight::Sees { uplink: Some("ens3".to_owned()), drops };
    // (acknowledged, waited ms, quiet ms, step) → is it the program?
    for (acknowledged, waited_ms, quiet_ms, step, program) in [
        (true, 1000, Some(990), v1::ExchangeStep::Answer, true),
        (true, 1000, Some(990), v1::ExchangeStep::Tls, true),
        // It sent something, and sent it again.
        (true, 1000, Some(400), v1::ExchangeStep::Answer, false),
        // Too short to tell.
        (true, 100, Some(100), v1::ExchangeStep::Answer, false),
        // The request never got there.
        (false, 1000, Some(990), v1::ExchangeStep::Answer, false),
        // The rest of the answer may be lost.
        (true, 1000, Some(990), v1::ExchangeStep::Body, false),
        (true, 1000, None, v1::ExchangeStep::Answer, false),
    ] {
        let waited = Some(duration_from_ns(waited_ms * MS));
        let mut lost = lost(v1::LostSample { acknowledged, waited, ..sample(step) }, Outcome::Timeout);
        lost.answer = Some(Answer { quiet_ns: None, ..answered(0) });
        if let Some(quiet_ms) = quiet_ms {
            lost.answer = Some(answered(quiet_ms));
        }
        let blind = world.locate_with(&probe, &lost, sees(false), false);
        assert!(blind.location.is_none(), "its answer may have been dropped before any hook: {blind:?}");
        let located = world.locate_with(&probe, &lost, sees(true), false);
        let at = located.location.as_ref();
        let is_program = at.is_some_and(|at| {
            (at.stage(), at.certainty()) == (v1::Stage::Application, v1::Certainty::Inferred)
        });
        assert_eq!((is_program, at.is_some()), (program, program), "{}", located.summary);
        assert!(!located.summary.is_empty() && located.want.is_none(), "{}", located.summary);
    }
    // Before it is known what the other node saw, it is asked.
    let lost = lost(sample(v1::ExchangeStep::Answer), Outcome::Timeout);
    let asking = world.locate_with(&probe, &lost, sees(true), false);
    assert_eq!(asking.want, Some(Want::Flow));
    assert!(asking.location.is_none());
}

#[test]
fn a_packet_after_the_handshake_that_a_kernel_dropped_died_there() {
    let world = World::new();
    let mut lost =
        lost(v1::LostSample { acknowledged: false, ..sample(v1::ExchangeStep::Tls) }, Outcome::Timeout);
    let record = record("NETFILTER_DROP", v1::Stage::NetfilterForward, v1::Direction::Request);
    lost.add_drop(fact("n3", 100 * SECOND_NS, record));
    let located = world.locate_with(&probe(&world), &lost, Sight::Blind, false);
    assert_eq!(place(&located), "n3 cni0 NetfilterForward Request observed");
}

#[test]
fn a_handshake_that_got_no_answer_is_located_as_that_of_a_tcp_probe() {
    let world = World::new();
    let sample = v1::LostSample { reply_hooks: Vec::new(), ..sample(v1::ExchangeStep::Connect) };
    let mut lost = lost(sample, Outcome::Timeout);
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let sees = Sight::Sees { uplink: Some("ens3".to_owned()), drops: true };
    let located = world.locate_with(&probe(&world), &lost, sees, false);
    let tcp = world.locate("service/default/web:80", ProbeKind::Tcp, &lost);
    assert_eq!(place(&located), place(&tcp));
    assert!(place(&located).contains("Wire Request inferred"), "{}", place(&located));
}

#[test]
fn a_name_that_is_not_found_is_the_dns_servers_word() {
    let world = World::new();
    let named = probe(&world);
    let exchange =
        Exchange { lookup: Some("shop.test".to_owned()), ..named.exchange.as_deref().unwrap().clone() };
    let address = [0, 0, 0, 0].into();
    let named = Probe { address, exchange: Some(Arc::new(exchange)), ..named };
    let sample = |rcode: &str, resolver: &str| v1::LostSample {
        step: v1::ExchangeStep::Resolve.into(),
        dns_rcode: rcode.to_owned(),
        resolver: resolver.to_owned(),
        ..timed_out().sample
    };
    let dns = world.roster.services["kube-system/kube-dns"].cluster_addresses[0].to_string();
    let locate = |sample| world.locate_with(&named, &lost(sample, Outcome::DnsError), Sight::Blind, false);
    let located = locate(sample("NXDOMAIN", &dns));
    let at = located.location.unwrap();
    assert_eq!((at.node.as_str(), at.reason.as_str()), (dns.as_str(), "NXDOMAIN for its name"));
    assert_eq!((at.stage(), at.certainty()), (v1::Stage::Application, v1::Certainty::Observed));
    let expected = format!("looking up shop.test: NXDOMAIN from DNS server kube-system/kube-dns ({dns})");
    assert_eq!(located.summary, expected);
    // Of silence nobody knows where it comes from.
    let located = locate(sample("timeout", "192.0.2.53"));
    assert!(located.location.is_none() && located.summary.contains("looking up shop.test at"), "{located:?}");
    let located = locate(sample("no DNS server configured", ""));
    assert_eq!(located.summary, "looking up shop.test: no DNS server configured");
}

#[test]
fn what_was_looked_up_or_asked_again_is_located_as_what_it_was_in_the_end() {
    let world = World::new();
    let named = probe(&world);
    let exchange =
        Exchange { lookup: Some("shop.test".to_owned()), ..named.exchange.as_deref().unwrap().clone() };
    let named = Probe { address: [0, 0, 0, 0].into(), exchange: Some(Arc::new(exchange)), ..named };
    let (resolved_address, resolver) = (vec![10, 244, 3, 2], "10.96.0.10".to_owned());
    let sample =
        v1::LostSample { resolved_address, resolver, flow: None, ..sample(v1::ExchangeStep::Answer) };
    let refused = lost(sample, Outcome::Refused);
    let end = refused.in_the_end(&named);
    assert_eq!(end.address, IpAddr::from([10, 244, 3, 2]));
    assert_eq!(
        destination(&world.roster, "n1", &named, &refused),
        destination(&world.roster, "n1", &end, &refused)
    );
    assert!(destination(&world.roster, "n1", &named, &refused).is_some());
    let located = world.locate_with(&end, &refused, Sight::Blind, true);
    assert_eq!(located.evidence[0], "DNS server 10.96.0.10 answered 10.244.3.2 for shop.test");
    let udp = world.catalog.probes.iter().find(|probe| probe.kind == ProbeKind::Dns).unwrap();
    let truncated = lost(v1::LostSample { truncated: true, ..timed_out().sample }, Outcome::Timeout);
    assert!(!udp.over_tcp() && truncated.in_the_end(udp).over_tcp());
    let located = world.locate_with(&truncated.in_the_end(udp), &truncated, Sight::Blind, true);
    assert!(located.evidence[0].contains("truncated"), "{located:?}");
}

#[test]
fn how_a_lost_probe_ended_in_a_few_words() {
    use v1::Outcome;
    let of = |outcome: Outcome| v1::LostSample { outcome: outcome.into(), ..Default::default() };
    let dns = |step: v1::ExchangeStep| v1::LostSample {
        dns_rcode: "NXDOMAIN".to_owned(),
        step: step.into(),
        ..of(Outcome::DnsError)
    };
    let truncated = v1::LostSample { truncated: true, ..of(Outcome::Refused) };
    for (sample, expected) in [
        (of(Outcome::Timeout), "timed out"),
        (v1::LostSample { packet_bytes: 1450, ..of(Outcome::Timeout) }, "of 1450 bytes timed out"),
        (of(Outcome::Refused), "was refused"),
        (truncated, "was answered truncated, and over TCP was refused"),
        (of(Outcome::Unreachable), "was answered unreachable"),
        (v1::LostSample { errno: "EPERM".to_owned(), ..of(Outcome::SendError) }, "could not be sent: EPERM"),
        (dns(v1::ExchangeStep::Resolve), "was not sent: looking up its server's name: NXDOMAIN"),
        (dns(v1::ExchangeStep::Unspecified), "was answered NXDOMAIN"),
        (
            v1::LostSample { http_status: 503, ..of(Outcome::HttpError) },
            "was not answered as expected: HTTP 503",
        ),
    ] {
        assert_eq!(locate::exchange::ending(&sample), expected);
    }
}
