//! The server that the lab starts in its pods; std only, one thread per connection.
//!
//! - `netlab-server http NAME PORT` answers every HTTP request with 200 and `NAME`, over both families.
//! - `netlab-server dns-delay PORT UPSTREAM MILLIS` passes DNS queries (UDP and TCP) on to `UPSTREAM` and
//!   holds each answer back for `MILLIS`, over both families.
//! - `netlab-server echo PORT` sends every UDP packet back, over both families.
//! - `netlab-server stuck PORT` listens over both families, accepts nothing, and has filled its own queue.
//! - `netlab-server late FROM TO MILLIS MARK` sends the frames that device `FROM` receives through device `TO`, each
//!   after a time of its own of up to `MILLIS`, with a packet mark.
//!
//! It writes `ready` to standard output once its sockets listen.

use std::ffi::c_int;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

mod relay;

const IO_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["http", name, port] => port.parse().map_err(bad).and_then(|port| http(name, port)),
        ["dns-delay", port, upstream, millis] => match (port.parse(), upstream.parse(), millis.parse()) {
            (Ok(port), Ok(upstream), Ok(millis)) => dns_delay(port, upstream, Duration::from_millis(millis)),
            _ => Err(bad("cannot read the arguments of dns-delay")),
        },
        ["echo", port] => port.parse().map_err(bad).and_then(echo),
        ["stuck", port] => port.parse().map_err(bad).and_then(stuck),
        ["late", from, to, millis, mark] => {
            let mark = u32::from_str_radix(mark.trim_start_matches("0x"), 16);
            match (millis.parse(), mark) {
                (Ok(millis), Ok(mark)) => relay::late(from, to, Duration::from_millis(millis), mark),
                _ => Err(bad("cannot read the arguments of late")),
            }
        }
        _ => Err(bad(
            "usage: netlab-server http NAME PORT | dns-delay PORT UPSTREAM MILLIS | echo PORT | stuck PORT | late FROM TO MILLIS MARK",
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netlab-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bad(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// The unspecified IPv6 address takes IPv4 too: `net.ipv6.bindv6only` is 0 in a new namespace.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

fn http(name: &str, port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(any(port))?;
    println!("ready");
    let body = format!("{name}\n");
    let answer: Arc<str> = format!(
        "HTTP/1.1 200 OK\r\nserver: netlab\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
    .into();
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let answer = Arc::clone(&answer);
        thread::spawn(move || {
            // A client that hangs up early is its own affair.
            let _ = answer_http(stream, &answer);
        });
    }
    Ok(())
}

fn echo(port: u16) -> io::Result<()> {
    let socket = UdpSocket::bind(any(port))?;
    println!("ready");
    let mut packet = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        // What can't be sent back is lost, as anywhere on the way.
        let _ = socket.send_to(&packet[..length], from);
    }
}

/// The shortest queue holds one connection, and the first is its own. (`net.ipv4.tcp_abort_on_overflow` is 0: what
/// comes then gets no answer.)
fn stuck(port: u16) -> io::Result<()> {
    unsafe extern "C" {
        fn listen(fd: c_int, backlog: c_int) -> c_int;
    }
    let listener = TcpListener::bind(any(port))?;
    // SAFETY: no pointers. To listen again changes the queue's length.
    if unsafe { listen(listener.as_raw_fd(), 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let _first = TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
    println!("ready");
    loop {
        thread::park();
    }
}

fn answer_http(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < 16 * 1024 {
        match stream.read(&mut chunk)? {
            // A bare connect, such as a TCP probe, gets no answer.
            0 => return Ok(()),
            n => head.extend_from_slice(&chunk[..n]),
        }
    }
    stream.write_all(answer.as_bytes())
}

fn dns_delay(port: u16, upstream: SocketAddr, delay: Duration) -> io::Result<()> {
    let udp = Arc::new(UdpSocket::bind(any(port))?);
    let tcp = TcpListener::bind(any(port))?;
    println!("ready");
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            thread::spawn(move || {
                let _ = relay_tcp(stream, upstream, delay);
            });
        }
    });
    let mut query = [0; 4096];
    loop {
        let (len, client) = udp.recv_from(&mut query)?;
        let (udp, query) = (Arc::clone(&udp), query[..len].to_vec());
        thread::spawn(move || {
            let _ = relay_udp(&udp, &query, client, upstream, delay);
        });
    }
}

fn relay_udp(
    udp: &UdpSocket,
    query: &[u8],
    client: SocketAddr,
    upstream: SocketAddr,
    delay: Duration,
) -> io::Result<()> {
    thread::sleep(delay);
    let socket = UdpSocket::bind(any(0))?;
    let SocketAddr::V4(v4) = upstream else { return Err(bad("the upstream must be IPv4")) };
    let mapped = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
    socket.set_read_timeout(Some(IO_TIMEOUT))?;
    socket.send_to(query, mapped)?;
    let mut answer = [0; 4096];
    let (len, _) = socket.recv_from(&mut answer)?;
    udp.send_to(&answer[..len], client)?;
    Ok(())
}

fn relay_tcp(mut client: TcpStream, upstream: SocketAddr, delay: Duration) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream)?;
    server.set_read_timeout(Some(IO_TIMEOUT))?;
    client.set_read_timeout(Some(IO_TIMEOUT))?;
    loop {
        let query = read_framed(&mut client)?;
        thread::sleep(delay);
        server.write_all(&query)?;
        let answer = read_framed(&mut server)?;
        client.write_all(&answer)?;
    }
}

/// One DNS message with its two bytes of length (RFC 1035 §4.2.2).
fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut message = len.to_vec();
    message.resize(2 + usize::from(u16::from_be_bytes(len)), 0);
    stream.read_exact(&mut message[2..])?;
    Ok(message)
}
