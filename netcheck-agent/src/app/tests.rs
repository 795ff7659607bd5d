//! The whole agent, without kernel programs, against a hub that says what the test wants.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use netcheck_proto::v1::session_request::Message as ToHub;
use netcheck_proto::v1::session_response::Message as FromHub;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::run;
use crate::config::{Command, parse};

const PATIENCE: Duration = Duration::from_secs(60);

type Answer = Result<v1::SessionResponse, Status>;

/// Hands each session to the test: what it hears, and what it is sent.
struct Hub(mpsc::Sender<(Streaming<v1::SessionRequest>, mpsc::Sender<Answer>)>);

#[tonic::async_trait]
impl AgentService for Hub {
    type SessionStream = ReceiverStream<Answer>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(4);
        self.0.send((request.into_inner(), say)).await.map_err(|_| Status::unavailable("it is over"))?;
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

/// An agent, which ends with the tests' process.
fn start(hub: SocketAddr, more: &[&str]) {
    let url = format!("http://{hub}");
    let own = [
        "--responder-addr",
        "127.0.0.1:0",
        "--http-addr",
        "127.0.0.1:0",
        "--relay",
        "off",
        "--ebpf",
        "off",
        "--insecure",
    ];
    let args =
        ["netcheck-agent", "--node", "n1", "--hub", &url].into_iter().chain(own).chain(more.iter().copied());
    let Ok(Command::Run(flags)) = parse(args.map(OsString::from)) else { panic!("these are its flags") };
    std::thread::spawn(move || run(&flags));
}

async fn hello(heard: &mut Streaming<v1::SessionRequest>) -> v1::Hello {
    match heard.message().await.unwrap().and_then(|request| request.message) {
        Some(ToHub::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_session_that_is_taken_is_replaced_at_once_and_a_token_that_is_renewed_is_shown() {
    let folder = std::env::temp_dir().join(format!("netcheck-app-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let token = folder.join("token");
    std::fs::write(&token, "one").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sessions, mut begun) = mpsc::channel(4);
    let service = AgentServiceServer::new(Hub(sessions));
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    start(address, &["--token-file", token.to_str().unwrap()]);

    let all = async {
        let (mut heard, say) = begun.recv().await.unwrap();
        let first = hello(&mut heard).await;
        say.send(Err(Status::failed_precondition("hello.probe_session is that of n3"))).await.unwrap();
        let (mut heard, say) = begun.recv().await.unwrap();
        let second = hello(&mut heard).await;
        assert_ne!(first.probe_session, second.probe_session);
        assert_ne!(first.boot_id, second.boot_id, "its batches count from the first again");
        let welcome = v1::Welcome { hub_instance: "h".into(), node_id: 7, applied_sequence: 0 };
        say.send(Ok(v1::SessionResponse { message: Some(FromHub::Welcome(welcome)) })).await.unwrap();
        // The kubelet replaces it.
        std::fs::write(&token, "two").unwrap();
        loop {
            let said = heard.message().await.unwrap().expect("the session goes on").message;
            if let Some(ToHub::TokenRenewal(renewal)) = said {
                return renewal.token;
            }
        }
    };
    let shown =
        tokio::time::timeout(PATIENCE, all).await.expect("the agent comes again, and shows its token");
    assert_eq!(shown, "two");
    std::fs::remove_dir_all(&folder).unwrap();
}
