//! What a program on this node asks for when it looks up a short name: the name with each domain of the search list of
//! `/etc/resolv.conf`, one after the other, until there is an answer (resolv.conf(5)).
//!
//! Nothing is lost by that but time, and queries that somebody else's servers get: so it is no probe of a path, and only
//! reported.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::lookup::{self, Said};
use crate::model::sample::{Searched, Step};
use crate::net::resolv::ResolvConf;
use crate::probe::socket::Sockets;

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks names up, as the file at `path` says.
pub(super) async fn look_up(path: &Path, names: &[String]) -> Vec<Searched> {
    // Without the file the C library asks the host itself; here nobody is asked.
    let conf = ResolvConf::parse(&std::fs::read_to_string(path).unwrap_or_default());
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        all.push(search(&conf, name, 53).await);
    }
    all
}

async fn search(conf: &ResolvConf, name: &str, port: u16) -> Searched {
    let server = conf.servers.first().copied();
    let mut searched = Searched { name: name.to_owned(), server, ndots: conf.ndots, steps: Vec::new() };
    let Some(server) = server else { return searched };
    for candidate in conf.candidates(name) {
        let answer = ask(SocketAddr::new(server, port), &candidate).await;
        let answered = answer.is_empty();
        // A server that does not answer will not answer the next either.
        let dead = answer == "timeout";
        searched.steps.push(Step { name: candidate, answer });
        if answered || dead {
            break;
        }
    }
    searched
}

/// What a server says of a name's address; empty where it has one.
async fn ask(server: SocketAddr, name: &str) -> String {
    let Ok(name) = Name::from_ascii(name) else { return "no name".to_owned() };
    // Either family's address ends a search.
    let mut said = String::new();
    for record in [RecordType::A, RecordType::AAAA] {
        said = match timeout(PATIENCE, lookup::ask(server, &name, record, &Sockets::Host)).await {
            Err(_) => return "timeout".to_owned(),
            Ok(Err(error)) => return error.kind().to_string(),
            Ok(Ok(Said::Addresses(_))) => return String::new(),
            Ok(Ok(Said::Error(rcode))) if &*rcode == "NODATA" => rcode.as_ref().to_owned(),
            Ok(Ok(Said::Error(rcode))) => return rcode.as_ref().to_owned(),
        };
    }
    said
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
    use hickory_proto::rr::{RData, Record};
    use tokio::net::UdpSocket;

    use super::*;

    const POD: &str = "# a pod's\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
                       nameserver 10.96.0.10\nnameserver fe80::1%eth0\noptions timeout:1 ndots:5\n";

    #[tokio::test]
    async fn it_ends_with_the_first_answer() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((len, from)) = server.recv_from(&mut bytes).await {
                let query = Message::from_vec(&bytes[..len]).unwrap();
                let mut answer = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
                let question = query.queries[0].clone();
                let known = question.name().to_string() == "web.default.svc.cluster.local.";
                if known && question.query_type() == RecordType::AAAA {
                    let data = RData::AAAA("fd00::1".parse::<std::net::Ipv6Addr>().unwrap().into());
                    answer.add_answer(Record::from_rdata(question.name().clone(), 5, data));
                } else if !known {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                answer.add_query(question);
                server.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let conf = ResolvConf { servers: vec!["127.0.0.1".parse().unwrap()], ..ResolvConf::parse(POD) };
        let searched = search(&conf, "web.default", port).await;
        let steps: Vec<_> =
            searched.steps.iter().map(|step| (step.name.as_str(), step.answer.as_str())).collect();
        assert_eq!(
            steps,
            [("web.default.default.svc.cluster.local.", "NXDOMAIN"), ("web.default.svc.cluster.local.", ""),]
        );
        let nobody = search(&ResolvConf::parse(""), "web", port).await;
        assert!(nobody.steps.is_empty() && nobody.server.is_none());
    }
}
