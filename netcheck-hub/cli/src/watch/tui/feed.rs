//! What the hub sends of the nodes that are shown, with a connection that is made again when it is lost.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use netcheck_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Streaming;

use crate::args::Global;
use crate::connect::Hub;
use crate::{answer, refused};

/// How often the nodes are asked for, and the cells anew: what left the plan is not sent by a watch.
const ANEW: Duration = Duration::from_secs(30);
/// The screen moves on while somebody scrolls: then cells are asked for where it stays.
const STAYS: Duration = Duration::from_millis(250);
/// Until a lost hub is asked again; each time longer, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long it is waited each time, without end.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_factor(1.6)
        .without_max_times()
        .build()
}

/// The nodes that are shown: rows, and columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) sources: Vec<String>,
    pub(super) targets: Vec<String>,
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// All nodes.
    Nodes(Vec<v1::Node>),
    /// Cells of this window follow, all of them.
    Cells(Window),
    /// One of them.
    Cell(Box<v1::MatrixCell>),
    /// All of them were sent; from now on, what changes.
    Whole,
    /// All incidents that are open follow.
    Incidents,
    /// One that is open, changed or closed.
    Incident(Box<v1::Incident>),
    /// The hub is gone, and why.
    Lost(String),
    /// It is there.
    Back,
}

/// Nobody wants to hear any more.
struct Unwanted;

/// See the file.
pub(super) struct Feed<'a> {
    pub(super) global: &'a Global,
    /// What else is selected.
    pub(super) selector: v1::PathSelector,
    pub(super) wanted: watch::Receiver<Window>,
    pub(super) sender: mpsc::Sender<News>,
}

impl Feed<'_> {
    /// Runs until nobody wants it.
    pub(super) async fn run(mut self) {
        let mut pauses = pauses();
        loop {
            let began = Instant::now();
            let lost = match Hub::connect(self.global).await {
                Ok(hub) => self.follow(&hub).await,
                Err(error) => Ok(error),
            };
            let Ok(lost) = lost else { return };
            if began.elapsed() > LONGEST_PAUSE {
                pauses = self::pauses();
            }
            if self.pass_on(News::Lost(format!("{lost:#}"))).await.is_err() {
                return;
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    async fn pass_on(&self, news: News) -> Result<(), Unwanted> {
        self.sender.send(news).await.map_err(|_unsent| Unwanted)
    }

    /// Passes on what this hub sends; returns why it sends no more.
    async fn follow(&mut self, hub: &Hub) -> Result<anyhow::Error, Unwanted> {
        let request = v1::WatchIncidentsRequest { changes_only: false };
        let mut incidents = match hub.reachability().watch_incidents(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Ok(refused(status)),
        };
        self.pass_on(News::Back).await?;
        self.pass_on(News::Incidents).await?;
        loop {
            let nodes = match answer(hub.reachability().list_nodes(v1::ListNodesRequest {})).await {
                Ok(nodes) => nodes.nodes,
                Err(error) => return Ok(error),
            };
            self.pass_on(News::Nodes(nodes)).await?;
            let window = self.wanted.borrow_and_update().clone();
            let opened = match window.sources.is_empty() || window.targets.is_empty() {
                true => Ok(None),
                false => self.open(hub, &window).await.map(Some),
            };
            let mut cells = match opened {
                Ok(cells) => cells,
                Err(error) => return Ok(error),
            };
            if cells.is_some() {
                self.pass_on(News::Cells(window)).await?;
            }
            if let Some(lost) = self.pass(&mut cells, &mut incidents).await? {
                return Ok(lost);
            }
        }
    }

    async fn open(&self, hub: &Hub, window: &Window) -> anyhow::Result<Streaming<v1::WatchMatrixResponse>> {
        let selector = v1::PathSelector {
            sources: window.sources.clone(),
            targets: window.targets.clone(),
            target_kinds: vec![v1::TargetKind::Node.into()],
            ..self.selector.clone()
        };
        let request = v1::WatchMatrixRequest { selector: Some(selector), ..Default::default() };
        Ok(hub.reachability().watch_matrix(request).await.map_err(refused)?.into_inner())
    }

    /// Passes on what comes until all is to be asked for anew; else returns why nothing comes any more.
    async fn pass(
        &mut self,
        cells: &mut Option<Streaming<v1::WatchMatrixResponse>>,
        incidents: &mut Streaming<v1::WatchIncidentsResponse>,
    ) -> Result<Option<anyhow::Error>, Unwanted> {
        let anew = tokio::time::sleep(ANEW);
        tokio::pin!(anew);
        loop {
            tokio::select! {
                () = &mut anew => return Ok(None),
                changed = self.wanted.changed() => {
                    changed.map_err(|_closed| Unwanted)?;
                    tokio::time::sleep(STAYS).await;
                    return Ok(None);
                }
                received = next(cells) => match received {
                    Ok(v1::WatchMatrixResponse { cell: Some(cell), .. }) => {
                        self.pass_on(News::Cell(Box::new(cell))).await?;
                    }
                    Ok(_) => self.pass_on(News::Whole).await?,
                    Err(lost) => return Ok(Some(lost)),
                },
                received = incidents.message() => match received.map_err(refused) {
                    Ok(Some(v1::WatchIncidentsResponse { incident: Some(incident), .. })) => {
                        self.pass_on(News::Incident(Box::new(incident))).await?;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(Some(anyhow::anyhow!("the hub ended the watch"))),
                    Err(lost) => return Ok(Some(lost)),
                },
            }
        }
    }
}

/// The next cell; never, where none are asked for.
async fn next(
    cells: &mut Option<Streaming<v1::WatchMatrixResponse>>,
) -> anyhow::Result<v1::WatchMatrixResponse> {
    match cells {
        Some(cells) => {
            let received = cells.message().await.map_err(refused)?;
            received.ok_or_else(|| anyhow::anyhow!("the hub ended the watch"))
        }
        None => std::future::pending().await,
    }
}
