//! The attacks. Each returns what it still holds.

use std::any::Any;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::honest::{Identity, hello, record};
use crate::hub::{ask, from, try_channel};

type KeptOpen = Box<dyn Any + Send>;
type Attack = Box<
    dyn FnOnce(SocketAddr, SocketAddr, Identity) -> Pin<Box<dyn Future<Output = KeptOpen> + Send>> + Send,
>;

/// By name, in the order of the table of what was seen.
pub(crate) fn all() -> Vec<(&'static str, Attack)> {
    vec![
        ("forged places by a rogue agent", Box::new(|grpc, _, of| Box::pin(forged(grpc, of)))),
        (
            "half HTTP/1 heads, 4 pods × 300",
            Box::new(|_, http, _| Box::pin(begun(http, 300, b"GET / HTTP/1.1\r\nx:"))),
        ),
        ("silent connections at gRPC, 4 × 600", Box::new(|grpc, _, _| Box::pin(begun(grpc, 600, b"")))),
        (
            "half HTTP/2 prefaces, 4 × 600",
            Box::new(|grpc, _, _| Box::pin(begun(grpc, 600, b"PRI * HTTP/2.0\r\n"))),
        ),
        ("empty submessages, 20 × 300,000", Box::new(|grpc, _, _| Box::pin(costly(grpc)))),
        ("whole matrices that nobody reads, 32", Box::new(|grpc, http, _| Box::pin(readers(grpc, http)))),
        ("/metrics in 12 loops", Box::new(|_, http, _| Box::pin(scrapes(http)))),
    ]
}

/// Connections from four addresses that begin and do not go on. As many as the hub takes stay open.
async fn begun(to: SocketAddr, each: usize, words: &'static [u8]) -> KeptOpen {
    let mut held = Vec::new();
    for attacker in 2..6 {
        for _ in 0..each {
            let Some(mut stream) = from(attacker, to).await else { continue };
            // It may be closed already.
            drop(stream.write_all(words).await);
            held.push(stream);
        }
    }
    Box::new(held)
}

/// A session of n3, which is a rogue; with what it says.
async fn rogue(grpc: SocketAddr, messages: Vec<FromAgent>) -> KeptOpen {
    let (tx, rx) = mpsc::channel(64);
    let say = |message| v1::SessionRequest { message: Some(message) };
    tx.send(say(FromAgent::Hello(hello("n3")))).await.unwrap();
    // A hub that is attacked may refuse it at any point: so much the better.
    let Ok(channel) = try_channel(grpc).await else { return Box::new(()) };
    let Ok(answers) = AgentServiceClient::new(channel).session(ReceiverStream::new(rx)).await else {
        return Box::new(());
    };
    let mut answers = answers.into_inner();
    // The plan may be large, and is of no interest.
    drop(answers.message().await);
    for message in messages {
        drop(tx.send(say(message)).await);
    }
    // Until it is heard, or thrown out.
    let heard = async { while let Ok(Some(_)) = answers.message().await {} };
    drop(tokio::time::timeout(Duration::from_secs(2), heard).await);
    Box::new((tx, answers))
}

/// Records of the honest agents' lost probe, earlier than the true one; and what the rogue says of others by its own probes.
async fn forged(grpc: SocketAddr, of: Identity) -> KeptOpen {
    let now = unix_now_ns();
    let mut drops = Vec::new();
    for back in 0..200 {
        let earlier = record(of, now - 2 * SECOND_NS - back);
        drops.push(v1::DropRecord { reason: "TCP_CSUM".to_owned(), ifindex: back as u32, ..earlier.clone() });
        // As if the kernel of n3 had dropped what a pod sends in n1's name.
        let mut of_pod = earlier;
        of_pod.flow = of_pod.flow.map(|flow| v1::FlowTuple { source_address: vec![10, 244, 3, 2], ..flow });
        drops.push(of_pod);
    }
    let batch = v1::SampleBatch { sequence: 1, drops, ..Default::default() };
    rogue(grpc, vec![FromAgent::Batch(batch)]).await
}

async fn costly(grpc: SocketAddr) -> KeptOpen {
    let mut held: Vec<KeptOpen> = Vec::new();
    for _ in 0..10 {
        let lost = vec![v1::LostSample::default(); 300_000];
        let batch = v1::SampleBatch { sequence: 1, lost, ..Default::default() };
        held.push(rogue(grpc, vec![FromAgent::Batch(batch)]).await);
        let hooks = vec![v1::HookStatus::default(); 300_000];
        let status = v1::AgentStatus { hooks, ..Default::default() };
        held.push(rogue(grpc, vec![FromAgent::Status(status)]).await);
    }
    Box::new(held)
}

async fn readers(grpc: SocketAddr, http: SocketAddr) -> KeptOpen {
    let mut held: Vec<KeptOpen> = Vec::new();
    let mut asked = JoinSet::new();
    let Ok(channel) = try_channel(grpc).await else { return Box::new(()) };
    let client = ReachabilityServiceClient::new(channel);
    for _ in 0..16 {
        let mut reader = client.clone();
        asked.spawn(async move { drop(reader.get_matrix(v1::GetMatrixRequest::default()).await) });
        if let Some(mut stream) = from(2, http).await {
            drop(stream.write_all(b"GET /api/v1/matrix HTTP/1.1\r\nhost: x\r\n\r\n").await);
            held.push(Box::new(stream));
        }
    }
    asked.join_all().await;
    Box::new(held)
}

async fn scrapes(http: SocketAddr) -> KeptOpen {
    let mut loops = JoinSet::new();
    for _ in 0..12 {
        loops.spawn(async move {
            for _ in 0..50 {
                drop(ask(http, "/metrics").await);
            }
        });
    }
    loops.join_all().await;
    Box::new(())
}
