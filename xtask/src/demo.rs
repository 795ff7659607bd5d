//! `cargo xtask demo`: the main job on one machine. A cluster of network namespaces, a hub, an agent on every node;
//! then three things break in turn, and netcheck says where the packets die.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use netcheck_netlab::{Fault, Lab, LabSpec};

use crate::cluster::{self, Cluster, Finding, GRPC_PORT, Profile, Report, Settings, grpcurl_commands};
use crate::{ebpf, setup};

/// Options of `demo`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Clean up and exit after the last step; else the cluster stays up until Ctrl-C
    #[arg(long)]
    once: bool,
    /// From the nodes alone, without a pod vantage
    #[arg(long)]
    no_vantage: bool,
    /// Name of the lab
    #[arg(long, default_value = "demo")]
    name: String,
}

/// One thing that breaks.
struct Step {
    title: &'static str,
    /// In the lab's terms.
    fault: &'static str,
    /// What the located cause must be.
    expected: fn(&Finding) -> bool,
    /// How many paths it takes down at least: all that cross the broken place.
    paths: usize,
    /// What becomes of them.
    verdict: &'static str,
}

const STEPS: [Step; 3] = [
    Step {
        title: "node n2 gets a firewall rule that drops what it forwards to its pods",
        fault: "drop node=n2 hook=forward",
        expected: |finding| at(finding, "n2", "netfilter_forward"),
        // Three nodes to two pods in two families.
        paths: 12,
        verdict: "unreachable",
    },
    Step {
        title: "node n3 gets a blackhole route to node n1",
        fault: "route node=n3 type=blackhole to=n1",
        expected: |finding| at(finding, "n3", "routing"),
        // Node to node by three protocols in two families.
        paths: 6,
        verdict: "unreachable",
    },
    Step {
        title: "one of the three backends of service web stops listening",
        fault: "backend-refuses pod=web-n1",
        expected: |finding| finding.location.as_ref().is_some_and(|place| place.pod == "default/web-n1"),
        // Four nodes in two families; each meets the dead backend with every third probe.
        paths: 8,
        verdict: "degraded",
    },
];

/// How long a fault may take to be located.
const PATIENCE: Duration = Duration::from_secs(20);

/// Paths that the expected cause explains.
fn explained(report: &Report, step: &Step) -> usize {
    let explains = |finding: &&Finding| (step.expected)(finding) && finding.verdict == step.verdict;
    report.findings.iter().filter(explains).map(|finding| finding.paths.len()).sum()
}

fn at(finding: &Finding, node: &str, stage: &str) -> bool {
    finding.location.as_ref().is_some_and(|place| place.node == node && place.stage == stage)
}

/// Shows netcheck at work.
///
/// # Errors
/// If something can't be built or raised, or a fault is not located.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the demo makes network namespaces and loads kernel programs: run it as root (sudo cargo xtask demo)"
    );
    setup::ensure(setup::KERNEL)?;
    setup::ensure(setup::LAB)?;
    ebpf::build(None)?;
    cluster::build(Profile::Dev)?;

    let spinner = spinner("raising four nodes in two zones, eight pods, VXLAN between them");
    let lab = Lab::up(LabSpec { vantage: !args.no_vantage, ..LabSpec::named(&args.name) })?;
    let cluster = Cluster::start(lab, Settings::default())?;
    spinner.finish_and_clear();
    let report = wait_for_samples(&cluster)?;
    headline(&format!("A healthy cluster: {} paths, all reachable", report.paths));
    print!("{}", cluster.shown(&["matrix"])?);

    for (number, step) in STEPS.iter().enumerate() {
        show(&cluster, number + 1, step)?;
    }
    if args.once {
        cluster.stop()?.down()?;
        headline("Done: three faults, three causes; nothing is left of the lab");
        return Ok(());
    }
    stay(&cluster)?;
    cluster.stop()?.down()
}

fn show(cluster: &Cluster, number: usize, step: &Step) -> Result<()> {
    headline(&format!("{number} of {}: {}", STEPS.len(), step.title));
    let fault: Fault = step.fault.parse()?;
    let before = cluster.report()?;
    cluster.lab.inject(&fault)?;
    let waiting = spinner("broken; waiting for the verdict");
    let (report, took) = cluster
        .wait(step.title, PATIENCE, |report| explained(report, step) >= step.paths)
        .with_context(|| format!("fault `{fault}` was not located"))?;
    waiting.finish_and_clear();
    println!(
        "after {:.1} s: {} of {} paths unreachable (before: {}), {} lose some probes",
        took.as_secs_f64(),
        report.unreachable,
        report.paths,
        before.unreachable,
        report.degraded,
    );
    for finding in report.findings.iter().filter(|finding| (step.expected)(finding)) {
        println!("\n  {}", bold(&finding.headline));
        for line in finding.evidence.iter().take(4) {
            println!("    {line}");
        }
    }
    let others = report.findings.iter().filter(|finding| !(step.expected)(finding)).count();
    if others > 0 {
        println!("  ({others} more in `kubectl-netcheck report -v`)");
    }
    cluster.lab.heal(&fault)?;
    let waiting = spinner("mended; waiting until all paths are reachable again");
    let (_, took) = cluster.wait_healthy()?;
    waiting.finish_and_clear();
    println!("\nmended: all {} paths reachable again after {:.1} s", report.paths, took.as_secs_f64());
    Ok(())
}

/// Waits until every path has samples, with a bar.
fn wait_for_samples(cluster: &Cluster) -> Result<Report> {
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{spinner} first samples {bar:40} {pos}/{len} paths")
            .context("the template is fixed")?,
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    let (report, _) = cluster.wait("all paths reachable", Duration::from_secs(40), |report| {
        bar.set_length(report.paths);
        bar.set_position(report.paths - report.no_data);
        report.is_healthy() && cluster.has_all_vantages()
    })?;
    bar.finish_and_clear();
    Ok(report)
}

/// Keeps the cluster up until Ctrl-C.
fn stay(cluster: &Cluster) -> Result<()> {
    let topology = cluster.lab.topology();
    headline("The cluster stays up until Ctrl-C");
    println!(
        "hub      {} port {GRPC_PORT} (gRPC), 8080 (HTTP), in namespace {}",
        topology.hub_v4, topology.hub_ns
    );
    for node in cluster.lab.nodes() {
        println!(
            "{:<8} {}, {}, zone {}, in namespace {}",
            node.name, node.v4, node.v6, node.zone, node.netns
        );
    }
    println!("\nAsk the hub:");
    for command in grpcurl_commands(cluster) {
        println!("  {command}");
    }
    let name = &topology.lab;
    println!("\nBreak something:  cargo xtask lab fault {name} drop node=n2 hook=input proto=udp");
    println!("Mend it:          cargo xtask lab fault {name} --heal");
    stdout().flush()?;
    wait_for_interrupt()
}

/// Waits for SIGINT or SIGTERM.
fn wait_for_interrupt() -> Result<()> {
    let (interrupted, interrupt) = std::sync::mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = interrupted.send(());
    })?;
    interrupt.recv().context("the signal handler is gone")?;
    println!();
    Ok(())
}

fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn headline(text: &str) {
    println!("\n{}\n", bold(&format!("== {text}")));
}

fn bold(text: &str) -> String {
    if stdout().is_terminal() { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
}
