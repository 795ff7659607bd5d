//! Probes that the tests send from inside a lab, with one short answer each.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netcheck_netlab::{Family, Lab};

/// How long a probe waits for its answer.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long a TCP connect waits: longer than it takes until the SYN is sent again after 1 s. An ICMPv6 error that
/// comes back at once finds the socket locked by its own `connect`, and counts only the second time.
const CONNECT_PATIENCE: Duration = Duration::from_millis(1300);

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reply,
    Timeout,
    Refused,
    Unreachable,
    /// Of all backends, some.
    Partly,
    /// DNS answered with this code (RFC 1035 §4.1.1).
    Rcode(u8),
    Other,
}

impl From<&io::Error> for Outcome {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Timeout,
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

/// Address of a node, a pod, a service or the hub.
pub(crate) fn address(lab: &Lab, name: &str, family: Family) -> IpAddr {
    let topology = lab.topology();
    let service = || topology.service(name).ok()?.cluster_ips;
    let (v4, v6) = (topology.node(name).map(|node| (node.v4, node.v6)).ok())
        .or_else(|| topology.pod(name).map(|pod| (pod.v4, pod.v6)).ok())
        .or_else(service)
        .unwrap_or((topology.hub_v4, topology.hub_v6));
    if family == Family::V4 { v4.into() } else { v6.into() }
}

/// One echo request, with this much payload and never in fragments.
pub(crate) fn ping(lab: &Lab, from: &str, to: IpAddr, payload_bytes: u16) -> Outcome {
    echo_request(lab, from, to, payload_bytes, "-Mdo")
}

/// One echo request that takes several packets.
pub(crate) fn ping_in_pieces(lab: &Lab, from: &str, to: IpAddr) -> Outcome {
    echo_request(lab, from, to, 3000, "-Mdont")
}

fn echo_request(lab: &Lab, from: &str, to: IpAddr, payload_bytes: u16, fragments: &str) -> Outcome {
    let (to, size) = (to.to_string(), payload_bytes.to_string());
    let output = lab.exec(from, &["ping", "-n", "-q", "-c1", "-W0.4", fragments, "-s", &size, &to]).unwrap();
    if output.status.success() { Outcome::Reply } else { Outcome::Timeout }
}

/// One datagram that should come back.
pub(crate) fn udp(lab: &Lab, from: &str, to: SocketAddr) -> Outcome {
    exchange(lab, from, to, b"probe").map_or_else(|error| Outcome::from(&error), |_| Outcome::Reply)
}

fn exchange(lab: &Lab, from: &str, to: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    lab.enter(from, || {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(request)?;
        let mut reply = vec![0; 1500];
        let len = socket.recv(&mut reply)?;
        reply.truncate(len);
        Ok(reply)
    })
    .unwrap()
}

/// One HTTP request; the body of the answer is the backend's name.
pub(crate) fn http(lab: &Lab, from: &str, to: SocketAddr) -> io::Result<String> {
    lab.enter(from, || {
        let mut stream = TcpStream::connect_timeout(&to, CONNECT_PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: web\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(ErrorKind::InvalidData)?;
        if head.starts_with("HTTP/1.1 200 ") {
            Ok(body.trim().to_owned())
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    })
    .unwrap()
}

/// The backends that answer, asked until so many of them did: rules choose at random, so that some of 20 requests in
/// a row miss one of three now and then. Or all that answered 200 requests, which miss one once in 10^35 times.
pub(crate) fn backends(lab: &Lab, from: &str, to: SocketAddr, expected: usize) -> BTreeSet<String> {
    let mut met = BTreeSet::new();
    for _ in 0..200 {
        met.extend(http(lab, from, to));
        if met.len() >= expected {
            break;
        }
    }
    met
}

/// So many requests that every backend of three is hit (all but 1 in 10^5 times).
pub(crate) fn service(lab: &Lab, from: &str, to: SocketAddr) -> Outcome {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for _ in 0..30 {
        outcomes.push(http(lab, from, to).map_or_else(|error| Outcome::from(&error), |_| Outcome::Reply));
        if outcomes.iter().any(|one| *one != outcomes[0]) {
            return Outcome::Partly;
        }
        // Failing thirty times shows no more than failing three times.
        if outcomes.len() == 3 && outcomes[0] != Outcome::Reply {
            break;
        }
    }
    outcomes[0]
}

/// One DNS query over UDP; the answer must hold an address.
pub(crate) fn dns(lab: &Lab, from: &str, server: IpAddr, name: &str, family: Family) -> Outcome {
    let kind: u16 = if family == Family::V4 { 1 } else { 28 };
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, kind.to_be_bytes()[0], kind.to_be_bytes()[1], 0, 1]);
    match exchange(lab, from, (server, 53).into(), &query) {
        Err(error) => Outcome::from(&error),
        Ok(reply) if reply.len() < 12 || reply[..2] != query[..2] => Outcome::Other,
        Ok(reply) if reply[3] & 15 != 0 => Outcome::Rcode(reply[3] & 15),
        Ok(reply) if reply[7] == 0 => Outcome::Other,
        Ok(_) => Outcome::Reply,
    }
}

/// Tries until it is true, at most for some seconds.
pub(crate) fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(8);
    while !f() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A UDP echo server in a namespace, on the responder's port; counts what it receives.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) received: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn new(lab: &Lab, place: &str) -> Self {
        let socket = lab.enter(place, || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 6100))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (received, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&received), Arc::clone(&over));
        let thread = Some(thread::spawn(move || {
            let mut datagram = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((len, client)) = socket.recv_from(&mut datagram) {
                    count.fetch_add(1, Ordering::Relaxed);
                    // A rule in this node's output hook makes this fail, which is the point of it.
                    _ = socket.send_to(&datagram[..len], client);
                }
            }
        }));
        Self { received, over, thread }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
