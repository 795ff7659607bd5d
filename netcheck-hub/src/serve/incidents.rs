//! Incidents for readers: the list, and a watch that tells what changed since it last looked.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcheck_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::serve::follow::{Follow, Told, follow};
use crate::state::Hub;
use netcheck_analysis::incident::Incident;
use netcheck_analysis::model::clock::{timestamp, unix_now_ns};

impl Hub {
    /// The incidents as the newest evaluation left them.
    #[must_use]
    pub fn incidents(&self, include_closed: bool) -> v1::ListIncidentsResponse {
        let state = self.lock();
        let mut incidents: Vec<v1::Incident> =
            state.incidents.open().into_iter().map(|incident| incident.wire).collect();
        if include_closed {
            incidents.extend(state.incidents.closed().map(|incident| incident.wire.clone()));
        }
        drop(state);
        v1::ListIncidentsResponse { generated_at: Some(timestamp(unix_now_ns())), incidents }
    }

    /// Follows them until `shutdown` is cancelled. A reader that is slow misses states in between, never the newest.
    #[must_use]
    pub fn watch_incidents(
        self: &Arc<Self>,
        changes_only: bool,
        shutdown: CancellationToken,
    ) -> Told<v1::WatchIncidentsResponse> {
        let watch = Watch { hub: Arc::clone(self), changes_only, known: BTreeMap::new(), revision: 0 };
        follow(watch, self.ticks(), shutdown)
    }
}

struct Watch {
    hub: Arc<Hub>,
    changes_only: bool,
    /// Revisions of the open incidents that were told.
    known: BTreeMap<String, u64>,
    revision: u64,
}

fn told(incident: v1::Incident) -> v1::WatchIncidentsResponse {
    v1::WatchIncidentsResponse { incident: Some(incident), initial_done: false }
}

impl Follow for Watch {
    type Message = v1::WatchIncidentsResponse;

    fn first(&mut self) -> Vec<v1::WatchIncidentsResponse> {
        let state = self.hub.lock();
        let open = state.incidents.open();
        self.revision = state.incidents.revision();
        drop(state);
        self.known = revisions(&open);
        let open = open.into_iter().filter(|_| !self.changes_only);
        let mut pass: Vec<v1::WatchIncidentsResponse> = open.map(|incident| told(incident.wire)).collect();
        pass.push(v1::WatchIncidentsResponse { incident: None, initial_done: true });
        pass
    }

    fn changes(&mut self) -> Vec<v1::WatchIncidentsResponse> {
        let state = self.hub.lock();
        let revision = state.incidents.revision();
        if revision == self.revision {
            return Vec::new();
        }
        let open = state.incidents.open();
        // Those that opened and closed between two looks are told once, closed.
        let seen = self.revision;
        let mut closed: Vec<v1::Incident> = state
            .incidents
            .closed()
            .take_while(|incident| incident.revision > seen)
            .map(|incident| incident.wire.clone())
            .collect();
        drop(state);
        self.revision = revision;
        closed.reverse();
        let known = std::mem::replace(&mut self.known, revisions(&open));
        let changed =
            open.into_iter().filter(|incident| known.get(&incident.wire.id) != Some(&incident.revision));
        changed.map(|incident| incident.wire).chain(closed).map(told).collect()
    }
}

fn revisions(open: &[Incident]) -> BTreeMap<String, u64> {
    open.iter().map(|incident| (incident.wire.id.clone(), incident.revision)).collect()
}
