//! Services at whose addresses not everybody, or not everything, is meant to answer.

use super::*;

/// A headless service whose slices have these ports, each with the endpoints of one of its slices.
fn headless(slices: &[(&str, &str)]) -> String {
    let service = "- kind: Service\n  metadata: {name: mq, namespace: shop}\n  \
                   spec: {clusterIP: None, selector: {a: b}, ports: [{name: mq, port: 5672}, {name: metrics, port: 9419}]}\n";
    let slices = slices.iter().enumerate().map(|(at, (ports, endpoints))| {
        format!(
            "- kind: EndpointSlice\n  metadata: {{name: mq-{at}, namespace: shop, labels: {{kubernetes.io/service-name: mq}}}}\n  \
             addressType: IPv4\n  {ports}\n  endpoints: [{endpoints}]\n"
        )
    });
    format!("{service}{}", slices.collect::<String>())
}

const MQ: [&str; 2] = [
    "{addresses: [10.1.1.1], nodeName: n1, targetRef: {kind: Pod, name: web-1}}",
    "{addresses: [10.1.2.1], nodeName: n2, targetRef: {kind: Pod, name: web-2}}",
];

#[test]
fn an_endpoint_is_probed_at_the_ports_that_its_slice_has() {
    let both = "ports: [{name: mq, port: 5672}, {name: metrics, port: 15692}]";
    let one = "ports: [{name: mq, port: 5672}]";
    let catalog = catalog(&headless(&[(both, MQ[0]), (one, MQ[1])]));
    let (first, second) = (
        "tcp service/shop/mq:5672/endpoint/web-1 10.1.1.1:5672",
        "tcp service/shop/mq:5672/endpoint/web-2 10.1.2.1:5672",
    );
    assert_eq!(
        from(&catalog, "n3"),
        [first, second, "tcp service/shop/mq:9419/endpoint/web-1 10.1.1.1:15692"]
    );
    let neither = self::catalog(&headless(&[(one, MQ[0]), (one, MQ[1])]));
    assert_eq!(from(&neither, "n3"), [first, second]);
    let line = "1 headless service without a ready endpoint: there is nothing to probe (shop/mq:9419)";
    assert_eq!(*neither.left_out, [line.to_owned()]);
    // A slice without ports leaves it to the service.
    for all in ["ports: null", "ports: []"] {
        let catalog = self::catalog(&headless(&[(all, MQ[0])]));
        assert_eq!(from(&catalog, "n3"), [first, "tcp service/shop/mq:9419/endpoint/web-1 10.1.1.1:9419"]);
    }
}

#[test]
fn an_endpoint_of_another_cluster_is_expected_to_answer() {
    let ports = "ports: [{name: mq, port: 5672}, {name: metrics, port: 15692}]";
    let far = "{addresses: [10.9.1.7], nodeName: cluster2}";
    let catalog = catalog(&headless(&[(ports, far)]));
    assert_eq!(
        from(&catalog, "n3"),
        [
            "tcp service/shop/mq:5672/endpoint/10.9.1.7 10.9.1.7:5672",
            "tcp service/shop/mq:9419/endpoint/10.9.1.7 10.9.1.7:15692",
        ]
    );
    assert!(catalog.targets().all(|target| target.node != "cluster2"));
    assert!(catalog.addresses.iter().all(|of| of.node != "cluster2"), "it is nobody's of this cluster");
    // Nobody ready there is an alarm for the service.
    let none = headless(&[(ports, &far.replace("nodeName", "conditions: {ready: false}, nodeName"))]);
    let none = none.replace("clusterIP: None", "clusterIP: 10.96.0.7");
    assert_eq!(from(&self::catalog(&none), "n3")[0], "tcp service/shop/mq:5672 10.96.0.7:5672");
    // A pod of this cluster, whose node is gone.
    let orphan = "- kind: Pod\n  metadata: {name: old, namespace: shop}\n  spec: {nodeName: n9}\n  \
                  status: {phase: Running, podIP: 10.1.9.9, conditions: [{type: Ready, status: 'True'}]}\n";
    let gone = "{addresses: [10.1.9.9], nodeName: n9, targetRef: {kind: Pod, name: old}}";
    let catalog = self::catalog(&format!("{orphan}{}", headless(&[(ports, gone)])));
    assert_eq!(from(&catalog, "n3")[0], "!tcp service/shop/mq:5672/endpoint/old 10.1.9.9:5672");
}

#[test]
fn a_dns_server_of_another_cluster_is_expected_to_answer() {
    let text = "- kind: Service\n  metadata: {name: kube-dns, namespace: kube-system}\n  \
                spec: {selector: {a: b}, clusterIP: 10.96.0.10, ports: [{name: dns, port: 53, protocol: UDP}]}\n\
                - kind: EndpointSlice\n  metadata: {name: d-1, namespace: kube-system, labels: {kubernetes.io/service-name: \
                kube-dns}}\n  addressType: IPv4\n  ports: [{name: PORT, port: 53, protocol: UDP}]\n  \
                endpoints: [{addresses: [10.9.1.53], nodeName: cluster2}]\n";
    let servers = |name: &str| {
        let catalog = catalog(&text.replace("PORT", name));
        let servers = catalog.targets().filter(|target| target.id.starts_with("dns/"));
        servers.map(|target| (target.id.to_string(), target.absent.clone())).collect::<Vec<_>>()
    };
    let service = ("dns/kube-system/kube-dns".to_owned(), None);
    assert_eq!(servers("dns"), [("dns/kube-system/10.9.1.53".to_owned(), None), service.clone()]);
    assert_eq!(servers("other"), [service], "it has no such port");
}

#[test]
fn a_virtual_kubelets_node_has_no_node_ports() {
    let node = |name: &str, labels: &str, address: &str| {
        format!(
            "- kind: Node\n  metadata: {{name: {name}, labels: {{{labels}}}}}\n  status:\n    \
             addresses: [{{type: InternalIP, address: {address}}}]\n    conditions: [{{type: Ready, status: 'True'}}]\n"
        )
    };
    let nodes = [
        node("win", "kubernetes.io/os: windows", "10.0.0.7"),
        node("far", "eks.amazonaws.com/compute-type: fargate", "10.0.0.8"),
        node("virtual-1", "type: virtual-kubelet", "10.0.0.9"),
        node("own", "type: virtual-kubelet", "10.1.1.1"),
    ];
    let spec = "type: NodePort, clusterIP: 10.96.0.80, ports: [{name: http, port: 80, nodePort: 30080}]";
    let catalog = catalog(&format!("{}{}", nodes.concat(), web(spec)));
    let absent = |node: &str| {
        let id = format!("service/shop/web:80/node-port/{node}");
        catalog.targets().find(|target| *target.id == *id).map(|target| target.absent.clone())
    };
    assert_eq!((absent("n1"), absent("win")), (Some(None), Some(None)), "Windows has them");
    for (node, whose) in [("far", "Fargate's"), ("virtual-1", "a virtual kubelet's")] {
        let why = format!("node {node} has no node ports: it is {whose}, which runs no DaemonSet");
        assert_eq!(absent(node), Some(Some(why)));
    }
    assert_eq!(absent("own"), None, "its address is pod web-1's");
}

#[test]
fn a_load_balancer_need_not_answer_whom_its_source_ranges_leave_out() {
    let lines = |ranges: &str, more: &str, vantage: &str| {
        let outer =
            format!("clusterIP: 10.96.0.80, type: LoadBalancer, externalIPs: [192.0.2.9]{ranges}{more}");
        let service = web(&format!("{outer}, {HTTP}")).replacen(
            "\n- kind: EndpointSlice",
            "\n  status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]}}\n- kind: EndpointSlice",
            1,
        );
        let text = CLUSTER.replace("podIP: 10.1.1.9", &format!("podIP: {vantage}"));
        let text = format!("{text}{service}");
        let roster = inventory::parse(Path::new("test.yaml"), &text).unwrap().roster();
        let catalog = Catalog::of(&roster, &Selection::everything(), &BTreeMap::new(), "a.b");
        let silent = |node: &str| -> String {
            let lines = from(&catalog, node);
            let of = |part: &str| lines.iter().any(|line| line.starts_with('!') && line.contains(part));
            [("load-balancer/192.0.2.1 ", '4'), ("load-balancer/2001:db8::1 ", '6'), ("external-ip", 'e')]
                .iter()
                .filter(|(part, _)| of(part))
                .map(|(_, family)| *family)
                .collect()
        };
        let mut whys = catalog.probes.iter().filter_map(|probe| probe.target.absent.clone());
        let why = whys.rfind(|why| why.contains("service shop/web")).unwrap_or_default();
        (["n1", "n2", "n3"].map(silent), why)
    };
    let all = ["", "", ""].map(ToOwned::to_owned);
    assert_eq!(lines("", "", "10.1.1.9").0, all);
    assert_eq!(lines(", loadBalancerSourceRanges: [0.0.0.0/0, '::/0']", "", "10.1.1.9").0, all);
    // A node's pod vantage is refused where its address is not among them.
    let (silent, why) =
        lines(", loadBalancerSourceRanges: [10.0.0.1/32, 10.0.0.2/31, 10.1.1.0/24]", "", "10.1.1.9");
    assert_eq!(silent, ["".to_owned(), "4".to_owned(), "46".to_owned()]);
    assert_eq!(why, "loadBalancerSourceRanges of service shop/web leave out the node that probes");
    assert_eq!(lines(", loadBalancerSourceRanges: [10.0.0.1/32]", "", "10.1.1.9").0[0], "4");
    // With a traffic policy, both count.
    let (silent, why) =
        lines(", loadBalancerSourceRanges: [10.0.0.0/8]", ", externalTrafficPolicy: Local", "10.1.1.9");
    assert_eq!(silent, ["".to_owned(), "6".to_owned(), "46e".to_owned()]);
    assert!(why.contains("or externalTrafficPolicy is Local and it has no ready endpoint of it"), "{why}");
}

#[test]
fn a_service_of_which_nobody_says_who_is_behind_is_noted() {
    let manual = "- kind: Service\n  metadata: {name: manual, namespace: shop}\n  \
                  spec: {clusterIP: 10.96.0.9, ports: [{port: 5432}]}\n";
    let noted = catalog(manual);
    let line = "1 service with neither a selector nor an endpoint address not probed: nobody says who is behind (shop/manual)";
    assert_eq!(*noted.left_out, [line.to_owned()]);
    let slice = "- kind: EndpointSlice\n  metadata: {name: m-1, namespace: shop, labels: {kubernetes.io/service-name: manual}}\n  \
                 addressType: IPv4\n  ports: [{port: 5432}]\n  endpoints: [{addresses: [192.0.2.7]}]\n";
    let led = catalog(&format!("{manual}{slice}"));
    assert_eq!(from(&led, "n3"), ["tcp service/shop/manual:5432 10.96.0.9:5432"]);
    assert!(led.left_out.is_empty());
}
