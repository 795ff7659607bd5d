//! `CheckService.RunCheck`: probe the selected paths now, say how far it is, then one result.
//!
//! The response stream is the check: when its reader goes away, the check is over. A check asks agents to probe what is due
//! anyway sooner, and waits for the turns of the rest: it never makes an agent probe more than its plan does.

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
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns, wire_duration};

mod haste;
mod pace;
mod result;
mod scheduled;
mod survey;
mod wanted;

pub use haste::Haste;
use result::Gathering;
use survey::{Since, Survey, settled_ns};
use wanted::Wanted;

/// How long a check may take at least when it says nothing.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a check waits, after all was probed, for incidents that explain what is lost: they open when a cause was seen
/// in several evaluations, of one a second.
const EXPLAINED: Duration = Duration::from_secs(6);
/// A check looks at all paths again after this many times as long as it took: the hub has other work.
const PAUSE: u32 = 10;

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

    /// Begins a check; with haste it lasts as long as that says.
    ///
    /// # Errors
    /// A request that makes no sense.
    pub(crate) fn begin(
        &self,
        request: &v1::RunCheckRequest,
        haste: Option<Haste>,
    ) -> Result<Progress, Status> {
        let wanted = Wanted::read(request).map_err(invalid)?;
        let check = Check {
            wanted: Arc::new(wanted),
            haste,
            started: Instant::now(),
            started_ns: unix_now_ns(),
            timing: None,
            looked: None,
            expedited_ns: 0,
            probed: None,
            stage: Stage::Probing,
            ticks: self.hub.ticks(),
            hub: Arc::clone(&self.hub),
            shutdown: self.shutdown.clone(),
        };
        let stream = futures::stream::unfold(check, |mut check| async {
            let message = check.next().await?;
            Some((message.map(|message| v1::RunCheckResponse { message: Some(message) }), check))
        });
        Ok(Box::pin(stream))
    }
}

type Progress = Pin<Box<dyn Stream<Item = Result<v1::RunCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CheckService for Checks {
    type RunCheckStream = Progress;

    async fn run_check(&self, request: Request<v1::RunCheckRequest>) -> Result<Response<Progress>, Status> {
        Ok(Response::new(self.begin(request.get_ref(), None)?))
    }

    async fn list_scheduled_checks(
        &self,
        request: Request<v1::ListScheduledChecksRequest>,
    ) -> Result<Response<v1::ListScheduledChecksResponse>, Status> {
        let name = request.into_inner().name;
        let listed = scheduled::list(&self.hub.scheduled, &name);
        listed.map(Response::new).ok_or_else(|| {
            Status::not_found(format!(
                "there is no ReachabilityCheck {name:?}: `kubectl get reachabilitychecks` lists them"
            ))
        })
    }
}

/// Where a check is.
enum Stage {
    Probing,
    Answering(Box<Gathering>),
    Over,
}

struct Check {
    hub: Arc<Hub>,
    shutdown: CancellationToken,
    ticks: watch::Receiver<i64>,
    wanted: Arc<Wanted>,
    /// How long it lasts, and how many probes it wants meanwhile.
    haste: Option<Haste>,
    started: Instant,
    started_ns: i64,
    /// How long it is expected to take, and when it gives up. None before the first look.
    timing: Option<(Duration, Duration)>,
    /// When the newest look began and ended.
    looked: Option<(Instant, Instant)>,
    expedited_ns: i64,
    /// Since when nothing is waited for.
    probed: Option<Instant>,
    stage: Stage,
}

type Message = v1::run_check_response::Message;

impl Check {
    async fn next(&mut self) -> Option<Result<Message, Status>> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Probing => self.probe().await,
            Stage::Answering(gathering) => Some(self.next_message(gathering).await),
            Stage::Over => None,
        }
    }

    async fn probe(&mut self) -> Option<Result<Message, Status>> {
        if let Err(ends) = self.pause().await {
            return Some(Err(ends));
        }
        let began = Instant::now();
        let range = Range { from_ns: self.started_ns, strict: true, now_ns: unix_now_ns() };
        let since = Since { range, turn_ns: settled_ns(&self.hub, self.started_ns) };
        let (hub, wanted) = (Arc::clone(&self.hub), Arc::clone(&self.wanted));
        let due = range.now_ns - self.expedited_ns >= SECOND_NS;
        let (haste, elapsed) = (self.haste.filter(|_| due), self.started.elapsed());
        let look = move || {
            if let Some(haste) = haste {
                haste.hasten(&hub, &wanted, elapsed);
            }
            (Survey::take(&hub, &wanted, &since), since)
        };
        let (survey, since) = match apart(look).await {
            Ok(looked) => looked,
            Err(status) => return Some(Err(status)),
        };
        self.looked = Some((began, Instant::now()));
        let (expected, deadline) = *self.timing.get_or_insert_with(|| {
            let lasts = self.haste.map(|haste| haste.whole(&self.hub, &survey));
            let expected = survey.expected(&self.hub, &self.wanted).max(lasts.unwrap_or_default());
            (expected, self.wanted.deadline.unwrap_or_else(|| DEADLINE.max(expected.saturating_mul(2))))
        });
        let late = self.started.elapsed() >= deadline;
        let is_hastened =
            self.haste.is_some_and(|haste| self.started.elapsed() < haste.whole(&self.hub, &survey));
        if late || (!is_hastened && survey.is_done() && self.is_explained(&survey)) {
            let gathering = Box::new(Gathering::begin(&self.hub, since, survey));
            return Some(self.next_message(gathering).await);
        }
        self.expedite(&survey, since.range.now_ns);
        self.stage = Stage::Probing;
        Some(Ok(Message::Progress(v1::CheckProgress {
            expected: Some(wire_duration(expected)),
            deadline: Some(wire_duration(deadline)),
            ..survey.progress(self.started.elapsed())
        })))
    }

    /// Until it is worth looking again: not at all before the first look.
    async fn pause(&mut self) -> Result<(), Status> {
        let Some((began, ended)) = self.looked else { return Ok(()) };
        let next = ended + (ended - began) * PAUSE;
        let deadline = self.timing.map_or(ended, |(_, deadline)| self.started + deadline);
        let waited = async {
            tokio::time::sleep_until(next.min(deadline)).await;
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                _ = self.ticks.changed() => {}
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => Err(Status::unavailable("the hub is shutting down")),
            () = waited => Ok(()),
        }
    }

    /// Whether incidents explain all that is lost, or it was waited for them long enough.
    fn is_explained(&mut self, survey: &Survey) -> bool {
        let probed = *self.probed.get_or_insert_with(Instant::now);
        if survey.bad.is_empty() || probed.elapsed() >= EXPLAINED {
            return true;
        }
        let state = self.hub.lock();
        let mut left = survey.bad.clone();
        for (_, paths) in state.incidents.open_paths() {
            for path in paths {
                left.remove(&path);
            }
        }
        left.is_empty()
    }

    /// Every second anew, for only windows that begin after the check did count.
    fn expedite(&mut self, survey: &Survey, now_ns: i64) {
        if now_ns - self.expedited_ns < SECOND_NS {
            return;
        }
        self.expedited_ns = now_ns;
        let waiting: &Vec<(NodeIx, Vec<u32>)> = &survey.waiting;
        self.hub.in_pieces(waiting.iter(), |state, (agent, path_ids)| {
            let path_ids = path_ids.clone();
            state.send(*agent, v1::session_response::Message::Expedite(v1::Expedite { path_ids }));
        });
        self.hub.in_pieces(survey.asked.iter(), |state, (agent, targets)| {
            for target in targets {
                state.ask_for(*agent, target, now_ns);
            }
        });
    }

    /// Cells while there are any, then the result.
    async fn next_message(&mut self, mut gathering: Box<Gathering>) -> Result<Message, Status> {
        let (hub, wanted) = (Arc::clone(&self.hub), Arc::clone(&self.wanted));
        let gather = move || match gathering.cells(&hub, &wanted) {
            Some(cells) => (Message::Cells(cells), Stage::Answering(gathering)),
            None => {
                let result = gathering.end(&hub, &wanted);
                if let Some(archive) = &hub.archive {
                    archive.record_check("", &result, unix_now_ns());
                }
                (Message::Result(result), Stage::Over)
            }
        };
        let (message, stage) = apart(gather).await?;
        self.stage = stage;
        Ok(message)
    }
}

/// Does something that takes long where many paths are, apart from the tasks: a connection whose task is busy for seconds does
/// not answer its reader's pings, nor sees that its own were answered.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|failed| Status::internal(format!("the check failed: {failed}")))
}
