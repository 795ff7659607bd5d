//! The client against real servers: credentials, TLS, deadlines.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{Board, Client, ClientError, Credentials, Endpoint, PostError, QUIET, Url, UrlError};

const SOON: Duration = Duration::from_secs(20);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Two of one name are distinguished by their signatures alone, and then that is what is said to be wrong.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Answers every connection with 204, by TLS.
async fn serve_tls(listener: TcpListener, issuer: &Authority) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that trusts nobody hangs up.
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let mut request = [0; 1024];
        let _length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
        drop(stream.shutdown().await);
    }
}

#[test]
fn addresses_that_can_be_sent_to() {
    for (text, expected) in [
        ("ftp://a", Err(UrlError::Scheme)),
        ("alertmanager:9093", Err(UrlError::Malformed)),
        ("http:///x", Err(UrlError::Malformed)),
        ("https://user:secret@a/x", Err(UrlError::Credentials)),
        ("http://a:9093/am/?x=1", Ok("http://a:9093/am/api/v2/alerts")),
        ("https://[fd00::1]:9093", Ok("https://[fd00::1]:9093/api/v2/alerts")),
    ] {
        let joined = text.parse::<Url>().map(|url| url.join("api/v2/alerts").to_string());
        assert_eq!(joined, expected.map(ToOwned::to_owned), "{text}");
    }
}

#[tokio::test]
async fn secrets_are_read_anew_for_every_request() {
    let app = Router::new().route(
        "/x",
        post(|headers: HeaderMap, body: Bytes| async move {
            let who = headers.get("authorization").map_or("", |value| value.to_str().unwrap());
            (StatusCode::ACCEPTED, format!("{who} {}", body.len()))
        }),
    );
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let url: Url = format!("http://127.0.0.1:{port}/x").parse().unwrap();
    let with = |credentials| Client::new(Endpoint { url: url.clone(), credentials, ca: None }, SOON).unwrap();
    let token = with(Credentials::Bearer { file: file.clone() });
    let missing = token.post(&url, &[], Bytes::new()).await.unwrap_err();
    assert!(matches!(missing, PostError::Secret { .. }), "{missing}");
    for secret in ["one", "two"] {
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let answer = token.post(&url, &[], Bytes::from_static(b"four")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text), (202, format!("Bearer {secret} 4")));
    }
    let basic = with(Credentials::Basic { user: "hub".to_owned(), password_file: file.clone() });
    assert_eq!(basic.post(&url, &[], Bytes::new()).await.unwrap().text, "Basic aHViOnR3bw== 0");
    std::fs::write(&file, "a\u{7}b").unwrap();
    let bad = token.post(&url, &[], Bytes::new()).await.unwrap_err();
    assert!(matches!(bad, PostError::Header { .. }) && !bad.to_string().contains("a\u{7}b"), "{bad}");
    server.abort();
}

#[tokio::test]
async fn only_who_is_vouched_for_is_sent_to() {
    let (ours, other) = (authority("ours"), authority("other"));
    let (listener, port) = listen().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let url: Url = format!("https://localhost:{port}/").parse().unwrap();
    let endpoint = Endpoint { ca: Some(file.path().to_owned()), ..Endpoint::open(url.clone()) };
    let empty = Client::new(endpoint.clone(), SOON).unwrap_err();
    assert!(matches!(empty, ClientError::Authorities { .. }), "{empty}");
    std::fs::write(file.path(), other.pem()).unwrap();
    let client = Client::new(endpoint, SOON).unwrap();
    let asking = async {
        let refused = client.post(&url, &[], Bytes::new()).await.unwrap_err();
        assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
        // Renewed authorities are taken without a restart, and a file that is half written leaves the last good ones.
        std::fs::write(file.path(), ours.pem() + &other.pem()).unwrap();
        assert_eq!(client.post(&url, &[], Bytes::new()).await.unwrap().status, 204);
        std::fs::write(file.path(), "-----BEGIN CERT").unwrap();
        assert_eq!(client.post(&url, &[], Bytes::new()).await.unwrap().status, 204);
    };
    tokio::select! {
        () = asking => {}
        () = serve_tls(listener, &ours) => {}
    }
}

#[tokio::test]
async fn who_never_answers_is_not_waited_for() {
    let (listener, port) = listen().await;
    let url: Url = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let short = Duration::from_millis(50);
    let client = Client::new(Endpoint::open(url.clone()), short).unwrap();
    let late = client.post(&url, &[], Bytes::new()).await.unwrap_err();
    assert!(matches!(late, PostError::Late(_)), "{late}");
    drop(listener);
    let client = Client::new(Endpoint::open(url.clone()), SOON).unwrap();
    let refused = client.post(&url, &[], Bytes::new()).await.unwrap_err();
    assert!(
        refused.to_string().contains("can't connect") && refused.to_string().contains("refused"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_bound() {
    let app = Router::new()
        .route("/", post(|State(body): State<String>| async move { (StatusCode::BAD_REQUEST, body) }))
        .with_state("x".repeat(1 << 20));
    let (listener, port) = listen().await;
    let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let url: Url = format!("http://127.0.0.1:{port}/").parse().unwrap();
    let client = Client::new(Endpoint::open(url.clone()), SOON).unwrap();
    let answer = client.post(&url, &[], Bytes::new()).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.len() <= 1 << 10);
    server.abort();
}

#[test]
fn reports_say_what_is_amiss_and_nothing_else() {
    let board = Board::default();
    let entry = board.enter("remote_write", "tsdb:9090", "samples");
    assert_eq!(board.standings()[0].caveats(), Vec::<String>::new());
    entry.update(|standing| {
        standing.pending = 7;
        standing.trouble = Some("can't connect: refused".to_owned());
        standing.note("the queue is in memory".to_owned());
        standing.note("the queue is in memory".to_owned());
    });
    let lines = entry.standing().caveats();
    let expected = [
        "remote write tsdb:9090 takes nothing, 7 samples wait: can't connect: refused",
        "remote write tsdb:9090: the queue is in memory",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_was_amiss_ends_when_nothing_happens_for_a_while() {
    let board = Board::default();
    let entry = board.enter("remote_write", "tsdb:9090", "samples");
    entry.update(|standing| {
        standing.dropped += 3;
        standing.note("a file can't be read".to_owned());
    });
    let standing = entry.standing();
    let since = standing.dropped_at.max(standing.noted_at).unwrap();
    let given_up = "3 samples to remote write tsdb:9090 were given up since the hub started";
    let noted = "remote write tsdb:9090: a file can't be read";
    assert_eq!(standing.caveats(), [given_up, noted]);
    assert_eq!(standing.caveats_at(since + QUIET + SOON), Vec::<String>::new());
    // What waits is no sign of trouble; what goes on being amiss is.
    entry.update(|standing| standing.pending = 9);
    assert_eq!(entry.standing().dropped_at, standing.dropped_at);
    entry.update(|standing| standing.note("a file can't be read".to_owned()));
    assert!(entry.standing().noted_at > standing.noted_at);
    assert_eq!(entry.standing().dropped, 3, "the count stays");
}
