use std::net::UdpSocket;
use std::time::Duration;

use hickory_proto::op::{OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use netcheck_common::domain::{PathId, Sequence};
use netcheck_proto::v1;
use proptest::prelude::*;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;

use super::*;
use crate::net::interface_drops::NoKernelSource;
use crate::probe::ports::Quarantine;

fn ports() -> ProbePorts {
    ProbePorts::new(&Sockets::Host, &Quarantine::read())
}

const KEY: ProbeKey = ProbeKey { path: PathId(1), sequence: Sequence(2) };

fn question() -> Arc<Question> {
    let query = Query::query(Name::from_ascii("web.default.svc.").unwrap(), RecordType::A);
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(query.clone());
    Arc::new(Question { query, message: message.to_vec().unwrap() })
}

fn answer(id: u16, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let question = question();
    let mut message = Message::new(id, MessageType::Response, OpCode::Query);
    message.add_query(question.query.clone());
    let address = RData::A(rdata::A::new(10, 96, 0, 1));
    message.add_answer(Record::from_rdata(question.query.name().clone(), 5, address));
    change(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn answers() {
    let error = |name: &str| Answer::Error(name.into());
    type Change = fn(&mut Message);
    let table: [(Change, Answer); 8] = [
        (|_| {}, Answer::Answered),
        (|message| message.answers.clear(), error("NODATA")),
        (
            |message| {
                message.answers.clear();
                message.metadata.truncation = true;
            },
            Answer::Truncated,
        ),
        (|message| message.metadata.response_code = ResponseCode::ServFail, error("SERVFAIL")),
        (|message| message.metadata.response_code = ResponseCode::NXDomain, error("NXDOMAIN")),
        (
            |message| {
                message.queries.clear();
                message.metadata.response_code = ResponseCode::FormErr;
            },
            error("FORMERR"),
        ),
        (|message| message.metadata.message_type = MessageType::Query, Answer::Strange),
        (
            |message| {
                message.queries[0].set_name(Name::from_ascii("other.").unwrap());
            },
            Answer::Strange,
        ),
    ];
    for (change, expected) in table {
        assert_eq!(read_answer(&answer(7, change), 7, &question()), expected);
    }
    assert_eq!(read_answer(&answer(8, |_| {}), 7, &question()), Answer::Strange, "wrong id");
    assert_eq!(read_answer(&answer(7, |_| {})[..20], 7, &question()), error("malformed"));
    assert_eq!(read_answer(&[], 7, &question()), Answer::Strange);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_answer(&bytes, 7, &question());
    }
}

/// Waits until the probe's socket is ready and says how it ended.
fn wait(prober: &mut DnsProber, epoll: &OwnedFd, slot: u32) -> (Ending, u64) {
    let mut strange = 0;
    loop {
        let mut events = Vec::with_capacity(1);
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        epoll::wait(epoll, spare_capacity(&mut events), Some(&timeout)).unwrap();
        assert_eq!(events[0].data.u64(), 3);
        let seen = Seen { at_ns: 0, since_ns: 0, prompt: true };
        if let Some((key, Read::Ended(ending))) = prober.ready(slot, seen, &mut strange) {
            assert_eq!(key, KEY);
            return (ending, strange);
        }
    }
}

#[test]
fn asks_a_server_and_believes_only_its_answer() {
    for (family, host) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
        let server = UdpSocket::bind(host).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let target = server.local_addr().unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let mut kernel = NoKernelSource::new(v1::EbpfState::Off, Vec::new());
        let mut prober = DnsProber::new(family, Sockets::Host, ports());
        let (slot, watched) = prober.prepare(KEY, target, question(), &mut kernel).unwrap();
        assert!(!watched);
        assert_eq!(prober.launch(slot, &epoll, 3), None);
        let mut bytes = [0; 512];
        let (len, from) = server.recv_from(&mut bytes).unwrap();
        let query = Message::from_vec(&bytes[..len]).unwrap();
        assert_eq!(prober.quoted(from.port(), target), Some(KEY));

        let stranger = UdpSocket::bind(host).unwrap();
        stranger.send_to(&answer(query.metadata.id, |_| {}), from).unwrap();
        server.send_to(&answer(query.metadata.id.wrapping_add(1), |_| {}), from).unwrap();
        let servfail = answer(query.metadata.id, |message| {
            message.metadata.response_code = ResponseCode::ServFail;
        });
        server.send_to(&servfail, from).unwrap();
        let (ending, strange) = wait(&mut prober, &epoll, slot);
        let Ending::Failed { outcome: Outcome::DnsError, detail } = ending else { panic!("{ending:?}") };
        assert_eq!((detail.rcode.as_deref(), strange), (Some("SERVFAIL"), 1));
        prober.close(slot, KEY, &mut kernel);
        assert_eq!(prober.asked.len(), 0);
    }
}

#[test]
fn a_closed_port_refuses() {
    let target = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut kernel = NoKernelSource::new(v1::EbpfState::Off, Vec::new());
    let mut prober = DnsProber::new(Family::V4, Sockets::Host, ports());
    let (slot, _) = prober.prepare(KEY, target, question(), &mut kernel).unwrap();
    assert_eq!(prober.launch(slot, &epoll, 3), None);
    let (ending, _) = wait(&mut prober, &epoll, slot);
    assert!(matches!(ending, Ending::Failed { outcome: Outcome::Refused, .. }));
}
