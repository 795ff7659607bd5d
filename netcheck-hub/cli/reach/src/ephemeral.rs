//! netcheck for the time of one check: installed into a cluster that has none, and removed.
//!
//! [`Run`] is what one run installs (`manifest`): the chart's objects, which are embedded, under names that no other run has.
//! [`Cluster::prepare`] looks whether it may be installed (`rights`), [`Run::install`] makes the objects one by one
//! (`install`), [`Run::wait`] waits for their pods (`ready`), [`Removal`] removes them in the opposite order (`remove`). Runs that
//! somebody left are found by their label ([`Cluster::runs`]).
//!
//! There are no tasks. [`Run::install`] is not to be cancelled: a request that is on its way may still make its object. All
//! others may be; a [`Removal`] then still knows what is left.

use std::time::Duration;

use crate::{Cluster, Hub, ReachError};

mod install;
mod kind;
mod manifest;
mod ready;
mod remove;
mod rights;
mod runs;
#[cfg(test)]
mod tests;

use kind::KINDS;
pub use kind::ObjectRef;
pub use manifest::ManifestError;
use manifest::Object;
pub use ready::Standing;
pub use remove::{Removal, Stuck};
pub use runs::Found;

/// Label of all objects of a run, with its name. Nothing that somebody else installed has it.
pub const RUN_LABEL: &str = "netcheck.io/run";
/// Who manages these objects, in their labels and as their field manager.
pub const MANAGER: &str = "kubectl-netcheck";
/// On objects that are in no namespace: that of the run.
const NAMESPACE_ANNOTATION: &str = "netcheck.io/namespace";
/// The first of the three ports that agents have on their nodes: the chart's.
const FIRST_PORT: u16 = 6100;
/// How long the API server may be away while something is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(500);

/// How a run is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// None: the chart's, of this program's version.
    pub image: Option<String>,
    /// `Always`, `IfNotPresent`, `Never`; none: the chart's.
    pub pull_policy: Option<String>,
    /// A secret of the namespace by which the image is pulled.
    pub pull_secret: Option<String>,
    /// The first of three TCP ports on every node; UDP as well.
    pub first_port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { image: None, pull_policy: None, pull_secret: None, first_port: FIRST_PORT }
    }
}

/// Why netcheck can't be installed.
#[derive(Debug, thiserror::Error)]
pub enum EphemeralError {
    /// The cluster can't be asked.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// This program is broken.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is netcheck already.
    #[error(
        "netcheck is installed in namespace {namespace}: `kubectl netcheck check --namespace {namespace}` asks it without \
         --ephemeral{beside}"
    )]
    Installed {
        /// Where.
        namespace: String,
        /// What else can be done; begins with a semicolon.
        beside: &'static str,
    },
    /// There is another run.
    #[error(
        "run {run} is in namespace {namespace}; if nobody waits for it, `kubectl netcheck clean --run {run}` removes it"
    )]
    Run {
        /// Its name.
        run: String,
        /// Where.
        namespace: String,
    },
    /// Rights are missing.
    #[error("not allowed: this needs the right to {}", rights.join(", to "))]
    Rights {
        /// `create daemonsets.apps in namespace x`.
        rights: Vec<String>,
    },
    /// The namespace does not take the agent.
    #[error(
        "namespace {namespace} enforces the Pod Security Standard {level}, and agents need privileged; without --namespace \
         the run makes a namespace of its own"
    )]
    Standard {
        /// Its name.
        namespace: String,
        /// `baseline`, `restricted`.
        level: String,
    },
    /// It is going.
    #[error("namespace {namespace} is being deleted")]
    Going {
        /// Its name.
        namespace: String,
    },
    /// No secret to pull by.
    #[error("there is no secret {secret} in namespace {namespace} to pull the image by")]
    PullSecret {
        /// Its name.
        secret: String,
        /// Where it should be.
        namespace: String,
    },
    /// The API does not take an object.
    #[error("cannot create {object_ref}: {message}")]
    Refused {
        /// Which.
        object_ref: Box<ObjectRef>,
        /// As the API says it.
        message: String,
    },
    /// The image can't be had.
    #[error(
        "pod {pod} cannot pull image {image}: {reason}: {message} (--image and --image-pull-secret say what to pull)"
    )]
    Image {
        /// Its name.
        pod: String,
        /// What it pulls.
        image: String,
        /// `ImagePullBackOff`.
        reason: String,
        /// As the kubelet says it.
        message: String,
    },
    /// Pods don't start.
    #[error("after {} s not all pods are up: {} (--install-timeout)", waited.as_secs(), behind.join("; "))]
    Late {
        /// How long it was waited for.
        waited: Duration,
        /// Which, and why.
        behind: Vec<String>,
    },
    /// Somebody wants it to end.
    #[error("interrupted")]
    Interrupted,
}

/// What one run installs.
#[derive(Clone, Debug)]
pub struct Run {
    name: String,
    namespace: String,
    /// In the order in which they are made.
    objects: Vec<Object>,
    /// So many were begun to be made, from the first.
    begun: usize,
}

impl Run {
    /// A run with a name that no other has. Nobody is asked. Without a namespace it makes one of its own.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn plan(namespace: Option<&str>, settings: &Settings) -> Result<Self, ManifestError> {
        let name = manifest::draw_name();
        let namespace = namespace.unwrap_or(&name).to_owned();
        let objects = manifest::objects(&name, &namespace, settings)?;
        Ok(Self { name, namespace, objects, begun: 0 })
    }

    /// The same, in a namespace that is there and stays.
    fn without_namespace(mut self) -> Self {
        self.objects.retain(|object| object.object_ref.kind != &KINDS[0]);
        self
    }

    /// As in its label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What it makes, in that order.
    pub fn object_refs(&self) -> impl Iterator<Item = &ObjectRef> {
        self.objects.iter().map(|object| &object.object_ref)
    }

    /// The objects themselves, but for keys and certificates.
    pub fn bodies(&self) -> impl Iterator<Item = serde_json::Value> {
        self.objects.iter().map(|object| {
            let mut body = object.body.clone();
            if let Some(data) = body.get_mut("data").and_then(serde_json::Value::as_object_mut) {
                data.values_mut().for_each(|value| *value = "".into());
            }
            body
        })
    }

    /// The images, each once.
    #[must_use]
    pub fn images(&self) -> Vec<&str> {
        let pods =
            self.objects.iter().filter_map(|object| object.body.pointer("/spec/template/spec/containers"));
        let mut images: Vec<&str> = pods
            .flat_map(|all| all.as_array().into_iter().flatten())
            .filter_map(|one| one["image"].as_str())
            .collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// What may be in the cluster, to be removed.
    #[must_use]
    pub fn removal(&self) -> Removal {
        Removal::of(self.objects[..self.begun].iter().map(|object| object.object_ref.clone()).collect())
    }

    /// Its hub.
    ///
    /// # Errors
    /// See [`ReachError`].
    pub async fn hub(&self, cluster: &Cluster) -> Result<Hub, ReachError> {
        cluster.hub_of(&self.namespace, &format!("{RUN_LABEL}={}", self.name)).await
    }
}
