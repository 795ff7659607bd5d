//! A table whose entries are found by key once and by place from then on. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::meter::Counted;

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// When it was counted last; none: not yet.
    counted_ns: Option<i64>,
}

/// Entries with their keys. A place stays an entry's own until that is removed.
#[derive(Debug)]
pub struct Table<K, V> {
    places: HashMap<K, u32>,
    entries: Vec<Option<Entry<K, V>>>,
    free: Vec<u32>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { places: HashMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Default> Table<K, V> {
    /// All entries that were counted, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.placed().map(|(_, key, value)| (key, value))
    }

    /// The same with their places.
    pub fn placed(&self) -> impl Iterator<Item = (u32, &K, &V)> {
        let entries = (0..).zip(&self.entries).filter_map(|(at, entry)| Some((at, entry.as_ref()?)));
        let counted = entries.filter(|(_, entry)| entry.counted_ns.is_some());
        counted.map(|(at, entry)| (at, &entry.key, &entry.value))
    }

    /// How many there are, counted or not yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.places.get(key).copied()
    }

    pub(super) fn insert(&mut self, key: K) -> u32 {
        let entry = Some(Entry { key: key.clone(), value: V::default(), counted_ns: None });
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.places.insert(key, at);
        at
    }

    /// Its place, made where there is none if `create`; else nowhere.
    pub(super) fn place(&mut self, key: K, create: bool) -> u32 {
        match self.find(&key) {
            Some(at) => at,
            None if create => self.insert(key),
            None => Counted::NOWHERE,
        }
    }

    /// What is at a place, to count it.
    pub(super) fn touch(&mut self, at: u32, now_ns: i64) -> Option<&mut V> {
        let entry = self.entries.get_mut(at as usize)?.as_mut()?;
        entry.counted_ns = Some(now_ns);
        Some(&mut entry.value)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) -> usize {
        let before = self.len();
        for (at, place) in self.entries.iter_mut().enumerate() {
            if let Some(gone) = place.take_if(|entry| !keep(&entry.key, &entry.value)) {
                self.places.remove(&gone.key);
                self.free.push(at as u32);
            }
        }
        before - self.len()
    }

    /// Removes what was not counted since. What is new has until it is looked at a second time.
    pub(super) fn expire(&mut self, oldest_ns: i64) -> usize {
        let before = self.len();
        for (at, place) in self.entries.iter_mut().enumerate() {
            if let Some(gone) =
                place.take_if(|entry| entry.counted_ns.is_some_and(|counted| counted < oldest_ns))
            {
                self.places.remove(&gone.key);
                self.free.push(at as u32);
            }
        }
        before - self.len()
    }
}
