//! The live matrix on a real terminal, which `script` makes: it is left as it was, however it ends, and a hub that is lost is
//! found again.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, stream};
use netcheck_proto::v1;
use netcheck_proto::v1::reachability_service_server::{ReachabilityService, ReachabilityServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Anything that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(40);
const LEFT: &str = "\u{1b}[?1049l";

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Two nodes of which one does not answer the other.
struct Small;

fn endless<T: Send + 'static>(messages: Vec<T>) -> Result<Response<Messages<T>>, Status> {
    Ok(Response::new(Box::pin(stream::iter(messages.into_iter().map(Ok)).chain(stream::pending()))))
}

fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the live matrix does not ask this"))
}

#[tonic::async_trait]
impl ReachabilityService for Small {
    type WatchMatrixStream = Messages<v1::WatchMatrixResponse>;
    type WatchIncidentsStream = Messages<v1::WatchIncidentsResponse>;

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let node = |name: &str| v1::Node { name: name.to_owned(), ..Default::default() };
        Ok(Response::new(v1::ListNodesResponse { nodes: vec![node("alpha"), node("beta")] }))
    }

    async fn watch_matrix(
        &self,
        request: Request<v1::WatchMatrixRequest>,
    ) -> Result<Response<Self::WatchMatrixStream>, Status> {
        let selector = request.into_inner().selector.unwrap_or_default();
        if selector.sources != ["alpha", "beta"] || selector.targets != ["alpha", "beta"] {
            return Err(Status::invalid_argument("what is shown is asked for"));
        }
        let path = v1::Path {
            source_node: "alpha".to_owned(),
            target: Some(v1::Target { name: "beta".to_owned(), ..Default::default() }),
            kind: v1::ProbeKind::Icmp.into(),
            ..Default::default()
        };
        let verdict = v1::Verdict::Unreachable.into();
        let cell = Some(v1::MatrixCell { path: Some(path), verdict, ..Default::default() });
        let cell = v1::WatchMatrixResponse { cell, ..Default::default() };
        endless(vec![cell, v1::WatchMatrixResponse { initial_done: true, ..Default::default() }])
    }

    async fn watch_incidents(
        &self,
        _: Request<v1::WatchIncidentsRequest>,
    ) -> Result<Response<Self::WatchIncidentsStream>, Status> {
        let incident = v1::Incident {
            id: "i-7".to_owned(),
            state: v1::IncidentState::Open.into(),
            verdict: v1::Verdict::Unreachable.into(),
            headline: "beta answers nobody".to_owned(),
            ..Default::default()
        };
        endless(vec![v1::WatchIncidentsResponse { incident: Some(incident), initial_done: false }])
    }

    async fn get_version(
        &self,
        _: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        not_asked()
    }

    async fn list_targets(
        &self,
        _: Request<v1::ListTargetsRequest>,
    ) -> Result<Response<v1::ListTargetsResponse>, Status> {
        not_asked()
    }

    async fn get_matrix(
        &self,
        _: Request<v1::GetMatrixRequest>,
    ) -> Result<Response<v1::GetMatrixResponse>, Status> {
        not_asked()
    }

    async fn get_path(
        &self,
        _: Request<v1::GetPathRequest>,
    ) -> Result<Response<v1::GetPathResponse>, Status> {
        not_asked()
    }

    async fn get_report(
        &self,
        _: Request<v1::GetReportRequest>,
    ) -> Result<Response<v1::GetReportResponse>, Status> {
        not_asked()
    }

    async fn list_incidents(
        &self,
        _: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        not_asked()
    }

    async fn get_path_history(
        &self,
        _: Request<v1::GetPathHistoryRequest>,
    ) -> Result<Response<v1::GetPathHistoryResponse>, Status> {
        not_asked()
    }

    async fn list_events(
        &self,
        _: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        not_asked()
    }
}

/// A hub, until it is dropped.
struct Hub {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn hub(address: &str) -> Hub {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let listener = loop {
        match runtime.block_on(TcpListener::bind(address)) {
            Ok(listener) => break listener,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::yield_now();
    };
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(ReachabilityServiceServer::new(Small));
    runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Hub { address, _runtime: runtime }
}

/// A terminal of 100 by 30 in which a shell runs a command, and says how the terminal is then.
struct Shell {
    script: Child,
    keys: ChildStdin,
    shown: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Shell {
    fn run(command: &str) -> Self {
        let line =
            format!("stty rows 30 cols 100; {command}; echo \"ended with $?\"; stty -a; echo all is shown");
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--command", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length) = out.read(&mut part) {
                if length == 0 || sender.send(part[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { script, keys, shown, text: String::new() }
    }

    fn watch(address: SocketAddr, before: &str) -> Self {
        let binary = env!("CARGO_BIN_EXE_kubectl-netcheck");
        Self::run(&format!("{before} {binary} watch --tui --hub http://{address}"))
    }

    /// Waits until it was shown. What was shown before is looked at no more.
    fn until(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(words) {
                let rest = self.text.split_off(at + words.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(part) => self.text += &String::from_utf8_lossy(&part),
                Err(_) => panic!("{words:?} is not shown: {:?}", self.text),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// The command ended with this code, and the terminal is as it was.
    fn left(mut self, code: &str) {
        self.until(LEFT);
        self.until(&format!("ended with {code}"));
        let settings = self.until("all is shown");
        let settings: Vec<&str> = settings.split_whitespace().collect();
        for on in ["icanon", "echo", "isig", "icrnl"] {
            assert!(settings.contains(&on), "{on} is off: {settings:?}");
        }
        drop(self.keys);
        self.script.wait().unwrap();
    }
}

#[test]
fn the_terminal_is_left_as_it_was_by_keys_and_by_signals() {
    let hub = hub("127.0.0.1:0");
    for keys in ["q", "\u{1b}", "\u{3}"] {
        let mut shell = Shell::watch(hub.address, "");
        shell.until("alpha");
        shell.until("i-7");
        shell.press(keys);
        shell.left("0");
    }
    let mut shell = Shell::watch(hub.address, "timeout --foreground --signal=TERM 5");
    shell.until("nobody");
    // What `timeout` itself says where it had to end something.
    shell.left("124");
}

#[test]
fn a_panic_is_reported_on_a_terminal_that_was_given_back() {
    // The unit tests of the crate have one that takes the terminal and panics.
    let dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let mut unit: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("kubectl_netcheck-"))
        .collect();
    let made = |path: &std::path::PathBuf| path.metadata().and_then(|file| file.modified()).unwrap();
    unit.sort_by_key(|path| std::cmp::Reverse(made(path)));
    let test = "watch::tui::terminal::tests::panics_on_the_whole_terminal";
    for path in unit {
        let listed = Command::new(&path).args(["--list", "--ignored"]).output().unwrap();
        if String::from_utf8_lossy(&listed.stdout).contains(test) {
            let mut shell = Shell::run(&format!("{} --exact {test} --ignored --nocapture", path.display()));
            shell.until("\u{1b}[?1049h");
            let before = shell.until("panicked after the terminal was given back");
            assert!(before.contains(LEFT), "{before:?}");
            shell.until("ended with 101");
            let settings = shell.until("all is shown");
            assert!(settings.contains(" icanon") && settings.contains(" echo "), "{settings}");
            return;
        }
    }
    panic!("the unit tests of this crate are built with it");
}

#[test]
fn a_hub_that_is_lost_is_said_and_found_again() {
    let first = hub("127.0.0.1:0");
    let address = first.address;
    let mut shell = Shell::watch(address, "");
    shell.until("i-7");
    drop(first);
    shell.until("lost");
    let _again = hub(&address.to_string());
    shell.until("netcheck:");
    shell.press("q");
    shell.left("0");
}

#[test]
fn without_a_terminal_it_says_so() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-netcheck"));
    let output =
        command.args(["watch", "--tui", "--hub", "127.0.0.1:9"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.contains("--tui needs a terminal") && output.stdout.is_empty(), "{line}");
}
