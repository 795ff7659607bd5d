//! Which pods and services are probed: what the operator's flags and the objects' annotations select. Pure.
//!
//! An annotation `netcheck.io/probe: "false"` always wins, then `"true"`, each on the object before its namespace; then
//! the flags. Without any, what every cluster has and needs is probed: the API server's service, the cluster's DNS, and
//! netcheck's own vantages with the service in front of them.

use std::collections::BTreeSet;

use clap::ValueEnum;

use self::labels::LabelSelector;
use crate::cluster::roster::frontend::HttpFrontend;
use crate::cluster::roster::{Pod, ProbeAnnotation, Roster, Service};

pub mod labels;

/// How much of a kind of object is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Extent {
    /// What is selected.
    #[default]
    Selected,
    /// All of it.
    All,
}

/// What the operator selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Pods.
    pub pods: Extent,
    /// Services.
    pub services: Extent,
    /// Services whose labels match.
    pub service_labels: Option<LabelSelector>,
    /// Services of these namespaces.
    pub service_namespaces: BTreeSet<String>,
}

/// Whether something is probed, and if not, whether anybody said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Probed,
    /// Nobody selected it.
    Unselected,
    /// It is switched off by annotation.
    Off,
}

impl Selection {
    /// All pods and services that are not switched off.
    #[must_use]
    pub fn everything() -> Self {
        Self { pods: Extent::All, services: Extent::All, ..Self::default() }
    }

    /// Whether a pod is probed.
    #[must_use]
    pub fn of_pod(&self, pod: &Pod) -> Decision {
        decision(pod.annotation, self.pods == Extent::All || pod.vantage)
    }

    /// Whether a service is probed.
    #[must_use]
    pub fn of_service(&self, service: &Service) -> Decision {
        let api = service.namespace == "default" && service.name == "kubernetes";
        let wanted = self.services == Extent::All
            || api
            || service.dns
            || service.vantage
            || self.service_namespaces.contains(&service.namespace)
            || self.service_labels.as_ref().is_some_and(|labels| labels.matches(&service.labels));
        decision(service.annotation, wanted)
    }

    /// Whether an Ingress or a Gateway is probed: as services are.
    #[must_use]
    pub fn of_frontend(&self, frontend: &HttpFrontend) -> Decision {
        let wanted = self.services == Extent::All
            || self.service_namespaces.contains(&frontend.namespace)
            || self.service_labels.as_ref().is_some_and(|labels| labels.matches(&frontend.labels));
        decision(frontend.annotation, wanted)
    }

    /// How many pods and services nobody selected, in one line that says how to; nothing where all are.
    #[must_use]
    pub fn left_out(&self, roster: &Roster) -> Option<String> {
        let pods = roster.pods.values().filter(|pod| !pod.host_network);
        let pods = pods.filter(|pod| self.of_pod(pod) == Decision::Unselected).count();
        let services = roster.services.values();
        let services = services.filter(|service| self.of_service(service) == Decision::Unselected).count();
        let count = |count: usize, one: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            many => Some(format!("{many} {one}s")),
        };
        let counts: Vec<String> =
            [count(pods, "pod"), count(services, "service")].into_iter().flatten().collect();
        let flags = match (pods, services) {
            (_, 0) => "the hub's flag --pods all",
            (0, _) => "the hub's flags --service-namespaces, --service-selector, --services all",
            _ => "the hub's flags --pods all, --service-namespaces, --service-selector, --services all",
        };
        let verb = if pods + services == 1 { "is" } else { "are" };
        (!counts.is_empty()).then(|| {
            format!(
                "{} {verb} not probed: select more by the annotation netcheck.io/probe: \"true\" on them or their \
                 namespace, or by {flags}",
                counts.join(" and ")
            )
        })
    }
}

const fn decision(annotation: ProbeAnnotation, wanted: bool) -> Decision {
    match (annotation, wanted) {
        (ProbeAnnotation::Skip, _) => Decision::Off,
        (ProbeAnnotation::Probe, _) | (_, true) => Decision::Probed,
        (ProbeAnnotation::None | ProbeAnnotation::Odd, false) => Decision::Unselected,
    }
}

#[cfg(test)]
mod tests;
