//! Drops: `tp_btf/kfree_skb` is called for every packet that the kernel gives up, with the reason and the place
//! (include/trace/events/skb.h). All are counted by (namespace, interface, reason); those of probes are reported. What
//! the kernel frees at the ordinary end of a probe that went well is neither.
//!
//! The offsets of the kernel's structures come from its own BTF at load time ([`OFFSETS`]).

use aya_ebpf::bindings::{BPF_ANY, BPF_RB_NO_WAKEUP};
use aya_ebpf::programs::BtfTracePointContext;
use netcheck_common::abi::{
    DropEvent, DropKey, KernelOffsets, counters, events, flags, identity, probe_ports,
};
use netcheck_common::header::HeaderView;
use netcheck_common::packet::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPPROTO_TCP, IPPROTO_UDP, Packet, Start, TCP_RST, TCP_SYN, parse,
};

use crate::hook::{Found, is_reply, own_flow, probe_header};
use crate::maps::{
    DROPS, EVENTS, FOREIGN_BUDGET, OFFSETS, OWN_SESSION, RESPONDER_PORT, SCOPE, SCOPED, WATCHED_PORTS,
    address_flags, count, drop_scratch, has_port, now_ns,
};
use crate::skb::{Memory, read};

/// Records of foreign flows per second and CPU at most.
const FOREIGN_PER_SECOND: u64 = 500;

/// A packet's place in the kernel.
struct Place {
    ifindex: u32,
    netns: u32,
    input_ifindex: u32,
    route_ifindex: u32,
    route_input: u64,
    flags: u8,
}

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

/// The tracepoint's arguments: skb, location, reason (since 6.9 also the receiving socket, not used).
#[inline(always)]
pub(crate) fn dropped(ctx: &BtfTracePointContext) {
    let offsets = OFFSETS.load();
    let (skb, location, reason): (u64, u64, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if offsets.valid != 1 || reason <= offsets.reason_consumed {
        return;
    }
    let Some(place) = place(skb, &offsets) else { return };
    // SAFETY: a plain integer, only its presence matters.
    if SCOPED.load() == 1 && unsafe { SCOPE.get(place.netns) }.is_none() {
        return;
    }
    if report(skb, location, reason, &place, &offsets) == Loss::Some {
        count(counters::DROPS_SEEN);
        count_drop(&DropKey { netns: place.netns, ifindex: place.ifindex, reason });
    }
}

#[inline(always)]
fn place(skb: u64, offsets: &KernelOffsets) -> Option<Place> {
    let at = |offset: u32| skb.wrapping_add(u64::from(offset));
    let device = read::<u64>(at(offsets.skb_dev))?;
    let socket = read::<u64>(at(offsets.skb_sk))?;
    // The lowest bit says that the reference is not counted (include/linux/skbuff.h, SKB_DST_NOREF).
    let route = read::<u64>(at(offsets.skb_refdst))? & !1;
    let mut place = Place {
        ifindex: 0,
        netns: 0,
        input_ifindex: read::<u32>(at(offsets.skb_iif)).unwrap_or(0),
        route_ifindex: 0,
        route_input: 0,
        flags: 0,
    };
    let mut net = 0u64;
    if device != 0 {
        place.ifindex = read::<u32>(device + u64::from(offsets.dev_ifindex)).unwrap_or(0);
        net = read::<u64>(device + u64::from(offsets.dev_net)).unwrap_or(0);
    }
    if socket != 0 {
        place.flags |= flags::HAS_SOCKET;
        if net == 0 {
            net = read::<u64>(socket + u64::from(offsets.sk_net)).unwrap_or(0);
        }
    }
    if route != 0 {
        place.flags |= flags::HAS_ROUTE;
        place.route_input = read::<u64>(route + u64::from(offsets.dst_input)).unwrap_or(0);
        let route_device = read::<u64>(route + u64::from(offsets.dst_dev)).unwrap_or(0);
        if route_device != 0 {
            place.route_ifindex = read::<u32>(route_device + u64::from(offsets.dev_ifindex)).unwrap_or(0);
            if net == 0 {
                net = read::<u64>(route_device + u64::from(offsets.dev_net)).unwrap_or(0);
            }
        }
    }
    if net != 0 {
        place.netns = read::<u32>(net + u64::from(offsets.net_inum)).unwrap_or(0);
    }
    Some(place)
}

#[inline(always)]
fn count_drop(key: &DropKey) {
    if let Some(counter) = DROPS.get_ptr_mut(key) {
        // SAFETY: a slot of this CPU's own.
        unsafe { *counter += 1 };
    } else if DROPS.insert(key, 1, u64::from(BPF_ANY)).is_err() {
        count(counters::DROP_KEYS_FULL);
    }
}

#[inline(always)]
fn report(skb: u64, location: u64, reason: u32, place: &Place, offsets: &KernelOffsets) -> Loss {
    let Some(scratch) = drop_scratch() else { return Loss::Some };
    let packet = &mut scratch.packet;
    let start = find_packet(skb, offsets, packet);
    if start == 0 {
        return Loss::Some;
    }
    let mut probe = Probe { identity: 0, flags: place.flags, session: 0, path: 0, sequence: 0 };
    if packet.encapsulated != 0 {
        probe.flags |= flags::ENCAPSULATED;
    }
    if probe_header(&Memory(start), packet, &mut scratch.header) == Found::Ours {
        let header = HeaderView(&scratch.header);
        probe.identity = identity::PROBE;
        probe.session = header.session();
        probe.path = header.path();
        probe.sequence = header.sequence();
        if is_reply(packet, &header) {
            probe.flags |= flags::REPLY;
            // Every echo reply that a raw socket received is freed once more for want of another socket.
            if packet.protocol != IPPROTO_UDP
                && reason == offsets.reason_no_socket
                && probe.session == OWN_SESSION.load()
            {
                return Loss::None;
            }
        }
    } else if ends_handshake(packet) {
        // A listener that defers accept() frees both unread, and names no reason.
        return if reason == offsets.reason_not_specified { Loss::None } else { Loss::Some };
    } else if !identify_flow(packet, &mut probe) {
        return Loss::Some;
    }
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
    event.route_input = place.route_input;
    event.reason = reason;
    event.input_ifindex = place.input_ifindex;
    event.route_ifindex = place.route_ifindex;
    event._pad = 0;
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

/// Finds the packet that an skb holds, from its network header, or from its link header where the former is not
/// set. Returns the address that the packet's offsets count from; 0 where there is none.
#[inline(never)]
fn find_packet(skb: u64, offsets: &KernelOffsets, packet: &mut Packet) -> u64 {
    let at = |offset: u32| skb.wrapping_add(u64::from(offset));
    let (Some(head), Some(network), Some(link)) = (
        read::<u64>(at(offsets.skb_head)),
        read::<u16>(at(offsets.skb_network_header)),
        read::<u16>(at(offsets.skb_mac_header)),
    ) else {
        return 0;
    };
    let address = head.wrapping_add(u64::from(network));
    // Before the network header is set it stands where the link header does; on devices without a link layer always.
    let bare = network == link && is_ethernet(address);
    let start = if bare { Start::Ethernet } else { Start::Ip };
    if parse(&Memory(address), start, packet).is_some() { address } else { 0 }
}

/// Whether an Ethernet header with an IP packet or a tag behind it begins here.
#[inline(always)]
fn is_ethernet(address: u64) -> bool {
    let ethertype = read::<[u8; 2]>(address.wrapping_add(12)).unwrap_or([0; 2]);
    matches!(u16::from_be_bytes(ethertype), ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | 0x8100 | 0x88a8)
}

/// Whether the packet is of an own flow, or of one to or from a watched port of a known address.
#[inline(always)]
fn identify_flow(packet: &Packet, probe: &mut Probe) -> bool {
    if packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP {
        return false;
    }
    // Of TCP only the handshake is the probe's.
    if packet.protocol == IPPROTO_TCP && packet.detail & (TCP_SYN | TCP_RST) == 0 {
        return false;
    }
    if let Some((value, reply)) = own_flow(packet) {
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
