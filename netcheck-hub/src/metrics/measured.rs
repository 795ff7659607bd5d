//! What was measured since the hub's start: probes by outcome, and how long they took.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use netcheck_common::domain::{Outcome, ProbeKind};

use super::collect::Families;
use super::family::{COARSE, Exemplar, FINE, Kind, Labels, Series, Value};
use crate::state::{Hub, State};
use netcheck_analysis::matrix::{HasDelays as _, Packed, Row, Slot};
use netcheck_analysis::meter::{DelayCounts, Meters, Outcomes, Places, Shares, Sort, Table, Tally, Zones};

/// Paths of one incident that are looked at for exemplars.
const PATHS: usize = 2_000;

/// Probes of the incident whose paths are counted at a place.
struct Mark {
    lost: Exemplar,
    slow: Option<Exemplar>,
}

/// By place.
type Marks = HashMap<u32, Mark>;

/// By the names of [`Places`].
#[derive(Default)]
struct Marked {
    zones: Marks,
    sources: Marks,
    targets: Marks,
    services: Marks,
}

/// Writes all of it, one table at a time.
pub(super) fn write(families: &mut Families, hub: &Hub) {
    let marked = Marked::of(&hub.lock());
    zones(families, &hub.lock().meters, &marked);
    shares(families, &hub.lock().meters);
    sources(families, &hub.lock().meters, &marked);
    targets(families, &hub.lock().meters, &marked);
    services(families, &hub.lock().meters, &marked);
    if hub.settings.pair_metrics {
        pairs(families, &hub.lock().meters);
    }
}

impl Marked {
    /// The worst incident comes first and stays.
    fn of(state: &State) -> Self {
        let mut marked = Self::default();
        let newest: BTreeMap<String, i64> =
            state.incidents.open().into_iter().filter_map(|one| Some((one.id, one.last_ns?))).collect();
        for (id, paths) in state.incidents.open_paths() {
            let Some(&at_ns) = newest.get(&id) else { continue };
            let lost = Exemplar { incident: id, value: 1.0, at_ns };
            for (source, path) in paths.take(PATHS) {
                let agent = state.find(&source).map(|at| state.agent(at));
                let Some(row) = agent.and_then(|agent| agent.rows.get(path)) else { continue };
                let Places { zones, source, target, service } = state.meters.places(row);
                let places = [
                    (&mut marked.zones, zones),
                    (&mut marked.sources, source),
                    (&mut marked.targets, target),
                    (&mut marked.services, service),
                ];
                let slow = slowest(row, &lost.incident);
                for (marks, at) in places {
                    let Some(at) = at else { continue };
                    let mark = marks.entry(at).or_insert_with(|| Mark { lost: lost.clone(), slow: None });
                    if mark.slow.is_none() && mark.lost.incident == lost.incident {
                        mark.slow.clone_from(&slow);
                    }
                }
            }
        }
        marked
    }
}

/// The slowest answer of a path's newest window that has any.
fn slowest(row: &Row, incident: &str) -> Option<Exemplar> {
    let answered =
        |slot: Slot<Packed<'_>>| Some((slot.delays.delays()?.round_trip.quantile_ns(1.0)?, slot.end_ns()));
    let (delay_ns, at_ns) = row.ring.since(i64::MIN).rev().find_map(answered)?;
    Some(Exemplar { incident: incident.to_owned(), value: delay_ns as f64 / 1e9, at_ns })
}

/// Probes by outcome: those that are counted from the first, so that a first loss is a rise, and what else happened.
fn outcomes<'a, K: Clone + Eq + Hash + 'a, V: Default + 'a>(
    table: &'a Table<K, V>,
    marks: &Marks,
    labels: impl Fn(&K) -> Labels,
    counts: impl Fn(&'a V) -> &'a Outcomes,
) -> Vec<Series> {
    let mut series = Vec::new();
    for (at, key, value) in table.placed() {
        let counts = counts(value);
        for outcome in std::iter::once(Outcome::Reply).chain(Outcome::FAILURES) {
            let count = counts.of(outcome);
            if count == 0 && !matches!(outcome, Outcome::Reply | Outcome::Timeout) {
                continue;
            }
            let mut labels = labels(key);
            labels.push(("outcome", outcome.as_str().to_owned()));
            let mark = marks.get(&at).filter(|_| count > 0 && outcome != Outcome::Reply);
            let exemplar = mark.map(|mark| mark.lost.clone());
            series.push(Series { labels, value: Value::Number(count as f64), exemplar });
        }
    }
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

fn delays<'a, K: Clone + Eq + Hash>(
    table: &'a Table<K, Tally>,
    marks: &Marks,
    labels: impl Fn(&K) -> Labels,
) -> Vec<(Labels, &'a DelayCounts, Option<Exemplar>)> {
    let slow = |at| marks.get(&at).and_then(|mark| mark.slow.clone());
    table.placed().map(|(at, key, tally)| (labels(key), &tally.round_trip, slow(at))).collect()
}

fn zone_labels(zones: &Zones) -> Labels {
    vec![("source_zone", zones.source.to_string()), ("target_zone", zones.target.to_string())]
}

fn sort_labels(sort: &Sort) -> Labels {
    vec![
        ("kind", sort.kind.to_string()),
        ("family", sort.family.to_string()),
        ("vantage", sort.vantage.to_string()),
    ]
}

fn node_labels(node: &Arc<str>) -> Labels {
    vec![("node", node.to_string())]
}

fn zones(families: &mut Families, meters: &Meters, marked: &Marked) {
    let labels = |(zones, sort): &(Zones, Sort)| [zone_labels(zones), sort_labels(sort)].concat();
    let help = "Round trips of probes between nodes and pods, by zones.";
    families.delays("probe_duration_seconds", help, FINE, delays(&meters.zones, &marked.zones, labels));
    let help = "Judged probes between nodes and pods, by zones and how they ended.";
    let series = outcomes(&meters.zones, &marked.zones, labels, |tally| &tally.outcomes);
    families.add(Kind::Counter, "probes", help, series);
}

fn shares(families: &mut Families, meters: &Meters) {
    let labels = |(zones, kind): &(Zones, ProbeKind)| {
        let mut labels = zone_labels(zones);
        labels.push(("kind", kind.to_string()));
        labels
    };
    type Share = fn(&Shares) -> &DelayCounts;
    let all: [(&str, &str, Share); 3] = [
        ("probe_network_seconds", "The network's share of round trips.", |shares| &shares.network),
        ("probe_host_seconds", "The source's share of round trips.", |shares| &shares.host),
        ("probe_responder_seconds", "The target's share of round trips.", |shares| &shares.responder),
    ];
    for (name, help, share) in all {
        let series = meters.shares.iter().map(|(key, shares)| (labels(key), share(shares), None));
        families.delays(name, help, COARSE, series.collect());
    }
}

fn sources(families: &mut Families, meters: &Meters, marked: &Marked) {
    let help = "Round trips of probes to nodes and pods, by the node that sent them.";
    let made = delays(&meters.sources, &marked.sources, node_labels);
    families.delays("source_probe_duration_seconds", help, COARSE, made);
    let help = "Judged probes to nodes and pods, by the node that sent them and how they ended.";
    let series = outcomes(&meters.sources, &marked.sources, node_labels, |tally| &tally.outcomes);
    families.add(Kind::Counter, "source_probes", help, series);
    let help = "Probes that the node's agent could not judge.";
    let suspect = meters.sources.iter();
    let suspect = suspect.map(|(node, tally)| (node_labels(node), tally.outcomes.suspect as f64));
    let mut suspect: Vec<(Labels, f64)> = suspect.collect();
    suspect.sort_by(|a, b| a.0.cmp(&b.0));
    families.counter("source_suspect_probes", help, suspect);
}

fn targets(families: &mut Families, meters: &Meters, marked: &Marked) {
    let help = "Round trips of probes to a node and its pods, by that node.";
    let made = delays(&meters.targets, &marked.targets, node_labels);
    families.delays("target_probe_duration_seconds", help, COARSE, made);
    let help = "Judged probes to a node and its pods, by that node and how they ended.";
    let series = outcomes(&meters.targets, &marked.targets, node_labels, |tally| &tally.outcomes);
    families.add(Kind::Counter, "target_probes", help, series);
}

fn services(families: &mut Families, meters: &Meters, marked: &Marked) {
    let labels = |(service, sort): &(Arc<str>, Sort)| {
        [vec![("service", service.to_string())], sort_labels(sort)].concat()
    };
    let help = "Round trips of probes to a service, DNS server or HTTP endpoint.";
    let made = delays(&meters.services, &marked.services, labels);
    families.delays("service_probe_duration_seconds", help, FINE, made);
    let help = "Judged probes to a service, DNS server or HTTP endpoint, by how they ended.";
    let series = outcomes(&meters.services, &marked.services, labels, |tally| &tally.outcomes);
    families.add(Kind::Counter, "service_probes", help, series);
}

fn pairs(families: &mut Families, meters: &Meters) {
    let labels = |(source, target): &(Arc<str>, Arc<str>)| {
        vec![("source_node", source.to_string()), ("target_node", target.to_string())]
    };
    let help = "Round trips of probes from one node to another and its pods.";
    let summary = meters.pairs.iter().map(|(key, pair)| {
        let value = Value::Summary { count: pair.outcomes.reply, sum: pair.sum_ns as f64 / 1e9 };
        Series::new(labels(key), value)
    });
    let mut summary: Vec<Series> = summary.collect();
    summary.sort_by(|a, b| a.labels.cmp(&b.labels));
    families.add(Kind::Summary, "pair_probe_duration_seconds", help, summary);
    let help = "Judged probes from one node to another and its pods, by how they ended.";
    let series = outcomes(&meters.pairs, &Marks::new(), labels, |pair| &pair.outcomes);
    families.add(Kind::Counter, "pair_probes", help, series);
    let help = "1 while pairs of nodes have no series because there are too many nodes.";
    let refused = f64::from(u8::from(meters.pairs_refused()));
    families.gauge("hub_pair_metrics_refused", help, [(vec![], refused)]);
}
