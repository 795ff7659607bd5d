//! The pod that sends probes for an agent in the pod network, as far as plans depend on it. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::text;

/// A vantage: what its agent's plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSource {
    /// `namespace/name`, or the name.
    pub pod: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// Port of its responder; 0 for none.
    pub responder_port: u16,
    /// Whom pods there ask for names.
    pub name_servers: Vec<IpAddr>,
    /// The cluster's domain, as pods' short names are completed with it.
    pub domain: Option<String>,
    pub(crate) can: BTreeSet<(ProbeKind, Family)>,
}

impl PodSource {
    /// Whether such probes can be sent from it.
    #[must_use]
    pub fn can(&self, kind: ProbeKind, family: Family) -> bool {
        self.can.contains(&(kind, family))
    }

    /// Its address of a family.
    #[must_use]
    pub fn address(&self, v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == v4)
    }
}

/// What kubelets write behind `svc.` (pkg/kubelet/network/dns): a pod's namespace, services, then all of the cluster.
pub(crate) fn cluster_domain(search: &str) -> Option<String> {
    let search = search.trim_end_matches('.');
    let domain = search.strip_prefix("svc.").or_else(|| Some(search.split_once(".svc.")?.1))?;
    text::is_name(domain).then(|| domain.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use netcheck_proto::v1;

    use super::*;

    #[test]
    fn the_clusters_domain_is_what_pods_short_names_end_with() {
        let of = |search: &[&str]| {
            let search_domains = search.iter().map(|domain| (*domain).to_owned()).collect();
            let servers = vec![vec![10, 96, 0, 10], vec![1]];
            let reported = v1::PodVantage {
                search_domains,
                addresses: vec![vec![10, 244, 1, 9]],
                name_servers: servers,
                ..Default::default()
            };
            let read = PodSource::read(&reported).unwrap();
            assert_eq!(read.name_servers, [IpAddr::from([10, 96, 0, 10])]);
            read.domain
        };
        let found = |domain: &str| Some(domain.to_owned());
        assert_eq!(of(&["a.svc.corp.example", "svc.corp.example", "corp.example"]), found("corp.example"));
        assert_eq!(of(&["example.org", "svc.K8s.local."]), found("k8s.local"));
        assert_eq!(of(&["a.svc.svc.example"]), found("svc.example"));
        assert_eq!(of(&["example.org", "svc", "svc.", "svc.a b"]), None);
        assert_eq!(of(&[]), None);
    }
}
