use std::collections::BTreeMap;

use netcheck_proto::v1;
use serde_json::json;

use super::*;
use crate::cluster::roster::Objects;
use crate::cluster::selection::Selection;
use crate::plan::dns::{DnsSettings, Found};
use crate::plan::selector::Selector;

fn roster() -> Roster {
    let read = |value| serde_json::from_value(value).unwrap();
    let node = |name: &str, address: &str| {
        json!({
            "metadata": { "name": name },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
        })
    };
    let service = |namespace: &str, name: &str, address: &str, port: u16, protocol: &str| {
        json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": {
                "clusterIPs": [address], "selector": { "app": name },
                "ports": [{ "port": port, "protocol": protocol }],
            },
        })
    };
    Objects {
        nodes: vec![
            serde_json::from_value(node("n1", "10.0.0.1")).unwrap(),
            serde_json::from_value(node("n2", "10.0.0.2")).unwrap(),
        ],
        services: vec![
            read(service("kube-system", "kube-dns", "10.96.0.10", 53, "UDP")),
            read(service("shop", "web", "10.96.0.80", 80, "TCP")),
        ],
        ..Objects::default()
    }
    .roster()
}

fn catalog(requested: Requested) -> Catalog {
    let roster = roster();
    Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b")
        .with_dns(&roster, "a.b", &DnsSettings::default(), &Found::new())
        .with_requested(&roster, &[Arc::new(requested)])
}

fn call(method: &str) -> Call {
    Call { method: method.to_owned(), headers: Vec::new(), body: Vec::new() }
}

fn get(url: &str) -> HttpTarget {
    HttpTarget::read(url, "", false, call("GET")).unwrap()
}

fn specs(catalog: &Catalog) -> Vec<(String, v1::PathSpec)> {
    let own = catalog.probes.iter().filter(|probe| probe.target.requested.is_some());
    own.map(|probe| {
        let path = crate::plan::PlannedPath {
            id: netcheck_common::domain::PathId(1),
            vantage: Vantage::Host,
            at: 0,
            probe: probe.clone(),
        };
        (probe.target.id.to_string(), path.to_wire())
    })
    .collect()
}

#[test]
fn requests_go_to_addresses_to_services_and_to_names() {
    let http = [
        "http://192.0.2.7:8080/x",
        "https://10.0.0.2/healthz",
        "http://web.shop.svc/cart",
        "http://web.shop.svc.cluster.local./cart",
        "https://shop.example.org/",
    ]
    .map(get);
    let specs = specs(&catalog(Requested { check: "a".into(), http: http.into(), ..Requested::default() }));
    let row = |at: usize| {
        let (id, spec) = &specs[at];
        let http = spec.http.as_ref().unwrap();
        let tls = spec.tls.as_ref().map_or("", |tls| tls.name.as_str());
        (id.as_str(), (spec.external, http.host.as_str(), http.resolve.as_str(), tls))
    };
    assert_eq!(specs.len(), 5);
    assert_eq!(row(0), ("check/a/GET/http://192.0.2.7:8080/x", (true, "192.0.2.7:8080", "", "")));
    assert_eq!(
        row(1),
        ("check/a/GET/http://web.shop.svc.cluster.local/cart", (false, "web.shop.svc.cluster.local", "", ""))
    );
    assert_eq!(row(2), ("check/a/GET/http://web.shop.svc/cart", (false, "web.shop.svc", "", "")));
    assert_eq!(specs[2].1.address, [10, 96, 0, 80], "the service's own address");
    assert_eq!(row(3), ("check/a/GET/https://10.0.0.2/healthz", (false, "10.0.0.2", "", "")));
    let looked_up = (true, "shop.example.org", "shop.example.org", "shop.example.org");
    assert_eq!(row(4), ("check/a/GET/https://shop.example.org/", looked_up));
}

#[test]
fn a_method_headers_and_a_body_go_to_the_agent_and_into_no_name() {
    let secret = Call {
        method: "POST".to_owned(),
        headers: vec![("x-token".to_owned(), "s3cret".to_owned())],
        body: b"s3cret".to_vec(),
    };
    let target = HttpTarget::read("http://web.shop.svc/orders?key=s3cret", "201,409", false, secret).unwrap();
    let requested =
        Requested { check: "a".into(), http: vec![target.clone(), target], ..Requested::default() };
    let catalog = catalog(requested);
    let specs = specs(&catalog);
    assert_eq!(specs[0].0, "check/a/POST/http://web.shop.svc/orders");
    assert_eq!(specs[1].0, "check/a/POST/http://web.shop.svc/orders#2", "each is a target of its own");
    let spec = &specs[0].1;
    assert!(spec.http.is_none(), "an agent that knows no methods does not take it for a GET");
    let call = spec.call.as_ref().unwrap();
    assert_eq!((call.method.as_str(), call.body.as_slice()), ("POST", &b"s3cret"[..]));
    assert_eq!((call.headers[0].name.as_str(), call.headers[0].value.as_str()), ("x-token", "s3cret"));
    let request = call.request.as_ref().unwrap();
    assert_eq!((request.path.as_str(), request.expected.len()), ("/orders?key=s3cret", 2));
    for probe in catalog.probes.iter().filter(|probe| probe.target.requested.is_some()) {
        assert_eq!(probe.detail(), "http POST /orders");
        let exchange = probe.exchange.as_ref().unwrap();
        let Talk::Http(request) = &exchange.talk else { panic!("{exchange:?}") };
        for text in [format!("{:?}", request.call), probe.detail(), probe.target.name.clone()] {
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}

#[test]
fn questions_go_to_servers_that_are_named_or_to_the_cluster_s() {
    let question = |servers: &[(IpAddr, Option<u16>)], record, over| DnsTarget {
        servers: servers.to_vec(),
        name: "example.org".to_owned(),
        record,
        over,
    };
    let outside = IpAddr::from([192, 0, 2, 53]);
    let dns = vec![
        question(&[], ("MX", 15), Over::Udp),
        question(&[], ("A", 1), Over::Tls),
        question(&[(outside, Some(5353))], ("AAAA", 28), Over::Tcp),
    ];
    let catalog = catalog(Requested { check: "a".into(), dns, ..Requested::default() });
    let rows: Vec<(String, u32, u32, bool, i32)> = specs(&catalog)
        .into_iter()
        .map(|(id, spec)| (id, spec.dns_type, spec.port, spec.external, spec.dns_transport))
        .collect();
    let row = |id: &str, kind, port, external, over: v1::DnsTransport| {
        (id.to_owned(), kind, port, external, over as i32)
    };
    assert_eq!(
        rows,
        [
            row("check/a/A/example.org.@10.96.0.10:853/tls", 1, 853, false, v1::DnsTransport::Tls),
            row("check/a/AAAA/example.org.@192.0.2.53:5353/tcp", 28, 5353, true, v1::DnsTransport::Tcp),
            row("check/a/MX/example.org.@10.96.0.10:53/udp", 15, 53, false, v1::DnsTransport::Unspecified),
        ]
    );
    assert!(catalog.watched_ports.contains(&5353));
}

#[test]
fn only_nodes_and_vantages_that_the_check_names_send() {
    let wanted = |nodes: &[&str], vantage| Requested {
        check: "a".into(),
        http: vec![get("http://web.shop.svc/")],
        nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
        vantage,
        ..Requested::default()
    };
    let sources = |requested| {
        let catalog = catalog(requested);
        let own = catalog.probes.into_iter().find(|probe| probe.target.requested.is_some());
        own.unwrap().sources
    };
    assert_eq!(sources(wanted(&[], None)), Sources::All);
    let one = sources(wanted(&["n2", "n9"], None));
    assert!(one.take("n2") && !one.take("n1") && !one.take("n9"));
    let pods = sources(wanted(&[], Some(Vantage::Pod)));
    assert!(pods.take("n1") && pods.take("n2") && pods != Sources::All);
}

#[test]
fn what_a_check_asks_for_is_selected_by_its_name_alone() {
    let catalog = catalog(Requested {
        check: "a".into(),
        http: vec![get("http://web.shop.svc/")],
        ..Requested::default()
    });
    let selector = |targets: &[&str]| {
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        Selector::read(Some(v1::PathSelector { targets, ..Default::default() })).unwrap()
    };
    let taken = |selector: &Selector| {
        catalog
            .probes
            .iter()
            .filter(|probe| probe.target.requested.is_some() && selector.takes_probe(probe))
            .count()
    };
    for (targets, count) in [
        (&[][..], 0),
        (&["check/a"], 1),
        (&["check/b"], 0),
        (&["check/a/GET/http://web.shop.svc/"], 1),
        (&["10.96.0.80"], 0),
        (&["shop/web"], 0),
    ] {
        assert_eq!(taken(&selector(targets)), count, "{targets:?}");
    }
    let all = selector(&["check/a"]);
    assert!(
        catalog
            .probes
            .iter()
            .filter(|probe| probe.target.requested.is_none())
            .all(|probe| !all.takes_probe(probe))
    );
}

#[test]
fn what_is_no_request_says_which_field() {
    let body = |method: &str, bytes: usize| Call { body: vec![b'x'; bytes], ..call(method) };
    let header =
        |name: &str, value: &str| Call { headers: vec![(name.to_owned(), value.to_owned())], ..call("GET") };
    for (url, expected, verify, call, word) in [
        ("ftp://web/", "", false, call("GET"), "url"),
        ("http://user@web/", "", false, call("GET"), "url"),
        ("http://web/#x", "", false, call("GET"), "url"),
        ("http://web:0/", "", false, call("GET"), "url"),
        ("http://web/", "99", false, call("GET"), "expectedStatuses"),
        ("http://web/", "", true, call("GET"), "verify"),
        ("http://web/", "", false, body("GET", 1), "body"),
        ("http://web/", "", false, body("POST", 4097), "body"),
        ("http://web/", "", false, header("host", "b"), "headers"),
        ("http://web/", "", false, header("a", "s3cret\n"), "headers"),
        ("http://web/", "", false, header("a", &"b".repeat(5000)), "headers"),
    ] {
        let why = HttpTarget::read(url, expected, verify, call).unwrap_err().to_string();
        assert!(why.starts_with(word) && !why.contains("s3cret"), "{url}: {why}");
    }
    assert!(get("http://web/").call.is_none(), "a GET is one that every agent knows");
    assert!(get("http://web/?a").call.is_some());
}
