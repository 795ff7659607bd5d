//! Against real sockets on loopback.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use crate::host::clock::monotonic_ns;
use netcheck_common::header::{FLAG_REFLECTED, FLAG_REPLY, ProbeHeader};
use tokio_util::sync::CancellationToken;

use super::accept::AcceptTask;
use super::echo::Echo;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn any() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

fn client(host: &str) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn echoes_probes_of_both_families_from_the_address_asked_and_nothing_else() {
    let responder = Responder::bind(any()).unwrap();
    let echo = Echo::new(responder.udp, responder.port, Arc::clone(&responder.counts));
    let thread = std::thread::spawn({
        let echo = Arc::clone(&echo);
        move || echo.run()
    });
    let probe = ProbeHeader { session: 1, path: 2, sequence: 3, ..ProbeHeader::default() };
    let mut sent = [7; 1000];
    sent[..64].copy_from_slice(&probe.to_bytes());
    // Two addresses of one host: the reply comes from the one that was asked, or the connected socket refuses it.
    for (host, asked) in [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("::", "::1")] {
        let client = client(host);
        client.connect((asked, responder.port)).unwrap();
        for flags in [FLAG_REFLECTED, FLAG_REPLY] {
            client.send(&ProbeHeader { flags, ..probe }.to_bytes()).unwrap();
        }
        client.send(b"hello?").unwrap();
        client.send(&[7; 1600]).unwrap();
        client.send(&sent).unwrap();
        let mut bytes = [0; 2000];
        let len = client.recv(&mut bytes).unwrap();
        assert_eq!(bytes[9], FLAG_REPLY);
        bytes[9] = 0;
        assert_eq!(bytes[..len], sent, "{asked}: the probe, and nothing before it");
    }
    echo.stop();
    thread.join().unwrap();
    let counts = responder.counts.read();
    assert_eq!((counts.echoed, counts.refused), (3, 12));
}

#[tokio::test]
async fn answers_health_and_sleeps_through_bare_connections() {
    let responder = Responder::bind(any()).unwrap();
    let (port, counts) = (responder.port, Arc::clone(&responder.counts));
    let listener = tokio::net::TcpListener::from_std(OwnedFd::from(responder.tcp).into()).unwrap();
    let shutdown = CancellationToken::new();
    let task = AcceptTask { listener, counts: Arc::clone(&counts) };
    let task = tokio::spawn(task.run(shutdown.clone()));
    let answers = tokio::task::spawn_blocking(move || {
        let ask = |host: &str, request: &str| {
            let mut stream = TcpStream::connect((host, port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        for host in ["127.0.0.1", "::1"] {
            let bare = TcpStream::connect((host, port)).unwrap();
            SockRef::from(&bare).set_linger(Some(Duration::ZERO)).unwrap();
        }
        [
            ask("127.0.0.1", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
            ask("::1", "GET /health HTTP/1.0\r\n\r\n"),
            ask("::1", "GET /etc/passwd HTTP/1.0\r\n\r\n"),
            ask("::1", "\x16\x03\x01 nonsense\r\n\r\n"),
        ]
    })
    .await
    .unwrap();
    for (answer, status) in answers.iter().zip(["200", "200", "404", "400"]) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert!(answers[0].ends_with("\r\n\r\nok\n"));
    assert_eq!(counts.read().connections, 4, "a connection that says nothing is the kernel's affair");
    shutdown.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn many_slow_peers_keep_nobody_else_out() {
    let responder = Responder::bind(any()).unwrap();
    let (port, counts) = (responder.port, Arc::clone(&responder.counts));
    let listener = tokio::net::TcpListener::from_std(OwnedFd::from(responder.tcp).into()).unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(AcceptTask { listener, counts: Arc::clone(&counts) }.run(shutdown.clone()));
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"G").await.unwrap();
        slow.push(stream);
    }
    // A kubelet, from another address.
    let mut kubelet = tokio::net::TcpStream::connect(("::1", port)).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut kubelet, b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut kubelet, &mut answer);
    tokio::time::timeout(PATIENCE, read).await.expect("it is answered").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(counts.read().turned_away >= 292, "{:?}", counts.read());
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Responder::bind(any()).unwrap();
    let taken = SocketAddr::from(([0, 0, 0, 0], first.port));
    assert_eq!(Responder::bind(taken).err().unwrap().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn what_one_source_sends_beyond_its_rate_is_counted_and_reported() {
    let responder = Responder::bind(any()).unwrap();
    let counts = Arc::clone(&responder.counts);
    let echo = Echo::new(responder.udp, responder.port, Arc::clone(&counts));
    let thread = std::thread::spawn({
        let echo = Arc::clone(&echo);
        move || echo.run()
    });
    let probe = ProbeHeader { session: 1, path: 2, sequence: 3, ..ProbeHeader::default() }.to_bytes();
    assert_eq!(counts.degraded(monotonic_ns()), None);
    let flood = UdpSocket::bind("127.0.0.9:0").unwrap();
    flood.connect(("127.0.0.1", responder.port)).unwrap();
    let begun = std::time::Instant::now();
    while counts.read().limited < 1000 {
        assert!(begun.elapsed() < 6 * PATIENCE, "{:?}", counts.read());
        // Its receive buffer is full of answers that nobody reads; that is its own affair.
        drop(flood.send(&probe));
    }
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(counts.read().echoed <= limit::RATE * (seconds + 1), "{:?}", counts.read());
    let line = counts.degraded(monotonic_ns()).unwrap();
    assert!(line.contains("came from 127.0.0.9"), "{line}");
    assert_eq!(counts.degraded(monotonic_ns() + 61 * SECOND_NS), None, "it is over");
    // Nobody else has less for it.
    let honest = client("127.0.0.10");
    honest.connect(("127.0.0.1", responder.port)).unwrap();
    let mut bytes = [0; 100];
    honest.send(&probe).unwrap();
    assert_eq!(honest.recv(&mut bytes).unwrap(), probe.len());
    echo.stop();
    thread.join().unwrap();
}
