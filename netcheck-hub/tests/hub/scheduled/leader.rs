//! Several hubs whose controllers look at the same objects: one Lease says which of them begins rounds.

use netcheck_hub::scheduled::LeaseSettings;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::*;

const LEASES: Resource = Resource::Leases;

/// A hub, its agent, and its controller with threads of its own: dropped it dies at once, as a process that is killed.
struct Member {
    rig: Rig,
    work: JoinHandle<()>,
    controller: JoinHandle<()>,
    threads: Option<Runtime>,
    stop: CancellationToken,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.work.abort();
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

fn settings(identity: &str) -> LeaseSettings {
    LeaseSettings {
        length: Duration::from_secs(2),
        deadline: Duration::from_millis(1200),
        every: Duration::from_millis(200),
        ..LeaseSettings::new("netcheck", "hub-checks", identity)
    }
}

impl Member {
    /// `silent`: its agent never answers, so that a round goes on.
    async fn start(fake: &FakeApi, identity: &str, silent: bool) -> Self {
        let rig = Rig::start();
        let agent = rig.agent("n1").await;
        let work = if silent {
            tokio::spawn(async move {
                let _agent = agent;
                std::future::pending::<()>().await;
            })
        } else {
            tokio::spawn(answer(agent, |_| Outcome::Reply))
        };
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
        let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
        let threads = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, lease) = (CancellationToken::new(), Some(settings(identity)));
        let (hub, shutdown) = (Arc::clone(&rig.hub), stop.clone());
        let controller = threads.spawn(async move {
            let client = connect(&access, &Arc::new(ApiHealth::default())).await.unwrap();
            drop(folder);
            ControllerTask { hub, client, lease, secrets: Vec::new() }.run(shutdown).await;
        });
        Self { rig, work, controller, threads: Some(threads), stop }
    }

    /// The controller gives the Lease back, as a hub that ends does.
    async fn end(mut self) {
        self.stop.cancel();
        (&mut self.controller).await.unwrap();
    }

    fn trouble(&self) -> String {
        self.rig.hub.scheduled.all().1.unwrap_or_default()
    }
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let waiting = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

fn holder(fake: &FakeApi) -> String {
    let lease = fake.get(LEASES, "netcheck", "hub-checks").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

fn status(fake: &FakeApi, name: &str) -> Value {
    fake.get(CHECKS, "", name).map(|object| object["status"].clone()).unwrap_or_default()
}

fn apply(fake: &FakeApi, name: &str, spec: &Value, created: &str) {
    fake.apply(json!({
        "apiVersion": "netcheck.io/v1alpha1", "kind": "ReachabilityCheck",
        "metadata": { "name": name, "generation": 1, "creationTimestamp": created },
        "spec": spec,
    }));
}

/// Begins of rounds, also of those that Events of the same series count.
fn begun(fake: &FakeApi, name: &str) -> usize {
    events(fake, name).iter().filter(|reason| *reason == "RoundStarted").count()
}

const CREATED: &str = "2026-03-01T00:00:00Z";

#[tokio::test]
async fn one_of_two_begins_rounds_and_when_it_dies_the_other_takes_over() {
    let fake = FakeApi::start().await.unwrap();
    let first = Member::start(&fake, "first", false).await;
    until("the first leads", || holder(&fake) == "first").await;
    let second = Member::start(&fake, "second", false).await;
    until("the second follows", || second.trouble().contains("another hub, first,")).await;
    apply(&fake, "one", &from_n1_to_n2(), CREATED);
    until("a round", || status(&fake, "one")["finish"] == true).await;
    assert_eq!(begun(&fake, "one"), 1);
    assert_eq!(first.rig.hub.scheduled.one("one").unwrap().rounds.len(), 1);
    assert!(second.rig.hub.scheduled.one("one").is_none(), "who follows begins nothing");

    // It dies: nothing is given back.
    let died = tokio::time::Instant::now();
    drop(first);
    assert_eq!(holder(&fake), "first");
    apply(&fake, "two", &from_n1_to_n2(), CREATED);
    until("the second leads", || holder(&fake) == "second").await;
    assert!(died.elapsed() < Duration::from_secs(10), "{:?}", died.elapsed());
    until("a round of the second", || status(&fake, "two")["finish"] == true).await;
    assert_eq!((begun(&fake, "one"), begun(&fake, "two")), (1, 1), "no round twice");
    assert_eq!(second.trouble(), "");
    second.end().await;
    assert_eq!(holder(&fake), "", "who ends gives it back");
}

#[tokio::test]
async fn a_round_that_the_dead_one_began_is_not_begun_again() {
    let fake = FakeApi::start().await.unwrap();
    let first = Member::start(&fake, "first", true).await;
    until("the first leads", || holder(&fake) == "first").await;
    let created = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let mut spec = from_n1_to_n2();
    spec["schedule"] = json!({ "every": "1h" });
    spec["roundTimeout"] = json!("1m");
    apply(&fake, "long", &spec, &created.to_string());
    until("its round runs", || status(&fake, "long")["lastRoundStatus"] == "Running").await;
    let marked = status(&fake, "long")["lastScheduleTime"].clone();
    until("it says so", || begun(&fake, "long") == 1).await;
    drop(first);
    let second = Member::start(&fake, "second", false).await;
    until("the second leads", || holder(&fake) == "second").await;
    until("it knows the check", || second.rig.hub.scheduled.one("long").is_some_and(|of| of.next.is_some()))
        .await;
    assert_eq!(begun(&fake, "long"), 1);
    let now = status(&fake, "long");
    assert_eq!((&now["lastScheduleTime"], &now["doneRound"]), (&marked, &json!(0)), "{now}");
}

#[tokio::test]
async fn a_holder_whose_clock_is_decades_off_is_waited_for_as_any_other() {
    for renewed in ["2001-01-01T00:00:00.000000Z", "2091-01-01T00:00:00.000000Z"] {
        let fake = FakeApi::start().await.unwrap();
        let lease = |renewed: &str| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "namespace": "netcheck", "name": "hub-checks" },
                "spec": { "holderIdentity": "ghost", "leaseDurationSeconds": 2, "renewTime": renewed, "leaseTransitions": 7 },
            })
        };
        fake.apply(lease(renewed));
        let second = Member::start(&fake, "second", false).await;
        until("it follows", || second.trouble().contains("another hub, ghost,")).await;
        // As long as it is renewed, nobody takes it.
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            fake.apply(lease(renewed));
            assert_eq!(holder(&fake), "ghost");
        }
        until("it is taken", || holder(&fake) == "second").await;
        let lease = fake.get(LEASES, "netcheck", "hub-checks").unwrap();
        assert_eq!(lease["spec"]["leaseTransitions"], 8, "{lease}");
    }
}

#[tokio::test]
async fn who_can_not_renew_begins_nothing_and_who_lost_it_shows_nothing() {
    let fake = FakeApi::start().await.unwrap();
    let first = Member::start(&fake, "first", false).await;
    until("it leads", || holder(&fake) == "first").await;
    fake.faults(|faults| faults.deny("update", LEASES));
    // Until its time is over at the latest.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    apply(&fake, "late", &from_n1_to_n2(), CREATED);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((begun(&fake, "late"), status(&fake, "late")), (0, Value::Null));
    // Another one takes it meanwhile.
    fake.edit(LEASES, "netcheck", "hub-checks", |lease| lease["spec"]["holderIdentity"] = json!("other"));
    until("it follows", || first.trouble().contains("another hub, other,")).await;
    assert!(first.rig.hub.scheduled.all().0.is_empty());
    fake.faults(|faults| faults.allow("update", LEASES));
    until("it leads again, for nobody renews", || holder(&fake) == "first").await;
    until("and begins what was due", || status(&fake, "late")["finish"] == true).await;
    assert_eq!(begun(&fake, "late"), 1);
}

#[tokio::test]
async fn without_the_right_to_a_lease_readers_learn_what_to_install() {
    let fake = FakeApi::start().await.unwrap();
    fake.faults(|faults| faults.deny("get", LEASES));
    let only = Member::start(&fake, "only", false).await;
    until("it says so", || only.trouble().contains("hub.scheduledChecks")).await;
    assert!(only.trouble().contains("cannot get resource"), "{}", only.trouble());
}

#[tokio::test]
async fn who_leads_again_after_another_one_did_sees_what_that_one_wrote() {
    let fake = FakeApi::start().await.unwrap();
    let first = Member::start(&fake, "first", false).await;
    until("it leads", || holder(&fake) == "first").await;
    let mut spec = from_n1_to_n2();
    spec["suspend"] = json!(true);
    apply(&fake, "shared", &spec, CREATED);
    until("it knows the check", || first.rig.hub.scheduled.one("shared").is_some()).await;
    // It can't look, and its time is over; another one leads, runs the round, and gives the Lease back.
    fake.faults(|faults| faults.deny("get", LEASES));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    fake.edit(LEASES, "netcheck", "hub-checks", |lease| {
        let transitions = lease["spec"]["leaseTransitions"].as_i64().unwrap();
        lease["spec"]["leaseTransitions"] = json!(transitions + 1);
        lease["spec"]["holderIdentity"] = json!("");
    });
    fake.edit(CHECKS, "", "shared", |check| {
        check["spec"]["suspend"] = json!(false);
        check["status"] = json!({
            "doneRound": 1, "lastScheduleTime": CREATED, "lastRoundStatus": "Succeeded", "expectedRound": 1,
        });
    });
    fake.faults(|faults| faults.allow("get", LEASES));
    until("it leads again", || holder(&fake) == "first").await;
    until("and says what is left to do", || status(&fake, "shared")["finish"] == true).await;
    assert_eq!((begun(&fake, "shared"), &status(&fake, "shared")["doneRound"]), (0, &json!(1)));
}
