//! Against the kernel's own loopback: needs CAP_NET_RAW, and fails without.

use std::time::{Duration, Instant};

use netcheck_common::domain::{PathId, ProbeKind, ProbeSession, Sequence};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::measure::sizes::LARGEST;
use crate::model::observation::ProbeKey;
use crate::probe::Identity;

const IDENTITY: Identity = Identity { session: ProbeSession(77), source_node: 3 };

fn key(sequence: u32) -> ProbeKey {
    ProbeKey { path: PathId(5), sequence: Sequence(sequence) }
}

fn wait_for(prober: &IcmpProber, wanted: impl Fn(&IcmpIncoming) -> bool) -> IcmpIncoming {
    let mut batch = Batch::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut [PollFd::new(&prober.socket, PollFlags::IN)], Some(&timeout)).unwrap();
        let mut found = None;
        prober
            .receive(&mut batch, |incoming| found = Some(incoming).filter(&wanted).or(found.take()))
            .unwrap();
        if let Some(found) = found {
            return found;
        }
    }
    panic!("nothing came");
}

#[test]
fn the_kernel_echoes_the_header_back() {
    for (family, target) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
        let prober = IcmpProber::open(family, 4242, &Quarantine::read()).unwrap();
        let target: SocketAddr = target.parse().unwrap();
        for (sequence, payload_bytes) in [(1, 64), (2, 65), (70_000, 1000)] {
            let outgoing = Outgoing { identity: IDENTITY, key: key(sequence), target, payload_bytes };
            prober.send(prober.identifier(), &outgoing, &mut [0; LARGEST as usize]).unwrap();
            let reply = wait_for(
                &prober,
                |incoming| matches!(incoming, IcmpIncoming::Echo { header, .. } if header.session == 77 && header.sequence == sequence),
            );
            assert_eq!(reply, IcmpIncoming::Echo { from: target, header: IDENTITY.header(key(sequence)) });
        }
    }
}

#[test]
fn a_closed_udp_port_is_reported_with_the_probes_header() {
    for (family, host) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
        let prober = IcmpProber::open(family, 4243, &Quarantine::read()).unwrap();
        let closed = std::net::UdpSocket::bind(host).unwrap().local_addr().unwrap();
        let header = IDENTITY.header(key(9));
        let sender = std::net::UdpSocket::bind(host).unwrap();
        sender.send_to(&header.to_bytes(), closed).unwrap();
        let error = wait_for(
            &prober,
            |incoming| matches!(incoming, IcmpIncoming::Error { quoted, .. } if quoted.to == closed),
        );
        let IcmpIncoming::Error { outcome, icmp, quoted } = error else { unreachable!() };
        assert_eq!(outcome, Outcome::Refused);
        assert_eq!(icmp.from, closed.ip());
        assert_eq!(quoted.transport, ProbeKind::Udp);
        assert_eq!(quoted.header, Some(header));
        assert_eq!(quoted.from_port, sender.local_addr().unwrap().port());
    }
}

#[test]
fn checksums() {
    assert_eq!(checksum(&[8, 0, 0, 0, 0, 1, 0, 1]), 0xf7fd);
    assert_eq!(checksum(&[0xff]), 0x00ff);
    assert_eq!(checksum(&[]), 0xffff);
}
