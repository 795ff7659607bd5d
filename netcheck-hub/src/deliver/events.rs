//! Incidents as Kubernetes Events, at the node or service that they blame: what `kubectl describe node` shows.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use netcheck_notify::{Event, Message, Notice, Object, Receiver, SendError, Style};

/// Where Events of objects are that have no namespace, as the kubelet has it.
const DEFAULT_NAMESPACE: &str = "default";
/// The API's own bound, in bytes.
const NOTE: usize = 1024;
/// How long the API may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes Events.
pub(super) struct Events {
    client: Client,
    instance: String,
}

impl Events {
    /// `instance`: this run of the hub.
    pub(super) fn new(client: Client, instance: &str) -> Self {
        Self { client, instance: format!("netcheck-hub-{instance}") }
    }

    async fn create(&self, message: &Message) -> Result<(), kube::Error> {
        let Some(object) = &message.sent.notice.blames else { return Ok(()) };
        let namespace = if object.namespace.is_empty() { DEFAULT_NAMESPACE } else { &object.namespace };
        let event = self.event(message, object, namespace, self.uid(object).await?);
        let events: Api<KubeEvent> = Api::namespaced(self.client.clone(), namespace);
        events.create(&PostParams::default(), &event).await.map(drop)
    }

    /// By which `kubectl describe` finds an object's Events. A node's are looked for by its name, too, as the kubelet's are.
    async fn uid(&self, object: &Object) -> Result<Option<String>, kube::Error> {
        if object.kind == "Node" {
            return Ok(Some(object.name.clone()));
        }
        // The hub may list services, and not get one.
        let services: Api<Service> = Api::namespaced(self.client.clone(), &object.namespace);
        let named = ListParams::default().fields(&format!("metadata.name={}", object.name)).limit(1);
        let found = services.list_metadata(&named).await?;
        Ok(found.items.into_iter().next().and_then(|service| service.metadata.uid))
    }

    fn event(&self, message: &Message, object: &Object, namespace: &str, uid: Option<String>) -> KubeEvent {
        let notice = &message.sent.notice;
        let over = message.event == Event::Closed;
        let note = if over { format!("over: {}", notice.headline) } else { notice.headline.clone() };
        let note = format!("{note}. {}; incident {}", notice.command, notice.id);
        // The same for every attempt: one that got through unheard is not made twice.
        let name = format!("{}.netcheck-{}-{}", object.name, message.sent.alert, message.sent.sequence);
        KubeEvent {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            regarding: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some(object.kind.clone()),
                name: Some(object.name.clone()),
                namespace: Some(object.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                uid,
                ..ObjectReference::default()
            }),
            type_: Some(if over { "Normal" } else { "Warning" }.to_owned()),
            reason: Some(
                match message.event {
                    Event::Opened => "NetworkIncident",
                    Event::Changed | Event::Repeated => "NetworkIncidentChanged",
                    Event::Closed => "NetworkIncidentOver",
                }
                .to_owned(),
            ),
            action: Some("Probing".to_owned()),
            note: Some(cut(note)),
            reporting_controller: Some("netcheck.io/hub".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..KubeEvent::default()
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > NOTE {
        let end = (0..=NOTE - '…'.len_utf8()).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or_default());
        text.push('…');
    }
    text
}

impl Receiver for Events {
    const NAME: &'static str = "kubernetes";
    const BATCH: usize = 1;

    fn style(&self) -> Style {
        Style::Once
    }

    fn wants(&self, notice: &Notice) -> bool {
        notice.blames.is_some()
    }

    async fn send(&self, messages: &[Message]) -> Result<(), SendError> {
        for message in messages {
            let late = |_elapsed| SendError::Later {
                why: format!("the Kubernetes API did not answer within {PATIENCE:?}"),
                after: None,
            };
            match tokio::time::timeout(PATIENCE, self.create(message)).await.map_err(late)? {
                Ok(()) => {}
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    let why = format!("the hub's role needs the verb create on events ({})", status.message);
                    return Err(SendError::Never { why });
                }
                Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                    return Err(SendError::Never { why: status.message.clone() });
                }
                Err(error) => return Err(SendError::Later { why: error.to_string(), after: None }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_where_the_api_would_refuse_them() {
        assert_eq!(cut("short".to_owned()), "short");
        for text in ["→".repeat(400), "x".repeat(1025)] {
            let note = cut(text);
            assert!(note.len() <= NOTE && note.len() > NOTE - 8 && note.ends_with('…'), "{}", note.len());
        }
    }
}
