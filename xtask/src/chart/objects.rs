//! Rendered objects, and how to find things in them.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

/// The objects of a rendering.
pub(super) fn parse(text: &str) -> Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The objects by kind, namespace and name.
pub(super) fn by_name(objects: &[Value]) -> BTreeMap<String, &Value> {
    objects.iter().map(|object| (name(object), object)).collect()
}

/// As in `Service netcheck/netcheck-hub`.
pub(super) fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// The component that an object's labels name.
pub(super) fn component(object: &Value) -> &str {
    object["metadata"]["labels"]["app.kubernetes.io/component"].as_str().unwrap_or_default()
}

/// The pod's spec, of an object that makes pods.
pub(super) fn pod_spec(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "DaemonSet" | "Deployment" | "Job" => Some(&object["spec"]["template"]["spec"]),
        "Pod" => Some(&object["spec"]),
        _ => None,
    }
}

/// A list, empty where there is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
