//! Two nodes of a lab with a veth pair of their own between them, and agents that watch it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netcheck_netlab::{Lab, LabSpec, Process};

use crate::cluster::{Profile, built};
use crate::tools;

/// The nodes at its ends.
pub(super) const NEAR: &str = "n1";
pub(super) const FAR: &str = "n2";
/// Its interface in both.
pub(super) const INTERFACE: &str = "bench0";
/// Of the network that is set aside for benchmarks (RFC 2544).
pub(super) const NEAR_V4: &str = "198.18.0.1";
pub(super) const FAR_V4: &str = "198.18.0.2";
/// Where no hub is: agents without a plan send nothing, and nothing but foreign traffic is measured.
const NO_HUB: &str = "http://198.18.0.9:7070";
/// How long SIGTERM may take.
const GRACE: Duration = Duration::from_secs(5);
/// How long programs may take to load.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Without a tick of CPU time (10 ms) in so long a process is at rest.
const IDLE: Duration = Duration::from_millis(500);

/// Builds the agent, and what stands in for a hub. Hub and command line come along: without them the others'
/// dependencies would be built anew for want of some of their features.
pub(super) fn build(profile: Profile) -> Result<()> {
    let mut cargo = tools::cargo();
    cargo.args(["build", "--package", "netcheck-agent", "--package", "netcheck-hub"]);
    cargo.args(["--package", "kubectl-netcheck"]);
    cargo.args(["--package", "netcheck-proto", "--bins", "--example", "listener"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    tools::run(&mut cargo)
}

/// A lab with the veth pair in it. Everything goes with it.
pub(super) struct VethPair {
    pub(super) lab: Lab,
    profile: Profile,
}

impl VethPair {
    /// Raises it.
    pub(super) fn up(profile: Profile) -> Result<Self> {
        let lab = Lab::up(LabSpec { nodes: 2, ..LabSpec::named("bench") })?;
        let veth_pair = Self { lab, profile };
        veth_pair.connect(INTERFACE, NEAR_V4.parse()?, FAR_V4.parse()?)?;
        Ok(veth_pair)
    }

    /// Lays a veth pair between the nodes, of the same name at both ends.
    pub(super) fn connect(&self, name: &str, near: Ipv4Addr, far: Ipv4Addr) -> Result<()> {
        let netns = &self.lab.node(FAR)?.netns;
        self.sh(NEAR, &format!("ip link add {name} type veth peer name {name} netns {netns}"))?;
        for (node, address) in [(NEAR, near), (FAR, far)] {
            let line = format!(
                "ip link set {name} addrgenmode none && ip addr add {address}/30 dev {name} && ip link set {name} up"
            );
            self.sh(node, &line)?;
        }
        Ok(())
    }

    /// Runs a line of shell on a node.
    pub(super) fn sh(&self, node: &str, line: &str) -> Result<String> {
        let output = self.lab.exec(node, &["sh", "-c", line])?;
        ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Lets both ends receive in kernel threads that go before everything else, as a network card's interrupts do.
    pub(super) fn receive_like_hardware(&self) -> Result<()> {
        for node in [NEAR, FAR] {
            self.lab.receive_in_thread(node, INTERFACE)?;
        }
        let mut threads = 0;
        for process in fs::read_dir("/proc").context("reading /proc")?.flatten() {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            if name.starts_with(&format!("napi/{INTERFACE}-")) {
                let pid = process.file_name();
                self.sh(NEAR, &format!("chrt --fifo --pid 50 {}", pid.to_string_lossy()))?;
                threads += 1;
            }
        }
        ensure!(threads >= 2, "the ends of the veth pair have no threads of their own");
        Ok(())
    }

    /// Starts the agent of a node, which counts that node's drops alone, and waits until its hooks are on the veth pair.
    pub(super) fn start_agent(&self, node: &str, hub: &str) -> Result<Process> {
        let netns = format!("/run/netns/{}", self.lab.node(node)?.netns);
        let scope = fs::metadata(&netns).with_context(|| netns)?.ino().to_string();
        self.start(node, &["--hub", hub, "--netns-scope", &scope])
    }

    /// Starts an agent as on a machine of its own: it counts the drops of all namespaces. It has no hub and sends
    /// nothing.
    pub(super) fn start_alone(&self, node: &str) -> Result<Process> {
        self.start(node, &["--hub", NO_HUB])
    }

    fn start(&self, node: &str, args: &[&str]) -> Result<Process> {
        let args = [&["--node", node, "--insecure", "--ebpf", "required"], args].concat();
        let log = format!("agent-{node}");
        let path = self.lab.log_path(&log);
        drop(fs::remove_file(&path));
        let mut agent = self.lab.spawn_in(node, built("netcheck-agent", self.profile)?, &args, &[], &log)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(&path).unwrap_or_default();
            if said.contains("kernel programs loaded") {
                ensure!(!said.contains("hook not attached"), "not all hooks are attached: {said}");
                return Ok(agent);
            }
            if let Some(status) = agent.exited()? {
                bail!("the agent of {node} ended ({status}): {said}");
            }
            ensure!(Instant::now() < deadline, "the agent of {node} loads no kernel programs: {said}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until a process hardly uses the CPU any more.
    pub(super) fn wait_idle(pid: u32) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = cpu_ticks(pid)?;
        loop {
            std::thread::sleep(IDLE);
            let now = cpu_ticks(pid)?;
            if now == before {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "process {pid} does not come to rest");
            before = now;
        }
    }

    /// Ends an agent in order.
    pub(super) fn stop_agent(mut agent: Process) -> Result<()> {
        let status = agent.stop(GRACE)?;
        ensure!(status.success(), "an agent did not end in order: {status}");
        Ok(())
    }

    /// Tears it down.
    pub(super) fn down(self) -> Result<()> {
        self.lab.down()
    }
}

/// CPU time of a process in user and kernel space, in ticks (proc_pid_stat(5), fields 14 and 15).
fn cpu_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // What is before the last bracket is the name, which may have spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    ticks(11).zip(ticks(12)).map(|(user, system)| user + system).with_context(|| format!("{path}: {text}"))
}
