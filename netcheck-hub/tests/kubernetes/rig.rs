//! A hub that follows a fake API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use netcheck_analysis::cluster::inventory;
use netcheck_analysis::cluster::roster::Roster;
use netcheck_hub::inventory::kubernetes::{Access, ApiHealth, KubernetesTask, connect};
use netcheck_hub::state::Hub;
use netcheck_hub::state::Settings;
use netcheck_hub::state::State;
use netcheck_kubefake::FakeApi;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Three nodes, one pod each, a service with two backends, a DNS server.
pub(crate) const CLUSTER: &str = include_str!("../hub/cluster.yaml");
/// Anything that takes longer has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) fake: FakeApi,
    pub(crate) hub: Arc<Hub>,
    shutdown: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn cluster() -> Value {
    serde_saphyr::from_str(CLUSTER).unwrap()
}

pub(crate) fn from_file(list: &Value) -> Roster {
    inventory::parse(Path::new("test.json"), &list.to_string()).unwrap().roster()
}

pub(crate) fn hub() -> Arc<Hub> {
    Hub::new(Settings::every(Duration::from_secs(1)))
}

/// How the tests treat the API: impatiently.
pub(crate) fn access(folder: &Path, fake: &FakeApi) -> Access {
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
    Access {
        kubeconfig: Some(kubeconfig),
        watch: DEADLINE,
        pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(100),
        missing: Duration::from_millis(20),
        ingresses: false,
        gateways: false,
    }
}

impl Rig {
    /// Of a cluster as in the file.
    pub(crate) async fn start() -> Self {
        Self::start_with(|fake| fake.load(&cluster())).await
    }

    pub(crate) async fn start_with(prepare: impl FnOnce(&FakeApi)) -> Self {
        Self::start_watching(DEADLINE, prepare).await
    }

    /// With watches that end after a while.
    pub(crate) async fn start_watching(watch: Duration, prepare: impl FnOnce(&FakeApi)) -> Self {
        Self::start_as(|access| Access { watch, ..access }, prepare).await
    }

    /// With other access.
    pub(crate) async fn start_as(
        other: impl FnOnce(Access) -> Access,
        prepare: impl FnOnce(&FakeApi),
    ) -> Self {
        let fake = FakeApi::start().await.unwrap();
        prepare(&fake);
        let (hub, shutdown) = (hub(), CancellationToken::new());
        let folder = tempfile::tempdir().unwrap();
        let access = other(access(folder.path(), &fake));
        let health = Arc::new(ApiHealth::default());
        let client = connect(&access, &health).await.unwrap();
        let task = KubernetesTask::new(hub.taker(), client, access, health);
        tokio::spawn(task.run(shutdown.clone()));
        Self { fake, hub, shutdown }
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let waiting = async {
            while !condition(&self.hub.lock()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            let state = self.hub.lock();
            panic!("{what}: {}, {:?}, {:?}", state.roster, state.caveats(), self.fake.calls());
        }
    }

    /// Until the fake has been called at least this often.
    pub(crate) async fn until_called(&self, verb: &str, resource: &str, times: usize) {
        let what = format!("{verb} {resource} {times} times");
        self.until(&what, |_| self.fake.called(verb, resource) >= times).await;
    }

    /// Until there is a roster.
    pub(crate) async fn until_read(&self) {
        self.until("a roster", |state| state.roster_ns > 0).await;
    }

    pub(crate) async fn until_fine(&self) {
        self.until("nothing is wrong", |state| state.inventory_error.is_none()).await;
    }

    /// What is wrong, once something is that contains all these words.
    pub(crate) async fn trouble(&self, words: &[&str]) -> String {
        let holds = |text: &str| words.iter().all(|word| text.contains(word));
        let what = format!("trouble with {words:?}");
        self.until(&what, |state| state.inventory_error.as_deref().is_some_and(holds)).await;
        self.hub.lock().inventory_error.clone().unwrap_or_default()
    }
}
