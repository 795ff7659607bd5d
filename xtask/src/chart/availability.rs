//! What keeps the rendered pods up: probes that fail for no start, a hub that leaves a dead node soon and that a drain can
//! move.
//!
//! In: the rendered cases. Out: what is wrong with each, one line per finding.

use serde_json::Value;

use super::{
    cases::Case,
    list,
    objects::{component, name, pod_spec},
};

/// Taints of a node that is not there any more.
const AWAY: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// Longest that the hub may wait for such a node (seconds): with the cluster's own 40 s and a start it is back after a
/// minute.
const PATIENCE_SECONDS: u64 = 20;

/// What is wrong with the cases.
pub(super) fn check(cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        for object in &case.objects {
            let mut found = pod_spec(object).map(probes).unwrap_or_default();
            if component(object) == "hub" {
                found.extend(pod_spec(object).into_iter().flat_map(patience));
            }
            if case.name == "default" && object["kind"] == "PodDisruptionBudget" {
                found.extend(disruption(object));
            }
            wrong.extend(found.into_iter().map(|what| format!("{}: {}: {what}", case.name, name(object))));
        }
    }
    wrong
}

/// Probes that fail while their pod starts, which shows as events of a failure, or that ask another address than the pod's.
fn probes(spec: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for container in list(&spec["containers"]) {
        if !container["startupProbe"].is_null() {
            wrong.push(
                "a startupProbe fails until the start is over, and each failure is an event".to_owned(),
            );
        }
        for kind in ["livenessProbe", "readinessProbe"] {
            let probe = &container[kind];
            if probe.is_null() {
                continue;
            }
            if probe["initialDelaySeconds"].as_u64().unwrap_or(0) == 0 {
                wrong.push(format!("the {kind} asks before anybody can listen"));
            }
            if probe["httpGet"].is_null() || !probe["httpGet"]["host"].is_null() {
                wrong.push(format!("the {kind} does not ask the pod's own address, whatever its family"));
            }
        }
    }
    wrong
}

/// How the hub waits too long for a node that is away. Kubernetes takes the first toleration that matches a taint; without
/// one it waits for 300 s, and without a time for ever.
fn patience(spec: &Value) -> Vec<String> {
    let tolerates = |toleration: &Value, taint: &str| {
        let key = toleration["key"].as_str();
        let effect = toleration["effect"].as_str();
        (key.is_none() || key == Some(taint)) && effect.is_none_or(|effect| effect == "NoExecute")
    };
    let waits = |taint: &&&str| {
        let first = list(&spec["tolerations"]).iter().find(|toleration| tolerates(toleration, taint));
        let seconds = first.and_then(|first| first["tolerationSeconds"].as_u64());
        seconds.is_none_or(|seconds| seconds > PATIENCE_SECONDS)
    };
    AWAY.iter()
        .filter(waits)
        .map(|taint| format!("waits too long for its node under the taint {taint}"))
        .collect()
}

/// How a budget keeps the only hub on a node that is drained.
fn disruption(budget: &Value) -> Option<String> {
    let spec = &budget["spec"];
    let allows = spec["minAvailable"].is_null()
        && spec["maxUnavailable"] == 1
        && spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    (!allows).then(|| "its node can't be drained".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{AWAY, disruption, patience, probes};

    fn spec(readiness: &Value) -> Value {
        json!({"containers": [{"readinessProbe": readiness}]})
    }

    #[test]
    fn probes_that_fail_at_a_start_are_found() {
        let good = json!({"httpGet": {"path": "/readyz", "port": "http"}, "initialDelaySeconds": 2});
        assert_eq!(probes(&spec(&good)), Vec::<String>::new());
        for bad in [
            json!({"httpGet": {"path": "/readyz", "port": "http"}}),
            json!({"httpGet": {"path": "/readyz", "port": "http", "host": "127.0.0.1"}, "initialDelaySeconds": 2}),
            json!({"grpc": {"port": 7070}, "initialDelaySeconds": 2}),
        ] {
            assert_eq!(probes(&spec(&bad)).len(), 1, "{bad}");
        }
        let startup = json!({"containers": [{"startupProbe": {"httpGet": {}}}]});
        assert_eq!(probes(&startup).len(), 1);
    }

    #[test]
    fn a_hub_that_stays_on_a_dead_node_is_found() {
        let short = |taint: &str| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10});
        let all = json!({"operator": "Exists"});
        for (tolerations, found) in [
            (json!([]), 2),
            (json!([short(AWAY[0])]), 1),
            (json!([short(AWAY[0]), short(AWAY[1])]), 0),
            (json!([short(AWAY[0]), short(AWAY[1]), all]), 0),
            (json!([all, short(AWAY[0]), short(AWAY[1])]), 2),
            (json!([short(AWAY[0]), {"key": AWAY[1], "effect": "NoExecute", "tolerationSeconds": 300}]), 1),
        ] {
            let wrong = patience(&json!({ "tolerations": tolerations }));
            assert_eq!(wrong.len(), found, "{tolerations}: {wrong:?}");
        }
    }

    #[test]
    fn a_budget_that_keeps_the_only_hub_is_found() {
        let budget = |spec: Value| disruption(&json!({ "spec": spec })).is_some();
        assert!(!budget(json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"})));
        assert!(budget(json!({"maxUnavailable": 0, "unhealthyPodEvictionPolicy": "AlwaysAllow"})));
        assert!(budget(json!({"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"})));
        assert!(budget(json!({"maxUnavailable": 1})));
    }
}
