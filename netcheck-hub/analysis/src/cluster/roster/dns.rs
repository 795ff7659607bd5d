//! Which services are the cluster's DNS. Pure.
//!
//! Pods find it in their resolv.conf, so whoever has an address that stands there is it. Where nobody reports what stands
//! there, labels and names do, the surest first: a second DNS service, of somebody's own, knows nothing of the cluster's
//! names and must not be asked for them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Roster, Service, Transport};

const PORT: u16 = 53;
/// Names of the service where the cluster's makers chose another than `kube-dns`.
const NAMES: [&str; 4] = ["kube-dns", "coredns", "rke2-coredns", "rke2-coredns-rke2-coredns"];

impl Roster {
    /// Marks the cluster's DNS. `servers`: whom pods ask, as far as anybody reports it. Returns whether that changed
    /// anything.
    pub fn settle_dns(&mut self, servers: &BTreeSet<IpAddr>) -> bool {
        let found = self.cluster_dns(servers);
        let wrong = |(id, service): (&String, &mut Service)| {
            let dns = found.contains(id);
            std::mem::replace(&mut service.dns, dns) != dns
        };
        self.services.iter_mut().map(wrong).filter(|changed| *changed).count() > 0
    }

    /// Whether [`Self::settle_dns`] would change anything.
    #[must_use]
    pub fn is_settled(&self, servers: &BTreeSet<IpAddr>) -> bool {
        let found = self.cluster_dns(servers);
        self.services.iter().all(|(id, service)| service.dns == found.contains(id))
    }

    fn cluster_dns(&self, servers: &BTreeSet<IpAddr>) -> BTreeSet<String> {
        let named = self.services.iter().filter(|(_, service)| {
            service.cluster_addresses.iter().any(|address| servers.contains(address)) && answers(service)
        });
        let named: BTreeSet<String> = named.map(|(id, _)| id.clone()).collect();
        if !named.is_empty() {
            return self.with_others_in_front(named);
        }
        let ranked = || self.services.iter().filter_map(|(id, service)| Some((rank(service)?, id)));
        let best = ranked().map(|(rank, _)| rank).min();
        ranked().filter(|(rank, _)| Some(*rank) == best).map(|(_, id)| id.clone()).collect()
    }

    /// Adds services in front of the same servers, as NodeLocal DNSCache has one for what it does not know.
    fn with_others_in_front(&self, mut named: BTreeSet<String>) -> BTreeSet<String> {
        let behind = |service: &Service| -> BTreeSet<IpAddr> {
            service.ready_backends().map(|backend| backend.address).collect()
        };
        let servers: BTreeSet<IpAddr> = named.iter().flat_map(|id| behind(&self.services[id])).collect();
        let others = self.services.iter().filter(|(_, service)| {
            let own = behind(service);
            answers(service) && !own.is_empty() && own.is_subset(&servers)
        });
        let others: Vec<String> = others.map(|(id, _)| id.clone()).collect();
        named.extend(others);
        named
    }
}

/// Whether it has a port for DNS.
fn answers(service: &Service) -> bool {
    service
        .ports
        .iter()
        .any(|port| port.transport == Transport::Udp && (port.port == PORT || port.name.starts_with("dns")))
}

/// How likely it is the cluster's DNS by label and name; less is likelier. None where nothing says so.
fn rank(service: &Service) -> Option<u8> {
    let is_app = |label: &str| {
        matches!(service.labels.get(label).map(String::as_str), Some("kube-dns" | "coredns" | "rke2-coredns"))
    };
    let labelled = service.labels.get("k8s-app").is_some_and(|app| app == "kube-dns");
    let named = NAMES.contains(&service.name.as_str());
    let rank = match service.namespace.as_str() {
        "kube-system" if labelled => 0,
        "openshift-dns" if service.name == "dns-default" => 1,
        "kube-system" if named || is_app("k8s-app") || is_app("app.kubernetes.io/name") => 2,
        _ if labelled => 3,
        _ if named => 4,
        _ => return None,
    };
    (service.ports.is_empty() || answers(service)).then_some(rank)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cluster::inventory;

    /// Services as (namespace, name, labels, address, backend), and which of them are the cluster's DNS.
    fn found(services: &[(&str, &str, &str, &str, &str)], servers: &[&str]) -> Vec<String> {
        let items = services.iter().map(|(namespace, name, labels, address, backend)| {
            format!(
                "- {{kind: Service, metadata: {{namespace: {namespace}, name: {name}, labels: {{{labels}}}}}, spec: \
                 {{clusterIP: {address}, ports: [{{name: dns, port: 53, protocol: UDP}}]}}}}\n\
                 - {{kind: EndpointSlice, addressType: IPv4, metadata: {{namespace: {namespace}, name: {name}-1, labels: \
                 {{kubernetes.io/service-name: {name}}}}}, endpoints: [{{addresses: [{backend}]}}]}}\n"
            )
        });
        let text = format!(
            "kind: List\nitems:\n- {{kind: Node, metadata: {{name: n1}}}}\n{}",
            items.collect::<String>()
        );
        let mut roster = inventory::parse(Path::new("f"), &text).unwrap().roster();
        let servers: BTreeSet<IpAddr> = servers.iter().map(|server| server.parse().unwrap()).collect();
        if !servers.is_empty() {
            let changes = !roster.is_settled(&servers);
            assert_eq!(roster.settle_dns(&servers), changes);
            assert!(roster.is_settled(&servers));
        }
        roster.services.iter().filter(|(_, service)| service.dns).map(|(id, _)| id.clone()).collect()
    }

    const OWN: (&str, &str, &str, &str, &str) =
        ("team", "coredns", "k8s-app: kube-dns", "10.96.7.7", "10.244.7.7");

    #[test]
    fn by_label_and_name_where_nobody_reports_it() {
        let rows = [
            ("kube-system", "kube-dns", "k8s-app: kube-dns"),
            ("kube-system", "coredns", "a: b"),
            ("kube-system", "rke2-coredns-rke2-coredns", "k8s-app: kube-dns"),
            ("kube-system", "dns", "app.kubernetes.io/name: coredns"),
            ("openshift-dns", "dns-default", "dns.operator.openshift.io/owning-dns: default"),
        ];
        for (namespace, name, labels) in rows {
            let cluster = (namespace, name, labels, "10.96.0.10", "10.244.1.2");
            assert_eq!(
                found(&[OWN, cluster], &[]),
                [format!("{namespace}/{name}")],
                "the other is somebody's own"
            );
        }
        assert_eq!(found(&[OWN], &[]), ["team/coredns"], "the only one");
        assert!(found(&[("a", "web", "a: b", "10.96.0.9", "10.244.1.2")], &[]).is_empty());
    }

    #[test]
    fn by_what_pods_ask_where_that_is_reported() {
        let usual = ("kube-system", "kube-dns", "k8s-app: kube-dns", "10.96.0.10", "10.244.1.2");
        let odd = ("infra", "names", "a: b", "10.96.0.53", "10.244.3.3");
        let upstream = ("kube-system", "kube-dns-upstream", "a: b", "10.96.0.11", "10.244.1.2");
        assert_eq!(found(&[usual, odd, OWN], &["10.96.0.53"]), ["infra/names"]);
        assert_eq!(
            found(&[usual, odd, upstream], &["169.254.20.10", "10.96.0.10"]),
            ["kube-system/kube-dns", "kube-system/kube-dns-upstream"]
        );
        assert_eq!(
            found(&[usual, odd], &["169.254.20.10"]),
            ["kube-system/kube-dns"],
            "a cache of the node's own"
        );
    }
}
