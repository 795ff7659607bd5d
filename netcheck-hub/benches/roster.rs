//! What it costs to read a large cluster from the Kubernetes API: time, memory and the longest hold of the hub's lock to the
//! roster, to the plans of all nodes, when the same roster comes again, of the moment in which all nodes' turns end, and
//! of what readers ask. Nothing is asserted. `cargo xtask bench roster` starts the API that it reads from.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use netcheck_analysis::cluster::roster::Roster;
use netcheck_analysis::cluster::selection::Selection;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::plan::Timing;
use netcheck_analysis::plan::rotation::Rotation;
use netcheck_analysis::plan::selector::Selector;
use netcheck_hub::inventory::News;
use netcheck_hub::inventory::kubernetes::{Access, ApiHealth, KubernetesTask, connect};
use netcheck_hub::state::Hub;
use netcheck_hub::state::Settings;
use netcheck_proto::v1;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Args {
    /// Where the API is.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How many paths each node probes at a time.
    #[arg(long, default_value_t = 1_000)]
    paths_per_node: usize,
    /// Which pods and services are probed.
    #[arg(long, default_value = "everything")]
    selection: Which,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is selected.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Which {
    /// What a hub selects without any settings.
    Default,
    /// All pods and services.
    Everything,
}

/// Seconds since the last step, the longest that the hub's lock was held in it, and memory after it.
struct Step {
    what: &'static str,
    seconds: f64,
    held_ms: f64,
    resident_mib: f64,
    peak_mib: f64,
}

fn memory_mib(field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn step(what: &'static str, begin: Instant, hub: Option<&Hub>) -> anyhow::Result<Step> {
    let seconds = begin.elapsed().as_secs_f64();
    let held_ms = hub.map_or(0.0, |hub| hub.longest_held().as_secs_f64() * 1e3);
    Ok(Step { what, seconds, held_ms, resident_mib: memory_mib("VmRSS:")?, peak_mib: memory_mib("VmHWM:")? })
}

async fn read(kubeconfig: PathBuf) -> anyhow::Result<Arc<Roster>> {
    let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
    let health = Arc::new(ApiHealth::default());
    let client = connect(&access, &health).await?;
    let (read, came) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
    let (keep, notify) = (Arc::clone(&read), Arc::clone(&came));
    let take = move |news: News| match news {
        News::Roster { roster, .. } => {
            *keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(roster));
            notify.notify_one();
        }
        News::Failed(trouble) | News::State { trouble: Some(trouble), .. } => eprintln!("{trouble}"),
        News::State { .. } | News::LeftOut { .. } => {}
    };
    let shutdown = CancellationToken::new();
    let task = KubernetesTask::new(Arc::new(take), client, access, health);
    let running = tokio::spawn(task.run(shutdown.clone()));
    tokio::time::timeout(Duration::from_secs(600), came.notified())
        .await
        .context("no roster within 10 minutes")?;
    // What it keeps while it watches counts, too: the task goes on.
    drop(running);
    let roster = read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    roster.context("no roster")
}

/// What was measured.
struct Measured {
    /// The roster in words.
    roster: String,
    probes: usize,
    /// Paths that there are, and those that are in the plans of all nodes.
    paths: u64,
    planned: usize,
    /// The longest turn of any node.
    turn_s: i64,
    /// How long it takes until every path was probed.
    cover_s: i64,
    steps: Vec<Step>,
}

fn settings(args: &Args) -> Settings {
    Settings {
        timing: Timing {
            interval: SECOND,
            timeout: SECOND / 2,
            window: SECOND,
            sizes: SECOND * 10,
            exchange: Default::default(),
        },
        rotation: Rotation { paths_per_node: args.paths_per_node, ..Rotation::default() },
        dns_name: "kubernetes.default.svc.cluster.local".to_owned(),
        selection: match args.selection {
            Which::Default => Selection::default(),
            Which::Everything => Selection::everything(),
        },
        expire: SECOND * 120,
        ..Settings::every(SECOND)
    }
}

/// The steps of a hub that has a roster: plans, a tick, the same roster again, all turns' ends, what readers ask.
fn measure(settings: Settings, roster: Arc<Roster>, mut steps: Vec<Step>) -> anyhow::Result<Measured> {
    let reported = roster.to_string();
    let first_pod = roster.pods.keys().next().map(|pod| format!("pod/{pod}")).unwrap_or_default();
    let again = Roster::clone(&roster);
    let hub = Hub::new(settings);
    let mut now_ns = hub.started_ns;
    let begin = Instant::now();
    hub.set_roster(Arc::unwrap_or_clone(roster), now_ns);
    steps.push(step("plans", begin, Some(&hub))?);
    let begin = Instant::now();
    now_ns += 2 * SECOND.as_nanos() as i64;
    hub.tick(now_ns);
    steps.push(step("tick", begin, Some(&hub))?);
    let begin = Instant::now();
    hub.set_roster(again, now_ns);
    steps.push(step("again", begin, Some(&hub))?);
    let longest_ns = longest_turn_ns(&hub);
    // Every node's turn ends in it: a first one is up to twice as long.
    let begin = Instant::now();
    now_ns += 2 * longest_ns;
    hub.tick(now_ns);
    steps.push(step("turn", begin, Some(&hub))?);
    let begin = Instant::now();
    let coverage = hub.coverage(now_ns).to_wire(Duration::ZERO).unwrap_or_default();
    steps.push(step("coverage", begin, Some(&hub))?);
    let begin = Instant::now();
    let one = v1::PathSelector { targets: vec![first_pod], ..Default::default() };
    let cells = hub.matrix(&Selector::read(Some(one))?, &Range::newest(SECOND * 10, now_ns)).cells.len();
    steps.push(step("one target", begin, Some(&hub))?);
    anyhow::ensure!(cells <= coverage.nodes as usize, "a path is shown twice");
    let state = hub.lock();
    Ok(Measured {
        roster: reported,
        probes: state.catalog.probes.len(),
        paths: coverage.paths,
        planned: state.each().map(|(_, agent)| agent.plan.plan().paths.len()).sum(),
        turn_s: longest_ns / 1_000_000_000,
        cover_s: coverage.promised.map_or(0, |promised| promised.seconds),
        steps,
    })
}

fn longest_turn_ns(hub: &Hub) -> i64 {
    let state = hub.lock();
    state.each().filter_map(|(_, agent)| agent.turns).map(|turns| turns.length_ns).max().unwrap_or_default()
}

impl Measured {
    fn print_json(&self) {
        let rows: Vec<_> = self
            .steps
            .iter()
            .map(|step| {
                json!({"step": step.what, "seconds": step.seconds, "held_ms": step.held_ms,
                       "resident_mib": step.resident_mib, "peak_mib": step.peak_mib})
            })
            .collect();
        println!(
            "{}",
            json!({"roster": self.roster, "probes": self.probes, "paths": self.paths, "planned": self.planned,
                   "turn_seconds": self.turn_s, "cover_seconds": self.cover_s, "steps": rows})
        );
    }

    fn print(&self) {
        let Self { roster, probes, paths, planned, turn_s, cover_s, steps } = self;
        println!("{roster}; {probes} probes; {planned} paths in the plans of all nodes, of {paths}");
        println!("every path has its turn within {cover_s} s; the longest turn is {turn_s} s");
        println!(
            "{:<10} {:>10} {:>13} {:>14} {:>10}",
            "step", "seconds", "held at most", "resident MiB", "peak MiB"
        );
        for step in steps {
            let Step { what, seconds, held_ms, resident_mib, peak_mib } = step;
            println!("{what:<10} {seconds:>10.2} {held_ms:>10.1} ms {resident_mib:>14.1} {peak_mib:>10.1}");
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut steps = vec![step("start", Instant::now(), None)?];
    let begin = Instant::now();
    let roster = read(args.kubeconfig.clone()).await?;
    steps.push(step("roster", begin, None)?);
    let measured = measure(settings(&args), roster, steps)?;
    if args.json {
        measured.print_json();
    } else {
        measured.print();
    }
    Ok(())
}
