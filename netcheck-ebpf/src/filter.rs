//! The fast ways out: see in a few loads that a packet can't be netcheck's. What is mostly seen is recognised first
//! ([`is_ordinary`], and [`is_unrelated`] of what is dropped), all else by [`may_be_ours`].
//!
//! They read packet memory directly and only where headers have no options. Whatever is unusual (tags in the data,
//! options, extension headers, paged data) goes the slow way: that costs time, never a wrong answer.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::TcContext;
use netcheck_common::header::MAGIC;
use netcheck_common::packet::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, IPPROTO_ICMP,
    IPPROTO_ICMPV6, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_TCP, IPPROTO_UDP, Start,
};

use crate::maps::{PORTS, WATCHED_PORTS, has_port, port_prefilter, translated_prefilter};
use crate::skb::PREFIX;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;

/// Whether it is TCP or UDP behind a header without options, and none of ours by its ports and its first bytes: what most
/// packets are.
///
/// In few instructions, all in one piece. On the kernel's own way of a packet this code is hardly ever in the CPU's
/// nearest cache, so that each of its lines costs more than what is done in it.
#[inline(always)]
pub(crate) fn is_ordinary(ctx: &TcContext, start: Start, egress: bool) -> bool {
    let Some((ip, end, version)) = begin(ctx, start) else { return false };
    if version == Version::V6 && ip + IPV6_LEN + 16 > end {
        return false;
    }
    // SAFETY: inside the bounds checked above, and headers begin at even addresses.
    let Some(transport) = (unsafe { plain_transport(ip, version) }) else { return false };
    // SAFETY: as above.
    let (source, destination) = unsafe { (*(transport as *const u8), *((transport + 2) as *const u8)) };
    if port_prefilter(source) | port_prefilter(destination) != 0 {
        return false;
    }
    // An own flow whose port is another behind translation: its requests by their socket's own port, the answers by what
    // the requests left as.
    if egress {
        !may_be_own_socket(ctx)
    } else {
        // SAFETY: as above.
        unsafe { !may_be_translated(transport) }
    }
}

/// The local port of the socket that a packet was sent by; 0 where it has none any more, or never had.
#[inline(always)]
pub(crate) fn socket_port(ctx: &TcContext) -> u16 {
    // SAFETY: a classifier's context is an __sk_buff; the verifier knows what its member is, and that it may be null.
    unsafe {
        let socket = (*ctx.as_ptr().cast::<__sk_buff>()).__bindgen_anon_2.sk;
        if socket.is_null() { 0 } else { (&raw const (*socket).src_port).read_volatile() as u16 }
    }
}

/// Whether a port with the same high byte as a packet's own socket's may be in [`PORTS`]. A packet without a socket takes
/// no part in the sum of addresses: the verifier lets nobody without CAP_PERFMON add a constant on one way and something
/// unknown on another.
#[inline(always)]
fn may_be_own_socket(ctx: &TcContext) -> bool {
    // SAFETY: as in `socket_port`.
    unsafe {
        let socket = (*ctx.as_ptr().cast::<__sk_buff>()).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        let port = (&raw const (*socket).src_port).read_volatile();
        port_prefilter((port >> 8) as u8) != 0
    }
}

/// Whether a packet may be the answer to an own flow whose port was translated.
///
/// # Safety
/// At `at` there must be a TCP or UDP header, at an even address.
#[inline(always)]
unsafe fn may_be_translated(at: usize) -> bool {
    // SAFETY: the caller's promise.
    let (source, destination) = unsafe { (*(at as *const u16), *((at + 2) as *const u16)) };
    translated_prefilter(source, destination) != 0
}

/// Whether a packet in memory of our own is TCP or UDP behind a header without options, of no port of interest to the
/// drop tracepoint, and no probe.
#[inline(always)]
pub(crate) fn is_unrelated(packet: &[u8; PREFIX]) -> bool {
    let ip = packet.as_ptr() as usize;
    // SAFETY: there are more bytes than the longest of these headers and what is looked at behind it.
    let Some(transport) = (unsafe { plain_transport(ip, Version::of_first_byte(packet[0])) }) else {
        return false;
    };
    // SAFETY: as above.
    unsafe {
        !is_listed(&PORTS, transport)
            && !is_listed(&WATCHED_PORTS, transport)
            && !may_be_translated(transport)
    }
}

/// What a packet is, by the first that recognises it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V4,
    V6,
    /// It has a tag before its IP header, if it has one.
    Tagged,
    Other,
}

/// Where the IP header is, where the packet's linear part ends, and what it is. `None` where that part is shorter than
/// the shortest packet that can be ours, an IPv4 TCP handshake: it may go on in pages.
#[inline(always)]
fn begin(ctx: &TcContext, start: Start) -> Option<(usize, usize, Version)> {
    let (data, end) = (ctx.data(), ctx.data_end());
    let ip = match start {
        Start::Ethernet => data + ETHERNET_LEN as usize,
        Start::Ip => data,
    };
    if ip + IPV4_LEN + 16 > end {
        return None;
    }
    let version = match start {
        // SAFETY: inside the bounds just checked.
        Start::Ethernet => Version::of_ethertype(u16::from_be(unsafe { *((data + 12) as *const u16) })),
        // SAFETY: as above.
        Start::Ip => Version::of_first_byte(unsafe { *(ip as *const u8) }),
    };
    Some((ip, end, version))
}

impl Version {
    #[inline(always)]
    const fn of_ethertype(ethertype: u16) -> Self {
        match ethertype {
            ETHERTYPE_IPV4 => Self::V4,
            ETHERTYPE_IPV6 => Self::V6,
            ETHERTYPE_VLAN | ETHERTYPE_QINQ => Self::Tagged,
            _ => Self::Other,
        }
    }

    #[inline(always)]
    const fn of_first_byte(byte: u8) -> Self {
        match byte >> 4 {
            4 => Self::V4,
            6 => Self::V6,
            _ => Self::Other,
        }
    }
}

/// Where the transport header of a TCP or UDP packet is whose IP header has no options, and which does not begin as a
/// probe does. `None` of any other.
///
/// # Safety
/// At `ip` there must be an IP header and 16 bytes behind it, at an even address.
#[inline(always)]
unsafe fn plain_transport(ip: usize, version: Version) -> Option<usize> {
    // As if it were IPv4, before it is known: what both cases did alike, the compiler would do once, with an offset for
    // each; and such the verifier lets nobody without CAP_PERFMON add to a packet's address.
    // SAFETY: the caller's promise.
    let mut protocol = unsafe { ((ip + 9) as *const u8).read_volatile() };
    let mut transport = ip + IPV4_LEN;
    match version {
        // SAFETY: as above.
        Version::V4 if unsafe { *(ip as *const u8) } == 0x45 => {}
        Version::V6 => {
            // SAFETY: as above.
            protocol = unsafe { ((ip + 6) as *const u8).read_volatile() };
            transport = ip + IPV6_LEN;
        }
        Version::V4 | Version::Tagged | Version::Other => return None,
    }
    // SAFETY: as above.
    let is_udp = || protocol == IPPROTO_UDP && unsafe { *((transport + 8) as *const u16) } != MAGIC_BEGIN;
    if protocol == IPPROTO_TCP || is_udp() { Some(transport) } else { None }
}

/// Whether a packet that is not ordinary is worth parsing.
#[inline(always)]
pub(crate) fn may_be_ours(ctx: &TcContext, start: Start, egress: bool) -> bool {
    let Some((ip, end, version)) = begin(ctx, start) else { return true };
    if egress && has_port(&PORTS, socket_port(ctx)) {
        return true;
    }
    match version {
        // SAFETY: inside the bounds that were checked.
        Version::V4 => unsafe {
            *(ip as *const u8) != 0x45 || transport(ip + IPV4_LEN, *((ip + 9) as *const u8))
        },
        Version::V6 => {
            // SAFETY: inside the bounds just checked.
            ip + IPV6_LEN + 16 > end || unsafe { transport(ip + IPV6_LEN, *((ip + 6) as *const u8)) }
        }
        Version::Tagged => true,
        Version::Other => false,
    }
}

/// Decides by ports and magic.
///
/// # Safety
/// Sixteen bytes at `at`, an even address, must have been checked to lie inside the packet.
#[inline(always)]
unsafe fn transport(at: usize, protocol: u8) -> bool {
    // SAFETY: the caller's promise.
    let listed = || unsafe { is_listed(&PORTS, at) || may_be_translated(at) };
    match protocol {
        IPPROTO_TCP => listed(),
        IPPROTO_UDP => magic(at + 8) || listed(),
        IPPROTO_ICMP | IPPROTO_ICMPV6 => magic(at + 8),
        // Tunnels, and IPv6 extension headers.
        IPPROTO_IPIP | IPPROTO_IPV6 | 0 | 43 | 44 | 51 | 60 => true,
        _ => false,
    }
}

/// What the magic begins with: one load, where of the whole, for nothing is known to be aligned, each byte is one.
const MAGIC_BEGIN: u16 = u16::from_ne_bytes([MAGIC[0], MAGIC[1]]);

#[inline(always)]
fn magic(at: usize) -> bool {
    // SAFETY: the caller checked the bounds; packet memory may be read unaligned.
    let bytes = unsafe { core::ptr::read_unaligned(at as *const u64) };
    bytes == u64::from_ne_bytes(MAGIC)
}

/// Whether one of the ports at `at` is in a bitmap.
///
/// # Safety
/// At `at` there must be a TCP or UDP header, at an even address.
#[inline(always)]
unsafe fn is_listed(bits: &Array<u64>, at: usize) -> bool {
    // SAFETY: the caller's promise.
    let (source, destination) = unsafe { (*(at as *const u16), *((at + 2) as *const u16)) };
    has_port(bits, u16::from_be(destination)) || has_port(bits, u16::from_be(source))
}
