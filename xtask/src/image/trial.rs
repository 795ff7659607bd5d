//! Runs the image as the chart would: a hub, and two agents with a vantage each, all with addresses of their own on a
//! real CNI bridge and with exactly the rights that the chart gives them. The agents must see each other, from the kernel,
//! and probe each other with the sockets of their vantages. Then agents with one right less, each of which must go on and
//! say by name what it lacks.

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
/// How far behind its node's the place of a vantage is.
const VANTAGE: u8 = 10;
/// As containerd has it by default (`enable_unprivileged_icmp`); podman lets root's group alone ping.
const PING: &str = "--sysctl=net.ipv4.ping_group_range=0 2147483647";
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
    let (vantage_pod, vantage) = chart::pod_of(&objects, "vantage").context("the chart has no vantage")?;

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
    let restricted = [rights(vantage_pod, vantage, None)?, vec![PING.to_owned()]].concat();
    for (node, place) in NODES {
        let directory = home().join(format!("run-{node}"));
        fs::create_dir_all(&directory)?;
        let shared = |how: &str| format!("--volume={}:/run/netcheck{how}", directory.display());
        let words = [agent_words(node, "required"), vec![SOCKET]].concat();
        podman.start(node, &Network::Bridge(place), &[full.clone(), vec![shared("")]].concat(), &words)?;
        let (name, pod) = (vantage_of(node), format!("netcheck/{}", vantage_of(node)));
        let words = ["/netcheck-agent", "vantage", SOCKET, "--node", node, "--pod", &pod];
        let rights = [restricted.clone(), vec![shared(":ro")]].concat();
        podman.start(&name, &Network::Bridge(place + VANTAGE), &rights, &words)?;
    }
    until(|| see_each_other(&podman)).with_context(|| everything_said(&podman))?;
    println!(
        "two agents with {} see each other from the kernel, and through their vantages",
        rights_shown(&full)
    );
    podman.in_network(NODES[1].0, &["nft", FILTER])?;
    until(|| drop_is_reported(&podman)).with_context(|| everything_said(&podman))?;
    println!("a drop on {} has its stage and function", NODES[1].0);
    for name in names() {
        let name = name.as_str();
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

/// Where agent and vantage meet.
const SOCKET: &str = "--vantage-socket=/run/netcheck/vantage.sock";

fn vantage_of(node: &str) -> String {
    format!("vantage-{node}")
}

/// All containers, in the order in which they are stopped.
fn names() -> Vec<String> {
    let vantages = NODES.map(|(node, _)| vantage_of(node));
    let nodes = NODES.map(|(node, _)| node.to_owned());
    vantages.into_iter().chain(nodes).chain(["hub".to_owned()]).collect()
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

/// Drops all echo requests.
const FILTER: &str = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
    add rule inet t c icmp type echo-request drop";

/// Whether the report names where the filter's drops are, and in which function: with no more than the chart's rights.
fn drop_is_reported(podman: &Podman) -> Result<()> {
    let (said, code) = podman.exec("hub", &["/kubectl-netcheck", "-o", "json", "report"])?;
    ensure!(matches!(code, Some(0 | 2)), "the report ended with {code:?}: {said}");
    let report: Value = serde_json::from_str(&said).context("no JSON")?;
    ensure!(has_drop(&report), "no drop with stage and function: {report}");
    Ok(())
}

/// Whether there is such a location anywhere in it.
fn has_drop(value: &Value) -> bool {
    let function = || value["function"].as_str().is_some_and(|function| !function.is_empty());
    let here = || {
        value["stage"] == "STAGE_NETFILTER_INPUT"
            && value["node"] == NODES[1].0
            && value["reason"] == "NETFILTER_DROP"
            && function()
    };
    match value {
        Value::Object(members) => here() || members.values().any(has_drop),
        Value::Array(items) => items.iter().any(has_drop),
        _ => false,
    }
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
            let from = |vantage: &str| {
                let of = |cell: &&Value| {
                    let path = &cell["path"];
                    let own = path["target"]["node"] == source;
                    path["sourceNode"] == source && path["kind"] == kind && path["vantage"] == vantage && !own
                };
                let cell = cells.iter().find(of);
                let cell = cell.with_context(|| format!("no {kind} from {source}, {vantage}: {report}"))?;
                ensure!(cell["verdict"] == "VERDICT_REACHABLE", "{cell}");
                Ok(cell)
            };
            let cell = from("VANTAGE_HOST")?;
            ensure!(!cell["stats"]["network"].is_null(), "no kernel measured it: {cell}");
            from("VANTAGE_POD")?;
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
    let pod = |(node, place): (&str, u8)| {
        let address = Podman::address(place + VANTAGE);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": vantage_of(node), "namespace": "netcheck",
                "labels": {"app.kubernetes.io/name": "netcheck", "app.kubernetes.io/component": "vantage"},
            },
            "spec": {"nodeName": node},
            "status": {
                "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    };
    let items: Vec<Value> = NODES.into_iter().map(node).chain(NODES.into_iter().map(pod)).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
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
    names().iter().map(|name| said(name)).collect::<Vec<_>>().join("\n")
}

fn rights_shown(rights: &[String]) -> String {
    let added: Vec<_> = rights.iter().filter_map(|flag| flag.strip_prefix("--cap-add=")).collect();
    added.join(" ")
}
