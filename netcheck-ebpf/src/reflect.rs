//! The reflector: what arrived of other agents' probes, counted at the first hook of this node that sees it, and
//! written into the reply at the last hook where the reply is still bare.
//!
//! One entry per (session, path, source's address): what somebody else sends in another's name is counted apart from it.
//! The bpf target has no atomic addition: two CPUs that handle packets of the same
//! path in the same instant may cost the bitmap a bit. Probes of a path are an interval apart, so that is rare.

use aya_ebpf::bindings::{BPF_F_MARK_MANGLED_0, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_csum_diff;
use aya_ebpf::programs::TcContext;
use netcheck_common::abi::{
    FRESH_PER_SECOND, REFLECT_SLOTS, ReflectKey, ReflectValue, SourceBudget, TUPLE_LIFE_NS, TupleKey,
    TupleValue, address_flags, counters, flags, roles,
};
use netcheck_common::header::{
    FLAG_REFLECTED, HeaderView, REFLECTED_LEN, REFLECTED_OFFSET, VERSION, VERSION_FLAGS_OFFSET,
};
use netcheck_common::packet::{IPPROTO_UDP, Packet};

use crate::maps::{
    INTERFACES, REFLECT, REFLECT_SOURCES, Scratch, TUPLES, address_flags as flags_of, count, now_ns,
};

/// How far back the bitmap reaches.
const BITMAP_BITS: u32 = 64;

/// A probe packet of another agent.
#[inline(always)]
pub(crate) fn foreign(ctx: &TcContext, scratch: &mut Scratch, ifindex: u32, hook: u8) {
    let header = HeaderView(&scratch.header);
    let reply_hook = hook & flags::REPLY != 0;
    let source = if reply_hook { scratch.packet.destination } else { scratch.packet.source };
    let key = ReflectKey { session: header.session(), path: header.path(), _pad: 0, source };
    if !reply_hook {
        if flags_of(&scratch.packet.destination) & address_flags::LOCAL != 0 {
            request(&key, header.sequence(), &mut scratch.fresh, ifindex, hook);
        }
    } else if flags_of(&scratch.packet.source) & address_flags::LOCAL != 0 {
        reply(ctx, scratch, &key, ifindex, hook);
    }
}

/// Whether one more path of this source may be remembered: a flood of them would drive out those of others.
#[inline(always)]
fn admits(source: &[u8; 16]) -> bool {
    let second = now_ns() / 1_000_000_000;
    match REFLECT_SOURCES.get_ptr_mut(source) {
        Some(budget) => {
            // SAFETY: as in `request`.
            let budget = unsafe { &mut *budget };
            if budget.second != second {
                budget.second = second;
                budget.fresh = 0;
            }
            budget.fresh = budget.fresh.wrapping_add(1);
            budget.fresh <= FRESH_PER_SECOND
        }
        None => {
            let first = SourceBudget { second, fresh: 1, _pad: 0 };
            let _ = REFLECT_SOURCES.insert(source, &first, 0);
            true
        }
    }
}

#[inline(always)]
fn request(key: &ReflectKey, sequence: u32, fresh: &mut ReflectValue, ifindex: u32, hook: u8) {
    let value = match REFLECT.get_ptr_mut(key) {
        Some(value) => value,
        None => {
            if !admits(&key.source) {
                count(counters::REFLECT_REFUSED);
                return;
            }
            count(counters::REFLECT_FRESH);
            // What is left of an earlier path in the other fields is overwritten before it is read, but for these.
            fresh.requests = 0;
            fresh.arrived = 0;
            // One before, so that the first request advances it by one like any other.
            fresh.highest_sequence = sequence.wrapping_sub(1);
            fresh.reply_ifindex = 0;
            fresh.reply_sequence = 0;
            for slot in &mut fresh.slots {
                slot.t2_ns = 0;
                slot.sequence = 0;
            }
            // Another CPU may have been faster: then its entry is used.
            let _ = REFLECT.insert(key, &*fresh, u64::from(BPF_NOEXIST));
            match REFLECT.get_ptr_mut(key) {
                Some(value) => value,
                None => return,
            }
        }
    };
    // SAFETY: map values live until the end of the program's run; races are described above.
    let value = unsafe { &mut *value };
    let ahead = sequence.wrapping_sub(value.highest_sequence);
    let behind = value.highest_sequence.wrapping_sub(sequence);
    let newest = ahead == 0 || ahead < u32::MAX / 2;
    let seen = newest && ahead == 0 && value.arrived & 1 == 1
        || !newest && behind < BITMAP_BITS && value.arrived >> (behind & 63) & 1 == 1;
    if !seen {
        if newest {
            value.arrived = if ahead < BITMAP_BITS { value.arrived << (ahead & 63) } else { 0 } | 1;
            value.highest_sequence = sequence;
        } else if behind < BITMAP_BITS {
            value.arrived |= 1 << (behind & 63);
        }
        value.first_ifindex = ifindex;
        value.first_flags = hook;
        let now = now_ns();
        // No computed index, here and below: adding an unknown number to a pointer makes the verifier give up most of
        // its pruning where the loader has no CAP_PERFMON.
        for (index, slot) in value.slots.iter_mut().enumerate() {
            if sequence as usize & (REFLECT_SLOTS - 1) == index {
                slot.t2_ns = now;
                slot.sequence = sequence;
            }
        }
        count(counters::REQUESTS);
    }
    // A second sight at a later hook is the same packet; at the hook that saw it first it is a duplicate.
    if !seen || (value.first_ifindex == ifindex && value.first_flags == hook) {
        value.requests += 1;
    }
    if sequence == value.highest_sequence {
        value.request_ifindex = ifindex;
        value.request_flags = hook;
    }
}

#[inline(always)]
fn reply(ctx: &TcContext, scratch: &mut Scratch, key: &ReflectKey, ifindex: u32, hook: u8) {
    let Some(value) = REFLECT.get_ptr_mut(key) else { return };
    // SAFETY: as in `request`.
    let value = unsafe { &mut *value };
    let sequence = HeaderView(&scratch.header).sequence();
    value.reply_sequence = sequence;
    value.reply_ifindex = ifindex;
    value.reply_flags = hook;
    let behind = value.highest_sequence.wrapping_sub(sequence);
    // Never inside a tunnel's packet, whose outer checksum would be wrong; and only where the packet leaves the node.
    if hook & flags::EGRESS == 0 || hook & flags::ENCAPSULATED != 0 || behind >= BITMAP_BITS {
        return;
    }
    // SAFETY: a plain integer, copied at once.
    match unsafe { INTERFACES.get(ifindex) } {
        Some(&(roles::UPLINK | roles::TUNNEL)) => {}
        _ => return,
    }
    let (mut t2_ns, mut t3_ns) = (0, 0);
    for slot in &value.slots {
        if slot.sequence == sequence {
            (t2_ns, t3_ns) = (slot.t2_ns, now_ns());
        }
    }
    let part = &mut scratch.reflected;
    put_u64(part, 0, t2_ns);
    put_u64(part, 8, t3_ns);
    put_u64(part, 16, value.requests);
    // As seen from this reply: bit 0 is its own request.
    put_u64(part, 24, value.arrived >> (behind & 63));
    if write(ctx, scratch).is_some() {
        count(counters::REFLECTED);
    } else {
        count(counters::REFLECT_FAILED);
        aya_log_ebpf::warn!(ctx, "interface {}: a reply can't be written into", ifindex);
    }
}

#[inline(always)]
fn put_u64(part: &mut [u8; REFLECTED_LEN], at: usize, value: u64) {
    let bytes = value.to_be_bytes();
    for (to, from) in part[at..at + 8].iter_mut().zip(bytes) {
        *to = from;
    }
}

/// Replaces flags and the reflected part of the header, and repairs the transport checksum (RFC 1624).
#[inline(always)]
fn write(ctx: &TcContext, scratch: &mut Scratch) -> Option<()> {
    let packet = &scratch.packet;
    let at = packet.payload() as usize;
    let flags = scratch.header[VERSION_FLAGS_OFFSET + 1];
    let mut old_flags = [VERSION, flags, 0, 0];
    let mut new_flags = [VERSION, flags | FLAG_REFLECTED, 0, 0];
    let seed = difference(old_flags.as_mut_ptr(), new_flags.as_mut_ptr(), 4, 0)?;
    // The header's last part, as it came.
    let old = scratch.header[REFLECTED_OFFSET..].as_mut_ptr();
    let diff = difference(old, scratch.reflected.as_mut_ptr(), REFLECTED_LEN as u32, seed)?;
    let (checksum, mark) = if packet.protocol == IPPROTO_UDP {
        // An IPv4 datagram without a checksum keeps none.
        (packet.transport + 6, u64::from(BPF_F_MARK_MANGLED_0))
    } else {
        (packet.transport + 2, 0)
    };
    ctx.store(at + VERSION_FLAGS_OFFSET, &[VERSION, flags | FLAG_REFLECTED], 0).ok()?;
    ctx.store(at + REFLECTED_OFFSET, &scratch.reflected, 0).ok()?;
    ctx.l4_csum_replace(checksum as usize, 0, diff, mark).ok()
}

/// What replacing `old` by `new`, both `len` bytes (a multiple of 4), does to a one's complement sum on top of `seed`.
#[inline(always)]
fn difference(old: *mut u8, new: *mut u8, len: u32, seed: u64) -> Option<u64> {
    // SAFETY: both buffers have `len` bytes at both call sites, which the verifier checks too.
    let sum = unsafe { bpf_csum_diff(old.cast(), len, new.cast(), len, seed as u32) };
    u64::try_from(sum).ok()
}

/// A packet of another agent's TCP or DNS probe to something on this node, or of the answer. And one of this node's own that
/// translation made unknown: it leaves under this node's address, or comes back for it.
#[inline(always)]
pub(crate) fn tuple(packet: &Packet, ifindex: u32, hook: u8, handshake: bool) {
    let is_reply = hook & flags::REPLY != 0;
    let (client, server) =
        if is_reply { (&packet.destination, &packet.source) } else { (&packet.source, &packet.destination) };
    let own = handshake && flags_of(client) & address_flags::LOCAL_HOST != 0;
    if flags_of(server) & address_flags::LOCAL == 0 && !own {
        return;
    }
    let (source_port, destination_port) = if is_reply {
        (packet.destination_port, packet.source_port)
    } else {
        (packet.source_port, packet.destination_port)
    };
    let key = TupleKey {
        source: *client,
        destination: *server,
        source_port,
        destination_port,
        protocol: packet.protocol,
        _pad: [0; 3],
    };
    let value = match TUPLES.get_ptr_mut(&key) {
        Some(value) => value,
        None => {
            let fresh = TupleValue {
                requests: 0,
                replies: 0,
                request_ifindex: 0,
                reply_ifindex: 0,
                request_ns: 0,
                reply_ns: 0,
                request_flags: 0,
                reply_flags: 0,
                _pad: [0; 6],
            };
            let _ = TUPLES.insert(&key, &fresh, u64::from(BPF_NOEXIST));
            match TUPLES.get_ptr_mut(&key) {
                Some(value) => value,
                None => return,
            }
        }
    };
    // SAFETY: as in `request`.
    let value = unsafe { &mut *value };
    let now = now_ns();
    if is_reply {
        value.replies = value.replies.wrapping_add(1);
        value.reply_ns = now;
        value.reply_ifindex = ifindex;
        value.reply_flags = hook;
    } else {
        if now.wrapping_sub(value.request_ns) > TUPLE_LIFE_NS {
            value.requests = 0;
            value.replies = 0;
            value.reply_ns = 0;
            value.reply_ifindex = 0;
        }
        value.request_ns = now;
        value.requests = value.requests.wrapping_add(1);
        value.request_ifindex = ifindex;
        value.request_flags = hook;
    }
}
