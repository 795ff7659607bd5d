//! The node's own addresses and what they stand on: an address that is another node's, one whose interface is down, a pod's
//! link that belongs to no bridge.

use std::net::IpAddr;
use std::path::Path;

use futures::StreamExt as _;
use netcheck_proto::shell::word;
use netcheck_proto::v1;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};

use super::links::{Links, Own};
use super::netlink::Connection;
use super::pod::PodNet;

/// Who has the address that a packet from elsewhere bears: this node, of all.
pub(super) async fn claimed(address: IpAddr) -> Option<v1::Culprit> {
    Links::read(false).await?.claimed(address)
}

/// An interface that is down, and took the way to this address with it: what is sent there goes another way now, or none.
pub(super) async fn gone(to: IpAddr) -> Option<v1::Culprit> {
    let left = super::route::way(to).await.map(|way| way.prefix);
    Links::read(false).await?.gone(to, left)
}

/// Why this node does not answer for an address that is to be its own. `sysctls`: where the kernel shows its settings.
pub(super) async fn unanswered(address: IpAddr, sysctls: &Path) -> Option<v1::Culprit> {
    Links::read(false).await?.unanswered(address, sysctls)
}

/// The link of the pod that has this address, where packets for it are given to a bridge, and the link is no port of one.
pub(super) async fn detached(to: IpAddr) -> Option<v1::Culprit> {
    let way = super::route::way(to).await?;
    let links = Links::read(true).await?;
    let namespace = match process_of(to).await {
        Some(process) => Some(namespace_of(process).await?),
        None => None,
    };
    links.detached(way.interface, namespace)
}

/// A process of the pod that has this address.
async fn process_of(to: IpAddr) -> Option<u32> {
    // Files of the kernel, but many of them.
    let pod = tokio::task::spawn_blocking(move || PodNet::of(Path::new("/proc"), to)).await.ok()?;
    pod.map(|pod| pod.process())
}

/// By which number this network namespace knows that of the pod that has this address. None where no process of the pod is
/// seen.
pub(super) async fn namespace_of_pod(to: IpAddr) -> Option<i32> {
    namespace_of(process_of(to).await?).await
}

/// By which number this network namespace knows that of a process (RTM_GETNSID, ip-netns(8)).
async fn namespace_of(process: u32) -> Option<i32> {
    let connection = Connection::open()?;
    let mut question = NsidMessage::default();
    question.attributes.push(NsidAttribute::Pid(process));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
    request.header.flags = NLM_F_REQUEST;
    let mut answers = connection.handle.clone().request(request).ok()?;
    let answer = answers.next().await?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(known)) = answer.payload else {
        return None;
    };
    known.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(number) if *number >= 0 => Some(*number),
        _ => None,
    })
}

impl Links {
    fn claimed(&self, address: IpAddr) -> Option<v1::Culprit> {
        let own = self.own.iter().find(|own| own.network.addr() == address)?;
        let name = &self.name(own.interface)?.name;
        Some(v1::Culprit {
            kind: v1::CulpritKind::Interface.into(),
            object: format!("address {address} on interface {name}"),
            text: "another node sends with it: this node takes what that one sends for its own, and what is for that one for \
                   itself"
                .to_owned(),
            see: format!("ip addr show to {address}"),
            mend: format!("one of the two gives it up: ip addr del {} dev {}", own.network, word(name)),
            certainty: v1::Certainty::Inferred.into(),
            ..Default::default()
        })
    }

    fn unanswered(&self, address: IpAddr, sysctls: &Path) -> Option<v1::Culprit> {
        let interface = |object, text: &str, see, mend| v1::Culprit {
            kind: v1::CulpritKind::Interface.into(),
            object,
            text: text.to_owned(),
            see,
            mend,
            certainty: v1::Certainty::Inferred.into(),
            ..Default::default()
        };
        let Some(own) = self.own.iter().find(|own| own.network.addr() == address) else {
            let disabled = self
                .ports
                .iter()
                .filter(|port| port.controller.is_none() && port.of_pod.is_none())
                .find_map(|port| super::sysctl::ipv6_disabled(sysctls, &port.name))
                .filter(|_| address.is_ipv6());
            return disabled.or_else(|| {
                Some(interface(
                    format!("no interface of this node has the address {address}"),
                    "it is the node's own by its object in Kubernetes, and nobody answers for it",
                    "ip addr".to_owned(),
                    "the address again on the interface that had it, and the routes that went with it; or what gives the \
                     node its addresses (DHCP, NetworkManager, cloud-init)"
                        .to_owned(),
                ))
            });
        };
        let port = self.name(own.interface)?;
        let name = &port.name;
        if !port.up {
            return Some(interface(
                format!("interface {name} is down"),
                "the node's own address is on it",
                format!("ip link show {}", word(name)),
                format!("ip link set {} up, and the routes that went with it", word(name)),
            ));
        }
        if !port.resolves {
            return Some(interface(
                format!("interface {name} neither asks for hardware addresses nor answers (NOARP)"),
                "others on that link do not learn where the node is",
                format!("ip link show {}", word(name)),
                format!("ip link set {} arp on", word(name)),
            ));
        }
        super::sysctl::unanswered(sysctls, name).filter(|_| address.is_ipv4())
    }

    /// `left`: length of the prefix by which packets for the address are routed now; none where they are not.
    fn gone(&self, to: IpAddr, left: Option<u8>) -> Option<v1::Culprit> {
        let around = self.own.iter().filter(|own| own.network.contains(&to) && own.network.addr() != to);
        let closest = around.max_by_key(|own| own.network.prefix_len());
        let Some(closest) = closest else { return self.tunnel_gone(to, left) };
        // A closer route leads there anyway.
        if left.is_some_and(|left| left >= closest.network.prefix_len()) {
            return None;
        }
        let name = &self.name(closest.interface).filter(|port| !port.up)?.name;
        Some(v1::Culprit {
            kind: v1::CulpritKind::Interface.into(),
            object: format!("interface {name} is down"),
            text: format!(
                "{} is behind it, and the kernel keeps no route through what is down",
                closest.network.trunc()
            ),
            see: format!("ip link show {}; ip route get {to}", word(name)),
            mend: format!("ip link set {} up, and the routes that went with it", word(name)),
            certainty: v1::Certainty::Inferred.into(),
            ..Default::default()
        })
    }

    /// The interface that led to other nodes' pods: it is down, and has an address of the pods' networks. `left`: as above.
    fn tunnel_gone(&self, to: IpAddr, left: Option<u8>) -> Option<v1::Culprit> {
        if left.is_some_and(|left| left > 0) {
            return None;
        }
        // A bridge has the network of its own pods; a tunnel has one address.
        let of_pods = |own: &&Own| {
            own.network.prefix_len() == own.network.max_prefix_len()
                && super::route::is_of_same_range(own.network.addr(), to)
        };
        let mut down = self.own.iter().filter(of_pods).filter_map(|own| self.name(own.interface));
        let name = &down.find(|port| !port.up)?.name;
        Some(v1::Culprit {
            kind: v1::CulpritKind::Interface.into(),
            object: format!("interface {name} is down"),
            text: format!("no route leads to {to} any more: the kernel keeps none through what is down"),
            see: format!("ip link show {}; ip route get {to}", word(name)),
            mend: format!(
                "ip link set {} up, and the routes that went with it: start the CNI's daemon anew",
                word(name)
            ),
            certainty: v1::Certainty::Inferred.into(),
            ..Default::default()
        })
    }

    /// Pods that are routed to have links without a bridge, and a route each. `namespace`: the pod's, where it is seen; else
    /// the link is named only where one alone belongs to no bridge.
    fn detached(&self, way: u32, namespace: Option<i32>) -> Option<v1::Culprit> {
        let bridge = self.bridge(way)?;
        let mut loose = self.ports.iter().filter(|port| {
            port.of_pod.is_some_and(|other| namespace.is_none_or(|own| own == other))
                && port.controller.is_none()
                && !self.routed.contains(&port.index)
                && !self.own.iter().any(|own| own.interface == port.index && !link_local(own.network.addr()))
        });
        let name = &loose.next()?.name;
        if loose.next().is_some() {
            return None;
        }
        Some(v1::Culprit {
            kind: v1::CulpritKind::Interface.into(),
            object: format!("interface {name} is a pod's link and port of no bridge"),
            text: format!("packets for the pod are given to {}, which does not know it", bridge.name),
            see: format!("ip -d link show {}; bridge link", word(name)),
            mend: format!("ip link set {} master {}, or the pod made anew", word(name), word(&bridge.name)),
            certainty: v1::Certainty::Inferred.into(),
            ..Default::default()
        })
    }
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::links::Port;
    use super::*;
    use crate::culprit::node::tests::pasteable;

    fn links() -> Links {
        let own = |network: &str, interface| Own { network: network.parse().unwrap(), interface };
        let port = |index, name: &str| Port {
            index,
            name: name.to_owned(),
            up: true,
            resolves: true,
            ..Port::default()
        };
        Links {
            own: vec![
                own("127.0.0.1/8", 1),
                own("172.30.0.12/32", 1),
                own("172.30.0.13/24", 2),
                own("10.244.3.1/24", 3),
                own("fe80::1/64", 5),
            ],
            ports: vec![
                port(1, "lo"),
                port(2, "eth0"),
                Port { bridge: true, ..port(3, "cni0") },
                Port { of_pod: Some(4), controller: Some(3), ..port(4, "vethapp") },
                Port { of_pod: Some(5), ..port(5, "vethweb") },
                Port { of_pod: Some(6), ..port(6, "calia") },
            ],
            routed: vec![2, 3, 6],
        }
    }

    #[test]
    fn an_address_of_another_is_found_where_it_is() {
        let found = links().claimed("172.30.0.12".parse().unwrap()).unwrap();
        assert_eq!(found.object, "address 172.30.0.12 on interface lo");
        assert!(found.mend.ends_with("ip addr del 172.30.0.12/32 dev lo"), "{}", found.mend);
        pasteable(&found);
        assert_eq!(links().claimed("172.30.0.14".parse().unwrap()), None);
    }

    #[test]
    fn what_is_behind_an_interface_that_is_down_is_gone_with_it() {
        let pod = "10.244.3.11".parse().unwrap();
        let mut links = links();
        assert_eq!(links.gone(pod, Some(0)), None);
        links.ports[2].up = false;
        let found = links.gone(pod, Some(0)).unwrap();
        assert_eq!(found.object, "interface cni0 is down");
        assert!(found.text.starts_with("10.244.3.0/24 is behind it"), "{}", found.text);
        pasteable(&found);
        assert!(links.gone(pod, None).is_some(), "no route is left at all");
        assert_eq!(links.gone(pod, Some(24)), None, "another interface of that network is up");
        assert_eq!(links.gone("10.244.4.11".parse().unwrap(), Some(0)), None, "another's pods");
        assert_eq!(
            links.gone("10.244.3.1".parse().unwrap(), Some(0)),
            None,
            "its own address is not behind it"
        );
        // A tunnel has one address of the pods' range, and led to the others.
        links.own.push(Own { network: "10.245.3.0/32".parse().unwrap(), interface: 3 });
        let others = "10.245.1.11".parse().unwrap();
        assert_eq!(links.gone(others, Some(0)).unwrap().object, "interface cni0 is down");
        assert_eq!(links.gone(others, Some(24)), None, "a route leads there");
        assert_eq!(links.gone("192.0.2.1".parse().unwrap(), Some(0)), None, "not of the pods' range");
        // A spare interface with all of a private network around it: others' pods have closer routes.
        links.own.push(Own { network: "10.0.0.9/8".parse().unwrap(), interface: 3 });
        assert_eq!(links.gone("10.244.4.11".parse().unwrap(), Some(24)), None);
    }

    #[test]
    fn a_link_of_no_bridge_is_named_unless_its_pod_is_routed_to() {
        let mut links = links();
        let found = links.detached(3, Some(5)).unwrap();
        assert_eq!(found.object, "interface vethweb is a pod's link and port of no bridge");
        pasteable(&found);
        assert_eq!(links.detached(3, None), Some(found), "no other comes into question");
        assert_eq!(links.detached(3, Some(4)), None, "the pod's own link is a port");
        assert_eq!(links.detached(2, Some(5)), None, "what is no bridge has no ports");
        links.ports.push(Port { index: 7, name: "vethold".to_owned(), of_pod: Some(7), ..Port::default() });
        assert_eq!(links.detached(3, None), None, "one of two, and nobody knows which");
        assert!(links.detached(3, Some(5)).is_some());
        links.ports[4].controller = Some(3);
        assert_eq!(links.detached(3, Some(5)), None);
    }

    #[test]
    fn why_a_node_does_not_answer_for_its_own_address_is_named() {
        let sysctls = std::env::temp_dir().join(format!("netcheck-unanswered-{}", std::process::id()));
        let set = |name: &str, value: &str| {
            let file = sysctls.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, value).unwrap();
        };
        let named = |links: &Links, address: &str| {
            links.unanswered(address.parse().unwrap(), &sysctls).map(|found| {
                pasteable(&found);
                found.object
            })
        };
        let mut links = links();
        let own = "172.30.0.13";
        assert_eq!(named(&links, own), None);
        assert_eq!(
            named(&links, "172.30.0.77").as_deref(),
            Some("no interface of this node has the address 172.30.0.77")
        );
        set("ipv4/conf/eth0/arp_ignore", "1\n");
        assert_eq!(named(&links, own), None, "it answers for the addresses of that interface");
        set("ipv4/conf/all/arp_ignore", "8\n");
        assert_eq!(named(&links, own).as_deref(), Some("net.ipv4.conf.all.arp_ignore = 8"));
        links.ports[1].resolves = false;
        assert!(named(&links, own).unwrap().ends_with("(NOARP)"));
        links.ports[1].up = false;
        assert_eq!(named(&links, own).as_deref(), Some("interface eth0 is down"));
        let lost = "fd00:172:30::13";
        assert!(named(&links, lost).unwrap().starts_with("no interface of this node has"));
        set("ipv6/conf/eth0/disable_ipv6", "1\n");
        assert_eq!(named(&links, lost).as_deref(), Some("net.ipv6.conf.eth0.disable_ipv6 = 1"));
        std::fs::remove_dir_all(sysctls).unwrap();
    }

    #[tokio::test]
    async fn this_namespace_can_be_read() {
        let links = Links::read(true).await.unwrap();
        let own = links.own.iter().find(|own| own.network.addr().is_loopback()).unwrap();
        assert_eq!(links.name(own.interface).map(|port| port.name.as_str()), Some("lo"));
        let found = links.claimed(own.network.addr()).unwrap();
        assert!(found.object.ends_with(" on interface lo"), "{}", found.object);
    }
}
