//! Removes objects in the opposite order of their making, and waits until they are gone. A [`Removal`] knows at every time
//! what is left, also when its work is cancelled or ends for want of an answer.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject};
use tokio::time::Instant;

use super::PATIENCE;
use super::kind::ObjectRef;
use crate::Cluster;

/// How long objects of one stage may take to go: pods have up to half a minute to end.
const GOING: Duration = Duration::from_secs(120);
/// How often what goes is looked at, and a server that is away is asked again.
const POLL: Duration = Duration::from_millis(200);

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// In the order in which they were made.
    left: Vec<ObjectRef>,
}

/// Why not everything is removed.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// The API server does not answer.
    #[error("the API server has not answered for {} s: {source}", PATIENCE.as_secs())]
    Away {
        /// As it was last.
        source: Box<kube::Error>,
    },
    /// It refuses.
    #[error("the API refuses to delete {object_ref}: {message}")]
    Refused {
        /// The first.
        object_ref: Box<ObjectRef>,
        /// As the API says it.
        message: String,
    },
    /// It takes too long.
    #[error("{object_ref} is not gone after {} s{why}", GOING.as_secs())]
    Stays {
        /// The first.
        object_ref: Box<ObjectRef>,
        /// Finalizers, if there are any; begins with a comma.
        why: String,
    },
}

impl Removal {
    pub(super) fn of(left: Vec<ObjectRef>) -> Self {
        Self { left }
    }

    /// What is left, in the order in which it was made.
    #[must_use]
    pub fn left(&self) -> &[ObjectRef] {
        &self.left
    }

    /// Removes all of it. Objects that are not there count as removed. What is refused does not keep the rest.
    ///
    /// # Errors
    /// See [`Stuck`]. What is left then can be tried again.
    pub async fn run(&mut self, cluster: &Cluster) -> Result<(), Stuck> {
        let mut refused = None;
        let mut stages: Vec<u8> = self.left.iter().map(|object_ref| object_ref.kind.stage).collect();
        stages.dedup();
        for stage in stages.into_iter().rev() {
            let of_stage: Vec<ObjectRef> =
                self.left.iter().filter(|object_ref| object_ref.kind.stage == stage).cloned().collect();
            let mut going = Vec::new();
            for object_ref in of_stage {
                match delete(cluster, &object_ref).await {
                    Ok(true) => self.gone(&object_ref),
                    Ok(false) => going.push(object_ref),
                    Err(Stuck::Refused { object_ref, message }) => {
                        refused.get_or_insert(Stuck::Refused { object_ref, message });
                    }
                    Err(stuck) => return Err(stuck),
                }
            }
            let deadline = Instant::now() + GOING;
            for object_ref in going {
                wait(cluster, &object_ref, deadline).await?;
                self.gone(&object_ref);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    fn gone(&mut self, object_ref: &ObjectRef) {
        self.left.retain(|left| left != object_ref);
    }
}

/// An answer of the API server, which may be away for a while.
async fn patiently<T, F: Future<Output = Result<T, kube::Error>>>(
    mut ask: impl FnMut() -> F,
) -> Result<Result<T, Box<kube::core::Status>>, Stuck> {
    let begun = Instant::now();
    loop {
        // A request that nobody answers must not take longer than all of them may.
        let error = match tokio::time::timeout(PATIENCE, ask()).await {
            Ok(Ok(answer)) => return Ok(Ok(answer)),
            Ok(Err(kube::Error::Api(status))) if !matches!(status.code, 429 | 500..600) => {
                return Ok(Err(status));
            }
            Ok(Err(error)) => error,
            Err(_) => kube::Error::Service("it takes a request and says nothing".into()),
        };
        if begun.elapsed() >= PATIENCE {
            return Err(Stuck::Away { source: Box::new(error) });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Deletes; whether it is gone already.
async fn delete(cluster: &Cluster, object_ref: &ObjectRef) -> Result<bool, Stuck> {
    let api = object_ref.api(&cluster.client);
    // What workloads made goes before they do.
    let params = DeleteParams::foreground();
    match patiently(|| api.delete(&object_ref.name, &params)).await? {
        Ok(_) => Ok(false),
        Err(status) if status.code == 404 => Ok(true),
        // A namespace that is going already.
        Err(status) if status.code == 409 => Ok(false),
        Err(status) => {
            Err(Stuck::Refused { object_ref: Box::new(object_ref.clone()), message: status.message.clone() })
        }
    }
}

async fn wait(cluster: &Cluster, object_ref: &ObjectRef, deadline: Instant) -> Result<(), Stuck> {
    let api = object_ref.api(&cluster.client);
    loop {
        let found: Option<DynamicObject> = match patiently(|| api.get_opt(&object_ref.name)).await? {
            Ok(found) => found,
            Err(status) => {
                let object_ref = Box::new(object_ref.clone());
                return Err(Stuck::Refused { object_ref, message: status.message.clone() });
            }
        };
        let Some(found) = found else { return Ok(()) };
        if Instant::now() >= deadline {
            let finalizers = found.metadata.finalizers.unwrap_or_default();
            let why = match finalizers.is_empty() {
                true => String::new(),
                false => format!(", finalizers are {}", finalizers.join(", ")),
            };
            return Err(Stuck::Stays { object_ref: Box::new(object_ref.clone()), why });
        }
        tokio::time::sleep(POLL).await;
    }
}
