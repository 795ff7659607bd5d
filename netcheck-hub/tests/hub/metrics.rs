//! What the hub counts and serves: within its bound, once for each tick, gone with what it is of.

use std::sync::Arc;
use std::time::Duration;

use netcheck_analysis::cluster::inventory;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_analysis::model::target::TargetKind;
use netcheck_analysis::plan::rotation::Rotation;
use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_common::window::PathWindow;
use netcheck_hub::metrics::pages::{Format, Pages};
use netcheck_hub::metrics::{self, Snapshot, Value};
use netcheck_hub::state::agent::Live;
use netcheck_hub::state::{Hub, Settings, ingest};
use netcheck_proto::{columns, v1};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::rig::{CLUSTER, Rig, set_roster};

/// Nodes with two families in some zones, and services.
fn cluster(nodes: usize, zones: usize, services: usize) -> String {
    let node = |at: usize| {
        let (high, low) = (at / 250, at % 250);
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": format!("node-{at}"), "labels": {"topology.kubernetes.io/zone": format!("zone-{}", at % zones)}},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": format!("10.{high}.{low}.1")},
                    {"type": "InternalIP", "address": format!("fd00::{high}:{low}:1")},
                ],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    };
    let service = |at: usize| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("web-{at}"), "namespace": "default"},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", at / 250, at % 250 + 1),
                "ports": [{"port": 80, "protocol": "TCP"}],
            },
        })
    };
    let items: Vec<_> = (0..nodes).map(node).chain((0..services).map(service)).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// A hub whose agents' paths had these outcomes in one window each.
fn measured(settings: Settings, cluster: &str, outcomes: &[Outcome]) -> Arc<Hub> {
    let hub = Hub::new(settings);
    let objects = inventory::parse(std::path::Path::new("test.yaml"), cluster).unwrap();
    hub.set_roster(objects.roster(), unix_now_ns());
    let nodes = hub.lock().agents.len();
    for at in (0..nodes).map(NodeIx) {
        let (control, _closed) = mpsc::channel(1);
        let live = Live {
            generation: 1,
            since_ns: 0,
            heard_ns: 0,
            peer: None,
            relayed: None,
            control,
            superseded: CancellationToken::new(),
        };
        hub.lock().agent_mut(at).live = Some(live);
        apply(&hub, at, 1, outcomes);
    }
    hub.tick(unix_now_ns());
    hub
}

/// One more window of all paths of an agent.
fn apply(hub: &Hub, at: NodeIx, sequence: u64, outcomes: &[Outcome]) {
    let newest = unix_now_ns() / SECOND_NS * SECOND_NS;
    let rows: Vec<PathWindow> = {
        let state = hub.lock();
        let ids = state.agent(at).rows.iter().map(netcheck_analysis::matrix::Row::id);
        ids.map(|id| {
            let mut window = PathWindow::empty(id);
            outcomes.iter().for_each(|&outcome| window.count(outcome));
            for sketch in
                [&mut window.round_trip, &mut window.network, &mut window.host, &mut window.responder]
            {
                sketch.record(400_000);
            }
            window
        })
        .collect()
    };
    let windows = vec![columns::encode(newest - SECOND_NS, SECOND_NS, &rows)];
    let drop =
        |reason: usize| v1::DropCounter { reason: format!("R{reason}"), packets: 1, ..Default::default() };
    let drop_counters = (0..20).map(drop).collect();
    let batch = v1::SampleBatch { sequence, windows, drop_counters, ..Default::default() };
    hub.lock().apply(at, 1, ingest::decode(batch), unix_now_ns()).unwrap();
}

fn settings(paths_per_node: usize) -> Settings {
    Settings {
        rotation: Rotation { paths_per_node, ..Rotation::default() },
        ..Settings::every(Duration::from_secs(1))
    }
}

fn of<'a>(snapshot: &'a Snapshot, name: &str) -> &'a metrics::Family {
    let mut found = snapshot.families.iter().filter(|family| family.name == name);
    let family = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} twice");
    family
}

fn number(family: &metrics::Family, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |series: &&metrics::Series| {
        labels.iter().all(|(name, value)| series.labels.iter().any(|(n, v)| n == name && v == value))
    };
    let values = family.series.iter().filter(has).map(|series| match &series.value {
        Value::Number(value) => *value,
        Value::Histogram(histogram) => histogram.count as f64,
        Value::Summary { count, .. } => *count as f64,
    });
    values.reduce(|a, b| a + b)
}

#[test]
fn a_thousand_nodes_have_at_most_fifty_thousand_series() {
    let all = [Outcome::Reply, Outcome::Timeout, Outcome::Refused];
    for (zones, services) in [(3, 20), (12, 400)] {
        let hub = measured(settings(32), &cluster(1_000, zones, services), &all);
        let snapshot = metrics::snapshot(&hub);
        let text = metrics::text::write(&snapshot, metrics::text::Format::OpenMetrics);
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, snapshot.series());
        assert!((20_000..=50_000).contains(&lines), "{lines} series with {zones} zones");
        // Every node has its own, whatever else there is.
        assert_eq!(of(&snapshot, "netcheck_source_probe_duration_seconds").series.len(), 1_000);
        let folded = number(of(&snapshot, "netcheck_hub_metrics_folded"), &[]);
        assert_eq!(folded, Some(f64::from(u8::from(zones == 12))), "{zones} zones");
        let other = number(of(&snapshot, "netcheck_probes"), &[("source_zone", "other")]);
        assert_eq!(other.is_some(), zones == 12);
        // What is folded is counted all the same.
        let by_zone = number(of(&snapshot, "netcheck_probes"), &[]);
        assert_eq!(by_zone, number(of(&snapshot, "netcheck_source_probes"), &[]));
        assert_eq!(by_zone, number(of(&snapshot, "netcheck_target_probes"), &[]));
    }
}

#[test]
fn every_probe_is_counted_once_in_each_view() {
    let hub = measured(settings(100_000), CLUSTER, &[Outcome::Reply, Outcome::Timeout]);
    for at in 0..3 {
        apply(&hub, NodeIx(at), 2, &[Outcome::Reply]);
        // The same again.
        apply(&hub, NodeIx(at), 2, &[Outcome::Reply]);
    }
    let snapshot = metrics::snapshot(&hub);
    let (mut between, mut services) = (0, 0);
    for (_, agent) in hub.lock().each() {
        for row in agent.rows.iter() {
            match row.path.probe.target.kind {
                TargetKind::Node | TargetKind::Pod => between += 1,
                _ => services += 1,
            }
        }
    }
    assert!(between > 0 && services > 0);
    let sum = |name: &str, labels: &[(&str, &str)]| number(of(&snapshot, name), labels).unwrap_or_default();
    for name in ["netcheck_probes", "netcheck_source_probes", "netcheck_target_probes"] {
        assert_eq!(sum(name, &[("outcome", "reply")]), f64::from(between) * 2.0, "{name}");
        assert_eq!(sum(name, &[("outcome", "timeout")]), f64::from(between), "{name}");
    }
    assert_eq!(sum("netcheck_service_probes", &[("outcome", "reply")]), f64::from(services) * 2.0);
    assert_eq!(sum("netcheck_probe_duration_seconds", &[]), f64::from(between) * 2.0);
    let zones = [("source_zone", "zone-b"), ("target_zone", "zone-a"), ("outcome", "timeout")];
    assert!(sum("netcheck_probes", &zones) > 0.0);
    assert!(sum("netcheck_probe_network_seconds", &[("kind", ProbeKind::Udp.as_str())]) > 0.0);
    assert!(!snapshot.families.iter().any(|family| family.name.contains("pair")));
}

#[test]
fn series_of_what_is_gone_are_gone() {
    let hub = measured(settings(100_000), CLUSTER, &[Outcome::Reply]);
    let named = |name: &str| metrics::render(&hub).contains(name);
    assert!(named("node=\"n3\"") && named("zone-b") && named("service/default/"));
    let gone = cluster(1, 1, 0);
    set_roster(&hub, &gone);
    let later = unix_now_ns() + 300 * SECOND_NS;
    for at in 0..3 {
        hub.lock().agent_mut(NodeIx(at)).live = None;
    }
    // Once what is old is forgotten, nodes are, and then what is counted of them.
    for second in 0..200 {
        hub.tick(later + second * 2 * SECOND_NS);
    }
    let page = metrics::render(&hub);
    let left: Vec<&str> = page
        .lines()
        .filter(|line| line.contains("n3") || line.contains("zone-b") || line.contains("service/"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn pairs_only_where_they_are_wanted_and_few() {
    let wanted = |nodes| {
        measured(Settings { pair_metrics: true, ..settings(200) }, &cluster(nodes, 2, 0), &[Outcome::Reply])
    };
    let few = metrics::snapshot(&wanted(4));
    assert_eq!(of(&few, "netcheck_pair_probe_duration_seconds").series.len(), 12);
    let pair = [("source_node", "node-1"), ("target_node", "node-2"), ("outcome", "reply")];
    assert!(number(of(&few, "netcheck_pair_probes"), &pair).unwrap() > 0.0);
    assert_eq!(number(of(&few, "netcheck_hub_pair_metrics_refused"), &[]), Some(0.0));
    let many = metrics::snapshot(&wanted(101));
    assert!(of(&many, "netcheck_pair_probes").series.is_empty());
    assert_eq!(number(of(&many, "netcheck_hub_pair_metrics_refused"), &[]), Some(1.0));
}

#[tokio::test]
async fn a_page_is_made_once_for_each_tick() {
    let rig = Rig::start();
    let pages = Pages::new(Arc::clone(&rig.hub));
    let mut ticks = rig.hub.ticks();
    ticks.changed().await.unwrap();
    // Of the same tick it is the same bytes; a later one says when its roster was read, and more.
    let deadline = tokio::time::Instant::now() + crate::rig::DEADLINE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "no two pages of one tick");
        let before = *ticks.borrow();
        let (one, two) = (pages.page(Format::Text).await.unwrap(), pages.page(Format::Text).await.unwrap());
        if *ticks.borrow() == before {
            assert_eq!(one.as_ptr(), two.as_ptr());
            break;
        }
    }
    ticks.changed().await.unwrap();
    let text = pages.page(Format::Text).await.unwrap();
    rig.hub.lock().counters.readers_refused = 77;
    ticks.changed().await.unwrap();
    let later = pages.page(Format::Text).await.unwrap();
    assert_ne!(text, later);
    assert!(String::from_utf8_lossy(&later).contains("netcheck_hub_readers_refused_total 77\n"));
}
