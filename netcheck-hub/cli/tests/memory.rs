//! The real binary and a check of a large cluster: what it holds does not grow with the number of paths.

use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::Stream;
use futures::stream;
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_server::{CheckService, CheckServiceServer};
use netcheck_proto::v1::run_check_response::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What the command may hold at 1,000 nodes.
const LIMIT_KB: u64 = 200 << 10;
/// More paths fail than are kept.
const FAILED: u64 = 110_000;
const FINE: u64 = 40_000;
/// How often it is looked at what the command holds.
const LOOK: Duration = Duration::from_millis(10);
/// Cells in one message.
const CELLS: u64 = 500;

/// A hub that reports so many paths, as it reads them.
struct Large;

fn cell(at: u64) -> v1::MatrixCell {
    let (source, target) = (at / 1000 % 1000, at % 1000);
    let verdict = if at < FAILED { v1::Verdict::Unreachable } else { v1::Verdict::Reachable };
    let delay = Some(prost_types::Duration { seconds: 0, nanos: 400_000 });
    let round_trip = v1::Delay { samples: 3, p50: delay, p99: delay, mean: delay, ..Default::default() };
    let summary = format!("request dropped on node-{target} at netfilter input: NETFILTER_DROP");
    v1::MatrixCell {
        path: Some(v1::Path {
            source_node: format!("node-{source}.example.com"),
            vantage: v1::Vantage::Pod.into(),
            target: Some(v1::Target {
                id: format!("node/node-{target}.example.com"),
                kind: v1::TargetKind::Node.into(),
                name: format!("node-{target}.example.com"),
                ..Default::default()
            }),
            kind: v1::ProbeKind::Udp.into(),
            family: v1::Family::Ipv4.into(),
            address: format!("10.0.{}.{}", target / 250, target % 250),
            port: 6100,
            ..Default::default()
        }),
        verdict: verdict.into(),
        stats: Some(v1::PathStats { sent: 3, reply: 3, round_trip: Some(round_trip), ..Default::default() }),
        loss: (at < FAILED).then(|| v1::LocatedLoss { summary, ..Default::default() }),
        ..Default::default()
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<v1::RunCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CheckService for Large {
    type RunCheckStream = Messages;

    async fn run_check(&self, _: Request<v1::RunCheckRequest>) -> Result<Response<Messages>, Status> {
        let paths = FAILED + FINE;
        let cells = (0..paths / CELLS).map(|batch| {
            let cells = (batch * CELLS..(batch + 1) * CELLS).map(cell).collect();
            Message::Cells(v1::CheckCells { cells })
        });
        let report = v1::Report {
            paths,
            unreachable: FAILED,
            reachable: FINE,
            conclusion: v1::Conclusion::Unreachable.into(),
            headline: format!("{FAILED} of {paths} paths are unreachable"),
            ..Default::default()
        };
        let result = Message::Result(v1::CheckResult { report: Some(report), ..Default::default() });
        let messages =
            cells.chain([result]).map(|message| Ok(v1::RunCheckResponse { message: Some(message) }));
        Ok(Response::new(Box::pin(stream::iter(messages))))
    }

    async fn list_scheduled_checks(
        &self,
        _: Request<v1::ListScheduledChecksRequest>,
    ) -> Result<Response<v1::ListScheduledChecksResponse>, Status> {
        Err(Status::unimplemented("this hub has no schedule"))
    }
}

/// The most that a process held until now, in KiB; none when it is over.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_large_cluster_keeps_a_bounded_part_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(CheckServiceServer::new(Large));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let folder = tempfile::tempdir().unwrap();
    let result = folder.path().join("result.json");
    let mut check = Command::new(env!("CARGO_BIN_EXE_kubectl-netcheck"));
    check.args(["check", "--hub", &hub, "--expect", "p99=1s", "--result"]).arg(&result);
    let mut child = check.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let mut looks = tokio::time::interval(LOOK);
    let ended = loop {
        peak = peak.max(peak_kb(child.id()).unwrap_or_default());
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        looks.tick().await;
    };
    assert_eq!(ended.code(), Some(2));
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
    assert_eq!(saved["failedTotal"].as_u64(), Some(FAILED));
    assert_eq!(saved["failed"].as_array().map(Vec::len), Some(100_000), "and no more");
    println!("{} MiB for {} paths", peak >> 10, FAILED + FINE);
    assert!(peak > 0 && peak < LIMIT_KB, "{peak} KiB");
}
