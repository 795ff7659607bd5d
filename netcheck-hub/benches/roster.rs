//! What it costs to read a large cluster from the Kubernetes API: time and memory to the roster, to the catalog of all
//! probes, and to plans. Nothing is asserted. `cargo xtask bench roster` starts the API that it reads from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use netcheck_common::domain::Family;
use netcheck_hub::inventory::kubernetes::{Access, KubernetesTask, News, Pulse, connect};
use netcheck_hub::plan::{Catalog, PlanBook};
use netcheck_hub::roster::Roster;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Args {
    /// Where the API is.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// For how many nodes to make plans; the rest is estimated from these.
    #[arg(long, default_value_t = 20)]
    plans: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Seconds since the last step, and memory after it.
struct Step {
    what: &'static str,
    seconds: f64,
    resident_mib: f64,
    peak_mib: f64,
}

fn memory_mib(field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn step(what: &'static str, begin: Instant) -> anyhow::Result<Step> {
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Step { what, seconds, resident_mib: memory_mib("VmRSS:")?, peak_mib: memory_mib("VmHWM:")? })
}

async fn read(kubeconfig: PathBuf) -> anyhow::Result<Arc<Roster>> {
    let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
    let pulse = Arc::new(Pulse::default());
    let client = connect(&access, &pulse).await?;
    let (read, came) = (Arc::new(Mutex::new(None)), Arc::new(Notify::new()));
    let (keep, tell) = (Arc::clone(&read), Arc::clone(&came));
    let take = move |news: News| match news {
        News::Roster { roster, .. } => {
            *keep.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(roster));
            tell.notify_one();
        }
        News::State { trouble: Some(trouble), .. } => eprintln!("{trouble}"),
        News::State { .. } => {}
    };
    let shutdown = CancellationToken::new();
    let task = KubernetesTask::telling(Arc::new(take), client, access, pulse);
    let running = tokio::spawn(task.run(shutdown.clone()));
    tokio::time::timeout(Duration::from_secs(600), came.notified())
        .await
        .context("no roster within 10 minutes")?;
    // What it keeps while it watches counts, too: the task goes on.
    drop(running);
    let roster = read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    roster.context("no roster")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut steps = vec![step("start", Instant::now())?];
    let begin = Instant::now();
    let roster = read(args.kubeconfig).await?;
    steps.push(step("roster", begin)?);
    let begin = Instant::now();
    let catalog = Catalog::of(&roster, &BTreeMap::new(), "kubernetes.default.svc.cluster.local");
    steps.push(step("catalog", begin)?);
    let before = memory_mib("VmRSS:")?;
    let begin = Instant::now();
    let names: Vec<&String> = roster.nodes.keys().take(args.plans).collect();
    let mut books: Vec<PlanBook> = names.iter().map(|_| PlanBook::default()).collect();
    for (book, name) in books.iter_mut().zip(&names) {
        book.update(name, &[Family::V4, Family::V6], &catalog, &[]);
    }
    let plans = step("plans", begin)?;
    let each = (plans.seconds / names.len() as f64, (plans.resident_mib - before) / names.len() as f64);
    let paths = books.first().map_or(0, |book| book.plan().paths.len());
    steps.push(plans);
    let all = roster.nodes.len() as f64;
    if args.json {
        let rows: Vec<_> = steps
            .iter()
            .map(|step| {
                json!({"step": step.what, "seconds": step.seconds, "resident_mib": step.resident_mib,
                       "peak_mib": step.peak_mib})
            })
            .collect();
        println!(
            "{}",
            json!({"roster": roster.to_string(), "probes": catalog.probes.len(), "paths_per_node": paths,
                   "plans": names.len(), "steps": rows,
                   "estimate_all_plans": {"seconds": each.0 * all, "mib": each.1 * all}})
        );
        return Ok(());
    }
    println!("{roster}; {} probes, {paths} paths a node", catalog.probes.len());
    println!("{:<10} {:>10} {:>14} {:>10}", "step", "seconds", "resident MiB", "peak MiB");
    for step in &steps {
        let Step { what, seconds, resident_mib, peak_mib } = step;
        println!("{what:<10} {seconds:>10.2} {resident_mib:>14.1} {peak_mib:>10.1}");
    }
    println!(
        "plans of {} nodes were made; all {all} of the full mesh would take {:.0} s and {:.0} MiB (estimated)",
        names.len(),
        each.0 * all,
        each.1 * all
    );
    Ok(())
}
