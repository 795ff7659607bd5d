//! Against real servers on this host's loopback.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use netcheck_common::domain::{PathId, ProbeKind, Sequence};
use netcheck_proto::convert;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustix::net::SocketType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::plan::policy::{self, Allowed};
use crate::plan::{PathPlan, Plan};
use crate::probe::socket::Sockets;

const KEY: ProbeKey = ProbeKey { path: PathId(1), sequence: Sequence(9) };
const PATIENCE_NS: u64 = 20_000 * MILLISECOND_NS;
const IMPATIENCE_NS: u64 = 200 * MILLISECOND_NS;

fn spec(kind: v1::ProbeKind) -> v1::PathSpec {
    v1::PathSpec {
        path_id: 1,
        vantage: v1::Vantage::Host.into(),
        kind: kind.into(),
        address: convert::address_bytes([10, 0, 0, 1].into()),
        port: 443,
        dns_name: "web.default.svc.cluster.local.".to_owned(),
        dns_type: 1,
        http: Some(v1::HttpRequest {
            host: "web.test".to_owned(),
            path: "/healthz?a=b".to_owned(),
            expected: Vec::new(),
            resolve: String::new(),
        }),
        ..Default::default()
    }
}

fn https(name: &str, authority: bool) -> v1::PathSpec {
    let tls = Some(v1::TlsCheck { name: name.to_owned(), authority });
    v1::PathSpec { tls, ..spec(v1::ProbeKind::Http) }
}

/// As the plan has it.
fn planned(spec: v1::PathSpec, authorities: &[u8]) -> (PathPlan, Arc<Authorities>) {
    let mut plan = Plan::empty(policy::refusal, Allowed::default(), Vec::new(), false);
    let authorities = authorities.to_owned();
    let delta = v1::PlanDelta { version: 1, upsert: vec![spec], authorities, ..Default::default() };
    plan.apply(&delta).unwrap();
    assert!(plan.refused.is_empty(), "{:?}", plan.refused);
    (plan.paths[&PathId(1)].clone(), Arc::clone(&plan.authorities))
}

async fn probe(target: SocketAddr, spec: v1::PathSpec, authorities: &[u8], timeout_ns: u64) -> Ending {
    let (plan, authorities) = planned(spec, authorities);
    let socket = Sockets::Host.open(Family::V4, SocketType::STREAM, None).unwrap();
    let exchange = plan.exchange.unwrap();
    let job = Job { key: KEY, target, socket, exchange, authorities, timeout_ns, prior: Prior::default() };
    let Done::Ended { key: KEY, ending } = carry_out(job).await else { panic!("another probe") };
    ending
}

fn seen(ending: Ending, expected: Outcome) -> ExchangeSeen {
    let Ending::Failed { outcome, detail } = ending else { panic!("{ending:?}") };
    assert_eq!(outcome, expected, "{detail:?}");
    *detail.exchange.unwrap()
}

/// A server that does this with every connection.
async fn server<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    address
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, text: &str) {
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(len) if len > 0 => head.extend_from_slice(&chunk[..len]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /healthz?a=b HTTP/1.1\r\nhost: web.test\r\n"), "{head}");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn http(text: &'static str) -> SocketAddr {
    server(move |mut stream| async move { answer(&mut stream, text).await }).await
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `web.test`, valid in these years.
async fn https_server(issuer: &CertifiedIssuer<'static, KeyPair>, years: (i32, i32)) -> SocketAddr {
    let mut params = CertificateParams::new(vec!["web.test".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            answer(&mut stream, OK).await;
        }
    })
    .await
}

/// 2100-01-01.
const YEAR_2100: i64 = 4_102_444_800;

#[tokio::test]
async fn an_answer_has_its_steps_and_each_is_a_part_of_the_whole() {
    let ca = authority("ca");
    for (target, spec, tls) in [
        (http(OK).await, spec(v1::ProbeKind::Http), false),
        (https_server(&ca, (2020, 2100)).await, https("web.test", true), true),
    ] {
        let ending = probe(target, spec, ca.pem().as_bytes(), PATIENCE_NS).await;
        let Ending::Exchanged { steps, not_after } = ending else { panic!("{ending:?}") };
        let parts = [steps.connect_ns, steps.tls_ns, steps.first_byte_ns];
        assert_eq!(parts.map(|part| part.is_some()), [true, tls, true], "{steps:?}");
        assert!(parts.into_iter().flatten().sum::<u64>() <= steps.total_ns, "{steps:?}");
        assert_eq!(not_after, tls.then_some(YEAR_2100));
    }
}

#[tokio::test]
async fn a_method_headers_and_a_body_are_sent_as_they_are_asked_for() {
    let (heads, mut received) = mpsc::channel(1);
    let target = server(move |mut stream| {
        let heads = heads.clone();
        async move {
            let (mut got, mut chunk) = (Vec::new(), [0; 1024]);
            while !got.ends_with(b"{\"a\":1}") {
                match stream.read(&mut chunk).await {
                    Ok(len) if len > 0 => got.extend_from_slice(&chunk[..len]),
                    _ => break,
                }
            }
            heads.send(String::from_utf8(got).unwrap()).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
        }
    })
    .await;
    let header = |name: &str, value: &str| v1::HttpHeader { name: name.to_owned(), value: value.to_owned() };
    let asked = spec(v1::ProbeKind::Http);
    let call = v1::HttpCall {
        request: asked.http.clone(),
        method: "POST".to_owned(),
        headers: vec![header("x-token", "s3cret"), header("Accept", "text/plain")],
        body: b"{\"a\":1}".to_vec(),
    };
    let spec = v1::PathSpec { http: None, call: Some(call), ..asked };
    let ending = probe(target, spec, &[], PATIENCE_NS).await;
    assert!(matches!(ending, Ending::Exchanged { .. }), "{ending:?}");
    let got = received.recv().await.unwrap().to_lowercase();
    assert!(got.starts_with("post /healthz?a=b http/1.1\r\nhost: web.test\r\n"), "{got}");
    for line in ["x-token: s3cret\r\n", "accept: text/plain\r\n", "content-length: 7\r\n"] {
        assert!(got.contains(line), "{line}: {got}");
    }
    assert!(!got.contains("*/*"), "in place of the usual one: {got}");
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate() {
    let (ca, other) = (authority("ca"), authority("other"));
    let good = https_server(&ca, (2020, 2100)).await;
    let expired = https_server(&ca, (2020, 2021)).await;
    let early = https_server(&ca, (2099, 2100)).await;
    let (pem, other) = (ca.pem(), other.pem());
    for (target, name, authority, pem, what, more) in [
        (expired, "web.test", true, &pem, "certificate expired", "days ago"),
        // Nobody need vouch for it, and it is expired all the same.
        (expired, "", false, &pem, "certificate expired", "days ago"),
        (early, "", false, &pem, "certificate not valid yet", "for another"),
        (good, "else.test", true, &pem, "name mismatch", "it is for web.test, not else.test"),
        (good, "web.test", true, &other, "unknown authority", "nobody that is trusted"),
        (good, "web.test", true, &String::new(), "unknown authority", ""),
    ] {
        let ending = probe(target, https(name, authority), pem.as_bytes(), PATIENCE_NS).await;
        let seen = seen(ending, Outcome::HttpError);
        let trouble = seen.tls.unwrap();
        assert_eq!((trouble.what, seen.step), (what, v1::ExchangeStep::Tls), "{trouble:?}");
        assert!(trouble.more.contains(more), "{trouble:?}");
        assert!(seen.not_after.is_some());
    }
    for (name, authority, pem) in [("", false, &other), ("web.test", false, &other), ("", true, &pem)] {
        let ending = probe(good, https(name, authority), pem.as_bytes(), PATIENCE_NS).await;
        assert!(matches!(ending, Ending::Exchanged { .. }), "{name:?} {authority}: {ending:?}");
    }
}

#[tokio::test]
async fn what_else_can_come_back() {
    let rows = [
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", 503, ""),
        ("HTTP/1.1 404 Not Found\r\n\r\n", 404, ""),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "answer is not HTTP"),
        ("", 0, "connection closed without an answer"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nshort", 0, "connection closed without an answer"),
    ];
    for (text, status, broke) in rows {
        let ending = probe(http(text).await, spec(v1::ProbeKind::Http), &[], PATIENCE_NS).await;
        let seen = seen(ending, Outcome::HttpError);
        assert_eq!((seen.status, seen.broke), (status, broke), "{text}");
    }
    let redirect = http("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
    let ending = probe(redirect.await, spec(v1::ProbeKind::Http), &[], PATIENCE_NS).await;
    assert!(matches!(ending, Ending::Exchanged { .. }), "a redirect is an answer: {ending:?}");
    // One that does not speak TLS.
    let plain = server(|mut stream| async move {
        let mut hello = [0; 1024];
        let _ = stream.read(&mut hello).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let ending = probe(plain.await, https("", false), &[], PATIENCE_NS).await;
    let seen = seen(ending, Outcome::HttpError);
    assert_eq!(seen.tls.unwrap().more, "the server does not speak TLS");
}

#[tokio::test]
async fn no_more_is_read_than_is_allowed() {
    let endless = server(|mut stream| async move {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let ending = probe(endless.await, spec(v1::ProbeKind::Http), &[], PATIENCE_NS).await;
    assert!(matches!(ending, Ending::Exchanged { .. }), "{ending:?}");
}

#[tokio::test]
async fn silence_shows_the_step_and_that_all_was_acknowledged() {
    let silent = || {
        server(|mut stream| async move {
            let mut sink = [0; 4096];
            while stream.read(&mut sink).await.is_ok_and(|len| len > 0) {}
        })
    };
    for (spec, step) in
        [(spec(v1::ProbeKind::Http), v1::ExchangeStep::Answer), (https("", false), v1::ExchangeStep::Tls)]
    {
        let ending = probe(silent().await, spec, &[], IMPATIENCE_NS).await;
        let seen = seen(ending, Outcome::Timeout);
        assert_eq!((seen.step, seen.acknowledged), (step, true));
        assert!(seen.waited_ns > 0 && seen.waited_ns <= IMPATIENCE_NS + 5_000 * MILLISECOND_NS);
    }
}

#[tokio::test]
async fn a_closed_port_refuses_and_a_reset_is_reported() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let ending = probe(closed, spec(v1::ProbeKind::Http), &[], PATIENCE_NS).await;
    let Ending::Failed { outcome: Outcome::Refused, detail } = ending else { panic!("{ending:?}") };
    assert_eq!(detail.exchange.unwrap().step, v1::ExchangeStep::Connect);
    let rude = server(|mut stream| async move {
        let mut one = [0; 1];
        let _ = stream.read(&mut one).await;
        let fd: OwnedFd = stream.into_std().unwrap().into();
        set_socket_linger(&fd, Some(Duration::ZERO)).unwrap();
    });
    let ending = probe(rude.await, spec(v1::ProbeKind::Http), &[], PATIENCE_NS).await;
    assert_eq!(seen(ending, Outcome::HttpError).broke, "connection reset");
}

#[tokio::test]
async fn dns_over_a_connection() {
    async fn resolver(rcode: ResponseCode) -> SocketAddr {
        server(move |mut stream| async move {
            let len = stream.read_u16().await.unwrap();
            let mut query = vec![0; len.into()];
            stream.read_exact(&mut query).await.unwrap();
            let query = Message::from_vec(&query).unwrap();
            let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
            answer.metadata.response_code = rcode;
            let question = query.queries[0].clone();
            let data = hickory_proto::rr::RData::A(Ipv4Addr::new(10, 96, 0, 1).into());
            let record = hickory_proto::rr::Record::from_rdata(question.name().clone(), 5, data);
            answer.add_query(question);
            if rcode == ResponseCode::NoError {
                answer.add_answer(record);
            }
            let answer = answer.to_vec().unwrap();
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        })
        .await
    }
    let over = |dns_transport: v1::DnsTransport| v1::PathSpec {
        dns_transport: dns_transport.into(),
        ..spec(v1::ProbeKind::Dns)
    };
    let (plain, _) = planned(over(v1::DnsTransport::Udp), &[]);
    assert!(plain.exchange.is_none() && plain.kind == ProbeKind::Dns);
    let tcp = over(v1::DnsTransport::Tcp);
    let ending = probe(resolver(ResponseCode::NoError).await, tcp.clone(), &[], PATIENCE_NS).await;
    assert!(matches!(ending, Ending::Exchanged { .. }), "{ending:?}");
    let ending = probe(resolver(ResponseCode::NXDomain).await, tcp, &[], PATIENCE_NS).await;
    let Ending::Failed { outcome: Outcome::DnsError, detail } = ending else { panic!("{ending:?}") };
    assert_eq!(detail.rcode.as_deref(), Some("NXDOMAIN"));
}
