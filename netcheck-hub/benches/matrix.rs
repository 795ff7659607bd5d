//! What the matrix costs: bytes a path, planning, and samples applied a second. Measured, never asserted.
//!
//! `cargo xtask bench matrix`; arguments NODES and WINDOWS: a full mesh of NODES nodes (default 500) with three
//! kinds of probe, WINDOWS windows (default 12) of one sample each, through the same columns that agents send. Then the
//! same into hubs with and without history.
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
use netcheck_hub::state::history::{Archive, Keeping};
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
    let planned_bytes = resident_bytes();
    println!("planned, bytes    {:.1} a path", per_path(planned_bytes));

    let width_ns = 10 * SECOND_NS;
    let newest_ns = unix_now_ns() / width_ns * width_ns;
    let (mut decoding, mut applying) = (Duration::ZERO, Duration::ZERO);
    connect(&hub);
    for back in (1..=windows).rev() {
        for (generation, at) in (1u64..).zip(0..nodes) {
            let rows = answered(&hub, at, back as u64);
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
    let full = resident_bytes();
    println!("full, bytes       {:.1} a path", per_path(full));
    println!("a window, bytes   {:.1}", (per_path(full) - per_path(planned_bytes)) / windows as f64);
    println!("decode            {:.2} M samples/s", samples / decoding.as_secs_f64() / 1e6);
    println!("apply             {:.2} M samples/s", samples / applying.as_secs_f64() / 1e6);
    let began = Instant::now();
    hub.tick(unix_now_ns());
    println!(
        "tick              {:.2?}, {:.1} ns a path",
        began.elapsed(),
        began.elapsed().as_secs_f64() * 1e9 / paths as f64
    );
    drop(hub);
    history();
}

/// Every node's agent is there.
fn connect(hub: &Hub) {
    let mut state = hub.lock();
    for (generation, agent) in (1_u64..).zip(state.agents.iter_mut()) {
        let (control, _closed) = mpsc::channel(1);
        agent.live = Some(Live {
            generation,
            since_ns: 0,
            heard_ns: 0,
            peer: None,
            relayed: None,
            control,
            superseded: CancellationToken::new(),
        });
    }
}

/// A window in which all paths of a node were answered once.
fn answered(hub: &Hub, at: usize, number: u64) -> Vec<PathWindow> {
    let state = hub.lock();
    let ids = state.agent(NodeIx(at)).rows.iter().map(netcheck_analysis::matrix::Row::id);
    ids.map(|id| {
        let mut window = PathWindow::empty(id);
        window.reply = 1;
        let delay_ns = 200_000 + u64::from(id.0 % 64) * 10_000 + number * 3_000;
        window.round_trip.record(delay_ns);
        window.network.record(delay_ns / 2);
        window.host.record(delay_ns / 3);
        window.responder.record(delay_ns / 6);
        window
    })
    .collect()
}

/// The same samples into a hub with history on a disk and into one without: windows of a second, as agents report by
/// default. What the hub's own threads do for history is counted; what its writer does on a thread of its own is shown
/// beside it.
fn history() {
    const NODES: usize = 100;
    const SECONDS: i64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let settings = || Settings {
        rotation: Rotation { paths_per_node: usize::MAX, ..Rotation::default() },
        ..Settings::every(Duration::from_secs(1))
    };
    let begin_ns = (unix_now_ns() / SECOND_NS / 10 * 10 - 2 * SECONDS) * SECOND_NS;
    let keeping = Keeping { dir: Some(dir.path().to_owned()), ..Keeping::default() };
    let (with, task) = Hub::with_history(settings(), Archive::open(keeping, begin_ns), begin_ns);
    let writer = std::thread::spawn(|| task.run());
    let without = Hub::new(settings());
    for hub in [&with, &without] {
        hub.set_roster(objects(NODES).roster(), begin_ns);
        connect(hub);
    }
    let paths: usize = with.lock().agents.iter().map(|agent| agent.rows.len()).sum();
    let (mut spent, mut recording, mut ticks) = ([Duration::ZERO; 2], Duration::ZERO, [Duration::ZERO; 2]);
    for second in 0..SECONDS {
        let start_ns = begin_ns + second * SECOND_NS;
        for (generation, at) in (1u64..).zip(0..NODES) {
            let rows = answered(&with, at, second as u64);
            // Each begins in turn.
            let order = if (second as usize + at).is_multiple_of(2) { [0, 1] } else { [1, 0] };
            for which in order {
                let batch = v1::SampleBatch {
                    sequence: second as u64 + 1,
                    windows: vec![columns::encode(start_ns, SECOND_NS, &rows)],
                    ..Default::default()
                };
                let hub = [&with, &without][which];
                let began = Instant::now();
                let decoded = ingest::decode(batch);
                hub.lock().apply(NodeIx(at), generation, decoded, start_ns + SECOND_NS).unwrap();
                spent[which] += began.elapsed();
            }
        }
        for (hub, ticks) in [&with, &without].into_iter().zip(&mut ticks) {
            let began = Instant::now();
            hub.observe(start_ns + SECOND_NS);
            *ticks += began.elapsed();
        }
        let began = Instant::now();
        with.remember(start_ns + SECOND_NS);
        recording += began.elapsed();
    }
    let percent = |of: Duration| of.as_secs_f64() * 100.0 / spent[1].as_secs_f64();
    println!("history, paths    {paths}, {SECONDS} windows of 1 s");
    println!("ingest without    {:.2?}", spent[1]);
    println!("ingest with       {:.2?}, {:+.1} %", spent[0], percent(spent[0]) - 100.0);
    println!("tick without      {:.2?}", ticks[1]);
    println!("tick with         {:.2?}", ticks[0]);
    println!(
        "handed over in    {recording:.2?} on a thread of its own, {:.1} % of ingest",
        percent(recording)
    );
    println!("lock held at most {:.2?}", with.longest_held());
    let began = Instant::now();
    with.remember_all(begin_ns + SECONDS * SECOND_NS);
    println!("written in        {:.2?} after the end", began.elapsed());
    let counts = with.archive.as_ref().unwrap().counts();
    assert_eq!((counts.dropped, counts.lost, counts.late), (0, 0, 0));
    drop(with);
    writer.join().unwrap();
}
