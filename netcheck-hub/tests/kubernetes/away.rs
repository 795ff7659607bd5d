//! The API breaks: what was known stays, and it is said since when.

use std::time::Duration;

use netcheck_analysis::cluster::roster::ProbeAnnotation;
use netcheck_hub::inventory::kubernetes::{Access, ApiHealth, connect};
use netcheck_kubefake::Resource;
use serde_json::json;

use crate::rig::{Rig, cluster, from_file};

/// Changes something that a roster shows.
fn cordon(rig: &Rig, node: &str) {
    rig.fake.edit(Resource::Nodes, "", node, |object| object["spec"] = json!({"unschedulable": true}));
}

async fn until_cordoned(rig: &Rig, node: &str) {
    rig.until(node, |state| state.roster.nodes.get(node).is_some_and(|node| node.cordoned)).await;
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_where_it_was() {
    let rig = Rig::start().await;
    rig.until_read().await;
    rig.until_called("watch", "nodes", 1).await;
    rig.fake.faults(|faults| {
        faults.hold(Resource::Nodes);
        faults.cut_watches(Resource::Nodes);
    });
    cordon(&rig, "n1");
    rig.until_called("watch", "nodes", 2).await;
    rig.fake.faults(|faults| faults.release(Resource::Nodes, false));
    until_cordoned(&rig, "n1").await;
    assert_eq!(rig.fake.called("list", "nodes"), 1, "no need to list again");
    assert_eq!(rig.hub.lock().counters.inventory_errors, 0, "connections end: nothing is wrong with that");
}

#[tokio::test]
async fn a_watch_whose_time_is_up_goes_on_where_it_was() {
    let rig = Rig::start_watching(Duration::from_secs(1), |fake| fake.load(&cluster())).await;
    rig.until_read().await;
    rig.until_called("watch", "nodes", 3).await;
    cordon(&rig, "n2");
    until_cordoned(&rig, "n2").await;
    assert_eq!(rig.fake.called("list", "nodes"), 1);
    assert_eq!(rig.hub.lock().counters.inventory_errors, 0);
}

#[tokio::test]
async fn a_state_that_is_too_old_is_listed_anew() {
    let rig = Rig::start().await;
    rig.until_read().await;
    rig.until_called("watch", "nodes", 1).await;
    // Reported by an event.
    rig.fake.faults(|faults| faults.hold(Resource::Nodes));
    cordon(&rig, "n1");
    rig.fake.compact();
    rig.fake.faults(|faults| faults.release(Resource::Nodes, false));
    until_cordoned(&rig, "n1").await;
    rig.until_called("list", "nodes", 2).await;
    // Reported by the status of the answer.
    let before = rig.fake.called("list", "nodes");
    rig.fake.faults(|faults| {
        faults.gone_at_start(Resource::Nodes, 1);
        faults.cut_watches(Resource::Nodes);
    });
    rig.until_called("list", "nodes", before + 1).await;
    cordon(&rig, "n2");
    until_cordoned(&rig, "n2").await;
    rig.until_fine().await;
}

#[tokio::test]
async fn a_bookmark_saves_a_list() {
    let rig = Rig::start().await;
    rig.until_read().await;
    rig.until_called("watch", "services", 1).await;
    // Nothing happens to services while everything else changes and history is forgotten.
    cordon(&rig, "n1");
    until_cordoned(&rig, "n1").await;
    rig.fake.faults(|faults| faults.bookmark(Resource::Services));
    rig.until("the bookmark", |_| rig.fake.bookmarks() > 0).await;
    rig.fake.compact();
    rig.fake.faults(|faults| faults.cut_watches(Resource::Services));
    rig.until_called("watch", "services", 2).await;
    rig.fake.edit(Resource::Services, "default", "web", |service| {
        service["metadata"]["annotations"] = json!({"netcheck.io/probe": "false"});
    });
    rig.until("the change", |state| state.roster.services["default/web"].annotation == ProbeAnnotation::Skip)
        .await;
    assert_eq!(rig.fake.called("list", "services"), 1);
}

#[tokio::test]
async fn garbage_in_a_watch_costs_one_list() {
    let rig = Rig::start().await;
    rig.until_read().await;
    rig.until_called("watch", "pods", 1).await;
    for line in ["}{ garbage", "\u{0}", "{\"type\":\"SHRUG\",\"object\":{}}", "[]"] {
        let (lists, watches) = (rig.fake.called("list", "pods"), rig.fake.called("watch", "pods"));
        rig.fake.faults(|faults| faults.say(Resource::Pods, line));
        rig.until_called("list", "pods", lists + 1).await;
        rig.until_called("watch", "pods", watches + 1).await;
    }
    rig.until_fine().await;
    assert_eq!(*rig.hub.lock().roster, from_file(&cluster()));
    // The API's own error in the middle of a watch.
    let failure = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "code": 500,
                         "status": "Failure", "message": "etcd is tired", "reason": "InternalError"}});
    rig.until_called("watch", "nodes", 1).await;
    let before = rig.fake.called("list", "nodes");
    rig.fake.faults(|faults| faults.say(Resource::Nodes, &failure.to_string()));
    rig.until_called("list", "nodes", before + 1).await;
    rig.until_fine().await;
}

#[tokio::test]
async fn what_is_not_allowed_is_named() {
    let rig = Rig::start_with(|fake| {
        fake.load(&cluster());
        fake.faults(|faults| faults.deny("list", Resource::Pods));
    })
    .await;
    let trouble = rig.trouble(&["not allowed to list pods", "the verb list on pods"]).await;
    assert_eq!(trouble.lines().count(), 1, "{trouble}");
    assert_eq!(rig.hub.lock().roster_ns, 0);
    assert!(rig.hub.lock().caveats()[0].ends_with("there is no roster yet"));
    rig.fake.faults(|faults| {
        faults.allow("list", Resource::Pods);
        faults.deny("watch", Resource::EndpointSlices);
        faults.cut_watches(Resource::EndpointSlices);
    });
    rig.until_read().await;
    rig.trouble(&["not allowed to watch endpointslices", "discovery.k8s.io"]).await;
    rig.fake.faults(|faults| {
        faults.allow("watch", Resource::EndpointSlices);
        faults.deny("list", Resource::Namespaces);
    });
    rig.until_fine().await;
}

#[tokio::test]
async fn without_namespaces_there_is_a_roster_and_a_caveat() {
    let rig = Rig::start_with(|fake| {
        fake.load(&cluster());
        fake.faults(|faults| faults.deny("list", Resource::Namespaces));
    })
    .await;
    rig.until_read().await;
    rig.trouble(&["not allowed to list namespaces"]).await;
    cordon(&rig, "n1");
    until_cordoned(&rig, "n1").await;
    rig.trouble(&["not allowed to list namespaces"]).await;
}

#[tokio::test]
async fn while_the_api_is_away_the_last_state_stays() {
    let mut rig = Rig::start().await;
    rig.until_read().await;
    rig.fake.stop().await;
    let trouble = rig.trouble(&["Kubernetes API, since 20", "refused"]).await;
    assert_eq!(*rig.hub.lock().roster, from_file(&cluster()));
    assert!(rig.hub.lock().caveats()[0].ends_with("showing the last good roster"), "{trouble}");
    let metrics = netcheck_hub::metrics::render(&rig.hub);
    assert!(metrics.contains("netcheck_hub_inventory_broken 1"), "{metrics}");
    cordon(&rig, "n3");
    rig.fake.restart().await.unwrap();
    until_cordoned(&rig, "n3").await;
    rig.until_fine().await;
}

#[tokio::test]
async fn an_api_that_comes_late_is_waited_for() {
    let mut rig = Rig::start_with(|fake| fake.load(&cluster())).await;
    rig.fake.stop().await;
    let known = rig.hub.lock().roster_ns > 0;
    assert!(known || rig.trouble(&["refused"]).await.contains("since"));
    rig.fake.restart().await.unwrap();
    rig.until_read().await;
    rig.until_fine().await;
}

#[tokio::test]
async fn a_kubeconfig_that_is_of_no_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let health = std::sync::Arc::new(ApiHealth::default());
    let access = Access { kubeconfig: Some(path.clone()), ..Access::default() };
    for text in [None, Some("kind: Config\ncurrent-context: nowhere\n"), Some("}{")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let error = connect(&access, &health).await.err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("of no use"), "{error}");
    }
}
