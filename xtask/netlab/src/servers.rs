//! The lab's own servers (HTTP in the `web` pods and for the API, DNS in the `dns` pod): brings what runs in
//! line with what should run under the active faults. Which those are is kept on disk, so that any driver can
//! do it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::fault::{Fault, NodeState};
use crate::process::{self, Identity, Process};
use crate::service::Service;
use crate::state::{StateDir, write_atomically};
use crate::topology::{API_PORT, Topology, WEB_PORT};
use crate::{dns, netns};

/// The compiled `src/bin/netlab-server.rs`.
const SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netlab-server"));

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(10);

/// A server that should run.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Its name among the lab's processes and logs.
    key: String,
    netns: String,
    program: PathBuf,
    args: Vec<String>,
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

    /// Unpacks the server program.
    pub(crate) fn unpack(&self) -> Result<()> {
        let path = self.program();
        write_atomically(&path, SERVER)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {} executable", path.display()))
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("netlab-server")
    }

    /// Stops what should not run, starts what should, and waits until all of it listens.
    pub(crate) fn reconcile(
        &mut self,
        topology: &Topology,
        services: &[Service],
        faults: &[Fault],
    ) -> Result<()> {
        let wanted = self.wanted(topology, services, faults);
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
        Ok(())
    }

    fn wanted(&self, topology: &Topology, services: &[Service], faults: &[Fault]) -> Vec<Wanted> {
        let http = |name: &str, netns: &str, port: u16| Wanted {
            key: format!("http-{name}"),
            netns: netns.to_owned(),
            program: self.program(),
            args: vec!["http".to_owned(), name.to_owned(), port.to_string()],
            port,
            configuration: String::new(),
        };
        let mut wanted = vec![http("kubernetes", &topology.hub_ns, API_PORT)];
        for pod in topology.pods().filter(|pod| !faults.iter().any(|fault| silences(fault, pod))) {
            match pod.app.as_str() {
                "web" => wanted.push(http(&pod.name, &pod.netns, WEB_PORT)),
                "kube-dns" => {
                    let file = self.dir.path().join("unbound.conf");
                    let answer = dns::answer(faults);
                    wanted.push(Wanted {
                        key: "dns".to_owned(),
                        netns: pod.netns.clone(),
                        program: "unbound".into(),
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
                            program: self.program(),
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
        if server.program == OsStr::new("unbound") {
            write_atomically(&self.dir.path().join("unbound.conf"), server.configuration.as_bytes())?;
        }
        let mut command = process::command(&server.netns, server.program.as_os_str(), None)?;
        command.args(&server.args);
        let log = self.dir.log(&format!("{}.log", server.key));
        let child = process::start(command, &log, self.dies_with_driver)?;
        let record = format!("{}\n{}", Identity::of(child.id())?.to_text(), server.fingerprint());
        write_atomically(&self.file(&server.key), record.as_bytes())?;
        self.children.insert(server.key.clone(), child);
        Ok(())
    }

    fn wait(&mut self, server: &Wanted) -> Result<()> {
        let deadline = Instant::now() + START;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        netns::enter(&server.netns, || {
            while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
                if let Some(status) = self.children.get_mut(&server.key).and_then(|c| c.exited().ok()?) {
                    let log = self.dir.log(&format!("{}.log", server.key));
                    let said = fs::read_to_string(log).unwrap_or_default();
                    bail!("server `{}` ended ({status}): {}", server.key, said.trim());
                }
                if Instant::now() > deadline {
                    bail!("server `{}` does not listen on port {}", server.key, server.port);
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
        format!("{} {}\n{}", self.program.display(), self.args.join(" "), self.configuration)
    }
}

/// Whether a fault means that nothing runs in this pod.
fn silences(fault: &Fault, at: &crate::topology::Pod) -> bool {
    match fault {
        Fault::BackendRefuses { pod } | Fault::PodGone { pod } => *pod == at.name,
        Fault::NodeKilled { node } | Fault::NodeState { node, state: NodeState::Deleted } => *node == at.node,
        _ => false,
    }
}
