//! Through whom an agent reaches the hub that can't reach it itself. Pure.
//!
//! Others are chosen by the highest hash of the two names (rendezvous hashing): a node that comes or goes changes the
//! choices that it is part of, and no others, and each node is a relay for about as many as any other. Other zones come
//! first: what keeps a node from the hub often keeps its whole zone from it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::node_port_sources::{Hashed, hashed, highest, mixed};

/// How many others each agent is sent.
pub const RELAYS: usize = 4;

/// A node as a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayNode {
    /// Its zone.
    pub zone: String,
    /// Its addresses; none: nobody reaches it.
    pub addresses: Vec<IpAddr>,
    /// Where its agent passes sessions on; 0: it does not.
    pub port: u16,
}

impl RelayNode {
    fn is_relay(&self) -> bool {
        self.port > 0 && !self.addresses.is_empty()
    }
}

/// All nodes, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayTable(pub BTreeMap<String, RelayNode>);

impl RelayTable {
    /// The relays of one node, in the order in which they are to be tried: one of each of the other zones, then whoever
    /// else there is. One of its own zone is among them, but last: the zone may be cut off from all others.
    #[must_use]
    pub fn of(&self, node: &str) -> Vec<(&str, &RelayNode)> {
        let own = hashed(node);
        let own_zone = self.0.get(node).map(|own| own.zone.as_str());
        let mut zones: BTreeMap<&str, Vec<Hashed<'_>>> = BTreeMap::new();
        for (name, relay) in self.0.iter().filter(|(name, relay)| *name != node && relay.is_relay()) {
            zones.entry(&relay.zone).or_default().push(hashed(name));
        }
        let near = own_zone.and_then(|zone| highest(own, zones.get(zone)?.iter().copied()));
        let mut far: Vec<(u64, &str)> = zones
            .keys()
            .filter(|zone| own_zone != Some(**zone))
            .map(|&zone| (mixed(own, hashed(zone)), zone))
            .collect();
        far.sort_unstable_by(|a, b| b.cmp(a));
        let of_zone = |(_, zone): &(u64, &str)| highest(own, zones[zone].iter().copied());
        let mut chosen: Vec<Hashed<'_>> = far.iter().take(RELAYS - 1).filter_map(of_zone).collect();
        chosen.extend(near);
        while chosen.len() < RELAYS {
            let rest = zones.values().flatten().copied().filter(|other| !chosen.contains(other));
            let Some(next) = highest(own, rest) else { break };
            chosen.push(next);
        }
        let mut chosen: Vec<(&str, &RelayNode)> =
            chosen.into_iter().filter_map(|(name, _)| Some((name, self.0.get(name)?))).collect();
        chosen.sort_by_key(|(_, relay)| own_zone == Some(relay.zone.as_str()));
        chosen
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn table(sizes: &[usize]) -> RelayTable {
        let zones = sizes.iter().enumerate();
        let nodes = zones.flat_map(|(zone, &size)| (0..size).map(move |at| (zone, at)));
        let node = |(zone, at): (usize, usize)| {
            let relay = RelayNode {
                zone: format!("z{zone}"),
                addresses: vec![[10, 0, zone as u8, at as u8].into()],
                port: 6102,
            };
            (format!("n{zone}-{at}"), relay)
        };
        RelayTable(nodes.map(node).collect())
    }

    fn names(table: &RelayTable, node: &str) -> Vec<String> {
        table.of(node).into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    proptest! {
        #[test]
        fn others_of_as_many_zones_as_there_are_and_far_ones_first(
            sizes in prop::collection::vec(0usize..7, 1..7),
            off in any::<prop::sample::Index>(),
        ) {
            let mut table = table(&sizes);
            let count = table.0.len();
            if let Some(silent) = table.0.values_mut().nth(off.index(count.max(1))) {
                silent.port = 0;
            }
            for (node, own) in &table.0 {
                let relays = table.of(node);
                let can: Vec<_> = table.0.iter().filter(|(name, of)| *name != node && of.is_relay()).collect();
                prop_assert_eq!(relays.len(), can.len().min(RELAYS));
                prop_assert!(relays.iter().all(|(name, of)| name != node && of.is_relay()));
                let distinct: BTreeSet<&str> = relays.iter().map(|(name, _)| *name).collect();
                prop_assert_eq!(distinct.len(), relays.len());
                let first_near = relays.iter().position(|(_, of)| of.zone == own.zone).unwrap_or(relays.len());
                prop_assert!(relays[first_near..].iter().all(|(_, of)| of.zone == own.zone));
                let zones = |of: &[(&str, &RelayNode)]| {
                    of.iter().map(|(_, of)| of.zone.clone()).collect::<BTreeSet<_>>().len()
                };
                let far_zones: BTreeSet<_> =
                    can.iter().map(|(_, of)| &of.zone).filter(|zone| **zone != own.zone).collect();
                prop_assert!(zones(&relays) >= far_zones.len().min(RELAYS - 1));
                let has_near = can.iter().any(|(_, of)| of.zone == own.zone);
                prop_assert_eq!(has_near, first_near < relays.len());
            }
        }

        #[test]
        fn a_node_that_goes_changes_the_choices_that_it_was_part_of(
            sizes in prop::collection::vec(2usize..7, 2..6),
            gone in any::<prop::sample::Index>(),
        ) {
            let before = table(&sizes);
            let mut after = before.clone();
            let gone = before.0.keys().nth(gone.index(before.0.len())).unwrap().clone();
            after.0.remove(&gone);
            for node in after.0.keys() {
                let (old, new) = (names(&before, node), names(&after, node));
                if old.contains(&gone) {
                    let kept = old.iter().filter(|name| new.contains(name)).count();
                    prop_assert_eq!(kept, old.len() - 1);
                } else {
                    prop_assert_eq!(old, new);
                }
            }
        }
    }

    #[test]
    fn the_load_is_spread() {
        let table = table(&[40, 40, 40]);
        let mut load: BTreeMap<String, usize> = BTreeMap::new();
        for node in table.0.keys() {
            for name in names(&table, node) {
                *load.entry(name).or_default() += 1;
            }
        }
        assert!(load.values().all(|&load| load <= 16), "{:?}", load.values().max());
        assert!(load.len() > 110, "{}", load.len());
    }

    #[test]
    fn an_agent_of_no_known_node_has_relays_as_well() {
        assert_eq!(table(&[2, 1]).of("stranger").len(), 3);
        let wire = table(&[1, 1]).to_wire("n0-0");
        assert_eq!((wire.relays.len(), wire.relays[0].node.as_str(), wire.relays[0].port), (1, "n1-0", 6102));
        assert_eq!(wire.relays[0].addresses, [vec![10, 0, 1, 0]]);
    }
}
