//! What a program on this node asks for when it looks up a short name: the name with each domain of the search list of
//! `/etc/resolv.conf`, one after the other, until there is an answer (resolv.conf(5)).
//!
//! Nothing is lost by that but time, and queries that somebody else's servers get: so it is no probe of a path, and only
//! told.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::plan::Question;
use crate::probe::dns::{Answer, read_answer};

/// How long one answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most domains that are tried; glibc had six for long.
const DOMAINS_MAX: usize = 32;
/// As the C library has it.
const NDOTS_MAX: usize = 15;

/// A file of that form, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    servers: Vec<IpAddr>,
    domains: Vec<String>,
    ndots: usize,
}

/// One query of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The whole name.
    pub(crate) name: String,
    /// `NXDOMAIN`, `timeout`; empty for the answer.
    pub(crate) answer: String,
}

/// How a name was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Searched {
    pub(crate) name: String,
    /// Who was asked; none where the file names nobody.
    pub(crate) server: Option<IpAddr>,
    pub(crate) ndots: usize,
    /// In the order in which they were asked. The last one was answered, or none.
    pub(crate) steps: Vec<Step>,
}

impl ResolvConf {
    /// Reads the file's text; what makes no sense is passed over, as the C library does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = Self { servers: Vec::new(), domains: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A scope is of no use to another socket.
                    let word = words.next().unwrap_or_default();
                    conf.servers.extend(word.split('%').next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last of them counts.
                Some("search" | "domain") => {
                    conf.domains = words.take(DOMAINS_MAX).map(ToOwned::to_owned).collect();
                }
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse::<usize>().ok());
                    conf.ndots = ndots.fold(conf.ndots, |_, last| last).min(NDOTS_MAX);
                }
                _ => {}
            }
        }
        conf
    }

    /// The names that are asked for, in their order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        let with = self.domains.iter().map(|domain| match domain.trim_matches('.') {
            "" => format!("{name}."),
            domain => format!("{name}.{domain}."),
        });
        let mut names: Vec<String> = with.collect();
        let own = format!("{name}.");
        if dots >= self.ndots {
            names.insert(0, own);
        } else {
            names.push(own);
        }
        names
    }
}

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
        let query = Query::query(name.clone(), record);
        let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let Ok(bytes) = message.to_vec() else { return "no name".to_owned() };
        let question = Question { query, message: bytes };
        said = match timeout(PATIENCE, exchange(server, message.metadata.id, &question)).await {
            Err(_) => return "timeout".to_owned(),
            Ok(Err(error)) => return error.kind().to_string(),
            Ok(Ok(Answer::Answered)) => return String::new(),
            Ok(Ok(Answer::Error(rcode))) if &*rcode == "NODATA" => rcode.as_ref().to_owned(),
            Ok(Ok(Answer::Error(rcode))) => return rcode.as_ref().to_owned(),
            Ok(Ok(Answer::Strange)) => return "malformed".to_owned(),
        };
    }
    said
}

async fn exchange(server: SocketAddr, id: u16, question: &Question) -> std::io::Result<Answer> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&question.message).await?;
    let mut bytes = [0; 4096];
    loop {
        let len = socket.recv(&mut bytes).await?;
        match read_answer(&bytes[..len], id, question) {
            Answer::Strange => {}
            answer => return Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::{RData, Record};

    use super::*;

    const POD: &str = "# a pod's\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
                       nameserver 10.96.0.10\nnameserver fe80::1%eth0\noptions timeout:1 ndots:5\n";

    #[test]
    fn the_file() {
        let conf = ResolvConf::parse(POD);
        assert_eq!((conf.servers.len(), conf.domains.len(), conf.ndots), (2, 3, 5));
        assert_eq!(ResolvConf::parse("").ndots, 1);
        let twice = ResolvConf::parse("search a b\ndomain c\nnameserver nonsense\noptions ndots:99 ndots:x");
        assert_eq!(
            (twice.domains.as_slice(), twice.servers.len(), twice.ndots),
            (&["c".to_owned()][..], 0, 15)
        );
    }

    #[test]
    fn names_in_the_order_in_which_they_are_tried() {
        let conf = ResolvConf::parse(POD);
        let (d, s, c) = ("default.svc.cluster.local.", "svc.cluster.local.", "cluster.local.");
        assert_eq!(
            conf.candidates("web.default"),
            [
                format!("web.default.{d}"),
                format!("web.default.{s}"),
                format!("web.default.{c}"),
                "web.default.".to_owned(),
            ]
        );
        assert_eq!(conf.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f.");
        assert_eq!(conf.candidates("example.org."), ["example.org."]);
        assert_eq!(ResolvConf::parse("").candidates("web"), ["web."]);
    }

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
