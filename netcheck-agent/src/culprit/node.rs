//! What of the node's settings and tables did it, by reading alone: routes, sysctls, the table of connections, sockets.
//!
//! What is found here fits what happened; nobody saw that it was this. So it is reported as inferred.

mod address;
mod bridge;
mod case;
mod link;
mod links;
mod neighbour;
mod netlink;
mod pod;
mod program;
mod queue;
mod route;
mod sockets;
mod sysctl;
mod tunnel;
mod xfrm;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use netcheck_common::domain::{OTHER_SOURCE, UNTRANSLATED};
use netcheck_proto::{convert, v1};

use case::{ENDS, destination, ends, packet, source, target_port};
use pod::PodNet;
use program::Hook;
use sysctl::{SYSCTLS, bridge_unfiltered, connections, forwarding, ipv6_disabled, number, reverse_path};

/// Looks for what did it at one place. None where nothing fits.
pub(super) async fn find(case: &v1::CulpritCase) -> Option<v1::Culprit> {
    let at = case.location.as_ref()?;
    if at.reason == OTHER_SOURCE {
        return answers_from(case, at).await;
    }
    // Why a pod does not answer for its address is more than that it does not.
    if at.stage() == v1::Stage::Neighbour
        && let Some(unusable) = of_pod(case, at, Ask::Address).await
    {
        return Some(unusable);
    }
    // This node was to get it, and nobody saw it die: what is asked for is an end, and no place.
    if at.stage() == v1::Stage::Unspecified
        && at.pod.is_empty()
        && at.certainty() == v1::Certainty::Unspecified
    {
        let to = destination(case).filter(|to| ends(case).contains(to))?;
        return address::unanswered(to, Path::new(SYSCTLS)).await;
    }
    let named_first = named(case, at).await;
    match named_first {
        Some(_) => named_first,
        // What the target's own network is like says why it is silent, whoever noticed.
        None if is_of_pod(at) => match of_pod(case, at, Ask::All).await {
            Some(of_pod) => Some(of_pod),
            None => by_bridge(case).await,
        },
        None => None,
    }
}

/// The address that the target answers from, in place of the one that was asked.
async fn answers_from(case: &v1::CulpritCase, at: &v1::LossLocation) -> Option<v1::Culprit> {
    let own = ends(case);
    let sources = case.flows.iter().filter_map(|flow| convert::address("flow", &flow.source_address).ok());
    let other = sources.into_iter().find(|source| !own.contains(source))?;
    let asked = own.iter().copied().find(|address| address.is_ipv4() == other.is_ipv4())?;
    let (whose, tool) = (
        if at.pod.is_empty() { "the node" } else { "the pod" },
        if other.is_ipv4() { "ip" } else { "ip -6" },
    );
    let show = format!("{tool} route show");
    let (of_pod, inside) = (!at.pod.is_empty(), show.clone());
    // Files of the kernel, but many of them.
    let in_pod = tokio::task::spawn_blocking(move || {
        of_pod.then(|| PodNet::of(Path::new("/proc"), asked)).flatten().map(|net| net.see(&inside))
    });
    Some(v1::Culprit {
        kind: v1::CulpritKind::Route.into(),
        object: format!("{whose} answers from {other}, and was asked at {asked}"),
        text: "a socket that is bound to no address answers from the one that the route prefers (src)"
            .to_owned(),
        see: in_pod.await.ok().flatten().unwrap_or(show),
        mend: format!("have the server listen at {asked} itself, or take {other} and the route's src away"),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

/// What of the bridge before a pod at either end fits: the other end is behind no bridge of this node, or behind the same.
async fn by_bridge(case: &v1::CulpritCase) -> Option<v1::Culprit> {
    for end in [destination(case), source(case)].into_iter().flatten() {
        if let Some(kept) = bridge::kept(end).await {
            return Some(kept);
        }
    }
    None
}

/// What is asked of a pod's own network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Whether it may use its address.
    Address,
    /// That, its sockets and its routes.
    All,
}

async fn named(case: &v1::CulpritCase, at: &v1::LossLocation) -> Option<v1::Culprit> {
    if inside_pod(at) {
        return None;
    }
    if let ControlFlow::Break(found) = by_reason(case, at).await {
        return found;
    }
    match at.stage() {
        v1::Stage::Send if at.reason == "EPERM" => xfrm::find(packet(case)?, false).await,
        v1::Stage::Routing | v1::Stage::Send => of_route(case, at).await,
        v1::Stage::Neighbour => {
            let to = destination(case)?;
            if let Some(detached) = address::detached(to).await {
                return Some(detached);
            }
            match bridge::kept(to).await {
                Some(kept) => Some(kept),
                None => neighbour::find(to, true).await,
            }
        }
        v1::Stage::Wire => {
            let to = destination(case)?;
            match route::missing(to).await {
                Some(missing) => Some(missing),
                None => neighbour::find(to, false).await,
            }
        }
        v1::Stage::Qdisc => match queue::find(&at.interface, index_of(&at.interface)?).await {
            Some(queue) => Some(queue),
            None => dead_end(case, at).await,
        },
        v1::Stage::Ingress | v1::Stage::Egress => at_interface(case, at).await,
        v1::Stage::Socket if at.pod.is_empty() => {
            let (kind, port) = target_port(case)?;
            sockets::find(kind, destination(case)?, port).await
        }
        // Of rules the trace knows (`filter`), of a pod its own network.
        v1::Stage::NetfilterPrerouting
        | v1::Stage::NetfilterInput
        | v1::Stage::NetfilterForward
        | v1::Stage::NetfilterOutput
        | v1::Stage::NetfilterPostrouting
        | v1::Stage::BridgePrerouting
        | v1::Stage::BridgeInput
        | v1::Stage::BridgeForward
        | v1::Stage::BridgeOutput
        | v1::Stage::BridgePostrouting
        | v1::Stage::NetdevIngress
        | v1::Stage::NetdevEgress
        | v1::Stage::Socket
        | v1::Stage::Application
        | v1::Stage::Unspecified => None,
    }
}

/// What its reason alone points to; where it points to nothing, its stage says where to look.
async fn by_reason(case: &v1::CulpritCase, at: &v1::LossLocation) -> ControlFlow<Option<v1::Culprit>> {
    if at.reason == "IP_LOCAL_SOURCE" {
        let claimed = match source(case) {
            Some(source) => address::claimed(source).await,
            None => None,
        };
        return ControlFlow::Break(claimed);
    }
    if let Some(to) = destination(case)
        && let Some(gone) = address::gone(to).await
    {
        return ControlFlow::Break(Some(gone));
    }
    // Asked of who sent it: where it was passed on no further, the function is known.
    if at.reason == "IP_INHDR" && at.function.is_empty() {
        let short = match destination(case) {
            Some(to) => short_life(to).await,
            None => None,
        };
        return ControlFlow::Break(short);
    }
    if at.reason == "IP_RPFILTER" {
        return ControlFlow::Break(reverse_path(Path::new(SYSCTLS), &at.interface));
    }
    if at.function.starts_with("nf_hook_slow") || at.function.starts_with("nf_conntrack") {
        return ControlFlow::Break(connections(Path::new(SYSCTLS)));
    }
    if matches!(at.reason.as_str(), "PKT_TOO_BIG" | "EMSGSIZE") {
        return ControlFlow::Break(too_big(case, at).await);
    }
    if at.reason == UNTRANSLATED
        && at.direction() == v1::Direction::Reply
        && let (Some(to), Some(from)) = (destination(case), source(case))
    {
        let unfiltered = behind_one_bridge(to, from).await.then(|| bridge_unfiltered(Path::new(SYSCTLS), to));
        return ControlFlow::Break(unfiltered.flatten());
    }
    if at.reason == "IPV6DISABLED" {
        return ControlFlow::Break(ipv6_disabled(Path::new(SYSCTLS), &at.interface));
    }
    if at.reason.starts_with("XFRM") {
        let policy = match packet(case) {
            Some(packet) => xfrm::find(packet, true).await,
            None => None,
        };
        return ControlFlow::Break(policy);
    }
    ControlFlow::Continue(())
}

/// What makes the node's own packets for this address begin with a time to live that ends on their way.
async fn short_life(to: IpAddr) -> Option<v1::Culprit> {
    let interface = route::way(to).await.and_then(|way| link::name_of(way.interface));
    sysctl::short_life(Path::new(SYSCTLS), to.is_ipv4(), interface.as_deref().unwrap_or_default())
}

/// What of the routing fits, or of what stands behind it.
async fn of_route(case: &v1::CulpritCase, at: &v1::LossLocation) -> Option<v1::Culprit> {
    // What a tunnel wraps is routed once more, by its own driver.
    if let Some(tunnel) = tunnel::without_source(&at.interface).await {
        return Some(tunnel);
    }
    let (to, from) = (destination(case)?, source(case));
    match forwarding(Path::new(SYSCTLS), to, &at.interface) {
        Some(off) if at.stage() == v1::Stage::Routing => return Some(off),
        _ => {}
    }
    match route::find(to, from).await {
        Some(found) => Some(found),
        None if at.reason == "EHOSTUNREACH" => neighbour::find(to, true).await,
        // What is to be encrypted and can't be is dropped where its route was looked up.
        None => match route::missing(to).await {
            Some(missing) => Some(missing),
            None => xfrm::find(packet(case)?, false).await,
        },
    }
}

/// What of the interface fits, of what is attached to it, and of the bridge that it is a port of.
async fn at_interface(case: &v1::CulpritCase, at: &v1::LossLocation) -> Option<v1::Culprit> {
    let class = Path::new(link::CLASS);
    let hook = match (at.reason.as_str(), at.function.as_str()) {
        ("XDP", _) => Some(Hook::Xdp),
        (_, function) if function.contains("xdp") => Some(Hook::Xdp),
        ("TC_INGRESS", _) => Some(Hook::Ingress),
        ("TC_EGRESS", _) => Some(Hook::Egress),
        _ => None,
    };
    if let Some(hook) = hook {
        return program::find(hook, &at.interface, index_of(&at.interface)?).await;
    }
    if let Some(kept) = by_bridge(case).await {
        return Some(kept);
    }
    if let Some(undelivered) = link::undelivered(class, &at.interface, &at.function) {
        return Some(undelivered);
    }
    if at.function == "br_dev_queue_push_xmit" {
        return link::too_big(class, &at.interface, None);
    }
    if case.packet_bytes > 0 {
        return link::takes_less(class, &at.interface, case.packet_bytes);
    }
    if let Some(down) = dead_end(case, at).await {
        return Some(down);
    }
    if at.stage() != v1::Stage::Egress {
        return None;
    }
    match tunnel::without_source(&at.interface).await {
        Some(tunnel) => Some(tunnel),
        None => address::detached(destination(case)?).await,
    }
}

/// An interface that takes no packets, and the route that leads there all the same.
async fn dead_end(case: &v1::CulpritCase, at: &v1::LossLocation) -> Option<v1::Culprit> {
    let mut down = link::down(Path::new(link::CLASS), &at.interface)?;
    let way = match destination(case) {
        Some(to) => route::way(to).await,
        None => None,
    };
    if let Some(way) = way.filter(|way| Some(way.interface) == index_of(&at.interface)) {
        down.text += &format!("; what is for that address goes there by the route {}", way.text);
    }
    Some(down)
}

/// It happened in a pod's own network.
fn inside_pod(at: &v1::LossLocation) -> bool {
    !at.pod.is_empty() && at.interface.is_empty()
}

/// Whether what a pod's network is like may be why.
fn is_of_pod(at: &v1::LossLocation) -> bool {
    let stage = at.stage();
    let silent = at.reason.is_empty() && !at.pod.is_empty();
    inside_pod(at)
        || (stage == v1::Stage::Ingress && silent)
        || (stage == v1::Stage::Socket && !at.pod.is_empty())
        || (stage == v1::Stage::Application && silent)
        || matches!(
            stage,
            v1::Stage::Neighbour | v1::Stage::Egress | v1::Stage::Send | v1::Stage::Unspecified
        )
}

/// What of the pod's own network fits.
async fn of_pod(case: &v1::CulpritCase, at: &v1::LossLocation, ask: Ask) -> Option<v1::Culprit> {
    let reply = at.direction() == v1::Direction::Reply;
    let of_program = matches!(at.stage(), v1::Stage::Socket | v1::Stage::Application);
    let port = target_port(case).filter(|_| ask == Ask::All && of_program);
    let mut ends: Vec<(IpAddr, Option<IpAddr>)> = Vec::new();
    for flow in case.flows.iter().take(ENDS) {
        let to = convert::address("flow", &flow.destination_address).ok();
        let from = convert::address("flow", &flow.source_address).ok();
        let (own, peer) = if reply { (from, to) } else { (to, from) };
        let Some(own) = own else { continue };
        // Who is on the pod's own link is asked for there.
        let peer = match peer {
            Some(peer) if ask == Ask::All && !on_one_link(own, peer).await => Some(peer),
            _ => None,
        };
        ends.push((own, peer));
    }
    let all = case::ends(case);
    // Files of the kernel, but many of them.
    tokio::task::spawn_blocking(move || {
        ends.into_iter().find_map(|(own, peer)| {
            let proc = Path::new("/proc");
            let Some(net) = PodNet::of(proc, own) else {
                // It may have lost the address. A service's is no pod's.
                let net =
                    all.iter().filter(|_| all.contains(&own)).find_map(|other| PodNet::of(proc, *other))?;
                return Some(net.without(own));
            };
            net.unusable(own)
                .or_else(|| net.stale_gateway(proc, Path::new(link::CLASS)).filter(|_| own.is_ipv4()))
                .or_else(|| port.and_then(|(kind, port)| net.port(proc, (kind, port), own)))
                .or_else(|| peer.and_then(|peer| net.way_back(peer)))
        })
    })
    .await
    .ok()?
}

/// Whether both are reached through one interface, which is a bridge.
async fn behind_one_bridge(a: IpAddr, b: IpAddr) -> bool {
    let (Some(a), Some(b)) = (route::way(a).await, route::way(b).await) else { return false };
    let bridge = link::name_of(a.interface).is_some_and(|name| link::is_bridge(&name));
    a.interface == b.interface && bridge
}

/// Whether the node reaches both through one interface, or nobody knows.
async fn on_one_link(a: IpAddr, b: IpAddr) -> bool {
    match (route::way(a).await, route::way(b).await) {
        (Some(a), Some(b)) => a.interface == b.interface,
        _ => true,
    }
}

/// Which interface of the way it does not fit into.
async fn too_big(case: &v1::CulpritCase, at: &v1::LossLocation) -> Option<v1::Culprit> {
    let way = route::way(destination(case)?).await;
    let of_route = way.as_ref().and_then(|way| link::name_of(way.interface));
    let interface = if at.interface.is_empty() { of_route.clone()? } else { at.interface.clone() };
    let same = of_route.as_ref() == Some(&interface);
    let allowed = way.as_ref().filter(|_| same).and_then(|way| Some((way.mtu?, way.text.as_str())));
    link::too_big(Path::new(link::CLASS), &interface, allowed)
}

/// The number of an interface of this network namespace.
fn index_of(interface: &str) -> Option<u32> {
    number(Path::new(link::CLASS), &format!("{interface}/ifindex"))
        .filter(|_| !interface.contains('/'))
        .and_then(|index| u32::try_from(index).ok())
}

#[cfg(test)]
mod tests;
