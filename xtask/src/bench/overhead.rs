//! What an agent's hooks cost packets that are not netcheck's: the programs' own time, whole hooks, and what is left of a
//! veth's throughput.

mod hooks;
mod programs;
mod throughput;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use netcheck_netlab::Process;
use serde_json::{Value, json};

use self::hooks::Hooks;
use self::programs::Programs;
use self::throughput::Throughput;
use super::Output;
use super::spread::Goal;
use super::veth_pair::{FAR, FAR_V4, NEAR, VethPair};

/// Options of `bench overhead`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many pairs of runs with and without hooks
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How often the programs' own time is taken
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=1000))]
    program_rounds: u16,
    /// How many turns no program, an empty one and netcheck's each have on each of three cables
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=10000))]
    turns: u16,
    #[command(flatten)]
    pub(super) output: Output,
}

/// Measures, and prints both tables and the goals.
pub(super) fn run(args: &Args) -> Result<()> {
    let veth_pair = VethPair::up(args.output.profile())?;
    let server = Iperf::start(&veth_pair)?;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rounds, {eta} to go")
        .context("the progress bar's template")?;
    let bar =
        ProgressBar::new(u64::from(args.program_rounds) + 3 * u64::from(args.turns) + u64::from(args.rounds))
            .with_style(style);
    bar.tick();
    let (programs, held) = programs::measure(&veth_pair, args.program_rounds, &bar)?;
    let hooks = hooks::measure(&veth_pair, &held, args.turns, &bar)?;
    drop(held);
    let throughput = throughput::measure(&veth_pair, args.rounds, &bar)?;
    bar.finish_and_clear();
    drop(server);
    veth_pair.down()?;
    let goals = [programs.goals(), hooks.goals(), throughput.goals()].concat();
    if args.output.json {
        println!("{}", to_json(&programs, &hooks, &throughput, &goals));
        return Ok(());
    }
    print!("{programs}\n{hooks}\n{throughput}\n");
    for goal in goals {
        println!("{}", goal.line());
    }
    Ok(())
}

fn to_json(programs: &Programs, hooks: &Hooks, throughput: &Throughput, goals: &[Goal]) -> Value {
    let goals: Vec<Value> = goals.iter().map(Goal::to_json).collect();
    json!({"programs": programs.to_json(), "hooks": hooks.to_json(), "throughput": throughput.to_json(), "goals": goals})
}

/// The server at the far end of the veth pair.
struct Iperf {
    _process: Process,
}

impl Iperf {
    fn start(veth_pair: &VethPair) -> Result<Self> {
        let process =
            veth_pair.lab.spawn_in(FAR, "iperf3", &["--server", "--bind", FAR_V4], &[], "iperf3")?;
        Ok(Self { _process: process })
    }
}

/// Runs a client for a second and returns the sums of its report.
fn iperf(veth_pair: &VethPair, options: &str) -> Result<Value> {
    // With each end on a core of its own the results are not of two kinds.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let affinity = if cores > 1 { "--affinity 0,1" } else { "" };
    // A server that has just started, or just ended a test, may refuse.
    let line = format!(
        "for try in 1 2 3 4 5 6 7 8 9 10; do \
           out=$(iperf3 --client {FAR_V4} --json --time 1 {affinity} {options}) && break; sleep 0.2; \
         done; echo \"$out\""
    );
    let said = veth_pair.sh(NEAR, &line)?;
    let report: Value = serde_json::from_str(&said).with_context(|| format!("iperf3 said {said}"))?;
    if let Some(error) = report["error"].as_str() {
        anyhow::bail!("iperf3: {error}");
    }
    Ok(report["end"].clone())
}
