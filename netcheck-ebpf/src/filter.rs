//! The fast way out: tells in a few loads that a packet can't be netcheck's.
//!
//! It reads packet memory directly and only where headers have no options. Whatever is unusual (tags in the data,
//! options, extension headers, paged data) goes the slow way: that costs time, never a wrong answer.

use aya_ebpf::programs::TcContext;
use netcheck_common::abi::maps::sieve_bit;
use netcheck_common::abi::probe_ports;
use netcheck_common::header::MAGIC;
use netcheck_common::packet::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IPIP, IPPROTO_IPV6,
    IPPROTO_TCP, IPPROTO_UDP, Start,
};

use crate::maps::{PORTS, SIEVE, has_port};

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;

/// Whether the packet is worth parsing.
#[inline(always)]
pub(crate) fn may_be_ours(ctx: &TcContext, start: Start) -> bool {
    let (data, end) = (ctx.data(), ctx.data_end());
    let link = match start {
        Start::Ethernet => ETHERNET_LEN as usize,
        Start::Ip => 0,
    };
    // The shortest packet that can be ours, an IPv4 TCP handshake, has 20 + 20 bytes; a linear part below that may
    // go on in pages.
    if data + link + IPV4_LEN + 16 > end {
        return true;
    }
    let ethertype = match start {
        // SAFETY: inside the bounds just checked.
        Start::Ethernet => u16::from_be(unsafe { *((data + 12) as *const u16) }),
        // SAFETY: as above.
        Start::Ip => match unsafe { *(data as *const u8) } >> 4 {
            4 => ETHERTYPE_IPV4,
            6 => ETHERTYPE_IPV6,
            _ => return false,
        },
    };
    let ip = data + link;
    let (at, protocol) = match ethertype {
        ETHERTYPE_IPV4 => {
            // SAFETY: inside the bounds checked above.
            let (first, protocol) = unsafe { (*(ip as *const u8), *((ip + 9) as *const u8)) };
            if first != 0x45 {
                return true;
            }
            (ip + IPV4_LEN, protocol)
        }
        ETHERTYPE_IPV6 => {
            if ip + IPV6_LEN + 16 > end {
                return true;
            }
            // SAFETY: inside the bounds just checked.
            (ip + IPV6_LEN, unsafe { *((ip + 6) as *const u8) })
        }
        0x8100 | 0x88a8 => return true,
        _ => return false,
    };
    transport(at, end, protocol)
}

/// Decides by ports and magic. `at + 16` must have been checked to lie inside the packet.
#[inline(always)]
fn transport(at: usize, end: usize, protocol: u8) -> bool {
    if at + 16 > end {
        return true;
    }
    // Most of what others send, decided before the rest is told apart.
    if protocol == IPPROTO_TCP {
        return known_port(at);
    }
    match core::hint::black_box(protocol) {
        IPPROTO_UDP => magic(at + 8) || known_port(at),
        IPPROTO_ICMP | IPPROTO_ICMPV6 => magic(at + 8),
        // Tunnels, and IPv6 extension headers.
        IPPROTO_IPIP | IPPROTO_IPV6 | 0 | 43 | 44 | 51 | 60 => true,
        _ => false,
    }
}

#[inline(always)]
fn magic(at: usize) -> bool {
    const FIRST: u16 = u16::from_ne_bytes([MAGIC[0], MAGIC[1]]);
    // One load for nearly all packets: of the whole, where nothing is known to be aligned, each byte is one.
    // SAFETY: the caller checked the bounds, and headers begin at even addresses.
    if unsafe { *(at as *const u16) } != FIRST {
        return false;
    }
    // SAFETY: the caller checked the bounds; packet memory may be read unaligned.
    let bytes = unsafe { core::ptr::read_unaligned(at as *const u64) };
    bytes == u64::from_ne_bytes(MAGIC)
}

#[inline(always)]
fn known_port(at: usize) -> bool {
    // SAFETY: the caller checked the bounds.
    let (source, destination) = unsafe { (*(at as *const u16), *((at + 2) as *const u16)) };
    let (source, destination) = (u16::from_be(source), u16::from_be(destination));
    // Nearly all packets are told by these few comparisons; the lookups are for the others.
    let sieve = SIEVE.load();
    let may = |port| probe_ports::contain(port) || sieve & sieve_bit(port) != 0;
    (may(destination) || may(source)) && listed(source, destination)
}

/// A program of its own to the verifier: it is called for few, and what is not called should not lie in between.
#[inline(never)]
fn listed(source: u16, destination: u16) -> bool {
    has_port(&PORTS, destination) || has_port(&PORTS, source)
}
