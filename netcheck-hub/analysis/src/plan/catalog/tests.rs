//! Services of every type, as the tables of targets and paths that come of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::cluster::inventory;
use crate::model::target::TargetKind;
use crate::plan::dns::{DnsSettings, Found, Over};

mod odd;

/// Four nodes in two zones, the last of which is not ready; a `web` pod on n1 and n2, a vantage on each of n1 to n3.
const CLUSTER: &str = include_str!("tests/cluster.yaml");

fn catalog(service: &str) -> Catalog {
    of(service, &Selection::everything())
}

fn of(service: &str, selection: &Selection) -> Catalog {
    let text = format!("{CLUSTER}{service}");
    let roster = inventory::parse(Path::new("test.yaml"), &text).unwrap().roster();
    Catalog::of(&roster, selection, &BTreeMap::new(), "a.b")
}

/// A service `shop/web` with endpoints on n1 and n2, as `spec` has it. Indented as in the file.
fn web(spec: &str) -> String {
    format!(
        "- kind: Service\n  metadata: {{name: web, namespace: shop}}\n  spec: {{selector: {{app: web}}, {spec}}}\n\
         - kind: EndpointSlice\n  metadata: {{name: web-4, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n  \
           addressType: IPv4\n  ports: [{{name: http, port: 8080}}, {{name: admin, port: 9090}}]\n  endpoints:\n  \
           - {{addresses: [10.1.1.1], nodeName: n1, targetRef: {{kind: Pod, name: web-1}}}}\n  \
           - {{addresses: [10.1.2.1], nodeName: n2, targetRef: {{kind: Pod, name: web-2}}}}\n\
         - kind: EndpointSlice\n  metadata: {{name: web-6, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n  \
           addressType: IPv6\n  ports: [{{name: http, port: 8080}}, {{name: admin, port: 9090}}]\n  endpoints:\n  \
           - {{addresses: ['fd01::1'], nodeName: n1, targetRef: {{kind: Pod, name: web-1}}}}\n"
    )
}

const HTTP: &str = "ports: [{name: http, port: 80}]";

/// Every path to a service from one node: `kind target address:port`, with `!` where silence is expected.
fn from(catalog: &Catalog, node: &str) -> Vec<String> {
    let families = [Family::V4, Family::V6];
    let probes = catalog.of_node(node, &families).into_iter().map(|wanted| wanted.probe);
    let services = probes.filter(|probe| probe.target.kind == TargetKind::Service);
    let line = |probe: &Probe| {
        let absent = if probe.target.absent.is_some() { "!" } else { "" };
        let end = std::net::SocketAddr::new(probe.address, probe.port);
        format!("{absent}{} {} {end}", probe.kind, probe.target.id)
    };
    services.map(line).collect()
}

#[test]
fn every_port_at_every_cluster_address() {
    let catalog = catalog(&web(
        "clusterIPs: [10.96.0.80, 'fd02::80'], ports: [{name: http, port: 80}, {name: admin, port: 90}]",
    ));
    assert_eq!(
        from(&catalog, "n3"),
        [
            "tcp service/shop/web:80 10.96.0.80:80",
            "tcp service/shop/web:80 [fd02::80]:80",
            "tcp service/shop/web:90 10.96.0.80:90",
            "tcp service/shop/web:90 [fd02::80]:90",
        ]
    );
    let ports: Vec<u16> = catalog.watched_ports.to_vec();
    assert_eq!(ports, [53, 80, 90, 6100, 8080, 9090], "those of backends, too");
}

#[test]
fn node_ports_are_probed_by_their_node_and_three_others() {
    let catalog = catalog(&web(
        "type: NodePort, clusterIP: 10.96.0.80, ports: [{name: http, port: 80, nodePort: 30080}]",
    ));
    let mut probed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for node in ["n1", "n2", "n3", "n4"] {
        for line in from(&catalog, node) {
            probed.entry(line).or_default().push(node);
        }
    }
    // n4 is away, so it probes nobody but itself, and is expected to be silent.
    let expected = [
        ("!tcp service/shop/web:80/node-port/n4 10.0.0.4:30080", vec!["n1", "n2", "n3", "n4"]),
        ("tcp service/shop/web:80 10.96.0.80:80", vec!["n1", "n2", "n3", "n4"]),
        ("tcp service/shop/web:80/node-port/n1 10.0.0.1:30080", vec!["n1", "n2", "n3"]),
        ("tcp service/shop/web:80/node-port/n2 10.0.0.2:30080", vec!["n1", "n2", "n3"]),
        ("tcp service/shop/web:80/node-port/n3 10.0.0.3:30080", vec!["n1", "n2", "n3"]),
        ("tcp service/shop/web:80/node-port/n3 [fd00::3]:30080", vec!["n1", "n2", "n3"]),
    ];
    let probed: Vec<(&str, Vec<&str>)> =
        probed.iter().map(|(line, nodes)| (line.as_str(), nodes.clone())).collect();
    assert_eq!(probed, expected);
    let target =
        catalog.targets().find(|target| *target.id == *"service/shop/web:80/node-port/n2").unwrap().to_wire();
    assert_eq!((target.port, target.service_port, target.node.as_str()), (30080, 80, "n2"));
    assert_eq!(crate::words::names::target_name(&target), "NodePort 30080 on n2 of service shop/web:80");
}

#[test]
fn load_balancers_and_external_addresses_are_targets_of_their_own() {
    let outer = "clusterIP: 10.96.0.80, type: LoadBalancer, externalIPs: [192.0.2.9]";
    let status = "  status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}, {hostname: lb.example}]}}\n";
    let service = web(&format!("{outer}, {HTTP}")).replacen(
        "\n- kind: EndpointSlice",
        &format!("\n{status}- kind: EndpointSlice"),
        1,
    );
    let catalog = catalog(&service);
    assert_eq!(
        from(&catalog, "n3"),
        [
            "tcp service/shop/web:80 10.96.0.80:80",
            "tcp service/shop/web:80/external-ip/192.0.2.9 192.0.2.9:80",
            "tcp service/shop/web:80/load-balancer/192.0.2.1 192.0.2.1:80",
            "tcp service/shop/web:80/load-balancer/2001:db8::1 [2001:db8::1]:80",
        ]
    );
    let names = catalog.targets().map(|target| crate::words::names::target_name(&target.to_wire()));
    let names: Vec<String> = names.filter(|name| name.contains(" of ")).collect();
    assert_eq!(
        names,
        [
            "external IP 192.0.2.9 of service shop/web:80",
            "load balancer 192.0.2.1 of service shop/web:80",
            "load balancer 2001:db8::1 of service shop/web:80",
        ]
    );
    let line =
        "1 load balancer known by name alone not probed: --http-url asks by name (shop/web at lb.example)";
    assert_eq!(*catalog.left_out, [line.to_owned()]);
}

#[test]
fn of_a_headless_service_every_ready_endpoint_at_its_own_port() {
    let catalog = catalog(&web(&format!("clusterIP: None, {HTTP}")));
    assert_eq!(
        from(&catalog, "n3"),
        [
            "tcp service/shop/web:80/endpoint/web-1 10.1.1.1:8080",
            "tcp service/shop/web:80/endpoint/web-1 [fd01::1]:8080",
            "tcp service/shop/web:80/endpoint/web-2 10.1.2.1:8080",
        ]
    );
    let target =
        catalog.targets().find(|target| *target.id == *"service/shop/web:80/endpoint/web-2").unwrap();
    assert_eq!((target.node.as_str(), target.backends), ("n2", 1));
    assert_eq!(
        crate::words::names::target_name(&target.to_wire()),
        "endpoint shop/web-2 of service shop/web:80"
    );
    let nobody =
        web(&format!("clusterIP: None, {HTTP}")).replace("nodeName", "conditions: {ready: false}, nodeName");
    let nobody = self::catalog(&nobody);
    assert_eq!(from(&nobody, "n3"), Vec::<String>::new());
    assert!(
        nobody.left_out[0].starts_with("1 headless service without a ready endpoint"),
        "{:?}",
        nobody.left_out
    );
    let bare = self::catalog(&web("clusterIP: None"));
    assert!(bare.left_out[0].starts_with("1 headless service without ports"), "{:?}", bare.left_out);
}

#[test]
fn where_internal_traffic_stays_local_a_node_without_a_backend_is_expected_to_get_nothing() {
    let catalog =
        catalog(&web(&format!("clusterIPs: [10.96.0.80, 'fd02::80'], internalTrafficPolicy: Local, {HTTP}")));
    let (v4, v6) = ("tcp service/shop/web:80 10.96.0.80:80", "tcp service/shop/web:80 [fd02::80]:80");
    let silent = |line: &str| format!("!{line}");
    assert_eq!(from(&catalog, "n1"), [v4, v6]);
    assert_eq!(from(&catalog, "n2"), [v4.to_owned(), silent(v6)], "its only backend has no IPv6");
    assert_eq!(from(&catalog, "n3"), [silent(v4), silent(v6)]);
    assert_eq!(catalog.targets().filter(|target| target.kind == TargetKind::Service).count(), 1);
    // Nobody anywhere: that is an alarm for all.
    let nobody = web(&format!("clusterIP: 10.96.0.80, internalTrafficPolicy: Local, {HTTP}"))
        .replace("nodeName", "conditions: {ready: false}, nodeName");
    assert_eq!(from(&self::catalog(&nobody), "n3"), [v4]);
}

#[test]
fn where_external_traffic_stays_local_so_is_a_node_port_and_a_load_balancer() {
    let spec = "type: NodePort, clusterIP: 10.96.0.80, externalIPs: [192.0.2.9], externalTrafficPolicy: Local, \
                ports: [{name: http, port: 80, nodePort: 30080}]";
    let catalog = catalog(&web(spec));
    assert_eq!(
        from(&catalog, "n3"),
        [
            "tcp service/shop/web:80 10.96.0.80:80",
            "!tcp service/shop/web:80/external-ip/192.0.2.9 192.0.2.9:80",
            "tcp service/shop/web:80/node-port/n1 10.0.0.1:30080",
            "tcp service/shop/web:80/node-port/n2 10.0.0.2:30080",
            "!tcp service/shop/web:80/node-port/n3 10.0.0.3:30080",
            "!tcp service/shop/web:80/node-port/n3 [fd00::3]:30080",
            "!tcp service/shop/web:80/node-port/n4 10.0.0.4:30080",
        ]
    );
    assert!(
        from(&catalog, "n1")
            .contains(&"tcp service/shop/web:80/external-ip/192.0.2.9 192.0.2.9:80".to_owned())
    );
    let why = catalog.targets().find(|target| *target.id == *"service/shop/web:80/node-port/n3").unwrap();
    assert_eq!(
        why.absent.as_deref(),
        Some("externalTrafficPolicy of service shop/web is Local, and n3 has no ready endpoint of it")
    );
}

#[test]
fn udp_only_where_the_answer_is_certain() {
    let udp = |labels: &str, pod: &str, address: &str| {
        format!(
            "- kind: Service\n  metadata: {{name: echo, namespace: tools, labels: {{{labels}}}}}\n  \
               spec: {{selector: {{a: b}}, clusterIP: 10.96.0.6, ports: [{{name: u, port: 6100, protocol: UDP, nodePort: 30061}}]}}\n\
             - kind: EndpointSlice\n  metadata: {{name: echo-4, namespace: tools, labels: {{kubernetes.io/service-name: echo}}}}\n  \
               addressType: IPv4\n  ports: [{{name: u, port: 6100, protocol: UDP}}]\n  endpoints:\n  \
               - {{addresses: [{address}], nodeName: n1, targetRef: {{kind: Pod, name: {pod}}}}}\n"
        )
    };
    let labels = "app.kubernetes.io/name: netcheck, app.kubernetes.io/component: vantage";
    for service in [udp(labels, "whoever", "10.1.9.9"), udp("", "vantage-1", "10.1.1.9")] {
        let lines = from(&catalog(&service), "n3");
        assert_eq!(
            lines[..2],
            [
                "udp service/tools/echo:6100 10.96.0.6:6100",
                "udp service/tools/echo:6100/node-port/n1 10.0.0.1:30061"
            ]
        );
    }
    let other = catalog(&udp("", "whoever", "10.1.9.9"));
    assert_eq!(from(&other, "n3"), Vec::<String>::new());
    let line = "1 UDP or SCTP port of services not probed: silence there says nothing (tools/echo:6100 UDP)";
    assert_eq!(*other.left_out, [line.to_owned()]);
}

#[test]
fn a_dns_service_is_asked_at_its_other_addresses_too() {
    let text = "- kind: Service\n  metadata: {name: kube-dns, namespace: kube-system}\n  \
                spec: {selector: {a: b}, type: LoadBalancer, clusterIP: 10.96.0.10, ports: [\
                {name: dns, port: 53, protocol: UDP, nodePort: 30053},\
                {name: dns-tcp, port: 53, protocol: TCP, nodePort: 30054}]}\n  \
                status: {loadBalancer: {ingress: [{ip: 192.0.2.53}]}}\n";
    let over = vec![Over::Udp, Over::Tcp, Over::Tls];
    let settings = DnsSettings { over, more_names: vec!["c.d".to_owned()], ..DnsSettings::default() };
    let text = format!("{CLUSTER}{text}");
    let roster = inventory::parse(Path::new("test.yaml"), &text).unwrap().roster();
    let catalog = Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b");
    let catalog = catalog.with_dns(&roster, "a.b", &settings, &Found::new());
    let asked = |kind: ProbeKind| {
        let of = |probe: &&Probe| {
            probe.kind == kind && probe.target.kind == TargetKind::Service && probe.sources.take("n1")
        };
        let line = |probe: &Probe| {
            let name =
                probe.question.as_ref().map(|question| format!(" {}", question.name)).unwrap_or_default();
            format!("{}:{}{name}", probe.address, probe.port)
        };
        let mut lines: Vec<String> = catalog.probes.iter().filter(of).map(line).collect();
        lines.retain(|line| line.starts_with("192.") || line.starts_with("10.0.0.1:"));
        lines.sort();
        lines
    };
    // By UDP alone: what TCP there is has ports of its own, which are connected to.
    assert_eq!(
        asked(ProbeKind::Dns),
        ["10.0.0.1:30053 a.b.", "10.0.0.1:30053 c.d.", "192.0.2.53:53 a.b.", "192.0.2.53:53 c.d."]
    );
    assert_eq!(asked(ProbeKind::Tcp), ["10.0.0.1:30054", "192.0.2.53:53"]);
}

#[test]
fn a_mere_name_is_reported_and_not_probed() {
    let name = "- kind: Service\n  metadata: {name: bucket, namespace: shop}\n  \
                spec: {type: ExternalName, externalName: a.example, ports: [{port: 443}]}\n";
    let catalog = catalog(name);
    assert_eq!(from(&catalog, "n1"), Vec::<String>::new());
    let line = "1 ExternalName service not probed: what it names is not of the cluster (shop/bucket)";
    assert_eq!(*catalog.left_out, [line.to_owned()]);
    // Unless somebody asked for it, it is one more that nobody selected.
    let catalog = of(name, &Selection::default());
    assert!(
        catalog.left_out[0].starts_with("2 pods and 1 service are not probed: "),
        "{:?}",
        catalog.left_out
    );
    assert_eq!(catalog.left_out.len(), 1);
}

#[test]
fn by_default_there_is_little_to_probe() {
    let catalog = of(&web(&format!("clusterIP: 10.96.0.80, {HTTP}")), &Selection::default());
    let ids: Vec<&str> = catalog.targets().map(|target| &*target.id).collect();
    assert_eq!(
        ids,
        [
            "node/n1",
            "node/n2",
            "node/n3",
            "node/n4",
            "pod/tools/vantage-1",
            "pod/tools/vantage-2",
            "pod/tools/vantage-3"
        ]
    );
    let labelled = Selection { service_namespaces: ["shop".to_owned()].into(), ..Selection::default() };
    let catalog = of(&web(&format!("clusterIP: 10.96.0.80, {HTTP}")), &labelled);
    assert!(catalog.targets().any(|target| *target.id == *"service/shop/web:80"));
    assert!(catalog.targets().all(|target| *target.id != *"pod/shop/web-1"));
}

#[test]
fn every_target_is_called_something_else() {
    let service = web(
        "type: LoadBalancer, clusterIPs: [10.96.0.80, 'fd02::80'], externalIPs: [192.0.2.9, 192.0.2.1], ports: [{name: \
         http, port: 80, nodePort: 30080}, {name: admin, port: 90, nodePort: 30090}]",
    );
    let status = "  status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n";
    let service = service.replacen("\n- kind: EndpointSlice", &format!("\n{status}- kind: EndpointSlice"), 1);
    let catalog = catalog(&service);
    let names: Vec<String> =
        catalog.targets().map(|target| crate::words::names::target_name(&target.to_wire())).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    let mut again = catalog.clone();
    again.probes.dedup_by(|a, b| a.identity(Vantage::Host) == b.identity(Vantage::Host));
    assert_eq!(again.probes.len(), catalog.probes.len(), "no path twice");
}
