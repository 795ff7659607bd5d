//! The agent's Prometheus metrics: bounded series, none per path.
//!
//! The registry is built anew for each scrape from what the engine, the buffer and the responder count anyway: what
//! is not scraped costs nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;

use netcheck_proto::v1;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::host::usage::{self, Uptime};
use crate::model::status::{EngineStatus, HubState};
use crate::relay::RelayCounts;
use crate::responder::ResponderCounts;
use crate::uplink::buffer::BufferStatus;
use crate::uplink::status::{degraded, ebpf_word, hook_word};

type Labels = Vec<(&'static str, &'static str)>;

/// Everything that a scrape shows.
pub(crate) struct Snapshot<'a> {
    pub(crate) node: &'a str,
    pub(crate) engine: &'a EngineStatus,
    pub(crate) buffer: BufferStatus,
    pub(crate) hub: &'a HubState,
    pub(crate) responder: ResponderCounts,
    /// None where this agent passes no sessions on.
    pub(crate) relay: Option<&'a RelayCounts>,
    pub(crate) uptime: Uptime,
}

/// A registry under construction.
struct Metrics(Registry);

impl Metrics {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(name, help, gauge);
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register_with_unit(name, help, Unit::Seconds, gauge);
    }
}

/// The text of a scrape (OpenMetrics).
pub(crate) fn render(snapshot: &Snapshot<'_>) -> Result<String, fmt::Error> {
    let mut metrics = Metrics(Registry::with_prefix("netcheck_agent"));
    let Snapshot { node, engine, buffer, hub, responder, relay, uptime } = snapshot;
    let build = vec![("node", (*node).to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    metrics.0.register("build", "This agent", Info::new(build));
    metrics.seconds("uptime", "Time since the agent's start", uptime.elapsed().as_secs_f64());
    probes(&mut metrics, engine);
    kernel(&mut metrics, engine);
    let missing = degraded(engine, hub).len() as u64;
    metrics.gauge("degraded", "Things that are missing; /status names them", missing);
    drops(&mut metrics, engine);

    let m = &mut metrics;
    m.gauge("plan_version", "Version of the plan in force; 0: none", engine.plan.version);
    m.gauge("plan_paths", "Paths that are probed", engine.plan.paths as u64);
    m.gauge("plan_refused_paths", "Paths of the plan that can't be probed", engine.plan.refused.len() as u64);
    m.seconds("round", "Length of a full round of probes", engine.plan.effective_interval.as_secs_f64());
    if let Some(vantage) = &engine.vantage {
        let up = !vantage.pod.is_empty();
        m.gauge("vantage_connected", "Whether a pod vantage hands over sockets", up.into());
        m.counter("vantage_sockets", "Sockets that the pod vantage handed over", vantage.sockets);
        let help = "Connections of a pod vantage that ended because something was not as agreed";
        m.counter("vantage_refused", help, vantage.refused);
    }
    m.gauge("hub_connected", "Whether there is a session with the hub", hub.connected().into());
    m.gauge("hub_relayed", "Whether it goes through another agent", hub.relay().is_some().into());
    m.counter("hub_sessions", "Sessions with the hub", hub.sessions);
    m.counter("hub_relayed_sessions", "Those that went through another agent", hub.relayed_sessions);
    let ended = Family::<Labels, Counter>::default();
    for (&reason, &count) in &hub.ended {
        ended.get_or_create(&vec![("reason", reason)]).inc_by(count);
    }
    m.0.register("hub_sessions_ended", "Sessions with the hub, and attempts at one, that ended", ended);
    m.gauge("buffer_batches", "Batches that the hub has not acknowledged", buffer.batches);
    m.gauge("buffer_bytes", "Memory of those batches", buffer.bytes);
    m.counter("buffer_dropped_batches", "Batches that the buffer had no room for", buffer.dropped_batches);
    m.counter("buffer_dropped_samples", "Samples in those batches", buffer.dropped_samples);
    m.counter("responder_echoed_packets", "Probes of other agents echoed over UDP", responder.echoed);
    m.counter("responder_refused_packets", "UDP packets that were no probes", responder.refused);
    m.counter(
        "responder_limited_packets",
        "UDP probes beyond what one source is answered",
        responder.limited,
    );
    m.counter("responder_connections", "TCP connections that said something", responder.connections);
    m.counter("responder_turned_away", "TCP connections above the limit", responder.turned_away);

    if let Some(relay) = relay {
        relayed(m, relay);
    }
    // The names that every Prometheus client exports for its process.
    let process = m.0.sub_registry_with_prefix("process");
    let cpu = Counter::<f64, AtomicU64>::default();
    cpu.inc_by(usage::cpu_time().as_secs_f64());
    process.register_with_unit("cpu", "CPU time of the agent", Unit::Seconds, cpu);
    let resident: Gauge = Gauge::default();
    resident.set(usage::resident_bytes() as i64);
    process.register_with_unit("resident_memory", "Resident memory of the agent", Unit::Bytes, resident);

    let mut out = String::new();
    text::encode(&mut out, &metrics.0)?;
    Ok(out)
}

/// Sessions of other agents that are passed on.
fn relayed(metrics: &mut Metrics, relay: &RelayCounts) {
    metrics.gauge("relay_open_sessions", "Sessions of other agents that are passed on now", relay.open);
    metrics.counter("relay_sessions", "Sessions of other agents that were passed on", relay.sessions);
    let bytes = Family::<Labels, Counter>::default();
    for (to, count) in [("hub", relay.to_hub_bytes), ("agent", relay.from_hub_bytes)] {
        bytes.get_or_create(&vec![("to", to)]).inc_by(count);
    }
    metrics.0.register("relay_bytes", "Bytes that were passed on", bytes);
    let refused = Family::<Labels, Counter>::default();
    for (&reason, &count) in &relay.refused {
        refused.get_or_create(&vec![("reason", reason)]).inc_by(count);
    }
    metrics.0.register("relay_refused", "Connections that were not passed on", refused);
}

fn probes(metrics: &mut Metrics, engine: &EngineStatus) {
    let samples = Family::<Labels, Counter>::default();
    for (kind, family, outcome, count) in engine.counters.samples() {
        // Combinations that never happened here are no series.
        if count > 0 {
            let labels =
                vec![("kind", kind.as_str()), ("family", family.as_str()), ("outcome", outcome.as_str())];
            samples.get_or_create(&labels).inc_by(count);
        }
    }
    metrics.0.register("probes", "Probes that could be judged", samples);
    let counters = &engine.counters;
    metrics.gauge("probes_in_flight", "Probes on their way", engine.in_flight as u64);
    let suspects = Family::<Labels, Counter>::default();
    for (reason, count) in counters.suspects() {
        suspects.get_or_create(&vec![("cause", reason.as_str())]).inc_by(count);
    }
    metrics.0.register("suspect_probes", "Probes that the agent was too starved to judge", suspects);
    metrics.counter("late_replies", "Replies after the deadline", counters.late);
    metrics.counter("duplicate_replies", "Second replies", counters.duplicate);
    metrics.counter("forged_packets", "Replies to what was never asked, or from elsewhere", counters.forged);
    metrics.counter("unstamped_replies", "Replies that some kernel hook did not see", counters.unstamped);
    metrics.counter(
        "dropped_details",
        "Lost probes reported without their evidence",
        counters.details_dropped,
    );
    metrics.counter("dropped_reports", "Reports of the engine that were not taken", counters.reports_dropped);
    metrics.counter(
        "size_probes",
        "Probes that tried a packet size; in none of the probes above",
        counters.sizes_tried,
    );
    metrics.counter("size_probes_lost", "Probes that tried a packet size and were lost", counters.sizes_lost);
    metrics.counter(
        "new_flow_probes",
        "Probes of ICMP and UDP with a flow of their own; in none of the probes above",
        counters.new_flows,
    );
    metrics.counter(
        "new_flow_probes_lost",
        "Those with a flow of their own that were lost",
        counters.new_flows_lost,
    );
    metrics.counter(
        "new_flow_probes_skipped",
        "Those that were not sent for want of a socket or port",
        counters.new_flows_skipped,
    );
    metrics.counter(
        "flow_numbers_reused",
        "Source ports and ICMP identifiers that came back within connection tracking's time-outs",
        counters.numbers_reused,
    );
    metrics.counter("late_turns", "Turns of the probe loop that came late", counters.late_turns);
    metrics.counter("turns", "Turns of the probe loop", counters.turns);
}

/// Series that drops may have: interfaces come and go on a busy node, and reasons are a hundred.
const DROP_SERIES: usize = 256;

/// Drops of all packets by interface and the kernel's reason. Namespaces of pods are one.
fn drops(metrics: &mut Metrics, engine: &EngineStatus) {
    let mut totals: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for drop in &engine.drops {
        let interface = if drop.interface.is_empty() { "elsewhere" } else { &*drop.interface };
        *totals.entry((interface, &*drop.reason)).or_default() += drop.packets;
    }
    let mut largest: Vec<_> = totals.into_iter().collect();
    largest.sort_unstable_by_key(|&(labels, packets)| (std::cmp::Reverse(packets), labels));
    let series = Family::<Vec<(&'static str, String)>, Counter>::default();
    for (place, ((interface, reason), packets)) in largest.into_iter().enumerate() {
        let labels = if place < DROP_SERIES { [interface, reason] } else { ["other", "other"] };
        let labels = vec![("interface", labels[0].to_owned()), ("reason", labels[1].to_owned())];
        series.get_or_create(&labels).inc_by(packets);
    }
    let help = "Packets of anybody that the kernel dropped, by interface (elsewhere: none of this namespace) and reason";
    metrics.0.register("kernel_drops", help, series);
}

fn kernel(metrics: &mut Metrics, engine: &EngineStatus) {
    let states = Family::<Labels, Gauge>::default();
    for state in [v1::EbpfState::Attached, v1::EbpfState::Partial, v1::EbpfState::Off, v1::EbpfState::Failed]
    {
        let is = i64::from(engine.kernel.state == state);
        states.get_or_create(&vec![("state", ebpf_word(state))]).set(is);
    }
    metrics.0.register("ebpf", "State of the kernel programs: 1 for the one that is", states);
    let hooks = Family::<Labels, Gauge>::default();
    for hook in &engine.kernel.hooks {
        hooks.get_or_create(&vec![("state", hook_word(hook.state()))]).inc();
    }
    metrics.0.register("hooks", "Kernel hooks by state", hooks);
    metrics.counter("ring_events_lost", "Kernel events that found no room", engine.kernel.ring_events_lost);
}

#[cfg(test)]
mod tests {
    use netcheck_common::domain::{Family as AddressFamily, Outcome, ProbeKind};

    use super::*;
    use crate::model::sample::StarvationReason;

    #[test]
    fn a_scrape_shows_everything_with_bounded_series() {
        let mut engine = EngineStatus::default();
        engine.counters.sample(ProbeKind::Icmp, AddressFamily::V6, Outcome::Reply);
        engine.counters.suspect(StarvationReason::Throttled);
        let text = render(&Snapshot {
            node: "n1",
            engine: &engine,
            buffer: BufferStatus { dropped_batches: 3, ..BufferStatus::default() },
            hub: &HubState::default(),
            responder: ResponderCounts::default(),
            relay: Some(&RelayCounts { to_hub_bytes: 7, ..RelayCounts::default() }),
            uptime: Uptime::begin(),
        })
        .unwrap();
        for line in [
            r#"netcheck_agent_build_info{node="n1",version=""#,
            r#"netcheck_agent_probes_total{kind="icmp",family="ipv6",outcome="reply"} 1"#,
            "netcheck_agent_buffer_dropped_batches_total 3",
            "netcheck_agent_hub_connected 0",
            r#"netcheck_agent_relay_bytes_total{to="hub"} 7"#,
            r#"netcheck_agent_suspect_probes_total{cause="throttled"} 1"#,
            "netcheck_agent_process_cpu_seconds_total ",
            "netcheck_agent_process_resident_memory_bytes ",
            r#"netcheck_agent_ebpf{state="off"} 0"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.lines().count() < 165);
    }
}
