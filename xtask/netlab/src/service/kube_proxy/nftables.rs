//! The tables of kube-proxy's nftables mode on one node, for `nft -f -`: one for each family.

use super::{
    AFFINITY_SECONDS, Endpoint, MASQUERADE_MARK, Policy, Refusal, ServicePort, cluster_cidr, digest, line,
    node_cidr, service_ports,
};
use crate::fault::Family;
use crate::service::Service;
use crate::topology::Node;

/// Chains with a hook: name, type, hook, priority, rules.
const BASE_CHAINS: &[(&str, &str, &str, &str, &[&str])] = &[
    ("filter-prerouting-pre-dnat", "filter", "prerouting", "-110", &["ct state new jump firewall-check"]),
    ("filter-output-pre-dnat", "filter", "output", "-110", &["ct state new jump firewall-check"]),
    (
        "filter-input",
        "filter",
        "input",
        "0",
        &["ct state new jump nodeport-endpoints-check", "ct state new jump service-endpoints-check"],
    ),
    (
        "filter-forward",
        "filter",
        "forward",
        "0",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    ("filter-output", "filter", "output", "0", &["ct state new jump service-endpoints-check"]),
    ("filter-output-post-dnat", "filter", "output", "-90", &["ct state new jump cluster-ips-check"]),
    ("nat-prerouting", "nat", "prerouting", "-100", &["jump services"]),
    ("nat-output", "nat", "output", "-100", &["jump services"]),
    ("nat-postrouting", "nat", "postrouting", "100", &["jump masquerading"]),
];

/// One family's table, piece by piece.
struct Table {
    family: Family,
    /// Elements of the maps and sets that all services share.
    cluster_ips: Vec<String>,
    service_ips: Vec<String>,
    service_nodeports: Vec<String>,
    no_endpoint_services: Vec<String>,
    no_endpoint_nodeports: Vec<String>,
    /// Chains and sets of single services.
    own: String,
}

/// A script that replaces both tables.
pub(crate) fn ruleset(node: &Node, services: &[Service]) -> String {
    [Family::V4, Family::V6].map(|family| table(node, services, family)).concat()
}

const fn words(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("ip", "ipv4_addr"),
        Family::V6 => ("ip6", "ipv6_addr"),
    }
}

fn table(node: &Node, services: &[Service], family: Family) -> String {
    let mut table = Table {
        family,
        cluster_ips: Vec::new(),
        service_ips: Vec::new(),
        service_nodeports: Vec::new(),
        no_endpoint_services: Vec::new(),
        no_endpoint_nodeports: Vec::new(),
        own: String::new(),
    };
    let ports = service_ports(node, services, family);
    ports.iter().for_each(|port| table.add(port));
    table.cluster_ips = ports.iter().map(|port| port.cluster_ip.clone()).collect();
    table.cluster_ips.sort_unstable();
    table.cluster_ips.dedup();
    table.shown(node) + &leave(node, family)
}

/// The name that a port's chains end with, as `HASH-NAMESPACE/NAME/PROTOCOL/PORT`.
fn key(port: &ServicePort<'_>) -> String {
    let name =
        format!("{}/{}/{}/{}", port.service.namespace, port.service.name, port.protocol(), port.port.name);
    format!("{}-{name}", &digest(&name)[..8])
}

fn endpoint_key(port: &ServicePort<'_>, endpoint: &Endpoint) -> String {
    // Colons are not allowed in names; kube-proxy writes dots in their place.
    let address = endpoint.address.replace(':', ".");
    let name = format!("{}__{address}/{}", key(port), port.port.target);
    format!("{}-{name}", &digest(&name)[..8])
}

impl Table {
    fn add(&mut self, port: &ServicePort<'_>) {
        let (ip, _) = words(self.family);
        let (key, protocol, number) = (key(port), port.protocol(), port.port.port);
        let chain_of = |policy| match policy {
            Policy::Cluster => format!("service-{key}"),
            Policy::Local => format!("local-{key}"),
        };
        let verdict = |refusal| match refusal {
            Refusal::Reject => "goto reject-chain",
            Refusal::Drop => "drop",
        };
        let inner = format!("{} . {protocol} . {number}", port.cluster_ip);
        match port.refusal(port.internal()) {
            Some(refusal) => self.no_endpoint_services.push(format!("{inner} : {}", verdict(refusal))),
            None => self.service_ips.push(format!("{inner} : goto {}", chain_of(port.internal()))),
        }
        // Backends elsewhere serve pods and the node itself even where what comes from outside has none here.
        let external = format!("external-{key}");
        let served = !port.endpoints.is_empty();
        for (_, address) in &port.external {
            let outer = format!("{address} . {protocol} . {number}");
            if served {
                self.service_ips.push(format!("{outer} : goto {external}"));
            }
            if let Some(refusal) = port.refusal(port.outside()) {
                self.no_endpoint_services.push(format!("{outer} : {}", verdict(refusal)));
            }
        }
        if let Some(node_port) = port.node_port {
            let outer = format!("{protocol} . {node_port}");
            if served {
                self.service_nodeports.push(format!("{outer} : goto {external}"));
            }
            if let Some(refusal) = port.refusal(port.outside()) {
                self.no_endpoint_nodeports.push(format!("{outer} : {}", verdict(refusal)));
            }
        }
        if port.is_external() && served {
            self.chain(
                &external,
                &external_rules(port, &chain_of(Policy::Cluster), &chain_of(Policy::Local)),
            );
        }
        for policy in [Policy::Cluster, Policy::Local].into_iter().filter(|policy| port.needs(*policy)) {
            self.chain(&chain_of(policy), &balance(port, policy, ip));
        }
        let used = |endpoint: &&Endpoint| port.needs(Policy::Cluster) || endpoint.is_local;
        port.endpoints.iter().filter(used).for_each(|endpoint| self.endpoint(port, endpoint));
    }

    fn chain(&mut self, name: &str, rules: &[String]) {
        line(&mut self.own, &format!("  chain {name} {{"));
        rules.iter().for_each(|rule| line(&mut self.own, &format!("    {rule}")));
        line(&mut self.own, "  }");
    }

    fn endpoint(&mut self, port: &ServicePort<'_>, endpoint: &Endpoint) {
        let (ip, kind) = words(self.family);
        let key = endpoint_key(port, endpoint);
        let mut rules = vec![format!("{ip} saddr {} jump mark-for-masquerade", endpoint.address)];
        if port.service.affinity {
            let set = format!("affinity-{key}");
            let flags = format!("flags dynamic,timeout; timeout {AFFINITY_SECONDS}s;");
            line(&mut self.own, &format!("  set {set} {{ type {kind}; {flags} }}"));
            rules.push(format!("update @{set} {{ {ip} saddr }}"));
        }
        rules.push(format!("meta l4proto {} dnat to {}", port.protocol(), port.target(endpoint)));
        self.chain(&format!("endpoint-{key}"), &rules);
    }

    fn shown(&self, node: &Node) -> String {
        let (ip, kind) = words(self.family);
        let node_address = match self.family {
            Family::V4 => node.v4.to_string(),
            Family::V6 => node.v6.to_string(),
        };
        let tuple = "inet_proto . inet_service : verdict";
        let mut text =
            format!("table {ip} kube-proxy\ndelete table {ip} kube-proxy\ntable {ip} kube-proxy {{\n");
        line(&mut text, "  comment \"rules for kube-proxy\"");
        for (what, name, of, elements) in [
            ("set", "cluster-ips", kind.to_owned(), &self.cluster_ips),
            ("set", "nodeport-ips", kind.to_owned(), &vec![node_address]),
            ("map", "service-ips", format!("{kind} . {tuple}"), &self.service_ips),
            ("map", "service-nodeports", tuple.to_owned(), &self.service_nodeports),
            ("map", "no-endpoint-services", format!("{kind} . {tuple}"), &self.no_endpoint_services),
            ("map", "no-endpoint-nodeports", tuple.to_owned(), &self.no_endpoint_nodeports),
            ("map", "firewall-ips", format!("{kind} . {tuple}"), &Vec::new()),
        ] {
            let elements = match elements.as_slice() {
                [] => String::new(),
                some => format!(" elements = {{ {} }}", some.join(", ")),
            };
            line(&mut text, &format!("  {what} {name} {{ type {of};{elements} }}"));
        }
        line(&mut text, &common_chains(ip));
        for (name, kind, hook, priority, rules) in BASE_CHAINS {
            let rules = rules.join("\n    ");
            let head = format!("type {kind} hook {hook} priority {priority}; policy accept;");
            line(&mut text, &format!("  chain {name} {{\n    {head}\n    {rules}\n  }}"));
        }
        text + &self.own + "}\n"
    }
}

/// Chains that all services share.
fn common_chains(ip: &str) -> String {
    let mark = MASQUERADE_MARK;
    let to = format!("{ip} daddr . meta l4proto . th dport vmap");
    let node = format!("{ip} daddr @nodeport-ips meta l4proto . th dport vmap");
    [
        ("mark-for-masquerade", vec![format!("meta mark set meta mark | {mark}")]),
        ("reject-chain", vec!["reject".to_owned()]),
        (
            "masquerading",
            vec![
                format!("meta mark & {mark} == 0 return"),
                format!("meta mark set meta mark ^ {mark}"),
                "masquerade fully-random".to_owned(),
            ],
        ),
        ("services", vec![format!("{to} @service-ips"), format!("{node} @service-nodeports")]),
        ("service-endpoints-check", vec![format!("{to} @no-endpoint-services")]),
        ("nodeport-endpoints-check", vec![format!("{node} @no-endpoint-nodeports")]),
        ("firewall-check", vec![format!("{to} @firewall-ips")]),
        (
            "cluster-ips-check",
            vec![format!(
                "{ip} daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\""
            )],
        ),
    ]
    .map(|(name, rules)| format!("  chain {name} {{\n    {}\n  }}", rules.join("\n    ")))
    .join("\n")
}

fn external_rules(port: &ServicePort<'_>, cluster: &str, local: &str) -> Vec<String> {
    let (ip, _) = words(port.family);
    if port.outside() == Policy::Cluster {
        return vec!["jump mark-for-masquerade".to_owned(), format!("goto {cluster}")];
    }
    let mut rules = vec![
        format!(
            "{ip} saddr {} goto {cluster} comment \"short-circuit pod traffic\"",
            cluster_cidr(port.family)
        ),
        "fib saddr type local jump mark-for-masquerade comment \"masquerade local traffic\"".to_owned(),
        format!("fib saddr type local goto {cluster} comment \"short-circuit local traffic\""),
    ];
    if !port.of(Policy::Local).is_empty() {
        rules.push(format!("goto {local}"));
    }
    rules
}

/// Chooses a backend: the client's last one under session affinity, else each with the same chance.
fn balance(port: &ServicePort<'_>, policy: Policy, ip: &str) -> Vec<String> {
    let mut rules = Vec::new();
    if port.internal() == policy {
        rules.push(format!(
            "{ip} daddr {} {} dport {} {ip} saddr != {} jump mark-for-masquerade",
            port.cluster_ip,
            port.protocol(),
            port.port.port,
            cluster_cidr(port.family)
        ));
    }
    let endpoints: Vec<String> =
        port.of(policy).into_iter().map(|endpoint| endpoint_key(port, endpoint)).collect();
    if port.service.affinity {
        let known = |key: &String| format!("{ip} saddr @affinity-{key} goto endpoint-{key}");
        rules.extend(endpoints.iter().map(known));
    }
    let one = |(index, key): (usize, &String)| format!("{index} : goto endpoint-{key}");
    let choices: Vec<String> = endpoints.iter().enumerate().map(one).collect();
    rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), choices.join(", ")));
    rules
}

/// What leaves the pods' network bears the node's address: flannel's table.
fn leave(node: &Node, family: Family) -> String {
    let ((ip, _), cluster, here) = (words(family), cluster_cidr(family), node_cidr(node, family));
    let (name, multicast) = match family {
        Family::V4 => ("flannel-ipv4", "224.0.0.0/4"),
        Family::V6 => ("flannel-ipv6", "ff00::/8"),
    };
    format!(
        "table {ip} {name}\ndelete table {ip} {name}\ntable {ip} {name} {{\n  chain postrtg {{\n    \
         type nat hook postrouting priority 100; policy accept;\n    \
         meta mark & {MASQUERADE_MARK} != 0 return\n    \
         {ip} saddr {here} {ip} daddr {cluster} return\n    \
         {ip} saddr {cluster} {ip} daddr {here} return\n    \
         {ip} saddr != {here} {ip} daddr {cluster} return\n    \
         {ip} saddr {cluster} {ip} daddr != {multicast} masquerade fully-random\n  }}\n}}\n"
    )
}
