use serde_json::{Value, json};

use super::*;

fn read(annotations: &Value, spec: &Value, status: &Value) -> HttpFrontend {
    let object = json!({
        "metadata": { "name": "web", "namespace": "shop", "annotations": annotations },
        "spec": spec, "status": { "loadBalancer": { "ingress": status } },
    });
    let (id, frontend) = ingress(&serde_json::from_value(object).unwrap()).unwrap();
    assert_eq!((id.as_str(), frontend.full_name().as_str()), ("shop/web", "ingress shop/web"));
    frontend
}

fn rule(host: Option<&str>, paths: &[(&str, &str)]) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = |(path, kind): &(&str, &str)| json!({ "path": path, "pathType": kind, "backend": backend });
    let mut rule = json!({ "http": { "paths": paths.iter().map(path).collect::<Vec<_>>() } });
    if let Some(host) = host {
        rule["host"] = json!(host);
    }
    rule
}

fn sites(frontend: &HttpFrontend) -> Vec<String> {
    let url = |site: &Site| {
        format!("{}://{}:{}{}", if site.tls { "https" } else { "http" }, site.host, site.port, site.path)
    };
    frontend.sites.iter().map(url).collect()
}

#[test]
fn hosts_and_paths_with_tls_where_it_is_listed() {
    let spec = json!({
        "tls": [{ "hosts": ["a.test", "*.wild.test"], "secretName": "s" }],
        "rules": [
            rule(Some("a.test"), &[("/", "Prefix"), ("/api", "Exact")]),
            rule(Some("b.test"), &[("/", "Prefix")]),
            rule(Some("x.wild.test"), &[("/", "Prefix")]),
            rule(Some("y.x.wild.test"), &[("/", "Prefix")]),
        ],
    });
    let status =
        json!([{ "ip": "192.0.2.7" }, { "ip": "192.0.2.7" }, { "hostname": "lb.test" }, { "ip": "" }]);
    let frontend = read(&json!({ "netcheck.io/http-status": "200" }), &spec, &status);
    assert_eq!(
        sites(&frontend),
        [
            "http://a.test:80/",
            "http://a.test:80/api",
            "https://a.test:443/",
            "https://a.test:443/api",
            "http://b.test:80/",
            "http://x.wild.test:80/",
            "https://x.wild.test:443/",
            "http://y.x.wild.test:80/",
        ]
    );
    assert_eq!(frontend.addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        (frontend.address_names, frontend.http.expected),
        (vec!["lb.test".to_owned()], vec![(200, 200)])
    );
    assert!(frontend.skipped.is_empty(), "{:?}", frontend.skipped);
}

#[test]
fn what_rules_leave_open_is_named_by_annotation_or_reported() {
    let spec = json!({ "rules": [rule(Some("*.wild.test"), &[("/", "Prefix")]), rule(None, &[("/(.*)", "ImplementationSpecific"), ("/x", "Prefix")])] });
    let frontend = read(&json!({}), &spec, &json!([]));
    assert_eq!(sites(&frontend), ["http://:80/x"]);
    assert!(frontend.addresses.is_empty() && frontend.address_names.is_empty());
    let skipped: Vec<&String> = frontend.skipped.iter().collect();
    assert!(
        skipped[0].contains("*.wild.test") && skipped[0].contains("netcheck.io/http-host"),
        "{skipped:?}"
    );
    assert!(skipped[1].contains("pattern"), "{skipped:?}");
    let named = json!({ "netcheck.io/http-host": "a.wild.test b.other.test a.b.wild.test" });
    let frontend = read(&named, &spec, &json!([]));
    assert_eq!(
        sites(&frontend),
        [
            "http://a.b.wild.test:80/x",
            "http://a.wild.test:80/",
            "http://a.wild.test:80/x",
            "http://b.other.test:80/x"
        ]
    );
    // Nothing but a default backend.
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    assert_eq!(sites(&read(&json!({}), &json!({ "defaultBackend": backend }), &json!([]))), ["http://:80/"]);
    assert!(sites(&read(&json!({}), &json!({}), &json!([]))).is_empty());
    // An entry of TLS without hosts is for all.
    let spec = json!({ "tls": [{}], "rules": [rule(Some("a.test"), &[])] });
    assert_eq!(sites(&read(&json!({}), &spec, &json!([]))), ["http://a.test:80/", "https://a.test:443/"]);
}

#[test]
fn annotations_name_what_is_asked_for() {
    let spec = json!({ "rules": [rule(Some("a.test"), &[("/", "Prefix"), ("/api", "Prefix")])] });
    let annotations = json!({ "netcheck.io/http": "8080/healthz", "netcheck.io/https": "/readyz" });
    assert_eq!(
        sites(&read(&annotations, &spec, &json!([]))),
        ["http://a.test:8080/healthz", "https://a.test:443/readyz"]
    );
}

#[test]
fn there_are_bounds() {
    let many: Vec<Value> = (0..40).map(|number| rule(Some(&format!("h{number}.test")), &[])).collect();
    let status: Vec<Value> = (1..20).map(|number| json!({ "ip": format!("192.0.2.{number}") })).collect();
    let frontend = read(&json!({}), &json!({ "rules": many }), &json!(status));
    assert_eq!((frontend.sites.len(), frontend.addresses.len()), (SITES_MAX, ADDRESSES_MAX));
    assert_eq!(frontend.skipped.len(), 2, "{:?}", frontend.skipped);
}
