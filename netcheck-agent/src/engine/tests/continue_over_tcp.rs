//! Probes that come to their connection only after something else.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::probe::exchange::{self, ExchangeTask};

/// A DNS server over UDP: `web.` is 127.0.0.1, what is long is truncated, and nothing else is there.
fn name_server(address: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            let query = Message::from_vec(&bytes[..len]).unwrap();
            let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
            let question = query.queries[0].clone();
            match question.name().to_string().as_str() {
                "web." => {
                    let data = RData::A(Ipv4Addr::LOCALHOST.into());
                    answer.add_answer(Record::from_rdata(question.name().clone(), 5, data));
                }
                "web.default.svc.cluster.local." => answer.metadata.truncation = true,
                _ => answer.metadata.response_code = ResponseCode::NXDomain,
            }
            answer.add_query(question);
            socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
        }
    });
    address
}

/// The same question over TCP has its answer.
fn over_tcp(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut len) = (stream.unwrap(), [0; 2]);
            stream.read_exact(&mut len).unwrap();
            let mut bytes = vec![0; u16::from_be_bytes(len).into()];
            stream.read_exact(&mut bytes).unwrap();
            let query = Message::from_vec(&bytes).unwrap();
            let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
            let data = RData::A(Ipv4Addr::LOCALHOST.into());
            answer.add_answer(Record::from_rdata(query.queries[0].name().clone(), 5, data));
            answer.add_query(query.queries[0].clone());
            let bytes = answer.to_vec().unwrap();
            stream.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
}

fn http_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head) = (stream.unwrap(), [0; 1024]);
            if stream.read(&mut head).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        }
    });
    port
}

fn named(path_id: u32, name: &str, port: u16, free: bool) -> v1::PathSpec {
    let http = v1::HttpRequest {
        host: "web".to_owned(),
        path: "/".to_owned(),
        expected: Vec::new(),
        resolve: name.to_owned(),
    };
    v1::PathSpec { http: Some(http), external: free, ..spec(path_id, v1::ProbeKind::Http, "0.0.0.0", port) }
}

/// A resolv.conf; gone with this.
struct Conf(std::path::PathBuf);

impl Conf {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netcheck-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// With whoever carries exchanges out.
fn start_with_exchanges(conf: &Conf) -> (EngineHandle, EngineOutput, CancellationToken) {
    let (handle, mut output, _thread) = start();
    let end = std::mem::replace(&mut output.exchanges, exchange::open().1);
    let shutdown = CancellationToken::new();
    let task = ExchangeTask { end, waker: handle.waker(), resolv_conf: conf.0.clone() };
    tokio::spawn(task.run(shutdown.clone()));
    (handle, output, shutdown)
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let both = name_server("127.0.0.1:0".parse().unwrap());
    over_tcp(both);
    let udp_alone = name_server("127.0.0.1:0".parse().unwrap());
    let conf = Conf::new("truncated", "");
    let (handle, mut output, shutdown) = start_with_exchanges(&conf);
    let paths = vec![
        spec(1, v1::ProbeKind::Dns, "127.0.0.1", both.port()),
        spec(2, v1::ProbeKind::Dns, "127.0.0.1", udp_alone.port()),
    ];
    handle.command(plan(paths)).await;
    let report = collect(&mut output, |report| {
        count(report, 1, Outcome::Reply) >= 2 && count(report, 2, Outcome::Refused) >= 2
    })
    .await;
    handle.stop();
    shutdown.cancel();
    for (path, outcome) in [(1, Outcome::Reply), (2, Outcome::Refused)] {
        for other in
            std::iter::once(Outcome::Reply).chain(Outcome::FAILURES).filter(|other| *other != outcome)
        {
            assert_eq!(count(&report, path, other), 0, "path {path} {other}");
        }
    }
    let rows = report.windows.iter().flat_map(|window| &window.paths);
    let steps: Vec<_> = rows.filter(|row| row.path.0 == 1 && row.reply > 0).collect();
    let connected = steps.iter().all(|row| row.steps.as_ref().is_some_and(|steps| !steps.connect.is_empty()));
    assert!(connected && !steps.is_empty(), "{steps:?}");
    let seen = report.lost[0].detail.exchange.as_ref().unwrap();
    assert!(seen.truncated && seen.step == v1::ExchangeStep::Connect, "{seen:?}");
}

#[tokio::test]
async fn a_server_that_is_known_by_name_is_looked_up_first() {
    // An address of this process's own: the port is the one that resolvers ask.
    let id = std::process::id();
    let address = IpAddr::from([127, (id >> 16) as u8 | 1, (id >> 8) as u8, id as u8]);
    name_server(SocketAddr::new(address, 53));
    let port = http_server();
    let conf = Conf::new("named", &format!("nameserver {address}\n"));
    let (handle, mut output, shutdown) = start_with_exchanges(&conf);
    let paths = vec![
        named(1, "web.", port, false),
        named(2, "nobody.", port, false),
        // It is nobody's of the cluster, and not allowed.
        named(3, "web.", port, true),
    ];
    handle.command(plan(paths)).await;
    let report = collect(&mut output, |report| {
        count(report, 1, Outcome::Reply) >= 2 && count(report, 2, Outcome::DnsError) >= 2
    })
    .await;
    let barred = async {
        loop {
            if let Some(EngineReply::PlanApplied(applied)) = output.replies.recv().await
                && let [refused] = applied.refused.as_slice()
            {
                return refused.clone();
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, barred).await.unwrap();
    handle.stop();
    shutdown.cancel();
    assert!(refused.path_id == 3 && refused.why.contains("web. is 127.0.0.1, which is not in --allow-cidr"));
    let rows: Vec<_> = report.windows.iter().flat_map(|window| &window.paths).collect();
    assert!(rows.iter().all(|row| row.path.0 != 3), "nothing was sent there: {rows:?}");
    for row in rows.iter().filter(|row| row.path.0 == 1 && row.reply > 0) {
        let steps = row.steps.as_ref().unwrap();
        assert!(
            !steps.dns.is_empty() && !steps.connect.is_empty() && !steps.first_byte.is_empty(),
            "{row:?}"
        );
    }
    assert_eq!(count(&report, 1, Outcome::DnsError) + count(&report, 2, Outcome::Timeout), 0);
    let lost = report.lost.iter().find(|lost| lost.probe.path == PathId(2)).unwrap();
    assert_eq!(lost.detail.rcode.as_deref(), Some("NXDOMAIN"));
    let seen = lost.detail.exchange.as_ref().unwrap();
    assert_eq!((seen.step, seen.resolver), (v1::ExchangeStep::Resolve, Some(address)));
}
