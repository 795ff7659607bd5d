//! A packet at a hook: whose it is, and who is to be told.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use netcheck_common::abi::{FlowKey, FlowValue, address_flags, counters, flags, probe_ports, roles};
use netcheck_common::header::{FLAG_REPLY, HEADER_LEN, HeaderView};
use netcheck_common::packet::{
    Bytes, IPPROTO_TCP, IPPROTO_UDP, Packet, Start, TCP_ACK, TCP_RST, TCP_SYN, parse,
};

use crate::maps::{self, FLOWS, INTERFACES, OWN_SESSION, POD_VETHS, PORTS, RESPONDER_PORT, count, has_port};
use crate::skb::Skb;
use crate::{filter, reflect, stamp};

/// The entry of every classifier.
#[inline(always)]
pub(crate) fn packet(ctx: &TcContext, start: Start, egress: bool) {
    if !filter::is_ordinary(ctx, start) {
        look(ctx.as_ptr().cast(), start, egress);
    }
}

/// A program of its own to the verifier, so that the way of all other packets is short, in one piece of memory, and needs
/// no room on the stack.
#[inline(never)]
fn look(skb: *mut __sk_buff, start: Start, egress: bool) {
    let ctx = &TcContext::new(skb);
    if !filter::may_be_ours(ctx, start) {
        return;
    }
    let Some(scratch) = maps::hook_scratch() else { return };
    if !parse_skb(ctx, start, &mut scratch.packet) {
        return;
    }
    // SAFETY: a classifier's context is an __sk_buff.
    let ifindex = unsafe { (*ctx.as_ptr().cast::<__sk_buff>()).ifindex };
    let mut flags = if egress { flags::EGRESS } else { 0 };
    if scratch.packet.encapsulated != 0 {
        flags |= flags::ENCAPSULATED;
    }
    if is_flooded_copy(&scratch.packet, ifindex, egress) {
        return;
    }
    let found = probe_header(&Skb(ctx), &scratch.packet, &mut scratch.header);
    if found == Found::OtherVersion {
        aya_log_ebpf::debug!(ctx, "interface {}: probe header of another version", ifindex);
    }
    if found == Found::Ours {
        let header = HeaderView(&scratch.header);
        if is_reply(&scratch.packet, &header) {
            flags |= flags::REPLY;
        }
        if header.session() == OWN_SESSION.load() {
            stamp::probe(&scratch.packet, &header, ifindex, flags);
        } else {
            reflect::foreign(ctx, scratch, ifindex, flags);
        }
    } else if scratch.packet.protocol == IPPROTO_TCP || scratch.packet.protocol == IPPROTO_UDP {
        flow(&scratch.packet, ifindex, flags);
    }
}

/// Whether a bridge that doesn't know the right port sends a copy into the wrong pod's. Learns which port is whose from
/// what pods send.
#[inline(always)]
fn is_flooded_copy(packet: &Packet, ifindex: u32, egress: bool) -> bool {
    // SAFETY: a plain integer, copied at once.
    if unsafe { INTERFACES.get(ifindex) } != Some(&roles::POD_VETH) {
        return false;
    }
    let pod = if egress { &packet.destination } else { &packet.source };
    if maps::address_flags(pod) & address_flags::LOCAL_POD == 0 {
        return false;
    }
    // SAFETY: as above.
    let known = unsafe { POD_VETHS.get(pod) }.copied();
    if egress {
        return known.is_some_and(|known| known != ifindex);
    }
    if known != Some(ifindex) {
        // No room costs precision, never a wrong answer: an unknown port is taken for the right one.
        let _ = POD_VETHS.insert(pod, ifindex, 0);
    }
    false
}

/// A program of its own to the verifier: with its own stack frame, checked once.
#[inline(never)]
fn parse_skb(ctx: &TcContext, start: Start, packet: &mut Packet) -> bool {
    parse(&Skb(ctx), start, packet).is_some()
}

/// What a packet has for a probe header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    OtherVersion,
    Ours,
}

/// Loads the probe header of an echo or UDP packet.
#[inline(always)]
pub(crate) fn probe_header<B: Bytes + ?Sized>(
    bytes: &B,
    packet: &Packet,
    header: &mut [u8; HEADER_LEN],
) -> Found {
    if packet.protocol != IPPROTO_UDP && !packet.is_echo_request() && !packet.is_echo_reply() {
        return Found::Nothing;
    }
    if !bytes.load_into(packet.payload(), header) {
        return Found::Nothing;
    }
    let view = HeaderView(header);
    if view.is_ours() {
        Found::Ours
    } else if view.has_magic() {
        count(counters::UNKNOWN_VERSION);
        Found::OtherVersion
    } else {
        Found::Nothing
    }
}

/// Whether it goes from the target back.
#[inline(always)]
pub(crate) fn is_reply(packet: &Packet, header: &HeaderView<'_>) -> bool {
    if packet.protocol == IPPROTO_UDP { header.flags() & FLAG_REPLY != 0 } else { packet.is_echo_reply() }
}

/// The own flow that a packet belongs to, and whether it is a reply. A packet is known by the local port; its local
/// address must be the socket's or, after translation at the source, another of this node's own.
#[inline(always)]
pub(crate) fn own_flow(packet: &Packet) -> Option<(FlowValue, bool)> {
    let local = |port: u16, address: &[u8; 16]| {
        if !has_port(&PORTS, port) {
            return None;
        }
        let key = FlowKey { port, protocol: packet.protocol, version: packet.version };
        // SAFETY: the value is plain data and copied at once.
        let value = *unsafe { FLOWS.get(key) }?;
        let ours = value.address == *address || maps::address_flags(address) & address_flags::LOCAL_HOST != 0;
        if ours { Some(value) } else { None }
    };
    if let Some(value) = local(packet.source_port, &packet.source) {
        return Some((value, false));
    }
    local(packet.destination_port, &packet.destination).map(|value| (value, true))
}

/// A packet without a probe header: of an own flow, or of a foreign probe's to something on this node.
#[inline(always)]
fn flow(packet: &Packet, ifindex: u32, mut flags: u8) {
    let tcp = packet.protocol == IPPROTO_TCP;
    // Of a TCP flow the handshake matters: SYN, its answer, or a reset. What follows it is only counted, so that it can
    // be told when which end of an exchange was heard last.
    let handshake = !tcp || packet.detail & (TCP_SYN | TCP_RST) != 0;
    let exchange = tcp && packet.detail & TCP_SYN == 0 && of_exchange(packet);
    if !handshake && !exchange {
        return;
    }
    if tcp && packet.detail & TCP_RST != 0 {
        flags |= flags::RESET;
    }
    if handshake && let Some((value, reply)) = own_flow(packet) {
        if reply {
            flags |= flags::REPLY;
        }
        // The source's own reset (it closes its probe so) is no part of the exchange. It ends the wait for an answer.
        if reply || flags & flags::RESET == 0 {
            stamp::flow(packet, &value, ifindex, flags);
            return;
        }
        if !exchange {
            return;
        }
    }
    let responder = RESPONDER_PORT.load();
    let from_probe =
        probe_ports::contain(packet.source_port) || (tcp && packet.destination_port == responder);
    let to_probe = probe_ports::contain(packet.destination_port) || (tcp && packet.source_port == responder);
    // A handshake tells itself which way it goes; of datagrams, and of what follows, the probe's port does.
    let answer = if tcp && !exchange { packet.detail & (TCP_ACK | TCP_RST) != 0 } else { !from_probe };
    if from_probe && !answer {
        reflect::tuple(packet, ifindex, flags);
    } else if to_probe && answer {
        reflect::tuple(packet, ifindex, flags | flags::REPLY);
    }
}

/// Whether exactly one end of a TCP packet has a port of probes, and neither is a responder: those say no more than their
/// handshake.
#[inline(always)]
pub(crate) fn of_exchange(packet: &Packet) -> bool {
    let responder = RESPONDER_PORT.load();
    probe_ports::contain(packet.source_port) != probe_ports::contain(packet.destination_port)
        && packet.source_port != responder
        && packet.destination_port != responder
}
