//! Makes the objects of a run, one after the other, and waits for their pods.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use tokio::time::Instant;

use super::ready::{Seen, Standing};
use super::{EphemeralError, MANAGER, PATIENCE, POLL, RUN_LABEL, Run};
use crate::{Cluster, api};

/// How long agents that run may take to meet their hub, once nothing else is waited for. Where they can't, the network
/// is what is broken, and the check shows it.
const MEETING: Duration = Duration::from_secs(60);

impl Run {
    /// Makes the objects, unless `stop` says to end. What was begun is then to be removed. This is not to be cancelled.
    ///
    /// # Errors
    /// See [`EphemeralError`].
    pub async fn install(
        &mut self,
        cluster: &Cluster,
        stop: impl Fn() -> bool,
    ) -> Result<(), EphemeralError> {
        let params = PatchParams::apply(MANAGER);
        while let Some(object) = self.objects.get(self.begun) {
            if stop() {
                return Err(EphemeralError::Interrupted);
            }
            let object_ref = object.object_ref.clone();
            self.begun += 1;
            let made = object_ref
                .api(&cluster.client)
                .patch(&object_ref.name, &params, &Patch::Apply(&object.body))
                .await;
            made.map_err(|error| match error {
                kube::Error::Api(status) => EphemeralError::Refused {
                    object_ref: Box::new(object_ref),
                    message: status.message.clone(),
                },
                error => api(error).into(),
            })?;
        }
        Ok(())
    }

    /// Waits until the hub and all agents on nodes that are Ready are there, and reports how far that is whenever it
    /// changes. Those whose containers run, but which are not ready, are not waited for without end: what is known of
    /// them is returned.
    ///
    /// # Errors
    /// See [`EphemeralError`].
    pub async fn wait(
        &self,
        cluster: &Cluster,
        timeout: Duration,
        mut report: impl FnMut(&Standing),
    ) -> Result<Standing, EphemeralError> {
        let begun = Instant::now();
        let mut answered = begun;
        let mut only_meeting: Option<Instant> = None;
        let mut reported = None;
        loop {
            match self.look(cluster).await {
                Ok(seen) => {
                    answered = Instant::now();
                    if let Some(image) = seen.image() {
                        return Err(image);
                    }
                    let standing = seen.standing();
                    if reported.as_ref() != Some(&standing) {
                        report(&standing);
                        reported = Some(standing.clone());
                    }
                    let met = only_meeting.is_some_and(|since| since.elapsed() >= MEETING.min(timeout));
                    if standing.is_ready() || (standing.runs() && met) {
                        return Ok(standing);
                    }
                    only_meeting = standing.runs().then(|| only_meeting.unwrap_or(answered));
                    if begun.elapsed() >= timeout {
                        let behind = self.explained(cluster, standing).await;
                        return Err(EphemeralError::Late { waited: timeout, behind });
                    }
                }
                Err(error) if answered.elapsed() >= PATIENCE || is_final(&error) => {
                    return Err(api(error).into());
                }
                Err(_) => {}
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn look(&self, cluster: &Cluster) -> Result<Seen, kube::Error> {
        let own = ListParams::default().labels(&format!("{RUN_LABEL}={}", self.name));
        let client = || cluster.client.clone();
        let pods = Api::<Pod>::namespaced(client(), &self.namespace).list(&own).await?.items;
        let agents = Api::<DaemonSet>::namespaced(client(), &self.namespace).list(&own).await?.items;
        let hubs = Api::<Deployment>::namespaced(client(), &self.namespace).list(&own).await?.items;
        // Whoever may not see nodes waits for all of them.
        let nodes = Api::<Node>::all(client()).list(&ListParams::default()).await;
        let nodes = nodes.map(|list| list.items).unwrap_or_default();
        Ok(Seen { pods, agents, hubs, nodes })
    }

    /// Why pods are not there: also the newest event of what should make them.
    async fn explained(&self, cluster: &Cluster, standing: Standing) -> Vec<String> {
        let events = Api::<Event>::namespaced(cluster.client.clone(), &self.namespace);
        let mut lines = standing.behind;
        for maker in standing.unmade {
            let of = ListParams::default().fields(&format!("involvedObject.name={maker},type=Warning"));
            let newest = events.list(&of).await.ok().and_then(|mut list| list.items.pop()?.message);
            lines.push(match newest {
                Some(why) => format!("{maker} makes no pods: {why}"),
                None => format!("{maker} makes no pods"),
            });
        }
        lines
    }
}

/// Whether asking again is of no use.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code))
}
