//! Who may do what: hub, vantage and test pass Kubernetes' restricted Pod Security Standard, and the agent has its four
//! capabilities and nothing else.
//! See <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.

use serde_json::{Value, json};

use super::{
    cases::Case,
    objects::{component, list, name, pod_spec},
};

/// Kinds of volumes that the standard allows.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// All that the agent needs of root, in the words of Kubernetes.
pub(crate) const AGENT_CAPABILITIES: &[&str] = &["BPF", "PERFMON", "NET_ADMIN", "NET_RAW"];

/// What is wrong with the cases' pods.
pub(super) fn check(cases: &[Case]) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let mut seen = Vec::new();
        for object in &case.objects {
            let Some(spec) = pod_spec(object) else { continue };
            seen.push(component(object));
            let found = match (component(object), case.name.as_str()) {
                ("agent", "privileged") => privileged(spec),
                ("agent", _) => agent(spec),
                // A path of the node is what the standard forbids; the value says so.
                ("vantage", "host-path") => {
                    let mut found = restricted(spec);
                    found.retain(|violation| !violation.starts_with("volume vantage"));
                    found
                }
                _ => restricted(spec),
            };
            wrong.extend(
                found.into_iter().map(|violation| format!("{}: {}: {violation}", case.name, name(object))),
            );
        }
        for needed in ["agent", "hub", "test"] {
            if !seen.contains(&needed) {
                wrong.push(format!("{}: no pod of {needed}", case.name));
            }
        }
    }
    wrong
}

/// Those that the standard allows, as far as the chart has a use for them.
const SYSCTLS: &[&str] = &["net.ipv4.ping_group_range"];

/// How a pod violates the restricted standard.
fn restricted(spec: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut require = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        require(!spec[shared].as_bool().unwrap_or(false), shared.to_owned());
    }
    let pod = &spec["securityContext"];
    let safe = |sysctl: &Value| SYSCTLS.contains(&sysctl["name"].as_str().unwrap_or_default());
    require(list(&pod["sysctls"]).iter().all(safe), "sysctls".to_owned());
    for volume in list(&spec["volumes"]) {
        let kinds = volume.as_object().into_iter().flatten().map(|(kind, _)| kind.as_str());
        for kind in kinds.filter(|&kind| kind != "name") {
            let volume = volume["name"].as_str().unwrap_or_default();
            require(VOLUMES.contains(&kind), format!("volume {volume} is a {kind}"));
        }
    }
    for container in list(&spec["containers"]).iter().chain(list(&spec["initContainers"])) {
        let own = &container["securityContext"];
        let inherited = |key: &str| if own[key].is_null() { &pod[key] } else { &own[key] };
        require(!own["privileged"].as_bool().unwrap_or(false), "privileged".to_owned());
        require(own["allowPrivilegeEscalation"] == json!(false), "allowPrivilegeEscalation".to_owned());
        require(
            own["capabilities"]["drop"] == json!(["ALL"]),
            "capabilities that are not dropped".to_owned(),
        );
        let added = list(&own["capabilities"]["add"]);
        require(added.iter().all(|added| added == "NET_BIND_SERVICE"), format!("capabilities {added:?}"));
        require(*inherited("runAsNonRoot") == json!(true), "runAsNonRoot".to_owned());
        require(inherited("runAsUser").as_u64().is_none_or(|user| user > 0), "runAsUser 0".to_owned());
        let seccomp = inherited("seccompProfile")["type"].as_str().unwrap_or_default();
        require(["RuntimeDefault", "Localhost"].contains(&seccomp), format!("seccomp `{seccomp}`"));
        require(
            list(&container["ports"]).iter().all(|port| port["hostPort"].is_null()),
            "hostPort".to_owned(),
        );
        require(own["procMount"].is_null() || own["procMount"] == "Default", "procMount".to_owned());
        // Not of the standard, but of ours.
        require(own["readOnlyRootFilesystem"] == json!(true), "a root that can be written".to_owned());
    }
    wrong
}

/// How an agent's pod has more, or less, than it needs.
fn agent(spec: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for container in list(&spec["containers"]) {
        let own = &container["securityContext"];
        let expected = json!({
            "runAsUser": 0, "runAsGroup": 0, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": AGENT_CAPABILITIES},
        });
        if *own != expected {
            wrong.push(format!("its security context is {own}"));
        }
    }
    for shared in ["hostPID", "hostIPC"] {
        if !spec[shared].is_null() {
            wrong.push(shared.to_owned());
        }
    }
    if spec["automountServiceAccountToken"] != json!(false) {
        wrong.push("a token for the API server, which it never talks to".to_owned());
    }
    wrong
}

fn privileged(spec: &Value) -> Vec<String> {
    let containers = list(&spec["containers"]).iter();
    let not = containers.filter(|container| container["securityContext"]["privileged"] != json!(true));
    not.map(|container| format!("{} is not privileged", container["name"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::restricted;

    fn good() -> Value {
        json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            }}],
            "volumes": [{"name": "tls", "secret": {}}],
        })
    }

    #[test]
    fn every_rule_of_the_standard_is_held() {
        assert_eq!(restricted(&good()), Vec::<String>::new());
        let container = |key: &str, value: Value| (format!("/containers/0/securityContext/{key}"), value);
        for (path, value) in [
            ("/hostNetwork".to_owned(), json!(true)),
            ("/hostPID".to_owned(), json!(true)),
            ("/hostIPC".to_owned(), json!(true)),
            ("/securityContext/sysctls".to_owned(), json!([{"name": "kernel.msgmax"}])),
            ("/securityContext/runAsNonRoot".to_owned(), json!(false)),
            ("/securityContext/runAsUser".to_owned(), json!(0)),
            ("/securityContext/seccompProfile".to_owned(), json!({"type": "Unconfined"})),
            ("/volumes/0".to_owned(), json!({"name": "run", "hostPath": {}})),
            container("privileged", json!(true)),
            container("allowPrivilegeEscalation", json!(true)),
            container("capabilities", json!({"drop": ["NET_RAW"]})),
            container("capabilities", json!({"drop": ["ALL"], "add": ["NET_RAW"]})),
            container("procMount", json!("Unmasked")),
            container("readOnlyRootFilesystem", json!(false)),
            ("/containers/0/ports".to_owned(), json!([{"hostPort": 6100}])),
        ] {
            let mut spec = good();
            let (parent, key) = path.rsplit_once('/').unwrap();
            match spec.pointer_mut(parent).unwrap() {
                Value::Array(items) => items[0] = value,
                parent => parent[key] = value,
            }
            assert_eq!(restricted(&spec).len(), 1, "{path}: {:?}", restricted(&spec));
        }
    }
}
