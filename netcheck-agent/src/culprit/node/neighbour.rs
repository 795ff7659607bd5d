//! The neighbour that a packet is handed to: who does not answer for its address, or was set by hand. Of a packet that a tunnel
//! wraps, the neighbour that the outer one is handed to.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use futures::TryStreamExt as _;
use netcheck_proto::shell::word;
use netcheck_proto::v1;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use super::netlink::Connection;
use super::route::Way;
use super::{link, route};

/// Neighbours that are looked at.
const MOST: usize = 65_536;

/// A tunnel inside of a tunnel is as far as is looked.
const LAYERS: usize = 3;

/// What is known of the one that packets to this address go to. `failed`: somebody waited for its answer in vain; else only an
/// entry that was set by hand is worth naming, for the kernel never asks whether it is right.
pub(super) async fn find(mut to: IpAddr, failed: bool) -> Option<v1::Culprit> {
    for _ in 0..LAYERS {
        let ways = route::ways(to).await?;
        let entries = entries(if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }).await?;
        let of = |way: &Way| {
            entries
                .iter()
                .find(|entry| entry.header.ifindex == way.interface && address(entry) == Some(way.hop))
        };
        // Of several next hops the one that does not answer.
        let silent = |way: &&Way| {
            let state = of(way).map(|entry| entry.header.state);
            matches!(state, Some(NeighbourState::Failed | NeighbourState::Incomplete))
        };
        let way = ways.iter().find(silent).filter(|_| failed).or_else(|| ways.first())?;
        let device = link::name_of(way.interface)?;
        match of(way) {
            // What programs an overlay sets all entries of its tunnel so. What is wrapped goes on to the other end.
            Some(entry) if entry.header.state == NeighbourState::Permanent && link::is_tunnel(&device) => {
                to = far_end(&self::entries(AddressFamily::Bridge).await?, entry)?;
            }
            Some(entry) => return culprit(entry, way.hop, &device, failed),
            None if failed => return full(Path::new(super::SYSCTLS), to.is_ipv4(), entries.len()),
            None => return None,
        }
    }
    None
}

pub(super) async fn entries(family: AddressFamily) -> Option<Vec<NeighbourMessage>> {
    let connection = Connection::open()?;
    let mut stream =
        std::pin::pin!(connection.handle.neighbours().get().set_address_family(family).execute());
    let mut entries = Vec::new();
    while let Some(entry) = stream.try_next().await.ok()? {
        if entries.len() >= MOST {
            return None;
        }
        entries.push(entry);
    }
    Some(entries)
}

/// The other end of a tunnel, where its forwarding table (bridge-fdb(8)) has the hardware address of this neighbour.
fn far_end(forwarding: &[NeighbourMessage], neighbour: &NeighbourMessage) -> Option<IpAddr> {
    let wanted = hardware(neighbour)?;
    let is_its = |entry: &&NeighbourMessage| {
        entry.header.ifindex == neighbour.header.ifindex && hardware(entry).as_ref() == Some(&wanted)
    };
    forwarding.iter().filter(is_its).find_map(|entry| {
        entry.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => match bytes.len() {
                4 => <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
                16 => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
                _ => None,
            },
            _ => None,
        })
    })
}

pub(super) fn address(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

pub(super) fn hardware(entry: &NeighbourMessage) -> Option<String> {
    let bytes = entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Some(bytes),
        _ => None,
    })?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

/// In the words of ip-neighbour(8).
fn culprit(entry: &NeighbourMessage, hop: IpAddr, device: &str, failed: bool) -> Option<v1::Culprit> {
    let (state, text, mend) = match entry.header.state {
        NeighbourState::Failed | NeighbourState::Incomplete if failed => (
            if entry.header.state == NeighbourState::Failed { "FAILED" } else { "INCOMPLETE" },
            "nobody on that link answers for the address".to_owned(),
            format!(
                "the machine or pod that should have {hop}; or, if it is elsewhere, the route: ip route get {hop}"
            ),
        ),
        NeighbourState::Permanent => (
            "PERMANENT",
            "set by hand or by a program: the kernel does not ask whether it is right".to_owned(),
            format!(
                "compare the address with the one that {hop} has; if it is wrong: ip neigh del {hop} dev {}",
                word(device)
            ),
        ),
        _ => return None,
    };
    let see = format!("ip neigh show {hop} dev {}", word(device));
    let at = hardware(entry).map(|address| format!(" at {address}")).unwrap_or_default();
    Some(v1::Culprit {
        kind: v1::CulpritKind::Neighbour.into(),
        object: format!("neighbour {hop} on {device}{at}: {state}"),
        text,
        see,
        mend,
        certainty: v1::Certainty::Inferred.into(),
        symptom: state != "PERMANENT",
        ..Default::default()
    })
}

/// A table of neighbours that takes no more (`gc_thresh3`). The sysctl is the machine's, not this network's: where it is not
/// shown, nobody knows.
fn full(sysctls: &Path, v4: bool, entries: usize) -> Option<v1::Culprit> {
    let family = if v4 { 4 } else { 6 };
    let name = if v4 { "ipv4/neigh/default/gc_thresh3" } else { "ipv6/neigh/default/gc_thresh3" };
    let most: usize = fs::read_to_string(sysctls.join(name)).ok()?.trim().parse().ok()?;
    let name = name.replace('/', ".");
    (entries >= most).then(|| v1::Culprit {
        kind: v1::CulpritKind::Neighbour.into(),
        object: format!("the table of neighbours is full: {entries} of {most} entries"),
        text: "the kernel finds no room for one more, and drops what waits for it".to_owned(),
        see: format!("ip -{family} neigh show nud all | wc -l; sysctl net.{name}"),
        mend: format!("sysctl -w net.{name}={}", most.saturating_mul(2)),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::node::tests::pasteable;

    fn entry(state: NeighbourState) -> NeighbourMessage {
        let mut entry = NeighbourMessage::default();
        entry.header.state = state;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0xab, 1]));
        entry
    }

    #[test]
    fn who_does_not_answer_and_what_was_set_by_hand_are_named() {
        let hop = "10.0.0.2".parse().unwrap();
        let described = |state, failed| culprit(&entry(state), hop, "eth0", failed).map(|one| one.object);
        let named = |state: &str| Some(format!("neighbour 10.0.0.2 on eth0 at 02:00:00:00:ab:01: {state}"));
        assert_eq!(described(NeighbourState::Failed, true), named("FAILED"));
        assert_eq!(described(NeighbourState::Failed, false), None);
        assert_eq!(described(NeighbourState::Permanent, false), named("PERMANENT"));
        assert_eq!(described(NeighbourState::Reachable, true), None);
        for state in [NeighbourState::Failed, NeighbourState::Permanent] {
            pasteable(&culprit(&entry(state), hop, "eth0;reboot", true).unwrap());
        }
    }

    #[test]
    fn the_other_end_of_a_tunnel_is_where_its_forwarding_table_says() {
        let of = |interface: u32, hardware: u8, to: &[u8]| {
            let mut entry = NeighbourMessage::default();
            entry.header.ifindex = interface;
            entry.attributes.push(NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, hardware]));
            entry.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Other(to.to_vec())));
            entry
        };
        let table = [of(4, 1, &[10, 0, 0, 9]), of(5, 2, &[10, 0, 0, 8]), of(5, 1, &[10, 0, 0, 7])];
        let end = |interface, hardware| far_end(&table, &of(interface, hardware, &[]));
        assert_eq!(end(5, 1), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(end(5, 3), None);
    }

    #[test]
    fn a_table_of_neighbours_is_full_or_not() {
        let root = std::env::temp_dir().join(format!("netcheck-neigh-{}", std::process::id()));
        fs::create_dir_all(root.join("ipv4/neigh/default")).unwrap();
        fs::write(root.join("ipv4/neigh/default/gc_thresh3"), "1024\n").unwrap();
        let found = full(&root, true, 1024).unwrap();
        let see = "ip -4 neigh show nud all | wc -l; sysctl net.ipv4.neigh.default.gc_thresh3";
        assert_eq!(found.see, see);
        pasteable(&found);
        assert!(full(&root, true, 1023).is_none());
        assert!(full(&root, false, 9999).is_none(), "nobody can tell");
        fs::remove_dir_all(root).unwrap();
    }
}
