use std::time::Duration;

use super::*;
use crate::state::{Hub, HubTask, Settings, State};

const CLUSTER: &str = include_str!("../../../tests/hub/cluster.yaml");

/// Waits until the hub's state is as wanted; it is looked at after every tick.
async fn until(what: &str, hub: &Hub, wanted: impl Fn(&State) -> bool) {
    let mut ticks = hub.ticks();
    let waiting = ticks.wait_for(|_| wanted(&hub.lock()));
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what).unwrap();
}

#[tokio::test]
async fn the_file_is_followed_and_a_broken_one_keeps_the_last_good_roster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.yaml");
    let replace = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    let hub = Hub::new(Settings {
        selection: netcheck_analysis::cluster::selection::Selection::default(),
        ..Settings::every(Duration::from_secs(1))
    });
    let missing = InventoryTask::start(path.clone(), hub.taker());
    assert!(matches!(missing, Err(InventoryError::Read { .. })));
    replace(CLUSTER);
    let task = InventoryTask::start(path.clone(), hub.taker()).unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(task.run(shutdown.clone()));
    let ticking = tokio::spawn(HubTask { hub: Arc::clone(&hub) }.run(shutdown.clone()));

    replace("kind: List\nitems: [");
    until("the broken file is noticed", &hub, |state| state.inventory_error.is_some()).await;
    assert_eq!(hub.lock().roster.nodes.len(), 3, "the last good one stays");
    assert!(hub.lock().caveats()[0].contains("inventory.yaml is broken"));
    replace(&CLUSTER.replace("name: n3\n", "namespace: default\n"));
    let nameless = |state: &State| state.caveats().iter().any(|line| line.contains("(Node default/?)"));
    until("the nameless node is noticed", &hub, nameless).await;
    assert_eq!(hub.lock().roster.nodes.len(), 2, "it costs itself");
    let objects_skipped = hub.lock().counters.objects_skipped;
    assert_eq!((hub.lock().inventory_error.clone(), objects_skipped), (None, 1));

    replace(&CLUSTER.replace("name: n3\n", "name: n4\n"));
    until("the good file is taken", &hub, |state| state.roster.nodes.contains_key("n4")).await;
    assert_eq!(hub.lock().inventory_error, None);

    std::fs::remove_file(&path).unwrap();
    until("the missing file is noticed", &hub, |state| state.inventory_error.is_some()).await;
    // Written in place, of the same size as before.
    std::fs::write(&path, CLUSTER.replace("name: n3\n", "name: n5\n")).unwrap();
    until("the new file is taken", &hub, |state| state.roster.nodes.contains_key("n5")).await;
    shutdown.cancel();
    running.await.unwrap();
    ticking.await.unwrap();
}
