//! What scripts for k8snet-checker ask, in its shapes: addresses of nodes and pods, and between each two of them whether
//! ping is answered and a port is open.
//!
//! Its documents and its program differ in one thing: durations. Here they are as documented, seconds as `0.000412s`; those
//! of a service's result are as its program has them, in nanoseconds. Its own clients' reports are not taken: agents
//! measure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State as Shared;
use axum::response::Json;
use axum::routing::get;
use netcheck_analysis::model::clock::duration_ns;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::selector::Selector;
use netcheck_proto::v1;
use serde::Serialize;
use serde_json::{Value, json};

use crate::state::cells::Cell;
use crate::state::{Hub, State};

/// Kubernetes' own service, which is asked for where no other is probed.
const API: &str = "service/default/kubernetes:";

/// The paths, for readers.
pub fn routes(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/api/v1/hosts", get(hosts))
        .route("/api/v1/pods", get(pods))
        .route("/api/v1/test-results/hosts", get(host_results))
        .route("/api/v1/test-results/pods", get(pod_results))
        .route("/api/v1/test-results/service", get(service_results))
        .route("/api/v1/clients/count", get(clients))
        .route("/api/v1/results", get(results))
        .with_state(hub)
}

/// For everybody.
pub async fn health() -> Json<Value> {
    Json(json!({"status": "healthy"}))
}

/// What one address found of another.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TestStatus {
    /// `reachable` or `unreachable`.
    ping: &'static str,
    /// `open`, `closed`, or `unknown` where no port is probed.
    port_status: &'static str,
    #[serde(serialize_with = "seconds")]
    test_duration: Duration,
}

/// By source, then by target.
type TestResults = BTreeMap<String, BTreeMap<String, TestStatus>>;

fn seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format!("{:.6}s", duration.as_secs_f64()))
}

async fn hosts(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    let addresses = host_addresses(&hub.lock());
    Json(json!({"count": addresses.len(), "host_ips": addresses}))
}

async fn pods(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    let addresses = pod_addresses(&hub.lock());
    Json(json!({"count": addresses.len(), "pod_ips": addresses}))
}

async fn clients(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    Json(json!({"active_client_count": active(&hub.lock())}))
}

async fn host_results(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    Json(json!({"results": between_hosts(&hub)}))
}

async fn pod_results(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    Json(json!({"results": between_pods(&hub)}))
}

async fn service_results(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    Json(json!({"results": of_a_service(&hub).1}))
}

async fn results(Shared(hub): Shared<Arc<Hub>>) -> Json<Value> {
    let (hosts, pods, (service, of_service)) = (between_hosts(&hub), between_pods(&hub), of_a_service(&hub));
    let reached = of_service.values().filter(|result| result["ping_status"] == "reachable").count();
    let state = hub.lock();
    Json(json!({
        "timestamp": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "active_client_count": active(&state),
        "host_ips": host_addresses(&state),
        "pod_ips": pod_addresses(&state),
        "host_test_summary": summary(&hosts),
        "pod_test_summary": summary(&pods),
        "service_test_summary": {
            "service_name": service,
            "total_tests": of_service.len(),
            "successful_tests": reached,
            "failed_tests": of_service.len() - reached,
            "success_rate": rate(reached, of_service.len()),
        },
        "host_test_results": hosts,
        "pod_test_results": pods,
        "service_test_results": of_service,
    }))
}

fn active(state: &State) -> usize {
    state.agents.iter().filter(|agent| agent.live.is_some()).count()
}

/// One of each node, of the cluster's first family.
fn host_addresses(state: &State) -> Vec<String> {
    let first = state.roster.nodes.values().filter_map(|node| node.addresses.first());
    first.map(ToString::to_string).collect()
}

/// One of each pod that is probed.
fn pod_addresses(state: &State) -> Vec<String> {
    let probed: BTreeSet<&str> = state.catalog.targets().map(|target| &*target.id).collect();
    let pods = state.roster.pods.iter().filter(|(name, _)| probed.contains(format!("pod/{name}").as_str()));
    pods.filter_map(|(_, pod)| pod.addresses.first().map(ToString::to_string)).collect()
}

/// The address that a path's probes leave from: of the family that they go to.
fn source_address(state: &State, path: &v1::Path) -> Option<IpAddr> {
    let to: IpAddr = path.address.parse().ok()?;
    let pod = path.vantage() == v1::Vantage::Pod;
    let of_pod = || {
        let agent = state.agent(state.find(&path.source_node)?);
        agent.vantage.known().map(|known| known.addresses.as_slice())
    };
    let of_node = || state.roster.nodes.get(&path.source_node).map(|node| node.addresses.as_slice());
    let addresses = if pod { of_pod() } else { of_node() }?;
    addresses.iter().find(|address| address.is_ipv4() == to.is_ipv4()).copied()
}

/// Cells of ping and of TCP from here or there to targets of one kind, with where they come from.
fn measured(hub: &Hub, vantage: v1::Vantage, kind: v1::TargetKind) -> Vec<(String, Cell)> {
    let selector = v1::PathSelector {
        kinds: vec![v1::ProbeKind::Icmp.into(), v1::ProbeKind::Tcp.into()],
        vantages: vec![vantage.into()],
        ..Default::default()
    };
    let Ok(selector) = Selector::read(Some(selector)) else { return Vec::new() };
    let cells = hub.cells(&selector, &hub.range(None));
    let state = hub.lock();
    let judged = |cell: &Cell| !matches!(cell.verdict, Verdict::NoData | Verdict::ExpectedAbsent);
    let known = |cell: Cell| {
        let path = cell
            .cell
            .path
            .as_ref()
            .filter(|path| path.target.as_ref().is_some_and(|of| of.kind() == kind))?;
        Some((source_address(&state, path)?.to_string(), cell))
    };
    cells.into_iter().filter(judged).filter_map(known).collect()
}

fn between_hosts(hub: &Hub) -> TestResults {
    collected(measured(hub, v1::Vantage::Host, v1::TargetKind::Node))
}

/// From pods where there are any that probe, else from nodes.
fn between_pods(hub: &Hub) -> TestResults {
    let from_pods = measured(hub, v1::Vantage::Pod, v1::TargetKind::Pod);
    let cells =
        if from_pods.is_empty() { measured(hub, v1::Vantage::Host, v1::TargetKind::Pod) } else { from_pods };
    collected(cells)
}

/// Several probes of one pair of addresses are one test.
fn collected(cells: Vec<(String, Cell)>) -> TestResults {
    let mut results = TestResults::new();
    for (source, cell) in cells {
        let Some(path) = cell.cell.path.as_ref().filter(|path| path.address != source) else { continue };
        let found = results.entry(source).or_default().entry(path.address.clone());
        let status = found.or_insert(TestStatus {
            ping: "unreachable",
            port_status: "unknown",
            test_duration: Duration::ZERO,
        });
        let passes = cell.verdict != Verdict::Unreachable;
        match path.kind() {
            v1::ProbeKind::Tcp => status.port_status = if passes { "open" } else { "closed" },
            _ => status.ping = if passes { "reachable" } else { "unreachable" },
        }
        status.test_duration += round_trip(&cell);
    }
    results
}

fn round_trip(cell: &Cell) -> Duration {
    let median = cell.cell.stats.as_ref().and_then(|stats| stats.round_trip.as_ref()?.p50.as_ref());
    median.map_or(Duration::ZERO, |median| Duration::from_nanos(duration_ns(median).unsigned_abs()))
}

fn rate(successful: usize, total: usize) -> f64 {
    if total == 0 { 0.0 } else { successful as f64 / total as f64 * 100.0 }
}

fn summary(results: &TestResults) -> Value {
    let all: Vec<&TestStatus> = results.values().flat_map(BTreeMap::values).collect();
    let passed = all.iter().filter(|test| test.ping == "reachable" && test.port_status == "open").count();
    let total: Duration = all.iter().map(|test| test.test_duration).sum();
    let average = total.checked_div(u32::try_from(all.len()).unwrap_or(u32::MAX)).unwrap_or_default();
    json!({
        "total_tests": all.len(),
        "successful_tests": passed,
        "failed_tests": all.len() - passed,
        "success_rate": rate(passed, all.len()),
        "avg_test_duration": format!("{:.6}s", average.as_secs_f64()),
        "total_test_duration": format!("{:.6}s", total.as_secs_f64()),
    })
}

/// The first service that somebody chose, or the API's where nobody did: its name, and how each source finds it.
fn of_a_service(hub: &Hub) -> (String, BTreeMap<String, Value>) {
    let all = measured(hub, v1::Vantage::Host, v1::TargetKind::Service);
    let name = |cell: &Cell| {
        let target = cell.cell.path.as_ref()?.target.as_ref()?;
        Some(target.id.clone())
    };
    let names: BTreeSet<String> = all.iter().filter_map(|(_, cell)| name(cell)).collect();
    let chosen = names.iter().find(|id| !id.starts_with(API)).or_else(|| names.first()).cloned();
    let Some(chosen) = chosen else { return (String::new(), BTreeMap::new()) };
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut results = BTreeMap::new();
    for (source, cell) in all.into_iter().filter(|(_, cell)| name(cell).as_ref() == Some(&chosen)) {
        let Some(path) = &cell.cell.path else { continue };
        let passes = cell.verdict != Verdict::Unreachable;
        let latency = u64::try_from(round_trip(&cell).as_nanos()).unwrap_or(u64::MAX);
        let result = json!({
            "source_ip": source,
            "target_ip": path.address,
            "ping_status": if passes { "reachable" } else { "unreachable" },
            "port_status": {path.port.to_string(): if passes { "open" } else { "closed" }},
            "latency": latency,
            "test_duration": latency,
            "timestamp": now,
        });
        results.insert(source, result);
    }
    (chosen, results)
}
