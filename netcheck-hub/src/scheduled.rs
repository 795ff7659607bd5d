//! The controller of `ReachabilityCheck` objects: begins their rounds when they are due, and writes what they came to into
//! their status, into Events and onto the [`Board`](crate::state::scheduled::Board).
//!
//! In: objects from the API. [`ControllerTask`] is one task; rounds are tasks of its own, which end with it. Cancelling it
//! ends them: the round is begun anew by the next hub at its next time. While the API is away rounds go on as last known, and
//! what could not be written is written when it is back.
//!
//! Where several hubs may run, only the one that holds a Lease begins rounds ([`LeaseSettings`]). While the API is away that
//! is soon nobody; rounds that run go on until it is known that another one leads.

use std::sync::Arc;

use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::controller::Controller;
pub use self::leader::LeaseSettings;
use self::leader::{LeaderTask, Role};
use self::secrets::Secrets;
use crate::serve::check::Checks;
use crate::state::Hub;

mod controller;
mod leader;
mod requested;
mod round;
mod secrets;

/// See the module.
pub struct ControllerTask {
    /// Whose paths are checked.
    pub hub: Arc<Hub>,
    /// Of the API.
    pub client: Client,
    /// What says which of several hubs begins rounds; none: there is no other.
    pub lease: Option<LeaseSettings>,
    /// Names of the Secrets in the client's namespace that texts of checks may be in.
    pub secrets: Vec<String>,
}

impl ControllerTask {
    /// Works until cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { hub, client, lease, secrets } = self;
        let secrets = Secrets::new(&client, secrets);
        let checks = Arc::new(Checks::new(Arc::clone(&hub), shutdown.clone()));
        let controller = |role| {
            Controller::new(Arc::clone(&hub), Arc::clone(&checks), client.clone(), secrets.clone(), role)
        };
        let Some(settings) = lease else {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = controller(None).lead() => {}
            }
            return;
        };
        let (role, mut roles) = watch::channel(Role::Unknown(None));
        let api = Api::namespaced(client.clone(), &settings.namespace);
        let over = CancellationToken::new();
        // Dropped with this task, it goes on until the Lease is given back.
        let leader = tokio::spawn(LeaderTask { api, settings, role }.run(over.clone()));
        let guard = over.drop_guard();
        let work = async {
            loop {
                while roles.borrow_and_update().term().is_none() {
                    hub.scheduled.set_trouble(roles.borrow().trouble());
                    if roles.changed().await.is_err() {
                        return;
                    }
                }
                hub.scheduled.set_trouble(None);
                controller(Some(roles.clone())).lead().await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
        drop(guard);
        // No round of this hub runs any more: another one may begin.
        drop(leader.await);
    }
}
