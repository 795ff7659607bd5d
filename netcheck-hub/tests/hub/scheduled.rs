//! Scheduled checks: objects in a fake Kubernetes API, a hub that runs their rounds, an agent that probes.

use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::Outcome;
use netcheck_hub::inventory::kubernetes::{Access, ApiHealth, connect};
use netcheck_hub::scheduled::ControllerTask;
use netcheck_kubefake::{FakeApi, Resource};
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::session_response::Message as ToAgent;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::rig::{DEADLINE, FakeAgent, Rig};

mod leader;
mod rate;
mod requested;

const CHECKS: Resource = Resource::ReachabilityChecks;

/// A hub with its controller, and the API that both speak of.
struct Scheduling {
    rig: Rig,
    fake: FakeApi,
    stop: CancellationToken,
}

impl Drop for Scheduling {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Scheduling {
    async fn start() -> Self {
        let mut scheduling =
            Self { rig: Rig::start(), fake: FakeApi::start().await.unwrap(), stop: CancellationToken::new() };
        scheduling.restart_controller().await;
        scheduling
    }

    /// The controller ends, and another one begins, as with a new hub.
    async fn restart_controller(&mut self) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, self.fake.kubeconfig()).unwrap();
        let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
        let client = connect(&access, &Arc::new(ApiHealth::default())).await.unwrap();
        let secrets = vec!["orders".to_owned()];
        let task = ControllerTask { hub: Arc::clone(&self.rig.hub), client, lease: None, secrets };
        tokio::spawn(task.run(self.stop.clone()));
    }

    fn apply(&self, name: &str, spec: &Value, status: &Value) {
        self.apply_created("2026-03-01T00:00:00Z", name, spec, status);
    }

    fn apply_created(&self, created: &str, name: &str, spec: &Value, status: &Value) {
        self.fake.apply(json!({
            "apiVersion": "netcheck.io/v1alpha1", "kind": "ReachabilityCheck",
            "metadata": { "name": name, "generation": 1, "creationTimestamp": created },
            "spec": spec, "status": status,
        }));
    }

    fn status(&self, name: &str) -> Value {
        self.fake.get(CHECKS, "", name).map(|object| object["status"].clone()).unwrap_or_default()
    }

    /// The status of one, once it is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let status = self.status(name);
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let late = tokio::time::timeout(DEADLINE, waiting).await;
        late.unwrap_or_else(|_| panic!("{name}: {}", self.status(name)))
    }
}

/// An agent that answers every wish for probes so, until it is dropped.
async fn answer(mut agent: FakeAgent, outcome_of: impl Fn(&v1::PathSpec) -> Outcome) {
    loop {
        agent.until(|message| matches!(message, ToAgent::Expedite(_)).then_some(())).await;
        let batch = agent.windows(1, &outcome_of);
        agent.batch(batch).await;
    }
}

fn from_n1_to_n2() -> Value {
    json!({ "from": { "nodes": ["n1"], "vantages": ["host"] }, "targets": { "names": ["n2"], "kinds": ["node"] } })
}

#[tokio::test]
async fn a_round_runs_and_its_object_says_what_came_of_it() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let work = tokio::spawn(answer(agent, |_| Outcome::Reply));
    scheduling.apply("nightly", &from_n1_to_n2(), &Value::Null);
    let status = scheduling.until("nightly", |status| status["finish"] == true).await;
    assert_eq!((&status["expectedRound"], &status["doneRound"]), (&json!(1), &json!(1)), "{status}");
    assert_eq!((&status["lastRoundStatus"], &status["schedule"]), (&json!("Succeeded"), &json!("now")));
    assert_eq!(status["nextScheduleTime"], Value::Null);
    let round = &status["history"][0];
    assert_eq!(
        (&round["paths"], &round["failed"], &round["targets"]),
        (&json!(6), &json!(0), &json!(1)),
        "{status}"
    );
    let types: Vec<&Value> = status["conditions"].as_array().unwrap().iter().map(|of| &of["type"]).collect();
    assert_eq!(types, ["Accepted", "Succeeding"]);

    let mut client = CheckServiceClient::new(scheduling.rig.channel().await);
    let request = v1::ListScheduledChecksRequest { name: "nightly".to_owned() };
    let listed = client.list_scheduled_checks(request).await.unwrap().into_inner();
    let target = &listed.checks[0].rounds[0].targets[0];
    assert_eq!((target.target.as_str(), target.paths), ("node/n2", 6));
    assert!(target.sent >= 6 && target.answered == target.sent, "{target:?}");
    assert!(target.probes_per_second > 0.0);
    let mean = target.round_trip.unwrap().mean.unwrap();
    assert!((380_000..420_000).contains(&mean.nanos), "{mean:?}");
    let other = v1::ListScheduledChecksRequest { name: "other".to_owned() };
    assert_eq!(client.list_scheduled_checks(other).await.unwrap_err().code(), tonic::Code::NotFound);
    work.abort();
}

#[tokio::test]
async fn what_is_not_as_expected_fails_the_round_and_says_which_target() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let work =
        tokio::spawn(answer(agent, |path| if path.port == 0 { Outcome::Reply } else { Outcome::Refused }));
    let mut spec = from_n1_to_n2();
    spec["expect"] = json!({ "successRate": "50%" });
    spec["roundTimeout"] = json!("5s");
    scheduling.apply("strict", &spec, &Value::Null);
    let status = scheduling.until("strict", |status| status["finish"] == true).await;
    let round = &status["history"][0];
    assert_eq!((&round["status"], &round["failed"]), (&json!("Failed"), &json!(4)), "{status}");
    assert!(!round["reason"].as_str().unwrap().is_empty(), "{status}");
    spec["expect"] = json!({ "successRate": "30%" });
    scheduling.apply("lenient", &spec, &Value::Null);
    let status = scheduling.until("lenient", |status| status["finish"] == true).await;
    assert_eq!(status["history"][0]["status"], "Succeeded", "a third is answered: {status}");
    work.abort();
}

#[tokio::test]
async fn a_spec_that_makes_no_sense_is_refused_with_the_field() {
    let scheduling = Scheduling::start().await;
    scheduling.apply("wrong", &json!({ "schedule": { "cron": "61 * * * *" } }), &Value::Null);
    let status = scheduling.until("wrong", |status| status["conditions"].is_array()).await;
    let accepted = &status["conditions"][0];
    assert_eq!((&accepted["type"], &accepted["status"]), (&json!("Accepted"), &json!("False")), "{status}");
    assert!(accepted["message"].as_str().unwrap().contains("spec.schedule.cron"), "{status}");
}

#[tokio::test]
async fn a_new_hub_goes_on_where_the_old_one_was() {
    let scheduling = Scheduling::start().await;
    let done =
        json!({ "doneRound": 1, "lastScheduleTime": "2026-03-01T00:00:00Z", "lastRoundStatus": "Succeeded" });
    scheduling.apply("done", &json!({}), &done);
    let status = scheduling.until("done", |status| status["finish"] == true).await;
    assert_eq!(
        (&status["doneRound"], &status["lastRoundStatus"]),
        (&json!(1), &json!("Succeeded")),
        "{status}"
    );
    // One that was in a round when its hub went away has its round anew.
    let agent = scheduling.rig.agent("n1").await;
    let work = tokio::spawn(answer(agent, |_| Outcome::Reply));
    let mut spec = from_n1_to_n2();
    spec["schedule"] = json!({ "every": "10s" });
    spec["rounds"] = json!(8);
    let running =
        json!({ "doneRound": 7, "lastScheduleTime": "2026-03-01T00:01:00Z", "lastRoundStatus": "Running" });
    scheduling.apply("cut", &spec, &running);
    let status = scheduling.until("cut", |status| status["finish"] == true).await;
    assert_eq!(status["history"][0]["round"], 8, "{status}");
    work.abort();
}

#[tokio::test]
async fn what_the_api_did_not_take_is_written_when_it_does() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let work = tokio::spawn(answer(agent, |_| Outcome::Reply));
    scheduling.fake.faults(|faults| faults.deny("patch", CHECKS));
    scheduling.apply("refused", &from_n1_to_n2(), &Value::Null);
    let hub = Arc::clone(&scheduling.rig.hub);
    let done = async {
        while hub.scheduled.one("refused").is_none_or(|check| check.rounds.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, done).await.expect("the round runs although nothing can be written");
    assert_eq!(scheduling.status("refused"), Value::Null);
    scheduling.fake.faults(|faults| faults.allow("patch", CHECKS));
    scheduling.until("refused", |status| status["doneRound"] == 1).await;
    work.abort();
}

/// Reasons of the Events about one, in no order.
fn events(fake: &FakeApi, name: &str) -> Vec<String> {
    let about = |event: &Value| event["regarding"]["name"] == *name;
    let reason = |event: Value| event["reason"].as_str().unwrap_or_default().to_owned();
    fake.all(Resource::Events).into_iter().filter(about).map(reason).collect()
}

#[tokio::test]
async fn a_round_that_is_due_while_one_runs_is_left_out_or_takes_its_place() {
    let scheduling = Scheduling::start().await;
    // It never answers, so that the first round runs when the second is due: that is in a second.
    let _silent = scheduling.rig.agent("n1").await;
    let created = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(9);
    let mut spec = from_n1_to_n2();
    spec["schedule"] = json!({ "every": "10s" });
    spec["roundTimeout"] = json!("1m");
    scheduling.apply_created(&created.to_string(), "patient", &spec, &Value::Null);
    spec["concurrencyPolicy"] = json!("Replace");
    scheduling.apply_created(&created.to_string(), "hasty", &spec, &Value::Null);
    let status = scheduling.until("hasty", |status| status["doneRound"] == 1).await;
    let round = &status["history"][0];
    assert_eq!(
        (&round["status"], &round["reason"]),
        (&json!("Failed"), &json!("the next round was due")),
        "{status}"
    );
    let left_out = async {
        while !events(&scheduling.fake, "patient").contains(&"RoundSkipped".to_owned()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, left_out).await.expect("an Event says that a round was left out");
    let patient = scheduling.status("patient");
    assert_eq!(
        (&patient["doneRound"], &patient["lastRoundStatus"]),
        (&json!(0), &json!("Running")),
        "{patient}"
    );
    let hasty = events(&scheduling.fake, "hasty");
    assert!(
        hasty.contains(&"RoundStarted".to_owned()) && hasty.contains(&"RoundFailed".to_owned()),
        "{hasty:?}"
    );
}

#[tokio::test]
async fn what_is_suspended_begins_no_round_and_what_is_deleted_is_shown_no_more() {
    let scheduling = Scheduling::start().await;
    scheduling.apply("resting", &json!({ "suspend": true }), &Value::Null);
    let status = scheduling.until("resting", |status| status["conditions"].is_array()).await;
    assert_eq!((&status["doneRound"], &status["lastRoundStatus"]), (&json!(0), &Value::Null), "{status}");
    assert!(!scheduling.rig.hub.scheduled.one("resting").unwrap().running);
    assert!(scheduling.fake.delete(CHECKS, "", "resting"));
    let gone = async {
        while scheduling.rig.hub.scheduled.one("resting").is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("the board forgets it");
}

#[tokio::test]
async fn without_their_definition_readers_are_shown_what_to_install() {
    let scheduling = Scheduling::start().await;
    scheduling.fake.faults(|faults| faults.missing(CHECKS, true));
    scheduling.fake.faults(|faults| faults.cut_watches(CHECKS));
    let mut client = CheckServiceClient::new(scheduling.rig.channel().await);
    let warned = async {
        loop {
            let request = v1::ListScheduledChecksRequest::default();
            let trouble = client.list_scheduled_checks(request).await.unwrap().into_inner().trouble;
            if !trouble.is_empty() {
                return trouble;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let trouble = tokio::time::timeout(DEADLINE, warned).await.unwrap();
    assert!(trouble.contains("hub.scheduledChecks"), "{trouble}");
}
