//! Where in the kernel a packet is: its device, its network namespace, its route; and whether that is part of this node.

use netcheck_common::abi::{Reached, scope};

use crate::maps::{OFFSETS, OWN_NETNS, REACHED, SCOPE, SCOPED, now_ns};
use crate::skb::{member, read};

/// A field of [`OFFSETS`], by itself: so the verifier takes it for the constant that it is.
macro_rules! offset {
    ($field:ident) => {
        $crate::place::offset_at(core::mem::offset_of!(netcheck_common::abi::KernelOffsets, $field))
    };
}

#[inline(always)]
pub(crate) fn offset_at(at: usize) -> u32 {
    // SAFETY: `at` is where a field of the static begins, all of which are u32.
    unsafe { (&raw const OFFSETS).cast::<u8>().add(at).cast::<u32>().read_volatile() }
}

pub(crate) use offset;

/// Devices of a namespace that are looked at: kernels may give each one up to ten for tunnels before its link.
const DEVICES_MAX: usize = 24;
/// How long an answer about a namespace holds.
const LOOK_AGAIN_NS: u64 = 2_000_000_000;

/// A packet's place in the kernel.
pub(crate) struct Place {
    pub(crate) ifindex: u32,
    /// Inode of the network namespace; 0 where unknown.
    pub(crate) netns: u32,
    /// Its address.
    net: u64,
}

#[inline(always)]
pub(crate) fn place(skb: *const u8) -> Place {
    // SAFETY: the kernel's own skb, and what its members point to; the verifier knows their types.
    let device = unsafe { member::<*const u8>(skb, offset!(skb_dev)) };
    let mut place = Place { ifindex: 0, netns: 0, net: 0 };
    if !device.is_null() {
        // SAFETY: as above.
        unsafe {
            place.ifindex = member(device, offset!(dev_ifindex));
            let net = member::<*const u8>(device, offset!(dev_net));
            place.netns = netns(net);
            place.net = net as u64;
        }
    }
    if place.netns == 0 {
        (place.netns, place.net) = netns_of_owner(skb);
    }
    place
}

/// For want of a device: while a packet waits in a socket, its member holds something else.
#[inline(always)]
fn netns_of_owner(skb: *const u8) -> (u32, u64) {
    let socket = socket(skb);
    if !socket.is_null() {
        // SAFETY: as above.
        let net = unsafe { member::<*const u8>(socket, offset!(sk_net)) };
        // SAFETY: as above.
        let netns = unsafe { netns(net) };
        if netns != 0 {
            return (netns, net as u64);
        }
    }
    netns_of_route(route(skb)).unwrap_or((0, 0))
}

/// The socket that a packet belongs to; null where it has none.
#[inline(always)]
pub(crate) fn socket(skb: *const u8) -> *const u8 {
    // SAFETY: the kernel's own skb; the verifier knows its type.
    unsafe { member(skb, offset!(skb_sk)) }
}

/// The local port of that socket; 0 without.
#[inline(always)]
pub(crate) fn socket_port(skb: *const u8) -> u16 {
    let socket = socket(skb);
    // SAFETY: as above.
    if socket.is_null() { 0 } else { unsafe { member(socket, offset!(sk_num)) } }
}

/// Address of a packet's `dst_entry`; 0 where it has none.
#[inline(always)]
pub(crate) fn route(skb: *const u8) -> u64 {
    // The lowest bit says that the reference is not counted (include/linux/skbuff.h, SKB_DST_NOREF).
    // SAFETY: as above.
    unsafe { member::<u64>(skb, offset!(skb_refdst)) & !1 }
}

/// What a route's address leads to, the verifier does not know.
#[inline(always)]
fn route_device(route: u64) -> Option<u64> {
    if route == 0 {
        return None;
    }
    read::<u64>(route.wrapping_add(u64::from(offset!(dst_dev)))).filter(|&device| device != 0)
}

#[inline(always)]
fn netns_of_route(route: u64) -> Option<(u32, u64)> {
    let net = read::<u64>(route_device(route)?.wrapping_add(u64::from(offset!(dev_net))))?;
    if net == 0 { None } else { Some((read::<u32>(net.wrapping_add(u64::from(offset!(net_inum))))?, net)) }
}

#[inline(always)]
pub(crate) fn ifindex_of_route(route: u64) -> Option<u32> {
    read::<u32>(route_device(route)?.wrapping_add(u64::from(offset!(dev_ifindex))))
}

/// The other end of a device, where that is one of a pair and the other one is in the agent's own namespace: a
/// pod's link, as its node has it. A pair's drivers begin their own parts with a pointer to the other end (struct veth_priv
/// in drivers/net/veth.c, struct netkit in drivers/net/netkit.c); others' parts lead elsewhere, or back to the device
/// itself, which is not in the agent's namespace.
#[inline(always)]
pub(crate) fn peer_here(device: u64) -> Option<u32> {
    let at = u64::from(offset!(dev_priv));
    let peer = read::<u64>(device.wrapping_add(at))?;
    if read::<u64>(peer.wrapping_add(at))? != device {
        return None;
    }
    let net = read::<u64>(peer.wrapping_add(u64::from(offset!(dev_net))))?;
    if read::<u32>(net.wrapping_add(u64::from(offset!(net_inum))))? != OWN_NETNS.load() {
        return None;
    }
    read::<u32>(peer.wrapping_add(u64::from(offset!(dev_ifindex))))
}

/// Address of a packet's device; 0 for none.
#[inline(always)]
pub(crate) fn device(skb: *const u8) -> u64 {
    // SAFETY: the kernel's own skb; the verifier knows its type.
    unsafe { member::<u64>(skb, offset!(skb_dev)) }
}

/// Whether drops there are this node's.
#[inline(always)]
pub(crate) fn in_scope(place: &Place) -> bool {
    match SCOPED.load() {
        scope::ALL => true,
        // SAFETY: a plain integer, only its presence matters.
        scope::LISTED => unsafe { SCOPE.get(place.netns) }.is_some(),
        _ => place.netns == OWN_NETNS.load() || (place.net != 0 && is_behind_a_link(place.netns, place.net)),
    }
}

/// Whether a namespace has a link whose other end is in the agent's own: then it is a pod's of this node. Looked at anew
/// after a while, for links come after their namespaces, and numbers of namespaces are used again.
#[inline(never)]
fn is_behind_a_link(netns: u32, net: u64) -> bool {
    let now = now_ns();
    // SAFETY: plain data, copied at once.
    if let Some(known) = unsafe { REACHED.get(netns) }.copied()
        && now.wrapping_sub(known.looked_ns) < LOOK_AGAIN_NS
    {
        return known.reached == 1;
    }
    let reached = has_link_here(net);
    let reach = Reached { looked_ns: now, reached: u32::from(reached), _pad: 0 };
    // No room costs another look.
    let _ = REACHED.insert(netns, reach, 0);
    reached
}

/// Walks the list of a namespace's devices (net.dev_base_head in include/net/net_namespace.h). It may change meanwhile:
/// then the walk ends early, or in another list.
#[inline(always)]
fn has_link_here(net: u64) -> bool {
    let head = net.wrapping_add(u64::from(offset!(net_devices)));
    let mut at = read::<u64>(head).unwrap_or(0);
    for _ in 0..DEVICES_MAX {
        if at == 0 || at == head {
            return false;
        }
        if peer_here(at.wrapping_sub(u64::from(offset!(dev_list)))).is_some() {
            return true;
        }
        at = read::<u64>(at).unwrap_or(0);
    }
    false
}

/// A network namespace's inode.
///
/// # Safety
/// `net` must be a `struct net` to the verifier.
#[inline(always)]
unsafe fn netns(net: *const u8) -> u32 {
    // SAFETY: the caller's promise.
    if net.is_null() { 0 } else { unsafe { member(net, offset!(net_inum)) } }
}
