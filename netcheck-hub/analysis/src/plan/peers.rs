//! Targets of other clusters: what this one has for the hub of another, and what that one's has for this. Pure.
//!
//! [`own`] takes a bounded sample of a catalog, with a line for all that is not in it. `wire::peers` makes messages of it and
//! probes of such messages at the other end, and [`leases`] says for how long these are in the catalog there. Their targets are
//! [`TargetKind::Endpoint`]: no path of this cluster, no service and no node of it explains what is lost on the way, and
//! agents probe them only where their `--allow-cidr` holds the address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netcheck_common::domain::ProbeKind;

use super::catalog::Catalog;
use super::exchange::Talk;
use super::order::point;
use super::{Probe, Sources, Target};
use crate::model::target::{ServiceAddress, TargetKind};
use crate::words::names::listed;

pub mod leases;
#[cfg(test)]
mod tests;

/// Targets of other clusters that a hub has probed, and that it announces to others.
pub const TARGETS_MAX: usize = 2_000;
/// Probes of one of them.
pub const PROBES_MAX: usize = 64;

/// A target of this cluster.
#[derive(Clone, Debug)]
pub struct OwnTarget {
    /// The target.
    pub target: Arc<Target>,
    /// Those of its probes that make sense from another cluster.
    pub probes: Vec<Probe>,
}

/// What of this cluster another one can probe.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// By id.
    pub targets: Vec<OwnTarget>,
    /// What is not among them, and why, one line each.
    pub left_out: Vec<String>,
}

/// Of what sort a target is, as far as a sample goes: each sort has its share of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Nodes,
    /// Where netcheck's own responder is.
    Vantages,
    Pods,
    Services,
    External,
    DnsServers,
    Ingresses,
}

impl Sort {
    fn of(target: &Target, probes: &[&Probe]) -> Self {
        match target.kind {
            TargetKind::Node => Self::Nodes,
            TargetKind::Pod if probes.iter().any(|probe| probe.kind != ProbeKind::Icmp) => Self::Vantages,
            TargetKind::Pod => Self::Pods,
            TargetKind::Service if target.is_at(ServiceAddress::ClusterIp) => Self::Services,
            TargetKind::Service => Self::External,
            TargetKind::DnsServer => Self::DnsServers,
            TargetKind::Endpoint => Self::Ingresses,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Vantages => "pods with a responder of netcheck",
            Self::Pods => "other pods",
            Self::Services => "ports of services",
            Self::External => "addresses of services that are no cluster IPs",
            Self::DnsServers => "DNS servers",
            Self::Ingresses => "addresses of Ingresses and Gateways",
        }
    }
}

/// What is not announced, by reason.
#[derive(Debug, Default)]
struct LeftOut {
    away: BTreeSet<String>,
    silent: BTreeSet<String>,
    named: BTreeSet<String>,
    many: BTreeSet<String>,
}

impl LeftOut {
    fn lines(self) -> Vec<String> {
        let line = |names: BTreeSet<String>, why: &str| {
            (!names.is_empty()).then(|| format!("{}: {why}", listed(names.into_iter())))
        };
        [
            line(self.away, "not probed, nobody is there to answer just now"),
            line(
                self.silent,
                "probed by ICMP alone, no agent is connected there whose responder would answer UDP and TCP",
            ),
            line(
                self.named,
                "not asked by a name that is looked up in its own cluster, nor by DNS over TCP or TLS",
            ),
            line(self.many, "probed in the first 64 of more ways"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What of a catalog another cluster can probe, of these kinds (none: of all), at most so many targets. `answering`: nodes
/// whose agents are connected, so that their responders answer.
#[must_use]
pub fn own(catalog: &Catalog, kinds: &[TargetKind], most: usize, answering: &BTreeSet<String>) -> Own {
    let mut left_out = LeftOut::default();
    let mut sorts: BTreeMap<Sort, Vec<OwnTarget>> = BTreeMap::new();
    for probes in catalog.probes.chunk_by(|one, next| one.target.id == next.target.id) {
        let target = &probes[0].target;
        let own = target.peer.is_none() && target.network().is_none();
        let own = own && (target.kind != TargetKind::Endpoint || target.is_frontend());
        if !own || !(kinds.is_empty() || kinds.contains(&target.kind)) {
            continue;
        }
        if target.absent.is_some() || target.unbacked.is_some() {
            left_out.away.insert(target.label());
            continue;
        }
        let probes = probeable(target, probes, answering, &mut left_out);
        if !probes.is_empty() {
            let sort = Sort::of(target, &probes);
            let probes = probes.into_iter().cloned().collect();
            sorts.entry(sort).or_default().push(OwnTarget { target: Arc::clone(target), probes });
        }
    }
    let sizes: Vec<usize> = sorts.values().map(Vec::len).collect();
    let mut lines = left_out.lines();
    let mut targets = Vec::new();
    for ((sort, mut all), quota) in sorts.into_iter().zip(quotas(&sizes, most.min(TARGETS_MAX))) {
        if quota < all.len() {
            lines.push(format!(
                "{quota} of {} {} are probed, picked evenly: there are more targets than one check takes",
                all.len(),
                sort.name()
            ));
            all.sort_by_cached_key(|own| point(&own.target.id));
            all.truncate(quota);
        }
        targets.extend(all);
    }
    targets.sort_by(|one, other| one.target.id.cmp(&other.target.id));
    Own { targets, left_out: lines }
}

/// Those of a target's probes that make sense from another cluster.
fn probeable<'a>(
    target: &Target,
    probes: &'a [Probe],
    answering: &BTreeSet<String>,
    left_out: &mut LeftOut,
) -> Vec<&'a Probe> {
    let name = || target.label();
    let responds = target.kind != TargetKind::Node || answering.contains(&target.name);
    let mut taken = Vec::new();
    for probe in probes.iter().filter(|probe| !probe.sources.are_rest()) {
        let exchange = probe.exchange.as_deref();
        let named = exchange.is_some_and(|of| of.lookup.is_some() || of.talk == Talk::Dns);
        if named {
            left_out.named.insert(name());
        } else if probe.kind != ProbeKind::Icmp && !responds {
            left_out.silent.insert(name());
        } else if probe.kind == ProbeKind::Dns && probe.sources != Sources::All {
            // A cache of one node's own.
        } else if taken.len() == PROBES_MAX {
            left_out.many.insert(name());
        } else {
            taken.push(probe);
        }
    }
    taken
}

/// How many of each sort: all where that is not too many together, else each the same share, and what one does not need
/// is the others'.
fn quotas(sizes: &[usize], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&at| sizes[at]);
    let mut quotas = vec![0; sizes.len()];
    let mut left = most;
    for (served, at) in order.into_iter().enumerate() {
        quotas[at] = sizes[at].min(left / (sizes.len() - served));
        left -= quotas[at];
    }
    quotas
}

impl Catalog {
    /// The same, with these probes of other clusters' targets.
    #[must_use]
    pub fn with_peers(mut self, peers: &[Arc<[Probe]>]) -> Self {
        if peers.is_empty() {
            return self;
        }
        let mut ports: BTreeSet<u16> = self.watched_ports.iter().copied().collect();
        for probe in peers.iter().flat_map(|peer| peer.iter()) {
            ports.extend((probe.port > 0).then_some(probe.port));
            self.probes.push(probe.clone());
        }
        self.watched_ports = ports.into_iter().collect();
        self.sort();
        self
    }
}
