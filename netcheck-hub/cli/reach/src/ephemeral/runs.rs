//! Runs that are in the cluster, by their labels: at work, or left.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kube::Api;
use kube::api::{DynamicObject, ListParams};

use super::kind::{KINDS, Kind, ObjectRef};
use super::{EphemeralError, MANAGER, NAMESPACE_ANNOTATION, RUN_LABEL, Removal};
use crate::{Cluster, api, in_namespace, is_forbidden};

/// Objects of a list, page by page.
const PAGE: u32 = 500;

/// A run that is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub run: String,
    /// Where it is.
    pub namespace: String,
    /// When the first of its objects that are left was made, by the API server's clock.
    pub since: Option<SystemTime>,
    /// What there is of it, in the order in which it was made.
    pub object_refs: Vec<ObjectRef>,
}

impl Found {
    /// All of it, to be removed.
    #[must_use]
    pub fn removal(&self) -> Removal {
        Removal::of(self.object_refs.clone())
    }
}

impl Cluster {
    /// Every run that is in the cluster, or the one that is named. What is in no namespace says where to look for the rest.
    ///
    /// # Errors
    /// See [`EphemeralError`].
    pub async fn runs(&self, only: Option<&str>) -> Result<Vec<Found>, EphemeralError> {
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let run = only.map_or_else(|| RUN_LABEL.to_owned(), |run| format!("{RUN_LABEL}={run}"));
        for kind in KINDS.iter().filter(|kind| !kind.namespaced) {
            for object in self.labelled(kind, None, &run).await? {
                let name = object.metadata.name.clone().unwrap_or_default();
                let annotation =
                    object.metadata.annotations.as_ref().and_then(|all| all.get(NAMESPACE_ANNOTATION));
                let namespace = annotation.cloned().unwrap_or(name);
                add(&mut found, kind, namespace, &object);
            }
        }
        for run in found.keys().cloned().collect::<Vec<_>>() {
            let Some(namespace) = found.get(&run).map(|found| found.namespace.clone()) else { continue };
            for kind in KINDS.iter().filter(|kind| kind.namespaced) {
                let selector = format!("{RUN_LABEL}={run}");
                for object in self.labelled(kind, Some(&namespace), &selector).await? {
                    add(&mut found, kind, namespace.clone(), &object);
                }
            }
        }
        let mut found: Vec<Found> = found.into_values().collect();
        found.iter_mut().for_each(|found| found.object_refs.sort_by_key(|object_ref| object_ref.kind.stage));
        Ok(found)
    }

    /// Objects of a kind that a run made.
    async fn labelled(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        run: &str,
    ) -> Result<Vec<DynamicObject>, EphemeralError> {
        let resource = kind.resource();
        let objects: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let labels = format!("app.kubernetes.io/managed-by={MANAGER},{run}");
        let mut params = ListParams::default().labels(&labels).limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = objects.list_metadata(&params).await.map_err(|error| match is_forbidden(&error) {
                true => {
                    let within = namespace.map(|namespace| format!(" {}", in_namespace(namespace)));
                    let right = format!("list {}{}", kind.qualified(), within.unwrap_or_default());
                    EphemeralError::Rights { rights: vec![right] }
                }
                false => api(error).into(),
            })?;
            all.extend(page.items.into_iter().map(|partial| {
                let mut object = DynamicObject::new("", &resource);
                object.metadata = partial.metadata;
                object
            }));
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }
}

fn add(found: &mut BTreeMap<String, Found>, kind: &'static Kind, namespace: String, object: &DynamicObject) {
    let metadata = &object.metadata;
    let Some(run) = metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL)) else { return };
    let object_ref = ObjectRef {
        kind,
        namespace: if kind.namespaced { namespace.clone() } else { String::new() },
        name: metadata.name.clone().unwrap_or_default(),
    };
    let since: Option<SystemTime> = metadata.creation_timestamp.as_ref().map(|time| time.0.into());
    let found = found.entry(run.clone()).or_insert_with(|| Found {
        run: run.clone(),
        namespace,
        since: None,
        object_refs: Vec::new(),
    });
    found.since = match (found.since, since) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    found.object_refs.push(object_ref);
}
