//! The rules of kube-proxy's iptables mode on one node, for `iptables-restore`.

use super::{
    AFFINITY_SECONDS, Endpoint, MASQUERADE_MARK, Policy, Refusal, ServicePort, cluster_cidr, digest, line,
    node_cidr, service_ports,
};
use crate::fault::Family;
use crate::service::Service;
use crate::topology::Node;

/// The chains of one table: those that are declared, and their rules.
#[derive(Default)]
struct Table {
    chains: Vec<String>,
    rules: String,
}

impl Table {
    fn new(chains: &[&str]) -> Self {
        Self { chains: chains.iter().map(|&chain| chain.to_owned()).collect(), rules: String::new() }
    }

    fn declare(&mut self, chain: &str) {
        self.chains.push(chain.to_owned());
    }

    fn rule(&mut self, chain: &str, rule: &str) {
        line(&mut self.rules, &format!("-A {chain} {rule}"));
    }

    fn shown(&self, name: &str, built_in: &[&str]) -> String {
        let mut text = format!("*{name}\n");
        built_in.iter().for_each(|chain| line(&mut text, &format!(":{chain} ACCEPT [0:0]")));
        self.chains.iter().for_each(|chain| line(&mut text, &format!(":{chain} - [0:0]")));
        text + &self.rules + "COMMIT\n"
    }
}

/// A script that replaces the tables `filter` and `nat`.
pub(crate) fn ruleset(node: &Node, services: &[Service], family: Family) -> String {
    let ports = service_ports(node, services, family);
    let filter = filter(&ports, family).shown("filter", &["INPUT", "FORWARD", "OUTPUT"]);
    let nat = nat(node, &ports, family).shown("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]);
    filter + &nat
}

fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}

fn filter(ports: &[ServicePort<'_>], family: Family) -> Table {
    let mut table = Table::new(&[
        "FLANNEL-FWD",
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FIREWALL",
        "KUBE-FORWARD",
        "KUBE-NODEPORTS",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SERVICES",
    ]);
    let new = "-m conntrack --ctstate NEW";
    let firewall = format!("{new} {} -j KUBE-PROXY-FIREWALL", comment("kubernetes load balancer firewall"));
    let portals = format!("{new} {} -j KUBE-SERVICES", comment("kubernetes service portals"));
    let visible = comment("kubernetes externally-visible service portals");
    let visible = format!("{new} {visible} -j KUBE-EXTERNAL-SERVICES");
    table.rule("INPUT", &firewall);
    let checks = comment("kubernetes health check service ports");
    table.rule("INPUT", &format!("{checks} -j KUBE-NODEPORTS"));
    table.rule("INPUT", &visible);
    table.rule("INPUT", "-j KUBE-FIREWALL");
    table.rule("FORWARD", &firewall);
    table.rule("FORWARD", &format!("{} -j KUBE-FORWARD", comment("kubernetes forwarding rules")));
    table.rule("FORWARD", &portals);
    table.rule("FORWARD", &visible);
    table.rule("FORWARD", &format!("{} -j FLANNEL-FWD", comment("flanneld forward")));
    table.rule("OUTPUT", &firewall);
    table.rule("OUTPUT", &portals);
    table.rule("OUTPUT", "-j KUBE-FIREWALL");
    let cluster = cluster_cidr(family);
    for way in ["-s", "-d"] {
        table.rule("FLANNEL-FWD", &format!("{way} {cluster} {} -j ACCEPT", comment("flanneld forward")));
    }
    if family == Family::V4 {
        let block = comment("block incoming localnet connections");
        let known = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT";
        let rule = format!("! -s 127.0.0.0/8 -d 127.0.0.0/8 {block} {known} -j DROP");
        table.rule("KUBE-FIREWALL", &rule);
    }
    table.rule("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP");
    let mark = format!("-m mark --mark {MASQUERADE_MARK}/{MASQUERADE_MARK}");
    let forwarding = comment("kubernetes forwarding rules");
    table.rule("KUBE-FORWARD", &format!("{forwarding} {mark} -j ACCEPT"));
    let known = comment("kubernetes forwarding conntrack rule");
    table.rule("KUBE-FORWARD", &format!("{known} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
    ports.iter().for_each(|port| refuse(&mut table, port));
    table
}

/// What a service without backends for it refuses.
fn refuse(table: &mut Table, port: &ServicePort<'_>) {
    let icmp = if port.family == Family::V4 { "icmp-port-unreachable" } else { "icmp6-port-unreachable" };
    let protocol = port.protocol();
    let rule_of = |refusal: Refusal| match refusal {
        Refusal::Reject => ("has no endpoints", format!("-j REJECT --reject-with {icmp}")),
        Refusal::Drop => ("has no local endpoints", "-j DROP".to_owned()),
    };
    if let Some(refusal) = port.refusal(port.internal()) {
        let (why, target) = rule_of(refusal);
        let why = comment(&format!("{} {why}", port.name()));
        let to = format!("-d {} -p {protocol}", port.cluster_ip);
        let number = port.port.port;
        table.rule("KUBE-SERVICES", &format!("{to} {why} -m {protocol} --dport {number} {target}"));
    }
    let Some(refusal) = port.refusal(port.outside()) else { return };
    let (why, target) = rule_of(refusal);
    let why = comment(&format!("{} {why}", port.name()));
    for (_, address) in &port.external {
        let rule =
            format!("-d {address} -p {protocol} {why} -m {protocol} --dport {} {target}", port.port.port);
        table.rule("KUBE-EXTERNAL-SERVICES", &rule);
    }
    if let Some(number) = port.node_port {
        let local = "-m addrtype --dst-type LOCAL";
        let rule = format!("-p {protocol} {why} {local} -m {protocol} --dport {number} {target}");
        table.rule("KUBE-EXTERNAL-SERVICES", &rule);
    }
}

fn nat(node: &Node, ports: &[ServicePort<'_>], family: Family) -> Table {
    let mut table = Table::new(&[
        "FLANNEL-POSTRTG",
        "KUBE-MARK-MASQ",
        "KUBE-NODEPORTS",
        "KUBE-POSTROUTING",
        "KUBE-SERVICES",
    ]);
    let portals = format!("{} -j KUBE-SERVICES", comment("kubernetes service portals"));
    table.rule("PREROUTING", &portals);
    table.rule("OUTPUT", &portals);
    let postrouting = comment("kubernetes postrouting rules");
    table.rule("POSTROUTING", &format!("{postrouting} -j KUBE-POSTROUTING"));
    table.rule("POSTROUTING", &format!("{} -j FLANNEL-POSTRTG", comment("flanneld masq")));
    let mark = MASQUERADE_MARK;
    table.rule("KUBE-MARK-MASQ", &format!("-j MARK --set-xmark {mark}/{mark}"));
    table.rule("KUBE-POSTROUTING", &format!("-m mark ! --mark {mark}/{mark} -j RETURN"));
    table.rule("KUBE-POSTROUTING", &format!("-j MARK --set-xmark {mark}/0x0"));
    let why = comment("kubernetes service traffic requiring SNAT");
    table.rule("KUBE-POSTROUTING", &format!("{why} -j MASQUERADE --random-fully"));
    leave(&mut table, node, family);
    for port in ports {
        translate(&mut table, port);
    }
    let why = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain");
    table.rule("KUBE-SERVICES", &format!("{why} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"));
    table
}

/// What leaves the pods' network bears the node's address: flannel's part.
fn leave(table: &mut Table, node: &Node, family: Family) {
    let (cluster, here) = (cluster_cidr(family), node_cidr(node, family));
    let multicast = if family == Family::V4 { "224.0.0.0/4" } else { "ff00::/8" };
    let mark = MASQUERADE_MARK;
    let why = comment("flanneld masq");
    for rule in [
        format!("-m mark --mark {mark}/{mark} {why} -j RETURN"),
        format!("-s {here} -d {cluster} {why} -j RETURN"),
        format!("-s {cluster} -d {here} {why} -j RETURN"),
        format!("! -s {cluster} -d {here} {why} -j RETURN"),
        format!("-s {cluster} ! -d {multicast} {why} -j MASQUERADE --random-fully"),
    ] {
        table.rule("FLANNEL-POSTRTG", &rule);
    }
}

/// Names of a port's chains.
struct Chains {
    cluster: String,
    local: String,
    external: String,
}

impl Chains {
    fn of(port: &ServicePort<'_>) -> Self {
        let key = digest(&format!("{} {}", port.name(), port.protocol()));
        let named = |kind: &str| format!("KUBE-{kind}-{key}");
        Self { cluster: named("SVC"), local: named("SVL"), external: named("EXT") }
    }

    fn to(&self, policy: Policy) -> &str {
        match policy {
            Policy::Cluster => &self.cluster,
            Policy::Local => &self.local,
        }
    }
}

fn translate(table: &mut Table, port: &ServicePort<'_>) {
    let chains = Chains::of(port);
    let (name, protocol, number) = (port.name(), port.protocol(), port.port.port);
    if !port.of(port.internal()).is_empty() {
        let at = format!("-d {} -p {protocol}", port.cluster_ip);
        let why = comment(&format!("{name} cluster IP"));
        let to = chains.to(port.internal());
        table.rule("KUBE-SERVICES", &format!("{at} {why} -m {protocol} --dport {number} -j {to}"));
    }
    if port.is_external() && !port.endpoints.is_empty() {
        for (kind, address) in &port.external {
            let why = comment(&format!("{name} {kind}"));
            let rule = format!("-d {address} -p {protocol} {why} -m {protocol} --dport {number}");
            table.rule("KUBE-SERVICES", &format!("{rule} -j {}", chains.external));
        }
        if let Some(number) = port.node_port {
            let rule = format!("-p {protocol} {} -m {protocol} --dport {number}", comment(&name));
            table.rule("KUBE-NODEPORTS", &format!("{rule} -j {}", chains.external));
        }
        external(table, port, &chains);
    }
    for policy in [Policy::Cluster, Policy::Local] {
        if port.needs(policy) {
            balance(table, port, policy, chains.to(policy));
        }
    }
    let used = |endpoint: &&Endpoint| port.needs(Policy::Cluster) || endpoint.is_local;
    port.endpoints.iter().filter(used).for_each(|endpoint| backend(table, port, endpoint));
}

/// What comes from outside of the cluster, or to a node port.
fn external(table: &mut Table, port: &ServicePort<'_>, chains: &Chains) {
    let name = port.name();
    table.declare(&chains.external);
    if port.outside() == Policy::Cluster {
        let why = comment(&format!("masquerade traffic for {name} external destinations"));
        table.rule(&chains.external, &format!("{why} -j KUBE-MARK-MASQ"));
        table.rule(&chains.external, &format!("-j {}", chains.cluster));
        return;
    }
    let pods = comment(&format!("pod traffic for {name} external destinations"));
    let source = cluster_cidr(port.family);
    table.rule(&chains.external, &format!("-s {source} {pods} -j {}", chains.cluster));
    let own = "-m addrtype --src-type LOCAL";
    for (what, to) in [("masquerade", "KUBE-MARK-MASQ"), ("route", chains.cluster.as_str())] {
        let why = comment(&format!("{what} LOCAL traffic for {name} external destinations"));
        table.rule(&chains.external, &format!("{why} {own} -j {to}"));
    }
    if !port.of(Policy::Local).is_empty() {
        table.rule(&chains.external, &format!("-j {}", chains.local));
    }
}

fn endpoint_chain(port: &ServicePort<'_>, endpoint: &Endpoint) -> String {
    let key = format!("{} {} {}", port.name(), port.protocol(), port.target(endpoint));
    format!("KUBE-SEP-{}", digest(&key))
}

/// Chooses a backend: the client's last one under session affinity, else each with the same chance.
fn balance(table: &mut Table, port: &ServicePort<'_>, policy: Policy, chain: &str) {
    let (name, protocol) = (port.name(), port.protocol());
    table.declare(chain);
    if port.internal() == policy {
        let why = comment(&format!("{name} cluster IP"));
        let from = format!("! -s {} -d {}", cluster_cidr(port.family), port.cluster_ip);
        let number = port.port.port;
        let rule = format!("{from} -p {protocol} {why} -m {protocol} --dport {number} -j KUBE-MARK-MASQ");
        table.rule(chain, &rule);
    }
    let endpoints = port.of(policy);
    let described = |endpoint: &Endpoint| comment(&format!("{name} -> {}", port.target(endpoint)));
    if port.service.affinity {
        for endpoint in &endpoints {
            let to = endpoint_chain(port, endpoint);
            let recent = format!("-m recent --name {to} --rcheck --seconds {AFFINITY_SECONDS} --reap");
            table.rule(chain, &format!("{} {recent} -j {to}", described(endpoint)));
        }
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let to = endpoint_chain(port, endpoint);
        let left = endpoints.len() - index;
        let chance = match left {
            1 => String::new(),
            // As kube-proxy writes it: ten digits after the point.
            _ => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
        };
        table.rule(chain, &format!("{} {chance}-j {to}", described(endpoint)));
    }
}

fn backend(table: &mut Table, port: &ServicePort<'_>, endpoint: &Endpoint) {
    let chain = endpoint_chain(port, endpoint);
    let (why, protocol) = (comment(&port.name()), port.protocol());
    table.declare(&chain);
    table.rule(&chain, &format!("-s {} {why} -j KUBE-MARK-MASQ", endpoint.address));
    let recent =
        if port.service.affinity { format!("-m recent --name {chain} --set ") } else { String::new() };
    let to = port.target(endpoint);
    let rule = format!("-p {protocol} {why} {recent}-m {protocol} -j DNAT --to-destination {to}");
    table.rule(&chain, &rule);
}
