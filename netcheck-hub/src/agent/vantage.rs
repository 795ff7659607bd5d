//! The pod that opens sockets for an agent in the pod network, as its agent tells; remembered for a while after it went,
//! so that its paths stay planned and show that nothing is measured. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netcheck_common::domain::{Family, ProbeKind};
use netcheck_proto::{convert, text, v1};

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
    can: BTreeSet<(ProbeKind, Family)>,
}

impl PodSource {
    /// What an agent says; none where none is connected.
    fn read(told: &v1::PodVantage) -> Option<Self> {
        let addresses: Vec<IpAddr> =
            told.addresses.iter().filter_map(|address| convert::address("vantage", address).ok()).collect();
        let can = told.can.iter().filter_map(|can| {
            let family = match can.ip_version {
                4 => Family::V4,
                6 => Family::V6,
                _ => return None,
            };
            Some((convert::kind("vantage.can", can.kind).ok()?, family))
        });
        let can = can.collect();
        let responder_port = u16::try_from(told.responder_port).unwrap_or(0);
        let servers = told.name_servers.iter();
        let name_servers =
            servers.filter_map(|server| convert::address("name_servers", server).ok()).collect();
        let domain = told.search_domains.iter().find_map(|domain| cluster_domain(domain));
        let pod = told.pod.clone();
        let source = Self { pod, addresses, responder_port, name_servers, domain, can };
        (!source.addresses.is_empty()).then_some(source)
    }

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
fn cluster_domain(search: &str) -> Option<String> {
    let search = search.trim_end_matches('.');
    let domain = search.strip_prefix("svc.").or_else(|| Some(search.split_once(".svc.")?.1))?;
    text::is_name(domain).then(|| domain.to_ascii_lowercase())
}

/// The vantage of one agent.
#[derive(Clone, Debug, Default)]
pub struct Vantage {
    known: Option<PodSource>,
    /// Since when it is not connected, where it was.
    gone_ns: Option<i64>,
    /// The agent expects one, and why there is none.
    missing: Option<String>,
    /// What can't be probed from it.
    detail: Vec<String>,
    changed: bool,
}

impl Vantage {
    /// The newest that is known, connected or not.
    #[must_use]
    pub const fn known(&self) -> Option<&PodSource> {
        self.known.as_ref()
    }

    /// Why there is none just now, where there should be one.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// What can't be probed from it, one line each.
    #[must_use]
    pub fn detail(&self) -> &[String] {
        &self.detail
    }

    /// The agent says how it is.
    pub fn tell(&mut self, told: Option<&v1::PodVantage>, now_ns: i64) {
        let current = told.and_then(PodSource::read);
        let why = |told: &v1::PodVantage| told.detail.first().cloned().unwrap_or_default();
        self.missing = told.filter(|_| current.is_none()).map(why);
        self.detail = match (&current, told) {
            (Some(_), Some(told)) => told.detail.clone(),
            _ => Vec::new(),
        };
        if current.is_none() {
            if self.known.is_some() {
                self.gone_ns.get_or_insert(now_ns);
            }
            return;
        }
        self.gone_ns = None;
        if self.known != current {
            self.known = current;
            self.changed = true;
        }
    }

    /// Forgets one that went before `oldest_ns`.
    pub fn expire(&mut self, oldest_ns: i64) {
        if self.gone_ns.is_some_and(|gone_ns| gone_ns < oldest_ns) {
            (self.known, self.gone_ns) = (None, None);
            self.changed = true;
        }
    }

    /// Whether the plan has to be made anew; asked once.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> v1::PodVantage {
        v1::PodVantage {
            pod: "netcheck/vantage-1".into(),
            addresses: vec![vec![10, 244, 1, 9], vec![1, 2, 3]],
            can: vec![
                v1::VantageKind { kind: v1::ProbeKind::Icmp.into(), ip_version: 4 },
                v1::VantageKind { kind: v1::ProbeKind::Udp.into(), ip_version: 5 },
                v1::VantageKind { kind: 99, ip_version: 4 },
            ],
            responder_port: 6100,
            ..Default::default()
        }
    }

    #[test]
    fn the_clusters_domain_is_what_pods_short_names_end_with() {
        let of = |search: &[&str]| {
            let search_domains = search.iter().map(|domain| (*domain).to_owned()).collect();
            let servers = vec![vec![10, 96, 0, 10], vec![1]];
            let told = v1::PodVantage { search_domains, name_servers: servers, ..told() };
            let read = PodSource::read(&told).unwrap();
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

    fn gone() -> v1::PodVantage {
        v1::PodVantage { detail: vec!["gone".into()], ..Default::default() }
    }

    #[test]
    fn one_that_went_is_known_until_it_expires() {
        let mut vantage = Vantage::default();
        vantage.tell(Some(&gone()), 1);
        assert_eq!(vantage.missing(), Some("gone"));
        assert!(!vantage.take_changed());
        vantage.tell(Some(&told()), 2);
        let known = vantage.known().unwrap();
        assert_eq!(known.addresses, ["10.244.1.9".parse::<IpAddr>().unwrap()]);
        assert!(known.can(ProbeKind::Icmp, Family::V4) && !known.can(ProbeKind::Udp, Family::V4));
        assert_eq!(vantage.missing(), None);
        assert!(vantage.take_changed() && !vantage.take_changed());
        vantage.tell(Some(&gone()), 10);
        vantage.tell(Some(&gone()), 20);
        vantage.expire(10);
        assert!(vantage.known().is_some() && !vantage.take_changed(), "its paths stay as they are");
        vantage.expire(11);
        assert!(vantage.known().is_none() && vantage.take_changed());
        vantage.tell(None, 30);
        assert_eq!(vantage.missing(), None, "an agent that expects none");
    }

    #[test]
    fn the_same_one_that_comes_back_changes_nothing() {
        let mut vantage = Vantage::default();
        vantage.tell(Some(&told()), 1);
        assert!(vantage.take_changed());
        vantage.tell(Some(&gone()), 2);
        vantage.tell(Some(&told()), 3);
        vantage.expire(100);
        assert!(!vantage.take_changed() && vantage.known().is_some());
    }
}
