//! What others are sent of the hub's incidents: a webhook, and the Kubernetes API.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use netcheck_common::domain::Outcome;
use netcheck_hub::deliver::{DeliverError, Deliveries, Settings};
use netcheck_hub::inventory::kubernetes::{Access, ApiHealth, connect};
use netcheck_kubefake::{FakeApi, Resource};
use netcheck_outbound::{Endpoint, Url};
use netcheck_proto::v1;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::rig::{DEADLINE, Rig};

type Documents = Arc<Mutex<Vec<Value>>>;

/// A webhook, and what it was sent.
async fn webhook() -> (Url, Documents) {
    let documents = Documents::default();
    let take = |State(documents): State<Documents>, body: String| async move {
        documents.lock().unwrap().push(serde_json::from_str(&body).unwrap());
    };
    let app = Router::new().route("/hook", post(take)).with_state(Arc::clone(&documents));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, documents)
}

async fn client(fake: &FakeApi) -> kube::Client {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
    let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
    connect(&access, &Arc::new(ApiHealth::default())).await.unwrap()
}

async fn start_deliveries(rig: &Rig, settings: Settings, fake: &FakeApi) -> DropGuard {
    let stop = CancellationToken::new();
    let deliveries = Deliveries::build(&rig.hub, settings, None, Some(client(fake).await)).unwrap();
    tokio::spawn(deliveries.run(stop.clone()));
    stop.drop_guard()
}

/// Two agents that don't reach n3.
async fn n3_is_dead(rig: &Rig) {
    for node in ["n1", "n2"] {
        let mut agent = rig.agent(node).await;
        let outcome = |path: &v1::PathSpec| match path.target.as_str() {
            "node/n3" | "pod/default/web-3" => Outcome::Timeout,
            _ => Outcome::Reply,
        };
        let batch = agent.windows(4, outcome);
        agent.batch(batch).await;
    }
}

async fn until<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = seen() {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test]
async fn an_incident_is_sent_to_all_who_want_to_know() {
    let (rig, fake) = (Rig::start(), FakeApi::start().await.unwrap());
    let (url, documents) = webhook().await;
    let settings =
        Settings { webhooks: vec![Endpoint::open(url)], kubernetes_events: true, ..Settings::default() };
    let _running = start_deliveries(&rig, settings, &fake).await;
    n3_is_dead(&rig).await;
    let received = |event: &'static str| {
        let documents = Arc::clone(&documents);
        move || documents.lock().unwrap().iter().find(|document| document["event"] == event).cloned()
    };
    let opened = until("it opens", received("opened")).await;
    let incident = &opened["incident"];
    assert_eq!(incident["cause"], "node/n3");
    assert_eq!((&incident["kind"], &incident["verdict"]), (&"node".into(), &"unreachable".into()));
    assert_eq!(incident["headline"], "n3 answers nobody");
    assert_eq!(incident["broken"], "n3 answers nobody (16 paths)");
    assert_eq!(incident["sources"], serde_json::json!(["n1", "n2"]));
    assert_eq!(incident["blames"]["kind"], "Node");
    assert!(incident["evidence"][0].as_str().unwrap().contains("paths to n3 fail"), "{incident}");
    let id = incident["id"].as_str().unwrap().to_owned();
    assert_eq!(opened["id"], format!("{id}/1"));
    let event = async |sequence: u8| {
        let name = format!("n3.netcheck-{id}-{sequence}");
        until("an Event is made", || fake.get(Resource::Events, "default", &name)).await
    };
    let warning = event(1).await;
    assert_eq!((&warning["type"], &warning["reason"]), (&"Warning".into(), &"NetworkIncident".into()));
    assert_eq!(
        (&warning["regarding"]["kind"], &warning["regarding"]["name"]),
        (&"Node".into(), &"n3".into())
    );
    assert!(warning["note"].as_str().unwrap().starts_with("n3 answers nobody. "), "{warning}");

    // It is over: for the hub, which finds it anew afterwards.
    let mut state = rig.hub.lock();
    for at in 0..netcheck_analysis::incident::tracker::CLOSE_AFTER {
        state.incidents.update(&[], &[], i64::from(at) + 1);
    }
    drop(state);
    let closed = until("it closes", received("closed")).await;
    assert_eq!(closed["incident"]["id"], id.as_str());
    assert!(closed["incident"]["closed_at"].is_string());
    assert_eq!(event(2).await["reason"], "NetworkIncidentOver");
    // Who was sent something has it before the hub has the answer, and counts it.
    let counted = || {
        let standings = rig.hub.lock().deliveries.standings();
        standings.iter().all(|one| one.sent >= 2 && one.caveats().is_empty()).then_some(())
    };
    until("what was sent is counted, and nothing is wrong", counted).await;
}

#[tokio::test]
async fn a_report_says_who_does_not_take_what_it_is_sent() {
    let (rig, fake) = (Rig::start(), FakeApi::start().await.unwrap());
    fake.faults(|faults| faults.deny("create", Resource::Events));
    let nobody = Endpoint::open("http://127.0.0.1:1/".parse().unwrap());
    let settings = Settings { alertmanagers: vec![nobody], kubernetes_events: true, ..Settings::default() };
    let _running = start_deliveries(&rig, settings, &fake).await;
    n3_is_dead(&rig).await;
    let caveat = |words: &'static str| {
        let hub = Arc::clone(&rig.hub);
        move || hub.lock().caveats().into_iter().find(|line| line.contains(words))
    };
    let away = until("the receiver that is away", caveat("alertmanager 127.0.0.1:1 takes nothing")).await;
    assert!(away.contains("1 notifications wait: can't connect"), "{away}");
    until("the right that is missing", caveat("the hub's role needs the verb create on events")).await;
}

#[test]
fn events_need_an_api() {
    let rig = netcheck_hub::state::Hub::new(netcheck_hub::state::Settings::every(DEADLINE));
    let settings = Settings { kubernetes_events: true, ..Settings::default() };
    let refused = Deliveries::build(&rig, settings, None, None).err().unwrap();
    assert!(matches!(refused, DeliverError::NoApi), "{refused}");
}
