use serde_json::{Value, json};

use super::*;

fn gateway_of(listeners: &Value) -> Gateway {
    let object = json!({
        "metadata": { "name": "front", "namespace": "infra", "annotations": { "netcheck.io/http-host": "x.wild.test" } },
        "spec": { "gatewayClassName": "c", "listeners": listeners },
        "status": { "addresses": [{ "type": "IPAddress", "value": "192.0.2.9" }, { "value": "lb.test" }] },
    });
    gateway(&serde_json::from_value(object).unwrap()).unwrap()
}

fn route_of(parent: &Value, accepted: &str, hostnames: &[&str], rules: &Value) -> Option<HttpRoute> {
    let object = json!({
        "metadata": { "name": "r", "namespace": "shop" },
        "spec": { "hostnames": hostnames, "rules": rules },
        "status": { "parents": [{
            "parentRef": parent, "conditions": [{ "type": "Accepted", "status": accepted }],
        }] },
    });
    route(&serde_json::from_value(object).unwrap())
}

fn sites(frontend: &HttpFrontend) -> Vec<String> {
    let all = frontend.sites.iter();
    all.map(|site| format!("{}:{}:{}{}", u8::from(site.tls), site.host, site.port, site.path)).collect()
}

#[test]
fn routes_that_were_taken_are_asked_for_at_their_listeners() {
    let gateway = gateway_of(&json!([
        { "name": "http", "port": 80, "protocol": "HTTP" },
        { "name": "https", "port": 8443, "protocol": "HTTPS", "hostname": "*.test" },
        { "name": "tcp", "port": 5432, "protocol": "TCP" },
    ]));
    let front = |section: Option<&str>| {
        let mut parent = json!({ "kind": "Gateway", "namespace": "infra", "name": "front" });
        if let Some(name) = section {
            parent["sectionName"] = json!(name);
        }
        parent
    };
    let rules = json!([
        { "matches": [{ "path": { "type": "PathPrefix", "value": "/api" } }] },
        { "matches": [{ "path": { "type": "RegularExpression", "value": "/x.*" } }, { "method": "POST" }] },
    ]);
    let both = route_of(&front(None), "True", &["a.test", "b.example"], &rules).unwrap();
    let one = route_of(&front(Some("https")), "True", &["*.wild.test"], &json!([{}])).unwrap();
    let elsewhere = route_of(&json!({ "name": "front" }), "True", &["c.test"], &json!([{}])).unwrap();
    assert_eq!(route_of(&front(None), "False", &["d.test"], &rules), None, "nobody has taken it");
    let all = join([&gateway].into_iter(), [&both, &one, &elsewhere].into_iter());
    let [frontend] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        sites(frontend),
        ["0:a.test:80/api", "1:a.test:8443/api", "0:b.example:80/api", "1:x.wild.test:8443/"]
    );
    assert_eq!((frontend.full_name().as_str(), frontend.addresses.len()), ("gateway infra/front", 1));
    assert_eq!(frontend.address_names, ["lb.test"]);
    let skipped: Vec<&String> = frontend.skipped.iter().collect();
    assert!(skipped.iter().any(|line| line.contains("listener tcp, which speaks TCP")), "{skipped:?}");
    assert!(skipped.iter().any(|line| line.contains("plain GET")), "{skipped:?}");
}

#[test]
fn hosts_in_common() {
    for (listener, route, expected) in [
        ("", &["a.test"][..], &["a.test"][..]),
        ("a.test", &[], &["a.test"]),
        ("", &[], &[""]),
        ("*.test", &["a.test", "a.b.test", "test", "other"], &["a.test", "a.b.test"]),
        ("a.test", &["*.test", "b.test"], &["a.test"]),
        ("*.test", &["*.test"], &["*.test"]),
    ] {
        let route: Vec<String> = route.iter().map(|&host| host.to_owned()).collect();
        assert_eq!(hosts(listener, &route), expected, "{listener} {route:?}");
    }
}
