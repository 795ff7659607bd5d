//! Where it is tried: a fake cluster with a hub behind it, and the program at work there.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netcheck_kubefake::cluster::FakeCluster;
use serde_json::{Value, json};
use xtask::cluster::binary;

use crate::{NODES, fake};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// A real hub on loopback. Without agents, it measures nothing.
pub(super) struct LoneHub {
    child: Child,
    port: u16,
}

impl LoneHub {
    pub(super) fn start(folder: &Path) -> Self {
        let inventory = folder.join("inventory.json");
        let node = |name: &&str| {
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {
                "addresses": [{"type": "InternalIP", "address": format!("192.0.2.{}", &name[1..])}],
                "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        let list =
            json!({"apiVersion": "v1", "kind": "List", "items": NODES.iter().map(node).collect::<Vec<_>>()});
        std::fs::write(&inventory, list.to_string()).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut hub = Command::new(binary("netcheck-hub").unwrap());
        hub.args(["--insecure", "--http-addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0"]);
        hub.arg("--grpc-addr").arg(format!("127.0.0.1:{port}"));
        hub.arg("--inventory").arg(format!("file:{}", inventory.display()));
        let log = std::fs::File::create(folder.join("hub.log")).unwrap();
        let child = hub.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let lone = Self { child, port };
        wait("the hub listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        lone
    }
}

impl Drop for LoneHub {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).unwrap();
    }
}

/// A fake cluster with what listens in its hubs' pods.
pub(super) struct Site {
    fake: Arc<Mutex<FakeCluster>>,
    pub(super) folder: tempfile::TempDir,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Site {
    pub(super) fn new(dial: impl FnOnce(&Path) -> crate::hub::Dial) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let fake = fake(&runtime, Arc::new(|_: &[String]| (String::new(), String::new(), 1)));
        std::fs::write(folder.path().join("kubeconfig"), fake.kubeconfig()).unwrap();
        let fake = Arc::new(Mutex::new(fake));
        let address = runtime.block_on(crate::hub::serve(Arc::clone(&fake), dial(folder.path())));
        fake.lock().unwrap().forward_labelled("app.kubernetes.io/component", "hub", address);
        Self { fake, folder, runtime }
    }

    /// With a hub that measures nothing: a check there does not end by itself for a minute.
    pub(super) fn lone() -> (Self, LoneHub) {
        let mut lone = None;
        let site = Self::new(|folder| {
            let hub = LoneHub::start(folder);
            let port = hub.port;
            lone = Some(hub);
            Arc::new(move || TcpStream::connect(("127.0.0.1", port)))
        });
        (site, lone.unwrap())
    }

    pub(super) fn fake(&self) -> std::sync::MutexGuard<'_, FakeCluster> {
        self.fake.lock().unwrap()
    }

    /// All objects, but for what counts changes.
    pub(super) fn objects(&self) -> BTreeMap<String, Value> {
        self.fake().snapshot()
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("kubectl-netcheck").unwrap());
        command.args(words).arg("--kubeconfig").arg(self.kubeconfig());
        command.current_dir(self.folder.path()).env("HOME", self.folder.path()).env_remove("NETCHECK_HUB");
        command
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub(super) fn start(&self, words: &[&str]) -> Running {
        let mut command = self.command(words);
        let default = || {
            // SAFETY: signal(2) is async-signal-safe (signal-safety(7)); nothing else is done between fork and exec.
            unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
            Ok(())
        };
        // Whoever runs the tests in the background may ignore SIGINT, and a program inherits that until it listens to it.
        // SAFETY: the closure is safe after fork, see above.
        unsafe { command.pre_exec(default) };
        Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub(super) fn run(&self, words: &[&str]) -> Ended {
        self.start(words).end()
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.fake().objects().iter().any(|(plural, ..)| plural == kind)
    }
}

/// The program at work.
pub(super) struct Running(Child);

/// What came of it.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Running {
    pub(super) fn interrupt(&self) {
        // SAFETY: the child is not waited for yet, so its id is its own.
        let sent = unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        assert_eq!(sent, 0);
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub(super) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_over() {
            if Instant::now() > deadline {
                self.0.kill().unwrap();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        Ended { code: self.0.wait().unwrap().code(), out, err }
    }
}

impl Ended {
    pub(super) fn output(&self) -> String {
        format!("{:?}\n{}\n{}", self.code, self.out, self.err)
    }

    /// The run's name, where it came so far as to have one.
    pub(super) fn run(&self) -> Option<String> {
        let (_, rest) = self.err.split_once(", run ")?;
        Some(rest.split(',').next()?.to_owned())
    }
}

pub(super) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
