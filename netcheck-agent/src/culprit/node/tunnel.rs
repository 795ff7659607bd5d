//! A tunnel that can't send: the address that its packets are to leave from is not this node's.

use std::net::IpAddr;

use futures::TryStreamExt as _;
use netcheck_proto::shell::word;
use netcheck_proto::v1;
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};

use super::link;
use super::links::Links;
use super::netlink::Connection;

/// Where this interface is such a tunnel. Its driver looks for a route from that address, and drops the packet where there can
/// be none (drivers/net/vxlan/vxlan_core.c, vxlan_xmit_one).
pub(super) async fn without_source(interface: &str) -> Option<v1::Culprit> {
    let connection = Connection::open()?;
    let question = connection.handle.link().get().match_name(interface.to_owned());
    let message = std::pin::pin!(question.execute()).try_next().await.ok()??;
    let source = source(&message)?;
    let own = Links::read(false).await?.own;
    if own.iter().any(|own| own.network.addr() == source) {
        return None;
    }
    let name = word(interface);
    Some(link::culprit(
        format!("interface {interface} sends from {source}, which is no address of this node"),
        "what it wraps can't leave; what comes to its port is taken all the same".to_owned(),
        format!("ip -d link show dev {name}; ip addr"),
        "give the address back to this node, or have the CNI's daemon make the tunnel anew with one that stays".to_owned(),
    ))
}

/// The address that a tunnel's packets leave from, where it was told one.
fn source(message: &LinkMessage) -> Option<IpAddr> {
    let info = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    let settings = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(settings)) => Some(settings),
        _ => None,
    })?;
    settings.iter().find_map(|setting| match setting {
        InfoVxlan::Local(address) => Some(IpAddr::V4(*address)),
        InfoVxlan::Local6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnels_source_is_what_it_was_told() {
        let told = |settings: Vec<InfoVxlan>| {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Data(InfoData::Vxlan(settings))]));
            source(&message)
        };
        let v4 = "10.0.0.2".parse().unwrap();
        assert_eq!(told(vec![InfoVxlan::Id(1), InfoVxlan::Local(v4)]), Some(v4.into()));
        let v6 = "fd00::2".parse().unwrap();
        assert_eq!(told(vec![InfoVxlan::Local6(v6)]), Some(v6.into()));
        assert_eq!(told(vec![InfoVxlan::Id(1)]), None);
        assert_eq!(source(&LinkMessage::default()), None);
    }
}
