//! Whose each address is, as it is sent to all agents: whole once, and from then on what changed. Pure.
//!
//! In a large cluster the table has tens of thousands of rows and every pod that comes or goes changes one of them, for
//! every agent. So a table knows what makes it differ from the one before it, and an agent that has that one is sent no
//! more than this.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressOf {
    /// The address.
    pub address: IpAddr,
    /// The node that has it or holds the pod that has it.
    pub node: String,
    /// `namespace/name` where it is a pod's.
    pub pod: Option<String>,
    /// The secondary network that it is on; none: the cluster's own.
    pub network: Option<Arc<str>>,
}

/// The table: ascending by address, each once.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    rows: Vec<AddressOf>,
    /// What changed since which table.
    since: Option<(Weak<Self>, Change)>,
}

/// What makes one table of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Places of rows that are new, or not as they were; ascending.
    pub(crate) fresh: Vec<usize>,
    pub(crate) gone: Vec<IpAddr>,
}

impl Deref for Addresses {
    type Target = [AddressOf];

    fn deref(&self) -> &[AddressOf] {
        &self.rows
    }
}

/// Whatever they were made from.
impl PartialEq for Addresses {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

/// So that two references to one table are equal at once.
impl Eq for Addresses {}

impl FromIterator<AddressOf> for Addresses {
    /// Of two rows with one address the first counts.
    fn from_iter<I: IntoIterator<Item = AddressOf>>(rows: I) -> Self {
        let mut rows: Vec<AddressOf> = rows.into_iter().collect();
        rows.sort_by_key(|of| of.address);
        rows.dedup_by_key(|of| of.address);
        Self { rows, since: None }
    }
}

impl Addresses {
    /// The same as the successor of an older one; the older one itself where nothing changed.
    #[must_use]
    pub fn after(mut self, older: &Arc<Self>) -> Arc<Self> {
        let change = Change::between(older, &self);
        if change == Change::default() {
            return Arc::clone(older);
        }
        self.since = Some((Arc::downgrade(older), change));
        Arc::new(self)
    }

    /// What makes this table of an older one.
    pub(crate) fn change_from(&self, older: &Arc<Self>) -> Cow<'_, Change> {
        match &self.since {
            Some((since, change)) if since.as_ptr() == Arc::as_ptr(older) => Cow::Borrowed(change),
            _ => Cow::Owned(Change::between(older, self)),
        }
    }
}

impl Change {
    fn between(older: &[AddressOf], newer: &[AddressOf]) -> Self {
        let mut change = Self::default();
        let (mut old, mut new) = (older.iter().peekable(), newer.iter().enumerate().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return change,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some((_, new))) => old.address.cmp(&new.address),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            match (before, after) {
                (Some(before), None) => change.gone.push(before.address),
                (before, Some((at, after))) if before != Some(after) => change.fresh.push(at),
                _ => {}
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.gone.len()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use netcheck_proto::v1;

    use super::*;

    fn row(number: u8, pod: u8) -> AddressOf {
        AddressOf {
            address: [10, 0, 0, number].into(),
            node: format!("n{}", pod % 3),
            pod: (pod > 0).then(|| format!("a/p{pod}")),
            network: None,
        }
    }

    fn table(rows: &BTreeMap<u8, u8>) -> Addresses {
        rows.iter().map(|(&number, &pod)| row(number, pod)).collect()
    }

    /// What an agent holds, by address.
    pub(in crate::plan) type Table = BTreeMap<Vec<u8>, v1::AddressEntry>;

    /// As agents apply it.
    pub(in crate::plan) fn applied(held: &mut Table, reported: v1::AddressTable) {
        if !reported.change {
            held.clear();
        }
        held.extend(reported.entries.into_iter().map(|entry| (entry.address.clone(), entry)));
        reported.gone.iter().for_each(|address| drop(held.remove(address)));
    }

    #[test]
    fn who_has_the_one_before_is_sent_what_changed() {
        let first = Arc::new(table(&(1..100).map(|number| (number, 1)).collect()));
        assert!(!first.to_wire(None, "n1").change && first.to_wire(None, "n1").entries.len() == 99);
        let mut rows: BTreeMap<u8, u8> = (1..100).map(|number| (number, 1)).collect();
        rows.insert(7, 2);
        rows.insert(200, 1);
        rows.remove(&9);
        let second = table(&rows).after(&first);
        let reported = second.to_wire(Some(&first), "n1");
        assert_eq!((reported.change, reported.entries.len()), (true, 2));
        assert_eq!(reported.entries.iter().map(|entry| entry.local).collect::<Vec<_>>(), [false, true]);
        assert_eq!(reported.gone, [vec![10, 0, 0, 9]]);
        assert!(Arc::ptr_eq(&table(&rows).after(&second), &second), "the same rows are the same table");
        // Another one than the one before: whatever it is, the change is made of it.
        rows.remove(&8);
        let third = table(&rows).after(&second);
        assert_eq!(third.to_wire(Some(&first), "n1").gone.len(), 2);
        // Where all is new, that is no change.
        let other = table(&(100..250).map(|number| (number, 3)).collect()).after(&first);
        assert!(!other.to_wire(Some(&first), "n1").change);
    }

    proptest! {
        #[test]
        fn changes_add_up_to_the_table(
            tables in proptest::collection::vec(proptest::collection::btree_map(0u8..40, 0u8..4, 0..40), 1..8),
            skipped in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let mut held = Table::new();
            let mut has: Option<Arc<Addresses>> = None;
            let mut newest = Arc::new(Addresses::default());
            for (rows, skip) in tables.iter().zip(skipped) {
                newest = table(rows).after(&newest);
                if !skip {
                    applied(&mut held, newest.to_wire(has.as_ref(), "n1"));
                    has = Some(Arc::clone(&newest));
                    let whole = newest.to_wire(None, "n1").entries;
                    prop_assert_eq!(held.values().cloned().collect::<Vec<_>>(), whole);
                }
            }
        }
    }
}
