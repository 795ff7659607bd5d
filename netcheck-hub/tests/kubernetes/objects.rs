//! What the API shows becomes the roster: the same one as from a file.

use std::collections::BTreeSet;
use std::time::Duration;

use netcheck_analysis::cluster::roster::ProbeAnnotation;
use netcheck_kubefake::{Resource, synthetic};
use serde_json::{Value, json};

use crate::rig::{Rig, cluster, from_file};

fn pod(name: &str, node: &Value, address: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "default"},
           "spec": {"nodeName": node, "containers": []},
           "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}})
}

#[tokio::test]
async fn the_api_and_a_file_with_the_same_objects_give_the_same_roster() {
    let rig = Rig::start().await;
    rig.until_read().await;
    assert_eq!(*rig.hub.lock().roster, from_file(&cluster()));
    rig.until_called("watch", "namespaces", 1).await;
    rig.until_called("watch", "discovery.k8s.io/endpointslices", 1).await;
    let calls: BTreeSet<(String, String)> = rig.fake.calls().into_keys().collect();
    let resources = ["nodes", "namespaces", "pods", "services", "discovery.k8s.io/endpointslices"];
    let allowed = resources
        .into_iter()
        .flat_map(|resource| ["list", "watch"].map(|verb| (verb.to_owned(), resource.to_owned())));
    assert_eq!(calls, allowed.collect(), "nothing else is asked: a role needs no more");
    assert_eq!(rig.fake.unbounded_lists(), 0);
}

#[tokio::test]
async fn changes_arrive() {
    let rig = Rig::start().await;
    rig.until_read().await;
    rig.fake.apply(pod("web-4", &json!("n3"), "10.244.3.9"));
    rig.until("a new pod", |state| state.roster.pods.contains_key("default/web-4")).await;
    let edit_ready = |status: &'static str| {
        rig.fake.edit(Resource::Nodes, "", "n2", |node| {
            node["status"]["conditions"] = json!([{"type": "Ready", "status": status, "reason": "Because"}]);
        });
    };
    edit_ready("Unknown");
    let absent = |node: &'static str, why: &'static str| {
        move |state: &netcheck_hub::state::State| {
            state.roster.node_absent(node).is_some_and(|absent| absent.contains(why))
        }
    };
    rig.until("a node that is NotReady", absent("n2", "NotReady (Because)")).await;
    edit_ready("True");
    rig.until("a node that is back", |state| state.roster.node_absent("n2").is_none()).await;
    rig.fake.edit(Resource::Nodes, "", "n3", |node| {
        node["spec"] = json!({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]});
    });
    rig.until("a node that is leaving", absent("n3", "ToBeDeleted")).await;
    assert!(rig.fake.delete(Resource::Nodes, "", "n3"));
    rig.until("a node that is gone", absent("n3", "gone")).await;

    // Terminating, then done: the API stops showing it.
    rig.fake.edit(Resource::Pods, "default", "web-4", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    let terminating = |state: &netcheck_hub::state::State| {
        state.roster.pod_absent("default/web-4").is_some_and(|why| why.contains("terminating"))
    };
    rig.until("a terminating pod", terminating).await;
    rig.fake.edit(Resource::Pods, "default", "web-4", |pod| pod["status"]["phase"] = json!("Succeeded"));
    rig.until("a pod that is done", |state| !state.roster.pods.contains_key("default/web-4")).await;

    rig.fake.edit(Resource::EndpointSlices, "default", "web-abc", |slice| {
        slice["endpoints"][0]["conditions"]["ready"] = json!(false);
    });
    let ready =
        |state: &netcheck_hub::state::State| state.roster.services["default/web"].ready_backends().count();
    rig.until("a backend less", |state| ready(state) == 1).await;
    assert!(rig.fake.delete(Resource::Services, "default", "web"));
    rig.until("a service less", |state| !state.roster.services.contains_key("default/web")).await;

    let namespace = |probe: &str| {
        json!({"kind": "Namespace", "apiVersion": "v1",
               "metadata": {"name": "kube-system", "annotations": {"netcheck.io/probe": probe}}})
    };
    rig.fake.apply(namespace("false"));
    rig.until("nothing of the namespace", |state| {
        state.roster.services["kube-system/kube-dns"].annotation == ProbeAnnotation::Skip
    })
    .await;
    rig.fake.apply(namespace("true"));
    rig.until("all of it", |state| {
        state.roster.services["kube-system/kube-dns"].annotation == ProbeAnnotation::Probe
    })
    .await;
    assert_eq!(rig.fake.called("list", "pods"), 1, "all of it came by watches");
}

#[tokio::test]
async fn an_object_that_does_not_hold_together_costs_itself_alone() {
    let rig = Rig::start_with(|fake| {
        fake.load(&cluster());
        fake.apply(pod("broken", &json!([1]), "10.244.1.77"));
    })
    .await;
    rig.until_read().await;
    assert_eq!(rig.hub.lock().roster.pods.len(), 4);
    let skipped = |state: &netcheck_hub::state::State, name: &str| {
        state.counters.objects_skipped > 0 && state.caveats().iter().any(|line| line.contains(name))
    };
    rig.until("it is said", |state| skipped(state, "pod default/broken")).await;
    rig.fake.apply(pod("broken", &json!("n1"), "10.244.1.77"));
    rig.until("it is mended", |state| state.roster.pods.contains_key("default/broken")).await;
    rig.until("and nothing more is said", |state| state.left_out.count == 0).await;

    // One that breaks later is left out as well: what it was says nothing of what it is.
    rig.fake.edit(Resource::Pods, "default", "web-1", |pod| pod["status"]["podIPs"] = json!("all of them"));
    rig.until("it is said", |state| skipped(state, "pod default/web-1")).await;
    rig.until("it is left out", |state| !state.roster.pods.contains_key("default/web-1")).await;
    // Not even metadata must be what it should.
    let nameless = json!({"type": "MODIFIED", "object": {"kind": "Service", "metadata": {"name": 7, "resourceVersion": "9999"}}});
    rig.until_called("watch", "services", 1).await;
    rig.fake.faults(|faults| faults.say(Resource::Services, &nameless.to_string()));
    rig.until("it is counted", |state| state.counters.objects_skipped >= 3).await;
    assert_eq!(rig.hub.lock().roster.services.len(), 2);
}

#[tokio::test]
async fn large_lists_come_in_pages_and_nothing_is_lost_between_them() {
    let nodes = 20;
    let rig = Rig::start_with(|fake| {
        (0..nodes).for_each(|index| fake.apply(synthetic::node(index)));
        (0..1_200).for_each(|index| fake.apply(synthetic::pod(index, nodes)));
        (0..30).flat_map(|index| synthetic::service(index, nodes)).for_each(|object| fake.apply(object));
        fake.faults(|faults| {
            faults.slow_lists(Resource::Pods, Duration::from_millis(150));
            faults.expire_pages(Resource::Pods, 1);
            faults.cut_lists(Resource::Services, 1);
        });
    })
    .await;
    rig.until_called("list", "pods", 2).await;
    assert_eq!(rig.hub.lock().roster_ns, 0, "half a list is no roster");
    // While the pages come, one that was listed already goes, and one changes.
    let first = synthetic::pod(0, nodes);
    assert!(rig.fake.delete(Resource::Pods, "team-0", first["metadata"]["name"].as_str().unwrap()));
    rig.until_read().await;
    rig.until("all but one", |state| state.roster.pods.len() == 1_199).await;
    assert_eq!(rig.hub.lock().roster.nodes.len(), nodes);
    assert_eq!(rig.hub.lock().roster.services["team-0/app-29"].backends.len(), 10);
    rig.until_fine().await;
    assert!(rig.fake.called("list", "pods") >= 5, "one page, one that expired, then three");
    assert_eq!(rig.fake.unbounded_lists(), 0);
}

#[tokio::test]
async fn what_comes_out_of_order_ends_up_the_same() {
    let rig = Rig::start().await;
    rig.until_read().await;
    rig.until_called("watch", "pods", 1).await;
    rig.fake.faults(|faults| {
        faults.hold(Resource::Pods);
        faults.hold(Resource::Nodes);
    });
    for index in 5..9 {
        rig.fake.apply(pod(&format!("web-{index}"), &json!("n9"), &format!("10.244.9.{index}")));
    }
    let mut node = rig.fake.get(Resource::Nodes, "", "n1").unwrap();
    node["metadata"]["name"] = json!("n9");
    node["status"]["addresses"] = json!([{"type": "InternalIP", "address": "10.0.0.9"}]);
    rig.fake.apply(node);
    rig.fake.edit(Resource::EndpointSlices, "default", "web-abc", |slice| {
        slice["endpoints"][0] = json!({"addresses": ["10.244.9.5"], "nodeName": "n9",
                                       "targetRef": {"kind": "Pod", "namespace": "default", "name": "web-5"}});
    });
    let backend = |state: &netcheck_hub::state::State| {
        state.roster.services["default/web"]
            .backends
            .iter()
            .any(|backend| backend.node.as_deref() == Some("n9"))
    };
    rig.until("a backend before its pod and its node", backend).await;
    assert!(!rig.hub.lock().roster.nodes.contains_key("n9"));
    rig.fake.faults(|faults| {
        faults.release(Resource::Pods, true);
        faults.release(Resource::Nodes, false);
    });
    rig.until("the node", |state| state.roster.nodes.contains_key("n9")).await;
    rig.until("all pods", |state| {
        (5..9).all(|index| state.roster.pods.contains_key(&format!("default/web-{index}")))
    })
    .await;
    let owner = rig.hub.lock().roster.owner("10.244.9.5".parse().unwrap()).cloned().unwrap();
    assert_eq!((owner.node.as_str(), owner.pod.as_deref()), ("n9", Some("default/web-5")));
}
