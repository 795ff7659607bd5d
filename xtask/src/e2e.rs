//! `cargo xtask e2e`: netcheck on a real cluster, from `helm install` to `helm uninstall` and a look at what is left.
//!
//! It has a check install netcheck for itself and remove it again. Then it installs the chart into namespaces of its own,
//! waits until every node is measured, holds what the hub says against what Kubernetes says, has a scheduled check run,
//! breaks two things and sees them, in a check and its resumptions, too, runs `helm test`, uninstalls, and searches the
//! whole cluster for what stayed behind. What it changes outside of its namespaces is one node's cordon and one
//! ReachabilityCheck, which it takes back; the Events about that one go by themselves.

mod checks;
mod cluster;
mod expect;
mod left;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use self::checks::Operator;
use self::cluster::{Install, Kube};
use crate::cluster::{Cell, Profile, Report, binary, build};
use crate::{image, setup};

/// How often the cluster is asked.
const POLL: Duration = Duration::from_secs(2);

/// Options of `e2e`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How to reach the cluster
    #[arg(long, value_name = "PATH")]
    kubeconfig: PathBuf,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The image that nodes can pull or already have, as NAME:TAG or NAME@DIGEST [default: the chart's]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Build the image first, and have this command take its archive to the nodes, which stands for {}: as in
    /// 'kind load image-archive {}'
    #[arg(long, value_name = "COMMAND", conflicts_with = "image")]
    load: Option<String>,
    /// A file of values for the chart; may be given more than once
    #[arg(long, value_name = "PATH")]
    values: Vec<PathBuf>,
    /// A value for the chart, as KEY=VALUE; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Namespace to make for the release; its hub gets NAME-hub
    #[arg(long, value_name = "NAME", default_value = "netcheck-e2e")]
    namespace: String,
    /// How long installing may take (seconds)
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How long it may take until the hub shows what is (seconds)
    #[arg(long, value_name = "SECONDS", default_value_t = 90)]
    patience: u64,
    /// The command line that is tried from outside of the cluster (kubectl-netcheck) [default: it is built]
    #[arg(long, value_name = "PATH")]
    cli: Option<PathBuf>,
    /// Leave out the check that installs netcheck for itself, as where nodes need a secret to pull the image
    #[arg(long)]
    without_ephemeral: bool,
    /// Leave it installed, whatever comes of it
    #[arg(long)]
    keep: bool,
}

/// Runs it.
///
/// # Errors
/// If anything is not as it should be; what was installed is removed nevertheless, unless `--keep` was said.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&["helm", "kubectl"])?;
    let kube = Kube::new(
        &args.kubeconfig,
        args.context.as_deref(),
        &args.namespace,
        Duration::from_secs(args.patience),
    )?;
    println!("{}", kube.greet()?);
    kube.is_clean()
        .context("the cluster must be without this release; helm uninstall it, or say --namespace")?;
    let (image, pull) = match &args.load {
        None => (args.image.clone(), None),
        Some(load) => (Some(build_and_load(load)?), Some("IfNotPresent")),
    };
    let install = Install {
        image: image.as_deref(),
        pull_policy: pull,
        values: &args.values,
        set: &args.set,
        timeout: Duration::from_secs(args.timeout),
    };
    let program = args.cli.clone().map_or_else(built, Ok)?;
    let operator = Operator::new(&kube, &program)?;
    if !args.without_ephemeral {
        step("an ephemeral check passes, and leaves nothing", || operator.ephemeral(&install))?;
    }
    let outcome = trial(&kube, &operator, &install);
    if let Err(error) = &outcome {
        eprintln!("\n{error:#}\n\n{}", kube.diagnosis());
    }
    if args.keep {
        println!("left as it is in namespaces {} and {}", kube.namespace(), kube.hub_namespace());
        return outcome;
    }
    let removed = step("uninstalled, and nothing left", || {
        kube.uninstall(Duration::from_secs(args.timeout))?;
        kube.wait("something is left", || kube.is_clean().map(|()| Some(String::new())))
    });
    outcome.and(removed)
}

fn build_and_load(load: &str) -> Result<String> {
    setup::ensure(&["buildah"])?;
    let image = image::build(None)?;
    ensure!(load.contains("{}"), "--load says where the image's archive goes by {{}}: {load}");
    let line = load.replace("{}", &image.archive.display().to_string());
    println!("$ {line}");
    crate::tools::run(crate::tools::command("sh").args(["-c", &line]))?;
    Ok(image.name)
}

fn built() -> Result<PathBuf> {
    build(Profile::Dev)?;
    binary("kubectl-netcheck")
}

/// One line a step: what it found, and how long it took.
fn step(what: &str, body: impl FnOnce() -> Result<String>) -> Result<()> {
    let begin = Instant::now();
    match body() {
        Ok(details) => {
            let details = if details.is_empty() { details } else { format!(": {details}") };
            println!("ok      {:>6.1} s  {what}{details}", begin.elapsed().as_secs_f64());
            Ok(())
        }
        Err(error) => {
            println!("FAILED  {:>6.1} s  {what}", begin.elapsed().as_secs_f64());
            Err(error.context(what.to_owned()))
        }
    }
}

fn trial(kube: &Kube, operator: &Operator<'_>, install: &Install<'_>) -> Result<()> {
    step("installed", || kube.install(install))?;
    let nodes = kube.ready_nodes()?;
    ensure!(!nodes.is_empty(), "no node is Ready");
    let vantage = kube.has_vantage()?;
    step("every Ready node has an agent", || {
        kube.wait("agents are missing", || {
            let missing = expect::without_agent(&nodes, &kube.ask(&["nodes"])?);
            ensure!(missing.is_empty(), "no agent of {}", missing.join(", "));
            Ok(Some(format!("{} nodes", nodes.len())))
        })
    })?;
    step("kernel programs watch on every node", || {
        let blind = expect::without_hooks(&nodes, &kube.ask(&["nodes"])?);
        // An old kernel or a strict seccomp profile is the cluster's affair: it is said, and nothing else fails.
        Ok(if blind.is_empty() { String::new() } else { format!("not on {}", blind.join(", ")) })
    })?;
    step("every ordered pair of nodes is reachable", || {
        kube.wait("pairs are missing", || {
            let cells = Cell::read_all(&kube.ask(&["matrix"])?)?;
            expect::pairs(&nodes, &cells).map(Some)
        })
    })?;
    step("the default services are reachable from every node", || {
        kube.wait("services are missing", || {
            let cells = Cell::read_all(&kube.ask(&["matrix"])?)?;
            expect::services(&nodes, &cells).map(Some)
        })
    })?;
    if vantage {
        step("pods reach pods of every other node", || {
            kube.wait("paths between pods are missing", || {
                let cells = Cell::read_all(&kube.ask(&["matrix"])?)?;
                expect::pods(&nodes, &cells).map(Some)
            })
        })?;
    }
    step("the report says so", || {
        let report = Report::read(&kube.ask(&["report"])?)?;
        ensure!(report.paths > 0 && report.unreachable == 0, "{}", kube.show(&["report"])?);
        Ok(format!("{} of {} paths reachable", report.reachable, report.paths))
    })?;
    step("a scheduled check runs, and its object, Events and report say so", || kube.scheduled_check())?;
    step("a cordoned node is shown as such, and alarms nobody", || cordon(kube, &nodes))?;
    if vantage {
        network_policy(kube, operator)?;
    }
    step("helm test", || kube.helm_test())
}

fn cordon(kube: &Kube, nodes: &[String]) -> Result<String> {
    let node = nodes.last().context("no node")?;
    let _cordon = kube.cordon(node)?;
    kube.wait("the cordon is not shown", || {
        ensure!(expect::is_cordoned(node, &kube.ask(&["nodes"])?), "{node} is not shown as cordoned");
        let report = Report::read(&kube.ask(&["report"])?)?;
        ensure!(report.unreachable == 0, "{}", kube.show(&["report"])?);
        Ok(Some(node.clone()))
    })
}

/// Denies all that comes in to the vantage's pods, and allows it again. Not every cluster's network enforces that.
fn network_policy(kube: &Kube, operator: &Operator<'_>) -> Result<()> {
    let deny = kube.deny_ingress()?;
    let mut is_enforced = false;
    step("a NetworkPolicy is seen", || {
        let seen = denial(kube)?;
        is_enforced = seen.is_some();
        Ok(seen.unwrap_or_else(|| {
            "this cluster's network does not enforce NetworkPolicies: nothing to see".to_owned()
        }))
    })?;
    if is_enforced {
        step("a check fails by it and names it, and resume probes what failed", || operator.denied())?;
    }
    drop(deny);
    if is_enforced {
        step("without it all is reachable again", || reachable_again(kube))?;
        step("resume passes, and says that a whole round is due", || operator.allowed())?;
    }
    Ok(())
}

/// When the report shows that something is denied, and what it says; none where that never comes.
fn denial(kube: &Kube) -> Result<Option<String>> {
    let begin = Instant::now();
    loop {
        let report = Report::read(&kube.ask(&["report"])?)?;
        let cause = report.findings.first().map(|finding| finding.headline.as_str()).unwrap_or_default();
        if report.unreachable > 0 && !cause.is_empty() {
            return Ok(Some(format!("after {:.0} s: {cause}", begin.elapsed().as_secs_f64())));
        }
        if begin.elapsed() > kube.patience() {
            let unreachable = report.unreachable;
            ensure!(unreachable == 0, "{unreachable} paths are unreachable, and no cause is reported");
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

fn reachable_again(kube: &Kube) -> Result<String> {
    kube.wait("not reachable again", || {
        let report = Report::read(&kube.ask(&["report"])?)?;
        ensure!(report.unreachable == 0, "{}", kube.show(&["report"])?);
        Ok(Some(String::new()))
    })
}
