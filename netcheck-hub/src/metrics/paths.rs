//! Paths as they stand: how many of which verdict, the packets that pass, phases of exchanges, certificates.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use netcheck_common::window::Steps;

use super::collect::Families;
use super::family::Labels;
use crate::state::State;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::matrix::{Delays, HasDelays as _, Row};
use netcheck_analysis::meter::{OTHER, service_name};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::target::TargetKind;
use netcheck_analysis::model::verdict::Verdict;

/// Secondary networks of pods that have a series of their own.
const NETWORKS: usize = 64;
/// Services that have. They are as many as [`netcheck_analysis::meter`] gives names at most.
const SERVICES: usize = 400;

/// How many paths of each verdict.
type ByVerdict = [u64; Verdict::ALL.len()];

/// What the rows of all agents come to.
#[derive(Default)]
pub(super) struct PathCounts {
    all: ByVerdict,
    sources: HashMap<Arc<str>, ByVerdict>,
    targets: HashMap<String, ByVerdict>,
    services: BTreeMap<Arc<str>, ByVerdict>,
    networks: BTreeMap<String, ByVerdict>,
    /// Named in `services`, by the target's id.
    service_names: HashMap<Arc<str>, Arc<str>>,
    /// By target and phase, the slowest source's.
    phases: BTreeMap<(Arc<str>, &'static str), f64>,
    /// By target, when the first of its certificates expires, unix seconds.
    certificates: BTreeMap<Arc<str>, i64>,
    /// By source node, the smallest of the largest packets that pass.
    mtu: HashMap<Arc<str>, u16>,
    /// By source node, paths that lose packets for their size.
    oversize: HashMap<Arc<str>, u64>,
}

impl PathCounts {
    /// Takes the rows of one agent.
    pub(super) fn add(&mut self, state: &State, at: NodeIx, range: &Range) {
        let agent = state.agent(at);
        let mut own = ByVerdict::default();
        let (mut mtu, mut oversize) = (None, 0);
        for row in agent.rows.shown() {
            own[row.verdict as usize] += 1;
            self.target(row);
            if row.path.probe.exchange.is_some() {
                self.exchange(row, range);
            }
            if let Some(sizes) = row.sizes.as_ref().filter(|sizes| sizes.passed_bytes > 0) {
                mtu = Some(mtu.map_or(sizes.passed_bytes, |least: u16| least.min(sizes.passed_bytes)));
                oversize += u64::from(sizes.has_size_loss(range.now_ns));
            }
        }
        if own == ByVerdict::default() {
            return;
        }
        for (sum, count) in self.all.iter_mut().zip(own) {
            *sum += count;
        }
        self.sources.insert(Arc::clone(&agent.name), own);
        if let Some(mtu) = mtu {
            self.mtu.insert(Arc::clone(&agent.name), mtu);
            self.oversize.insert(Arc::clone(&agent.name), oversize);
        }
    }

    fn target(&mut self, row: &Row) {
        let target = &row.path.probe.target;
        let verdict = row.verdict as usize;
        match target.kind {
            TargetKind::Node | TargetKind::Pod => {
                if let Some(network) = target.network() {
                    let known = self.networks.len() < NETWORKS || self.networks.contains_key(network);
                    let network = if known { network } else { OTHER };
                    self.networks.entry(network.to_owned()).or_default()[verdict] += 1;
                }
                match self.targets.get_mut(&target.node) {
                    Some(counts) => counts[verdict] += 1,
                    None => self.targets.entry(target.node.clone()).or_default()[verdict] += 1,
                }
            }
            TargetKind::Service | TargetKind::DnsServer | TargetKind::Endpoint => {
                let name = match self.service_names.get(&target.id) {
                    Some(name) => Arc::clone(name),
                    None => {
                        let name = service_name(target);
                        let known = self.services.len() < SERVICES || self.services.contains_key(&name);
                        let name = if known { name } else { OTHER.into() };
                        self.service_names.insert(Arc::clone(&target.id), Arc::clone(&name));
                        name
                    }
                };
                self.services.entry(name).or_default()[verdict] += 1;
            }
        }
    }

    fn exchange(&mut self, row: &Row, range: &Range) {
        let target = &row.path.probe.target.id;
        // As with services, node ports would be as many as nodes; exchanges are never sent to these.
        let known = self.certificates.len().max(self.phases.len() / 5) < SERVICES;
        let id = if known { Arc::clone(target) } else { OTHER.into() };
        if let Some(not_after) = row.certificate().filter(|_| row.retired_ns.is_none()) {
            let first = self.certificates.entry(Arc::clone(&id)).or_insert(not_after);
            *first = (*first).min(not_after);
        }
        if row.path.probe.exchange.is_none() {
            return;
        }
        let mut sum = Delays::default();
        range.slots(row).for_each(|slot| slot.delays.add_to(&mut sum));
        let Some(steps) = sum.steps.filter(|steps| **steps != Steps::default()) else { return };
        let parts = [
            ("dns", &steps.dns),
            ("connect", &steps.connect),
            ("tls", &steps.tls),
            ("first_byte", &steps.first_byte),
            ("total", &sum.round_trip),
        ];
        for (phase, delays) in parts {
            let Some(p90_ns) = delays.quantile_ns(0.9) else { continue };
            let slowest = self.phases.entry((Arc::clone(&id), phase)).or_default();
            *slowest = slowest.max(p90_ns as f64 / 1e9);
        }
    }

    /// Writes what they come to.
    pub(super) fn write(self, families: &mut Families) {
        let verdict = |verdict: Verdict| ("verdict", verdict.as_str().to_owned());
        let all = Verdict::ALL.map(|of| (vec![verdict(of)], self.all[of as usize] as f64));
        families.gauge("paths", "Paths by verdict.", all);
        families.gauge("source_paths", "Paths by source node and verdict.", by_verdict("node", self.sources));
        let help = "Paths to a node and its pods, by that node and verdict.";
        families.gauge("target_paths", help, by_verdict("node", self.targets));
        let help =
            "Paths on a secondary network of pods, by network and verdict; beyond 64 of them all are one.";
        families.gauge("network_paths", help, by_verdict("network", self.networks));
        let help = "Paths to a service, DNS server or HTTP endpoint, by verdict.";
        families.gauge("service_paths", help, by_verdict("service", self.services));
        let phase = |((target, phase), seconds): ((Arc<str>, &'static str), f64)| {
            (vec![("service", target.to_string()), ("phase", phase.to_owned())], seconds)
        };
        let help = "90th percentile of the parts of HTTP requests, and of DNS over TCP and TLS, from the slowest node.";
        families.gauge("http_phase_p90_seconds", help, self.phases.into_iter().map(phase));
        let help = "When the first certificate of a service expires, seconds since 1970.";
        let expiring = self.certificates.into_iter();
        let expiring = expiring.map(|(target, at)| (vec![("service", target.to_string())], at as f64));
        families.gauge("certificate_expiry_timestamp_seconds", help, expiring);
        let help = "The largest packet that passes on all paths from a node, headers included.";
        families.gauge("source_path_mtu_bytes", help, by_node(self.mtu, f64::from));
        let help = "Paths from a node that lose packets for their size.";
        families.gauge("source_oversize_paths", help, by_node(self.oversize, |count| count as f64));
    }
}

fn by_node<V>(values: HashMap<Arc<str>, V>, number: impl Fn(V) -> f64) -> Vec<(Labels, f64)> {
    let series = |(node, value): (Arc<str>, V)| (vec![("node", node.to_string())], number(value));
    let mut series: Vec<(Labels, f64)> = values.into_iter().map(series).collect();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

/// Names in order, of each the verdicts that it has.
fn by_verdict<K: ToString>(
    label: &'static str,
    counts: impl IntoIterator<Item = (K, ByVerdict)>,
) -> Vec<(Labels, f64)> {
    let named: BTreeSet<(String, ByVerdict)> =
        counts.into_iter().map(|(name, counts)| (name.to_string(), counts)).collect();
    let mut series = Vec::new();
    for (name, counts) in named {
        for verdict in Verdict::ALL.into_iter().filter(|&verdict| counts[verdict as usize] > 0) {
            let labels = vec![(label, name.clone()), ("verdict", verdict.as_str().to_owned())];
            series.push((labels, counts[verdict as usize] as f64));
        }
    }
    series
}
