//! `cargo xtask bench`: what netcheck costs, measured, never asserted. So far: the idle agent.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use netcheck_netlab::{Lab, LabSpec};
use serde_json::json;

use crate::cluster::{self, Cluster, Profile, Settings};
use crate::{ebpf, setup};

/// Options of `bench`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// An agent that has nothing to complain of: 4 nodes, 1 s interval, all kinds of probes
    Idle {
        /// How many seconds to measure
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
        seconds: u64,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// Measures.
///
/// # Errors
/// If something can't be built or raised, or the cluster is not healthy.
pub(crate) fn run(args: &Args) -> Result<()> {
    let What::Idle { seconds, json } = args.what;
    ensure!(rustix::process::geteuid().is_root(), "the bench raises a lab: run it as root");
    setup::ensure(setup::KERNEL)?;
    setup::ensure(setup::LAB)?;
    ebpf::build(None)?;
    cluster::build(Profile::Release)?;
    idle(seconds, json)
}

/// One process, measured over a while.
struct Cost {
    name: String,
    /// Share of one core spent in its own code, percent.
    user_percent: f64,
    /// Share of one core spent in the kernel on its behalf, percent. In a lab that is more than on a machine of its
    /// own: a packet crosses all namespaces on its way, the target's too, in the sender's time.
    system_percent: f64,
    /// At the end.
    resident_mib: f64,
    /// High-water mark.
    peak_mib: f64,
}

fn idle(seconds: u64, as_json: bool) -> Result<()> {
    let lab = Lab::up(LabSpec::named("bench"))?;
    let settings = Settings { profile: Profile::Release, ..Settings::default() };
    let cluster = Cluster::start(lab, settings)?;
    let (report, _) = cluster.wait_healthy()?;
    let processes: Vec<(String, u32)> = cluster.processes().collect();
    let before: Vec<[f64; 2]> = processes.iter().map(|(_, pid)| cpu_seconds(*pid)).collect::<Result<_>>()?;
    let start = Instant::now();
    let bar = ProgressBar::new(seconds);
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_secs(1));
        bar.set_position(start.elapsed().as_secs());
    }
    bar.finish_and_clear();
    let elapsed = start.elapsed();
    let costs: Vec<Cost> = processes
        .iter()
        .zip(before)
        .map(|((name, pid), before)| {
            let now = cpu_seconds(*pid)?;
            let percent = |index: usize| 100.0 * (now[index] - before[index]) / elapsed.as_secs_f64();
            Ok(Cost {
                name: name.clone(),
                user_percent: percent(0),
                system_percent: percent(1),
                resident_mib: memory_mib(*pid, "VmRSS:")?,
                peak_mib: memory_mib(*pid, "VmHWM:")?,
            })
        })
        .collect::<Result<_>>()?;
    ensure!(cluster.report()?.is_healthy(), "the cluster did not stay healthy");
    cluster.stop()?.down()?;
    if as_json {
        let rows: Vec<_> = costs
            .iter()
            .map(|cost| {
                json!({"process": cost.name, "user_percent": cost.user_percent,
                       "system_percent": cost.system_percent,
                       "resident_mib": cost.resident_mib, "peak_mib": cost.peak_mib})
            })
            .collect();
        println!("{}", json!({"seconds": seconds, "paths": report.paths, "processes": rows}));
    } else {
        println!("{} paths, 1 probe a second each, {seconds} s", report.paths);
        println!(
            "{:<12} {:>12} {:>14} {:>14} {:>10}",
            "process", "user % core", "system % core", "resident MiB", "peak MiB"
        );
        for cost in &costs {
            println!(
                "{:<12} {:>12.2} {:>14.2} {:>14.1} {:>10.1}",
                cost.name, cost.user_percent, cost.system_percent, cost.resident_mib, cost.peak_mib
            );
        }
    }
    Ok(())
}

/// User and system time of a process (fields 14 and 15 of proc_pid_stat(5)).
fn cpu_seconds(pid: u32) -> Result<[f64; 2]> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11);
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut next = || Some(fields.next()?.parse::<f64>().ok()? / per_second);
    let both = next().zip(next()).with_context(|| format!("{path} is not as expected"))?;
    Ok(both.into())
}

/// A line of proc_pid_status(5) that says how much memory.
pub(crate) fn memory_mib(pid: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} {line}"))?;
    Ok(kib / 1024.0)
}
