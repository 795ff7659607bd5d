//! Stamps of this agent's own packets, through the ring buffer.
//!
//! Nobody is woken: the agent looks when it is awake anyway. What finds no room is counted.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use netcheck_common::abi::{FlowValue, StampEvent, counters, events, flags};
use netcheck_common::header::{FLAG_REFLECTED, HeaderView};
use netcheck_common::packet::Packet;

use crate::maps::{EVENTS, count, now_ns};

/// A packet with this agent's session in its header.
#[inline(always)]
pub(crate) fn probe(packet: &Packet, header: &HeaderView<'_>, ifindex: u32, mut event_flags: u8) {
    let reflected = header.flags() & FLAG_REFLECTED != 0;
    if reflected {
        event_flags |= flags::REFLECTED;
    }
    emit(packet, (header.path(), header.sequence()), ifindex, event_flags, |event| {
        if reflected {
            event.t2_ns = header.t2_ns();
            event.t3_ns = header.t3_ns();
            event.requests = header.requests();
            event.arrived = header.arrived();
        }
    });
}

/// A packet of a flow that this agent registered.
#[inline(always)]
pub(crate) fn flow(packet: &Packet, value: &FlowValue, ifindex: u32, event_flags: u8) {
    emit(packet, (value.path, value.sequence), ifindex, event_flags, |_| {});
}

#[inline(always)]
fn emit(
    packet: &Packet,
    (path, sequence): (u32, u32),
    ifindex: u32,
    event_flags: u8,
    fill: impl FnOnce(&mut StampEvent),
) {
    let Some(mut entry) = EVENTS.reserve::<StampEvent>(0) else {
        count(counters::STAMPS_LOST);
        return;
    };
    // SAFETY: reserved for exactly this type; every field is written before it is submitted.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    event.kind = events::STAMP;
    event.flags = event_flags;
    event.protocol = packet.protocol;
    event._pad = 0;
    event.ifindex = ifindex;
    event.at_ns = now_ns();
    event.path = path;
    event.sequence = sequence;
    event.source = packet.source;
    event.destination = packet.destination;
    event.source_port = packet.source_port;
    event.destination_port = packet.destination_port;
    event._pad2 = 0;
    event.t2_ns = 0;
    event.t3_ns = 0;
    event.requests = 0;
    event.arrived = 0;
    fill(event);
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}
