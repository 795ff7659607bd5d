//! Sessions that go through another agent, and come back.

use super::*;

fn through(node: &str) -> Arc<Mutex<Way>> {
    Arc::new(Mutex::new(Way::Relay(node.into())))
}

#[tokio::test(start_paused = true)]
async fn it_says_through_whom_it_comes_and_returns_without_losing_a_sample() {
    let way = through("n7");
    let mut rig = Rig::going(Limits::default(), &way);
    let mut hub = rig.session().await;
    assert_eq!(hub.welcome(0).await.relayed_by, "n7");
    rig.sample();
    rig.sample();
    assert_eq!(hub.batch().await.sequence, 1);
    assert_eq!(hub.batch().await.sequence, 2);
    rig.until(|rig| rig.hub.borrow().relay() == Some("n7")).await;
    assert_eq!(rig.hub.borrow().direct(), None);
    let degraded = || rig.hub.borrow().degraded(tokio::time::Instant::now());
    // The direct way is looked for, and does not answer.
    sleep(Duration::from_secs(15)).await;
    assert_eq!(
        degraded().unwrap(),
        "the session with the hub goes through n7: a direct connection does not come about in time"
    );
    *way.lock().unwrap() = Way::Direct(None);
    let mut back = rig.session().await;
    // The hub has the first batch alone.
    assert_eq!(back.welcome(1).await.relayed_by, "");
    assert_eq!(back.batch().await.sequence, 2);
    rig.until(|rig| rig.hub.borrow().connected()).await;
    let state = rig.hub.borrow().clone();
    assert_eq!((state.relay(), state.sessions, state.relayed_sessions), (None, 2, 1));
    assert_eq!(state.ended, [("returned", 1)].into());
    assert_eq!(state.degraded(tokio::time::Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn what_the_hub_announces_of_neighbours_and_nodes_is_kept() {
    let relays = Arc::new(Relays::new("hub", None));
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    let relay = v1::Relay { node: "n2".into(), addresses: vec![vec![10, 0, 0, 2]], port: 6102 };
    relays.learn(&v1::Relays { relays: vec![relay.clone()] });
    hub.say(FromHub::Relays(v1::Relays { relays: vec![relay] })).await;
    let entry = v1::AddressEntry { address: vec![10, 0, 0, 3], node: "n3".into(), ..Default::default() };
    let addresses = Some(v1::AddressTable { entries: vec![entry], ..Default::default() });
    hub.say(FromHub::Plan(v1::PlanDelta { version: 3, addresses, ..Default::default() })).await;
    assert_eq!(hub.applied().await.version, 3);
    assert_eq!(rig.relays.candidates(), relays.candidates());
    assert!(rig.nodes.contains([10, 0, 0, 3].into()));
}
