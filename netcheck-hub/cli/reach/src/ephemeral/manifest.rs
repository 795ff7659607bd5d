//! The objects of one run: what the chart makes, under names of the run's own, with certificates as the chart makes them.
//! Pure, but for the run's name and its keys, which are drawn.

use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::Value;

use super::kind::{Kind, ObjectRef};
use super::{RUN_LABEL, Settings};

/// The chart, made by `cargo xtask chart ephemeral`.
const OBJECTS: &str = include_str!("objects.json");
/// What stands there for names of a run, and for the node's ports.
const RUN: &str = "netcheck-runid";
const NAMESPACE: &str = "netcheck-namespace";
const PORTS: [&str; 3] = ["46100", "46101", "46102"];
/// Of a run's name. Without vowels there are no words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz0123456789";
/// Clocks of a cluster differ, and a run lasts minutes.
const CERTIFICATES_BEFORE: Duration = Duration::from_secs(24 * 3600);
const CERTIFICATES_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// An object to be made.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) object_ref: ObjectRef,
    pub(crate) body: Value,
}

/// Why there are no objects: this program's own fault.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The embedded file.
    #[error("the embedded objects make no sense: {source}")]
    Syntax {
        /// Where and why.
        source: serde_json::Error,
    },
    /// A kind that is not in the list of kinds.
    #[error("the embedded objects have an unknown kind {kind}")]
    Kind {
        /// Its name.
        kind: String,
    },
    /// No certificates.
    #[error("no certificates can be made: {source}")]
    Certificates {
        /// Why.
        source: rcgen::Error,
    },
}

/// A name that no other run has.
pub(crate) fn draw_name() -> String {
    let letter = |_| char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
    let drawn: String = (0..8).map(letter).collect();
    format!("netcheck-{drawn}")
}

/// The objects, in the order in which they are made.
pub(crate) fn objects(run: &str, namespace: &str, settings: &Settings) -> Result<Vec<Object>, ManifestError> {
    let mut text = OBJECTS.replace(RUN, run).replace(NAMESPACE, namespace);
    for (at, port) in (0u16..).zip(PORTS) {
        text = text.replace(port, &(settings.first_port + at).to_string());
    }
    let mut document: Value =
        serde_json::from_str(&text).map_err(|source| ManifestError::Syntax { source })?;
    let Value::Array(mut bodies) = document["objects"].take() else {
        return Err(ManifestError::Kind { kind: "none".to_owned() });
    };
    bodies.extend(secrets(run, namespace).map_err(|source| ManifestError::Certificates { source })?);
    bodies.iter_mut().for_each(|body| adjust(body, settings));
    let mut objects = bodies.into_iter().map(object).collect::<Result<Vec<_>, _>>()?;
    objects.sort_by_key(|object| object.object_ref.kind.stage);
    Ok(objects)
}

fn object(body: Value) -> Result<Object, ManifestError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&body["kind"]);
    let Some(kind) = Kind::of(&kind) else { return Err(ManifestError::Kind { kind }) };
    let metadata = &body["metadata"];
    let object_ref =
        ObjectRef { kind, namespace: text(&metadata["namespace"]), name: text(&metadata["name"]) };
    Ok(Object { object_ref, body })
}

/// What flags say of the image.
fn adjust(body: &mut Value, settings: &Settings) {
    let Some(pod) = body.pointer_mut("/spec/template/spec") else { return };
    if let Some(secret) = &settings.pull_secret {
        pod["imagePullSecrets"] = serde_json::json!([{"name": secret}]);
    }
    for container in pod["containers"].as_array_mut().into_iter().flatten() {
        if let Some(image) = &settings.image {
            container["image"] = image.as_str().into();
        }
        if let Some(policy) = &settings.pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
    }
}

/// The certificates, as `templates/tls` of the chart has them; but the authority's key is kept nowhere.
fn secrets(run: &str, namespace: &str) -> Result<[Value; 2], rcgen::Error> {
    let valid = |params: &mut CertificateParams| {
        let now = SystemTime::now();
        params.not_before = (now - CERTIFICATES_BEFORE).into();
        params.not_after = (now + CERTIFICATES_AFTER).into();
    };
    let mut authority = CertificateParams::default();
    valid(&mut authority);
    authority.distinguished_name.push(DnType::CommonName, run);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = KeyPair::generate()?;
    let ca = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let host = format!("{run}-hub");
    let short = format!("{host}.{namespace}");
    let names = [&host, &short, &format!("{short}.svc"), "localhost", "127.0.0.1", "::1"];
    let mut hub = CertificateParams::new(names.map(|name: &str| name.to_owned()))?;
    valid(&mut hub);
    hub.distinguished_name.push(DnType::CommonName, &host);
    hub.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    hub.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = hub.signed_by(&key, &issuer)?.pem();
    let served = [("ca.crt", ca.clone()), ("tls.crt", certificate), ("tls.key", key.serialize_pem())];
    Ok([
        secret(run, namespace, ("hub", "kubernetes.io/tls"), served.into()),
        secret(run, namespace, ("agent", "Opaque"), vec![("ca.crt", ca)]),
    ])
}

fn secret(run: &str, namespace: &str, what: (&str, &str), data: Vec<(&str, String)>) -> Value {
    let (component, kind) = what;
    let labels = [
        ("app.kubernetes.io/name", "netcheck"),
        ("app.kubernetes.io/instance", run),
        ("app.kubernetes.io/component", component),
        ("app.kubernetes.io/part-of", "netcheck"),
        ("app.kubernetes.io/managed-by", super::MANAGER),
        (RUN_LABEL, run),
    ];
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(format!("{run}-{component}-tls")),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(
            data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect(),
        ),
        ..Secret::default()
    };
    let mut body = serde_json::to_value(secret).unwrap_or_default();
    body["apiVersion"] = "v1".into();
    body["kind"] = "Secret".into();
    body
}
