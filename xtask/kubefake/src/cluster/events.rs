//! Events, which the API has in two groups: the same objects in different words. The core's are kept.

use serde_json::Value;

/// Of either group.
pub(super) const PLURAL: &str = "events";

/// An Event of `events.k8s.io` in the words of the core (`pkg/apis/events/v1/conversion.go` of Kubernetes).
pub(super) fn in_core_words(event: &mut Value) {
    let Some(fields) = event.as_object_mut() else { return };
    for (new, core) in [("regarding", "involvedObject"), ("note", "message")] {
        if let Some(value) = fields.remove(new) {
            fields.insert(core.to_owned(), value);
        }
    }
    fields.insert("apiVersion".to_owned(), "v1".into());
}
