//! What is selected and yet not probed, so that nobody takes silence about it for health. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::roster::{Roster, Service, ServicePort, Transport};
use crate::cluster::selection::Selection;
use crate::words::names::listed;

/// What was passed over, by why.
#[derive(Debug, Default)]
pub(super) struct Notes {
    external_names: BTreeSet<String>,
    named_balancers: BTreeSet<String>,
    unjudged_ports: BTreeSet<String>,
    headless_without_ports: BTreeSet<String>,
    headless_without_endpoints: BTreeSet<String>,
    leading_nowhere: BTreeSet<String>,
    networks_wrong: BTreeSet<String>,
    unattached: BTreeSet<String>,
}

impl Notes {
    /// Notes what of a service is but a name.
    pub(super) fn names_of(&mut self, service: &Service) {
        if service.name_only {
            self.external_names.insert(service.full_name());
        }
        let names = &service.load_balancer_names;
        self.named_balancers.extend(names.iter().map(|name| format!("{} at {name}", service.full_name())));
    }

    /// Notes a port whose silence could mean anything.
    pub(super) fn unjudged(&mut self, service: &Service, port: &ServicePort) {
        let transport = if port.transport == Transport::Udp { "UDP" } else { "SCTP" };
        self.unjudged_ports.insert(format!("{}:{} {transport}", service.full_name(), port.port));
    }

    /// Notes a headless service that leads nowhere.
    pub(super) fn headless(&mut self, service: &Service) {
        if service.ports.is_empty() {
            self.headless_without_ports.insert(service.full_name());
        } else if service.selects && service.ready_backends().next().is_none() {
            self.headless_without_endpoints.insert(service.full_name());
        }
    }

    /// Notes a service of which nobody says who is behind it.
    pub(super) fn leads_nowhere(&mut self, service: &Service) {
        if !service.name_only {
            self.leading_nowhere.insert(service.full_name());
        }
    }

    /// Notes a port of a headless service that none of its endpoints has, as a named target port may be.
    pub(super) fn headless_port(&mut self, service: &Service, port: &ServicePort) {
        self.headless_without_endpoints.insert(format!("{}:{}", service.full_name(), port.port));
    }

    /// Notes a pod whose own note of its networks is wrong.
    pub(super) fn network_wrong(&mut self, pod: &str, why: &str) {
        self.networks_wrong.insert(format!("{pod}: {why}"));
    }

    /// Notes a pod on a network that nobody can probe.
    pub(super) fn unattached(&mut self, pod: &str, network: &str) {
        self.unattached.insert(format!("{pod} on {network}"));
    }

    /// One line each.
    pub(super) fn lines(&self, roster: &Roster, selection: &Selection) -> Arc<[String]> {
        // Where nobody probes secondary networks, nobody misses these.
        let none = BTreeSet::new();
        let networks = roster.pods.values().any(|pod| pod.vantage && !pod.networks.is_empty());
        let shared = if networks { &roster.shared_addresses } else { &none };
        let reported = [
            (
                &roster.misannotated,
                "object",
                "with netcheck.io/probe neither \"true\" nor \"false\", which counts for nothing",
            ),
            (
                &self.networks_wrong,
                "pod",
                "with something wrong in annotation k8s.v1.cni.cncf.io/network-status, of which the rest counts",
            ),
            (
                &self.unattached,
                "pod's secondary network",
                "not probed: no vantage is on it (value vantage.podAnnotations of the chart)",
            ),
            (
                shared,
                "address",
                "on secondary networks not probed: somebody else has the same, so nothing would show who answers",
            ),
            (
                &self.headless_without_endpoints,
                "headless service",
                "without a ready endpoint: there is nothing to probe",
            ),
            (
                &self.headless_without_ports,
                "headless service",
                "without ports: there is nothing to connect to",
            ),
            (
                &self.leading_nowhere,
                "service",
                "with neither a selector nor an endpoint address not probed: nobody says who is behind",
            ),
            (&self.unjudged_ports, "UDP or SCTP port", "of services not probed: silence there says nothing"),
            (
                &self.named_balancers,
                "load balancer",
                "known by name alone not probed: --http-url asks by name",
            ),
            (&self.external_names, "ExternalName service", "not probed: what it names is not of the cluster"),
        ];
        let line = |(names, what, why): (&BTreeSet<String>, &str, &str)| {
            let many = match (names.len(), what.ends_with("ss")) {
                (1, _) => "",
                (_, false) => "s",
                (_, true) => "es",
            };
            let line = || format!("{} {what}{many} {why} ({})", names.len(), listed(names.iter().cloned()));
            (!names.is_empty()).then(line)
        };
        selection.left_out(roster).into_iter().chain(reported.into_iter().filter_map(line)).collect()
    }
}
