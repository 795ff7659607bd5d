//! Services of the other types, for labs that ask for them ([`crate::LabSpec::all_services`]). Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Port, Service, Transport, cluster_ips, pods_of};
use crate::topology::{Topology, VANTAGE_APP, VANTAGE_NAMESPACE, WEB_PORT};

/// Port at which `web` pods send UDP back.
pub const ECHO_PORT: u16 = 6100;

/// Addresses for documentation, which nobody has: RFC 5737 and RFC 3849. Digits as in the rest of the address plan.
const fn outside(digits: u8) -> (Ipv4Addr, Ipv6Addr) {
    let decimal = digits / 16 * 10 + digits % 16;
    (Ipv4Addr::new(192, 0, 2, decimal), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits as u16))
}

/// - `shop`: two ports, each with a node port, behind a load balancer and an external address.
/// - `local`: the same with one port, and Local as policy of its internal and its external traffic.
/// - `echo`: UDP, with the labels of netcheck's own vantage.
pub(super) fn all(topology: &Topology) -> Vec<Service> {
    let port = |name, port, node_port| Port {
        name,
        transport: Transport::Tcp,
        port,
        target: WEB_PORT,
        node_port: Some(node_port),
    };
    let web = || Service {
        namespace: "default",
        selector: Some(("app", "web")),
        backends: pods_of(topology, "web"),
        ..Service::default()
    };
    vec![
        Service {
            name: "shop",
            cluster_ips: Some(cluster_ips(topology.block, 0x30)),
            ports: vec![port("http", 80, 30080), port("admin", 8081, 30081)],
            balancer: Some(outside(0x10)),
            external: Some(outside(0x20)),
            ..web()
        },
        Service {
            name: "local",
            cluster_ips: Some(cluster_ips(topology.block, 0x31)),
            ports: vec![port("http", 80, 30090)],
            balancer: Some(outside(0x11)),
            internal_local: true,
            external_local: true,
            ..web()
        },
        Service {
            name: "echo",
            cluster_ips: Some(cluster_ips(topology.block, 0x32)),
            ports: vec![Port {
                name: "echo",
                transport: Transport::Udp,
                port: ECHO_PORT,
                target: ECHO_PORT,
                node_port: Some(30061),
            }],
            labels: &[("app.kubernetes.io/name", "netcheck"), ("app.kubernetes.io/component", "vantage")],
            ..web()
        },
    ]
}

/// What only kube-proxy's own rules carry.
/// - `vantage`: the vantages themselves, each of which so asks for itself now and then, as with the chart.
/// - `sticky`, for labs with services of every type: session affinity.
pub(super) fn of_kube_proxy(topology: &Topology, every_type: bool) -> Vec<Service> {
    let mut services = Vec::new();
    let vantages = pods_of(topology, VANTAGE_APP);
    if !vantages.is_empty() {
        services.push(Service {
            name: "vantage",
            namespace: VANTAGE_NAMESPACE,
            cluster_ips: Some(cluster_ips(topology.block, 0x34)),
            selector: Some(("app.kubernetes.io/component", "vantage")),
            ports: vec![Port {
                name: "udp",
                transport: Transport::Udp,
                port: ECHO_PORT,
                target: ECHO_PORT,
                node_port: None,
            }],
            backends: vantages,
            labels: &[("app.kubernetes.io/name", "netcheck"), ("app.kubernetes.io/component", "vantage")],
            ..Service::default()
        });
    }
    if every_type {
        services.push(Service {
            name: "sticky",
            namespace: "default",
            cluster_ips: Some(cluster_ips(topology.block, 0x33)),
            selector: Some(("app", "web")),
            ports: vec![Port {
                name: "http",
                transport: Transport::Tcp,
                port: 80,
                target: WEB_PORT,
                node_port: None,
            }],
            backends: pods_of(topology, "web"),
            affinity: true,
            ..Service::default()
        });
    }
    services
}
