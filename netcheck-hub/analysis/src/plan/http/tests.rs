use std::collections::BTreeMap;

use serde_json::json;

use netcheck_proto::v1;

use super::*;
use crate::cluster::roster::Objects;
use crate::cluster::selection::Selection;

fn roster(services: &[serde_json::Value]) -> Roster {
    let services = services.iter().map(|of| serde_json::from_value(of.clone()).unwrap()).collect();
    Objects { services, ..Objects::default() }.roster()
}

fn service(name: &str, annotations: &serde_json::Value) -> serde_json::Value {
    // Each has addresses of its own.
    let number = 10 + name.len();
    json!({
        "metadata": { "name": name, "namespace": "default", "annotations": annotations },
        "spec": {
            "clusterIPs": [format!("10.96.0.{number}"), format!("fd00:96::{number}")],
            "ports": [
                { "name": "web", "port": 80, "protocol": "TCP" },
                { "name": "tls", "port": 443, "protocol": "TCP" },
                { "name": "udp", "port": 53, "protocol": "UDP" },
            ],
        },
    })
}

fn catalog(roster: &Roster, settings: &HttpSettings) -> Catalog {
    Catalog::of(roster, &Selection::everything(), &BTreeMap::new(), "kubernetes.default.svc.cluster.local")
        .with_http(roster, &Selection::everything(), settings)
}

fn http(catalog: &Catalog) -> Vec<(String, String, String)> {
    let http = catalog.probes.iter().filter(|probe| probe.kind == ProbeKind::Http && probe.address.is_ipv4());
    http.map(|probe| {
        let Talk::Http(request) = &probe.exchange.as_ref().unwrap().talk else { panic!("{probe:?}") };
        (probe.target.id.to_string(), probe.detail(), request.host.clone())
    })
    .collect()
}

#[test]
fn annotated_services_are_asked_at_each_of_their_addresses() {
    let annotations = json!({ "netcheck.io/http": "80/healthz", "netcheck.io/https": "tls/x", "netcheck.io/https-name": "web.test" });
    let roster = roster(&[service("web", &annotations), service("other", &json!({}))]);
    let catalog = catalog(&roster, &HttpSettings { api: Some("/readyz".to_owned()), ..Default::default() });
    let row = |port: u16, detail: &str, host: &str| {
        (format!("service/default/web:{port}"), detail.to_owned(), host.to_owned())
    };
    assert_eq!(http(&catalog), [row(443, "https /x", "web.test"), row(80, "http /healthz", "web.test")]);
    let both = catalog.probes.iter().filter(|probe| probe.kind == ProbeKind::Http).count();
    assert_eq!((both, catalog.troubles.len()), (4, 0));
    assert!(catalog.watched_ports.contains(&443) && catalog.watched_ports.contains(&80));
    let tls = catalog.probes.iter().filter_map(|probe| probe.exchange.as_ref()?.tls.as_ref()).next().unwrap();
    assert_eq!((tls.name.as_str(), tls.authority), ("web.test", false));
}

#[test]
fn the_api_server_is_asked_unless_switched_off_or_otherwise_wished() {
    let plain = roster(&[service("kubernetes", &json!({}))]);
    let settings = HttpSettings { api: Some("/livez".to_owned()), ..Default::default() };
    let asked = catalog(&plain, &settings);
    let expected = ("service/default/kubernetes:443", "https /livez", "kubernetes.default.svc");
    assert_eq!(http(&asked), [expected].map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    let probe = asked.probes.iter().find(|probe| probe.kind == ProbeKind::Http).unwrap();
    let Talk::Http(request) = &probe.exchange.as_ref().unwrap().talk else { panic!("{probe:?}") };
    assert_eq!(request.expected, API_STATUSES);
    assert!(http(&catalog(&plain, &HttpSettings::default())).is_empty());
    let own = roster(&[service("kubernetes", &json!({ "netcheck.io/https": "443/version" }))]);
    assert_eq!(http(&catalog(&own, &settings))[0].1, "https /version");
    let quiet = roster(&[service("kubernetes", &json!({ "netcheck.io/probe": "false" }))]);
    assert!(http(&catalog(&quiet, &settings)).is_empty());
}

#[test]
fn what_makes_no_sense_is_reported() {
    let annotations = json!({
        "netcheck.io/http": "8080/ udp/ 80/", "netcheck.io/https-verify": "true", "netcheck.io/http-status": "ok",
    });
    let roster = roster(&[service("web", &annotations)]);
    let catalog = catalog(&roster, &HttpSettings::default());
    assert_eq!(http(&catalog).len(), 1);
    for word in ["no TCP port 8080", "no TCP port udp", "nobody can vouch", "http-status"] {
        assert!(catalog.troubles.iter().any(|line| line.contains(word)), "{word}: {:?}", catalog.troubles);
    }
}

#[test]
fn what_the_operator_names_is_free() {
    let endpoints = vec![Endpoint::read("https://192.0.2.7:8443/x").unwrap()];
    let catalog = catalog(&Roster::default(), &HttpSettings { endpoints, ..Default::default() });
    let expected = ("endpoint/https://192.0.2.7:8443", "https /x", "192.0.2.7:8443");
    assert_eq!(http(&catalog), [expected].map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    let probe = &catalog.probes[0];
    let exchange = probe.exchange.as_ref().unwrap();
    assert!(exchange.external && catalog.watched_ports.contains(&8443));
    let mut spec = v1::PathSpec::default();
    exchange.write(&mut spec);
    assert!(spec.external && spec.tls.is_some() && spec.http.unwrap().path == "/x");
}
