//! What the matrix costs: bytes a path, planning, and samples applied a second. Measured, never asserted.
//!
//! `cargo xtask bench matrix`; arguments NODES and WINDOWS: a full mesh of NODES nodes (default 500) with three
//! kinds of probe, WINDOWS windows (default 12) of one sample each, through the same columns that agents send.
#![expect(clippy::unwrap_used, reason = "what goes wrong here ends the measurement")]

use std::time::{Duration, Instant};

use netcheck_analysis::cluster::roster::Objects;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_analysis::plan::Timing;
use netcheck_analysis::plan::rotation::Rotation;
use netcheck_common::window::PathWindow;
use netcheck_hub::state::Hub;
use netcheck_hub::state::Settings;
use netcheck_hub::state::agent::Live;
use netcheck_hub::state::ingest;
use netcheck_proto::{columns, v1};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn objects(nodes: usize) -> Objects {
    let node = |at: usize| {
        let address = format!("10.{}.{}.1", at / 250, at % 250);
        serde_json::from_value(json!({
            "metadata": {"name": format!("node-{at}")},
            "status": {
                "addresses": [{"type": "InternalIP", "address": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }))
        .unwrap()
    };
    Objects { nodes: (0..nodes).map(node).collect(), ..Objects::default() }
}

fn main() {
    // cargo passes --bench.
    let numbers: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let (nodes, windows) = (numbers.first().copied().unwrap_or(500), numbers.get(1).copied().unwrap_or(12));
    let interval = Duration::from_secs(10);
    let hub = Hub::new(Settings {
        // The full mesh.
        rotation: Rotation { paths_per_node: usize::MAX, ..Rotation::default() },
        timing: Timing { timeout: interval / 20, sizes: Duration::ZERO, ..Timing::every(interval) },
        ..Settings::every(interval)
    });
    let roster = objects(nodes).roster();
    let (before, began) = (resident_bytes(), Instant::now());
    hub.set_roster(roster, unix_now_ns());
    let planned = began.elapsed();
    let paths: usize = hub.lock().agents.iter().map(|agent| agent.rows.len()).sum();
    let per_path = |bytes: usize| bytes.saturating_sub(before) as f64 / paths as f64;
    println!("nodes             {nodes}");
    println!("paths             {paths}");
    println!("planned in        {planned:.2?}");
    println!("planned, bytes    {:.1} a path", per_path(resident_bytes()));

    let width_ns = 10 * SECOND_NS;
    let newest_ns = unix_now_ns() / width_ns * width_ns;
    let (mut decoding, mut applying) = (Duration::ZERO, Duration::ZERO);
    for (generation, at) in (1u64..).zip(0..nodes) {
        let (control, _closed) = mpsc::channel(1);
        hub.lock().agent_mut(NodeIx(at)).live = Some(Live {
            generation,
            since_ns: 0,
            heard_ns: 0,
            peer: None,
            relayed: None,
            control,
            superseded: CancellationToken::new(),
        });
    }
    for back in (1..=windows).rev() {
        for (generation, at) in (1u64..).zip(0..nodes) {
            let rows: Vec<PathWindow> = {
                let state = hub.lock();
                let ids = state.agent(NodeIx(at)).rows.iter().map(netcheck_analysis::matrix::Row::id);
                ids.map(|id| {
                    let mut window = PathWindow::empty(id);
                    window.reply = 1;
                    let delay_ns = 200_000 + u64::from(id.0 % 64) * 10_000 + back as u64 * 3_000;
                    window.round_trip.record(delay_ns);
                    window.network.record(delay_ns / 2);
                    window.host.record(delay_ns / 3);
                    window.responder.record(delay_ns / 6);
                    window
                })
                .collect()
            };
            let batch = columns::encode(newest_ns - back as i64 * width_ns, width_ns, &rows);
            drop(rows);
            let sequence = (windows - back + 1) as u64;
            let batch = v1::SampleBatch { sequence, windows: vec![batch], ..Default::default() };
            let began = Instant::now();
            let decoded = ingest::decode(batch);
            decoding += began.elapsed();
            let began = Instant::now();
            hub.lock().apply(NodeIx(at), generation, decoded, unix_now_ns()).unwrap();
            applying += began.elapsed();
        }
    }
    let samples = (paths * windows) as f64;
    println!("windows           {windows}");
    println!("full, bytes       {:.1} a path", per_path(resident_bytes()));
    println!("decode            {:.2} M samples/s", samples / decoding.as_secs_f64() / 1e6);
    println!("apply             {:.2} M samples/s", samples / applying.as_secs_f64() / 1e6);
    let began = Instant::now();
    hub.tick(unix_now_ns());
    println!(
        "tick              {:.2?}, {:.1} ns a path",
        began.elapsed(),
        began.elapsed().as_secs_f64() * 1e9 / paths as f64
    );
}
