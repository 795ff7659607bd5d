//! `ReachabilityService`: everything that can be read of the hub.

use std::sync::Arc;

use netcheck_proto::v1;
use netcheck_proto::v1::reachability_service_server::ReachabilityService;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::serve::follow::{ReaderStream, follow};
use crate::serve::past::{history_selector, in_the_past, past_incidents, when};
use crate::state::Hub;
use crate::state::State;
use crate::state::cells::Cell;
use crate::view::inactive::{Chosen, TooMany};
use crate::view::report::{self, conclusion};
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{positive, timestamp, unix_now_ns, wire_duration};
use netcheck_analysis::plan::coverage::Coverage;
use netcheck_analysis::plan::selector::Selector;

mod watch;

use watch::MatrixWatch;

/// The service.
pub struct Reachability {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
}

/// One conversion from what can be wrong with a request.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn invalid(error: netcheck_proto::convert::InvalidField) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(crate) fn too_many(error: TooMany) -> Status {
    Status::resource_exhausted(error.to_string())
}

impl Reachability {
    /// Watches end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(hub: Arc<Hub>, shutdown: CancellationToken) -> Self {
        Self { hub, shutdown }
    }

    /// Whose answers these are.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Hub {
    /// The newest samples that a request asks for.
    #[must_use]
    pub fn range(&self, wire: Option<&prost_types::Duration>) -> Range {
        let length = positive(wire).unwrap_or_else(|| self.settings.default_range());
        Range::newest(length.min(self.settings.expire), unix_now_ns())
    }

    /// The cells that a selector selects, by source and path. Those of one source are of one moment.
    #[must_use]
    pub fn cells(&self, selector: &Selector, range: &Range) -> Vec<Cell> {
        let mut cells = Vec::new();
        self.in_pieces(self.indices(), |state, source| {
            cells.extend(self.cells_of(state, source, selector, range));
        });
        cells
    }

    /// The same of one source.
    fn cells_of(&self, state: &State, source: NodeIx, selector: &Selector, range: &Range) -> Vec<Cell> {
        state.cells_of(source, &state.agent(source).rules(&self.settings.timing), selector, range)
    }

    /// All cells, and how far the other paths are covered.
    pub(crate) fn survey(&self, range: &Range) -> (Vec<Cell>, Coverage) {
        let (mut cells, mut coverage) = (Vec::new(), Coverage::default());
        self.in_pieces(self.indices(), |state, source| {
            cells.extend(self.cells_of(state, source, &Selector::default(), range));
            state.cover(source, &mut coverage, range.now_ns);
        });
        (cells, coverage)
    }

    /// The cells of paths in turn, and of those that are not. Each path of a source is among one of them: both are of one
    /// moment.
    fn measured_and_inactive(
        &self,
        selector: &Selector,
        inactive: &Selector,
        range: &Range,
    ) -> (Vec<Cell>, Vec<v1::MatrixCell>) {
        let mut chosen = self.chosen(inactive);
        let (mut measured, mut rest) = (Vec::new(), Vec::new());
        for source in self.indices() {
            let state = self.lock();
            measured.extend(self.cells_of(&state, source, selector, range));
            let found = state.inactive(source, &mut chosen);
            drop(state);
            let Some(found) = found else { continue };
            rest.extend(found.paths(inactive, range.now_ns).iter().map(|path| found.cell(path)));
        }
        (measured, rest)
    }

    /// The cells of one source, of paths in turn and of others.
    pub(crate) fn matrix_of(
        &self,
        source: NodeIx,
        selector: &Selector,
        chosen: &mut Chosen,
        range: &Range,
    ) -> Vec<v1::MatrixCell> {
        let state = self.lock();
        let cells = self.cells_of(&state, source, selector, range);
        let found = state.inactive(source, chosen);
        drop(state);
        let rest = found.map(|found| {
            let paths = found.paths(selector, range.now_ns);
            paths.iter().map(|path| found.cell(path)).collect::<Vec<_>>()
        });
        cells.into_iter().map(|cell| cell.cell).chain(rest.into_iter().flatten()).collect()
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self, selector: &Selector, range: &Range) -> v1::GetMatrixResponse {
        let (measured, inactive) = self.measured_and_inactive(selector, selector, range);
        let cells: Vec<v1::MatrixCell> = measured.into_iter().map(|cell| cell.cell).chain(inactive).collect();
        v1::GetMatrixResponse {
            generated_at: Some(timestamp(range.now_ns)),
            range: Some(wire_duration(range.length())),
            conclusion: conclusion::of(cells.iter().map(v1::MatrixCell::verdict)).into(),
            cells,
            past: None,
        }
    }

    /// The report over all paths.
    #[must_use]
    pub fn report(&self, range: &Range) -> v1::Report {
        let (cells, coverage) = self.survey(range);
        let state = self.lock();
        let unjudged = state.roster.unjudged();
        let incidents = state.incidents.open();
        drop(state);
        let caveats = self.caveats();
        let reaches = self.reaches();
        let mut report =
            v1::Report { unjudged, reaches, ..report::build(&cells, &incidents, range, caveats) };
        report::add_inactive(&mut report, &coverage, self.settings.rotation.cover);
        report
    }
}

#[tonic::async_trait]
impl ReachabilityService for Reachability {
    type WatchMatrixStream = ReaderStream<v1::WatchMatrixResponse>;

    type WatchIncidentsStream = ReaderStream<v1::WatchIncidentsResponse>;

    async fn get_version(
        &self,
        _: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        Ok(Response::new(self.hub.version()))
    }

    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        let request = request.into_inner();
        if let Some(past) = past_incidents(&self.hub, request).await? {
            return Ok(Response::new(past));
        }
        if request.explain {
            self.hub.lock().culprits.demand(unix_now_ns());
        }
        Ok(Response::new(self.hub.incidents(request.include_closed)))
    }

    async fn watch_incidents(
        &self,
        request: Request<v1::WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        let changes_only = request.into_inner().changes_only;
        Ok(Response::new(self.hub.watch_incidents(changes_only, self.shutdown.clone())))
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        Ok(Response::new(v1::ListNodesResponse { nodes: self.hub.nodes() }))
    }

    async fn list_targets(
        &self,
        _: Request<v1::ListTargetsRequest>,
    ) -> Result<Response<v1::ListTargetsResponse>, Status> {
        let catalog = Arc::clone(&self.hub.lock().catalog);
        let targets = catalog.targets().map(|target| target.to_wire()).collect();
        Ok(Response::new(v1::ListTargetsResponse { targets, left_out: catalog.left_out.to_vec() }))
    }

    async fn get_matrix(
        &self,
        request: Request<v1::GetMatrixRequest>,
    ) -> Result<Response<v1::GetMatrixResponse>, Status> {
        let request = request.into_inner();
        let selector = Selector::read(request.selector).map_err(invalid)?;
        let span = (request.from.as_ref(), request.to.as_ref());
        if let Some(when) = when(&self.hub, request.at.as_ref(), span, request.range.as_ref())? {
            let ask = move |hub: &Hub, when| hub.past_matrix(&selector, &when);
            return Ok(Response::new(in_the_past(&self.hub, when, ask).await?));
        }
        self.hub.fits(&selector).map_err(too_many)?;
        Ok(Response::new(self.hub.matrix(&selector, &self.hub.range(request.range.as_ref()))))
    }

    async fn watch_matrix(
        &self,
        request: Request<v1::WatchMatrixRequest>,
    ) -> Result<Response<Self::WatchMatrixStream>, Status> {
        let request = request.into_inner();
        let selector = Selector::read(request.selector).map_err(invalid)?;
        if !request.changes_only {
            self.hub.fits(&selector).map_err(too_many)?;
        }
        let watch = MatrixWatch::new(Arc::clone(&self.hub), selector, request.range, request.changes_only);
        Ok(Response::new(follow(watch, self.hub.ticks(), self.shutdown.clone())))
    }

    async fn get_path(
        &self,
        request: Request<v1::GetPathRequest>,
    ) -> Result<Response<v1::GetPathResponse>, Status> {
        let request = request.into_inner();
        if request.source.is_empty() || request.target.is_empty() {
            return Err(Status::invalid_argument("source and target are both needed"));
        }
        let range = self.hub.range(request.range.as_ref());
        let selector = Selector::read(request.selector).map_err(invalid)?;
        let selector = selector.between(&request.source, &request.target);
        let span = (request.from.as_ref(), request.to.as_ref());
        if let Some(when) = when(&self.hub, request.at.as_ref(), span, request.range.as_ref())? {
            let ask = move |hub: &Hub, when| hub.past_path(&selector, &when);
            return Ok(Response::new(in_the_past(&self.hub, when, ask).await?));
        }
        let mut chosen = self.hub.chosen(&selector);
        let mut paths: Vec<v1::PathDetail> = Vec::new();
        let mut findings = Vec::new();
        let mut state = self.hub.lock();
        let source = state.find(&request.source);
        if let Some(source) = source {
            let cells = self.hub.cells_of(&state, source, &selector, &range);
            findings = report::findings(&cells, &state.incidents.open());
            paths.extend(cells.into_iter().filter_map(|cell| {
                let row = state.agent(source).rows.get(netcheck_common::domain::PathId(cell.key.1))?;
                Some(state.detail(source, row, cell.verdict, &range))
            }));
            if let Some(inactive) = state.inactive(source, &mut chosen) {
                drop(state);
                let found = inactive.paths(&selector, range.now_ns);
                state = self.hub.lock();
                for path in found {
                    state.ask_for(source, inactive.target(&path), range.now_ns);
                    paths.push(v1::PathDetail { cell: Some(inactive.cell(&path)), ..Default::default() });
                }
            }
        }
        if paths.is_empty() {
            let why =
                if source.is_some() { "is probed to no such target" } else { "is no node of the cluster" };
            return Err(Status::not_found(format!(
                "no path from {} to {}: {} {why}",
                request.source, request.target, request.source
            )));
        }
        drop(state);
        let cells = paths.iter().filter_map(|path| path.cell.as_ref());
        Ok(Response::new(v1::GetPathResponse {
            generated_at: Some(timestamp(range.now_ns)),
            findings,
            conclusion: conclusion::of(cells.map(v1::MatrixCell::verdict)).into(),
            paths,
            past: None,
        }))
    }

    async fn get_path_history(
        &self,
        request: Request<v1::GetPathHistoryRequest>,
    ) -> Result<Response<v1::GetPathHistoryResponse>, Status> {
        let request = request.into_inner();
        let selector = history_selector(&request).map_err(invalid)?;
        let ask = move |hub: &Hub, request| hub.path_history(&request, &selector);
        Ok(Response::new(in_the_past(&self.hub, request, ask).await?))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let events =
            in_the_past(&self.hub, request.into_inner(), |hub, request| hub.events(&request)).await?;
        Ok(Response::new(events))
    }

    async fn get_report(
        &self,
        request: Request<v1::GetReportRequest>,
    ) -> Result<Response<v1::GetReportResponse>, Status> {
        let request = request.into_inner();
        let span = (request.from.as_ref(), request.to.as_ref());
        if let Some(when) = when(&self.hub, request.at.as_ref(), span, request.range.as_ref())? {
            let report = in_the_past(&self.hub, when, |hub, when| hub.past_report(&when)).await?;
            return Ok(Response::new(v1::GetReportResponse { report: Some(report) }));
        }
        let range = self.hub.range(request.range.as_ref());
        Ok(Response::new(v1::GetReportResponse { report: Some(self.hub.report(&range)) }))
    }
}
