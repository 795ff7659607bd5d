//! netcheck at work in a lab: a hub and an agent on every node, read through the command line that operators use.
//!
//! The demo and the end-to-end tests stand on this. Everything that it says of netcheck comes from
//! `kubectl-netcheck … -o json`; it knows no inner part of hub or agent.

mod answer;
mod programs;
mod vantage;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netcheck_netlab::{Lab, Process};
use serde_json::Value;

pub use self::answer::{Cell, Finding, Incident, Location, Report};
pub use self::programs::{Profile, binary, build};
pub(crate) use self::programs::{build_beside_tests, built};
use self::vantage::vantage_log;
use crate::tools;

/// Port of the hub's gRPC services.
pub const GRPC_PORT: u16 = 7070;
/// How long SIGTERM may take.
const GRACE: Duration = Duration::from_secs(5);
/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(100);

/// A lab with netcheck on it.
pub struct Cluster {
    /// The lab underneath.
    pub lab: Lab,
    hub: Option<Process>,
    agents: BTreeMap<String, Process>,
    /// Where the lab has pods for them.
    vantages: BTreeMap<String, Process>,
    settings: Settings,
}

/// What hub and agents are started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which build of the programs.
    pub profile: Profile,
    /// Further arguments of the hub.
    pub hub_args: Vec<String>,
    /// Further arguments of every agent.
    pub agent_args: Vec<String>,
    /// Further arguments of single agents, by node.
    pub node_args: BTreeMap<String, Vec<String>>,
    /// The URL by which agents are configured where the hub is; none: by its address.
    pub agent_hub: Option<String>,
    /// The hub's inventory, where it is not the lab's own.
    pub inventory: Option<PathBuf>,
    /// Everybody reaches the hub by IPv6.
    pub ipv6: bool,
}

impl Cluster {
    /// Starts a hub and all agents. Returns when the hub answers; samples come later.
    ///
    /// # Errors
    /// If a program is not built, or ends at once.
    pub fn start(lab: Lab, settings: Settings) -> Result<Self> {
        let mut cluster =
            Self { lab, hub: None, agents: BTreeMap::new(), vantages: BTreeMap::new(), settings };
        cluster.start_hub()?;
        let nodes: Vec<String> = cluster.lab.nodes().iter().map(|node| node.name.clone()).collect();
        for node in nodes {
            cluster.start_agent(&node)?;
            cluster.start_vantage(&node)?;
        }
        Ok(cluster)
    }

    /// Starts the hub and waits until it listens.
    ///
    /// # Errors
    /// If it does not.
    pub fn start_hub(&mut self) -> Result<()> {
        let inventory = self.settings.inventory.clone().unwrap_or_else(|| self.lab.inventory_path());
        let inventory = format!("file:{}", inventory.display());
        let mut args = vec!["--insecure", "--inventory", &inventory];
        // The lab's API server does not speak TLS; tests of DNS over TCP and TLS say so.
        if !self.settings.hub_args.iter().any(|arg| arg.starts_with("--http-api")) {
            args.push("--http-api=off");
        }
        if !self.settings.hub_args.iter().any(|arg| arg.starts_with("--dns-transports")) {
            args.push("--dns-transports=udp");
        }
        args.extend(self.settings.hub_args.iter().map(String::as_str));
        let mut hub =
            self.lab.spawn_in("hub", built("netcheck-hub", self.settings.profile)?, &args, &[], "hub")?;
        let address = self.hub_address();
        let deadline = Instant::now() + Duration::from_secs(20);
        while self
            .lab
            .enter("hub", || TcpStream::connect_timeout(&address, POLL))
            .is_ok_and(|stream| stream.is_err())
        {
            if let Some(status) = hub.exited()? {
                bail!("the hub ended ({status}): {}", self.last_line("hub"));
            }
            ensure!(Instant::now() < deadline, "the hub does not listen at {address}");
            std::thread::sleep(POLL);
        }
        self.hub = Some(hub);
        Ok(())
    }

    /// Kills the hub, without a chance to say good-bye.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_hub(&mut self) -> Result<()> {
        self.hub.take().context("no hub runs")?.kill().map(|_| ())
    }

    /// Kills the hub and starts it with these further arguments; the agents come back by themselves.
    ///
    /// # Errors
    /// If there is none, or it does not listen.
    pub fn restart_hub(&mut self, args: &[&str]) -> Result<()> {
        self.kill_hub()?;
        self.settings.hub_args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.start_hub()
    }

    /// Starts the agent of a node.
    ///
    /// # Errors
    /// If it is not built.
    pub fn start_agent(&mut self, node: &str) -> Result<()> {
        let by_address = || format!("http://{}", self.hub_address());
        let hub = self.settings.agent_hub.clone().unwrap_or_else(by_address);
        let scope = self.netns_scope(node)?;
        let mut args = vec!["--node", node, "--hub", &hub, "--insecure", "--netns-scope", &scope];
        let socket = self.vantage_socket(node)?;
        if let Some(socket) = &socket {
            args.extend(["--vantage-socket", socket]);
        }
        args.extend(self.settings.agent_args.iter().map(String::as_str));
        args.extend(self.settings.node_args.get(node).into_iter().flatten().map(String::as_str));
        let agent = self.lab.spawn_in(
            node,
            built("netcheck-agent", self.settings.profile)?,
            &args,
            &[],
            &agent_log(node),
        )?;
        self.agents.insert(node.to_owned(), agent);
        Ok(())
    }

    /// Where the hub listens for gRPC.
    fn hub_address(&self) -> SocketAddr {
        let topology = self.lab.topology();
        let address = if self.settings.ipv6 { topology.hub_v6.into() } else { topology.hub_v4.into() };
        SocketAddr::new(address, GRPC_PORT)
    }

    /// What is started from now on is started with.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The running agent of a node.
    ///
    /// # Errors
    /// If there is none.
    pub fn agent(&mut self, node: &str) -> Result<&mut Process> {
        self.agents.get_mut(node).with_context(|| format!("no agent runs on {node}"))
    }

    /// SIGKILL for the agent of a node.
    ///
    /// # Errors
    /// If there is none.
    pub fn kill_agent(&mut self, node: &str) -> Result<()> {
        self.agent(node)?.kill()?;
        self.agents.remove(node);
        Ok(())
    }

    /// SIGTERM for the agent of a node, as an upgrade does.
    ///
    /// # Errors
    /// If there is none, or it did not end in order.
    pub fn stop_agent(&mut self, node: &str) -> Result<()> {
        let status = self.agent(node)?.stop(GRACE)?;
        self.agents.remove(node);
        ensure!(status.success(), "the agent of {node}: {status}: {}", self.last_line(&agent_log(node)));
        Ok(())
    }

    /// Name and id of every process of netcheck: the agents, their vantages, then the hub.
    pub fn processes(&self) -> impl Iterator<Item = (String, u32)> {
        let agents = self.agents.iter().map(|(node, agent)| (agent_log(node), agent.id()));
        let vantages = self.vantages.iter().map(|(node, vantage)| (vantage_log(node), vantage.id()));
        let agents = agents.chain(vantages);
        agents.chain(self.hub.iter().map(|hub| ("hub".to_owned(), hub.id())))
    }

    /// SIGTERM for everything that runs; says which did not end well.
    ///
    /// # Errors
    /// If one had to be killed or ended with another code than 0.
    pub fn stop(mut self) -> Result<Lab> {
        let mut failed = Vec::new();
        let vantages = std::mem::take(&mut self.vantages).into_iter();
        let vantages = vantages.map(|(node, vantage)| (vantage_log(&node), vantage));
        let agents = std::mem::take(&mut self.agents).into_iter();
        let agents = vantages.chain(agents.map(|(node, agent)| (agent_log(&node), agent)));
        for (name, mut process) in agents.chain(self.hub.take().map(|hub| ("hub".to_owned(), hub))) {
            let status = process.stop(GRACE)?;
            if !status.success() {
                failed.push(format!("{name}: {status}: {}", self.last_line(&name)));
            }
        }
        ensure!(failed.is_empty(), "did not end in order: {}", failed.join("; "));
        Ok(self.lab)
    }

    /// Inodes of the namespaces that are this node: on a machine of its own there would be no others.
    fn netns_scope(&self, node: &str) -> Result<String> {
        let node = self.lab.node(node)?;
        let mut inodes = Vec::new();
        for name in std::iter::once(&node.netns).chain(node.pods.iter().map(|pod| &pod.netns)) {
            let file = format!("/run/netns/{name}");
            let inode = std::fs::metadata(&file).with_context(|| file)?.ino();
            inodes.push(inode.to_string());
        }
        Ok(inodes.join(","))
    }

    fn last_line(&self, log: &str) -> String {
        let text = std::fs::read_to_string(self.lab.log_path(log)).unwrap_or_default();
        text.lines().last().unwrap_or("its log is empty").to_owned()
    }

    /// Runs `kubectl-netcheck` with these arguments against the hub.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let hub = format!("http://{}", self.hub_address());
        let mut command = self.lab.command("hub", built("kubectl-netcheck", self.settings.profile)?)?;
        command.args(args).env("NETCHECK_HUB", hub).output().context("running kubectl-netcheck")
    }

    /// Runs `kubectl-netcheck` and hands back the text that people read.
    ///
    /// # Errors
    /// If it could not ask the hub.
    pub fn shown(&self, args: &[&str]) -> Result<String> {
        let output = self.cli(args)?;
        // 2 says that something is unreachable, 1 beneath an answer that nothing is measured yet.
        let answered = match output.status.code() {
            Some(0 | 2) => true,
            Some(1) => !output.stdout.is_empty(),
            _ => false,
        };
        ensure!(
            answered,
            "kubectl-netcheck {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `kubectl-netcheck` and hands back its answer as JSON.
    ///
    /// # Errors
    /// If it could not ask the hub, or the answer is no JSON.
    pub fn ask(&self, args: &[&str]) -> Result<Value> {
        let text = self.shown(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl-netcheck {}: {text}", args.join(" ")))
    }

    /// The hub's report.
    ///
    /// # Errors
    /// As [`Cluster::ask`].
    pub fn report(&self) -> Result<Report> {
        Report::read(&self.ask(&["report"])?)
    }

    /// The hub's report on the last so many seconds.
    ///
    /// # Errors
    /// As [`Cluster::ask`].
    pub fn report_of(&self, range: Duration) -> Result<Report> {
        let range = format!("{}s", range.as_secs().max(1));
        Report::read(&self.ask(&["report", "--range", &range])?)
    }

    /// The incidents that are open, and those that closed not long ago.
    ///
    /// # Errors
    /// As [`Cluster::ask`].
    pub fn incidents(&self) -> Result<Vec<Incident>> {
        Ok(Incident::read_all(&self.ask(&["incidents", "--closed"])?))
    }

    /// All cells of the matrix.
    ///
    /// # Errors
    /// As [`Cluster::ask`].
    pub fn cells(&self) -> Result<Vec<Cell>> {
        Cell::read_all(&self.ask(&["matrix"])?)
    }

    /// Waits until the report satisfies a condition. Returns it and how long that took.
    ///
    /// # Errors
    /// If it does not within the time; then with the last report.
    pub fn wait(
        &self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&Report) -> bool,
    ) -> Result<(Report, Duration)> {
        let start = Instant::now();
        loop {
            let report = self.report()?;
            if condition(&report) {
                return Ok((report, start.elapsed()));
            }
            if start.elapsed() > patience {
                bail!("{what}: not within {patience:?}\n{}", self.shown(&["report"])?);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until every path has samples and all is well, of all nodes and of all vantages.
    ///
    /// # Errors
    /// If that takes longer than half a minute.
    pub fn wait_healthy(&self) -> Result<(Report, Duration)> {
        let done = |report: &Report| report.is_healthy() && self.has_all_vantages();
        self.wait("all paths reachable", Duration::from_secs(30), done)
    }
}

/// Where a part of `cargo xtask setup` is that is a folder.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    tools::tools_dir().join(name)
}

/// Three commands that work as printed, from the project's root.
#[must_use]
pub fn grpcurl_commands(cluster: &Cluster) -> [String; 3] {
    let topology = cluster.lab.topology();
    let grpcurl = tools::relative(&tools::tools_dir().join("bin/grpcurl"));
    let call = |arguments: &str| {
        let hub = topology.hub_v4;
        format!("ip netns exec {} {grpcurl} -plaintext {arguments}", topology.hub_ns)
            .replace("HUB", &format!("{hub}:{GRPC_PORT}"))
    };
    [
        call("HUB list netcheck.v1.ReachabilityService"),
        call("-d '{\"source\":\"n1\",\"target\":\"n2\"}' HUB netcheck.v1.ReachabilityService/GetPath"),
        call("HUB netcheck.v1.ReachabilityService/GetReport"),
    ]
}

fn agent_log(node: &str) -> String {
    format!("agent-{node}")
}
