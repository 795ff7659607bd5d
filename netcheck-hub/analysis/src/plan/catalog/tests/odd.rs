//! Services at whose addresses not everybody, or not everything, is meant to answer.

use super::*;

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
        node("aci", "type: virtual-kubelet", "10.0.0.9"),
        node("own", "type: virtual-kubelet", "10.1.1.1"),
    ];
    let spec = "type: NodePort, clusterIP: 10.96.0.80, ports: [{name: http, port: 80, nodePort: 30080}]";
    let catalog = catalog(&format!("{}{}", nodes.concat(), web(spec)));
    let absent = |node: &str| {
        let id = format!("service/shop/web:80/node-port/{node}");
        catalog.targets().find(|target| *target.id == *id).map(|target| target.absent.clone())
    };
    assert_eq!((absent("n1"), absent("win")), (Some(None), Some(None)), "Windows has them");
    for (node, whose) in [("far", "Fargate's"), ("aci", "a virtual kubelet's")] {
        let why = format!("node {node} has no node ports: it is {whose}, which runs no DaemonSet");
        assert_eq!(absent(node), Some(Some(why)));
    }
    assert_eq!(absent("own"), None, "its address is pod web-1's");
}
