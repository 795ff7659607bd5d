//! Exchanges over TCP: what was answered is the server's, what was not is described as far as it is known.

use std::net::IpAddr;

use super::*;
use crate::plan::exchange::{Exchange, Request, Talk};

const MS: u64 = 1_000_000;

/// An HTTP probe to the service web, in the stead of its TCP probe.
fn probe(world: &World) -> Probe {
    let request = Request { host: "web".to_owned(), path: "/".to_owned(), expected: Vec::new(), call: None };
    let exchange = Exchange { talk: Talk::Http(request), tls: None, external: false, lookup: None };
    let tcp = world.probe("service/default/web:80", ProbeKind::Tcp).clone();
    Probe { kind: ProbeKind::Http, exchange: Some(Arc::new(exchange)), ..tcp }
}

fn sample(step: ExchangeStep) -> LostSample {
    LostSample {
        step,
        flow: Some(flow([10, 0, 0, 1], 61_500, [10, 244, 3, 2], 8080)),
        acknowledged: true,
        waited: Some(Duration::from_nanos(1_000 * MS)),
        // Of the handshake, which went well.
        reply_hooks: vec![uplink(false)],
        ..timed_out().sample
    }
}

fn lost(sample: LostSample, outcome: Outcome) -> Lost {
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
fn what_a_server_did_is_reported_with_its_name() {
    let world = World::new();
    let probe = probe(&world);
    let base = || sample(ExchangeStep::Body);
    for (sample, reason, summary) in [
        (LostSample { http_status: 503, ..base() }, "HTTP 503", "HTTP 503 from backend "),
        (
            LostSample {
                tls_error: "certificate expired".to_owned(),
                tls_detail: "3 days ago".to_owned(),
                ..base()
            },
            "certificate expired",
            "TLS handshake failed: certificate expired 3 days ago (backend ",
        ),
        (
            LostSample {
                tls_error: "name mismatch".to_owned(),
                tls_detail: "it is for a, not b".to_owned(),
                ..base()
            },
            "name mismatch",
            "TLS handshake failed: name mismatch: it is for a, not b (backend ",
        ),
        (
            LostSample { exchange_error: "connection reset".to_owned(), ..base() },
            "connection reset",
            "connection reset by backend ",
        ),
    ] {
        let located =
            world.locate_with(&probe, &lost(sample, Outcome::HttpError), Visibility::NoHooks, false);
        let at = located.location.clone().unwrap();
        assert_eq!((at.stage, at.certainty), (Stage::Application, Certainty::Inferred), "n1 alone says so");
        assert_eq!(at.reason, reason);
        assert!(located.summary.starts_with(summary), "{}", located.summary);
    }
}

#[test]
fn a_connection_that_is_reset_by_a_rule_died_at_the_rule() {
    let world = World::new();
    let sample = LostSample { exchange_error: "connection reset".to_owned(), ..sample(ExchangeStep::Answer) };
    let mut lost = lost(sample, Outcome::HttpError);
    let record = record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request);
    lost.add_drop(fact("n2", 100 * SECOND_NS, record));
    let located = world.locate_with(&probe(&world), &lost, Visibility::NoHooks, false);
    assert_eq!(place(&located), "n2 cni0 NetfilterForward Request observed");
}

#[test]
fn silence_after_the_handshake_is_the_programs_only_where_nothing_was_sent_meanwhile() {
    let world = World::new();
    let probe = probe(&world);
    let sees = |drops| Visibility::Hooks { uplink: Some("ens3".to_owned()), drops };
    // (acknowledged, waited ms, quiet ms, step) → is it the program?
    for (acknowledged, waited_ms, quiet_ms, step, program) in [
        (true, 1000, Some(990), ExchangeStep::Answer, true),
        (true, 1000, Some(990), ExchangeStep::Tls, true),
        // It sent something, and sent it again.
        (true, 1000, Some(400), ExchangeStep::Answer, false),
        // Too short to tell.
        (true, 100, Some(100), ExchangeStep::Answer, false),
        // The request never got there.
        (false, 1000, Some(990), ExchangeStep::Answer, false),
        // The rest of the answer may be lost.
        (true, 1000, Some(990), ExchangeStep::Body, false),
        (true, 1000, None, ExchangeStep::Answer, false),
    ] {
        let waited = Some(Duration::from_nanos(waited_ms * MS));
        let mut lost = lost(LostSample { acknowledged, waited, ..sample(step) }, Outcome::Timeout);
        lost.answer = Some(Answer { quiet_ns: None, ..answered(0) });
        if let Some(quiet_ms) = quiet_ms {
            lost.answer = Some(answered(quiet_ms));
        }
        let unwatched = world.locate_with(&probe, &lost, sees(false), false);
        assert!(
            unwatched.location.is_none(),
            "its answer may have been dropped before any hook: {unwatched:?}"
        );
        let located = world.locate_with(&probe, &lost, sees(true), false);
        let at = located.location.as_ref();
        let is_program =
            at.is_some_and(|at| (at.stage, at.certainty) == (Stage::Application, Certainty::Inferred));
        assert_eq!((is_program, at.is_some()), (program, program), "{}", located.summary);
        assert!(!located.summary.is_empty() && located.want.is_none(), "{}", located.summary);
    }
    // Before it is known what the other node saw, it is asked.
    let lost = lost(sample(ExchangeStep::Answer), Outcome::Timeout);
    let asking = world.locate_with(&probe, &lost, sees(true), false);
    assert_eq!(asking.want, Some(Want::Flow));
    assert!(asking.location.is_none());
}

#[test]
fn a_packet_after_the_handshake_that_a_kernel_dropped_died_there() {
    let world = World::new();
    let mut lost = lost(LostSample { acknowledged: false, ..sample(ExchangeStep::Tls) }, Outcome::Timeout);
    let record = record("NETFILTER_DROP", Stage::NetfilterForward, Direction::Request);
    lost.add_drop(fact("n3", 100 * SECOND_NS, record));
    let located = world.locate_with(&probe(&world), &lost, Visibility::NoHooks, false);
    assert_eq!(place(&located), "n3 cni0 NetfilterForward Request observed");
}

#[test]
fn a_handshake_that_got_no_answer_is_located_as_that_of_a_tcp_probe() {
    let world = World::new();
    let sample = LostSample { reply_hooks: Vec::new(), ..sample(ExchangeStep::Connect) };
    let mut lost = lost(sample, Outcome::Timeout);
    lost.answer = Some(Answer { arrived: Some(false), ..Answer::default() });
    let sees = Visibility::Hooks { uplink: Some("ens3".to_owned()), drops: true };
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
    let sample = |rcode: &str, resolver: &str| LostSample {
        step: ExchangeStep::Resolve,
        dns_rcode: rcode.to_owned(),
        resolver: resolver.to_owned(),
        ..timed_out().sample
    };
    let dns = world.roster.services["kube-system/kube-dns"].cluster_addresses[0].to_string();
    let locate =
        |sample| world.locate_with(&named, &lost(sample, Outcome::DnsError), Visibility::NoHooks, false);
    let located = locate(sample("NXDOMAIN", &dns));
    let at = located.location.unwrap();
    assert_eq!((at.node.as_str(), at.reason.as_str()), (dns.as_str(), "NXDOMAIN for its name"));
    assert_eq!((at.stage, at.certainty), (Stage::Application, Certainty::Inferred), "n1 alone says so");
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
    let (resolved_address, resolver) = (Some([10, 244, 3, 2].into()), "10.96.0.10".to_owned());
    let sample = LostSample { resolved_address, resolver, flow: None, ..sample(ExchangeStep::Answer) };
    let refused = lost(sample, Outcome::Refused);
    let end = refused.in_the_end(&named);
    assert_eq!(end.address, IpAddr::from([10, 244, 3, 2]));
    assert_eq!(
        destination(&world.roster, "n1", &named, &refused),
        destination(&world.roster, "n1", &end, &refused)
    );
    assert!(destination(&world.roster, "n1", &named, &refused).is_some());
    let located = world.locate_with(&end, &refused, Visibility::NoHooks, true);
    assert_eq!(located.evidence[0], "DNS server 10.96.0.10 answered 10.244.3.2 for shop.test");
    let udp = world.catalog.probes.iter().find(|probe| probe.kind == ProbeKind::Dns).unwrap();
    let truncated = lost(LostSample { truncated: true, ..timed_out().sample }, Outcome::Timeout);
    assert!(!udp.over_tcp() && truncated.in_the_end(udp).over_tcp());
    let located = world.locate_with(&truncated.in_the_end(udp), &truncated, Visibility::NoHooks, true);
    assert!(located.evidence[0].contains("truncated"), "{located:?}");
}

#[test]
fn how_a_lost_probe_ended_in_a_few_words() {
    let dns =
        |step: ExchangeStep| LostSample { dns_rcode: "NXDOMAIN".to_owned(), step, ..LostSample::default() };
    for (outcome, sample, expected) in [
        (Outcome::Timeout, LostSample::default(), "timed out"),
        (
            Outcome::Timeout,
            LostSample { packet_bytes: 1450, ..LostSample::default() },
            "of 1450 bytes timed out",
        ),
        (Outcome::Refused, LostSample::default(), "was refused"),
        (
            Outcome::Refused,
            LostSample { truncated: true, ..LostSample::default() },
            "was answered truncated, and over TCP was refused",
        ),
        (Outcome::Unreachable, LostSample::default(), "was answered unreachable"),
        (
            Outcome::SendError,
            LostSample { errno: "EPERM".to_owned(), ..LostSample::default() },
            "could not be sent: EPERM",
        ),
        (
            Outcome::DnsError,
            dns(ExchangeStep::Resolve),
            "was not sent: looking up its server's name: NXDOMAIN",
        ),
        (Outcome::DnsError, dns(ExchangeStep::None), "was answered NXDOMAIN"),
        (
            Outcome::HttpError,
            LostSample { http_status: 503, ..LostSample::default() },
            "was not answered as expected: HTTP 503",
        ),
    ] {
        assert_eq!(locate::exchange::ending(outcome, &sample), expected);
    }
}
