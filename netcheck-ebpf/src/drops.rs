//! Drops: `tp_btf/kfree_skb` is called for every packet that the kernel gives up, with the reason and the place
//! (include/trace/events/skb.h). All are counted by (interface, reason); those of probes are reported. What
//! the kernel frees at the ordinary end of a probe that went well is neither.
//!
//! The offsets of the kernel's structures come from its own BTF at load time.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::programs::BtfTracePointContext;
use netcheck_common::abi::{DropEvent, DropKey, FRAMES, counters, events, flags, identity, probe_ports};
use netcheck_common::header::HeaderView;
use netcheck_common::packet::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, IPPROTO_TCP, IPPROTO_UDP, Packet, Start,
    TCP_RST, TCP_SYN, parse,
};

use crate::filter::is_unrelated;
use crate::hook::{Found, is_reply, of_exchange, own_flow, probe_header, translated_flow};
use crate::maps::{
    EVENTS, FOREIGN_BUDGET, OWN_NETNS, OWN_SESSION, PORTS, RESPONDER_PORT, WATCHED_PORTS, address_flags,
    count, drop_scratch, has_port, now_ns,
};
use crate::names::{callers, keep_name};
use crate::place::{
    Place, device, ifindex_of_route, in_scope, offset, peer_here, place, route, socket, socket_port,
};
use crate::skb::{PREFIX, Prefix, WINDOW, Window, member, read};
use crate::slots::count_drop;

/// Records of foreign flows per second and CPU at most.
const FOREIGN_PER_SECOND: u64 = 500;

/// Whose packet it was.
struct Probe {
    identity: u8,
    flags: u8,
    session: u64,
    path: u32,
    sequence: u32,
}

/// Whether anything was lost with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Some,
    /// It had done what it was sent for.
    None,
}

/// Who names the functions of the records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The kernel itself, with those that called them.
    Kernel,
    /// Nobody here.
    None,
}

/// What the kernel gave up, and where.
struct Dropped<'a> {
    ctx: &'a BtfTracePointContext,
    skb: *const u8,
    location: u64,
    reason: u32,
}

/// The tracepoint's arguments: skb, location, reason (since 6.9 also the receiving socket, not used).
#[inline(always)]
pub(crate) fn dropped(ctx: &BtfTracePointContext, naming: Naming) {
    let (skb, location, reason): (*const u8, u64, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let dropped = Dropped { ctx, skb, location, reason };
    if offset!(valid) != 1 || reason <= offset!(reason_consumed) {
        return;
    }
    let place = place(skb);
    if !in_scope(&place) {
        return;
    }
    if report(&dropped, naming, &place) == Loss::Some {
        count(counters::DROPS_SEEN);
        let here = place.ifindex != 0 && place.netns == OWN_NETNS.load();
        count_drop(&DropKey { ifindex: if here { place.ifindex } else { 0 }, reason });
    }
}

#[inline(always)]
fn report(dropped: &Dropped<'_>, naming: Naming, place: &Place) -> Loss {
    let &Dropped { skb, location, reason, .. } = dropped;
    let Some(scratch) = drop_scratch() else { return Loss::Some };
    let packet = &mut scratch.packet;
    let Some((prefix, start)) = find_packet(skb, &mut scratch.window) else { return Loss::Some };
    let socket_port = socket_port(skb);
    if start == Start::Ip && !has_port(&PORTS, socket_port) && is_unrelated(prefix.bytes()) {
        return Loss::Some;
    }
    let Some(bytes) = prefix.widen() else { return Loss::Some };
    if !parse_window(&bytes, start, packet) {
        return Loss::Some;
    }
    let mut probe = Probe { identity: 0, flags: 0, session: 0, path: 0, sequence: 0 };
    if packet.encapsulated != 0 {
        probe.flags |= flags::ENCAPSULATED;
    }
    if probe_header(&bytes, packet, &mut scratch.header) == Found::Ours {
        let header = HeaderView(&scratch.header);
        probe.identity = identity::PROBE;
        probe.session = header.session();
        probe.path = header.path();
        probe.sequence = header.sequence();
        if is_reply(packet, &header) {
            probe.flags |= flags::REPLY;
            // Every echo reply that a raw socket received is freed once more for want of another socket.
            if packet.protocol != IPPROTO_UDP
                && reason == offset!(reason_no_socket)
                && probe.session == OWN_SESSION.load()
            {
                return Loss::None;
            }
        }
    } else if ends_handshake(packet) {
        // A listener that defers accept() frees both unread, and names no reason.
        return if reason == offset!(reason_not_specified) { Loss::None } else { Loss::Some };
    } else if !identify_flow(packet, socket_port, &mut probe) {
        return Loss::Some;
    }
    let route = route(skb);
    let (mut route_ifindex, mut route_input) = (0, 0);
    if route != 0 {
        probe.flags |= flags::HAS_ROUTE;
        route_ifindex = ifindex_of_route(route).unwrap_or(0);
        route_input = read::<u64>(route.wrapping_add(u64::from(offset!(dst_input)))).unwrap_or(0);
    }
    if !socket(skb).is_null() {
        probe.flags |= flags::HAS_SOCKET;
    }
    let elsewhere = place.ifindex != 0 && place.netns != OWN_NETNS.load();
    let peer_ifindex = if elsewhere { peer_here(device(skb)).unwrap_or(0) } else { 0 };
    let Some(mut entry) = EVENTS.reserve::<DropEvent>(0) else {
        count(counters::DROPS_LOST);
        return Loss::Some;
    };
    // SAFETY: reserved for exactly this type; every field is written before it is submitted.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    event.kind = events::DROP;
    event.flags = probe.flags;
    event.protocol = packet.protocol;
    event.identity = probe.identity;
    event.ifindex = place.ifindex;
    event.at_ns = now_ns();
    event.session = probe.session;
    event.path = probe.path;
    event.sequence = probe.sequence;
    event.source = packet.source;
    event.destination = packet.destination;
    event.source_port = packet.source_port;
    event.destination_port = packet.destination_port;
    event.netns = place.netns;
    event.location = location;
    event.route_input = route_input;
    event.reason = reason;
    // SAFETY: the kernel's own skb; the verifier knows its type.
    event.input_ifindex = unsafe { member(skb, offset!(skb_iif)) };
    event.route_ifindex = route_ifindex;
    event.peer_ifindex = peer_ifindex;
    event.stack = [0; FRAMES];
    if naming == Naming::Kernel {
        // Before the record is there for user space to read.
        keep_name(location, &mut scratch.name);
        keep_name(route_input, &mut scratch.name);
        // Which of netfilter's hooks it was, nothing but the caller shows for sure.
        if reason == offset!(reason_netfilter_drop) {
            callers(dropped.ctx, &mut event.stack, &mut scratch.name);
        }
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Loss::Some
}

/// Whether it is what a TCP probe sends after its handshake, towards a responder: the last ACK, or the RST that ends it.
#[inline(always)]
fn ends_handshake(packet: &Packet) -> bool {
    packet.protocol == IPPROTO_TCP
        && packet.detail & TCP_SYN == 0
        && packet.destination_port == RESPONDER_PORT.load()
        && probe_ports::contain(packet.source_port)
}

/// Finds the packet that an skb holds, from its network header on; and whether that is a link header, for it is where
/// the latter is as long as it is not set, and on devices without a link layer always.
#[inline(always)]
fn find_packet(skb: *const u8, room: &mut [u8; WINDOW]) -> Option<(Prefix<'_>, Start)> {
    // SAFETY: the kernel's own skb; the verifier knows its type.
    let (head, network, link) = unsafe {
        (
            member::<u64>(skb, offset!(skb_head)),
            member::<u16>(skb, offset!(skb_network_header)),
            member::<u16>(skb, offset!(skb_mac_header)),
        )
    };
    let prefix = Prefix::at(head.wrapping_add(u64::from(network)), room)?;
    let start = if network == link && is_ethernet(prefix.bytes()) { Start::Ethernet } else { Start::Ip };
    Some((prefix, start))
}

/// A program of its own to the verifier: with its own stack frame, checked once.
#[inline(never)]
fn parse_window(bytes: &Window<'_>, start: Start, packet: &mut Packet) -> bool {
    parse(bytes, start, packet).is_some()
}

/// Whether an Ethernet header with an IP packet or a tag behind it begins here.
#[inline(always)]
fn is_ethernet(bytes: &[u8; PREFIX]) -> bool {
    matches!(
        u16::from_be_bytes([bytes[12], bytes[13]]),
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | ETHERTYPE_VLAN | ETHERTYPE_QINQ
    )
}

/// Whether the packet is of an own flow, or of one to or from a watched port of a known address.
#[inline(always)]
fn identify_flow(packet: &Packet, socket_port: u16, probe: &mut Probe) -> bool {
    if packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP {
        return false;
    }
    // Of TCP the handshake is the probe's, and what follows it in an exchange.
    if packet.protocol == IPPROTO_TCP && packet.detail & (TCP_SYN | TCP_RST) == 0 && !of_exchange(packet) {
        return false;
    }
    if let Some((value, reply)) = translated_flow(packet, socket_port).or_else(|| own_flow(packet)) {
        probe.identity = identity::OWN_FLOW;
        probe.path = value.path;
        probe.sequence = value.sequence;
        if reply {
            probe.flags |= flags::REPLY;
        }
        return true;
    }
    // The target's end decides: the other one may be translated, or a tunnel's own address.
    let to_watched =
        has_port(&WATCHED_PORTS, packet.destination_port) && address_flags(&packet.destination) != 0;
    if !to_watched && !(has_port(&WATCHED_PORTS, packet.source_port) && address_flags(&packet.source) != 0) {
        return false;
    }
    if !may_report_foreign() {
        count(counters::FOREIGN_SUPPRESSED);
        return false;
    }
    probe.identity = identity::FOREIGN_FLOW;
    if !to_watched {
        probe.flags |= flags::REPLY;
    }
    true
}

/// Bounds the records of flows that may be anybody's: a flood of dropped strangers must not crowd out the probes.
#[inline(always)]
fn may_report_foreign() -> bool {
    let Some(budget) = FOREIGN_BUDGET.get_ptr_mut(0) else { return false };
    // SAFETY: a slot of this CPU's own.
    let budget = unsafe { &mut *budget };
    let second = now_ns() / 1_000_000_000;
    if budget.second != second {
        budget.second = second;
        budget.used = 0;
    }
    budget.used += 1;
    budget.used <= FOREIGN_PER_SECOND
}
