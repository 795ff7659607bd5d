//! Simulated agents as a program, so that they and the hub that they talk to are measured apart.
//!
//! It says `ready` with figures when all agents probe. Then each line of standard input is an order, answered by a line:
//! `figures`, or `fault` and a fault. It ends with its standard input.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use netcheck_simagents::{Fault, Fleet, Options, inventory};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// How long agents may take until all of them probe.
const PATIENCE: Duration = Duration::from_secs(120);

/// Simulated agents of a hub.
#[derive(Parser)]
enum Args {
    /// Print an inventory of nodes that are not there
    Inventory {
        /// How many nodes
        #[arg(long, default_value_t = 1_000)]
        nodes: usize,
    },
    /// Be the agents of all nodes of an inventory
    Run {
        /// Where the hub serves gRPC (address:port), without encryption
        #[arg(long)]
        hub: SocketAddr,
        /// A v1 List as JSON
        #[arg(long)]
        inventory: PathBuf,
        /// Most packets a second of each agent
        #[arg(long, default_value_t = 1_000)]
        pps: u32,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Args::parse() {
        Args::Inventory { nodes } => {
            println!("{}", inventory::nodes(nodes));
            Ok(())
        }
        Args::Run { hub, inventory, pps } => {
            let text =
                std::fs::read(&inventory).with_context(|| format!("cannot read {}", inventory.display()))?;
            let list = serde_json::from_slice(&text)
                .with_context(|| format!("{} is no JSON", inventory.display()))?;
            let nodes = inventory::names(&list);
            ensure!(!nodes.is_empty(), "the inventory has no nodes");
            run(Options { hub, packets_per_second: pps }, nodes).await
        }
    }
}

async fn run(options: Options, nodes: Vec<String>) -> Result<()> {
    let fleet = Fleet::start(options, nodes);
    let figures = fleet.until_probing(PATIENCE).await?;
    println!("ready {}", serde_json::to_string(&figures)?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            None if line == "figures" => println!("figures {}", serde_json::to_string(&fleet.figures())?),
            Some(("fault", words)) => {
                let fault: Fault = words.parse()?;
                println!("fault {fault}");
                fleet.set_fault(fault);
            }
            _ => anyhow::bail!("{line:?} is no order: say `figures` or `fault FAULT`"),
        }
    }
    Ok(())
}
