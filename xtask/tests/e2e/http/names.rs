//! What clients outside and programs inside know by name: an Ingress routes by host, and answers with one certificate; a
//! server's name is looked up, which is a phase of its own and fails as such.

use std::os::unix::fs::PermissionsExt as _;

use netcheck_netlab::{Fault, Lab, LabSpec};
use serde_json::{Value, json};
use xtask::cluster::{Cluster, Finding, Report, Settings};

use super::servers::{Servers, add};
use super::{PATIENCE, phase};
use crate::args;

const HOST: &str = "shop.test";

fn ingress(name: &str, host: &str, addresses: &[String]) -> Value {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let at: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address })).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "tls": [{ "hosts": [host], "secretName": name }],
            "rules": [{ "host": host, "http": { "paths": [path] } }],
        },
        "status": { "loadBalancer": { "ingress": at } },
    })
}

fn about<'a>(report: &'a Report, target: &str) -> Option<&'a Finding> {
    report.findings.iter().find(|finding| finding.paths.iter().any(|path| path.target == target))
}

#[test]
fn an_ingress_routes_by_host_and_a_name_is_looked_up() {
    let lab = Lab::up(LabSpec { vantage: true, ..LabSpec::named("e2e-ingress") }).unwrap();
    let _servers = Servers::ingress(&lab, "web-n1", HOST);
    let pod = lab.pod("web-n1").unwrap();
    let addresses = [pod.v4.to_string(), pod.v6.to_string()];
    let objects = vec![
        ingress("shop", HOST, &addresses),
        // The right address, and nobody there for this name.
        ingress("wrong", "other.test", &addresses[..1]),
        ingress("waiting", "waiting.test", &[]),
    ];
    add(&lab.inventory_path(), objects);
    let of = |service: &str| lab.topology().service(service).unwrap().cluster_ips.unwrap().0;
    let (dns, web) = (of("kube-dns"), of("web"));
    let conf = tempfile::NamedTempFile::new().unwrap();
    let text =
        format!("search default.svc.cluster.local svc.cluster.local\nnameserver {dns}\noptions ndots:5\n");
    std::fs::write(conf.path(), text).unwrap();
    // Vantages are not root.
    std::fs::set_permissions(conf.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let hub_args = args(
        "--http-interval 1s --http-timeout 2s --http-ingress --http-url http://web.default/ --http-url http://kube-dns.kube-system/",
    );
    let resolv_conf = format!("--resolv-conf={}", conf.path().display());
    let agent_args = vec![resolv_conf, format!("--allow-cidr={web}/32")];
    let cluster = Cluster::start(lab, Settings { hub_args, agent_args, ..Settings::default() }).unwrap();

    let (right, wrong) = ("ingress/default/shop/https://shop.test", "ingress/default/wrong/");
    let (http, https) = (format!("{wrong}http://other.test"), format!("{wrong}https://other.test"));
    let url = "endpoint/http://web.default";
    let reported = |report: &Report| {
        let says = |target: &str, words: &str| {
            about(report, target).is_some_and(|finding| finding.headline.contains(words))
        };
        says(&http, "HTTP 404")
            && says(&https, "name mismatch")
            && report.caveats.iter().any(|line| line.contains("--allow-cidr"))
    };
    let waited = cluster.wait("what is wrong is reported", PATIENCE, reported);
    let shown = || cluster.shown(&["report"]).unwrap();
    let (report, _) = waited.unwrap_or_else(|error| panic!("{error}\n{}", shown()));
    let finding = about(&report, &https).unwrap();
    println!("{}\n{}", finding.headline, finding.evidence.join("\n"));
    assert!(finding.headline.contains("it is for shop.test, not other.test"), "{}", finding.headline);
    for target in [right, "ingress/default/shop/http://shop.test", url] {
        assert!(about(&report, target).is_none(), "{target}: {:?}", report.findings);
    }
    let not_allowed = report.caveats.iter().find(|line| line.contains("--allow-cidr")).unwrap();
    assert!(not_allowed.contains("kube-dns.kube-system is"), "{not_allowed}");

    // All is asked from nodes and pods, and looking the name up is a part of it.
    let ready = |_: &Report| cells(&cluster, url).iter().filter(|cell| phase(cell, "dns") > 0.0).count() == 2;
    cluster.wait("the phases", PATIENCE, ready).unwrap();
    for cell in cells(&cluster, url) {
        let total = phase(&cell, "total");
        let parts = ["dns", "connect", "tls", "firstByte"].map(|name| phase(&cell, name));
        assert!(parts.iter().all(|part| *part <= total * 1.07), "{parts:?} of {total}");
        assert!(parts[0] > 0.0 && parts[1] > 0.0 && parts[2] == 0.0 && parts[3] > 0.0, "{parts:?}");
        assert_eq!(cell["verdict"], "VERDICT_REACHABLE", "{cell}");
    }
    assert!(cluster.shown(&["path", "n2", url]).unwrap().contains("DNS"));
    let secure = |_: &Report| {
        let secure = cells(&cluster, right);
        secure.len() == 4 && secure.iter().all(|cell| phase(cell, "tls") > 0.0 && phase(cell, "dns") == 0.0)
    };
    cluster.wait("TLS in both families, from the node and from its pods", PATIENCE, secure).unwrap();

    // The name is gone.
    let fault: Fault = "dns answer=nxdomain".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let gone = |report: &Report| {
        about(report, url).is_some_and(|finding| {
            finding.headline.contains("NXDOMAIN") && !finding.headline.contains("connect")
        })
    };
    let waited = cluster.wait("NXDOMAIN", PATIENCE, gone);
    let (report, _) = waited.unwrap_or_else(|error| panic!("{error}\n{}", shown()));
    let finding = about(&report, url).unwrap();
    println!("{}\n{}", finding.headline, finding.evidence.join("\n"));
    assert!(cells(&cluster, url).iter().all(|cell| cell["stats"]["dnsError"] != "0"), "{url}");
    cluster.lab.heal(&fault).unwrap();
    cluster.wait("it is well again", PATIENCE, |report| about(report, url).is_none()).unwrap();
    cluster.stop().unwrap().down().unwrap();
}

/// Of HTTP from n2, from the node and from its pods.
fn cells(cluster: &Cluster, target: &str) -> Vec<Value> {
    let Ok(answer) = cluster.ask(&["path", "n2", target]) else { return Vec::new() };
    let details = answer["paths"].as_array().cloned().unwrap_or_default();
    let cells = details.into_iter().map(|detail| detail["cell"].clone());
    cells.filter(|cell| cell["path"]["kind"] == "PROBE_KIND_HTTP").collect()
}
