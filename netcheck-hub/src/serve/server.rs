//! The gRPC side: all services with their limits. In: connections. Cancelling drains them.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_server::AgentServiceServer;
use netcheck_proto::v1::check_service_server::CheckServiceServer;
use netcheck_proto::v1::peer_service_server::PeerServiceServer;
use netcheck_proto::v1::reachability_service_server::ReachabilityServiceServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic_health::ServingStatus;

use crate::serve::accept::Caller;
use crate::serve::check::Checks;
use crate::serve::identity::Identity;
use crate::serve::inflight::{InFlight, Large};
use crate::serve::opened::Opened;
use crate::serve::peers::Peers;
use crate::serve::reachability::Reachability;
use crate::serve::readers::Readers;
use crate::serve::role::Role;
use crate::serve::session::Sessions;
use crate::state::Hub;

/// Largest message that is taken. A batch of 200,000 samples fits.
pub const MESSAGE_LIMIT: usize = 4 << 20;
/// Largest question of a reader's: some thousand names to select by.
const QUESTION_LIMIT: usize = 256 << 10;
/// Largest list of another cluster's targets: 2,000 of them.
const PEERS_LIMIT: usize = 2 << 20;
/// Streams of one connection: an agent needs one, a reader a few.
const STREAMS: u32 = 64;
/// What a request may have in headers; a token is the largest part (bytes).
const HEADERS: u32 = 32 << 10;
/// A peer that does not answer within these two is gone. Some time, for either side may be starved, and a session that is begun
/// anew costs both more; that nothing comes from an agent is shown long before, as no data.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves `incoming`, to agents that `identity` admits and to `readers`, until `shutdown` is cancelled and the connections have drained.
///
/// # Errors
/// The transport's own.
pub async fn serve<I, IO, E>(
    hub: Arc<Hub>,
    identity: Arc<Identity>,
    readers: Readers,
    incoming: I,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    I: Stream<Item = Result<IO, E>>,
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in ["", "Agent", "Reachability", "Check", "Peer"] {
        let name = if service.is_empty() { String::new() } else { format!("netcheck.v1.{service}Service") };
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let sessions = Sessions::new(Arc::clone(&hub), identity, shutdown.clone());
    let reachability = Reachability::new(Arc::clone(&hub), shutdown.clone());
    let checks = Checks::new(Arc::clone(&hub), shutdown.clone());
    let reachability = ReachabilityServiceServer::new(reachability).max_decoding_message_size(QUESTION_LIMIT);
    let reachability = Large::new(reachability, InFlight::new(Arc::clone(&hub)));
    let checks = CheckServiceServer::new(checks).max_decoding_message_size(QUESTION_LIMIT);
    let peers = PeerServiceServer::new(Peers::new(Arc::clone(&hub))).max_decoding_message_size(PEERS_LIMIT);
    let gate = move |request: Request<()>| {
        let role = request.extensions().get::<Caller>().map_or(Role::Either, |caller| caller.role);
        role.read().inspect_err(|_| hub.lock().counters.readers_refused += 1)?;
        readers.admit_grpc(&hub, request)
    };
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADERS)
        .concurrency_limit_per_connection(STREAMS as usize)
        .load_shed(true)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(Opened::new(AgentServiceServer::new(sessions).max_decoding_message_size(MESSAGE_LIMIT)))
        .add_service(InterceptedService::new(reachability, gate.clone()))
        .add_service(InterceptedService::new(checks, gate.clone()))
        .add_service(InterceptedService::new(peers, gate))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await?;
    Ok(())
}
