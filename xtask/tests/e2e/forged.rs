//! A stranger who knows the format, and where the probes are, can't make an unreachable path look reachable.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use netcheck_netlab::{Fault, Mode};
use xtask::cluster::Settings;

use crate::healthy;

/// A probe header as the format has it, filled in as a reply of a netcheck responder and a reflecting kernel.
fn forged(session: u64, path: u32, sequence: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(b"\xb7netchk\x01");
    bytes[8..10].copy_from_slice(&[1, 3]);
    bytes[16..24].copy_from_slice(&session.to_be_bytes());
    bytes[24..28].copy_from_slice(&path.to_be_bytes());
    bytes[28..32].copy_from_slice(&sequence.to_be_bytes());
    bytes[63] = 1;
    bytes
}

#[test]
fn forged_replies_do_not_mend_a_path() {
    let cluster = healthy("e2e-forged", Mode::Routed, Settings::default());
    let fault: Fault = "responder-filtered node=n2".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let down = |report: &xtask::cluster::Report| report.unreachable == 6;
    cluster.wait("UDP to n2 is down from three nodes", Duration::from_secs(10), down).unwrap();
    let n1 = cluster.lab.node("n1").unwrap().v4;
    // Every port that an agent's socket may have, from the port and the node that the answer is awaited from.
    let until = Instant::now() + Duration::from_secs(6);
    let sent = cluster
        .lab
        .enter("n2", || {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
            let mut sent = 0u32;
            while Instant::now() < until {
                for port in (32768..=60999).step_by(7) {
                    let bytes = forged(u64::from(sent), sent % 64, sent % 40);
                    sent += u32::from(socket.send_to(&bytes, SocketAddr::new(n1.into(), port)).is_ok());
                }
            }
            sent
        })
        .unwrap();
    assert!(sent > 1000);
    let report = cluster.report().unwrap();
    // The flood may starve the agents of this small machine: without data is honest, reachable would be a lie.
    assert!(report.reachable <= report.paths - 6, "{report:#?}");
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}
