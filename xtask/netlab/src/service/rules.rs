//! The plain rules of one node: they do what kube-proxy's do, without its shape. Pure.
//!
//! What a node's own clients send (`output`) and what arrives from elsewhere (`prerouting`) differ where a traffic policy
//! is Local: at a cluster address both are sent to the node's own backends alone; at node ports, load balancers' and
//! external addresses only what arrives from elsewhere is, for a node's own clients are no external ones.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Backend, Port, Service, TABLE};
use crate::topology::Node;

/// Who has backends left for it: those of the node alone, or all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    All,
    Local,
}

/// One address of a service as a node sees it.
struct Frontend {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    port: u16,
    /// For the node's own clients.
    own: Reach,
    /// For others.
    others: Reach,
}

fn frontends(node: &Node, service: &Service, port: &Port) -> Vec<Frontend> {
    let local = |policy: bool| if policy { Reach::Local } else { Reach::All };
    let inner = local(service.internal_local);
    let outer = local(service.external_local);
    let at = |(v4, v6), number, own, others| Frontend { v4, v6, port: number, own, others };
    let cluster = service.cluster_ips.map(|ips| at(ips, port.port, inner, inner));
    let outside = [service.balancer, service.external].into_iter().flatten();
    let outside = outside.map(|ips| at(ips, port.port, Reach::All, outer));
    let ruled = !service.portless.contains(&node.name);
    let own = port.node_port.filter(|_| ruled);
    let own = own.map(|number| at((node.v4, node.v6), number, Reach::All, outer));
    cluster.into_iter().chain(outside).chain(own).collect()
}

/// The chains of one side: what is translated, and what is refused or dropped.
#[derive(Default)]
struct Side {
    translate: String,
    refuse: String,
}

impl Side {
    fn add(&mut self, to: &str, family: &str, backends: &[String], port: u16, anybody: bool) {
        // Writing to a string cannot fail.
        if !backends.is_empty() {
            _ = writeln!(self.translate, "    {to} counter dnat {family} {}", choice(backends, port));
        } else if anybody {
            _ = writeln!(self.refuse, "    {to} counter drop");
        } else {
            _ = writeln!(self.refuse, "    {to} counter reject");
        }
    }
}

/// A script for `nft -f -` that replaces what was there.
///
/// Packets that turn back into the pod network they came from, and those from outside of the cluster's pods,
/// are masqueraded, or the reply would not come back this way.
pub(crate) fn ruleset(node: &Node, services: &[Service]) -> String {
    let (mut own, mut others) = (Side::default(), Side::default());
    for service in services.iter().filter(|service| !service.untranslated.contains(&node.name)) {
        let ready: Vec<&Backend> = service.backends.iter().filter(|backend| backend.ready).collect();
        let here: Vec<&Backend> =
            ready.iter().copied().filter(|backend| backend.node.as_ref() == Some(&node.name)).collect();
        for port in &service.ports {
            for frontend in frontends(node, service, port) {
                for (family, address) in [("ip", frontend.v4.to_string()), ("ip6", frontend.v6.to_string())] {
                    let of = |backend: &&Backend| {
                        if family == "ip" { backend.v4.to_string() } else { backend.v6.to_string() }
                    };
                    let to =
                        format!("{family} daddr {address} {} dport {}", port.transport.nft(), frontend.port);
                    for (side, reach) in [(&mut own, frontend.own), (&mut others, frontend.others)] {
                        let backends = if reach == Reach::All { &ready } else { &here };
                        let backends: Vec<String> = backends.iter().map(of).collect();
                        side.add(&to, family, &backends, port.target, !ready.is_empty());
                    }
                }
            }
        }
    }
    let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    for (name, side) in [("own", &own), ("others", &others)] {
        _ = write!(
            text,
            "  chain services_{name} {{\n{}  }}\n  chain refuse_{name} {{\n{}  }}\n",
            side.translate, side.refuse
        );
    }
    for (hook, priority, side) in [("prerouting", "dstnat", "others"), ("output", "-100", "own")] {
        _ = write!(
            text,
            "  chain nat_{hook} {{\n    type nat hook {hook} priority {priority}; policy accept;\n    \
             jump services_{side}\n  }}\n"
        );
    }
    for (hook, side) in [("input", "others"), ("forward", "others"), ("output", "own")] {
        _ = write!(
            text,
            "  chain filter_{hook} {{\n    type filter hook {hook} priority filter; policy accept;\n    \
             ct state new jump refuse_{side}\n  }}\n"
        );
    }
    let (here_v4, here_v6) = (node.pod_cidr_v4(), node.pod_cidr_v6());
    let (all_v4, all_v6) = (node.cluster_cidr_v4(), node.cluster_cidr_v6());
    _ = write!(
        text,
        "  chain nat_postrouting {{\n    type nat hook postrouting priority srcnat; policy accept;\n    \
         ct status dnat ip saddr {here_v4} ip daddr {here_v4} masquerade\n    \
         ct status dnat ip6 saddr {here_v6} ip6 daddr {here_v6} masquerade\n    \
         ct status dnat ip saddr != {all_v4} masquerade\n    \
         ct status dnat ip6 saddr != {all_v6} masquerade\n    \
         oifname \"eth0\" ip saddr {here_v4} ip daddr != {all_v4} masquerade\n    \
         oifname \"eth0\" ip6 saddr {here_v6} ip6 daddr != {all_v6} masquerade\n  }}\n}}\n"
    );
    text
}

fn choice(backends: &[String], port: u16) -> String {
    if let [only] = backends {
        return if only.contains(':') { format!("to [{only}]:{port}") } else { format!("to {only}:{port}") };
    }
    let entries: Vec<String> =
        backends.iter().enumerate().map(|(i, address)| format!("{i} : {address} . {port}")).collect();
    format!("addr . port to numgen random mod {} map {{ {} }}", backends.len(), entries.join(", "))
}
