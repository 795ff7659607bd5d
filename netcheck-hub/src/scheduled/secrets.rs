//! Texts of a check's requests that are in Secrets, and not in its object: read anew for each round, by whoever runs it.
//!
//! Whoever may create a check has such a text sent where its URL says. So only those Secrets are read that the hub's flags
//! name, whatever its own rights are. Nothing of a text is in an error, or in anything that is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use netcheck_scheduled::ReachabilityCheckSpec;
use netcheck_scheduled::spec::{SecretKeyRef, TextSource};

use crate::inventory::kubernetes::innermost;

/// One question to the API.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest text (bytes), as the object may have it.
const TEXT_MAX: usize = 4096;

/// The Secrets that may be read for checks, and where they are.
#[derive(Clone)]
pub(super) struct Secrets {
    api: Api<Secret>,
    namespace: String,
    names: Vec<String>,
}

/// Why a text is not to be had, with the field that wants it.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {why}")]
pub(super) struct TextError {
    field: String,
    why: Missing,
}

#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error(
        "the hub does not read Secret {name} for checks: hub.checkSecrets of the chart (--check-secrets) names those that it does"
    )]
    NotNamed { name: String },
    #[error("there is no Secret {name} in namespace {namespace}")]
    Secret { name: String, namespace: String },
    #[error("Secret {name} in namespace {namespace} has no key {key}")]
    Key { name: String, namespace: String, key: String },
    #[error("key {key} of Secret {name} is no text of {TEXT_MAX} bytes at most")]
    Text { name: String, key: String },
    #[error(
        "the hub may not get Secret {name} in namespace {namespace}: hub.checkSecrets of the chart gives it the right to"
    )]
    Forbidden { name: String, namespace: String },
    #[error("Secret {name} could not be read: {why}")]
    Api { name: String, why: String },
}

/// The texts of one check.
#[derive(Default)]
pub(super) struct Texts(BTreeMap<SecretKeyRef, String>);

impl Texts {
    /// One of them. Before they are read, as when an object is looked at, something stands for it that fits everywhere.
    pub(super) fn get(&self, source: &TextSource) -> String {
        self.0.get(&source.secret_key_ref).cloned().unwrap_or_else(|| "-".to_owned())
    }
}

/// All that a check wants, with the fields.
fn wanted(spec: &ReachabilityCheckSpec) -> impl Iterator<Item = (String, &SecretKeyRef)> {
    spec.targets.http.iter().enumerate().flat_map(|(at, http)| {
        let headers = http.headers.iter().enumerate().filter_map(move |(number, header)| {
            let source = header.value_from.as_ref()?;
            Some((format!("spec.targets.http[{at}].headers[{number}].valueFrom"), &source.secret_key_ref))
        });
        let body = http.body_from.iter();
        headers.chain(
            body.map(move |source| (format!("spec.targets.http[{at}].bodyFrom"), &source.secret_key_ref)),
        )
    })
}

impl Secrets {
    /// Those of these names, in the client's own namespace.
    pub(super) fn new(client: &Client, names: Vec<String>) -> Self {
        let namespace = client.default_namespace().to_owned();
        Self { api: Api::namespaced(client.clone(), &namespace), namespace, names }
    }

    /// Whether a check wants no other Secrets than those that may be read.
    ///
    /// # Errors
    /// It does.
    pub(super) fn allow(&self, spec: &ReachabilityCheckSpec) -> Result<(), TextError> {
        let other = wanted(spec).find(|(_, key)| !self.names.contains(&key.name));
        other.map_or(Ok(()), |(field, key)| {
            Err(TextError { field, why: Missing::NotNamed { name: key.name.clone() } })
        })
    }

    /// Reads what a check wants.
    ///
    /// # Errors
    /// The first that is not to be had.
    pub(super) async fn read(&self, spec: &ReachabilityCheckSpec) -> Result<Texts, TextError> {
        self.allow(spec)?;
        let mut texts = Texts::default();
        let mut read: BTreeMap<&str, Secret> = BTreeMap::new();
        for (field, key) in wanted(spec) {
            let failed = |why| TextError { field, why };
            let secret = match read.get(key.name.as_str()) {
                Some(secret) => secret,
                None => {
                    let secret = self.get(&key.name).await;
                    match secret {
                        Ok(secret) => read.entry(&key.name).or_insert(secret),
                        Err(why) => return Err(failed(why)),
                    }
                }
            };
            let text = self.text(secret, key).map_err(failed)?;
            texts.0.insert(key.clone(), text);
        }
        Ok(texts)
    }

    async fn get(&self, name: &str) -> Result<Secret, Missing> {
        let (of, namespace) = (name.to_owned(), self.namespace.clone());
        match tokio::time::timeout(ANSWER, self.api.get_opt(name)).await {
            Ok(Ok(Some(secret))) => Ok(secret),
            Ok(Ok(None)) => Err(Missing::Secret { name: of, namespace }),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err(Missing::Forbidden { name: of, namespace })
            }
            Ok(Err(error)) => Err(Missing::Api { name: of, why: innermost(&error) }),
            Err(_late) => Err(Missing::Api { name: of, why: "no answer".to_owned() }),
        }
    }

    fn text(&self, secret: &Secret, key: &SecretKeyRef) -> Result<String, Missing> {
        let SecretKeyRef { name, key } = key.clone();
        let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(&key)) else {
            return Err(Missing::Key { name, namespace: self.namespace.clone(), key });
        };
        let text = (bytes.0.len() <= TEXT_MAX).then(|| String::from_utf8(bytes.0.clone()).ok()).flatten();
        text.ok_or(Missing::Text { name, key })
    }
}
