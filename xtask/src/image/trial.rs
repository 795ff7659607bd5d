//! Runs the image as the chart would: a hub and two agents, each a node of its own on a real CNI bridge, with exactly
//! the rights that the chart gives them. They must see each other, from the kernel. Then agents with one right less, each
//! of which must go on and say by name what it lacks.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{
    Image,
    containers::{Network, Podman, rights},
    home,
};
use crate::chart::{self, list};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(250);
const HUB: u8 = 10;
const NODES: [(&str, u8); 2] = [("n1", 11), ("n2", 12)];
/// podman's own seccomp profile allows bpf(2) only with CAP_SYS_ADMIN, unlike the one of containerd; see the chart's
/// README.
const UNCONFINED: &str = "--security-opt=seccomp=unconfined";

/// Runs everything.
pub(super) fn run(image: &Image) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "containers with capabilities need root");
    let podman = Podman::begin(&image.name)?;
    let objects = chart::default_objects()?;
    let (agent_pod, agent) = chart::pod_of(&objects, "agent").context("the chart has no agent")?;
    let (hub_pod, hub) = chart::pod_of(&objects, "hub").context("the chart has no hub")?;

    // With no more than the chart's rights, and its four capabilities doing.
    let inventory = home().join("inventory.json");
    fs::write(&inventory, self::inventory().to_string())?;
    let mut hub_rights = rights(hub_pod, hub, None)?;
    hub_rights.push(format!("--volume={}:/etc/netcheck/inventory.json:ro", inventory.display()));
    podman.start(
        "hub",
        &Network::Bridge(HUB),
        &hub_rights,
        &["/netcheck-hub", "--insecure", "--inventory=file:/etc/netcheck/inventory.json"],
    )?;
    let full = [rights(agent_pod, agent, None)?, vec![UNCONFINED.to_owned()]].concat();
    for (node, place) in NODES {
        podman.start(node, &Network::Bridge(place), &full, &agent_words(node, "required"))?;
    }
    until(|| see_each_other(&podman)).with_context(|| everything_said(&podman))?;
    println!("two agents with {} see each other from the kernel", rights_shown(&full));
    for name in ["n1", "n2", "hub"] {
        let code = podman.stop(name)?;
        ensure!(code == 0, "{name} ended with {code} when it was stopped:\n{}", podman.said(name)?);
        podman.remove(name)?;
    }

    for &capability in chart::AGENT_CAPABILITIES {
        let less = [rights(agent_pod, agent, Some(capability))?, vec![UNCONFINED.to_owned()]].concat();
        ensure!(less.len() + 1 == full.len(), "{capability} was not left out: {less:?}");
        lacks(&podman, capability, &less, &format!("CAP_{capability} is missing"))?;
    }
    let confined: Vec<_> = full.iter().filter(|flag| *flag != UNCONFINED).cloned().collect();
    lacks(&podman, "bpf(2)", &confined, "seccomp")
}

fn agent_words<'a>(node: &'a str, ebpf: &'a str) -> Vec<&'a str> {
    let hub = "--hub=http://198.18.77.10:7070";
    vec!["/netcheck-agent", "--node", node, hub, "--insecure", "--ebpf", ebpf]
}

/// An agent with one right less says so by name, and goes on.
fn lacks(podman: &Podman, what: &str, rights: &[String], wanted: &str) -> Result<()> {
    podman.start("less", &Network::None, rights, &agent_words("n1", "auto"))?;
    until(|| {
        let said = podman.said("less")?;
        ensure!(said.contains(wanted), "an agent without {what} doesn't say `{wanted}`:\n{said}");
        Ok(())
    })?;
    ensure!(podman.runs("less")?, "an agent without {what} ended:\n{}", podman.said("less")?);
    let said = podman.said("less")?;
    println!("without {what}: {}", said.lines().find(|line| line.contains(wanted)).unwrap_or_default());
    podman.remove("less")
}

/// Whether hub and agents report a healthy cluster that kernels measured.
fn see_each_other(podman: &Podman) -> Result<()> {
    let ask = |words: &[&str]| -> Result<Value> {
        let words = [&["/kubectl-netcheck", "-o", "json"], words].concat();
        let (said, code) = podman.exec("hub", &words)?;
        ensure!(code == Some(0), "{words:?} ended with {code:?}: {said}");
        serde_json::from_str(&said).context("no JSON")
    };
    let nodes = ask(&["nodes"])?;
    for (node, _) in NODES {
        let found = list(&nodes["nodes"]).iter().find(|found| found["name"] == node);
        let status = &found.with_context(|| format!("no node {node}"))?["agent"]["status"];
        ensure!(status["ebpf"] == "EBPF_STATE_ATTACHED", "{node}: {status}");
    }
    let report = ask(&["report"])?;
    let matrix = ask(&["matrix"])?;
    let cells = list(&matrix["cells"]);
    for (source, _) in NODES {
        for kind in ["PROBE_KIND_ICMP", "PROBE_KIND_UDP", "PROBE_KIND_TCP"] {
            let of = |cell: &&Value| cell["path"]["sourceNode"] == source && cell["path"]["kind"] == kind;
            let cell = cells.iter().find(of).with_context(|| format!("no {kind} from {source}: {report}"))?;
            ensure!(cell["verdict"] == "VERDICT_REACHABLE", "{cell}");
            ensure!(!cell["stats"]["network"].is_null(), "no kernel measured it: {cell}");
        }
    }
    Ok(())
}

fn inventory() -> Value {
    let node = |(name, place): (&str, u8)| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {
                "addresses": [{"type": "InternalIP", "address": Podman::address(place)}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    };
    json!({"apiVersion": "v1", "kind": "List", "items": NODES.map(node)})
}

/// Tries until it holds, or patience ends; then with what was wrong last.
fn until(mut holds: impl FnMut() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    loop {
        match holds() {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > PATIENCE => bail!("{error:#}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

fn everything_said(podman: &Podman) -> String {
    let said = |name: &str| format!("{name}:\n{}", podman.said(name).unwrap_or_default());
    ["hub", "n1", "n2"].map(said).join("\n")
}

fn rights_shown(rights: &[String]) -> String {
    let added: Vec<_> = rights.iter().filter_map(|flag| flag.strip_prefix("--cap-add=")).collect();
    added.join(" ")
}
