use proptest::prelude::*;

use super::*;
use crate::spec::{DnsTransport, Family, RecordType, ServiceAddress, TargetKind};

/// A task in the shape of kdoctor's documentation.
fn task(kind: &str, spec: &str) -> String {
    format!("apiVersion: kdoctor.io/v1beta1\nkind: {kind}\nmetadata:\n  name: task\nspec:\n{spec}")
}

fn one(text: &str) -> Converted {
    let mut all = kdoctor(text).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn a_net_reach() {
    let text = task(
        "NetReach",
        "  expect: {meanAccessDelayInMs: 1500, successRate: 1}\n  \
           request: {durationInSecond: 10, perRequestTimeoutInMS: 1000, qps: 10}\n  \
           schedule: {roundNumber: 2, roundTimeoutMinute: 1, schedule: 1 5}\n  \
           target: {clusterIP: true, endpoint: true, ingress: false, ipv4: true, ipv6: true, loadBalancer: true, \
         multusInterface: false, nodePort: false}\n",
    );
    let Converted { check, notes } = one(&text);
    let spec = &check.spec;
    assert_eq!(check.metadata.name.as_deref(), Some("task"));
    assert_eq!(spec.rounds, Some(2));
    assert_eq!(spec.round_timeout, Some(Span(Duration::from_secs(60))));
    let schedule = spec.schedule.as_ref().unwrap();
    assert_eq!(schedule.every, Some(Span(Duration::from_secs(300))));
    assert_eq!(schedule.start_after, Some(Span(Duration::from_secs(60))));
    assert_eq!(spec.expect.success_rate, Some(Percent::ALL));
    assert_eq!(spec.expect.mean, Some(Span(Duration::from_millis(1500))));
    assert_eq!(spec.targets.kinds, [TargetKind::Pod, TargetKind::Service]);
    assert_eq!(spec.targets.service_addresses, [ServiceAddress::ClusterIp, ServiceAddress::LoadBalancer]);
    assert!(spec.targets.families.is_empty());
    assert_eq!((spec.duration, spec.probes_per_second), (Some(Span(Duration::from_secs(10))), Some(10)));
    assert!(!notes.iter().any(|note| note.starts_with("request.qps")), "{notes:?}");
}

#[test]
fn an_app_http_healthy_becomes_a_request() {
    let text = task(
        "AppHttpHealthy",
        "  expect: {statusCode: 201, successRate: 0.95}\n  \
           request: {qps: 20}\n  \
           target: {host: 'http://shop.example:8080/cart', method: POST, header: ['X-A: b', 'Host: c'], http2: true, \
         bodyConfigmapName: cart, tlsSecretName: tls}\n  \
           schedule: {roundNumber: -1, schedule: '*/10 * * * *', roundTimeoutMinute: 1}\n",
    );
    let Converted { check, notes } = one(&text);
    let http = &check.spec.targets.http[0];
    assert_eq!((http.url.as_str(), http.method.name()), ("http://shop.example:8080/cart", "POST"));
    assert_eq!(
        (
            http.headers.len(),
            http.headers[0].name.as_str(),
            http.headers[0].value.as_ref().map(|value| value.0.as_str())
        ),
        (1, "X-A", Some("b"))
    );
    assert_eq!(http.expected_statuses.as_deref(), Some("201"));
    assert_eq!(check.spec.rounds, Some(-1));
    assert_eq!(check.spec.schedule.unwrap().cron.as_deref(), Some("*/10 * * * *"));
    assert_eq!(
        (check.spec.duration, check.spec.probes_per_second),
        (Some(Span(Duration::from_secs(3))), Some(20))
    );
    for field in [
        "target.header: Host",
        "target.http2",
        "target.bodyConfigmapName",
        "target.tlsSecretName",
        "request.durationInSecond: 3 s",
    ] {
        assert!(notes.iter().any(|note| note.starts_with(field)), "{field}: {notes:?}");
    }
    assert!(!notes.iter().any(|note| note.starts_with("target.method")), "{notes:?}");
    let connect = task("AppHttpHealthy", "  target: {host: 'http://a/', method: CONNECT}\n");
    assert!(one(&connect).notes[0].starts_with("target.method: CONNECT"));
}

#[test]
fn a_net_dns_and_several_documents() {
    let text = format!(
        "# two tasks\n---\n{}---\n{}---\n{}",
        task(
            "NetDns",
            "  request: {domain: www.example.org}\n  target: {netDnsTargetDns: {testIPv4: true, testIPv6: false}, \
             protocol: tcp-tls}\n"
        ),
        task("NetDns", "  target: {netDnsTargetUser: {server: 'fd00::53', port: 5353}}\n"),
        task("NetReach", "  target: {}\n")
    );
    let all = kdoctor(&text).unwrap();
    assert_eq!(all.len(), 3);
    let targets = &all[0].check.spec.targets;
    let dns = &targets.dns[0];
    assert_eq!(
        (targets.families.as_slice(), dns.types.as_slice()),
        (&[Family::Ipv4][..], &[RecordType::A][..])
    );
    assert_eq!(
        (dns.names.as_slice(), dns.transports.as_slice()),
        (&["www.example.org".to_owned()][..], &[DnsTransport::Tls][..])
    );
    assert!(dns.servers.is_empty() && all[0].notes.is_empty(), "{:?}", all[0].notes);
    let user = &all[1].check.spec.targets.dns[0];
    assert_eq!(
        (user.servers[0].as_str(), user.names[0].as_str()),
        ("[fd00::53]:5353", "kubernetes.default.svc.cluster.local")
    );
    assert!(all[1].notes[0].contains("agent.allowCidrs"), "{:?}", all[1].notes);
}

#[test]
fn other_objects_are_refused_with_the_place() {
    let text = format!("{}---\napiVersion: v1\nkind: Pod\n", task("NetReach", "  target: {}\n"));
    let error = kdoctor(&text).unwrap_err().to_string();
    assert!(error.contains("document 2 is a Pod of v1"), "{error}");
    let error = kdoctor(&task("NetReach", "  schedule: {schedule: 1 x, roundNumber: 2}\n")).unwrap_err();
    assert!(error.to_string().contains("task: spec.schedule.schedule"), "{error}");
    let error = kdoctor(&task("NetReach", "  expect: {successRate: 1.5}\n")).unwrap_err();
    assert!(error.to_string().contains("spec.expect.successRate"), "{error}");
}

proptest! {
    /// Whatever is converted is a check that the hub takes, and nothing makes the conversion panic.
    #[test]
    fn what_is_converted_is_valid(
        rounds in -2i64..5, minutes in 0u64..100, every in 0u64..100, rate in 0.0f64..=1.0, flags in any::<[bool; 6]>()
    ) {
        let [cluster, node, balancer, endpoint, v4, v6] = flags;
        let text = task("NetReach", &format!(
            "  schedule: {{roundNumber: {rounds}, schedule: '{minutes} {every}'}}\n  expect: {{successRate: {rate}}}\n  \
               target: {{clusterIP: {cluster}, nodePort: {node}, loadBalancer: {balancer}, endpoint: {endpoint}, \
             ipv4: {v4}, ipv6: {v6}}}\n"
        ));
        if let Ok(converted) = kdoctor(&text) {
            let spec = &converted[0].check.spec;
            prop_assert!(crate::schedule::Rounds::read(spec).is_ok(), "{spec:?}");
            let written = serde_json::to_string(&converted[0].check).unwrap();
            let read: ReachabilityCheck = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(&read, &converted[0].check);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n]{0,200}") {
        let _ = kdoctor(&text);
    }
}
