//! Incidents that were open when the hub ended: they stay open under their ids until their paths are measured again, and
//! are then found again, or close as any other does.

use std::collections::BTreeSet;

use netcheck_common::domain::PathId;

use super::{Entry, IncidentTracker, OPEN_AFTER, PathKey};
use crate::incident::{Incident, PathOf};
use crate::model::incident::IncidentKind;

impl IncidentTracker {
    /// Takes an open incident over. It is held until [`IncidentTracker::release`], or until it is found again.
    pub fn restore(&mut self, incident: Incident) {
        self.revision += 1;
        let mut entry = Entry {
            key: incident.cause.clone(),
            paths: BTreeSet::new(),
            open: true,
            seen: OPEN_AFTER,
            missed: 0,
            unmeasured: 0,
            part: false,
            slow: false,
            held: true,
            incident: Incident { revision: self.revision, closed_ns: None, ..incident },
        };
        entry.name_paths();
        self.current.push(entry);
    }

    /// Those that are held, with their paths as they were recorded.
    pub fn held(&self) -> impl Iterator<Item = (&str, &[PathOf])> {
        let held = self.current.iter().filter(|entry| entry.held);
        held.map(|entry| (&*entry.incident.id, &entry.incident.paths[..]))
    }

    /// Its paths as they are called now: what is found may be another reading of the same.
    pub fn rename(&mut self, id: &str, paths: Vec<PathOf>) {
        let held = self.current.iter_mut().find(|entry| entry.held && entry.incident.id == id);
        if let Some(entry) = held {
            entry.incident.paths = paths;
            entry.name_paths();
        }
    }

    /// Its paths are measured again: from now on it closes when it is not found.
    pub fn release(&mut self, id: &str) {
        for entry in self.current.iter_mut().filter(|entry| entry.incident.id == id) {
            entry.held = false;
        }
    }
}

impl Entry {
    fn name_paths(&mut self) {
        let large = self.incident.kind == IncidentKind::Mtu;
        let key = |of: &PathOf| {
            let PathId(id) = of.path.id;
            (id != 0).then(|| PathKey::of(&of.source, &of.path, large))
        };
        self.paths = self.incident.paths.iter().filter_map(key).collect();
    }
}
