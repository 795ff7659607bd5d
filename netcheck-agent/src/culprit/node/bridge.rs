//! The last step to a pod behind a bridge: by which port the bridge sends what is for it, and what keeps that from the pod.

use std::net::IpAddr;

use netcheck_proto::shell::word;
use netcheck_proto::v1;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};

use super::address::namespace_of_pod;
use super::links::{Links, Port};
use super::route::Way;
use super::{neighbour, route};

/// Where a bridge has a hardware address (bridge-fdb(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Number of the port.
    port: u32,
    /// Somebody set it: the bridge learns nothing else of the address.
    fixed: bool,
}

/// What keeps packets for this address from the pod that has it, or the pod's answers from the bridge. None where they do not
/// go by a bridge, or nothing of it fits.
pub(super) async fn kept(to: IpAddr) -> Option<v1::Culprit> {
    let way = route::way(to).await?;
    let links = Links::read(false).await?;
    let Some(bridge) = links.bridge(way.interface) else {
        let way_out = links.name(way.interface)?;
        return strayed(to, &way, &way_out.name, links.link_of(namespace_of_pod(to).await?)?, &links);
    };
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let neighbours = neighbour::entries(family).await?;
    let is_its = |entry: &&NeighbourMessage| {
        entry.header.ifindex == bridge.index && neighbour::address(entry) == Some(way.hop)
    };
    let hardware = neighbours.iter().find(is_its).and_then(neighbour::hardware);
    let table = neighbour::entries(AddressFamily::Bridge).await?;
    let entry = hardware
        .as_deref()
        .and_then(|hardware| table.iter().find_map(|entry| of_bridge(entry, bridge.index, hardware)));
    let link = namespace_of_pod(to).await.and_then(|namespace| links.of_pod(namespace, bridge.index))?;
    let port = entry.and_then(|entry| links.name(entry.port));
    judge(bridge, hardware.as_deref(), entry.zip(port), link)
}

/// A pod of this node to which no route leads: what is for it leaves the node. `link`: the pod's own.
fn strayed(to: IpAddr, way: &Way, way_out: &str, link: &Port, links: &Links) -> Option<v1::Culprit> {
    if link.index == way.interface {
        return None;
    }
    let bridge = link.controller.and_then(|of| links.name(of));
    let behind = bridge.map_or(link.name.as_str(), |bridge| bridge.name.as_str());
    let family = if to.is_ipv4() { "ip" } else { "ip -6" };
    Some(v1::Culprit {
        kind: v1::CulpritKind::Route.into(),
        object: format!(
            "no route to the pods behind {behind}: {} through {way_out} takes what is for them",
            way.text
        ),
        text: format!("{to} is a pod of this node, and what is for it leaves the node"),
        see: format!("{family} route get {to}; {family} addr show dev {}", word(behind)),
        mend: format!(
            "the address of the pods' network on {behind} again, or the route; both are set by the CNI plugin when it \
             starts a pod"
        ),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

/// The entry of this bridge for this hardware address; a port's own address is none.
fn of_bridge(entry: &NeighbourMessage, bridge: u32, hardware: &str) -> Option<Entry> {
    let is_its =
        entry.attributes.iter().any(|one| matches!(one, NeighbourAttribute::Controller(of) if *of == bridge));
    let state = entry.header.state;
    let found = is_its
        && state != NeighbourState::Permanent
        && neighbour::hardware(entry).is_some_and(|own| own == hardware);
    found.then_some(Entry { port: entry.header.ifindex, fixed: state == NeighbourState::Noarp })
}

/// `hardware`: the pod's hardware address, where the node has it; `known`: where the bridge has that; `link`: the pod's own
/// link.
fn judge(
    bridge: &Port,
    hardware: Option<&str>,
    known: Option<(Entry, &Port)>,
    link: &Port,
) -> Option<v1::Culprit> {
    let (bridge, name, settings) = (&bridge.name, &link.name, link.settings);
    let of_whom = hardware.unwrap_or("the pod's hardware address");
    match (known, hardware) {
        (Some((entry, port)), Some(hardware)) if port.index != link.index => {
            let (how, mend) = if entry.fixed {
                (
                    "set by hand or by a program",
                    format!("bridge fdb del {hardware} dev {} master", word(&port.name)),
                )
            } else {
                ("learned", format!("find what sends with that hardware address behind {}", port.name))
            };
            Some(v1::Culprit {
                kind: v1::CulpritKind::Neighbour.into(),
                object: format!(
                    "forwarding entry {hardware} of bridge {bridge} on port {}: {how}",
                    port.name
                ),
                text: format!(
                    "the pod that has this hardware address is behind port {name}: what is for it goes elsewhere"
                ),
                see: format!("bridge fdb show br {} | grep {hardware}", word(bridge)),
                mend,
                certainty: v1::Certainty::Inferred.into(),
                ..Default::default()
            })
        }
        (known, _) if settings.locked && !known.is_some_and(|(entry, _)| entry.fixed) => Some(port(
            format!("interface {name} is a port of {bridge} that is locked"),
            format!("the bridge takes nothing from {of_whom} there, for no entry says that it may"),
            name,
            format!(
                "bridge link set dev {} locked off, or an entry: bridge fdb add {} dev {} master static",
                word(name),
                hardware.unwrap_or("ADDRESS"),
                word(name)
            ),
        )),
        (None, Some(hardware)) if !settings.floods => {
            let learns = if settings.learns { "" } else { ", and learns none behind it (learning off)" };
            Some(port(
                format!(
                    "interface {name} is a port of {bridge} that takes no frames for unknown addresses (flood off)"
                ),
                format!("{bridge} does not know where the pod's hardware address {hardware} is{learns}"),
                name,
                format!(
                    "bridge link set dev {} learning on flood on, or an entry: bridge fdb add {hardware} dev {} \
                     master static",
                    word(name),
                    word(name)
                ),
            ))
        }
        _ => None,
    }
}

fn port(object: String, text: String, name: &str, mend: String) -> v1::Culprit {
    v1::Culprit {
        kind: v1::CulpritKind::Interface.into(),
        object,
        text,
        see: format!("bridge -d link show dev {}; bridge fdb show brport {}", word(name), word(name)),
        mend,
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::links::PortSettings;
    use super::*;
    use crate::culprit::node::tests::pasteable;

    const MAC: &str = "02:00:00:00:00:0b";

    fn link(index: u32, name: &str, settings: PortSettings) -> Port {
        Port { index, name: name.to_owned(), settings, ..Port::default() }
    }

    fn named(hardware: Option<&str>, known: Option<(u32, bool)>, settings: PortSettings) -> Option<String> {
        let bridge = link(3, "cni0", PortSettings::default());
        let (own, other) = (link(4, "vethweb", settings), link(5, "vethapp", PortSettings::default()));
        let known = known
            .map(|(index, fixed)| (Entry { port: index, fixed }, if index == 4 { &own } else { &other }));
        judge(&bridge, hardware, known, &own).map(|found| {
            pasteable(&found);
            found.object
        })
    }

    #[test]
    fn what_a_bridge_believes_of_a_pod_is_named_where_it_is_wrong() {
        let plain = PortSettings::default();
        assert_eq!(named(Some(MAC), Some((4, false)), plain), None, "it is where the bridge has it");
        assert_eq!(named(Some(MAC), None, plain), None, "a bridge floods what it does not know");
        let fixed = named(Some(MAC), Some((5, true)), plain).unwrap();
        assert!(fixed.ends_with("of bridge cni0 on port vethapp: set by hand or by a program"), "{fixed}");
        assert!(named(Some(MAC), Some((5, false)), plain).unwrap().ends_with(": learned"));
    }

    #[test]
    fn ports_that_keep_packets_from_a_pod_are_named() {
        let locked = PortSettings { locked: true, ..PortSettings::default() };
        assert!(
            named(Some(MAC), None, locked).unwrap().ends_with("vethweb is a port of cni0 that is locked")
        );
        assert!(named(None, None, locked).is_some(), "nothing ever came from it");
        assert!(named(Some(MAC), Some((4, false)), locked).is_some());
        assert_eq!(named(Some(MAC), Some((4, true)), locked), None, "an entry says that it may");
        let closed = PortSettings { floods: false, learns: false, ..PortSettings::default() };
        assert!(named(Some(MAC), None, closed).unwrap().ends_with("(flood off)"));
        assert_eq!(named(Some(MAC), Some((4, false)), closed), None, "it is known");
        assert_eq!(named(None, None, closed), None, "what asks for it is no frame for an unknown address");
    }

    #[test]
    fn a_pod_that_no_route_leads_to_is_named_with_the_route_that_takes_its_packets() {
        let to: IpAddr = "10.244.2.11".parse().unwrap();
        let way = |interface| Way {
            hop: "172.30.0.1".parse().unwrap(),
            prefix: 0,
            interface,
            text: "default via 172.30.0.1".to_owned(),
            mtu: None,
        };
        let web = Port { controller: Some(3), ..link(4, "vethweb", PortSettings::default()) };
        let links =
            Links { ports: vec![link(3, "cni0", PortSettings::default()), web.clone()], ..Links::default() };
        let found = strayed(to, &way(2), "eth0", &web, &links).unwrap();
        let expected =
            "no route to the pods behind cni0: default via 172.30.0.1 through eth0 takes what is for them";
        assert_eq!(found.object, expected);
        pasteable(&found);
        assert_eq!(strayed(to, &way(4), "vethweb", &web, &links), None, "it is routed to by its own link");
    }

    #[test]
    fn entries_of_other_bridges_and_of_ports_themselves_do_not_count() {
        let entry = |state, controller: u32| {
            let mut entry = NeighbourMessage::default();
            entry.header.ifindex = 4;
            entry.header.state = state;
            entry.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 11]));
            entry.attributes.push(NeighbourAttribute::Controller(controller));
            of_bridge(&entry, 3, MAC)
        };
        assert_eq!(entry(NeighbourState::Reachable, 3), Some(Entry { port: 4, fixed: false }));
        assert_eq!(entry(NeighbourState::Noarp, 3), Some(Entry { port: 4, fixed: true }));
        assert_eq!(entry(NeighbourState::Permanent, 3), None);
        assert_eq!(entry(NeighbourState::Reachable, 9), None);
    }
}
