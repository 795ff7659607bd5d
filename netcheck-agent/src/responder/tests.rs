//! Against real sockets on loopback.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

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
async fn many_slow_peers_are_turned_away() {
    let responder = Responder::bind(any()).unwrap();
    let (port, counts) = (responder.port, Arc::clone(&responder.counts));
    let listener = tokio::net::TcpListener::from_std(OwnedFd::from(responder.tcp).into()).unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(AcceptTask { listener, counts: Arc::clone(&counts) }.run(shutdown.clone()));
    let mut slow = Vec::new();
    for _ in 0..80 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"G").await.unwrap();
        slow.push(stream);
    }
    let deadline = Instant::now() + PATIENCE;
    while counts.read().turned_away == 0 {
        assert!(Instant::now() < deadline, "{:?}", counts.read());
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    task.await.unwrap();
}

#[test]
fn a_taken_port_is_an_error() {
    let first = Responder::bind(any()).unwrap();
    let taken = SocketAddr::from(([0, 0, 0, 0], first.port));
    assert_eq!(Responder::bind(taken).err().unwrap().kind(), io::ErrorKind::AddrInUse);
}
