//! Objects, their versions, and the history that watches resume from.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::Resource;

/// Changes that are remembered.
const HISTORY: usize = 200_000;

/// An object as it is sent. Text, for 50,000 pods as trees would be gigabytes.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) json: String,
    pub(crate) namespace: String,
    name: String,
    /// What field selectors look at.
    phase: String,
}

/// A change that watches hear of.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) resource: Resource,
    /// None where it was created.
    pub(crate) before: Option<Arc<Stored>>,
    /// As it is; as it was where it was deleted.
    pub(crate) now: Arc<Stored>,
    pub(crate) deleted: bool,
}

/// All objects.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<(Resource, String), Arc<Stored>>,
    /// The newest resourceVersion.
    pub(crate) version: u64,
    history: VecDeque<Change>,
    /// History begins after this one.
    pub(crate) compacted: u64,
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Store {
    pub(crate) fn apply(&mut self, mut object: Value) -> anyhow::Result<Arc<Stored>> {
        let kind = object["kind"].as_str().context("an object without a kind")?;
        let resource = Resource::of_kind(kind).with_context(|| format!("a {kind} is not served"))?;
        let name = object["metadata"]["name"].as_str().context("an object without a name")?.to_owned();
        ensure!(!name.is_empty(), "an object with an empty name");
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let phase = object["status"]["phase"].as_str().unwrap_or_default().to_owned();
        let key = (resource, key(&namespace, &name));
        let now = Arc::new(Stored { json: object.to_string(), namespace, name, phase });
        let before = self.objects.insert(key, Arc::clone(&now));
        self.remember(resource, before, Arc::clone(&now), false);
        Ok(now)
    }

    pub(crate) fn delete(&mut self, resource: Resource, namespace: &str, name: &str) -> bool {
        let Some(before) = self.objects.remove(&(resource, key(namespace, name))) else { return false };
        self.version += 1;
        // What is sent last has the version of its deletion.
        let mut last: Value = serde_json::from_str(&before.json).unwrap_or_default();
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        let now = Stored {
            json: last.to_string(),
            name: name.to_owned(),
            namespace: before.namespace.clone(),
            phase: before.phase.clone(),
        };
        self.remember(resource, Some(before), Arc::new(now), true);
        true
    }

    fn remember(&mut self, resource: Resource, before: Option<Arc<Stored>>, now: Arc<Stored>, deleted: bool) {
        self.history.push_back(Change { version: self.version, resource, before, now, deleted });
        if self.history.len() > HISTORY
            && let Some(oldest) = self.history.pop_front()
        {
            self.compacted = oldest.version;
        }
    }

    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }

    pub(crate) fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let stored = self.objects.get(&(resource, key(namespace, name)))?;
        serde_json::from_str(&stored.json).ok()
    }

    /// At most `limit` objects after `after`, and the key of the last if there are more.
    pub(crate) fn page(
        &self,
        resource: Resource,
        filter: &Filter,
        after: &str,
        limit: usize,
    ) -> (Vec<Arc<Stored>>, Option<String>) {
        let from = (resource, after.to_owned());
        let mut found = Vec::new();
        let mut last = None;
        let rest = self.objects.range((std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded));
        for ((of, key), stored) in rest {
            if *of != resource {
                break;
            }
            if !filter.matches(stored) {
                continue;
            }
            if found.len() == limit {
                return (found, last);
            }
            found.push(Arc::clone(stored));
            last = Some(key.clone());
        }
        (found, None)
    }

    /// What changed after `version`. None: that is forgotten.
    pub(crate) fn since(&self, resource: Resource, version: u64) -> Option<Vec<Change>> {
        if version < self.compacted {
            return None;
        }
        let from = self.history.partition_point(|change| change.version <= version);
        Some(self.history.range(from..).filter(|change| change.resource == resource).cloned().collect())
    }
}

/// Which objects of a resource somebody wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Empty: of all namespaces.
    pub(crate) namespace: String,
    /// `metadata.name=…`.
    name: Option<String>,
    /// `status.phase!=…`.
    not_phases: Vec<String>,
}

impl Filter {
    /// Reads a field selector, as far as the fake knows them.
    pub(crate) fn read(namespace: &str, fields: &str) -> Result<Self, String> {
        let mut filter = Self { namespace: namespace.to_owned(), name: None, not_phases: Vec::new() };
        for term in fields.split(',').filter(|term| !term.is_empty()) {
            if let Some(name) = term.strip_prefix("metadata.name=") {
                filter.name = Some(name.to_owned());
                continue;
            }
            let phase = term.strip_prefix("status.phase!=");
            let phase = phase.ok_or_else(|| format!("field selector not supported: {term}"))?;
            filter.not_phases.push(phase.to_owned());
        }
        Ok(filter)
    }

    pub(crate) fn matches(&self, stored: &Stored) -> bool {
        (self.namespace.is_empty() || self.namespace == stored.namespace)
            && self.name.as_ref().is_none_or(|name| *name == stored.name)
            && !self.not_phases.contains(&stored.phase)
    }
}
