//! `cargo xtask lab`: labs of network namespaces by hand. See the crate `netcheck-netlab`.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand};
use netcheck_netlab::{FAULT_HELP, Fault, Lab, LabSpec, Lifetime, Mode, Proxy};

/// Clusters of network namespaces on this machine, by hand. Needs root.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Raise a lab (in the place of one of the same name) that stays until `lab down`.
    Up(UpArgs),
    /// Run a command inside a node, a pod, `hub` or `net` (the switch), as in `lab exec lab n1 -- ip route`.
    Exec {
        /// Name of the lab.
        name: String,
        /// Node, pod, `hub` or `net`.
        place: String,
        /// Command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Break something, mend it, or list what is broken.
    #[command(after_help = FAULT_HELP)]
    Fault {
        /// Name of the lab.
        name: String,
        /// Mend the fault instead; without a fault, mend everything.
        #[arg(long)]
        heal: bool,
        /// Kind and settings of the fault; without any, those that are active are listed.
        fault: Vec<String>,
    },
    /// Tear a lab down, or clean up after one whose driver was killed.
    Down {
        /// Name of the lab.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All labs on this machine.
        #[arg(long)]
        all: bool,
    },
    /// List the labs on this machine.
    List,
}

#[derive(Debug, ClapArgs)]
struct UpArgs {
    /// Name of the lab.
    #[arg(default_value = "lab")]
    name: String,
    /// Number of nodes, 2 to 64.
    #[arg(long, default_value_t = 4)]
    nodes: u8,
    /// Pods on each node, 1 to 99.
    #[arg(long, default_value_t = 2)]
    pods: u8,
    /// How pods reach each other: `vxlan` or `routed`.
    #[arg(long, default_value_t = Mode::Vxlan)]
    mode: Mode,
    /// Who translates services: `plain`, `kube-proxy-iptables` or `kube-proxy-nftables`.
    #[arg(long, value_name = "PROXY", default_value_t = Proxy::Plain)]
    services: Proxy,
    /// The CNI plugins `bridge` and `host-local` attach the pods.
    #[arg(long)]
    cni_plugins: bool,
    /// Zone names.
    #[arg(long, value_delimiter = ',', default_value = "zone-a,zone-b")]
    zones: Vec<String>,
    /// Services of every type: node ports, load balancers, headless, Local traffic policies, UDP.
    #[arg(long)]
    all_services: bool,
    /// A secondary network of pods, `default/storage`, with the app pods and the vantages on it.
    #[arg(long)]
    storage: bool,
    /// One more pod on each node, for netcheck's vantage.
    #[arg(long)]
    vantage: bool,
}

/// Does what the command line asks for.
///
/// # Errors
/// If there is no such lab, this is not root, or the kernel refuses something.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Up(args) => up(args),
        Action::Exec { name, place, command } => exec(&name, &place, &command),
        Action::Fault { name, heal, fault } => change(&name, heal, &fault.join(" ")),
        Action::Down { name: Some(name), .. } => Lab::remove(&name),
        Action::Down { name: None, .. } => down_all(),
        Action::List => list(),
    }
}

fn up(args: UpArgs) -> Result<()> {
    let UpArgs { name, nodes, pods, mode, services, cni_plugins, zones, all_services, vantage, storage } =
        args;
    let spec = LabSpec {
        name,
        nodes,
        pods_per_node: pods,
        mode,
        zones,
        vantage,
        lifetime: Lifetime::Detached,
        all_services,
        storage,
        proxy: services,
        cni_plugins,
        block: 0,
    };
    let lab = Lab::up(spec)?;
    print!("{}", summary(&lab));
    Ok(())
}

fn summary(lab: &Lab) -> String {
    let topology = lab.topology();
    let mut text = format!("{:<12} {:<8} {:<15} {:<22} namespace\n", "name", "zone", "IPv4", "IPv6");
    let mut row = |name: &str, zone: &str, v4: String, v6: String, ns: &str| {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{name:<12} {zone:<8} {v4:<15} {v6:<22} {ns}");
    };
    row("hub", "", topology.hub_v4.to_string(), topology.hub_v6.to_string(), &topology.hub_ns);
    for node in &topology.nodes {
        row(&node.name, &node.zone, node.v4.to_string(), node.v6.to_string(), &node.netns);
        for pod in &node.pods {
            row(&format!("  {}", pod.name), "", pod.v4.to_string(), pod.v6.to_string(), &pod.netns);
        }
    }
    for service in &topology.services {
        if let Some((v4, v6)) = service.cluster_ips {
            row(service.name, "service", v4.to_string(), v6.to_string(), "");
        }
    }
    _ = writeln!(text, "inventory: {}", lab.inventory_path().display());
    text
}

fn exec(name: &str, place: &str, command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command is given")?;
    // Takes the place of this process, so the exit status is the command's.
    let error = Lab::attach(name)?.command(place, program)?.args(arguments).exec();
    Err(error).with_context(|| format!("running `{program}` in {place}"))
}

fn change(name: &str, heal: bool, fault: &str) -> Result<()> {
    let lab = Lab::attach(name)?;
    if fault.is_empty() {
        if heal {
            return lab.heal_all();
        }
        for fault in lab.faults()? {
            println!("{fault}");
        }
        return Ok(());
    }
    let fault: Fault = fault.parse()?;
    if heal { lab.heal(&fault) } else { lab.inject(&fault) }
}

fn down_all() -> Result<()> {
    let mut failed = Vec::new();
    for name in Lab::list()? {
        if let Err(error) = Lab::remove(&name) {
            failed.push(format!("{error:#}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

fn list() -> Result<()> {
    for name in Lab::list()? {
        match Lab::attach(&name) {
            Ok(lab) => {
                let (spec, faults) = (lab.spec(), lab.faults()?.len());
                println!("{name}  {} nodes, {}, {faults} active faults", spec.nodes, spec.mode);
            }
            Err(_) => println!("{name}  left over; `cargo xtask lab down {name}` removes it"),
        }
    }
    Ok(())
}
