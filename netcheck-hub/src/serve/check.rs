//! `CheckService.RunCheck`: probe the selected paths now, say how far it is, then one result.
//!
//! The response stream is the check: when its reader goes away, the check is over.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_server::CheckService;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::serve::reachability::invalid;
use crate::state::Hub;
use crate::state::cells::Cell;
use crate::view::report;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, positive, unix_now_ns, wire_duration};
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::selector::Selector;

/// How long a check may take when it says nothing.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest that it may ask for.
const LONGEST: Duration = Duration::from_secs(3600);

/// The service.
pub struct Checks {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
}

impl Checks {
    /// Checks end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(hub: Arc<Hub>, shutdown: CancellationToken) -> Self {
        Self { hub, shutdown }
    }
}

type Progress = Pin<Box<dyn Stream<Item = Result<v1::RunCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CheckService for Checks {
    type RunCheckStream = Progress;

    async fn run_check(&self, request: Request<v1::RunCheckRequest>) -> Result<Response<Progress>, Status> {
        let request = request.into_inner();
        let selector = Selector::read(request.selector).map_err(invalid)?;
        let deadline = positive(request.deadline.as_ref()).unwrap_or(DEADLINE).min(LONGEST);
        let check = Check {
            by_verdict: selector.by_verdict(),
            selector,
            rounds: u64::from(request.rounds.max(1)),
            started: Instant::now(),
            started_ns: unix_now_ns(),
            deadline,
            expedited_ns: 0,
            done: false,
            ticks: self.hub.ticks(),
            hub: Arc::clone(&self.hub),
            shutdown: self.shutdown.clone(),
        };
        let stream = futures::stream::unfold(check, |mut check| async {
            let message = check.next().await?;
            Some((message.map(|message| v1::RunCheckResponse { message: Some(message) }), check))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

struct Check {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
    ticks: watch::Receiver<i64>,
    selector: Selector,
    by_verdict: bool,
    rounds: u64,
    started: Instant,
    started_ns: i64,
    deadline: Duration,
    expedited_ns: i64,
    done: bool,
}

type Message = v1::run_check_response::Message;

impl Check {
    async fn next(&mut self) -> Option<Result<Message, Status>> {
        if self.done {
            return None;
        }
        let deadline = self.started + self.deadline;
        tokio::select! {
            () = self.shutdown.cancelled() => {
                self.done = true;
                return Some(Err(Status::unavailable("the hub is shutting down")));
            }
            () = tokio::time::sleep_until(deadline) => {}
            _ = self.ticks.changed() => {}
        }
        let range = Range { from_ns: self.started_ns, strict: true, now_ns: unix_now_ns() };
        let cells = self.hub.cells(&self.selector.clone().any_verdict(), &range);
        let waiting: Vec<&Cell> = cells.iter().filter(|cell| !self.covered(cell)).collect();
        if waiting.is_empty() || Instant::now() >= deadline {
            self.done = true;
            return Some(Ok(Message::Result(self.result(&cells, &range))));
        }
        self.expedite(&waiting, range.now_ns);
        let failed = |cell: &&Cell| matches!(cell.verdict, Verdict::Unreachable | Verdict::Degraded);
        Some(Ok(Message::Progress(v1::CheckProgress {
            paths_done: (cells.len() - waiting.len()) as u64,
            paths_total: cells.len() as u64,
            failed: cells.iter().filter(failed).count() as u64,
            elapsed: Some(wire_duration(self.started.elapsed())),
        })))
    }

    /// Probed in as many rounds as wanted, or not to be expected to be: its target is meant to be away, or nobody can
    /// probe it. Samples that could not be judged are no round.
    fn covered(&self, cell: &Cell) -> bool {
        let sent = cell.cell.stats.as_ref().map_or(0, |stats| stats.sent);
        sent >= self.rounds || cell.verdict == Verdict::ExpectedAbsent || !cell.probeable
    }

    /// Every second anew, for only windows that begin after the check did count.
    fn expedite(&mut self, waiting: &[&Cell], now_ns: i64) {
        if now_ns - self.expedited_ns < SECOND_NS {
            return;
        }
        self.expedited_ns = now_ns;
        let mut by_agent: HashMap<NodeIx, Vec<u32>> = HashMap::new();
        for cell in waiting {
            by_agent.entry(cell.key.0).or_default().push(cell.key.1);
        }
        let mut state = self.hub.lock();
        for (agent, path_ids) in by_agent {
            state.send(agent, v1::session_response::Message::Expedite(v1::Expedite { path_ids }));
        }
    }

    fn result(&self, cells: &[Cell], range: &Range) -> v1::CheckResult {
        let mut caveats = self.hub.lock().caveats();
        let inactive = self.hub.count_inactive(&self.selector.clone().any_verdict(), range.now_ns);
        if inactive > 0 {
            caveats.push(format!("{inactive} paths are not in turn now and were not checked"));
        }
        let fine = |verdict: Verdict| matches!(verdict, Verdict::Reachable | Verdict::ExpectedAbsent);
        let listed = |cell: &&Cell| {
            if self.by_verdict {
                self.selector.takes_verdict(cell.verdict)
            } else {
                cell.verdict != Verdict::Reachable
            }
        };
        v1::CheckResult {
            passed: cells.iter().all(|cell| fine(cell.verdict)),
            cells: cells.iter().filter(listed).map(|cell| cell.cell.clone()).collect(),
            report: Some(report::build(cells, &[], range, caveats)),
        }
    }
}
