//! `kubectl exec` into the hub's pod with the command line: it needs neither the cluster's DNS nor a Service, for these
//! may be what is broken.

use std::net::SocketAddr;

use serde_json::Value;

use super::{
    cases::Case,
    objects::{component, list, pod_spec},
};

/// What is wrong with how the command line in the hub's pod finds the hub.
pub(super) fn check(cases: &[Case]) -> Vec<String> {
    let found = |case: &Case| wrong(&case.objects).map(|what| format!("{}: {what}", case.name));
    cases.iter().filter_map(found).collect()
}

fn wrong(objects: &[Value]) -> Option<String> {
    let container = |of: &str| {
        let pods = objects.iter().filter(|object| component(object) == of);
        pods.filter_map(pod_spec).find_map(|pod| list(&pod["containers"]).first())
    };
    let argument = |container: &Value, flag: &str| {
        let mut words = list(&container["args"]).iter().filter_map(Value::as_str);
        words.find_map(|word| word.strip_prefix(flag).map(str::to_owned))
    };
    let (Some(hub), Some(agent)) = (container("hub"), container("agent")) else {
        return Some("no container of hub or agent".to_owned());
    };
    let variable = |name: &str| {
        let found = list(&hub["env"]).iter().find(|variable| variable["name"] == name);
        found.and_then(|variable| variable["value"].as_str()).unwrap_or_default()
    };
    let url = variable("NETCHECK_HUB");
    let (scheme, address) = url.split_once("://").unwrap_or_default();
    let Ok(address) = address.parse::<SocketAddr>() else {
        return Some(format!("NETCHECK_HUB is {url:?}, which is no address: a name has to be looked up"));
    };
    let listens = argument(hub, "--grpc-addr=").and_then(|text| text.parse::<SocketAddr>().ok());
    let there = |on: SocketAddr| {
        let own = if on.ip().is_unspecified() { address.ip().is_loopback() } else { address.ip() == on.ip() };
        own && address.port() == on.port()
    };
    if !listens.is_some_and(there) {
        return Some(format!("NETCHECK_HUB is {url:?}, and the hub listens on {listens:?}"));
    }
    // The one name that every certificate of the hub has, for agents ask for it.
    let known_as = argument(agent, "--hub=").and_then(|of| {
        let (_, host) = of.split_once("://")?;
        Some(host.rsplit_once(':')?.0.to_owned())
    });
    let wanted = if scheme == "https" { known_as.unwrap_or_default() } else { String::new() };
    let name = variable("NETCHECK_TLS_SERVER_NAME");
    (name != wanted).then(|| format!("NETCHECK_TLS_SERVER_NAME is {name:?}, not {wanted:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(hub: &str, name: &str, listen: &str) -> Vec<Value> {
        let pod = |component: &str, args: Value, env: Value| {
            json!({
                "kind": "Deployment",
                "metadata": {"labels": {"app.kubernetes.io/component": component}},
                "spec": {"template": {"spec": {"containers": [{"args": args, "env": env}]}}},
            })
        };
        let env = json!([
            {"name": "NETCHECK_HUB", "value": hub},
            {"name": "NETCHECK_TLS_SERVER_NAME", "value": name},
        ]);
        vec![
            pod("hub", json!([format!("--grpc-addr={listen}")]), env),
            pod("agent", json!(["--hub=https://hub.ns.svc:443"]), json!([])),
        ]
    }

    #[test]
    fn what_needs_no_dns() {
        for (hub, name, listen, good) in [
            ("https://127.0.0.1:7070", "hub.ns.svc", "0.0.0.0:7070", true),
            ("https://[::1]:7070", "hub.ns.svc", "[::]:7070", true),
            ("https://10.0.0.1:7070", "hub.ns.svc", "10.0.0.1:7070", true),
            ("http://127.0.0.1:7070", "", "0.0.0.0:7070", true),
            ("https://hub.ns.svc:443", "", "0.0.0.0:7070", false),
            ("https://localhost:7070", "hub.ns.svc", "0.0.0.0:7070", false),
            ("https://127.0.0.1:443", "hub.ns.svc", "0.0.0.0:7070", false),
            ("https://127.0.0.1:7070", "hub.ns.svc", "10.0.0.1:7070", false),
            ("https://127.0.0.1:7070", "", "0.0.0.0:7070", false),
        ] {
            let wrong = wrong(&rendered(hub, name, listen));
            assert_eq!(wrong.is_none(), good, "{hub} {name} {listen}: {wrong:?}");
        }
    }
}
