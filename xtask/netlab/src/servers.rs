//! The lab's own servers (HTTP in the `web` pods and for the API, DNS in the `dns` pod): brings what runs in
//! line with what should run under the active faults. Which those are is kept on disk, so that any driver can
//! do it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::fault::{Fault, NodeState};
use crate::process::{self, Identity, Process};
use crate::service::{ECHO_PORT, Service};
use crate::state::{StateDir, write_atomically};
use crate::topology::{API_PORT, Pod, Topology, WEB_PORT};
use crate::{dns, late, netns};

/// The compiled `src/bin/netlab-server/`.
const SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netlab-server"));

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `src/bin/netlab-server/`.
    Own,
    Unbound,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "netlab-server",
            Self::Unbound => "unbound",
        }
    }

    fn image(self) -> Result<File> {
        match self {
            Self::Own => process::image(self.name(), SERVER),
            Self::Unbound => {
                let path =
                    process::find(self.name()).context("`unbound` is missing: run `cargo xtask setup`")?;
                let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
                process::image(self.name(), &bytes)
            }
        }
    }
}

/// A server that should run.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Its name among the lab's processes and logs.
    key: String,
    netns: String,
    program: Program,
    args: Vec<String>,
    /// Where it listens; 0 for one that only says so.
    port: u16,
    /// A change of it means a restart.
    configuration: String,
}

/// The lab's servers as one driver sees them.
#[derive(Debug)]
pub(crate) struct Servers {
    dir: StateDir,
    dies_with_driver: bool,
    /// Those that this process started and has to wait for; others are known by their files only.
    children: HashMap<String, Process>,
}

impl Servers {
    pub(crate) fn new(dir: StateDir, dies_with_driver: bool) -> Self {
        Self { dir, dies_with_driver, children: HashMap::new() }
    }

    /// Stops what should not run, starts what should, and waits until all of it listens.
    pub(crate) fn reconcile(
        &mut self,
        topology: &Topology,
        services: &[Service],
        faults: &[Fault],
    ) -> Result<()> {
        let wanted = self.wanted(topology, services, faults);
        late::before(topology, faults)?;
        for key in self.known()? {
            if !wanted.iter().any(|server| server.key == key) {
                self.stop(&key)?;
            }
        }
        for pod in topology.pods().filter(|pod| pod.app == "kube-dns") {
            netns::nft(&pod.netns, &dns::detour(dns::delay(faults).is_some()))?;
        }
        let mut started = Vec::new();
        for server in &wanted {
            if !self.runs(server)? {
                self.stop(&server.key)?;
                self.start(server)?;
                started.push(server);
            }
        }
        for server in started {
            self.wait(server)?;
        }
        late::after(topology, faults)
    }

    fn wanted(&self, topology: &Topology, services: &[Service], faults: &[Fault]) -> Vec<Wanted> {
        let http = |name: &str, netns: &str, port: u16| Wanted {
            key: format!("http-{name}"),
            netns: netns.to_owned(),
            program: Program::Own,
            args: vec!["http".to_owned(), name.to_owned(), port.to_string()],
            port,
            configuration: String::new(),
        };
        let mut wanted = vec![http("kubernetes", &topology.hub_ns, API_PORT)];
        wanted.extend(late::relays(topology, faults).into_iter().map(|relay| Wanted {
            key: relay.key,
            netns: topology.underlay_ns.clone(),
            program: Program::Own,
            args: relay.args,
            port: 0,
            configuration: String::new(),
        }));
        let echo = |pod: &Pod| Wanted {
            key: format!("echo-{}", pod.name),
            netns: pod.netns.clone(),
            program: Program::Own,
            args: vec!["echo".to_owned(), ECHO_PORT.to_string()],
            port: 0,
            configuration: String::new(),
        };
        let echoes = services.iter().find(|service| service.name == "echo");
        let echoes = echoes.into_iter().flat_map(|echoes| &echoes.backends);
        let echoes: Vec<&String> = echoes.filter_map(|backend| backend.pod.as_ref()).collect();
        let alive = topology.pods().filter(|pod| !faults.iter().any(|fault| silences(fault, pod)));
        wanted.extend(alive.filter(|pod| echoes.contains(&&pod.name)).map(echo));
        for pod in topology.pods().filter(|pod| !faults.iter().any(|fault| silences(fault, pod))) {
            match pod.app.as_str() {
                "web" if faults.contains(&Fault::BackendStuck { pod: pod.name.clone() }) => {
                    wanted.push(Wanted {
                        key: format!("http-{}", pod.name),
                        netns: pod.netns.clone(),
                        program: Program::Own,
                        args: vec!["stuck".to_owned(), WEB_PORT.to_string()],
                        port: 0,
                        configuration: String::new(),
                    });
                }
                "web" => wanted.push(http(&pod.name, &pod.netns, WEB_PORT)),
                "kube-dns" => {
                    let file = self.dir.path().join("unbound.conf");
                    let answer = dns::answer(faults);
                    wanted.push(Wanted {
                        key: "dns".to_owned(),
                        netns: pod.netns.clone(),
                        program: Program::Unbound,
                        args: vec!["-d".to_owned(), "-c".to_owned(), file.to_string_lossy().into_owned()],
                        port: 53,
                        configuration: dns::configuration(self.dir.path(), services, answer),
                    });
                    if let Some(delay) = dns::delay(faults) {
                        let (port, millis) = (dns::DELAY_PORT.to_string(), delay.as_millis().to_string());
                        let args = ["dns-delay", &port, "127.0.0.1:53", &millis];
                        wanted.push(Wanted {
                            key: "dns-delay".to_owned(),
                            netns: pod.netns.clone(),
                            program: Program::Own,
                            args: args.map(str::to_owned).into(),
                            port: dns::DELAY_PORT,
                            configuration: String::new(),
                        });
                    }
                }
                _ => {}
            }
        }
        wanted
    }

    /// Keys of all servers that were started and not stopped, by whichever driver.
    fn known(&self) -> Result<Vec<String>> {
        let dir = self.dir.path().join("process");
        let entries = fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    fn file(&self, key: &str) -> PathBuf {
        self.dir.path().join("process").join(key)
    }

    /// What was started under this key, and with what.
    fn started(&self, key: &str) -> Option<(Identity, String)> {
        let text = fs::read_to_string(self.file(key)).ok()?;
        let (identity, fingerprint) = text.split_once('\n')?;
        Some((Identity::from_text(identity)?, fingerprint.to_owned()))
    }

    fn runs(&self, server: &Wanted) -> Result<bool> {
        let same = |(identity, with): (Identity, String)| identity.alive() && with == server.fingerprint();
        Ok(self.started(&server.key).is_some_and(same))
    }

    fn start(&mut self, server: &Wanted) -> Result<()> {
        if server.program == Program::Unbound {
            dns::certificate(self.dir.path())?;
            write_atomically(&self.dir.path().join("unbound.conf"), server.configuration.as_bytes())?;
        }
        let image = server.program.image()?;
        let mut command = process::command(&server.netns, process::image_path(&image).as_ref(), None)?;
        // The state folder in its name shows whose it is in a list of processes.
        let name = self.dir.path().join(server.program.name());
        command.arg0(name).args(&server.args);
        let log = self.log(server);
        if server.port == 0 {
            // What an earlier one said is not what this one says.
            _ = fs::remove_file(&log);
        }
        let child = process::start(command, &log, self.dies_with_driver)?;
        let record = format!("{}\n{}", Identity::of(child.id())?.to_text(), server.fingerprint());
        write_atomically(&self.file(&server.key), record.as_bytes())?;
        self.children.insert(server.key.clone(), child);
        Ok(())
    }

    fn log(&self, server: &Wanted) -> PathBuf {
        self.dir.log(&format!("{}.log", server.key))
    }

    fn wait(&mut self, server: &Wanted) -> Result<()> {
        let deadline = Instant::now() + START;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        let log = self.log(server);
        netns::enter(&server.netns, || {
            let ready = || match server.port {
                0 => fs::read_to_string(&log).is_ok_and(|said| said.lines().any(|line| line == "ready")),
                _ => TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok(),
            };
            while !ready() {
                if let Some(status) = self.children.get_mut(&server.key).and_then(|c| c.exited().ok()?) {
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    bail!("server `{}` ended ({status}): {}", server.key, said.trim());
                }
                if Instant::now() > deadline {
                    bail!("server `{}` is not ready", server.key);
                }
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })?
    }

    fn stop(&mut self, key: &str) -> Result<()> {
        let grace = Duration::from_secs(1);
        if let Some((identity, _)) = self.started(key) {
            process::stop(&identity, grace)?;
        }
        if let Some(mut child) = self.children.remove(key) {
            child.stop(grace)?;
        }
        match fs::remove_file(self.file(key)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits for the children that are gone, after everything was killed.
    pub(crate) fn reap(&mut self) {
        for (_, mut child) in self.children.drain() {
            _ = child.kill();
        }
    }
}

impl Wanted {
    fn fingerprint(&self) -> String {
        format!("{} {}\n{}", self.program.name(), self.args.join(" "), self.configuration)
    }
}

/// Whether a fault means that nothing runs in this pod.
fn silences(fault: &Fault, at: &Pod) -> bool {
    match fault {
        Fault::BackendRefuses { pod } | Fault::PodGone { pod } => *pod == at.name,
        Fault::NodeKilled { node } | Fault::NodeState { node, state: NodeState::Deleted } => *node == at.node,
        _ => false,
    }
}
