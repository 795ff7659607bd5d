//! Whether a run may be installed: netcheck that is there already, the namespace, and the rights of whoever asks. Nothing is
//! made.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{ListParams, PostParams};

use super::{EphemeralError, FIRST_PORT, RUN_LABEL, Run, Settings};
use crate::{Cluster, SELECTOR, api, in_namespace, is_forbidden};

/// The agents of netcheck, of whatever release.
const AGENTS: &str = "app.kubernetes.io/part-of=netcheck,app.kubernetes.io/component=agent";
/// From one set of an agent's ports to the next.
const PORT_STEP: u16 = 10;
/// Questions that are on their way at the same time.
const AT_ONCE: usize = 8;
/// The label by which a namespace says what pods it takes.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// A right: verb, group, resource with its part (`pods/portforward`), and whether it is wanted in the run's namespace.
type Right = (&'static str, &'static str, &'static str, bool);

/// What is asked beside what is made.
const ASKED: [Right; 4] = [
    ("list", "", "pods", true),
    ("list", "apps", "deployments", true),
    ("list", "apps", "daemonsets", true),
    ("create", "", "pods/portforward", true),
];
/// What is done to each object.
const DONE: [&str; 4] = ["create", "patch", "get", "delete"];

impl Cluster {
    /// Looks whether netcheck can be installed, into the namespace that is named or else into one of the run's own, and
    /// plans it. Nothing is made.
    ///
    /// # Errors
    /// See [`EphemeralError`].
    pub async fn prepare(&self, settings: &Settings) -> Result<Run, EphemeralError> {
        self.refuse_installed().await?;
        let settings = Settings { first_port: self.free_port().await?, ..settings.clone() };
        let mut run = Run::plan(self.namespace.as_deref(), &settings)?;
        if self.namespace.is_some() && self.has_namespace(&run.namespace).await? {
            run = run.without_namespace();
        }
        self.has_rights(&run).await?;
        if let Some(secret) = &settings.pull_secret {
            self.has_secret(&run.namespace, secret).await?;
        }
        Ok(run)
    }

    /// Refuses where netcheck is: in the namespace that is named, else in any.
    async fn refuse_installed(&self) -> Result<(), EphemeralError> {
        let params = ListParams::default().labels(SELECTOR);
        let (found, beside) = match &self.namespace {
            Some(namespace) => {
                let hubs = Api::<Deployment>::namespaced(self.client.clone(), namespace);
                (hubs.list(&params).await, "")
            }
            None => {
                let hubs = Api::<Deployment>::all(self.client.clone());
                (hubs.list(&params).await, "; --namespace NAME installs another beside it")
            }
        };
        let found = match found {
            Ok(found) => found,
            // Whoever may not look everywhere makes a namespace of his own, where nothing is.
            Err(error) if is_forbidden(&error) && self.namespace.is_none() => return Ok(()),
            Err(error) if is_forbidden(&error) => {
                let place = in_namespace(self.namespace.as_deref().unwrap_or_default());
                return Err(EphemeralError::Rights {
                    rights: vec![format!("list deployments.apps {place}")],
                });
            }
            Err(error) => return Err(api(error).into()),
        };
        for hub in found.items {
            let namespace = hub.metadata.namespace.unwrap_or_default();
            match hub.metadata.labels.unwrap_or_default().remove(RUN_LABEL) {
                Some(run) if self.namespace.is_some() => return Err(EphemeralError::Run { run, namespace }),
                Some(_) => {}
                None => return Err(EphemeralError::Installed { namespace, beside }),
            }
        }
        Ok(())
    }

    /// The first port of an agent that no other agent of netcheck has on its nodes, as far as this may be seen.
    async fn free_port(&self) -> Result<u16, EphemeralError> {
        let agents = Api::<DaemonSet>::all(self.client.clone());
        let taken: BTreeSet<i32> = match agents.list(&ListParams::default().labels(AGENTS)).await {
            Ok(agents) => {
                let pods = agents.items.into_iter().filter_map(|agent| agent.spec?.template.spec);
                let containers = pods.flat_map(|pod| pod.containers);
                containers
                    .flat_map(|container| container.ports.unwrap_or_default())
                    .map(|port| port.container_port)
                    .collect()
            }
            Err(error) if is_forbidden(&error) => BTreeSet::new(),
            Err(error) => return Err(api(error).into()),
        };
        let is_free = |first: &u16| (0..3).all(|at| !taken.contains(&i32::from(first + at)));
        Ok((FIRST_PORT..FIRST_PORT + 1000).step_by(PORT_STEP.into()).find(is_free).unwrap_or(FIRST_PORT))
    }

    /// Whether the namespace is there; refuses one that does not take agents.
    async fn has_namespace(&self, name: &str) -> Result<bool, EphemeralError> {
        let found = match Api::<Namespace>::all(self.client.clone()).get_opt(name).await {
            Ok(found) => found,
            Err(error) if is_forbidden(&error) => {
                return Err(EphemeralError::Rights { rights: vec![format!("get namespaces ({name})")] });
            }
            Err(error) => return Err(api(error).into()),
        };
        let Some(found) = found else { return Ok(false) };
        let namespace = name.to_owned();
        if found.metadata.deletion_timestamp.is_some() {
            return Err(EphemeralError::Going { namespace });
        }
        match found.metadata.labels.unwrap_or_default().remove(ENFORCE) {
            Some(level) if level != "privileged" => Err(EphemeralError::Standard { namespace, level }),
            _ => Ok(true),
        }
    }

    async fn has_secret(&self, namespace: &str, secret: &str) -> Result<(), EphemeralError> {
        let found = Api::<Secret>::namespaced(self.client.clone(), namespace).get_metadata_opt(secret).await;
        match found {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                Err(EphemeralError::PullSecret { secret: secret.to_owned(), namespace: namespace.to_owned() })
            }
            Err(error) => Err(api(error).into()),
        }
    }

    /// Asks for every right that the run needs, to remove as to install.
    async fn has_rights(&self, run: &Run) -> Result<(), EphemeralError> {
        let mut wanted: Vec<Right> = ASKED.to_vec();
        for object_ref in run.object_refs() {
            let kind = object_ref.kind;
            for verb in DONE {
                let right = (verb, kind.group, kind.plural, kind.namespaced);
                if !wanted.contains(&right) {
                    wanted.push(right);
                }
            }
        }
        let asking = wanted.into_iter().map(|right| async move {
            let allowed = self.is_allowed(&right, &run.namespace).await;
            (right, allowed)
        });
        let answers: Vec<(Right, Result<bool, kube::Error>)> =
            futures::stream::iter(asking).buffered(AT_ONCE).collect().await;
        let mut rights = Vec::new();
        for ((verb, group, resource, namespaced), allowed) in answers {
            match allowed {
                Ok(true) => {}
                // Whoever may not even ask learns it when something is refused.
                Err(error) if is_forbidden(&error) => {}
                Ok(false) => {
                    let dot = if group.is_empty() { "" } else { "." };
                    let place =
                        if namespaced { format!(" {}", in_namespace(&run.namespace)) } else { String::new() };
                    rights.push(format!("{verb} {resource}{dot}{group}{place}"));
                }
                Err(error) => return Err(api(error).into()),
            }
        }
        if rights.is_empty() { Ok(()) } else { Err(EphemeralError::Rights { rights }) }
    }

    async fn is_allowed(&self, right: &Right, namespace: &str) -> Result<bool, kube::Error> {
        let &(verb, group, resource, namespaced) = right;
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: (!part.is_empty()).then(|| part.to_owned()),
            namespace: namespaced.then(|| namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..SelfSubjectAccessReview::default()
        };
        let reviews = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
