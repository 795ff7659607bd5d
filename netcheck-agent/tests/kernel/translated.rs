//! Services behind kube-proxy's masquerading: the source port is another on the wire, and the flow is known all the same.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use netcheck_agent::model::observation::{
    Direction, DropIdentity, Flow, KnownAddress, Observation, OwnFlow, Stamp,
};
use netcheck_common::domain::ProbeKind;
use netcheck_proto::v1::Stage;
use socket2::{Domain, Socket, Type};

use crate::nodes::Pair;
use crate::{SESSION_A, observe, probe};

/// Port of the service, and of its backend.
const SERVICE: u16 = 80;
const BACKEND: u16 = 81;

fn service(v4: bool) -> IpAddr {
    if v4 { IpAddr::from([10, 96, 0, 1]) } else { IpAddr::from([0xfd96, 0, 0, 0, 0, 0, 0, 1]) }
}

/// B is the service's only backend, and A does with it as kube-proxy would.
fn translating() -> Pair {
    let pair = Pair::new(SESSION_A, 0);
    pair.a.ip("route add 10.96.0.0/16 via 10.77.0.2");
    pair.a.ip("-6 route add fd96::/64 via fd77::2");
    for (family, service, backend) in
        [("ip", service(true), pair.b.v4.to_string()), ("ip6", service(false), format!("[{}]", pair.b.v6))]
    {
        pair.a.nft(&format!(
            "add table {family} k; \
             add chain {family} k out {{ type nat hook output priority -100; }}; \
             add chain {family} k post {{ type nat hook postrouting priority 100; }}; \
             add rule {family} k out {family} daddr {service} tcp dport {SERVICE} dnat to {backend}:{BACKEND}; \
             add rule {family} k out {family} daddr {service} udp dport {SERVICE} dnat to {backend}:{BACKEND}; \
             add rule {family} k post meta l4proto {{ tcp, udp }} masquerade fully-random"
        ));
    }
    pair
}

/// A registered flow to the service, from a socket that is bound and not used yet.
fn registered(pair: &mut Pair, sequence: u32, transport: ProbeKind, v4: bool) -> (Socket, OwnFlow) {
    let source = if v4 { pair.a.v4 } else { pair.a.v6 };
    let socket = pair.a.run(move || {
        let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
        let of = if transport == ProbeKind::Tcp { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(domain, of, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    });
    let local = socket.local_addr().unwrap().as_socket().unwrap();
    let flow = OwnFlow { probe: probe(sequence), transport, local };
    assert!(pair.a.kernel.watch_flow(&flow));
    (socket, flow)
}

fn stamps(seen: &[Observation], of: u32) -> Vec<&Stamp> {
    let mut stamps = Vec::new();
    for seen in seen {
        if let Observation::Stamp(stamp) = seen
            && stamp.probe == probe(of)
        {
            stamps.push(stamp);
        }
    }
    stamps
}

#[test]
fn a_flow_whose_port_is_translated_is_stamped_both_ways_and_shows_its_backend() {
    let mut pair = translating();
    let targets =
        [(ProbeKind::Tcp, true), (ProbeKind::Udp, true), (ProbeKind::Tcp, false), (ProbeKind::Udp, false)];
    for (sequence, (transport, v4)) in (1..).zip(targets) {
        let backend = SocketAddr::new(if v4 { pair.b.v4 } else { pair.b.v6 }, BACKEND);
        let (socket, flow) = registered(&mut pair, sequence, transport, v4);
        let echo = pair.b.run(move || UdpSocket::bind(backend).unwrap());
        echo.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let to = SocketAddr::new(service(v4), SERVICE);
        if transport == ProbeKind::Tcp {
            let refused = socket.connect(&to.into()).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        } else {
            assert_eq!(socket.send_to(b"?", &to.into()).unwrap(), 1);
            let (len, from) = echo.recv_from(&mut [0; 8]).unwrap();
            assert_ne!(from.port(), flow.local.port(), "translated");
            assert_eq!(echo.send_to(b"!", from).unwrap(), len);
            let mut room = [std::mem::MaybeUninit::uninit(); 8];
            assert_eq!(socket.recv(&mut room).unwrap(), 1);
        }
        let seen = observe(&mut pair.a, |seen| stamps(seen, sequence).len() >= 2);
        let stamps = stamps(&seen, sequence);
        let [request, reply] = &*stamps else { panic!("{transport:?}: {stamps:#?}") };
        assert_eq!((request.direction, request.hook.egress), (Direction::Request, true));
        assert_eq!((reply.direction, reply.hook.egress), (Direction::Reply, false));
        assert_eq!((request.flow.destination, reply.flow.source), (backend, backend));
        assert_ne!(request.flow.source.port(), flow.local.port(), "translated");
        assert_eq!(request.flow.source, reply.flow.destination);
        assert_eq!(reply.reset, transport == ProbeKind::Tcp);
        assert!(reply.at_ns > request.at_ns);
        // The table of connections knows it by what the socket sent. A connection that was refused is no longer there
        // (net/netfilter/nf_conntrack_proto_tcp.c).
        let sent = Flow { kind: transport, source: flow.local, destination: to };
        let left = pair.a.kernel.left_as(&sent).map(|left| (left.source, left.destination));
        assert_eq!(left, (transport == ProbeKind::Udp).then_some((request.flow.source, backend)));
        let never = Flow { destination: SocketAddr::new(to.ip(), 9), ..sent };
        assert_eq!(pair.a.kernel.left_as(&never), None);
        pair.a.kernel.forget_flow(&flow);
    }
}

#[test]
fn a_flow_that_leaves_under_an_address_that_is_nobodys_is_known() {
    let mut pair = Pair::new(SESSION_A, 0);
    pair.a.nft(
        "add table ip k; add chain ip k post { type nat hook postrouting priority 100; }; \
         add rule ip k post meta l4proto tcp snat to 192.0.2.7",
    );
    let (socket, flow) = registered(&mut pair, 5, ProbeKind::Tcp, true);
    let to = SocketAddr::new(pair.b.v4, BACKEND);
    let connected = socket.connect_timeout(&to.into(), Duration::from_millis(300));
    assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "its answer finds no way");
    let seen = observe(&mut pair.a, |seen| !stamps(seen, 5).is_empty());
    let stamp = stamps(&seen, 5)[0];
    assert_eq!((stamp.direction, stamp.hook.egress), (Direction::Request, true));
    assert_eq!(stamp.flow.source.ip(), IpAddr::from([192, 0, 2, 7]));
    let sent = Flow { kind: ProbeKind::Tcp, source: flow.local, destination: to };
    assert_eq!(pair.a.kernel.left_as(&sent), Some(stamp.flow));
    pair.a.kernel.forget_flow(&flow);
}

/// The kernel has found the socket by then, whose port is another than the packet's source's.
#[test]
fn a_reply_of_a_stranger_that_is_dropped_is_no_request() {
    let mut pair = Pair::new(SESSION_A, 0);
    // B is no node or pod of the cluster.
    let own = |address| KnownAddress { address, pod: None, local: true, network: None };
    let (v4, v6) = (pair.a.v4, pair.a.v6);
    pair.a.kernel.set_addresses(&[own(v4), own(v6)], &[]);
    pair.a.nft(&format!(
        "add table inet t; add chain inet t c {{ type filter hook input priority 0; }}; \
         add rule inet t c tcp sport {BACKEND} drop"
    ));
    let (socket, _) = registered(&mut pair, 6, ProbeKind::Tcp, true);
    let to = SocketAddr::new(pair.b.v4, BACKEND);
    let connected = socket.connect_timeout(&to.into(), Duration::from_millis(300));
    assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    let is_drop = |seen: &Observation| matches!(seen, Observation::Drop(_));
    let seen = observe(&mut pair.a, |seen| seen.iter().any(is_drop));
    let Some(Observation::Drop(drop)) = seen.iter().find(|seen| is_drop(seen)) else { unreachable!() };
    assert_eq!(
        (drop.identity, drop.direction),
        (DropIdentity::OwnFlow(probe(6)), Direction::Reply),
        "{drop:?}"
    );
}

#[test]
fn what_is_dropped_behind_translation_is_its_flows() {
    for (hook, matching, direction, stage) in [
        ("egress", "dport", Direction::Request, Stage::NetdevEgress),
        ("prerouting", "sport", Direction::Reply, Stage::NetfilterPrerouting),
    ] {
        let mut pair = translating();
        let (family, at) = match stage {
            Stage::NetdevEgress => ("netdev", "egress device eth0 priority 0"),
            _ => ("inet", "prerouting priority -300"),
        };
        pair.a.nft(&format!(
            "add table {family} t; add chain {family} t c {{ type filter hook {at}; }}; \
             add rule {family} t c tcp {matching} {BACKEND} drop"
        ));
        let (socket, _) = registered(&mut pair, 7, ProbeKind::Tcp, true);
        let to = SocketAddr::new(service(true), SERVICE);
        let connected = socket.connect_timeout(&to.into(), Duration::from_millis(300));
        assert_eq!(connected.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "{hook}");
        let is_drop = |seen: &Observation| matches!(seen, Observation::Drop(_));
        let seen = observe(&mut pair.a, |seen| seen.iter().any(is_drop));
        let Some(Observation::Drop(drop)) = seen.iter().find(|seen| is_drop(seen)) else { unreachable!() };
        assert_eq!(drop.identity, DropIdentity::OwnFlow(probe(7)), "{hook}: {drop:?}");
        assert_eq!((drop.direction, drop.stage), (direction, stage), "{hook}: {drop:?}");
    }
}
