//! A large cluster that is not there, in a fake of the Kubernetes API of its own process, and the hub's side of reading
//! it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::tools;

/// How large.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// How many nodes
    #[arg(long, default_value_t = 2_000)]
    nodes: usize,
    /// How many pods
    #[arg(long, default_value_t = 50_000)]
    pods: usize,
    /// How many services, of ten pods each
    #[arg(long, default_value_t = 2_000)]
    services: usize,
    /// How many paths each node probes at a time
    #[arg(long, default_value_t = 1_000)]
    paths_per_node: usize,
    /// Which pods and services are probed
    #[arg(long, value_enum, default_value_t = Selection::Everything)]
    selection: Selection,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What is selected.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Selection {
    /// What a hub selects without any settings
    Default,
    /// All pods and services
    Everything,
}

/// The fake; it ends with the bench.
struct Fake(Child);

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    tools::run(tools::cargo().args(["build", "--release", "--package", "netcheck-kubefake"]))?;
    let mut fake = tools::command(tools::target_dir().join("release/netcheck-kubefake"));
    fake.args(["--nodes", &args.nodes.to_string(), "--pods", &args.pods.to_string()]);
    fake.args(["--services", &args.services.to_string()]).stdout(Stdio::piped());
    let mut fake = Fake(fake.spawn().context("starting the fake Kubernetes API")?);
    let out = fake.0.stdout.take().context("the fake has no output")?;
    let mut kubeconfig = String::new();
    for line in BufReader::new(out).lines() {
        let line = line.context("reading what the fake says")?;
        // It prints its kubeconfig, and an empty line when it is ready.
        if line.is_empty() {
            break;
        }
        kubeconfig += &line;
        kubeconfig.push('\n');
    }
    if kubeconfig.is_empty() {
        bail!("the fake Kubernetes API did not start");
    }
    let path = tools::target_dir().join("bench-roster.kubeconfig");
    std::fs::write(&path, kubeconfig).with_context(|| format!("writing {}", path.display()))?;
    let mut cargo = tools::cargo();
    cargo.args(["bench", "--package", "netcheck-hub", "--bench", "roster", "--"]);
    cargo.arg("--kubeconfig").arg(&path).args(["--paths-per-node", &args.paths_per_node.to_string()]);
    cargo.args(match args.selection {
        Selection::Default => ["--selection", "default"],
        Selection::Everything => ["--selection", "everything"],
    });
    if args.json {
        cargo.arg("--json");
    }
    tools::run(&mut cargo)
}
