//! What the controller writes: statuses and Events, as long as this hub is the one to write them.

use std::time::Duration;

use kube::Resource as _;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use netcheck_scheduled::ReachabilityCheck;

use super::{Controller, MANAGER};
use crate::inventory::kubernetes::innermost;

/// One write to the API.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What became of a status that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is written, or refused, or there is nothing to write.
    Answered,
    /// The API said nothing.
    Unanswered,
}

impl Controller {
    /// Writes the status of one, if the API has another, and this hub is the one to write it.
    pub(super) async fn write(&mut self, name: &str) -> Written {
        let leads = self.leads();
        let entry = self.entries.get_mut(name).filter(|entry| entry.unwritten && leads);
        let Some(entry) = entry else { return Written::Answered };
        let patch = serde_json::json!({
            "apiVersion": ReachabilityCheck::api_version(&()),
            "kind": ReachabilityCheck::kind(&()),
            "metadata": { "name": name },
            "status": entry.status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&patch);
        let written = self.api.patch_status(name, &params, &patch);
        match tokio::time::timeout(WRITE_TIMEOUT, written).await {
            Ok(Ok(_)) => entry.unwritten = false,
            Ok(Err(error)) => {
                tracing::warn!("scheduled check {name}: its status is not written: {}", innermost(&error));
            }
            Err(_late) => {
                tracing::warn!("scheduled check {name}: its status is not written: no answer");
                return Written::Unanswered;
            }
        }
        Written::Answered
    }

    /// Says something of one to whom looks at its Events. Without the right to, only the log has it.
    pub(super) async fn event(&self, name: &str, type_: EventType, (reason, note): (&str, String)) {
        let Some(entry) = self.entries.get(name).filter(|_| self.leads()) else { return };
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Check".to_owned(),
            secondary: None,
        };
        let object = entry.object.object_ref(&());
        let published = self.recorder.publish(&event, &object);
        match tokio::time::timeout(WRITE_TIMEOUT, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("no Event for {name}: {}", innermost(&error)),
            Err(_late) => tracing::debug!("no Event for {name}: no answer"),
        }
    }
}
