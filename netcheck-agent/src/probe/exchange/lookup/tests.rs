//! Against a real server on this host's loopback.

use std::collections::BTreeMap;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record};
use netcheck_common::domain::{PathId, Sequence};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket as Server};

use super::*;
use crate::model::observation::ProbeKey;

/// What the server does with a name.
#[derive(Clone, Copy)]
enum Way {
    Has,
    Code(ResponseCode),
    Empty,
    Truncated,
    Silent,
}

type Zone = BTreeMap<&'static str, Way>;

fn answer(zone: &Zone, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(bytes).unwrap();
    let question = query.queries[0].clone();
    let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    let data = RData::A(std::net::Ipv4Addr::new(10, 0, 0, 7).into());
    let record = Record::from_rdata(question.name().clone(), 5, data);
    let way = zone.get(question.name().to_string().as_str()).copied();
    match way.unwrap_or(Way::Code(ResponseCode::NXDomain)) {
        Way::Silent => return None,
        Way::Code(code) => answer.metadata.response_code = code,
        Way::Truncated if !tcp => answer.metadata.truncation = true,
        Way::Has | Way::Truncated if question.query_type() == RecordType::A => answer.answers.push(record),
        Way::Has | Way::Truncated | Way::Empty => {}
    }
    answer.add_query(question);
    Some(answer.to_vec().unwrap())
}

/// A server for both transports, at one port.
async fn serve(zone: Zone) -> u16 {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let udp = Server::bind(("127.0.0.1", port)).await.unwrap();
    let over_tcp = zone.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut bytes).await.unwrap();
            let Some(said) = answer(&over_tcp, &bytes, true) else { continue };
            stream.write_u16(said.len() as u16).await.unwrap();
            stream.write_all(&said).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let mut bytes = [0; 512];
        while let Ok((len, from)) = udp.recv_from(&mut bytes).await {
            if let Some(said) = answer(&zone, &bytes[..len], false) {
                udp.send_to(&said, from).await.unwrap();
            }
        }
    });
    port
}

fn conf(text: &str) -> ResolvConf {
    ResolvConf { timeout: Duration::from_millis(200), ..ResolvConf::parse(text) }
}

async fn find(conf: &ResolvConf, name: &str, port: u16) -> Result<Found, String> {
    let mut asked = None;
    let resolver = Resolver { conf, sockets: &Sockets::Host, port };
    match resolver.look_up(name, Family::V4, &mut asked).await {
        Ok(found) => Ok(found),
        Err(NotFound::Said { server, what }) => {
            assert_eq!(server, asked, "it is reported who said so");
            Err(what.as_ref().to_owned())
        }
        Err(NotFound::Own(errno)) => panic!("{errno:?}"),
    }
}

#[tokio::test]
async fn names_are_looked_up_as_programs_do() {
    let port = serve(Zone::from([
        ("web.default.svc.", Way::Has),
        ("big.", Way::Truncated),
        ("empty.default.svc.", Way::Empty),
        ("bad.default.svc.", Way::Code(ResponseCode::ServFail)),
        ("bad.", Way::Has),
        ("worse.default.svc.", Way::Code(ResponseCode::ServFail)),
        ("dead.", Way::Silent),
    ]))
    .await;
    let pod = conf("search default.svc\nnameserver 127.0.0.1\noptions ndots:2");
    let found = Found { address: [10, 0, 0, 7].into(), server: [127, 0, 0, 1].into() };
    assert_eq!(find(&pod, "web", port).await, Ok(found), "by the search list");
    assert_eq!(
        find(&pod, "web.", port).await,
        Err("NXDOMAIN".to_owned()),
        "an absolute name is taken as it is"
    );
    assert_eq!(find(&pod, "big.", port).await, Ok(found), "over TCP, where UDP has no room");
    assert_eq!(find(&pod, "nobody", port).await, Err("NXDOMAIN".to_owned()));
    assert_eq!(find(&pod, "empty", port).await, Err("NODATA".to_owned()), "it says more than NXDOMAIN");
    assert_eq!(find(&pod, "bad", port).await, Ok(found), "a server that fails ends no search");
    assert_eq!(find(&pod, "worse", port).await, Err("SERVFAIL".to_owned()));
    assert_eq!(find(&pod, "dead.", port).await, Err("timeout".to_owned()));
    assert_eq!(find(&conf(""), "web", port).await, Err("no DNS server configured".to_owned()));
    let long = "a.".repeat(126) + "a";
    assert_eq!(
        find(&pod, &long, port).await,
        Err("NXDOMAIN".to_owned()),
        "what is too long with a domain is not asked for"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_passed_over() {
    let port = serve(Zone::from([("web.", Way::Has)])).await;
    let two = conf("nameserver 127.0.0.2\nnameserver 127.0.0.1");
    let found = Found { address: [10, 0, 0, 7].into(), server: [127, 0, 0, 1].into() };
    assert_eq!(find(&two, "web", port).await, Ok(found));
    let closed = ResolvConf { servers: vec![[127, 0, 0, 2].into()], ..two };
    assert_eq!(find(&closed, "web", port).await, Err("port closed".to_owned()));
}

#[tokio::test]
async fn a_failing_look_up_is_an_outcome_of_its_own() {
    let port = serve(Zone::from([("dead.", Way::Silent)])).await;
    let key = ProbeKey { path: PathId(1), sequence: Sequence(2) };
    for (name, timeout_ns, rcode) in
        [("nobody.", u64::MAX / 4, "NXDOMAIN"), ("dead.", 100_000_000, "timeout")]
    {
        let query = Job { key, name: name.into(), family: Family::V4, sockets: Sockets::Host, timeout_ns };
        let text = Configuration::Text("nameserver 127.0.0.1".to_owned());
        let Done::Ended { ending: Ending::Failed { outcome, detail }, .. } = resolve(query, text, port).await
        else {
            panic!("{name} was found")
        };
        let seen = detail.exchange.unwrap();
        assert_eq!((outcome, detail.rcode.as_deref()), (Outcome::DnsError, Some(rcode)));
        assert_eq!((seen.step, seen.resolver), (v1::ExchangeStep::Resolve, Some([127, 0, 0, 1].into())));
        assert!(!seen.late);
    }
}
