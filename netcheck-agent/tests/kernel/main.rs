//! The kernel programs on this machine's kernel: two nodes in network namespaces of one test process, a veth pair
//! between them, real packets.
#![cfg(feature = "ebpf")]
#![expect(clippy::unwrap_used, reason = "a test's way to fail")]

mod capabilities;
mod copies;
mod culprit;
mod hooks;
mod netfilter;
mod nodes;
mod scope;
mod translated;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netcheck_agent::model::observation::{
    Direction, DropIdentity, Flow, InterfaceRole, Observation, OwnFlow, ProbeKey, ReflectedPath, Remembered,
};
use netcheck_common::domain::{PathId, ProbeKind, ProbeSession, Sequence};
use netcheck_common::header::{FLAG_REPLY, HEADER_LEN, ProbeHeader};

use nodes::{Node, PATH, Pair, echo};

const SESSION_A: u64 = 0xa11c_e000_0000_0001;

fn probe(sequence: u32) -> ProbeKey {
    ProbeKey { path: PathId(PATH), sequence: Sequence(sequence) }
}

/// Waits until the observations of a node satisfy a condition.
fn observe(node: &mut Node, mut enough: impl FnMut(&[Observation]) -> bool) -> Vec<Observation> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut seen = Vec::new();
    while !enough(&seen) {
        assert!(Instant::now() < deadline, "not enough observations: {seen:#?}");
        node.kernel.drain(&mut |observation| seen.push(observation));
        std::thread::yield_now();
    }
    seen
}

fn stamps(seen: &[Observation]) -> usize {
    seen.iter().filter(|observation| matches!(observation, Observation::Stamp(_))).count()
}

#[test]
fn echo_is_stamped_and_reflected_in_both_families() {
    let mut pair = Pair::new(SESSION_A, 0);
    for (source, target) in [(pair.a.v4, pair.b.v4), (pair.a.v6, pair.b.v6)] {
        for sequence in 1..=3 {
            let reply = echo(&pair.a, source, target, SESSION_A, sequence).expect("a reply");
            assert!(reply.reflected(), "{target}: {reply:?}");
            assert_eq!(reply.sequence, sequence);
            assert!(reply.t2_ns > 0 && reply.t3_ns >= reply.t2_ns, "{reply:?}");
        }
        let seen = observe(&mut pair.a, |seen| stamps(seen) >= 6);
        let stamps: Vec<_> = seen
            .iter()
            .map(|observation| match observation {
                Observation::Stamp(stamp) => stamp,
                Observation::Drop(drop) => panic!("nothing was dropped: {drop:?}"),
            })
            .collect();
        for (index, pair) in stamps.chunks(2).enumerate() {
            let [request, reply] = pair else { panic!("in pairs") };
            assert_eq!((request.direction, request.hook.egress), (Direction::Request, true));
            assert_eq!((reply.direction, reply.hook.egress), (Direction::Reply, false));
            assert_eq!((request.hook.role, &*request.hook.interface), (InterfaceRole::Uplink, "eth0"));
            assert_eq!(request.probe, probe(index as u32 + 1));
            assert!(reply.at_ns > request.at_ns);
            assert_eq!((request.flow.source.ip(), request.flow.destination.ip()), (source, target));
            let reflected = reply.reflected.expect("written by the other node's kernel");
            assert!(reflected.t3_ns - reflected.t2_ns < reply.at_ns - request.at_ns);
            assert_eq!(reflected.arrived.count_ones(), index as u32 + 1);
        }
        // What a kernel frees of requests that it has answered is no loss.
        pair.b.kernel.drain(&mut |seen| assert!(!matches!(seen, Observation::Drop(_)), "{seen:?}"));
        let held = held(&pair, &[source]);
        assert_eq!((held.requests, held.highest_sequence, held.arrived), (3, Sequence(3), 0b111));
        pair = Pair::new(SESSION_A, 0);
    }
}

/// What the target holds of the path, whose requests come from these addresses.
fn held(pair: &Pair, sources: &[IpAddr]) -> ReflectedPath {
    match pair.b.kernel.reflected_path(ProbeSession(SESSION_A), PathId(PATH), sources) {
        Remembered::Path(held) => held,
        other => panic!("not known at the target: {other:?}"),
    }
}

#[test]
fn what_another_sends_in_a_paths_name_is_not_counted_as_its_own() {
    let pair = Pair::new(SESSION_A, 0);
    let other: IpAddr = "10.99.99.7".parse().unwrap();
    pair.a.ip("addr add 10.99.99.7/32 dev lo");
    pair.b.ip(&format!("route add 10.99.99.7/32 via {}", pair.a.v4));
    for sequence in [1, 2] {
        echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, sequence).expect("a reply");
    }
    // The same session and path, and a number that is far ahead: as a pod would write it that saw them.
    echo(&pair.a, other, pair.b.v4, SESSION_A, 1_000).expect("a reply");
    let own = held(&pair, &[pair.a.v4]);
    assert_eq!((own.requests, own.highest_sequence, own.arrived), (2, Sequence(2), 0b11));
    let others = held(&pair, &[other]);
    assert_eq!((others.requests, others.highest_sequence), (1, Sequence(1_000)));
    let nobody = pair.b.kernel.reflected_path(ProbeSession(SESSION_A ^ 1), PathId(PATH), &[pair.a.v4]);
    assert_eq!(nobody, Remembered::Nothing);
}

#[test]
fn the_bitmap_shows_which_requests_arrived() {
    let pair = Pair::new(SESSION_A, 0);
    for sequence in [1, 2, 3, 6, 5, 6] {
        echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, sequence).expect("a reply");
    }
    let reply = echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, 7).expect("a reply");
    assert_eq!(reply.arrived, 0b111_0111, "4 never arrived, 5 came late, 6 came twice");
    assert_eq!(reply.requests, 7, "duplicates count");
}

#[test]
fn a_constant_on_one_nodes_clock_changes_no_difference() {
    let offset = 3_600_000_000_000;
    let pair = Pair::new(SESSION_A, offset);
    let reply = echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, 1).expect("a reply");
    assert!(reply.t2_ns > offset as u64);
    assert!(reply.t3_ns - reply.t2_ns < 1_000_000_000);
}

#[test]
fn udp_through_a_responder_keeps_valid_checksums() {
    let pair = Pair::new(SESSION_A, 0);
    for (source, target) in [(pair.a.v4, pair.b.v4), (pair.a.v6, pair.b.v6)] {
        let responder = pair.b.run(move || UdpSocket::bind(SocketAddr::new(target, 6100)).unwrap());
        let client = pair.a.run(move || UdpSocket::bind(SocketAddr::new(source, 0)).unwrap());
        for socket in [&responder, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        let header = ProbeHeader { session: SESSION_A, path: PATH, sequence: 9, ..ProbeHeader::default() };
        client.send_to(&header.to_bytes(), SocketAddr::new(target, 6100)).unwrap();
        let mut bytes = [0; HEADER_LEN];
        let (_, from) = responder.recv_from(&mut bytes).unwrap();
        let mut answer = ProbeHeader::from_bytes(&bytes).unwrap();
        assert!(!answer.reflected(), "requests are not written into");
        answer.flags |= FLAG_REPLY;
        responder.send_to(&answer.to_bytes(), from).unwrap();
        // The kernel checks the UDP checksum: a wrong one would never get here.
        client.recv_from(&mut bytes).unwrap();
        let reply = ProbeHeader::from_bytes(&bytes).unwrap();
        assert!(reply.reflected() && reply.t2_ns > 0 && reply.t3_ns > reply.t2_ns, "{reply:?}");
    }
}

#[test]
fn a_registered_flow_is_stamped_and_its_refusal_seen() {
    let mut pair = Pair::new(SESSION_A, 0);
    let (source, target) = (pair.a.v4, SocketAddr::new(pair.b.v4, 81));
    let socket = pair.a.run(move || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket
    });
    let local = socket.local_addr().unwrap().as_socket().unwrap();
    let flow = OwnFlow { probe: probe(4), transport: ProbeKind::Tcp, local };
    assert!(pair.a.kernel.watch_flow(&flow));
    let refused = socket.connect(&target.into()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let seen = observe(&mut pair.a, |seen| stamps(seen) >= 2);
    let Observation::Stamp(request) = &seen[0] else { panic!("{seen:?}") };
    let Observation::Stamp(reply) = &seen[1] else { panic!("{seen:?}") };
    assert_eq!((request.direction, request.reset, request.probe), (Direction::Request, false, probe(4)));
    assert_eq!((reply.direction, reply.reset, reply.flow.source), (Direction::Reply, true, target));
    pair.a.kernel.forget_flow(&flow);
}

/// A TCP connection from a probe port of A to a closed port of B: whether it was refused.
fn connect(pair: &Pair, port: u16) -> bool {
    let (source, target) = (pair.a.v4, SocketAddr::new(pair.b.v4, 81));
    pair.a.run(move || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, port).into()).unwrap();
        let connected = socket.connect_timeout(&target.into(), Duration::from_millis(200));
        connected.unwrap_err().kind() == std::io::ErrorKind::ConnectionRefused
    })
}

#[test]
fn a_foreign_flow_is_remembered_with_the_time_of_its_packets() {
    let offset_ns = 3_600_000_000_000;
    let pair = Pair::new(SESSION_A, offset_ns);
    let now_ns = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        (now.tv_sec * 1_000_000_000 + now.tv_nsec + offset_ns) as u64
    };
    let port = 61_234;
    let flow = Flow {
        kind: ProbeKind::Tcp,
        source: SocketAddr::new(pair.a.v4, port),
        destination: SocketAddr::new(pair.b.v4, 81),
    };
    assert_eq!(pair.b.kernel.flow_seen(&flow), None);
    let before_ns = now_ns();
    assert!(connect(&pair, port));
    let after_ns = now_ns();
    let seen = pair.b.kernel.flow_seen(&flow).expect("seen");
    let (hook, request_ns) = seen.last_request.clone().expect("a request");
    let (_, reply_ns) = seen.last_reply.clone().expect("a reset");
    assert_eq!(
        (&*hook.interface, hook.egress, seen.request_packets, seen.reply_packets),
        ("eth0", false, 1, 1)
    );
    assert!(
        before_ns < request_ns && request_ns < reply_ns && reply_ns < after_ns,
        "on the node's own clock"
    );
    // The same ports again, and this time the reply is lost before it leaves: the one that was seen is the old one.
    pair.b.nft(
        "add table inet t; add chain inet t out { type filter hook output priority 0; }; \
                add rule inet t out tcp sport 81 drop",
    );
    let before_ns = now_ns();
    assert!(!connect(&pair, port));
    let seen = pair.b.kernel.flow_seen(&flow).expect("seen");
    assert!(seen.last_request.is_some_and(|(_, at_ns)| at_ns > before_ns));
    assert!(seen.last_reply.is_some_and(|(_, at_ns)| at_ns == reply_ns));
}

#[test]
fn a_filtered_request_is_reported_where_it_died() {
    let mut pair = Pair::new(SESSION_A, 0);
    pair.b.nft(
        "add table inet t; add chain inet t in { type filter hook input priority 0; }; \
                add rule inet t in meta l4proto { icmp, ipv6-icmp } @th,64,8 0xb7 drop",
    );
    for (source, target) in [(pair.a.v4, pair.b.v4), (pair.a.v6, pair.b.v6)] {
        assert!(echo(&pair.a, source, target, SESSION_A, 11).is_none());
        let seen = observe(&mut pair.b, |seen| !seen.is_empty());
        let Observation::Drop(drop) = &seen[0] else { panic!("{seen:?}") };
        let identity = DropIdentity::Probe { session: ProbeSession(SESSION_A), probe: probe(11) };
        assert_eq!(drop.identity, identity);
        assert_eq!(drop.direction, Direction::Request);
        assert_eq!(&*drop.reason, "NETFILTER_DROP");
        assert_eq!(drop.stage, netcheck_proto::v1::Stage::NetfilterInput, "{drop:?}");
        assert_eq!(&*drop.hook.interface, "eth0");
        assert!(!drop.function.is_empty());
        let counted = pair.b.kernel.drop_counts();
        assert!(counted.iter().any(|count| &*count.reason == "NETFILTER_DROP" && count.packets > 0));
    }
}

#[test]
fn counts_of_drops_grow_whenever_they_are_read() {
    let mut pair = Pair::new(SESSION_A, 0);
    pair.b.nft(
        "add table inet t; add chain inet t in { type filter hook input priority 0; }; \
                add rule inet t in udp dport 9 drop",
    );
    let target = SocketAddr::new(pair.b.v4, 9);
    let filtered = |pair: &mut Pair| {
        let counts = pair.b.kernel.drop_counts();
        let own =
            counts.iter().filter(|count| (&*count.reason, &*count.interface) == ("NETFILTER_DROP", "eth0"));
        own.map(|count| count.packets).sum::<u64>()
    };
    // As long as several changes of banks take.
    let start = Instant::now();
    let (mut last, mut sent) = (0, 0);
    while start.elapsed() < Duration::from_millis(700) {
        pair.a.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            (0..4).for_each(|_| assert_eq!(socket.send_to(&[0; 32], target).unwrap(), 32));
        });
        sent += 4;
        let now = filtered(&mut pair);
        assert!(now >= last, "{last} have become {now}");
        last = now;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while filtered(&mut pair) < sent && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(filtered(&mut pair), sent);
}

#[test]
fn a_strangers_magic_is_passed_on_and_costs_no_event() {
    let mut pair = Pair::new(SESSION_A, 0);
    let stranger = 0x5757;
    let reply = echo(&pair.a, pair.a.v4, pair.b.v4, stranger, 1).expect("passed on like any packet");
    assert!(reply.reflected(), "the target can't know who is who; the session shows the source");
    echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, 1).expect("a reply");
    let seen = observe(&mut pair.a, |seen| stamps(seen) >= 2);
    assert_eq!(stamps(&seen), 2, "only its own: {seen:?}");
    let held = held(&pair, &[]);
    assert_eq!(held.requests, 1, "a stranger's requests are counted apart");
}

#[test]
fn malformed_packets_pass_untouched_and_leave_everything_working() {
    let mut pair = Pair::new(SESSION_A, 0);
    let sessions = [SESSION_A, SESSION_A ^ 0xffff, 0x5757];
    let frames: Vec<Vec<u8>> = sessions.into_iter().flat_map(nodes::frames::malformed).collect();
    let capture = nodes::frames::Capture::start(&pair.b);
    nodes::frames::send(&pair.a, frames.clone());
    capture.wait_for(&frames);
    let reply = echo(&pair.a, pair.a.v4, pair.b.v4, SESSION_A, 70).expect("all goes on");
    assert!(reply.reflected());
    assert_eq!(pair.b.kernel.status().ring_events_lost, 0);
    pair.a.kernel.drain(&mut |_| {});
}
