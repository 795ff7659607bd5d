//! `/metrics`: the state of the moment and the counters, as OpenMetrics. Made anew for every scrape, so that a series
//! of a node or service that is gone is gone, too. Series grow with nodes plus services, never with pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use netcheck_proto::v1;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::state::Hub;
use crate::state::State;
use crate::wire;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::clock::duration_ns;
use netcheck_analysis::model::incident::IncidentKind;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::coverage::Coverage;

/// All metrics as text.
///
/// # Errors
/// None that formatting into a string has.
pub fn render(hub: &Hub) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("netcheck");
    registry.register_collector(Box::new(Snapshot::take(hub)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Secondary networks of pods that have a series of their own.
const NETWORKS: usize = 64;

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    counter: bool,
    series: Vec<(Labels, f64)>,
}

#[derive(Debug, Default)]
struct Snapshot {
    families: Vec<Family>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            let kind = if family.counter {
                prometheus_client::metrics::MetricType::Counter
            } else {
                prometheus_client::metrics::MetricType::Gauge
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, value) in &family.series {
                if labels.is_empty() {
                    encode_one(family.counter, *value, metric)?;
                    break;
                }
                encode_one(family.counter, *value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode_one(counter: bool, value: f64, encoder: MetricEncoder<'_>) -> fmt::Result {
    if counter { ConstCounter::new(value).encode(encoder) } else { ConstGauge::new(value).encode(encoder) }
}

impl Snapshot {
    fn add(&mut self, counter: bool, name: &'static str, help: &'static str, series: Vec<(Labels, f64)>) {
        self.families.push(Family { name, help, counter, series });
    }

    fn take(hub: &Hub) -> Self {
        let range =
            Range::newest(hub.settings.default_range(), netcheck_analysis::model::clock::unix_now_ns());
        let (cells, coverage) = hub.survey(&range);
        let state = hub.lock();
        let mut snapshot = Self::default();
        snapshot.paths(&cells);
        snapshot.http(&state, &cells);
        snapshot.agents(&state);
        snapshot.incidents(&state);
        snapshot.coverage(&coverage);
        snapshot.counters(&state);
        let error = f64::from(u8::from(state.inventory_error.is_some()));
        snapshot.add(
            false,
            "hub_inventory_broken",
            "1 while the newest inventory can't be read.",
            vec![(vec![], error)],
        );
        snapshot.add(
            false,
            "hub_inventory_objects_left_out",
            "Objects of the inventory in use that are left out, wholly or in part.",
            vec![(vec![], state.left_out.count as f64)],
        );
        let error = f64::from(u8::from(state.tls_error.is_some()));
        let help = "1 while a renewed certificate can't be used.";
        snapshot.add(false, "hub_certificate_broken", help, vec![(vec![], error)]);
        let drops = state.agents.iter().flat_map(|agent| {
            let series = |(reason, packets): (&String, &u64)| {
                (vec![("node", agent.name.to_string()), ("reason", reason.clone())], *packets as f64)
            };
            agent.kernel_drops.iter().map(series)
        });
        let help = "Packets of anybody that the node's kernel dropped, by its reason.";
        let drops = drops.collect();
        snapshot.add(true, "node_kernel_drops", help, drops);
        let read = state.roster_ns as f64 / 1e9;
        let help = "When the roster in use was read, seconds since 1970.";
        snapshot.add(false, "hub_roster_timestamp_seconds", help, vec![(vec![], read)]);
        snapshot
    }

    fn paths(&mut self, cells: &[crate::state::cells::Cell]) {
        let mut by_source: BTreeMap<(String, &str), u64> = BTreeMap::new();
        let mut by_target: BTreeMap<(String, &str), u64> = BTreeMap::new();
        let mut by_service: BTreeMap<(String, &str), u64> = BTreeMap::new();
        let mut by_network: BTreeMap<(String, &str), u64> = BTreeMap::new();
        let mut networks: BTreeSet<String> = BTreeSet::new();
        for cell in cells {
            let verdict = cell.verdict.as_str();
            let Some(path) = &cell.cell.path else { continue };
            *by_source.entry((path.source_node.clone(), verdict)).or_default() += 1;
            let Some(target) = &path.target else { continue };
            match target.kind() {
                v1::TargetKind::Node | v1::TargetKind::Pod => {
                    if !target.network.is_empty() {
                        let known = networks.len() < NETWORKS || networks.contains(&target.network);
                        let network = if known { target.network.clone() } else { "other".to_owned() };
                        networks.insert(network.clone());
                        *by_network.entry((network, verdict)).or_default() += 1;
                    }
                    *by_target.entry((target.node.clone(), verdict)).or_default() += 1;
                }
                v1::TargetKind::Service | v1::TargetKind::DnsServer | v1::TargetKind::Endpoint => {
                    // One series for all addresses of a service's port: node ports would be as many as nodes.
                    let id = match target.service_port {
                        0 => target.id.clone(),
                        port => format!("service/{}/{}:{port}", target.namespace, target.name),
                    };
                    *by_service.entry((id, verdict)).or_default() += 1;
                }
                v1::TargetKind::Unspecified => {}
            }
        }
        let total = Verdict::ALL.map(|verdict| {
            let count = cells.iter().filter(|cell| cell.verdict == verdict).count();
            (vec![("verdict", verdict.as_str().to_owned())], count as f64)
        });
        let series = |counts: BTreeMap<(String, &str), u64>, label: &'static str| {
            let row = |((name, verdict), count): ((String, &str), u64)| {
                (vec![(label, name), ("verdict", verdict.to_owned())], count as f64)
            };
            counts.into_iter().map(row).collect::<Vec<_>>()
        };
        self.add(false, "paths", "Paths by verdict.", total.to_vec());
        self.add(false, "source_paths", "Paths by source node and verdict.", series(by_source, "node"));
        let help = "Paths to a node and its pods, by that node and verdict.";
        self.add(false, "target_paths", help, series(by_target, "node"));
        let help =
            "Paths on a secondary network of pods, by network and verdict; beyond 64 of them all are one.";
        self.add(false, "network_paths", help, series(by_network, "network"));
        self.add(
            false,
            "service_paths",
            "Paths to a service or DNS server, by verdict.",
            series(by_service, "service"),
        );
    }

    /// Of exchanges over TCP, by target: the slowest source's figures, and the certificate that expires first.
    fn http(&mut self, state: &State, cells: &[crate::state::cells::Cell]) {
        let mut slowest: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for cell in cells.iter().map(|cell| &cell.cell) {
            let (Some(phases), Some(path)) = (&cell.phases, &cell.path) else { continue };
            let target = path.target.as_ref().map_or("", |target| target.id.as_str());
            let total = cell.stats.as_ref().and_then(|stats| stats.round_trip.as_ref());
            let parts = [
                ("dns", phases.dns.as_ref().filter(|dns| dns.samples > 0)),
                ("connect", phases.connect.as_ref()),
                ("tls", phases.tls.as_ref()),
                ("first_byte", phases.first_byte.as_ref()),
                ("total", total),
            ];
            for (phase, delay) in parts {
                let Some(p90) = delay.and_then(|delay| delay.p90.as_ref()) else { continue };
                let seconds = duration_ns(p90) as f64 / 1e9;
                let known = slowest.entry((target, phase)).or_default();
                *known = known.max(seconds);
            }
        }
        let series = |((target, phase), seconds): ((&str, &str), f64)| {
            (vec![("service", target.to_owned()), ("phase", phase.to_owned())], seconds)
        };
        self.add(
            false,
            "http_phase_p90_seconds",
            "90th percentile of the parts of HTTP requests, and of DNS over TCP and TLS, from the slowest node.",
            slowest.into_iter().map(series).collect(),
        );
        let expiring = state.certificates().into_iter();
        let expiring = expiring
            .map(|(target, (not_after, _))| (vec![("service", target.to_string())], not_after as f64));
        self.add(
            false,
            "certificate_expiry_timestamp_seconds",
            "When the first certificate of a service expires, seconds since 1970.",
            expiring.collect(),
        );
    }

    /// All kinds, those that there is none of as 0: an alert needs a series to look at.
    fn incidents(&mut self, state: &State) {
        let open = state.incidents.open();
        let series = IncidentKind::ALL.into_iter().map(|kind| {
            let count = open.iter().filter(|incident| incident.kind == kind).count();
            let name =
                wire::incident_kind(kind).as_str_name().trim_start_matches("INCIDENT_KIND_").to_lowercase();
            (vec![("kind", name)], count as f64)
        });
        self.add(false, "incidents_open", "Open incidents by kind of cause.", series.collect());
    }

    /// Paths that take turns. The series are there whether any do or not.
    fn coverage(&mut self, coverage: &Coverage) {
        let inactive = Verdict::ALL.map(|verdict| {
            (vec![("verdict", verdict.as_str().to_owned())], coverage.inactive(verdict) as f64)
        });
        let help = "Paths that are not in turn now, by the verdict of their last turn.";
        self.add(false, "paths_inactive", help, inactive.to_vec());
        let help = "How long it takes until every path had its turn; 0 where all are probed all the time.";
        self.add(false, "cover_seconds", help, vec![(vec![], coverage.promised().as_secs_f64())]);
    }

    fn agents(&mut self, state: &State) {
        let each = |value: &dyn Fn(&crate::state::agent::Agent) -> f64| {
            let named = |(_, agent): (_, &crate::state::agent::Agent)| {
                (vec![("node", agent.name.to_string())], value(agent))
            };
            state.each().map(named).collect::<Vec<_>>()
        };
        let connected = each(&|agent| f64::from(u8::from(agent.live.is_some())));
        let hooks = each(&|agent| f64::from(u8::from(agent.has_hooks())));
        let contested = each(&|agent| f64::from(u8::from(agent.claims.contest().is_some())));
        let samples = each(&|agent| agent.samples as f64);
        let dropped = each(&|agent| agent.dropped_samples as f64);
        self.add(false, "agent_connected", "1 while the node's agent has a session.", connected);
        self.add(false, "agent_kernel_hooks", "1 where the agent's kernel hooks see packets.", hooks);
        let help = "1 while another living agent claims the node's name.";
        self.add(false, "agent_name_contested", help, contested);
        self.add(true, "agent_samples", "Samples that were applied.", samples);
        self.add(true, "agent_dropped_samples", "Samples that the agent's buffer had to drop.", dropped);
    }

    fn counters(&mut self, state: &State) {
        let counters = &state.counters;
        let one = |value: u64| vec![(vec![], value as f64)];
        let batch = |result: &str, value: u64| (vec![("result", result.to_owned())], value as f64);
        let batches =
            vec![batch("applied", counters.batches_applied), batch("duplicate", counters.batches_duplicate)];
        self.add(true, "hub_batches", "Batches of samples.", batches);
        let all: [(&'static str, &'static str, u64); 29] = [
            (
                "hub_batch_parts_refused",
                "Parts of messages that did not hold together.",
                counters.parts_refused,
            ),
            ("hub_unknown_path_samples", "Samples of paths that are in no plan.", counters.unknown_path),
            ("hub_samples", "Judged samples that were applied.", counters.samples),
            ("hub_suspect_samples", "Samples that agents could not judge.", counters.suspect),
            (
                "hub_excused_samples",
                "Samples lost at responders that had said that they restart.",
                counters.excused,
            ),
            ("hub_lost_probes", "Lost probes that were reported.", counters.lost_reported),
            ("hub_lost_probes_evicted", "Lost probes whose evidence was given up.", counters.lost_evicted),
            ("hub_sessions", "Agent sessions that began.", counters.sessions),
            ("hub_sessions_superseded", "Sessions ended by a newer one.", counters.sessions_superseded),
            ("hub_sessions_refused", "Sessions that were refused.", counters.sessions_refused),
            (
                "hub_sessions_contested",
                "Sessions that were refused because another agent has the node's name.",
                counters.sessions_contested,
            ),
            (
                "hub_sessions_unproven",
                "Sessions that were refused because their token was missing or not good.",
                counters.sessions_unproven,
            ),
            (
                "hub_sessions_foreign",
                "Sessions that were refused because their token, or what they say of themselves, is another node's.",
                counters.sessions_foreign,
            ),
            (
                "hub_sessions_unreviewed",
                "Sessions that were put off because their token could not be reviewed.",
                counters.sessions_unreviewed,
            ),
            (
                "hub_sessions_silent",
                "Sessions ended because the agent neither read nor spoke.",
                counters.sessions_silent,
            ),
            (
                "hub_messages_refused",
                "Messages of agents that were too large, or no messages.",
                counters.messages_refused,
            ),
            ("hub_readers_refused", "Readers that did not show the token.", counters.readers_refused),
            ("hub_connections_refused", "Connections beyond a limit.", counters.connections_refused),
            ("hub_handshakes_failed", "TLS handshakes that failed.", counters.handshakes_failed),
            ("hub_drop_records", "Kernel drop records that were received.", counters.drop_records),
            ("hub_drop_records_evicted", "Drop records that had to go early.", state.drops.evicted),
            ("hub_evidence_questions", "Questions to agents.", counters.questions),
            ("hub_evidence_answers", "Answers of agents.", counters.answers),
            ("hub_evidence_answers_unasked", "Answers that nobody had asked for.", counters.answers_unasked),
            ("hub_culprit_questions", "Questions to agents for what did it.", counters.culprit_questions),
            ("hub_culprit_answers", "Answers of agents to these.", counters.culprit_answers),
            ("hub_control_dropped", "Messages to agents that found no room.", counters.control_dropped),
            ("hub_inventory_errors", "Inventories that could not be read.", counters.inventory_errors),
            (
                "hub_kubernetes_objects_skipped",
                "Objects of the inventory that did not hold together, each time that they were read.",
                counters.objects_skipped,
            ),
        ];
        for (name, help, value) in all {
            self.add(true, name, help, one(value));
        }
    }
}
