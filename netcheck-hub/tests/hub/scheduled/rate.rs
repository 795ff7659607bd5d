//! Rounds that last for a while and want so many probes a second.

use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_common::domain::PathId;
use netcheck_common::window::PathWindow;
use netcheck_proto::columns;
use tokio::sync::mpsc;

use super::*;

/// An agent that sends so many probes of each path a second while the hub wants more, and one else.
async fn follow_wishes(mut agent: FakeAgent, each: u32, wishes: mpsc::UnboundedSender<v1::Hasten>) {
    let (mut wish, mut reported) = (v1::Hasten::default(), unix_now_ns() / SECOND_NS);
    loop {
        let hastened = agent.until(|message| match message {
            ToAgent::Hasten(wish) => Some(Some(wish.clone())),
            ToAgent::Expedite(_) => Some(None),
            _ => None,
        });
        if let Some(newest) = hastened.await {
            wish = newest;
            let _ = wishes.send(wish.clone());
        }
        let second = unix_now_ns() / SECOND_NS;
        let windows = (reported..second).map(|second| {
            let rows: Vec<PathWindow> = agent
                .plan
                .keys()
                .map(|&path| {
                    let mut window = PathWindow::empty(PathId(path));
                    let probes = if wish.path_ids.contains(&path) { each } else { 1 };
                    for _ in 0..probes {
                        window.count(Outcome::Reply);
                        window.round_trip.record(400_000);
                    }
                    window
                })
                .collect();
            columns::encode(second * SECOND_NS, SECOND_NS, &rows)
        });
        let batch = v1::SampleBatch { windows: windows.collect(), ..Default::default() };
        reported = second;
        if !batch.windows.is_empty() {
            agent.batch(batch).await;
        }
    }
}

fn asked(per_second: u32) -> Value {
    let mut spec = from_n1_to_n2();
    spec["probesPerSecond"] = json!(per_second);
    spec["duration"] = json!("4s");
    spec
}

#[tokio::test]
async fn a_rate_is_asked_of_agents_and_what_they_had_is_in_the_report() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let (seen, mut wishes) = mpsc::unbounded_channel();
    let work = tokio::spawn(follow_wishes(agent, 5, seen));
    scheduling.apply("fast", &asked(30), &Value::Null);
    let status = scheduling.until("fast", |status| status["finish"] == true).await;
    let round = &status["history"][0];
    assert_eq!((&round["status"], &round["paths"]), (&json!("Succeeded"), &json!(6)), "{status}");
    assert_eq!((&round["rate"]["asked"], &round["rate"]["lowest"]), (&json!(30.0), &json!(30.0)), "{status}");
    let wish = wishes.recv().await.unwrap();
    let interval = wish.interval.unwrap();
    assert_eq!((wish.path_ids.len(), interval.seconds, interval.nanos), (6, 0, 200_000_000));
    assert!(wish.duration.unwrap().seconds < 5, "{wish:?}");
    let again = wishes.recv().await.unwrap();
    assert_eq!(again.id, wish.id, "the same wish, prolonged");
    let mut client = CheckServiceClient::new(scheduling.rig.channel().await);
    let request = v1::ListScheduledChecksRequest { name: "fast".to_owned() };
    let listed = client.list_scheduled_checks(request).await.unwrap().into_inner();
    let round = &listed.checks[0].rounds[0];
    let rate = round.rate.as_ref().unwrap();
    assert!((rate.mean - 30.0).abs() < 0.01 && rate.short.is_empty(), "{rate:?}");
    assert!((round.targets[0].probes_per_second - 30.0).abs() < 0.01, "{:?}", round.targets[0]);
    work.abort();
}

#[tokio::test]
async fn a_rate_that_is_not_reached_is_in_status_event_and_report() {
    let scheduling = Scheduling::start().await;
    let agent = scheduling.rig.agent("n1").await;
    let (seen, _wishes) = mpsc::unbounded_channel();
    let work = tokio::spawn(follow_wishes(agent, 2, seen));
    scheduling.apply("slow", &asked(30), &Value::Null);
    let status = scheduling.until("slow", |status| status["finish"] == true).await;
    let round = &status["history"][0];
    assert_eq!(round["status"], "Incomplete", "{status}");
    assert_eq!(round["reason"], "asked for 30 probes per second, n1 had 12.0", "{status}");
    assert_eq!(round["rate"]["short"], json!(["n1"]), "{status}");
    let reported = async {
        while !events(&scheduling.fake, "slow").contains(&"RateNotReached".to_owned()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, reported).await.expect("an Event says so");
    let mut client = CheckServiceClient::new(scheduling.rig.channel().await);
    let request = v1::ListScheduledChecksRequest { name: "slow".to_owned() };
    let listed = client.list_scheduled_checks(request).await.unwrap().into_inner();
    let rate = listed.checks[0].rounds[0].rate.clone().unwrap();
    assert_eq!(rate.short, ["n1: asked for 30 per second, had 12.0"]);
    work.abort();
}

#[tokio::test]
async fn a_duration_that_no_round_can_have_is_refused_with_the_field() {
    let scheduling = Scheduling::start().await;
    let mut spec = asked(30);
    spec["duration"] = json!("2m");
    scheduling.apply("long", &spec, &Value::Null);
    spec["duration"] = Value::Null;
    scheduling.apply("endless", &spec, &Value::Null);
    spec["duration"] = json!("20s");
    spec["roundTimeout"] = json!("20s");
    scheduling.apply("cut", &spec, &Value::Null);
    spec["roundTimeout"] = Value::Null;
    spec["duration"] = json!("2s");
    scheduling.apply("short", &spec, &Value::Null);
    // Of a definition that does not say how many are the least.
    scheduling.apply("none", &asked(0), &Value::Null);
    for (name, word) in [
        ("short", "3s at least"),
        ("long", "1m 40s at most"),
        ("endless", "needs spec.duration"),
        ("cut", "spec.roundTimeout"),
        ("none", "spec.probesPerSecond: 1 at least"),
    ] {
        let status = scheduling.until(name, |status| status["conditions"].is_array()).await;
        let accepted = &status["conditions"][0];
        assert_eq!(accepted["status"], json!("False"), "{status}");
        assert!(accepted["message"].as_str().unwrap().contains(word), "{status}");
    }
}
