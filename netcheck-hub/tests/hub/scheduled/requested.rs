//! What a check asks for itself: sent to agents while its round runs, and no longer.

use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio::sync::mpsc;

use super::*;

fn own(http: &Value, dns: &Value) -> Value {
    json!({
        "from": { "nodes": ["n1"], "vantages": ["host"] },
        "targets": { "http": http, "dns": dns },
    })
}

/// Whether anything that a check asks for is planned.
fn planned(scheduling: &Scheduling) -> bool {
    scheduling.rig.hub.lock().catalog.probes.iter().any(|probe| probe.target.requested.is_some())
}

#[tokio::test]
async fn requests_and_questions_are_sent_while_the_round_runs() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let (seen, mut specs) = mpsc::unbounded_channel();
    let work = tokio::spawn(answer(agent, move |path| {
        if path.target.starts_with("check/") {
            seen.send(path.clone()).unwrap();
        }
        Outcome::Reply
    }));
    let http = json!([{
        "url": "http://web.default.svc/orders?key=s3cret", "method": "POST", "body": "s3cret",
        "headers": [{ "name": "x-token", "value": "s3cret" }], "expectedStatuses": "200,409",
    }]);
    let spec = own(&http, &json!([{ "names": ["a.example"], "types": ["A", "MX"] }]));
    scheduling.apply("orders", &spec, &Value::Null);
    let status = scheduling.until("orders", |status| status["finish"] == true).await;
    let round = &status["history"][0];
    // The DNS service and its one server are asked twice each.
    assert_eq!((&round["status"], &round["paths"]), (&json!("Succeeded"), &json!(5)), "{status}");
    specs.close();
    let (mut posts, mut types) = (0, Vec::new());
    while let Some(spec) = specs.recv().await {
        match &spec.call {
            Some(call) => {
                let request = call.request.as_ref().unwrap();
                assert_eq!((call.method.as_str(), call.body.as_slice()), ("POST", &b"s3cret"[..]));
                assert_eq!(call.headers[0].value, "s3cret");
                assert_eq!((request.path.as_str(), spec.external), ("/orders?key=s3cret", false));
                assert_eq!(spec.address, [10, 96, 0, 80]);
                posts += 1;
            }
            None => types.push(spec.dns_type),
        }
    }
    types.sort_unstable();
    types.dedup();
    assert!(posts > 0 && types == [1, 15], "{posts} {types:?}");

    let mut client = CheckServiceClient::new(scheduling.rig.channel().await);
    let request = v1::ListScheduledChecksRequest { name: "orders".to_owned() };
    let listed = client.list_scheduled_checks(request).await.unwrap().into_inner();
    let targets: Vec<&str> =
        listed.checks[0].rounds[0].targets.iter().map(|target| target.target.as_str()).collect();
    assert_eq!(targets.len(), 5, "{targets:?}");
    assert!(targets.contains(&"check/orders/POST/http://web.default.svc/orders"), "{targets:?}");
    assert!(targets.contains(&"check/orders/MX/a.example.@10.96.0.10:53/udp"), "{targets:?}");
    assert!(!format!("{listed:?}").contains("s3cret") && !status.to_string().contains("s3cret"));
    let gone = scheduling.rig.until("no round, no request", |state| {
        !state.catalog.probes.iter().any(|probe| probe.target.requested.is_some())
    });
    gone.await;
    work.abort();
}

#[tokio::test]
async fn what_an_agent_refuses_is_named_and_the_round_is_incomplete() {
    let scheduling = Scheduling::start().await;
    let mut agent = scheduling.rig.agent("n1").await;
    let spec = own(&json!([{ "url": "https://192.0.2.7/" }]), &json!([]));
    scheduling.apply("outside", &spec, &Value::Null);
    let refuses = async {
        let delta = agent.until_plan(|delta| delta.upsert.iter().any(|path| path.external)).await;
        let refused: Vec<v1::RefusedPath> = delta
            .upsert
            .iter()
            .map(|path| v1::RefusedPath {
                path_id: path.path_id,
                why: "192.0.2.7 is not in --allow-cidr of this agent".to_owned(),
            })
            .collect();
        assert_eq!(refused.len(), 1, "from this node, and not from its pod");
        let applied = v1::PlanApplied { version: delta.version, refused, ..Default::default() };
        agent.send(FromAgent::PlanApplied(applied)).await;
        std::future::pending::<()>().await;
    };
    let ended = scheduling.until("outside", |status| status["finish"] == true);
    let status = tokio::select! {
        status = ended => status,
        () = refuses => unreachable!(),
    };
    let round = &status["history"][0];
    assert_eq!((&round["status"], &round["notMeasured"]), (&json!("Incomplete"), &json!(1)), "{status}");
    assert!(round["reason"].as_str().unwrap().contains("--allow-cidr"), "{status}");
}

#[tokio::test]
async fn a_deleted_check_s_requests_leave_the_plan_with_its_round() {
    let scheduling = Scheduling::start().await;
    let _silent = scheduling.rig.agent("n1").await;
    let spec = own(&json!([{ "url": "http://web.default.svc/" }]), &json!([]));
    scheduling.apply("short", &spec, &Value::Null);
    scheduling
        .rig
        .until("planned", |state| state.catalog.probes.iter().any(|of| of.target.requested.is_some()))
        .await;
    assert!(scheduling.fake.delete(CHECKS, "", "short"));
    scheduling
        .rig
        .until("gone", |state| !state.catalog.probes.iter().any(|of| of.target.requested.is_some()))
        .await;
    assert!(!planned(&scheduling));
}

#[tokio::test]
async fn targets_that_make_no_sense_are_refused_with_the_field() {
    let scheduling = Scheduling::start().await;
    let spec = own(&json!([{ "url": "http://web.default.svc/", "body": "x" }]), &json!([]));
    scheduling.apply("wrong", &spec, &Value::Null);
    let status = scheduling.until("wrong", |status| status["conditions"].is_array()).await;
    let accepted = &status["conditions"][0];
    assert_eq!(accepted["status"], json!("False"), "{status}");
    assert!(accepted["message"].as_str().unwrap().contains("spec.targets.http[0].body"), "{status}");
}

#[tokio::test]
async fn secret_texts_are_sent_and_named_where_they_are_missing() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let (seen, mut calls) = mpsc::unbounded_channel();
    let work = tokio::spawn(answer(agent, move |path| {
        if let Some(call) = &path.call {
            seen.send(call.clone()).unwrap();
        }
        Outcome::Reply
    }));
    let from = |name: &str, key: &str| json!({ "secretKeyRef": { "name": name, "key": key } });
    let spec = |name: &str, key: &str| {
        let header = json!({ "name": "authorization", "valueFrom": from(name, key) });
        let http = json!([{ "url": "http://web.default.svc/orders", "method": "POST", "headers": [header],
            "bodyFrom": from(name, "body") }]);
        own(&http, &json!([]))
    };
    let reason = |status: &Value| status["history"][0]["reason"].as_str().unwrap_or_default().to_owned();

    scheduling.apply("other", &spec("hub-tls", "tls.key"), &Value::Null);
    let status = scheduling.until("other", |status| status["conditions"].is_array()).await;
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("headers[0].valueFrom: the hub does not read Secret hub-tls"), "{status}");

    scheduling.apply("early", &spec("orders", "header"), &Value::Null);
    let status = scheduling.until("early", |status| status["finish"] == true).await;
    assert_eq!(status["lastRoundStatus"], json!("Failed"), "{status}");
    assert!(reason(&status).contains("there is no Secret orders in namespace default"), "{status}");

    // "Bearer s3cret\n" and "s3cret".
    scheduling.fake.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "orders", "namespace": "default" },
        "data": { "header": "QmVhcmVyIHMzY3JldAo=", "body": "czNjcmV0" },
    }));
    scheduling.apply("keyless", &spec("orders", "heater"), &Value::Null);
    let status = scheduling.until("keyless", |status| status["finish"] == true).await;
    assert!(reason(&status).contains("has no key heater"), "{status}");

    scheduling.apply("orders", &spec("orders", "header"), &Value::Null);
    let status = scheduling.until("orders", |status| status["finish"] == true).await;
    assert_eq!(status["lastRoundStatus"], json!("Succeeded"), "{status}");
    let call = calls.recv().await.unwrap();
    assert_eq!((call.headers[0].value.as_str(), call.body.as_slice()), ("Bearer s3cret", &b"s3cret"[..]));
    let mut client = CheckServiceClient::new(scheduling.rig.channel().await);
    let listed = client.list_scheduled_checks(v1::ListScheduledChecksRequest::default()).await.unwrap();
    assert!(!format!("{listed:?}{status}").contains("s3cret"));

    scheduling.fake.faults(|faults| faults.deny("get", Resource::Secrets));
    scheduling.apply("denied", &spec("orders", "header"), &Value::Null);
    let status = scheduling.until("denied", |status| status["finish"] == true).await;
    assert!(reason(&status).contains("may not get Secret orders in namespace default"), "{status}");
    work.abort();
}
