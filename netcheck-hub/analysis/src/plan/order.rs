//! In which order a node takes its targets in turn. Pure.
//!
//! Every target has a point among 2⁶⁴, of its id alone. The upper bits of the point are its sector, one of [`SECTORS`].
//! Each node goes through the sectors in an order of its own, a permutation that its name is the key of, and through
//! each sector by the points in it. So the order of two targets hangs on these two and the node, never on what else there
//! is; and a node's order goes on from any place without being sorted or kept.

use netcheck_common::hash::fnv1a;

/// Into how many parts the points are cut. Of more targets than that, neighbours in a sector are neighbours for all nodes.
pub(crate) const SECTORS: usize = 1 << (2 * HALF_BITS);

/// Sectors are permuted in two halves.
const HALF_BITS: u32 = 6;
const SECTOR_BITS: u32 = 2 * HALF_BITS;
const WITHIN: u64 = u64::MAX >> SECTOR_BITS;
/// Of a Feistel network; three suffice for a permutation that looks like any other.
const ROUNDS: usize = 4;

/// Where a target or a node is among all: FNV-1a, then mixed, for neighbouring names shall not stay neighbours.
pub(crate) fn point(name: &str) -> u64 {
    mix(fnv1a(name.as_bytes()))
}

/// A bijection that leaves no pattern (the finaliser of MurmurHash3).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

/// Which sector a point is in.
pub(crate) const fn sector_of(point: u64) -> usize {
    (point >> (64 - SECTOR_BITS)) as usize
}

/// Where a point is in its sector, or a rank at its place.
pub(crate) const fn within(point: u64) -> u64 {
    point & WITHIN
}

/// The rank of a point whose sector is at that place.
pub(crate) const fn rank_at(place: usize, point: u64) -> u64 {
    ((place as u64) << (64 - SECTOR_BITS)) | within(point)
}

/// The order of one node.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    keys: [u64; ROUNDS],
}

impl Order {
    /// Of the node of that name.
    pub(crate) fn of(node: &str) -> Self {
        let seed = point(node);
        let key =
            |round: usize| mix(seed.wrapping_add((round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self { keys: std::array::from_fn(key) }
    }

    /// Where the target at a point comes: ascending ranks are the node's order. A bijection.
    pub(crate) fn rank(&self, point: u64) -> u64 {
        rank_at(self.place(sector_of(point)), point)
    }

    /// At which place a sector comes. A Feistel network.
    fn place(&self, sector: usize) -> usize {
        let halves = (sector >> HALF_BITS, sector & half(u64::MAX));
        let (left, right) =
            self.keys.iter().fold(halves, |(left, right), key| (right, left ^ scramble(*key, right)));
        left << HALF_BITS | right
    }

    /// The sector at a place: the network backwards.
    pub(crate) fn sector(&self, place: usize) -> usize {
        let halves = (place >> HALF_BITS, place & half(u64::MAX));
        let (left, right) =
            self.keys.iter().rev().fold(halves, |(left, right), key| (right ^ scramble(*key, left), left));
        left << HALF_BITS | right
    }
}

const fn half(bits: u64) -> usize {
    (bits >> (64 - HALF_BITS)) as usize
}

const fn scramble(key: u64, part: usize) -> usize {
    half(mix(key ^ part as u64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_place_has_one_sector(node in "[a-z]{1,8}") {
            let order = Order::of(&node);
            let places: BTreeSet<usize> = (0..SECTORS).map(|sector| order.place(sector)).collect();
            prop_assert_eq!(places.len(), SECTORS);
            prop_assert!((0..SECTORS).all(|sector| order.sector(order.place(sector)) == sector));
        }

        #[test]
        fn ranks_keep_the_order_within_a_sector(node in "[a-z]{1,8}", one: u64, other: u64) {
            let order = Order::of(&node);
            if sector_of(one) == sector_of(other) {
                prop_assert_eq!(order.rank(one).cmp(&order.rank(other)), one.cmp(&other));
            }
            prop_assert_eq!(order.rank(one) == order.rank(other), one == other);
            prop_assert_eq!(sector_of(one), order.sector(sector_of(order.rank(one))));
        }
    }

    #[test]
    fn orders_of_two_nodes_have_nothing_to_do_with_each_other() {
        let orders: Vec<Order> = (0..20).map(|node| Order::of(&format!("node-{node}"))).collect();
        for (at, one) in orders.iter().enumerate() {
            for other in &orders[at + 1..] {
                // Sectors that follow each other for both: of chance, about one.
                let next = |order: &Order, sector: usize| order.sector((order.place(sector) + 1) % SECTORS);
                let same = (0..SECTORS).filter(|&sector| next(one, sector) == next(other, sector)).count();
                assert!(same < 12, "{same} pairs");
            }
        }
    }
}
