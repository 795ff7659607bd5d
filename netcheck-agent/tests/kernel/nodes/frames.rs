//! Frames built byte by byte, sent and captured on packet sockets.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use netcheck_common::header::{HEADER_LEN, ProbeHeader};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use super::{Node, PATH};

/// All EtherTypes (include/uapi/linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;

fn packet_socket() -> Socket {
    let protocol = i32::from(ETH_P_ALL.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol.into())).expect("needs root");
    let ifindex = ifindex_of("eth0");
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is larger than any socket address and zeroed.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = ifindex;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: filled just above, with its own length.
    socket.bind(&unsafe { SockAddr::new(storage, len) }).unwrap();
    socket
}

fn ifindex_of(name: &str) -> i32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a C string that lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) as i32 }
}

/// Sends frames from a node's eth0.
pub(crate) fn send(node: &Node, frames: Vec<Vec<u8>>) {
    node.run(move || {
        let socket = packet_socket();
        for frame in frames {
            socket.send(&frame).unwrap();
        }
    });
}

/// A capture of everything that arrives at a node's eth0 from now on.
pub(crate) struct Capture(Socket);

impl Capture {
    pub(crate) fn start(node: &Node) -> Self {
        let socket = node.run(packet_socket);
        socket.set_recv_buffer_size(8 << 20).unwrap();
        Self(socket)
    }

    /// Waits until all of these frames have arrived byte by byte as they were sent.
    pub(crate) fn wait_for(&self, frames: &[Vec<u8>]) {
        let mut missing: BTreeSet<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        while !missing.is_empty() {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
            let left = left.unwrap_or_else(|| panic!("{} frames are missing or changed", missing.len()));
            self.0.set_read_timeout(Some(left)).unwrap();
            if let Ok(len) = self.0.recv(&mut buffer) {
                // SAFETY: the kernel wrote `len` bytes.
                let frame: Vec<u8> = buffer[..len].iter().map(|byte| unsafe { byte.assume_init() }).collect();
                missing.remove(frame.as_slice());
            }
        }
    }
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 9]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for number in [1, 2] {
        packet.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]);
    }
    packet.extend(payload);
    packet
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39];
    datagram.extend(port.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// Probe headers in every disguise that a broken or hostile sender may think of.
pub(crate) fn malformed(session: u64) -> Vec<Vec<u8>> {
    let header = ProbeHeader { session, path: PATH, sequence: 1, ..ProbeHeader::default() }.to_bytes();
    let mut frames = Vec::new();
    let whole = ethernet(0x0800, &ipv4(17, 0, &udp(6100, &header)));
    // The smallest frame that a packet socket takes is an Ethernet header.
    frames.extend((15..whole.len()).map(|len| whole[..len].to_vec()));
    let whole = ethernet(0x86dd, &ipv6(17, &udp(6100, &header)));
    frames.extend((15..whole.len()).map(|len| whole[..len].to_vec()));
    let mut chain = udp(6100, &header);
    let mut next = 17;
    for _ in 0..20 {
        let mut extension = vec![next, 0, 1, 4, 0, 0, 0, 0];
        extension.extend(chain);
        chain = extension;
        next = 60;
        frames.push(ethernet(0x86dd, &ipv6(60, &chain)));
    }
    // Extension headers that claim to be longer than the packet, and fragments.
    frames.push(ethernet(0x86dd, &ipv6(0, &[17, 255, 0, 0, 0, 0, 0, 0])));
    frames.push(ethernet(0x86dd, &ipv6(44, &[[17, 0, 0xff, 0xf8, 0, 0, 0, 1].as_slice(), &header].concat())));
    frames.push(ethernet(0x0800, &ipv4(17, 0x2001, &udp(6100, &header))));
    frames.push(ethernet(0x0800, &ipv4(17, 0x2000, &udp(6100, &header[..40]))));
    let mut options = ipv4(17, 0, &udp(6100, &header));
    options[0] = 0x4f;
    frames.push(ethernet(0x0800, &options));
    options[0] = 0x41;
    frames.push(ethernet(0x0800, &options));
    let mut version = header;
    version[8] = 99;
    frames.push(ethernet(0x0800, &ipv4(17, 0, &udp(6100, &version))));
    // Tunnels: cut short, inside one another, with options that reach past the end.
    let vxlan = |inner: &[u8]| [[8, 0, 0, 0, 0, 0, 1, 0].as_slice(), inner].concat();
    let once = ethernet(
        0x0800,
        &ipv4(17, 0, &udp(8472, &vxlan(&ethernet(0x0800, &ipv4(17, 0, &udp(6100, &header)))))),
    );
    frames.extend((42..once.len()).step_by(3).map(|len| once[..len].to_vec()));
    let twice = ethernet(0x0800, &ipv4(17, 0, &udp(4789, &vxlan(&once))));
    frames.push(twice);
    frames.push(ethernet(0x0800, &ipv4(17, 0, &udp(6081, &[0x3f, 0, 0x65, 0x58, 0, 0, 0, 0]))));
    frames.push(ethernet(0x0800, &ipv4(4, 0, &[0x45])));
    frames.push(ethernet(0x0800, &ipv4(41, 0, &ipv6(17, &udp(6100, &header[..HEADER_LEN - 1])))));
    // A reply that nobody asked for, already filled in.
    let forged = ProbeHeader {
        session,
        path: PATH,
        sequence: 1,
        flags: 3,
        t2_ns: 1,
        t3_ns: 2,
        requests: 3,
        arrived: 1,
        source_node: 0,
    };
    frames.push(ethernet(0x0800, &ipv4(17, 0, &udp(6100, &forged.to_bytes()))));
    // Noise behind a believable start; a fixed generator, so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..400 {
        let mut noise = vec![0u8; 20 + round % 120];
        for byte in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 33) as u8;
        }
        let (ethertype, first) = if round % 2 == 0 { (0x0800, 0x45) } else { (0x86dd, 0x60) };
        noise[0] = first;
        noise[if round % 2 == 0 { 9 } else { 6 }] = [1, 4, 6, 17, 41, 44, 51, 58, 60][round % 9];
        frames.push(ethernet(ethertype, &noise));
    }
    frames
}
