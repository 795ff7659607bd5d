//! What agents and hub cost while nothing is wrong.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::json;

use crate::cluster::{Cluster, Profile, Settings};

/// Options of `bench idle`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many seconds to measure
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// Which cluster: routed or vxlan
    #[arg(long, default_value_t = Mode::Vxlan)]
    mode: Mode,
    /// Probe from a pod on each node too, as the chart has it
    #[arg(long)]
    vantage: bool,
    /// Let senders pay for their packets' whole way, as it is between namespaces
    #[arg(long)]
    inline: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// One process, measured over a while.
struct Cost {
    name: String,
    /// Share of one core, percent, in its own code and in the kernel on its behalf: exact.
    percent: f64,
    /// The part in its own code, by the clock's ticks: rough.
    user_percent: f64,
    /// At the end.
    resident_mib: f64,
    /// High-water mark.
    peak_mib: f64,
}

/// Measures, and prints a row a process.
pub(super) fn run(args: &Args) -> Result<()> {
    let lab = Lab::up(LabSpec { mode: args.mode, vantage: args.vantage, ..LabSpec::named("bench") })?;
    if !args.inline {
        lab.receive_in_threads()?;
    }
    let cluster = Cluster::start(lab, Settings { profile: Profile::Release, ..Settings::default() })?;
    let (report, _) = cluster.wait_healthy()?;
    let processes: Vec<(String, u32)> = cluster.processes().collect();
    let before: Vec<Clock> = processes.iter().map(|(_, pid)| Clock::of(*pid)).collect::<Result<_>>()?;
    let cables_before = cables_seconds()?;
    let start = Instant::now();
    let bar = ProgressBar::new(args.seconds);
    while start.elapsed() < Duration::from_secs(args.seconds) {
        std::thread::sleep(Duration::from_secs(1));
        bar.set_position(start.elapsed().as_secs());
    }
    bar.finish_and_clear();
    let elapsed_s = start.elapsed().as_secs_f64();
    let cables_percent = 100.0 * (cables_seconds()? - cables_before) / elapsed_s;
    let costs: Vec<Cost> = processes
        .iter()
        .zip(before)
        .map(|((name, pid), before)| {
            let now = Clock::of(*pid)?;
            let ticks = (now.ticks_s[0] - before.ticks_s[0], now.ticks_s[1] - before.ticks_s[1]);
            let percent = 100.0 * (now.run_s - before.run_s) / elapsed_s;
            Ok(Cost {
                name: name.clone(),
                percent,
                user_percent: percent * ticks.0 / (ticks.0 + ticks.1).max(f64::MIN_POSITIVE),
                resident_mib: memory_mib(*pid, "VmRSS:")?,
                peak_mib: memory_mib(*pid, "VmHWM:")?,
            })
        })
        .collect::<Result<_>>()?;
    ensure!(cluster.report()?.is_healthy(), "the cluster did not stay healthy");
    let agents = cluster.lab.nodes().len();
    cluster.stop()?.down()?;
    if args.json {
        let rows: Vec<_> = costs
            .iter()
            .map(|cost| {
                json!({"process": cost.name, "percent": cost.percent, "user_percent": cost.user_percent,
                       "resident_mib": cost.resident_mib, "peak_mib": cost.peak_mib})
            })
            .collect();
        println!(
            "{}",
            json!({"seconds": args.seconds, "mode": args.mode.to_string(), "inline": args.inline, "vantage": args.vantage,
                   "paths": report.paths, "cables_percent": cables_percent, "processes": rows})
        );
        return Ok(());
    }
    println!(
        "{} paths from {agents} nodes, 1 probe a second each, {}, {elapsed_s:.0} s",
        report.paths, args.mode
    );
    println!(
        "{:<12} {:>8} {:>13} {:>13} {:>9}",
        "process", "% core", "of it in user", "resident MiB", "peak MiB"
    );
    for cost in &costs {
        println!(
            "{:<12} {:>8.3} {:>13.3} {:>13.1} {:>9.1}",
            cost.name, cost.percent, cost.user_percent, cost.resident_mib, cost.peak_mib
        );
    }
    if args.inline {
        println!("a sender's time pays for its packets' way through all namespaces and back");
    } else {
        println!("{:<12} {cables_percent:>8.3}  what arrives at nodes and switch, all together", "cables");
    }
    Ok(())
}

/// What a process has used so far.
struct Clock {
    /// Time on a core, of all its threads (first field of `/proc/PID/task/TID/schedstat`).
    run_s: f64,
    /// Time on a core by the clock's ticks, user and system (fields 14 and 15 of proc_pid_stat(5)).
    ticks_s: [f64; 2],
}

impl Clock {
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11);
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let mut next = || Some(fields.next()?.parse::<f64>().ok()? / per_second);
        let both = next().zip(next()).with_context(|| format!("{path} is not as expected"))?;
        Ok(Self { run_s: run_seconds(pid)?, ticks_s: both.into() })
    }
}

/// Seconds that all threads of a process have been on a core.
pub(super) fn run_seconds(pid: u32) -> Result<f64> {
    let tasks = format!("/proc/{pid}/task");
    let mut run_ns = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        // A thread that has ended in between counts no more.
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let first = line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        run_ns += first.with_context(|| format!("{tasks}: schedstat is not as expected"))?;
    }
    Ok(run_ns as f64 / 1e9)
}

/// Seconds that the kernel's receiving threads have been on a core, those of all labs together.
fn cables_seconds() -> Result<f64> {
    let mut run_s = 0.0;
    for process in fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if name.starts_with("napi/") {
            run_s += run_seconds(pid).unwrap_or_default();
        }
    }
    Ok(run_s)
}

/// A line of proc_pid_status(5) that says how much memory.
pub(crate) fn memory_mib(pid: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} {line}"))?;
    Ok(kib / 1024.0)
}
