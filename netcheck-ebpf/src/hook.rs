//! A packet at a hook: whose it is, and who is to be notified.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use netcheck_common::abi::{
    FlowKey, FlowValue, TupleKey, address_flags, counters, flags, probe_ports, roles,
};
use netcheck_common::header::{FLAG_REPLY, HEADER_LEN, HeaderView};
use netcheck_common::packet::{
    Bytes, IPPROTO_TCP, IPPROTO_UDP, Packet, Start, TCP_ACK, TCP_RST, TCP_SYN, parse,
};

use crate::maps::{
    self, FLOWS, INTERFACES, OWN_SESSION, POD_HARDWARE, POD_VETHS, PORTS, RESPONDER_PORT, TRANSLATED, count,
    has_port,
};
use crate::skb::Skb;
use crate::{filter, reflect, stamp};

/// Bytes of an Ethernet address: a frame begins with its receiver's, then the sender's.
const HARDWARE_LEN: usize = 6;

/// The entry of every classifier.
#[inline(always)]
pub(crate) fn packet(ctx: &TcContext, start: Start, egress: bool) {
    if !filter::is_ordinary(ctx, start, egress) {
        look(ctx.as_ptr().cast(), start, egress);
    }
}

/// A program of its own to the verifier, so that the way of all other packets is short, in one piece of memory, and needs
/// no room on the stack.
#[inline(never)]
fn look(skb: *mut __sk_buff, start: Start, egress: bool) {
    let ctx = &TcContext::new(skb);
    if !filter::may_be_ours(ctx, start, egress) {
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
    let frame = Skb(ctx);
    let link = (start == Start::Ethernet).then_some(&frame);
    if is_flooded_copy(&scratch.packet, link, ifindex, egress) {
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
        let socket_port = if egress { filter::socket_port(ctx) } else { 0 };
        flow(&scratch.packet, socket_port, ifindex, flags);
    }
}

/// Whether a bridge that doesn't know the right port sends a copy into the wrong pod's. Learns which port is whose, and
/// which hardware address is behind it, from what pods send.
#[inline(always)]
fn is_flooded_copy(packet: &Packet, link: Option<&Skb<'_>>, ifindex: u32, egress: bool) -> bool {
    // SAFETY: a plain integer, copied at once.
    if unsafe { INTERFACES.get(ifindex) } != Some(&roles::POD_VETH) {
        return false;
    }
    let pod = if egress { &packet.destination } else { &packet.source };
    let of_pod = maps::address_flags(pod);
    if of_pod & address_flags::LOCAL_POD == 0 {
        // What is for the node itself, or for a pod or a node elsewhere, is on no pod's link on its way.
        return egress && of_pod != 0;
    }
    // SAFETY: as above.
    let known = unsafe { POD_VETHS.get(pod) }.copied();
    if egress {
        return match known {
            Some(known) => known != ifindex,
            // A pod that never said anything; but perhaps the one behind this port did.
            None => link.is_some_and(|link| is_for_another(link, ifindex)),
        };
    }
    if known != Some(ifindex) {
        // No room costs precision, never a wrong answer: an unknown port is taken for the right one.
        let _ = POD_VETHS.insert(pod, ifindex, 0);
        if let Some(sender) = link.and_then(|link| link.load::<HARDWARE_LEN>(HARDWARE_LEN as u32)) {
            let _ = POD_HARDWARE.insert(ifindex, sender, 0);
        }
    }
    false
}

/// Whether a frame has another hardware address than the pod behind a port.
#[inline(always)]
fn is_for_another(link: &Skb<'_>, ifindex: u32) -> bool {
    // SAFETY: plain bytes, copied at once.
    let Some(behind) = unsafe { POD_HARDWARE.get(ifindex) }.copied() else { return false };
    link.load::<HARDWARE_LEN>(0).is_some_and(|to| to != behind)
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
pub(crate) fn own_flow(packet: &Packet) -> Option<(&'static FlowValue, bool)> {
    let local = |port: u16, address: &[u8; 16]| {
        if !has_port(&PORTS, port) {
            return None;
        }
        let key = FlowKey { port, protocol: packet.protocol, version: packet.version };
        // SAFETY: the value is plain data, and lives until the end of the program's run.
        let value = unsafe { FLOWS.get(key) }?;
        let ours = value.address == *address || maps::address_flags(address) & address_flags::LOCAL_HOST != 0;
        if ours { Some(value) } else { None }
    };
    if let Some(value) = local(packet.source_port, &packet.source) {
        return Some((value, false));
    }
    local(packet.destination_port, &packet.destination).map(|value| (value, true))
}

/// The same where translation gave it another port or another address than its socket has, be it this node's or not: a
/// request is known by the socket's port, if the packet still has it; the answer by what the request left as, which is kept
/// for it.
#[inline(always)]
pub(crate) fn translated_flow(packet: &Packet, socket_port: u16) -> Option<(&'static FlowValue, bool)> {
    if socket_port != 0 && has_port(&PORTS, socket_port) {
        let source = maps::address_flags(&packet.source);
        // What comes in for a socket of this node has been given to it already where its drop is reported.
        let comes_in = maps::address_flags(&packet.destination) & address_flags::LOCAL_HOST != 0;
        let nobodys = source == 0 && !comes_in;
        if socket_port != packet.source_port || nobodys {
            // What bears a pod's or another node's address is theirs, whose sockets may have the same port: their packets still
            // belong to these on a bridge, and where several nodes share a kernel.
            if source & address_flags::LOCAL_HOST == 0 && !nobodys {
                return None;
            }
            let key = FlowKey { port: socket_port, protocol: packet.protocol, version: packet.version };
            // SAFETY: as above.
            return unsafe { FLOWS.get(key) }.map(|value| (value, false));
        }
    }
    if maps::translated_prefilter(packet.source_port.to_be(), packet.destination_port.to_be()) == 0 {
        return None;
    }
    let request = TupleKey {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        protocol: packet.protocol,
        _pad: [0; 3],
    };
    // SAFETY: as above.
    unsafe { TRANSLATED.get(request) }.map(|value| (value, true))
}

/// Keeps what a request leaves as, for its answer.
#[inline(always)]
fn remember(packet: &Packet, value: &FlowValue) {
    let key = TupleKey {
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        protocol: packet.protocol,
        _pad: [0; 3],
    };
    // No room costs the sight of an answer.
    let _ = TRANSLATED.insert(key, value, 0);
    maps::set_translated_prefilter(packet.source_port.to_be(), packet.destination_port.to_be());
}

/// A packet without a probe header: of an own flow, or of a foreign probe's to something on this node.
#[inline(always)]
fn flow(packet: &Packet, socket_port: u16, ifindex: u32, mut flags: u8) {
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
    // First by what can't be mistaken: a port that translation chose may be another flow's.
    let translated = if handshake { translated_flow(packet, socket_port) } else { None };
    if let Some((value, false)) = translated {
        remember(packet, value);
    }
    if handshake && let Some((value, reply)) = translated.or_else(|| own_flow(packet)) {
        if reply {
            flags |= flags::REPLY;
        }
        // The source's own reset (it closes its probe so) is no part of the exchange. It ends the wait for an answer.
        if reply || flags & flags::RESET == 0 {
            stamp::flow(packet, value, ifindex, flags);
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
    // A handshake shows itself which way it goes; of datagrams, and of what follows, the probe's port does.
    let answer = if tcp && !exchange { packet.detail & (TCP_ACK | TCP_RST) != 0 } else { !from_probe };
    if from_probe && !answer {
        reflect::tuple(packet, ifindex, flags, handshake);
    } else if to_probe && answer {
        reflect::tuple(packet, ifindex, flags | flags::REPLY, handshake);
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
