//! What an ICMP or ICMPv6 error says, and of which packet: the start of the packet is quoted in the error
//! (RFC 792, RFC 1812 §4.3.2.3, RFC 4443 §2.4).

use std::net::{IpAddr, SocketAddr};

use netcheck_common::domain::{Family, Outcome, ProbeKind};

use crate::model::sample::{Quoted, header_of};

/// Reads the quoted packet. `quote` begins with its IP header.
pub(crate) fn parse(quote: &[u8]) -> Option<Quoted> {
    let (to, protocol, rest) = match quote.first()? >> 4 {
        4 => {
            let header_len = usize::from(quote.first()? & 0xf) * 4;
            let to: [u8; 4] = quote.get(16..20)?.try_into().ok()?;
            if header_len < 20 {
                return None;
            }
            (IpAddr::from(to), *quote.get(9)?, quote.get(header_len..)?)
        }
        6 => {
            let to: [u8; 16] = quote.get(24..40)?.try_into().ok()?;
            // Our own probes have no extension headers.
            (IpAddr::from(to), *quote.get(6)?, quote.get(40..)?)
        }
        _ => return None,
    };
    let u16_at = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    let transport = match i32::from(protocol) {
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => ProbeKind::Icmp,
        libc::IPPROTO_UDP => ProbeKind::Udp,
        libc::IPPROTO_TCP => ProbeKind::Tcp,
        _ => return None,
    };
    let payload = rest.get(8..)?;
    Some(match transport {
        ProbeKind::Icmp => Quoted {
            transport,
            to: SocketAddr::new(to, 0),
            from_port: u16_at(4)?,
            icmp_sequence: u16_at(6)?,
            header: header_of(payload),
        },
        _ => Quoted {
            transport,
            to: SocketAddr::new(to, u16_at(2)?),
            from_port: u16_at(0)?,
            icmp_sequence: 0,
            header: if transport == ProbeKind::Udp { header_of(payload) } else { None },
        },
    })
}

/// What the next hop takes, as the four bytes between an error's checksum and its quote say it (RFC 1191 §4,
/// RFC 4443 §3.2); 0 for other errors, and for routers from before RFC 1191.
pub(crate) const fn next_hop_mtu(family: Family, kind: u8, code: u8, field: [u8; 4]) -> u32 {
    match (family, kind, code) {
        (Family::V4, 3, 4) => u16::from_be_bytes([field[2], field[3]]) as u32,
        (Family::V6, 2, _) => u32::from_be_bytes(field),
        _ => 0,
    }
}

/// What an ICMP error means for a probe; `None`: nothing.
pub(crate) const fn meaning_v4(kind: u8, code: u8) -> Option<Outcome> {
    match (kind, code) {
        (3, 3) => Some(Outcome::Refused),
        (3 | 11 | 12, _) => Some(Outcome::Unreachable),
        _ => None,
    }
}

/// What an ICMPv6 error means for a probe; `None`: nothing.
pub(crate) const fn meaning_v6(kind: u8, code: u8) -> Option<Outcome> {
    match (kind, code) {
        (1, 4) => Some(Outcome::Refused),
        (1..=4, _) => Some(Outcome::Unreachable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::header::ProbeHeader;
    use proptest::prelude::*;

    use super::*;

    fn v4(protocol: i32, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol as u8, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(transport);
        packet
    }

    #[test]
    fn a_probe_header_is_found_where_it_is_quoted() {
        let header = ProbeHeader { session: 7, path: 8, sequence: 9, ..ProbeHeader::default() };
        let mut udp = vec![0x80, 0x01, 0x17, 0xd4, 0, 72, 0, 0];
        udp.extend(header.to_bytes());
        let quoted = parse(&v4(libc::IPPROTO_UDP, &udp)).unwrap();
        assert_eq!(quoted.to, "10.0.0.2:6100".parse().unwrap());
        assert_eq!((quoted.from_port, quoted.header), (0x8001, Some(header)));
        let short = parse(&v4(libc::IPPROTO_UDP, &udp[..8])).unwrap();
        assert_eq!((short.from_port, short.header), (0x8001, None));
    }

    #[test]
    fn icmp_quotes_identifier_and_sequence() {
        let quoted = parse(&v4(libc::IPPROTO_ICMP, &[8, 0, 0, 0, 0x12, 0x34, 0x56, 0x78])).unwrap();
        assert_eq!((quoted.from_port, quoted.icmp_sequence), (0x1234, 0x5678));
        assert_eq!(quoted.to, "10.0.0.2:0".parse().unwrap());
    }

    #[test]
    fn meanings() {
        assert_eq!(meaning_v4(3, 3), Some(Outcome::Refused));
        assert_eq!(meaning_v4(3, 13), Some(Outcome::Unreachable));
        assert_eq!(meaning_v4(11, 0), Some(Outcome::Unreachable));
        assert_eq!(meaning_v4(0, 0), None);
        assert_eq!(meaning_v6(1, 4), Some(Outcome::Refused));
        assert_eq!(meaning_v6(2, 0), Some(Outcome::Unreachable));
        assert_eq!(meaning_v6(129, 0), None);
    }

    #[test]
    fn what_the_next_hop_takes() {
        assert_eq!(next_hop_mtu(Family::V4, 3, 4, [0, 0, 5, 0x78]), 1400);
        assert_eq!(next_hop_mtu(Family::V4, 3, 4, [1, 2, 0, 0]), 0);
        assert_eq!(next_hop_mtu(Family::V4, 3, 1, [0, 0, 5, 0x78]), 0);
        assert_eq!(next_hop_mtu(Family::V6, 2, 0, [0, 0, 5, 0]), 1280);
        assert_eq!(next_hop_mtu(Family::V6, 3, 0, [0, 0, 5, 0]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
