//! `kubectl netcheck check` over all pairs of a large cluster: the real command line and the real hub, with agents that one
//! process simulates over real sessions (`xtask/simagents`).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Output;
use super::idle::{memory_mib, run_seconds};
use super::spread::{Aim, Goal};
use crate::cluster::{Profile, built};
use crate::tools;

/// What the command may hold at its peak.
const COMMAND_MIB: f64 = 200.0;
/// What agents probe before the first check, so that it does not measure the hub's start.
const SETTLE: Duration = Duration::from_secs(10);
/// How long the hub may take until it listens.
const START: Duration = Duration::from_secs(60);
/// How often it is looked at what the command holds.
const LOOK: Duration = Duration::from_millis(10);
/// The node that nothing reaches, in the second check.
const ILL: &str = "node-0001";

/// Options of `bench check`.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many nodes; each is probed from each other one by ICMP, UDP and TCP
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    nodes: u16,
    /// How many paths each node probes at a time, as the hub's flag
    #[arg(long, default_value_t = 1_000)]
    paths_per_node: u32,
    /// Within which time every path is to have had its turn, as the hub's flag, whose default is 10m
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    cover: String,
    /// Most packets a second of each agent
    #[arg(long, default_value_t = 1_000)]
    pps: u32,
    #[command(flatten)]
    output: Output,
}

/// A child that ends with the bench.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What one check came to.
struct Checked {
    /// Its first line, and when that came.
    announced: String,
    announced_s: f64,
    /// What that line promises.
    expected_s: f64,
    took_s: f64,
    exit_code: i32,
    paths: u64,
    failed: u64,
    headline: String,
    command_peak_mib: f64,
    /// CPU time of the hub meanwhile.
    hub_run_s: f64,
    /// What the agents did meanwhile.
    agents: Value,
}

/// Measures, and prints a column without a fault and one with it.
pub(super) fn run(args: &Args) -> Result<()> {
    let profile = args.output.profile();
    build(profile)?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let inventory = folder.path().join("inventory.json");
    let nodes = args.nodes.to_string();
    let mut list = tools::command(built("netcheck-simagents", profile)?);
    std::fs::write(&inventory, tools::output(list.args(["inventory", "--nodes", &nodes]))?)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let hub = start_hub(args, &inventory, address)?;
    let mut agents = Agents::start(args, &inventory, address)?;
    std::thread::sleep(SETTLE);
    let bench = Bench { hub: hub.0.id(), address, result: folder.path().join("result.json"), profile };
    let healthy = bench.check(&mut agents)?;
    agents.order(&format!("fault lost-to={ILL}"))?;
    let faulty = bench.check(&mut agents)?;
    let hub_peak_mib = memory_mib(hub.0.id(), "VmHWM:")?;
    let pairs = u64::from(args.nodes) * (u64::from(args.nodes) - 1);
    ensure!(
        (healthy.exit_code, healthy.paths) == (0, 3 * pairs),
        "nothing is broken, but the check of {} paths ended with {}: {}",
        healthy.paths,
        healthy.exit_code,
        healthy.headline
    );
    ensure!(
        (faulty.exit_code, faulty.failed) == (2, 3 * (u64::from(args.nodes) - 1)),
        "all is lost to {ILL}, but the check found {} failed paths and ended with {}: {}",
        faulty.failed,
        faulty.exit_code,
        faulty.headline
    );
    print(args, &[("healthy", &healthy), ("faulty", &faulty)], hub_peak_mib);
    Ok(())
}

fn build(profile: Profile) -> Result<()> {
    let mut cargo = tools::cargo();
    cargo.arg("build");
    for package in ["netcheck-hub", "kubectl-netcheck", "netcheck-simagents"] {
        cargo.args(["--package", package]);
    }
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    tools::run(&mut cargo)
}

fn start_hub(args: &Args, inventory: &Path, address: SocketAddr) -> Result<Running> {
    let log = tools::target_dir().join("bench-check-hub.log");
    let log = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
    let mut hub = tools::command(built("netcheck-hub", args.output.profile())?);
    hub.args(["--insecure", "--inventory", &format!("file:{}", inventory.display())]);
    hub.args(["--grpc-addr", &address.to_string(), "--http-addr", "127.0.0.1:0"]);
    hub.args(["--paths-per-node", &args.paths_per_node.to_string(), "--cover", &args.cover]);
    let mut hub = Running(hub.stderr(log).stdout(Stdio::null()).spawn().context("starting the hub")?);
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = hub.0.try_wait().context("waiting for the hub")?;
        ensure!(ended.is_none() && begun.elapsed() < START, "the hub does not start: see its log");
        std::thread::sleep(LOOK);
    }
    Ok(hub)
}

/// The process of all agents, which takes orders.
struct Agents {
    _child: Running,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Agents {
    /// Starts it; they all probe then.
    fn start(args: &Args, inventory: &Path, hub: SocketAddr) -> Result<Self> {
        let mut agents = tools::command(built("netcheck-simagents", args.output.profile())?);
        agents.args(["run", "--hub", &hub.to_string(), "--pps", &args.pps.to_string()]);
        agents.arg("--inventory").arg(inventory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running(agents.spawn().context("starting the agents")?);
        let orders = child.0.stdin.take().context("the agents have no input")?;
        let answers = BufReader::new(child.0.stdout.take().context("the agents have no output")?).lines();
        let mut agents = Self { _child: child, orders, answers };
        let ready = agents.answer()?;
        eprintln!("{ready}");
        Ok(agents)
    }

    fn answer(&mut self) -> Result<String> {
        self.answers.next().context("the agents have ended")?.context("reading what the agents say")
    }

    fn order(&mut self, order: &str) -> Result<String> {
        writeln!(self.orders, "{order}").context("the agents take no order")?;
        self.answer()
    }

    fn figures(&mut self) -> Result<Value> {
        let answer = self.order("figures")?;
        let figures = answer.strip_prefix("figures ").with_context(|| format!("no figures: {answer}"))?;
        Ok(serde_json::from_str(figures)?)
    }
}

/// Where checks are made.
struct Bench {
    /// The hub's process.
    hub: u32,
    address: SocketAddr,
    result: std::path::PathBuf,
    profile: Profile,
}

impl Bench {
    fn check(&self, agents: &mut Agents) -> Result<Checked> {
        // Peaks begin anew.
        let before = agents.figures()?;
        let mut command = tools::command(built("kubectl-netcheck", self.profile)?);
        command.args(["check", "--hub", &format!("http://{}", self.address), "--result"]).arg(&self.result);
        let (hub_before, begun) = (run_seconds(self.hub)?, Instant::now());
        let (exit_code, command_peak_mib, first) = watched(&mut command)?;
        let took_s = begun.elapsed().as_secs_f64();
        let hub_run_s = run_seconds(self.hub)? - hub_before;
        let (announced, at) = first.context("the command said nothing beforehand")?;
        let mut figures = agents.figures()?;
        for name in ["probes", "lost", "batches", "dropped", "broken"] {
            let count = |of: &Value| of[name].as_u64().unwrap_or_default();
            figures[name] = json!(count(&figures) - count(&before));
        }
        let result: Value = serde_json::from_slice(&std::fs::read(&self.result)?).context("its result")?;
        Ok(Checked {
            announced_s: (at - begun).as_secs_f64(),
            expected_s: promised(&announced)?.as_secs_f64(),
            announced,
            took_s,
            exit_code,
            paths: result["paths"]["total"].as_u64().unwrap_or_default(),
            failed: result["failedTotal"].as_u64().unwrap_or_default(),
            headline: result["headline"].as_str().unwrap_or_default().to_owned(),
            command_peak_mib,
            hub_run_s,
            agents: figures,
        })
    }
}

type FirstLine = Option<(String, Instant)>;

/// Runs it to its end: its exit code, the most memory that it held, and its first line on standard error.
fn watched(command: &mut Command) -> Result<(i32, f64, FirstLine)> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("starting it")?;
    let lines = BufReader::new(child.stderr.take().context("it has no standard error")?).lines();
    let reader: JoinHandle<FirstLine> = std::thread::spawn(move || {
        let mut first = None;
        for line in lines.map_while(Result::ok) {
            eprintln!("{line}");
            first.get_or_insert_with(|| (line, Instant::now()));
        }
        first
    });
    let mut child = Running(child);
    let mut peak_mib = 0.0_f64;
    let ended = loop {
        // A process that has ended holds nothing.
        peak_mib = peak_mib.max(memory_mib(child.0.id(), "VmHWM:").unwrap_or_default());
        if let Some(ended) = child.0.try_wait().context("waiting for it")? {
            break ended;
        }
        std::thread::sleep(LOOK);
    };
    let first = reader.join().ok().flatten();
    Ok((ended.code().context("it was killed")?, peak_mib, first))
}

/// How long a check is to take, by its first line: `…: about 1m 15s; it gives up …`.
fn promised(line: &str) -> Result<Duration> {
    let span = line.split_once(": about ").and_then(|(_, rest)| rest.split_once(';'));
    let (span, _) = span.with_context(|| format!("it does not say how long it takes: {line}"))?;
    humantime::parse_duration(span).with_context(|| format!("{span:?} is no duration"))
}

fn print(args: &Args, checks: &[(&str, &Checked)], hub_peak_mib: f64) {
    let of = |checked: &Checked, name: &str| checked.agents[name].as_u64().unwrap_or_default();
    let goals: Vec<Goal> = checks
        .iter()
        .flat_map(|&(name, checked)| {
            [
                Goal::new(
                    format!("{name}: command's peak, MiB"),
                    checked.command_peak_mib,
                    Aim::AtMost(COMMAND_MIB),
                ),
                Goal::new(
                    format!("{name}: most packets of an agent within a second"),
                    of(checked, "peak_packets") as f64,
                    Aim::AtMost(f64::from(args.pps)),
                ),
                Goal::new(
                    format!("{name}: took, of what it said"),
                    checked.took_s / checked.expected_s,
                    Aim::AtMost(1.0),
                ),
            ]
        })
        .collect();
    if args.output.json {
        let row = |&(name, checked): &(&str, &Checked)| {
            json!({"check": name, "announced": checked.announced, "announced_after_s": checked.announced_s,
                   "expected_s": checked.expected_s, "took_s": checked.took_s, "exit_code": checked.exit_code,
                   "paths": checked.paths, "failed": checked.failed, "headline": checked.headline,
                   "command_peak_mib": checked.command_peak_mib, "hub_run_s": checked.hub_run_s,
                   "agents": checked.agents})
        };
        let rows: Vec<Value> = checks.iter().map(row).collect();
        let goals: Vec<Value> = goals.iter().map(Goal::to_json).collect();
        println!(
            "{}",
            json!({"nodes": args.nodes, "hub_peak_mib": hub_peak_mib, "checks": rows, "goals": goals})
        );
        return;
    }
    println!("{} nodes, all pairs by ICMP, UDP and TCP; hub's peak {hub_peak_mib:.0} MiB", args.nodes);
    println!(
        "{:<9} {:>10} {:>8} {:>9} {:>5} {:>8} {:>12} {:>9} {:>10} {:>10} {:>10}",
        "check",
        "paths",
        "said s",
        "took s",
        "exit",
        "failed",
        "command MiB",
        "hub CPU s",
        "probes",
        "packets/s",
        "probes/s"
    );
    for (name, checked) in checks {
        println!(
            "{name:<9} {:>10} {:>8.0} {:>9.1} {:>5} {:>8} {:>12.1} {:>9.1} {:>10} {:>10} {:>10}",
            checked.paths,
            checked.expected_s,
            checked.took_s,
            checked.exit_code,
            checked.failed,
            checked.command_peak_mib,
            checked.hub_run_s,
            of(checked, "probes"),
            of(checked, "peak_packets"),
            of(checked, "peak_probes"),
        );
    }
    for (name, checked) in checks {
        println!("{name}: after {:.1} s it said: {}", checked.announced_s, checked.announced);
        println!("{name}: {}", checked.headline);
    }
    goals.iter().for_each(|goal| println!("{}", goal.line()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_check_promises_is_read_from_its_first_line() {
        let line = "kubectl-netcheck: probing 544 paths: about 10m 1s; it gives up after 20m";
        assert_eq!(promised(line).unwrap(), Duration::from_secs(601));
        assert!(promised("kubectl-netcheck: probing 544 paths").is_err());
    }
}
