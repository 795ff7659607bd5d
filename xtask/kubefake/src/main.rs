//! The fake as a program, for measuring in a process of its own what it costs to read a large cluster.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use netcheck_kubefake::{FakeApi, synthetic};

/// A fake of the Kubernetes HTTP API.
#[derive(Parser)]
struct Args {
    /// Where to listen (address:port).
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many nodes to invent.
    #[arg(long, default_value_t = 0)]
    nodes: usize,
    /// How many pods to invent.
    #[arg(long, default_value_t = 0)]
    pods: usize,
    /// How many services to invent, each over ten of the pods.
    #[arg(long, default_value_t = 0)]
    services: usize,
    /// A v1 List to serve, as JSON.
    #[arg(long)]
    list: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let fake = FakeApi::start_at(args.listen).await?;
    if let Some(path) = &args.list {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        fake.load(&serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?);
    }
    (0..args.nodes).for_each(|index| fake.apply(synthetic::node(index)));
    (0..args.pods).for_each(|index| fake.apply(synthetic::pod(index, args.nodes)));
    for index in 0..args.services {
        synthetic::service(index, args.nodes).into_iter().for_each(|object| fake.apply(object));
    }
    // The program that started it waits for this line.
    println!("{}", fake.kubeconfig());
    tokio::signal::ctrl_c().await.context("waiting for SIGINT")
}
