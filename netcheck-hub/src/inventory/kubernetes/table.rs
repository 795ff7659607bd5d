//! What is kept of all objects, by kind. Pure.
//!
//! A list replaces a table only once it is complete: while the API is asked again, the old state stands.

use std::collections::{BTreeMap, BTreeSet};

use kube::runtime::watcher::Event;
use netcheck_proto::text;

use super::object::{Kept, Read, Watched};
use netcheck_analysis::cluster::roster::build::Parts;
use netcheck_analysis::cluster::roster::frontend::HttpFrontend;
use netcheck_analysis::cluster::roster::gateway::{Gateway, HttpRoute, join};
use netcheck_analysis::cluster::roster::{Backend, LeftOut, Node, Pod, ProbeAnnotation, Service};

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Table<K> {
    /// By `namespace/name`.
    pub(super) current: BTreeMap<String, K>,
    /// What a list that is not complete yet has shown so far.
    incoming: Option<BTreeMap<String, K>>,
    /// A list has been complete.
    listed: bool,
    /// Objects that do not hold together, wholly or in part, and why.
    broken: BTreeMap<String, String>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { current: BTreeMap::new(), incoming: None, listed: false, broken: BTreeMap::new() }
    }
}

impl<K: Kept> Table<K> {
    /// Takes an event. Returns whether a roster would be another one now.
    pub(super) fn take(&mut self, event: Event<Watched<K>>) -> bool {
        match event {
            Event::Init => {
                self.incoming = Some(BTreeMap::new());
                self.broken.clear();
                false
            }
            Event::InitApply(object) => {
                let key = object.key();
                if let Some(kept) = self.judge(&key, object.read)
                    && let Some(incoming) = &mut self.incoming
                {
                    incoming.insert(key, kept);
                }
                false
            }
            Event::InitDone => {
                let first = !std::mem::replace(&mut self.listed, true);
                let Some(incoming) = self.incoming.take() else { return first };
                let changed = first || incoming != self.current;
                self.current = incoming;
                changed
            }
            Event::Apply(object) => {
                let key = object.key();
                match self.judge(&key, object.read) {
                    Some(kept) if self.current.get(&key) == Some(&kept) => false,
                    Some(kept) => {
                        self.current.insert(key, kept);
                        true
                    }
                    None => self.current.remove(&key).is_some(),
                }
            }
            Event::Delete(object) => {
                let key = object.key();
                self.broken.remove(&key);
                self.current.remove(&key).is_some()
            }
        }
    }

    /// What is to be kept. Of an object that is broken now, nothing: what it was says nothing of what it is.
    fn judge(&mut self, key: &str, read: Read<K>) -> Option<K> {
        let (kept, why) = match read {
            Read::Kept(kept, parts) => (Some(kept), parts.map(|parts| format!("left out of it: {parts}"))),
            Read::Unused => (None, None),
            Read::Broken(why) => (None, Some(format!("left out: {why}"))),
        };
        match why {
            None => drop(self.broken.remove(key)),
            Some(why) => {
                tracing::warn!("{} {key}: {why}", K::plural());
                self.broken.insert(key.to_owned(), why);
            }
        }
        kept
    }
}

/// All kinds.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) nodes: Table<Node>,
    pub(super) pods: Table<Pod>,
    pub(super) services: Table<Service>,
    pub(super) slices: Table<(String, Vec<Backend>)>,
    pub(super) namespaces: Table<ProbeAnnotation>,
    pub(super) ingresses: Table<HttpFrontend>,
    pub(super) gateways: Table<Gateway>,
    pub(super) http_routes: Table<HttpRoute>,
    /// Kinds that the cluster does not have.
    missing: BTreeSet<String>,
    changed: bool,
    /// Objects that were skipped because they did not hold together, since the start.
    skipped: u64,
}

impl Tables {
    /// Takes an event of one kind. Returns whether there is something new to report.
    pub(super) fn take<K: Kept>(&mut self, event: Event<Watched<K>>) -> bool {
        if matches!(event, Event::InitDone) && K::MAY_BE_MISSING {
            self.missing.remove(&*K::plural());
        }
        if let Event::Apply(object) | Event::InitApply(object) = &event
            && matches!(object.read, Read::Broken(_) | Read::Kept(_, Some(_)))
        {
            self.skipped += 1;
        }
        let key = match &event {
            Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) => object.key(),
            Event::Init | Event::InitDone => String::new(),
        };
        let table = K::table(self);
        let before = (table.broken.len(), table.broken.get(&key).cloned());
        let changed = table.take(event);
        let reported = before != (table.broken.len(), table.broken.get(&key).cloned());
        self.changed |= changed;
        reported || (changed && self.complete())
    }

    /// The cluster does not have this kind. Returns whether that is news.
    pub(super) fn miss<K: Kept>(&mut self) -> bool {
        let table = K::table(self);
        let had = !table.current.is_empty();
        *table = Table::default();
        self.changed |= had;
        self.missing.insert(K::plural().into_owned())
    }

    /// Whether all that a roster needs has been listed. Namespaces are not needed: without them only objects' own annotations count.
    /// Ingresses are not, either: most clusters' hubs do not ask for them.
    fn complete(&self) -> bool {
        self.nodes.listed && self.pods.listed && self.services.listed && self.slices.listed
    }

    /// What a roster is made of, if it changed since the last time.
    pub(super) fn take_changed(&mut self) -> Option<Parts> {
        if !self.complete() || !std::mem::take(&mut self.changed) {
            return None;
        }
        Some(Parts {
            nodes: self.nodes.current.clone(),
            pods: self.pods.current.clone(),
            services: self.services.current.clone(),
            backends: self.slices.current.values().cloned().collect(),
            namespaces: self.namespaces.current.clone(),
            frontends: self
                .ingresses
                .current
                .values()
                .cloned()
                .chain(join(self.gateways.current.values(), self.http_routes.current.values()))
                .collect(),
            missing: 0,
        })
    }

    /// What is left out now, and how often anything was so far.
    pub(super) fn left_out(&self) -> (LeftOut, u64) {
        let all = [
            ("node", &self.nodes.broken),
            ("pod", &self.pods.broken),
            ("service", &self.services.broken),
            ("endpointslice", &self.slices.broken),
            ("namespace", &self.namespaces.broken),
            ("ingress", &self.ingresses.broken),
            ("gateway", &self.gateways.broken),
            ("httproute", &self.http_routes.broken),
        ];
        let mut left_out = LeftOut::default();
        for (kind, broken) in all {
            broken.iter().for_each(|(key, why)| left_out.add(|| text::line(&format!("{kind} {key}: {why}"))));
        }
        (left_out, self.skipped)
    }

    /// Kinds that the cluster does not have, in one line.
    pub(super) fn caveat(&self) -> Option<String> {
        let kinds: Vec<&str> = self.missing.iter().map(String::as_str).collect();
        (!kinds.is_empty()).then(|| {
            format!(
                "--http-gateway: the cluster has no {} (Gateway API v1): looked for again now and then",
                kinds.join(" and no ")
            )
        })
    }
}
