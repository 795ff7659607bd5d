//! The least that an agent takes for a hub: gives one node a plan, and writes down what it reports, a line of JSON for
//! each reporting window of a path. `cargo xtask bench split` reads windows of one probe each from it, which is finer
//! than what a hub keeps.
//!
//! `listener ADDRESS NODE TARGET PATHS`: `PATHS` ICMP and as many UDP paths from `NODE` to `TARGET`; those of UDP
//! have the odd numbers.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use netcheck_common::header::DEFAULT_RESPONDER_PORT;
use netcheck_common::sketch::{Sketch, bucket_middle};
use netcheck_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as FromHub;
use netcheck_proto::{columns, v1};
use prost_types::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// A probe of each path in every other window, so that hardly a window has two.
const INTERVAL: Duration = Duration { seconds: 0, nanos: 200_000_000 };
/// The shortest that agents do.
const WINDOW: Duration = Duration { seconds: 0, nanos: 100_000_000 };
/// Longer than any quota makes a probe wait.
const TIMEOUT: Duration = Duration { seconds: 2, nanos: 0 };
/// What the hub says ahead of what the agent takes: welcome and plan, then acknowledgements.
const SAID: usize = 64;

#[derive(Clone)]
struct Listener {
    node: String,
    target: IpAddr,
    paths: u32,
}

#[tonic::async_trait]
impl AgentService for Listener {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(SAID);
        // It ends with the agent's connection.
        tokio::spawn(self.clone().listen(request.into_inner(), say));
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

type Say = mpsc::Sender<Result<v1::SessionResponse, Status>>;

impl Listener {
    async fn listen(self, mut heard: Streaming<v1::SessionRequest>, say: Say) {
        let mut session = 0;
        while let Ok(Some(request)) = heard.message().await {
            let answers = match request.message {
                Some(FromAgent::Hello(hello)) => {
                    session = hello.probe_session;
                    let welcome =
                        v1::Welcome { hub_instance: "listener".into(), node_id: 1, applied_sequence: 0 };
                    vec![FromHub::Welcome(welcome), FromHub::Plan(self.plan(&hello.node))]
                }
                Some(FromAgent::Batch(batch)) => {
                    write_down(session, &batch);
                    vec![FromHub::Ack(v1::BatchAck { sequence: batch.sequence })]
                }
                _ => Vec::new(),
            };
            for message in answers {
                if say.send(Ok(v1::SessionResponse { message: Some(message) })).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Paths for the one node, none for others.
    fn plan(&self, node: &str) -> v1::PlanDelta {
        let address = match self.target {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let path = |path_id: u32| v1::PathSpec {
            path_id,
            vantage: v1::Vantage::Host.into(),
            kind: if path_id % 2 == 1 { v1::ProbeKind::Udp } else { v1::ProbeKind::Icmp }.into(),
            address: address.clone(),
            port: u32::from(DEFAULT_RESPONDER_PORT) * (path_id % 2),
            target: "node/far".into(),
            ..Default::default()
        };
        let paths = if node == self.node { 2 * self.paths } else { 0 };
        v1::PlanDelta {
            version: 1,
            upsert: (2..2 + paths).map(path).collect(),
            addresses: Some(v1::AddressTable::default()),
            interval: Some(INTERVAL),
            timeout: Some(TIMEOUT),
            window: Some(WINDOW),
            size_interval: Some(Duration::default()),
            ..Default::default()
        }
    }
}

/// One line for each path of each window. Delays are the middles of their buckets, nanoseconds.
fn write_down(session: u64, batch: &v1::SampleBatch) {
    let mut out = std::io::stdout().lock();
    if batch.dropped_samples > 0 {
        // Nobody is left to read where the output is closed.
        _ = writeln!(out, "{}", serde_json::json!({"session": session, "dropped": batch.dropped_samples}));
    }
    for window in &batch.windows {
        let Ok(rows) = columns::decode(window) else {
            _ = writeln!(out, "{}", serde_json::json!({"session": session, "dropped": window.sent.len()}));
            continue;
        };
        for row in rows {
            let line = serde_json::json!({
                "session": session, "start_ns": window.start_unix_ns, "path": row.path.0,
                "probes": row.sent() + row.suspect, "suspect": row.suspect,
                "round_trip": delays(&row.round_trip), "network": delays(&row.network),
                "host": delays(&row.host), "responder": delays(&row.responder),
            });
            _ = writeln!(out, "{line}");
        }
    }
}

fn delays(sketch: &Sketch) -> Vec<u64> {
    let each = |&(index, count): &(u16, u32)| std::iter::repeat_n(bucket_middle(index), count as usize);
    sketch.entries().iter().flat_map(each).collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, node, target, paths] = words.as_slice() else {
        return Err("usage: listener ADDRESS NODE TARGET PATHS".into());
    };
    let address: SocketAddr = address.parse()?;
    let listener = Listener { node: node.clone(), target: target.parse()?, paths: paths.parse()? };
    tonic::transport::Server::builder().add_service(AgentServiceServer::new(listener)).serve(address).await?;
    Ok(())
}
