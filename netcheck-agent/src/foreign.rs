//! What reads bytes of others, one function each: for the fuzz targets of `xtask/fuzz`, and for the inputs that these have
//! found before (`xtask/fuzz/corpus`), which are read again by the tests here.
//!
//! In: any bytes. Out: nothing; that it returns is what is wanted of it.

use netcheck_common::domain::PathId;
use netcheck_proto::parts::Joiner;
use netcheck_proto::v1;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::plan::exchange::Talk;
use crate::plan::policy::Allowed;
use crate::plan::{PathPlan, Plan};
use crate::probe::{dns, exchange, quoted};
use crate::vantage::frame::Frame;

/// On the way, each way (bytes).
const ROOM: usize = 1 << 10;

/// A plan whose paths are these.
fn plan(upsert: Vec<v1::PathSpec>) -> Plan {
    let mut plan = Plan::empty(|_| None, Allowed::default(), Vec::new(), true);
    // It builds on none, so that it is never a gap.
    let _ = plan.apply(&v1::PlanDelta { version: 1, upsert, ..Default::default() });
    plan
}

fn path(kind: v1::ProbeKind, more: v1::PathSpec) -> Option<PathPlan> {
    let spec = v1::PathSpec {
        path_id: 1,
        vantage: v1::Vantage::Host.into(),
        kind: kind.into(),
        address: vec![192, 0, 2, 1],
        port: 80,
        ..more
    };
    plan(vec![spec]).paths.remove(&PathId(1))
}

/// The answer of a DNS server: a datagram, and the same behind its length over TCP.
pub fn dns_answer(bytes: &[u8]) {
    let asked = v1::PathSpec { dns_name: "a.example.".into(), dns_type: 28, ..Default::default() };
    let question = path(v1::ProbeKind::Dns, asked).and_then(|path| path.question).expect("it can be asked");
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let _ = dns::read_answer(bytes, id, &question);
    let _ = dns::addresses(bytes, question.query.query_type());
    stream(bytes, &Talk::Dns(question));
}

/// The answer of an HTTP server, which then closes.
pub fn http_answer(bytes: &[u8]) {
    let asked = v1::HttpRequest { host: "a.example".into(), path: "/".into(), ..Default::default() };
    let asked = v1::PathSpec { http: Some(asked), ..Default::default() };
    let exchange = path(v1::ProbeKind::Http, asked).and_then(|path| path.exchange).expect("it can be asked");
    stream(bytes, &exchange.talk);
}

/// The other end takes what is asked, answers with these bytes and closes.
fn stream(bytes: &[u8], talk: &Talk) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    let (own, mut other) = tokio::io::duplex(ROOM);
    let answer = async move {
        // An answer that comes before the question is none.
        let _ = other.read(&mut [0; ROOM]).await;
        // It may not read to the end.
        let _ = other.write_all(bytes).await;
    };
    runtime.block_on(async { tokio::join!(exchange::read(own, talk), answer) });
}

/// A message of the vantage's, and the packet that an ICMP error quotes.
pub fn frame(bytes: &[u8]) {
    if let Ok(frame) = Frame::decode(bytes) {
        assert_eq!(Frame::decode(&frame.encode()).ok(), Some(frame), "what is said is understood");
    }
    let _ = quoted::parse(bytes);
}

/// What a hub sends, up to the plan that the agent then holds.
pub fn session_response(bytes: &[u8]) {
    let Ok(response) = v1::SessionResponse::decode(bytes) else { return };
    if let Some(v1::session_response::Message::Plan(part)) = response.message {
        let Some(delta) = Joiner::default().add(part) else { return };
        let mut held = plan(Vec::new());
        let _ = held.apply(&v1::PlanDelta { base_version: 0, ..delta });
        let _ = held.set_found_dns(vec![[169, 254, 20, 10].into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(target: &str, read: fn(&[u8])) {
        let folder = format!("{}/../xtask/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!kept.is_empty(), "{folder}");
        kept.iter().for_each(|path| read(&std::fs::read(path).unwrap()));
    }

    #[test]
    fn what_was_found_before_is_read() {
        each("dns", dns_answer);
        each("http", http_answer);
        each("frame", frame);
        each("plan", session_response);
    }
}
