//! The parser over packets built by hand, and over noise.

use proptest::prelude::*;

use super::*;

const A4: [u8; 4] = [10, 0, 0, 1];
const B4: [u8; 4] = [10, 0, 0, 2];
const A6: Address = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const B6: Address = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn parse(bytes: &[u8], start: Start) -> Option<Packet> {
    let mut packet = Packet::default();
    super::parse(bytes, start, &mut packet).map(|()| packet)
}

fn ethernet(ethertype: u16, tags: &[u16], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, options: usize, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45 + options as u8, 0, 0, 0, 0, 0];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(A4);
    packet.extend(B4);
    packet.extend(vec![1; options * 4]);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet.extend(A6);
    packet.extend(B6);
    packet.extend(payload);
    packet
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = source.to_be_bytes().to_vec();
    packet.extend(destination.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(payload);
    packet
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut packet = vec![0x30, 0x39, 0, 80];
    packet.extend([0; 9]);
    packet.push(flags);
    packet.extend([0; 6]);
    packet
}

#[test]
fn plain_tagged_and_with_options() {
    for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
        for options in [0, 1, 10] {
            let frame = ethernet(0x0800, tags, &ipv4(IPPROTO_UDP, options, 0x4000, &udp(1000, 6100, b"x")));
            let packet = parse(frame.as_slice(), Start::Ethernet).unwrap();
            assert_eq!((packet.source, packet.destination), (v4_mapped(A4), v4_mapped(B4)));
            assert_eq!((packet.source_port, packet.destination_port), (1000, 6100));
            assert_eq!(packet.payload() as usize, frame.len() - 1);
            assert_eq!((packet.version, packet.encapsulated), (4, 0));
        }
    }
    let three_tags = ethernet(0x0800, &[0x88a8, 0x8100, 0x8100], &ipv4(IPPROTO_UDP, 0, 0, &udp(1, 2, b"")));
    assert_eq!(parse(three_tags.as_slice(), Start::Ethernet), None);
}

#[test]
fn echo_and_tcp_details() {
    let request = parse(ipv4(IPPROTO_ICMP, 0, 0, &[8, 0]).as_slice(), Start::Ip).unwrap();
    assert!(request.is_echo_request() && !request.is_echo_reply());
    let reply = parse(ipv6(IPPROTO_ICMPV6, &[129, 0]).as_slice(), Start::Ip).unwrap();
    assert!(reply.is_echo_reply() && !reply.is_echo_request());
    let syn = parse(ipv6(IPPROTO_TCP, &tcp(TCP_SYN)).as_slice(), Start::Ip).unwrap();
    assert_eq!((syn.detail, syn.destination_port), (TCP_SYN, 80));
}

#[test]
fn only_first_fragments_have_ports() {
    let more_fragments = ipv4(IPPROTO_UDP, 0, 0x2000, &udp(1, 2, b""));
    assert!(parse(more_fragments.as_slice(), Start::Ip).is_some());
    let later = ipv4(IPPROTO_UDP, 0, 0x0001, &udp(1, 2, b""));
    assert_eq!(parse(later.as_slice(), Start::Ip), None);
    for (offset_and_flag, seen) in [(0x0001u16, true), (0x0008, false)] {
        let mut fragment = vec![IPPROTO_UDP, 0];
        fragment.extend(offset_and_flag.to_be_bytes());
        fragment.extend([0; 4]);
        fragment.extend(udp(1, 2, b""));
        assert_eq!(parse(ipv6(44, &fragment).as_slice(), Start::Ip).is_some(), seen);
    }
}

#[test]
fn extension_headers_are_followed_up_to_the_bound() {
    for count in 0..10 {
        let mut chain = Vec::new();
        for left in (0..count).rev() {
            // Destination options, 16 bytes each.
            chain.extend([if left == 0 { IPPROTO_UDP } else { 60 }, 1]);
            chain.extend([0; 14]);
        }
        chain.extend(udp(5, 6, b""));
        let parsed = parse(ipv6(if count == 0 { IPPROTO_UDP } else { 60 }, &chain).as_slice(), Start::Ip);
        assert_eq!(parsed.is_some(), count < MAX_EXTENSIONS, "{count} extension headers");
        if let Some(packet) = parsed {
            assert_eq!(packet.destination_port, 6);
        }
    }
}

#[test]
fn one_level_of_every_tunnel() {
    let inner = ipv6(IPPROTO_UDP, &udp(7, 8, b"x"));
    let mut vxlan = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(ethernet(0x86dd, &[], &inner));
    let mut geneve = vec![0x02, 0, 0x65, 0x58, 0, 0, 1, 0];
    geneve.extend([9; 8]);
    geneve.extend(ethernet(0x86dd, &[], &inner));
    let mut geneve_ip = vec![0, 0, 0x86, 0xdd, 0, 0, 1, 0];
    geneve_ip.extend(&inner);
    for outer in [
        ipv4(IPPROTO_UDP, 0, 0, &udp(4000, VXLAN_PORT, &vxlan)),
        ipv4(IPPROTO_UDP, 2, 0, &udp(4000, VXLAN_LINUX_PORT, &vxlan)),
        ipv6(IPPROTO_UDP, &udp(4000, GENEVE_PORT, &geneve)),
        ipv4(IPPROTO_UDP, 0, 0, &udp(4000, GENEVE_PORT, &geneve_ip)),
        ipv4(IPPROTO_IPV6, 0, 0, &inner),
    ] {
        let packet = parse(outer.as_slice(), Start::Ip).unwrap();
        assert_eq!((packet.encapsulated, packet.version), (1, 6));
        assert_eq!((packet.source, packet.destination), (A6, B6));
        assert_eq!((packet.source_port, packet.destination_port), (7, 8));
        assert_eq!(packet.payload() as usize, outer.len() - 1);
    }
    let without_flag = ipv4(IPPROTO_UDP, 0, 0, &udp(4000, VXLAN_PORT, &[0; 8]));
    assert_eq!(parse(without_flag.as_slice(), Start::Ip).unwrap().encapsulated, 0);
}

proptest! {
    #[test]
    fn noise_never_panics_and_never_points_past_the_end(
        bytes in prop::collection::vec(any::<u8>(), 0..200), ethernet: bool
    ) {
        let start = if ethernet { Start::Ethernet } else { Start::Ip };
        if let Some(packet) = parse(bytes.as_slice(), start)
            && matches!(packet.protocol, IPPROTO_UDP | IPPROTO_TCP | IPPROTO_ICMP | IPPROTO_ICMPV6)
        {
            prop_assert!((packet.transport as usize) < bytes.len());
        }
    }

    #[test]
    fn cut_packets_are_not_read(cut in 0usize..200) {
        let frame = ethernet(0x0800, &[], &ipv4(IPPROTO_UDP, 3, 0, &udp(1, 2, b"")));
        let needed = 14 + 32 + 4;
        let cut = cut.min(frame.len());
        prop_assert_eq!(parse(&frame[..cut], Start::Ethernet).is_some(), cut >= needed);
    }
}

#[test]
fn what_fuzzing_found_before_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/fuzz/corpus/packet");
    let kept: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!kept.is_empty());
    for path in kept {
        let bytes = std::fs::read(&path).unwrap();
        for start in [Start::Ethernet, Start::Ip] {
            let _ = parse(bytes.as_slice(), start);
        }
    }
}
