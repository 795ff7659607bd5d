//! What can be made to go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Resource;

/// What is broken. Everything is per resource.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    denied: BTreeSet<(String, Resource)>,
    missing: BTreeSet<Resource>,
    pub(crate) slow: BTreeMap<Resource, Duration>,
    pub(crate) held: BTreeSet<Resource>,
    pub(crate) reversed: BTreeSet<Resource>,
    /// Connections that were open when this was counted up end.
    pub(crate) cuts: BTreeMap<Resource, u64>,
    pub(crate) garbage: BTreeMap<Resource, (u64, String)>,
    pub(crate) bookmarks: BTreeMap<Resource, u64>,
    pub(crate) cut_lists: BTreeMap<Resource, u64>,
    pub(crate) gone_starts: BTreeMap<Resource, u64>,
    pub(crate) expired_pages: BTreeMap<Resource, u64>,
    pub(crate) review_down: bool,
    pub(crate) review_takes: Duration,
}

impl Faults {
    /// Answers 403 to a verb (`list`, `watch`, …).
    pub fn deny(&mut self, verb: &str, resource: Resource) {
        self.denied.insert((verb.to_owned(), resource));
    }

    /// No longer.
    pub fn allow(&mut self, verb: &str, resource: Resource) {
        self.denied.remove(&(verb.to_owned(), resource));
    }

    pub(crate) fn denies(&self, verb: &str, resource: Resource) -> bool {
        self.denied.contains(&(verb.to_owned(), resource))
    }

    /// There is no such resource, as before its definition is installed; or there is.
    pub fn missing(&mut self, resource: Resource, missing: bool) {
        if missing {
            self.missing.insert(resource);
        } else {
            self.missing.remove(&resource);
        }
    }

    pub(crate) fn misses(&self, resource: Resource) -> bool {
        self.missing.contains(&resource)
    }

    /// Every page of a list takes this long.
    pub fn slow_lists(&mut self, resource: Resource, delay: Duration) {
        self.slow.insert(resource, delay);
    }

    /// Watches say nothing more of what changes, until [`Faults::release`].
    pub fn hold(&mut self, resource: Resource) {
        self.held.insert(resource);
    }

    /// Watches say what they held back, the newest change first if `reversed`.
    pub fn release(&mut self, resource: Resource, reversed: bool) {
        self.held.remove(&resource);
        if reversed {
            self.reversed.insert(resource);
        } else {
            self.reversed.remove(&resource);
        }
    }

    /// Cuts the watches that are open, in the middle of a line.
    pub fn cut_watches(&mut self, resource: Resource) {
        *self.cuts.entry(resource).or_default() += 1;
    }

    /// Cuts the next so many answers to list, in the middle.
    pub fn cut_lists(&mut self, resource: Resource, answers: u64) {
        self.cut_lists.insert(resource, answers);
    }

    /// Sends this line on the watches that are open.
    pub fn say(&mut self, resource: Resource, line: &str) {
        let next = self.garbage.get(&resource).map_or(0, |(count, _)| *count) + 1;
        self.garbage.insert(resource, (next, line.to_owned()));
    }

    /// Sends a bookmark on the watches that are open, if they wanted bookmarks.
    pub fn bookmark(&mut self, resource: Resource) {
        *self.bookmarks.entry(resource).or_default() += 1;
    }

    /// Answers the next so many starts of a watch with the HTTP status 410, not with an event.
    pub fn gone_at_start(&mut self, resource: Resource, times: u64) {
        self.gone_starts.insert(resource, times);
    }

    /// Answers the next so many continued lists with 410.
    pub fn expire_pages(&mut self, resource: Resource, times: u64) {
        self.expired_pages.insert(resource, times);
    }

    /// TokenReview answers 500.
    pub fn break_reviews(&mut self, broken: bool) {
        self.review_down = broken;
    }

    /// TokenReview takes this long.
    pub fn slow_reviews(&mut self, delay: Duration) {
        self.review_takes = delay;
    }

    /// Takes one from a count.
    pub(crate) fn take(counts: &mut BTreeMap<Resource, u64>, resource: Resource) -> bool {
        match counts.get_mut(&resource) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}
