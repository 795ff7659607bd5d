//! HTTP(S) and DNS over TCP and TLS: every server that misbehaves is named, with what it did; phases are parts of
//! the whole; a packet of a TLS handshake that a kernel drops is located as any other.

mod names;
pub(crate) mod servers;

use std::time::Duration;

use netcheck_netlab::{Fault, Lab, LabSpec};
use serde_json::Value;
use xtask::cluster::{Cluster, Finding, Report, Settings};

use self::servers::{SLOW, Servers};
use crate::{args, healthy};

const PATIENCE: Duration = Duration::from_secs(40);

/// `vantage`: all is asked from pods as well.
fn start(name: &str, vantage: bool) -> (Servers, Cluster) {
    let lab = Lab::up(LabSpec { vantage, ..LabSpec::named(name) }).unwrap();
    let servers = Servers::start(&lab);
    let hub_args = args("--http-interval 1s --http-timeout 2s");
    (servers, Cluster::start(lab, Settings { hub_args, ..Settings::default() }).unwrap())
}

/// The finding about HTTP to this service.
fn about<'a>(report: &'a Report, service: &str) -> Option<&'a Finding> {
    let target = format!("service/default/{service}:");
    let mut findings = report.findings.iter();
    findings
        .find(|finding| finding.paths.iter().any(|of| of.kind == "http" && of.target.starts_with(&target)))
}

/// Seconds of a cell's part, by its wire name; 0 where there is none.
fn phase(cell: &Value, name: &str) -> f64 {
    let delay = match name {
        "total" => &cell["stats"]["roundTrip"]["p50"],
        name => &cell["phases"][name]["p50"],
    };
    delay.as_str().map_or(0.0, |text| text.trim_end_matches('s').parse().unwrap())
}

#[test]
fn every_server_has_its_verdict_and_words() {
    let (_servers, cluster) = start("e2e-http", true);
    // Service, words of its headline, stage, certainty and node.
    let bad = [
        ("expired", "TLS handshake failed: certificate expired 3 days ago", "application", "observed", "n2"),
        ("broken", "HTTP 503 from pod default/web-n2", "application", "observed", "n2"),
        ("silent", "the request got no answer from pod default/web-n3", "application", "inferred", "n3"),
    ];
    // Those that are on their way to be located make findings of their own.
    let reported = |report: &Report| {
        report.findings.len() == bad.len()
            && bad.iter().all(|(service, words, ..)| {
                about(report, service).is_some_and(|finding| finding.headline.contains(words))
            })
    };
    let waited = cluster.wait("each is reported", PATIENCE, reported);
    let shown = || cluster.shown(&["path", "n1", "service/default/silent:8081"]).unwrap();
    let (report, _) = waited.unwrap_or_else(|error| panic!("{error}\n{}", shown()));
    for (service, words, stage, certainty, node) in bad {
        let finding = about(&report, service).unwrap();
        println!("{}", finding.headline);
        let at = finding.location.as_ref().unwrap();
        assert_eq!(
            (at.stage.as_str(), at.certainty.as_str(), at.node.as_str()),
            (stage, certainty, node),
            "{words}"
        );
        assert!(finding.paths.iter().all(|path| path.kind == "http"), "{}", finding.headline);
        assert!(finding.headline.contains("TCP"), "TCP to it is fine: {}", finding.headline);
    }
    // Nothing else is wrong, and the certificate that ends soon is reported.
    assert_eq!(report.findings.len(), bad.len(), "{:?}", report.findings);
    let caveat = |word: &str| report.caveats.iter().any(|line| line.contains(word));
    assert!(caveat("service default/soon:8443: its certificate expires in 3 days"), "{:?}", report.caveats);
    assert!(
        caveat("service default/expired:8443: its certificate expired 3 days ago"),
        "{:?}",
        report.caveats
    );
    assert!(!caveat("default/good"), "{:?}", report.caveats);
    phases(&cluster);
    let incidents = |_: &Report| {
        let open = cluster.incidents().unwrap().into_iter().filter(|incident| incident.open);
        let open: Vec<_> = open.collect();
        ["broken", "expired", "silent"].iter().all(|name| {
            let mut about =
                open.iter().filter(|incident| incident.headline.contains(&format!("default/{name}")));
            about.any(|incident| incident.kind == "service" && incident.headline.contains("HTTP"))
        })
    };
    let said = cluster.wait("incidents", PATIENCE, incidents);
    assert!(said.is_ok(), "{}", cluster.shown(&["incidents"]).unwrap());
    cluster.stop().unwrap().down().unwrap();
}

/// The parts of what is answered.
fn phases(cluster: &Cluster) {
    for (service, tls) in [("good:8443", true), ("slow:8081", false)] {
        let target = format!("service/default/{service}");
        let answer = cluster.ask(&["path", "n2", &target]).unwrap();
        let details = answer["paths"].as_array().unwrap();
        let http: Vec<&Value> = details
            .iter()
            .map(|detail| &detail["cell"])
            .filter(|cell| cell["path"]["kind"] == "PROBE_KIND_HTTP")
            .collect();
        assert_eq!(http.len(), 4, "both families, from the node and from its pods: {answer}");
        for cell in http {
            let total = phase(cell, "total");
            let parts = ["connect", "tls", "firstByte"].map(|name| phase(cell, name));
            // A sketch's bucket is 1/16 of a power of two wide.
            assert!(parts.iter().all(|part| *part <= total * 1.07), "{parts:?} of {total}");
            assert!(parts[0] > 0.0 && parts[2] > 0.0 && (parts[1] > 0.0) == tls, "{parts:?} of {total}");
            assert!(tls || parts[2] >= SLOW.as_secs_f64() * 0.95, "{parts:?}");
            assert_eq!(cell["certificateExpiresAt"].is_string(), tls, "{cell}");
        }
        let shown = cluster.shown(&["path", "n2", &target]).unwrap();
        assert!(shown.contains("first byte") && shown.contains("/healthz"), "{shown}");
        assert_eq!(shown.contains("the certificate expires in"), tls, "{shown}");
    }
}

#[test]
fn a_packet_of_a_handshake_that_is_dropped_is_located() {
    let (_servers, cluster) = start("e2e-tls", false);
    let reported = |report: &Report| about(report, "broken").is_some() && about(report, "good").is_none();
    cluster.wait("all are probed", PATIENCE, reported).unwrap();
    // The hello of TLS is longer than any packet of a TCP handshake.
    let rule = "add table inet hello; add chain inet hello forward { type filter hook forward priority 0; }; \
                add rule inet hello forward tcp dport 8443 meta length > 200 drop";
    let output = cluster.lab.exec("n1", &["nft", rule]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let located = |report: &Report| {
        about(report, "good")
            .is_some_and(|finding| finding.location.as_ref().is_some_and(|at| at.certainty == "observed"))
    };
    let (report, took) = cluster.wait("the drop is located", PATIENCE, located).unwrap();
    let finding = about(&report, "good").unwrap();
    println!("after {:.1} s: {}\n{}", took.as_secs_f64(), finding.headline, finding.evidence.join("\n"));
    let at = finding.location.as_ref().unwrap();
    assert_eq!((at.node.as_str(), at.stage.as_str()), ("n1", "netfilter_forward"));
    assert_eq!((at.reason.as_str(), at.direction.as_str()), ("NETFILTER_DROP", "request"));
    assert!(finding.paths.iter().all(|path| path.kind == "http"), "{}", finding.headline);
    cluster.lab.exec("n1", &["nft", "delete table inet hello"]).unwrap();
    cluster.wait("it is well again", PATIENCE, |report| about(report, "good").is_none()).unwrap();
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn dns_over_tcp_and_tls() {
    let hub_args = args(
        "--http-interval 1s --dns-transports udp,tcp,tls --dns-names kubernetes.default.svc.cluster.local,web.default.svc.cluster.local",
    );
    let cluster =
        healthy("e2e-dns-tcp", netcheck_netlab::Mode::Vxlan, Settings { hub_args, ..Settings::default() });
    let answer = cluster.ask(&["path", "n1", "dns/kube-system/dns-n4"]).unwrap();
    let details: std::collections::BTreeSet<&str> = answer["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| detail["cell"]["path"]["detail"].as_str().unwrap_or_default())
        .collect();
    let name = "for web.default.svc.cluster.local.";
    let expected =
        ["", "over TCP", "over TLS", name, &format!("{name} over TCP"), &format!("{name} over TLS")];
    assert_eq!(details, std::collections::BTreeSet::from(expected));
    // An answer is an answer, however it comes.
    let fault: Fault = "dns answer=nxdomain".parse().unwrap();
    cluster.lab.inject(&fault).unwrap();
    let reported = |report: &Report| {
        let nxdomain = report.findings.iter().filter(|finding| finding.headline.contains("NXDOMAIN"));
        nxdomain.flat_map(|finding| &finding.paths).filter(|path| path.kind == "dns").count() >= 2 * 4 * 6
    };
    let (report, _) = cluster.wait("NXDOMAIN everywhere", PATIENCE, reported).unwrap();
    assert!(report.findings.iter().all(|finding| finding.location.as_ref().is_none_or(|at| at.node == "n4")));
    cluster.lab.heal(&fault).unwrap();
    cluster.wait_healthy().unwrap();
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn a_search_list_is_reported_where_it_costs_queries() {
    let conf = tempfile::NamedTempFile::new().unwrap();
    let lab = Lab::up(LabSpec::named("e2e-search")).unwrap();
    let dns = lab.topology().service("kube-dns").unwrap().cluster_ips.unwrap().0;
    let text = format!(
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver {dns}\noptions ndots:5\n"
    );
    std::fs::write(conf.path(), text).unwrap();
    let hub_args = args("--dns-search-names kubernetes.default,web");
    let agent_args = vec![format!("--resolv-conf={}", conf.path().display())];
    let cluster = Cluster::start(lab, Settings { hub_args, agent_args, ..Settings::default() }).unwrap();
    let line = format!(
        "n1, n2 and 2 more: looking up kubernetes.default takes 2 queries at {dns} (search list, ndots 5): \
         kubernetes.default.default.svc.cluster.local. NXDOMAIN, then kubernetes.default.svc.cluster.local."
    );
    let reported = |report: &Report| report.caveats.contains(&line) && report.is_healthy();
    let (report, _) = cluster.wait("the search list is reported", PATIENCE, reported).unwrap();
    assert!(!report.caveats.iter().any(|line| line.contains("looking up web ")), "{:?}", report.caveats);
    cluster.stop().unwrap().down().unwrap();
}
