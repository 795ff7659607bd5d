//! Incidents out of history: as they were recorded last by an instant.

use std::collections::{BTreeMap, HashMap};

use netcheck_analysis::incident::Incident;
use netcheck_analysis::model::clock::{timestamp, unix_now_ns};
use netcheck_history::record::IncidentRevision;
use netcheck_proto::v1;
use prost::Message as _;

use super::{Past, PastError, When, span};
use crate::state::Hub;
use crate::state::history::Archive;
use netcheck_analysis::wire;

/// Incidents that were open.
pub(crate) struct Recorded {
    /// For the report: their paths have the numbers of the cells.
    pub(crate) own: Vec<Incident>,
    /// As they were shown to readers, worst first.
    pub(crate) recorded: Vec<v1::Incident>,
}

/// A path as it is written in incidents.
fn key(path: &v1::Path) -> (String, i32, String, i32, String, u32, String) {
    let target = path.target.as_ref().map_or("", |target| target.id.as_str());
    let (source, address) = (path.source_node.clone(), path.address.clone());
    (source, path.vantage, target.to_owned(), path.kind, address, path.port, path.detail.clone())
}

/// The newest revision of each.
fn newest(revisions: Vec<IncidentRevision>) -> BTreeMap<String, IncidentRevision> {
    revisions.into_iter().map(|revision| (revision.id.clone(), revision)).collect()
}

fn read(revision: &IncidentRevision) -> Option<v1::Incident> {
    v1::Incident::decode(&*revision.body).ok()
}

/// Worst first, as live ones are; open ones before those that closed.
fn sort(incidents: &mut [v1::Incident]) {
    incidents.sort_by_key(|incident| {
        let closed = incident.state() == v1::IncidentState::Closed;
        let paths = incident.path_count.max(incident.paths.len() as u64);
        let unreachable = incident.verdict() == v1::Verdict::Unreachable;
        (closed, !unreachable, std::cmp::Reverse(paths), incident.id.clone())
    });
}

impl Archive {
    /// Incidents that were open at an instant; none where nobody judged then.
    fn open_at(&self, at_ns: i64) -> Result<Vec<v1::Incident>, PastError> {
        if !self.silence(at_ns).is_empty() {
            return Ok(Vec::new());
        }
        let revisions = newest(self.reader.incidents(at_ns, at_ns.saturating_add(1))?);
        let open = revisions
            .values()
            .filter(|revision| revision.closed_ns.is_none_or(|closed_ns| closed_ns > at_ns));
        let mut open: Vec<v1::Incident> = open.filter_map(read).collect();
        sort(&mut open);
        Ok(open)
    }
}

impl Hub {
    pub(crate) fn past_incidents_of(&self, past: &Past, when: &When) -> Result<Recorded, PastError> {
        let recorded = self.archive()?.open_at(when.at_ns)?;
        let numbers: HashMap<_, u32> = match recorded.is_empty() {
            true => HashMap::new(),
            false => past
                .cells
                .iter()
                .filter_map(|cell| Some((key(cell.cell.path.as_ref()?), cell.key.1)))
                .collect(),
        };
        let number = |path: &v1::Path| numbers.get(&key(path)).copied().unwrap_or(u32::MAX);
        let own = recorded.iter().filter_map(|incident| wire::read_incident(incident, number)).collect();
        Ok(Recorded { own, recorded })
    }

    /// The incidents of an instant, or of a time.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn past_incidents(
        &self,
        request: &v1::ListIncidentsRequest,
    ) -> Result<Option<v1::ListIncidentsResponse>, PastError> {
        let now_ns = unix_now_ns();
        let (from, to) = (request.from.as_ref(), request.to.as_ref());
        let Some(when) = self.when(request.at.as_ref(), (from, to), None, now_ns)? else { return Ok(None) };
        let archive = self.archive()?;
        let mut view = v1::PastView {
            at: Some(timestamp(when.at_ns)),
            no_data: archive.silence(when.at_ns),
            ..Default::default()
        };
        let incidents = if request.at.is_some() {
            archive.open_at(when.at_ns)?
        } else {
            let (from_ns, _) = span(from, to, now_ns)?;
            let from_ns = from_ns.unwrap_or(archive.began_ns);
            view.from = Some(timestamp(from_ns));
            view.to = Some(timestamp(when.at_ns));
            // Of a time in which the hub was away now and then there is something to say.
            view.no_data = String::new();
            let revisions = newest(archive.reader.incidents(from_ns, when.at_ns.saturating_add(1))?);
            let mut incidents: Vec<v1::Incident> = revisions.values().filter_map(read).collect();
            sort(&mut incidents);
            incidents
        };
        let generated_at = Some(timestamp(when.at_ns));
        Ok(Some(v1::ListIncidentsResponse { generated_at, incidents, past: Some(view) }))
    }
}
