mod late;
mod new_flows;
mod properties;
mod sizes;
mod windows;

use netcheck_common::header::FLAG_REFLECTED;
use netcheck_common::window::PathWindow;
use netcheck_proto::v1;
use rustix::io::Errno;

use super::*;
use crate::model::observation::{Direction, DropSeen, Flow, Hook, InterfaceRole, Stamp};
use crate::model::report::ArrivalSeen;
use crate::model::sample::Purpose;

const MS: u64 = 1_000_000;
const SESSION: ProbeSession = ProbeSession(0xfeed);
const TIMEOUT: u64 = 1000 * MS;

fn merge() -> Merge {
    Merge::new(SESSION, TIMEOUT, 1000 * MS, 0)
}

fn key(path: u32, sequence: u32) -> ProbeKey {
    ProbeKey { path: PathId(path), sequence: Sequence(sequence) }
}

fn target() -> SocketAddr {
    "10.0.0.2:6100".parse().unwrap()
}

fn probe(key: ProbeKey) -> Probe {
    Probe {
        key,
        vantage: Vantage::Host,
        socket_set: 0,
        kind: ProbeKind::Udp,
        target: target(),
        watched: true,
        slot: 0,
        timeout_ns: 0,
        purpose: Purpose::Ordinary,
    }
}

fn header(key: ProbeKey) -> ProbeHeader {
    ProbeHeader { session: SESSION.0, path: key.path.0, sequence: key.sequence.0, ..ProbeHeader::default() }
}

/// Read promptly at this time.
fn prompt(at_ns: u64) -> Seen {
    Seen { at_ns, since_ns: at_ns, prompt: true }
}

/// Read on a tick at this time, the one before being 50 ms earlier.
fn batched(at_ns: u64) -> Seen {
    Seen { at_ns, since_ns: at_ns.saturating_sub(50 * MS), prompt: false }
}

fn stamp(key: ProbeKey, direction: Direction, at_ns: u64) -> Observation {
    let egress = direction == Direction::Request;
    let hook = Hook {
        ifindex: 2,
        interface: "eth0".into(),
        role: InterfaceRole::Uplink,
        egress,
        encapsulated: false,
    };
    let flow = Flow { kind: ProbeKind::Udp, source: "10.0.0.1:4000".parse().unwrap(), destination: target() };
    Observation::Stamp(Stamp { probe: key, at_ns, hook, direction, flow, reflected: None, reset: false })
}

fn dropped(identity: DropIdentity, direction: Direction) -> Observation {
    let Observation::Stamp(Stamp { hook, flow, .. }) = stamp(key(1, 1), direction, 0) else { unreachable!() };
    Observation::Drop(DropSeen {
        identity,
        at_ns: 5,
        hook,
        pod: None,
        stage: v1::Stage::NetfilterForward,
        direction,
        flow,
        reason: "NETFILTER_DROP".into(),
        function: "nft_do_chain".into(),
    })
}

fn own(key: ProbeKey) -> DropIdentity {
    DropIdentity::Probe { session: SESSION, probe: key }
}

/// The turn came late.
const fn late(_since_ns: u64) -> Option<StarvationReason> {
    Some(StarvationReason::Late)
}

/// Everything until the end of all windows.
fn finish(merge: &mut Merge, now_ns: u64) -> Report {
    merge.settle(now_ns, |_| None, |_| {});
    merge.take_report(now_ns, true)
}

fn only(report: &Report) -> &PathWindow {
    assert_eq!(report.windows.len(), 1, "{report:?}");
    &report.windows[0].paths[0]
}

#[test]
fn a_reply_is_split_into_shares() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 1000 * MS);
    merge.observe(stamp(key(1, 1), Direction::Request, 1002 * MS));
    merge.observe(stamp(key(1, 1), Direction::Reply, 1012 * MS));
    let reflected = ProbeHeader {
        flags: FLAG_REFLECTED,
        t2_ns: 77 * MS,
        t3_ns: 80 * MS,
        requests: 1,
        arrived: 1,
        ..header(key(1, 1))
    };
    merge.echo(target(), &reflected, prompt(1016 * MS));
    let report = finish(&mut merge, 1016 * MS);
    let window = only(&report);
    let near = |sketch: &netcheck_common::sketch::Sketch, ms: f64| {
        let ns = sketch.quantile_ns(0.5).unwrap() as f64;
        assert!((ns / 1e6 - ms).abs() <= ms * 0.04, "{ns} is not {ms} ms");
    };
    near(&window.round_trip, 16.0);
    near(&window.network, 7.0);
    near(&window.host, 6.0);
    near(&window.responder, 3.0);
    assert_eq!((window.reply, window.sent()), (1, 1));
    assert!(report.lost.is_empty());
}

#[test]
fn a_batched_reply_is_timed_by_the_kernel_alone() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 1000 * MS);
    merge.echo(target(), &header(key(1, 1)), batched(1050 * MS));
    merge.observe(stamp(key(1, 1), Direction::Reply, 1010 * MS));
    merge.observe(stamp(key(1, 1), Direction::Request, 1001 * MS));
    let report = finish(&mut merge, 1050 * MS);
    let window = only(&report);
    for (sketch, ms) in [(&window.round_trip, 10.0), (&window.network, 9.0), (&window.host, 1.0)] {
        let found = sketch.quantile_ns(0.5).unwrap() as f64 / 1e6;
        assert!((found - ms).abs() <= ms * 0.04, "{found} is not {ms}");
    }
    assert!(window.responder.is_empty());
}

#[test]
fn a_batched_reply_without_stamps_has_no_times() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 1000 * MS);
    merge.echo(target(), &header(key(1, 1)), batched(1050 * MS));
    let report = finish(&mut merge, 1050 * MS);
    assert_eq!(only(&report).reply, 1);
    assert!(only(&report).round_trip.is_empty() && only(&report).host.is_empty());
    assert_eq!(merge.counters.unstamped, 1);
}

#[test]
fn silence_is_a_timeout_with_what_the_hooks_saw() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 1000 * MS);
    merge.observe(stamp(key(1, 1), Direction::Request, 1000 * MS + 5));
    merge.observe(dropped(own(key(1, 1)), Direction::Request));
    merge.settle(1500 * MS, |_| None, |_| {});
    assert_eq!(merge.in_flight(), 1);
    assert_eq!(merge.next_deadline_ns(), Some(2000 * MS));
    let report = finish(&mut merge, 2001 * MS);
    assert_eq!(only(&report).outcome(Outcome::Timeout), 1);
    let lost = &report.lost[0];
    assert_eq!((lost.outcome, lost.suspect, lost.unwatched), (Outcome::Timeout, false, false));
    assert_eq!((lost.request_hooks.len(), lost.reply_hooks.len()), (1, 0));
    assert_eq!(lost.flow.unwrap().destination, target());
    assert_eq!(report.drops.len(), 1);
}

#[test]
fn whether_a_reply_came_in_time() {
    // (t1, t4, read at, batched, starved) → (replies, timeouts, suspects)
    let table = [
        (None, None, 1999, false, false, (1, 0, 0)),
        (None, None, 2100, false, false, (0, 1, 0)),
        (None, None, 2100, false, true, (0, 0, 1)),
        (None, None, 2010, true, false, (1, 0, 0)),
        // However late user space is, the kernel knows.
        (Some(1001), Some(1900), 9000, true, true, (1, 0, 0)),
        (Some(1001), Some(2002), 9000, true, true, (0, 1, 0)),
        // What it waited on its own host is not the network's.
        (Some(1800), Some(2700), 2750, true, false, (1, 0, 0)),
    ];
    for (t1, t4, read_at, is_batched, starved, expected) in table {
        let mut merge = merge();
        merge.sent(probe(key(1, 1)), 1000 * MS);
        for (direction, at) in [(Direction::Request, t1), (Direction::Reply, t4)] {
            if let Some(at) = at {
                merge.observe(stamp(key(1, 1), direction, at * MS));
            }
        }
        let seen =
            if is_batched { batched(read_at * MS) } else { Seen { since_ns: 0, ..prompt(read_at * MS) } };
        merge.echo(target(), &header(key(1, 1)), seen);
        merge.settle(read_at * MS, |_| starved.then_some(StarvationReason::Late), |_| {});
        let report = merge.take_report(20_000 * MS, false);
        let window = only(&report);
        let found = (window.reply, window.outcome(Outcome::Timeout), window.suspect);
        assert_eq!(found, expected, "{t1:?} {t4:?} {read_at} {starved}");
        assert_eq!(
            report.arrivals.len(),
            usize::from(expected.0 == 0),
            "a late reply shows that the request arrived"
        );
    }
}

#[test]
fn a_starved_turn_makes_silence_suspect_and_a_late_stamp_extends_the_deadline() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 1000 * MS);
    merge.settle(5000 * MS, late, |_| {});
    merge.sent(probe(key(1, 2)), 5000 * MS);
    merge.unreliable(key(1, 2));
    merge.sent(probe(key(1, 3)), 5000 * MS);
    merge.observe(stamp(key(1, 3), Direction::Request, 5600 * MS));
    merge.settle(6100 * MS, |_| None, |_| {});
    assert_eq!(merge.in_flight(), 1);
    let report = finish(&mut merge, 6600 * MS);
    let suspects: Vec<_> = report.lost.iter().map(|lost| (lost.probe.sequence.0, lost.suspect)).collect();
    assert_eq!(suspects, [(1, true), (2, true), (3, false)]);
    assert_eq!(merge.counters.suspects_total(), 2);
}

#[test]
fn doubt_is_asked_for_only_when_a_loss_is_declared() {
    let mut merge = merge();
    let asked = std::cell::RefCell::new(Vec::new());
    let throttled_until = |until_ns| {
        let asked = &asked;
        move |since_ns| {
            asked.borrow_mut().push(since_ns / MS);
            (since_ns < until_ns).then_some(StarvationReason::Throttled)
        }
    };
    let starved = throttled_until(1200 * MS);
    for (sequence, sent_ms) in [(1, 1000), (2, 1100), (3, 1200)] {
        merge.sent(probe(key(1, sequence)), sent_ms * MS);
    }
    merge.echo(target(), &header(key(1, 2)), prompt(1101 * MS));
    let refused = Ending::Failed { outcome: Outcome::Refused, detail: Detail::default() };
    merge.sent(probe(key(2, 1)), 1000 * MS);
    merge.ended(key(2, 1), refused);
    merge.settle(1150 * MS, &starved, |_| {});
    assert!(asked.borrow().is_empty(), "an answer is an answer");
    merge.settle(2500 * MS, &starved, |_| {});
    assert_eq!(*asked.borrow(), [1000, 1200]);
    let report = merge.take_report(5000 * MS, false);
    let of = |path, what: fn(&PathWindow) -> u32| -> u32 {
        let rows = report.windows.iter().flat_map(|window| &window.paths);
        rows.filter(|row| row.path == PathId(path)).map(what).sum()
    };
    let timeouts = |row: &PathWindow| row.outcome(Outcome::Timeout);
    assert_eq!((of(1, |row| row.reply), of(1, |row| row.suspect), of(1, timeouts)), (1, 1, 1));
    assert_eq!(of(2, |row| row.outcome(Outcome::Refused)), 1);
    assert!(
        merge
            .counters
            .suspects()
            .all(|(why_starved, count)| count == u64::from(why_starved == StarvationReason::Throttled))
    );
}

#[test]
fn errors_end_a_probe_with_their_detail() {
    let mut merge = merge();
    let icmp = IcmpSeen { from: "10.0.0.9".parse().unwrap(), kind: 3, code: 13, mtu_bytes: 0 };
    (1..=4).for_each(|sequence| merge.sent(probe(key(1, sequence)), 0));
    merge.icmp_error(key(1, 1), target(), Outcome::Unreachable, icmp);
    merge.icmp_error(key(1, 2), "10.9.9.9:6100".parse().unwrap(), Outcome::Unreachable, icmp);
    merge.icmp_error(key(1, 99), target(), Outcome::Unreachable, icmp);
    let errno = |errno| Detail { errno: Some(errno), ..Detail::default() };
    let unreachable = Ending::Failed { outcome: Outcome::Unreachable, detail: errno(Errno::HOSTUNREACH) };
    merge.ended(key(1, 1), unreachable);
    let send_error = Ending::Failed { outcome: Outcome::SendError, detail: errno(Errno::PERM) };
    merge.ended(key(1, 3), send_error);
    merge.ended(key(1, 4), Ending::OwnFault { detail: errno(Errno::NOBUFS) });
    merge.observe(dropped(own(key(1, 3)), Direction::Request));
    let mut over = Vec::new();
    merge.settle(MS, |_| None, |probe| over.push(probe.key.sequence.0));
    assert_eq!(over, [1, 3, 4]);
    let report = finish(&mut merge, 2 * MS);
    let window = only(&report);
    assert_eq!((window.outcome(Outcome::Unreachable), window.outcome(Outcome::SendError)), (1, 1));
    assert_eq!((window.suspect, report.drops.len()), (1, 1));
    assert_eq!(report.lost[0].detail.icmp, Some(icmp));
    assert_eq!(report.lost[0].detail.errno, Some(Errno::HOSTUNREACH), "the socket's word is added");
    assert_eq!((merge.counters.forged, merge.counters.late), (1, 1));
}

#[test]
fn drops_are_evidence_only_for_what_got_no_reply() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 0);
    merge.sent(probe(key(1, 2)), 0);
    merge.observe(dropped(own(key(1, 1)), Direction::Reply));
    merge.echo(target(), &header(key(1, 1)), prompt(MS));
    merge.settle(MS, |_| None, |_| {});
    merge.observe(dropped(own(key(1, 1)), Direction::Reply));
    merge.settle(2000 * MS, |_| None, |_| {});
    merge.observe(dropped(own(key(1, 2)), Direction::Reply));
    let stranger = DropIdentity::Probe { session: ProbeSession(1), probe: key(1, 1) };
    merge.observe(dropped(stranger, Direction::Request));
    merge.observe(dropped(DropIdentity::ForeignFlow, Direction::Request));
    let report = finish(&mut merge, 2000 * MS);
    let identities: Vec<_> = report.drops.iter().map(|drop| drop.identity).collect();
    assert_eq!(identities, [own(key(1, 2)), stranger, DropIdentity::ForeignFlow]);
}

#[test]
fn a_path_that_leaves_the_plan_takes_its_probes_along() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 0);
    merge.sent(probe(key(2, 1)), 0);
    let mut gone = Vec::new();
    merge.forget(&[PathId(1)], |probe| gone.push(probe.key));
    assert_eq!(gone, [key(1, 1)]);
    merge.echo(target(), &header(key(1, 1)), prompt(MS));
    let report = finish(&mut merge, 2000 * MS);
    assert_eq!(only(&report).path, PathId(2));
    assert_eq!((merge.counters.late, merge.counters.forged), (1, 0));
}

#[test]
fn short_quotes_of_icmp_errors_find_the_newest_probe() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 0);
    merge.sent(probe(key(1, 2)), MS);
    let quoted =
        Quoted { transport: ProbeKind::Udp, to: target(), from_port: 4000, icmp_sequence: 0, header: None };
    assert_eq!(merge.quoted(&quoted, Vantage::Host, 0), Some(key(1, 2)));
    let with_header = Quoted { header: Some(header(key(1, 1))), ..quoted.clone() };
    assert_eq!(merge.quoted(&with_header, Vantage::Host, 9), Some(key(1, 1)));
    let stranger = ProbeHeader { session: 1, ..header(key(1, 1)) };
    assert_eq!(merge.quoted(&Quoted { header: Some(stranger), ..quoted }, Vantage::Host, 0), None);
}

#[test]
fn later_replies_report_lost_ones() {
    let mut merge = merge();
    (1..=3).for_each(|sequence| merge.sent(probe(key(1, sequence)), u64::from(sequence) * 100 * MS));
    let reply =
        |sequence, arrived| ProbeHeader { flags: FLAG_REFLECTED, arrived, ..header(key(1, sequence)) };
    merge.echo(target(), &reply(1, 1), prompt(101 * MS));
    merge.settle(1500 * MS, |_| None, |_| {});
    merge.sent(probe(key(1, 4)), 1600 * MS);
    merge.echo(target(), &reply(4, 0b1011), prompt(1601 * MS));
    let report = finish(&mut merge, 1700 * MS);
    let arrival = |sequence, arrived| ArrivalSeen {
        path: PathId(1),
        sequence: Sequence(sequence),
        arrived,
        late: false,
    };
    assert_eq!(report.arrivals, [arrival(2, false), arrival(3, true)]);
    assert_eq!(report.lost.len(), 2);
}

#[test]
fn a_reply_that_died_before_its_socket_shows_that_the_request_arrived() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 0);
    let Observation::Stamp(mut seen) = stamp(key(1, 1), Direction::Reply, MS) else { unreachable!() };
    seen.reflected = Some(Reflected { t2_ns: 1, t3_ns: 2, requests: 1, arrived: 1 });
    merge.observe(Observation::Stamp(seen));
    let report = finish(&mut merge, 1000 * MS);
    assert_eq!(only(&report).outcome(Outcome::Timeout), 1, "a stamp is no reply");
    assert!(report.arrivals[0].arrived);
    assert_eq!(report.lost[0].reply_hooks.len(), 1);
}

#[test]
fn details_are_bounded_and_counted() {
    let mut merge = merge();
    for sequence in 1..=DETAILS_MAX as u32 + 5 {
        merge.sent(probe(key(1, sequence)), 0);
    }
    let report = finish(&mut merge, 1000 * MS);
    assert_eq!(report.lost.len(), DETAILS_MAX);
    assert_eq!(merge.counters.details_dropped, 5);
    assert_eq!(only(&report).outcome(Outcome::Timeout) as usize, DETAILS_MAX + 5, "the counts are whole");
}
