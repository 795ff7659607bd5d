//! A pod's network on a thread of its own, with the real vantage in it, and an agent's engine that listens for it.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use netcheck_common::domain::ProbeSession;
use netcheck_proto::v1;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::task::JoinHandle as Task;
use tokio_util::sync::CancellationToken;

use super::super::listen::ListenTask;
use super::super::serve::ServeTask;
use super::PATIENCE;
use crate::engine::{Engine, EngineConfig, EngineHandle, EngineOutput};
use crate::model::report::Report;
use crate::model::status::{VantageCounts, VantageStatus};
use crate::net::interface_drops::NoKernelSource;
use crate::responder::Responder;
use crate::responder::accept::AcceptTask;
use crate::responder::echo::Echo;

/// The pod's addresses.
pub(super) const V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub(super) const V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);

type Job = Box<dyn FnOnce() + Send>;

/// A pod.
pub(super) struct PodNet {
    name: &'static str,
    jobs: mpsc::Sender<Job>,
    port: u16,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
    stop: CancellationToken,
    silent: Vec<UdpSocket>,
    echo: Arc<Echo>,
}

impl PodNet {
    pub(super) fn new(pings: bool) -> Self {
        Self::named("netcheck/vantage-1", pings)
    }

    /// `pings`: whether its group may open ping sockets.
    pub(super) fn named(name: &'static str, pings: bool) -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            // SAFETY: a network namespace for this thread alone shares no memory or files.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("run the tests as root");
            while let Ok(job) = work.recv() {
                job();
            }
        });
        let stop = CancellationToken::new();
        let responder = run(&jobs, move || {
            let (v4, v6) = (format!("addr add {V4}/32 dev lo"), format!("addr add {V6}/128 dev lo"));
            for arguments in ["link set lo up", &v4, &v6] {
                assert!(Process::new("ip").args(arguments.split(' ')).status().unwrap().success());
            }
            let range = if pings { "0 2147483647" } else { "1 0" };
            // It shows that of the thread that looks.
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", range).unwrap();
            Responder::bind("0.0.0.0:6100".parse().unwrap()).unwrap()
        });
        let echo = Echo::new(responder.udp, responder.port, Arc::clone(&responder.counts));
        std::thread::spawn({
            let echo = Arc::clone(&echo);
            move || echo.run()
        });
        let (tcp, counts, stopped) = (responder.tcp, responder.counts, stop.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener =
                    tokio::net::TcpListener::from_std(std::os::fd::OwnedFd::from(tcp).into()).unwrap();
                AcceptTask { listener, counts }.run(stopped).await;
            });
        });
        Self { name, jobs, port: responder.port, serving: None, stop, silent: Vec::new(), echo }
    }

    /// Where its responder listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Runs something inside.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        run(&self.jobs, job)
    }

    /// A UDP port that never answers.
    pub(super) fn silent_port(&mut self) -> u16 {
        let socket = self.run(|| UdpSocket::bind((V4, 0)).unwrap());
        let port = socket.local_addr().unwrap().port();
        self.silent.push(socket);
        port
    }

    /// Starts the vantage.
    pub(super) fn serve(&mut self, path: &Path) {
        let shutdown = CancellationToken::new();
        let task = ServeTask {
            path: path.to_owned(),
            pod: self.name.to_owned(),
            responder_port: self.port,
            resolv_conf: "/etc/resolv.conf".into(),
        };
        let (stopped, netns) = (shutdown.clone(), self.netns());
        let thread = std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            let network = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(netns.as_fd(), network).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(task.run(stopped));
        });
        self.serving = Some((shutdown, thread));
    }

    fn netns(&self) -> std::fs::File {
        self.run(|| std::fs::File::open("/proc/thread-self/ns/net").unwrap())
    }

    /// Ends the vantage; its network stays.
    pub(super) fn stop_serving(&mut self) {
        if let Some((shutdown, thread)) = self.serving.take() {
            shutdown.cancel();
            thread.join().unwrap();
        }
    }
}

impl Drop for PodNet {
    fn drop(&mut self) {
        self.stop_serving();
        self.stop.cancel();
        self.echo.stop();
    }
}

fn run<T: Send + 'static>(jobs: &mpsc::Sender<Job>, job: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, result) = mpsc::channel();
    jobs.send(Box::new(move || answer.send(job()).unwrap())).unwrap();
    result.recv().expect("the job panicked")
}

/// A folder of this test's own.
pub(super) fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("netcheck-vantage-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// An engine on the host that expects a vantage.
pub(super) struct Agent {
    pub(super) path: PathBuf,
    pub(super) handle: EngineHandle,
    output: EngineOutput,
    thread: JoinHandle<()>,
    listening: Task<()>,
    shutdown: CancellationToken,
    directory: PathBuf,
}

impl Agent {
    pub(super) fn start() -> Self {
        let directory = directory();
        let path = directory.join("vantage.sock");
        let counts = Arc::new(VantageCounts::default());
        let config = EngineConfig {
            allowed: crate::plan::policy::Allowed::default(),
            node: "n1".into(),
            session: ProbeSession(11),
            limit_pps: 1000,
            policy: |_| None,
            kernel: Box::new(NoKernelSource::new(v1::EbpfState::Off, Vec::new())),
            vantage: Some(("none yet".into(), Arc::clone(&counts))),
        };
        let (engine, handle, output) = Engine::new(config).unwrap();
        let shutdown = CancellationToken::new();
        let listen = ListenTask::bind(&path, counts).unwrap();
        let engine_handle = handle.clone();
        let changed = move |change| engine_handle.clone().vantage_changed(change);
        let listening = tokio::spawn(listen.run(changed, shutdown.clone()));
        let thread = std::thread::spawn(move || engine.run());
        Self { path, handle, output, thread, listening, shutdown, directory }
    }

    pub(super) fn status(&self) -> VantageStatus {
        self.output.status.borrow().vantage.clone().expect("one is expected")
    }

    /// Waits until what is said of the vantage satisfies a condition.
    pub(super) async fn wait(&mut self, condition: impl Fn(&VantageStatus) -> bool) -> VantageStatus {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !condition(&self.status()) {
                self.output.status.changed().await.unwrap();
            }
        });
        let done = waited.await.is_ok();
        let status = self.status();
        assert!(done, "not in time: {status:?}");
        status
    }

    /// Reports until `enough`.
    pub(super) async fn collect(&mut self, enough: impl Fn(&Report) -> bool) -> Report {
        let mut all = Report::default();
        let deadline = Instant::now() + PATIENCE;
        while !enough(&all) {
            assert!(Instant::now() < deadline, "not enough: {all:?}");
            if let Ok(Some(report)) = tokio::time::timeout(PATIENCE, self.output.reports.recv()).await {
                all.windows.extend(report.windows);
                all.lost.extend(report.lost);
            }
        }
        all
    }

    pub(super) async fn stop(self) {
        self.handle.stop();
        self.thread.join().unwrap();
        self.shutdown.cancel();
        self.listening.await.unwrap();
        assert!(!self.path.exists(), "its socket goes with it");
        std::fs::remove_dir_all(self.directory).unwrap();
    }
}
