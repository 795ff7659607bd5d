//! A loss location → what it is called as a cause, and what kind of thing happened there. Pure.

use crate::model::location::{Certainty, Direction, InterfaceRole, Location, Stage};
use crate::model::reason::{DropReason, UNTRANSLATED};
use crate::model::target::TargetKind;

/// The far end does not answer for its address, or was sent what bears another's hardware address: the drop is at one
/// end, the cause is not. `routed`: what comes into a pod there was sent by its own node.
pub(super) fn far_end(at: &Location, routed: bool) -> bool {
    let sent_by_another =
        DropReason::of(&at.reason) == DropReason::OtherHost && !(routed && misaddressed(at));
    let neighbour = at.stage == Stage::Neighbour || DropReason::of(&at.reason) == DropReason::Neighbour;
    (neighbour && !asks_wrongly(at)) || sent_by_another
}

/// A pod's own kernel found no neighbour for what it answers to others: it asks on its link for what is behind its gateway,
/// as with a wrong mask or route.
pub(super) fn asks_wrongly(at: &Location) -> bool {
    let of_pod = !at.pod.is_empty() && at.interface.is_empty();
    of_pod && at.stage == Stage::Neighbour && at.direction == Direction::Reply
}

/// A pod's own kernel dropped what bears another's hardware address: where nothing but its node sends to it, that node has
/// a wrong one for it. Nothing else dies of that but what is for this pod.
pub(super) fn misaddressed(at: &Location) -> bool {
    DropReason::of(&at.reason) == DropReason::OtherHost && !at.pod.is_empty() && at.interface.is_empty()
}

/// The target itself answered, so it is to blame, not the place where it did. A policy of IPsec is no answer of it.
pub(super) fn answered(at: &Location, target: TargetKind) -> bool {
    use TargetKind::{DnsServer, Endpoint, Service};
    let service = matches!(target, Service | DnsServer | Endpoint);
    let forbidden = at.reason.starts_with("XFRM_");
    service && !forbidden && matches!(at.stage, Stage::Socket | Stage::Application)
}

/// It was concluded from the hook that saw the packet last, or from none having seen it.
pub(super) fn last_seen(at: &Location) -> bool {
    let open = matches!(at.stage, Stage::Ingress | Stage::Egress | Stage::Send);
    at.certainty == Certainty::Inferred && at.reason.is_empty() && open
}

/// It is ahead of a node's hooks, or behind them.
pub(super) const fn on_interface(at: &Location) -> bool {
    match extent(at.stage) {
        Extent::Interface => true,
        Extent::Node | Extent::Beyond => false,
    }
}

/// Whether what drops at a stage is one thing for a whole node, or one for each interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// One set of rules, or one routing table, for all interfaces.
    Node,
    /// The interface's own.
    Interface,
    /// The interface says where, and is not what does it: a socket, a program, the wire.
    Beyond,
}

const fn extent(stage: Stage) -> Extent {
    match stage {
        Stage::Send
        | Stage::Routing
        | Stage::NetfilterForward
        | Stage::NetfilterInput
        | Stage::NetfilterOutput
        | Stage::NetfilterPostrouting
        | Stage::NetfilterPrerouting
        | Stage::BridgeForward
        | Stage::BridgeInput
        | Stage::BridgeOutput
        | Stage::BridgePostrouting
        | Stage::BridgePrerouting => Extent::Node,
        Stage::Ingress
        | Stage::NetdevIngress
        | Stage::Neighbour
        | Stage::Qdisc
        | Stage::Egress
        | Stage::NetdevEgress => Extent::Interface,
        Stage::Wire | Stage::Socket | Stage::Application | Stage::Unknown => Extent::Beyond,
    }
}

/// What a route that leads nowhere is called, by its own node's senders and for what is passed on: an errno, a reason,
/// or only the function that such routes hand their packets to (net/core/dst.c, net/ipv4/route.c, net/ipv6/route.c). An
/// unreachable neighbour's EHOSTUNREACH is among them: no proof, but no other cause either where a route is one.
pub(super) fn no_route(at: &Location) -> bool {
    let called = matches!(
        DropReason::of(&at.reason),
        DropReason::NoRoute | DropReason::Errno("EHOSTUNREACH" | "ENETUNREACH" | "EACCES" | "EINVAL")
    );
    // The last is a bridge's that translated a service's address (net/bridge/br_netfilter_hooks.c and br_netfilter_ipv6.c).
    let discarded =
        ["dst_discard", "ip_error", "ip6_pkt_discard", "ip6_pkt_prohibit", "br_nf_pre_routing_finish"];
    matches!(at.stage, Stage::Routing | Stage::Send)
        && (called || discarded.iter().any(|function| at.function.starts_with(function)))
}

/// It is in a routing loop: it came back to the node that had sent it, or its time to live ran out where it had no
/// business, or where it began, as the kernel of one of its ends or of its own node reported. Neither is a loop: a time to live that ends at the node it was sent to, for somebody set it
/// too low on the way; and another node's packet that bears an address of this node, for one of them has the other's.
pub(super) fn looped(at: &Location, sender: &str, receiver: &str) -> bool {
    match DropReason::of(&at.reason) {
        DropReason::RoutingLoop => true,
        DropReason::LocalSource => own_source(at) && at.node == sender,
        DropReason::BadHeader => at.certainty == Certainty::Observed && strayed(at, sender, receiver),
        _ => false,
    }
}

/// Its time to live ran out where it had no business, or where it began.
pub(super) fn strayed(at: &Location, sender: &str, receiver: &str) -> bool {
    let there = if at.node == sender { at.role != InterfaceRole::PodVeth } else { at.node != receiver };
    passed_on_no_further(at) && there
}

/// A kernel reported that it passed it on no further: its time to live had ended (ip_forward in net/ipv4/ip_forward.c,
/// ip6_forward in net/ipv6/ip6_output.c).
pub(super) fn spent(at: &Location) -> bool {
    at.certainty == Certainty::Observed && passed_on_no_further(at)
}

fn passed_on_no_further(at: &Location) -> bool {
    let forward = matches!(at.function.as_str(), "ip_forward" | "ip6_forward");
    forward && DropReason::of(&at.reason) == DropReason::BadHeader
}

/// It came from elsewhere with an address of this very node.
pub(super) fn own_source(at: &Location) -> bool {
    at.certainty == Certainty::Observed && DropReason::of(&at.reason) == DropReason::LocalSource
}

/// Its own kernel refused to send it, by a rule or by a policy of IPsec, which looks for no route then
/// (net/xfrm/xfrm_policy.c, xfrm_lookup_with_ifid).
pub(super) fn refused(at: &Location) -> bool {
    at.stage == Stage::Send && DropReason::of(&at.reason) == DropReason::Errno("EPERM")
}

/// The kernel refused to send it from a pod: in the pod's network, not the node's. An errno is what a sender gets.
fn of_pod(at: &Location) -> bool {
    let errno = matches!(DropReason::of(&at.reason), DropReason::Errno(_));
    !at.pod.is_empty() && at.interface.is_empty() && at.direction == Direction::Request && errno
}

/// A hook of netfilter dropped it that is no chain of rules: connection tracking, translation. Neither looks at what is
/// forwarded there: in that hook it was a chain of iptables-legacy, whose drops bear the same name (net/netfilter/core.c).
fn tracked(at: &Location) -> bool {
    DropReason::of(&at.reason) == DropReason::NetfilterDrop
        && at.function == "nf_hook_slow"
        && at.stage != Stage::NetfilterForward
}

/// The translation of a service's address on the sender's node found no route to the backend: the kernel drops it in
/// the output hook (net/netfilter/nf_nat_proto.c), and says no more than that.
pub(super) fn untranslatable(at: &Location) -> bool {
    tracked(at) && at.stage == Stage::NetfilterOutput
}

/// One name per place, and whether its reason says why, so that it explains more than the paths that it was reported
/// for. Requests and replies, and both families, die of one cause where it does. A rule or a route is one cause for
/// all interfaces that packets come from, and what tracks connections is one for all stages that it watches.
pub(super) fn name(at: &Location) -> (String, bool) {
    if no_route(at) {
        // What a pod's own kernel could not send says nothing of the node's routes.
        let pod = if of_pod(at) { format!("/pod {}", at.pod) } else { String::new() };
        return (format!("{}{pod}/routing/no route", at.node), true);
    }
    if tracked(at) {
        return (format!("{}/netfilter/{}", at.node, at.reason), true);
    }
    // What the node sends and what its pods send is translated at two hooks, by one program's rules.
    if at.reason == UNTRANSLATED {
        return (format!("{}/netfilter/{}", at.node, at.reason), true);
    }
    if misaddressed(at) {
        return (format!("{}/pod {}/{}/{}", at.node, at.pod, stage(at), at.reason), true);
    }
    // One family's neighbours fail with a reason, the other's without (net/core/neighbour.c, neigh_invalidate).
    if asks_wrongly(at) {
        return (format!("{}/pod {}/neighbour", at.node, at.pod), true);
    }
    let specific = !DropReason::of(&at.reason).says_nothing();
    // A request that was seen last where nobody knows which half it was: the same place.
    let open = last_seen(at) && at.direction != Direction::Reply;
    let half = if specific || open { "" } else { crate::words::location::direction(at.direction) };
    let interface = if extent(at.stage) == Extent::Node { "" } else { &at.interface };
    let parts = [at.node.as_str(), interface, stage(at), &at.reason, half];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (parts.join("/"), specific)
}

fn stage(at: &Location) -> &'static str {
    at.stage.key()
}

/// What the same rule on another node would be called.
pub(super) fn rule(at: &Location) -> String {
    format!("{} {}", stage(at), at.reason)
}
