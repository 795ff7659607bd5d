//! Incidents for readers: the list, and a watch that sends what changed since it last looked.

use std::collections::BTreeMap;
use std::sync::Arc;

use netcheck_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::serve::follow::{Follow, ReaderStream, follow};
use crate::state::Hub;
use netcheck_analysis::incident::Incident;
use netcheck_analysis::model::clock::{timestamp, unix_now_ns};
use netcheck_analysis::wire;

impl Hub {
    /// The incidents as the newest evaluation left them.
    #[must_use]
    pub fn incidents(&self, include_closed: bool) -> v1::ListIncidentsResponse {
        let state = self.lock();
        let mut incidents = state.incidents.open();
        if include_closed {
            incidents.extend(state.incidents.closed().cloned());
        }
        drop(state);
        let incidents = incidents.iter().map(wire::incident).collect();
        v1::ListIncidentsResponse { generated_at: Some(timestamp(unix_now_ns())), incidents, past: None }
    }

    /// Follows them until `shutdown` is cancelled. A reader that is slow misses states in between, never the newest.
    #[must_use]
    pub fn watch_incidents(
        self: &Arc<Self>,
        changes_only: bool,
        shutdown: CancellationToken,
    ) -> ReaderStream<v1::WatchIncidentsResponse> {
        let watch = Watch { hub: Arc::clone(self), changes_only, known: BTreeMap::new(), revision: 0 };
        follow(watch, self.ticks(), shutdown)
    }
}

struct Watch {
    hub: Arc<Hub>,
    changes_only: bool,
    /// Revisions of the open incidents that were sent.
    known: BTreeMap<String, u64>,
    revision: u64,
}

fn message(incident: &Incident) -> v1::WatchIncidentsResponse {
    v1::WatchIncidentsResponse { incident: Some(wire::incident(incident)), initial_done: false }
}

impl Follow for Watch {
    type Message = v1::WatchIncidentsResponse;

    fn first(&mut self) -> Vec<v1::WatchIncidentsResponse> {
        let state = self.hub.lock();
        let open = state.incidents.open();
        self.revision = state.incidents.revision();
        drop(state);
        self.known = revisions(&open);
        let open = open.iter().filter(|_| !self.changes_only);
        let mut pass: Vec<v1::WatchIncidentsResponse> = open.map(message).collect();
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
        // Those that opened and closed between two looks are sent once, closed.
        let seen = self.revision;
        let mut closed: Vec<Incident> =
            state.incidents.closed().take_while(|incident| incident.revision > seen).cloned().collect();
        drop(state);
        self.revision = revision;
        closed.reverse();
        let known = std::mem::replace(&mut self.known, revisions(&open));
        let changed = open.iter().filter(|incident| known.get(&incident.id) != Some(&incident.revision));
        changed.chain(&closed).map(message).collect()
    }
}

fn revisions(open: &[Incident]) -> BTreeMap<String, u64> {
    open.iter().map(|incident| (incident.id.clone(), incident.revision)).collect()
}
