//! The real hub as a process of its own, and whoever asks it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// Anything that takes longer has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A hub that runs.
pub(crate) struct Hub {
    child: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) health: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Hub {
    /// Starts one that has this inventory, with these flags beside.
    pub(crate) async fn start(inventory: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory.yaml");
        std::fs::write(&path, inventory).unwrap();
        let free: Vec<std::net::TcpListener> =
            (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let [grpc, http, health] = [0, 1, 2].map(|at: usize| free[at].local_addr().unwrap());
        drop(free);
        let child = Command::new(env!("CARGO_BIN_EXE_netcheck-hub"))
            .args(["--insecure", "--pods", "all", "--services", "all"])
            .args(["--inventory", &format!("file:{}", path.display())])
            .args(["--grpc-addr", &grpc.to_string(), "--http-addr", &http.to_string()])
            .args(["--health-addr", &health.to_string()])
            .args(flags)
            .env("RUST_LOG", "error")
            .spawn()
            .unwrap();
        let hub = Self { child, grpc, http, health, folder };
        let begun = Instant::now();
        while ask(hub.health, "/readyz").await.is_none_or(|answer| !answer.contains(" 200 ")) {
            assert!(begun.elapsed() < DEADLINE, "the hub does not start");
            tokio::task::yield_now().await;
        }
        hub
    }

    /// A folder that goes with the hub.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another inventory from now on.
    pub(crate) fn set_inventory(&self, text: &str) {
        let next: PathBuf = self.folder().join("next.yaml");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.folder().join("inventory.yaml")).unwrap();
    }

    /// Memory in use (VmRSS), in MiB.
    pub(crate) fn rss_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64
    }
}

/// The answer to one request; none where there was none in time.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(Duration::from_secs(30), asked).await.ok().flatten()
}

/// A connection that speaks gRPC.
pub(crate) async fn channel(hub: SocketAddr) -> Channel {
    try_channel(hub).await.unwrap()
}

/// The same of one that the hub may refuse, as it does with whoever has too many.
pub(crate) async fn try_channel(hub: SocketAddr) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{hub}")).unwrap().connect().await
}

/// A connection from an attacker's own address.
pub(crate) async fn from(attacker: u8, to: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::from(([127, 0, 0, attacker], 0))).ok()?;
    socket.connect(to).await.ok()
}

/// A kubelet that asks again and again, and remembers the longest answer and how many there were none of.
pub(crate) struct Kubelet {
    worst_us: Arc<AtomicU64>,
    pub(crate) failed: Arc<AtomicU64>,
    pub(crate) task: JoinHandle<()>,
}

impl Kubelet {
    pub(crate) fn start(health: SocketAddr) -> Self {
        let (worst_us, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (worst, fails) = (Arc::clone(&worst_us), Arc::clone(&failed));
        let task = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                let fine = ask(health, "/healthz").await.is_some_and(|answer| answer.contains(" 200 "));
                fails.fetch_add(u64::from(!fine), Ordering::Relaxed);
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                worst.fetch_max(took, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { worst_us, failed, task }
    }

    pub(crate) fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_us.swap(0, Ordering::Relaxed))
    }
}
