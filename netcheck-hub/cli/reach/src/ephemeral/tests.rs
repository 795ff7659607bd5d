//! Objects of runs, and what is said of their pods.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::ready::Seen;
use super::{EphemeralError, RUN_LABEL, Run, Settings};

#[test]
fn every_object_is_the_runs_own_and_two_runs_share_none() {
    let settings =
        Settings { image: Some("registry.example/x:1".to_owned()), first_port: 6120, ..Settings::default() };
    let runs: Vec<Run> = (0..20).map(|_| Run::plan(Some("here"), &settings).unwrap()).collect();
    let mut names = BTreeSet::new();
    for run in &runs {
        let mut stage = 0;
        for object in &run.objects {
            let object_ref = &object.object_ref;
            assert!(object_ref.kind.stage >= stage, "{object_ref} is made too late");
            stage = object_ref.kind.stage;
            assert_eq!(object.body["metadata"]["labels"][RUN_LABEL], run.name(), "{object_ref}");
            let text = object.body.to_string();
            for word in ["netcheck-runid", "netcheck-namespace", "46100", "46101", "46102", "Helm", "helm.sh"]
            {
                assert!(!text.contains(word), "{word} in {object_ref}");
            }
            if object_ref.kind.kind == "Namespace" {
                assert_eq!(object_ref.name, "here");
                continue;
            }
            assert!(object_ref.name.contains(run.name()), "{object_ref}");
            assert!(!object_ref.kind.namespaced || object_ref.namespace == "here", "{object_ref}");
            assert!(names.insert(object_ref.to_string()), "{object_ref} is there twice");
        }
        assert_eq!(run.images(), ["registry.example/x:1"]);
        let all: String = run.objects.iter().map(|object| object.body.to_string()).collect();
        assert!(
            all.contains("0.0.0.0:6120") && all.contains("0.0.0.0:6122") && !all.contains("0.0.0.0:6102")
        );
        assert!(!run.bodies().any(|body| body.to_string().contains("LS0t")), "a key is shown");
    }
}

#[test]
fn nothing_is_to_be_removed_of_a_run_that_made_nothing() {
    let mut run = Run::plan(None, &Settings::default()).unwrap();
    assert_eq!(run.namespace(), run.name());
    assert!(run.removal().left().is_empty());
    run.begun = 3;
    assert!(run.removal().left().iter().eq(run.object_refs().take(3)));
}

fn pod(name: &str, node: &str, component: &str, status: &Value) -> Pod {
    let labels = json!({"app.kubernetes.io/component": component});
    let pod = json!({"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": node, "containers": []},
        "status": status});
    serde_json::from_value(pod).unwrap()
}

fn node(name: &str, ready: &str) -> Node {
    let conditions = json!([{"type": "Ready", "status": ready}]);
    serde_json::from_value(json!({"metadata": {"name": name}, "status": {"conditions": conditions}})).unwrap()
}

fn container(state: &Value) -> Value {
    json!([{"name": "x", "image": "x:1", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
}

/// A hub, and agents on two nodes, of which the second has this status.
fn seen(second: &Value, ready: &str) -> Seen {
    let up = json!({"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": container(&json!({"running": {}}))});
    let agents = json!({"metadata": {"name": "a", "generation": 1}, "status": {"observedGeneration": 1,
        "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 1}});
    let hub = json!({"metadata": {"name": "h"}, "spec": {"replicas": 1, "selector": {}, "template": {}}});
    Seen {
        pods: vec![
            pod("h-1", "n1", "hub", &up),
            pod("a-n1", "n1", "agent", &up),
            pod("a-n2", "n2", "agent", second),
        ],
        agents: vec![serde_json::from_value(agents).unwrap()],
        hubs: vec![serde_json::from_value(hub).unwrap()],
        nodes: vec![node("n1", "True"), node("n2", ready)],
    }
}

#[test]
fn pods_are_waited_for_as_their_state_says() {
    let waiting = |reason: &str| json!({"containerStatuses": container(&json!({"waiting": {"reason": reason, "message": "why"}}))});
    let running = json!({"containerStatuses": container(&json!({"running": {}}))});
    for (status, ready, expected) in [
        (running.clone(), "True", (false, true, "a-n2 on n2: it runs, and is not ready")),
        (waiting("ContainerCreating"), "True", (false, false, "a-n2 on n2: ContainerCreating: why")),
        (json!({}), "True", (false, false, "a-n2 on n2: it has not started")),
        (json!({}), "Unknown", (true, true, "")),
    ] {
        let seen = seen(&status, ready);
        let standing = seen.standing();
        let shown =
            (standing.is_ready(), standing.runs(), standing.behind.first().map_or("", String::as_str));
        assert_eq!(shown, expected);
        assert!(seen.image().is_none());
        assert_eq!(standing.absent.is_empty(), ready == "True");
    }
    for reason in ["ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"] {
        let error = seen(&waiting(reason), "True").image().unwrap();
        assert!(matches!(&error, EphemeralError::Image { reason: given, .. } if given == reason), "{error}");
        // A node that is away pulls nothing, and the rest goes on without it.
        assert!(seen(&waiting(reason), "False").image().is_none());
    }
}
