//! Who may read: by gRPC, by HTTP with and without encryption, and from the command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kubectl_netcheck::{Answer, Screen};
use netcheck_hub::serve::accept::Limits;
use netcheck_hub::serve::readers::Readers;
use netcheck_hub::serve::tls::TlsTask;
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::reachability_service_client::ReachabilityServiceClient;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::rig::{FakeAgent, Rig, hello};
use crate::tls::{Authority, files, install};

const TOKEN: &str = "readers-token-0123456789";

fn token_in(folder: &Path) -> PathBuf {
    let path = folder.join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    path
}

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn with<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn by_grpc_readers_show_the_token_and_agents_and_health_need_none() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let address = rig.tcp(Readers::Token(token_in(folder.path()))).await;
    let mut reader = ReachabilityServiceClient::new(channel(address).await);
    let mut checks = CheckServiceClient::new(channel(address).await);
    let code = |status: tonic::Status| status.code();

    let none = reader.list_nodes(v1::ListNodesRequest {}).await.map(drop).map_err(code);
    assert_eq!(none, Err(Code::Unauthenticated));
    let wrong = reader.list_nodes(with(v1::ListNodesRequest {}, "another-token-0123456789")).await;
    assert_eq!(wrong.map(drop).map_err(code), Err(Code::Unauthenticated));
    let watch = reader.watch_matrix(v1::WatchMatrixRequest::default()).await;
    assert_eq!(watch.map(drop).map_err(code), Err(Code::Unauthenticated));
    let check = checks.run_check(v1::RunCheckRequest::default()).await;
    assert_eq!(check.map(drop).map_err(code), Err(Code::Unauthenticated));
    assert_eq!(rig.hub.lock().counters.readers_refused, 4);

    assert!(reader.list_nodes(with(v1::ListNodesRequest {}, TOKEN)).await.is_ok());
    assert!(checks.run_check(with(v1::RunCheckRequest::default(), TOKEN)).await.is_ok());
    let agent = FakeAgent::start(channel(address).await, hello("n1", "boot-1")).await;
    drop(agent);
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel(address).await);
    assert!(health.check(tonic_health::pb::HealthCheckRequest::default()).await.is_ok());

    std::fs::remove_file(folder.path().join("token")).unwrap();
    let gone = reader.list_nodes(with(v1::ListNodesRequest {}, TOKEN)).await;
    assert_eq!(gone.map(drop).map_err(code), Err(Code::Unavailable), "not open because the token is gone");
}

/// Status and body of a GET.
async fn get(mut io: impl AsyncRead + AsyncWrite + Unpin, path: &str, token: Option<&str>) -> (u16, String) {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: netcheck-hub\r\nConnection: close\r\n{token}\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A peer that closes without TLS's good-bye has said all that it wanted.
    drop(io.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn by_http_health_and_metrics_are_open_and_the_rest_is_for_readers() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let paths = ["/api/v1/report", "/api/v1/matrix", "/api/v1/nodes", "/api/v1/incidents"];
    for (readers, without, with) in [
        (Readers::Anybody, 200, 200),
        (Readers::Token(token_in(folder.path())), 401, 200),
        (Readers::Certified, 403, 403),
    ] {
        let address = rig.http(readers, None).await;
        let ask = async |path, token| get(TcpStream::connect(address).await.unwrap(), path, token).await.0;
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(ask(path, None).await, 200, "{path}");
        }
        for path in paths {
            assert_eq!((ask(path, None).await, ask(path, Some(TOKEN)).await), (without, with), "{path}");
        }
        assert_eq!(ask("/nothing", None).await, 404);
    }
}

#[tokio::test]
async fn http_with_encryption_asks_nobody_for_a_certificate() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let (hubs, clients) = (Authority::new(), Authority::new());
    install(folder.path(), &hubs.issue("netcheck-hub"));
    let (_task, certificates) =
        TlsTask::start(files(folder.path(), Some(&clients)), Arc::clone(&rig.hub)).unwrap();
    let address = rig.http(Readers::Token(token_in(folder.path())), Some(certificates.http)).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(hubs.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let connect = async || {
        let stream = TcpStream::connect(address).await.unwrap();
        connector.connect(ServerName::try_from("netcheck-hub").unwrap(), stream).await.unwrap()
    };
    assert_eq!(get(connect().await, "/healthz", None).await, (200, "ok\n".to_owned()));
    assert_eq!(get(connect().await, "/api/v1/nodes", None).await.0, 401);
    let (status, body) = get(connect().await, "/api/v1/nodes", Some(TOKEN)).await;
    assert!(status == 200 && body.contains("\"n1\""), "{status} {body}");
    // Plaintext to the encrypted port gets no answer, and is counted.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"));
    rig.until("it is counted", |state| state.counters.handshakes_failed == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_the_token_and_says_when_it_is_missing() {
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let path = token_in(folder.path());
    let address = rig.tcp(Readers::Token(path.clone())).await;
    let run = async |token: Option<PathBuf>| -> Answer {
        let mut words = ["kubectl-netcheck", "nodes", "--hub"].map(OsString::from).to_vec();
        words.push(format!("http://{address}").into());
        words.extend(token.into_iter().flat_map(|path| ["--token-file".into(), path.into()]));
        let ask = move || kubectl_netcheck::run(words, &Screen::plain());
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    let denied = run(None).await;
    assert_eq!(denied.code, 1, "{denied:?}");
    assert_eq!(denied.err.lines().count(), 1, "{denied:?}");
    assert!(denied.err.contains("--token-file"), "{denied:?}");
    let admitted = run(Some(path)).await;
    assert_eq!(admitted.code, 0, "{admitted:?}");
    assert!(admitted.out.contains("n1"), "{admitted:?}");
    let unreadable = run(Some(folder.path().join("nothing"))).await;
    assert!(unreadable.err.contains("--token-file"), "{unreadable:?}");
}

/// As `kubectl exec` does in the hub's pod: nothing is looked up, and the certificate has the Service's name alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_asks_by_loopback_and_knows_the_hub_by_the_name_that_agents_use() {
    const NAME: &str = "netcheck-hub.netcheck.svc";
    let (rig, folder) = (Rig::start(), tempfile::tempdir().unwrap());
    let authority = Authority::new();
    install(folder.path(), &authority.issue(NAME));
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let (_task, certificates) = TlsTask::start(files(folder.path(), None), Arc::clone(&rig.hub)).unwrap();
    let gate = rig.gate(Some(certificates.grpc), Limits::default()).await;
    let run = async |more: &[&str]| -> Answer {
        let mut words = ["kubectl-netcheck", "nodes", "--ca-cert"].map(OsString::from).to_vec();
        words.extend([ca.clone().into(), "--hub".into(), format!("https://{}", gate.address).into()]);
        words.extend(more.iter().map(OsString::from));
        let ask = move || kubectl_netcheck::run(words, &Screen::plain());
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    assert!(gate.address.ip().is_loopback(), "{}", gate.address);
    let known = run(&["--tls-server-name", NAME]).await;
    assert!(known.code == 0 && known.out.contains("n1"), "{known:?}");
    let other = run(&[]).await;
    assert!(other.code == 1 && other.err.contains("cannot reach the hub"), "{other:?}");
}

/// Passes connections on to a hub. The first ones break once the hub has begun to answer a call: it has said more than the
/// beginning of a connection takes. Their number, as they come.
async fn breaking(hub: SocketAddr, first: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    const BEGUN: u64 = 120;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((reader, _)) = listener.accept().await {
            let breaks = counted.fetch_add(1, Ordering::SeqCst) < first;
            tokio::spawn(async move {
                let (mut from, mut to) = reader.into_split();
                let (answers, mut asked) = TcpStream::connect(hub).await.unwrap().into_split();
                let mut said = answers.take(if breaks { BEGUN } else { u64::MAX });
                let asks = tokio::io::copy(&mut from, &mut asked);
                let says = tokio::io::copy(&mut said, &mut to);
                tokio::select! { _ = asks => {}, _ = says => {} }
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_whose_connection_breaks_begins_anew() {
    let rig = Rig::start();
    let (address, connections) = breaking(rig.tcp(Readers::Anybody).await, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let words = ["kubectl-netcheck", "check", "--deadline", "300ms", "--hub", &format!("http://{address}")];
    let mut words = words.map(OsString::from).to_vec();
    words.extend(["--result".into(), folder.path().join("result.json").into()]);
    let ask = move || kubectl_netcheck::run(words, &Screen::plain());
    let answer = tokio::task::spawn_blocking(ask).await.unwrap();
    assert!(connections.load(Ordering::SeqCst) > 1, "{answer:?}");
    // Nobody probes here: it is the hub's own result all the same.
    assert!(!answer.err.contains("did not answer") && answer.out.contains("not measured"), "{answer:?}");
}
