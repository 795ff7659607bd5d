//! The cluster's objects from the Kubernetes API: five kinds, and those that are asked for besides, listed page by page and then watched.
//!
//! In: the API. Out: rosters, and what is wrong with the API, as [`News`]. [`KubernetesTask`] is one task: its
//! followers fill the tables, and whenever something in them changed, a roster is made of them. Nothing is kept
//! of an object but what a roster needs. While the API is away the last state stays, and the hub says since when.
//! Cancelling the task loses nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use netcheck_analysis::cluster::roster::frontend::HttpFrontend;
use netcheck_analysis::cluster::roster::gateway::{Gateway, HttpRoute};
use netcheck_analysis::cluster::roster::{Backend, Node, Pod, ProbeAnnotation, Roster, Service};

use super::{News, Take};

mod client;
mod follow;
mod health;
mod object;
mod table;

pub use client::{ClientError, connect};
pub(crate) use follow::innermost;
pub use health::ApiHealth;
use table::Tables;

/// Changes are taken together for this long: a rolled-out deployment is one new roster, not hundreds.
const GATHER: Duration = Duration::from_millis(100);
/// A roster is made at most for this share of the time, however fast objects change.
const PAUSE_PER_WORK: u32 = 4;

/// Where the API is and how patient to be with it.
#[derive(Clone, Debug)]
pub struct Access {
    /// A kubeconfig; without one, the API of the cluster that the hub's own pod is in.
    pub kubeconfig: Option<PathBuf>,
    /// After this much time without a word a watch is begun anew: how long it takes to notice that the API, or the
    /// way to it, is gone without a good-bye.
    pub watch: Duration,
    /// The first pause after a failure; it doubles up to `longest_pause`.
    pub pause: Duration,
    /// See above.
    pub longest_pause: Duration,
    /// Also follow Ingresses.
    pub ingresses: bool,
    /// Also follow Gateways and HTTPRoutes, where the API has them.
    pub gateways: bool,
    /// How often what the API does not have is looked for.
    pub missing: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            watch: Duration::from_secs(60),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            ingresses: false,
            gateways: false,
            missing: Duration::from_secs(60),
        }
    }
}

/// What the followers fill and the assembler reads.
#[derive(Default)]
struct Shared {
    tables: Mutex<Tables>,
    /// Something in the tables, or about the API, is not as it was.
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the API.
pub struct KubernetesTask {
    take: Take,
    client: Client,
    access: Access,
    health: Arc<ApiHealth>,
    shared: Arc<Shared>,
}

impl KubernetesTask {
    /// Nothing is asked of the API yet. `health` must be the one that `client` was made with.
    #[must_use]
    pub fn new(take: Take, client: Client, access: Access, health: Arc<ApiHealth>) -> Self {
        Self { take, client, access, health, shared: Arc::default() }
    }

    /// Follows the API until cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let follow = async {
            tokio::join!(
                follow::follow::<Node>(&self.client, &self.access, &self.shared, &self.health),
                follow::follow::<Pod>(&self.client, &self.access, &self.shared, &self.health),
                follow::follow::<Service>(&self.client, &self.access, &self.shared, &self.health),
                follow::follow::<(String, Vec<Backend>)>(
                    &self.client,
                    &self.access,
                    &self.shared,
                    &self.health
                ),
                follow::follow::<ProbeAnnotation>(&self.client, &self.access, &self.shared, &self.health),
                async {
                    if self.access.ingresses {
                        follow::follow::<HttpFrontend>(
                            &self.client,
                            &self.access,
                            &self.shared,
                            &self.health,
                        )
                        .await;
                    }
                },
                async {
                    if self.access.gateways {
                        tokio::join!(
                            follow::follow::<Gateway>(&self.client, &self.access, &self.shared, &self.health),
                            follow::follow::<HttpRoute>(
                                &self.client,
                                &self.access,
                                &self.shared,
                                &self.health
                            ),
                        );
                    }
                },
            )
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = follow => {}
            () = self.assemble() => {}
        }
    }

    /// Makes a roster whenever something changed.
    async fn assemble(&self) {
        let mut first = true;
        loop {
            tokio::select! {
                () = self.shared.changed.notified() => tokio::time::sleep(GATHER).await,
                () = self.health.changed() => {}
            }
            let begin = Instant::now();
            let parts = self.shared.lock().take_changed();
            if let Some(parts) = parts {
                let (take, trouble) = (Arc::clone(&self.take), self.health.trouble());
                let made = tokio::task::spawn_blocking(move || {
                    let roster = parts.roster();
                    log(&roster, first);
                    take(News::Roster { roster, trouble });
                });
                if let Err(error) = made.await {
                    tracing::error!("a roster could not be made: {error}");
                    self.health.set("roster", "the roster could not be made of what the API sent".to_owned());
                }
                first = false;
            }
            self.report_state();
            // A change of the API's own state is reported at once; only rosters are paced.
            let pause = begin.elapsed() * PAUSE_PER_WORK;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.health.changed() => self.report_state(),
            }
        }
    }

    fn report_state(&self) {
        let tables = self.shared.lock();
        let ((left_out, so_far), caveat) = (tables.left_out(), tables.caveat());
        drop(tables);
        (self.take)(News::State { trouble: self.health.trouble(), caveat });
        (self.take)(News::LeftOut { left_out, so_far });
    }
}

fn log(roster: &Roster, first: bool) {
    if first {
        tracing::info!("Kubernetes read: {roster}");
    } else {
        tracing::debug!("Kubernetes changed: {roster}");
    }
}
