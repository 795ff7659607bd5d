//! Sockets of the node that should take packets: whether there is one, and whether its program reads.

use std::fs;

use netcheck_proto::v1;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink::{dump, number};

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
/// The bit of `TCP_LISTEN`.
const LISTEN: u32 = 1 << 10;

/// What takes packets to a port of the node's own network: nothing, or a program that does not accept.
pub(super) async fn find(kind: &str, port: u16) -> Option<v1::Culprit> {
    if !listens(kind, port)? {
        return Some(nothing_listens(kind, port));
    }
    if kind != "tcp" {
        return None;
    }
    let mut longest = None;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let messages = dump(NETLINK_SOCK_DIAG, BY_FAMILY, &question(family)).await.unwrap_or_default();
        longest = longest.max(messages.iter().filter_map(|message| backlog(message, port)).max());
    }
    let (waiting, limit) = longest?;
    // The kernel takes one more than the limit (sk_acceptq_is_full() in include/net/sock.h).
    (waiting > limit).then(|| v1::Culprit {
        kind: v1::CulpritKind::Socket.into(),
        object: format!("the listen queue of tcp port {port} is full: {waiting} connections, limit {limit}"),
        text: "the program does not accept them".to_owned(),
        see: format!("ss -lntp sport = :{port}"),
        mend:
            "look at the program: it hangs, or has too few workers; a longer backlog helps with bursts alone"
                .to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

/// A `struct inet_diag_req_v2` for all sockets that listen (linux/inet_diag.h).
fn question(family: i32) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(family).unwrap_or(0), 6, 0, 0];
    bytes.extend_from_slice(&LISTEN.to_ne_bytes());
    bytes.resize(bytes.len() + 48, 0);
    bytes
}

/// How many wait and how many may, of a `struct inet_diag_msg` of a socket that listens at this port.
fn backlog(message: &[u8], port: u16) -> Option<(u32, u32)> {
    let own = u16::from_be_bytes(*message.get(4..)?.first_chunk()?);
    (own == port).then(|| Some((number(message, 56)?, number(message, 60)?)))?
}

/// Whether a socket of the node's own network takes packets to a port; none where the kernel does not show it.
fn listens(kind: &str, port: u16) -> Option<bool> {
    let files = [format!("/proc/self/net/{kind}"), format!("/proc/self/net/{kind}6")];
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    (!texts.is_empty()).then(|| texts.iter().any(|text| queue(text, kind == "tcp", port).is_some()))
}

/// Of these sockets (proc_pid_net(5)) one that takes packets to a port, of TCP one that listens (0A): how much it holds.
pub(super) fn queue(sockets: &str, tcp: bool, port: u16) -> Option<u32> {
    let held = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state, queues) = (words.next()?, words.next(), words.next(), words.next());
        let own = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        if own != port || (tcp && state != Some("0A")) {
            return None;
        }
        let received = queues.and_then(|queues| u32::from_str_radix(queues.split_once(':')?.1, 16).ok());
        Some(received.unwrap_or(0))
    };
    sockets.lines().skip(1).filter_map(held).max()
}

fn nothing_listens(kind: &str, port: u16) -> v1::Culprit {
    let flag = if kind == "tcp" { "t" } else { "u" };
    v1::Culprit {
        kind: v1::CulpritKind::Socket.into(),
        object: format!("nothing listens on {kind} port {port}"),
        see: format!("ss -ln{flag}p sport = :{port}"),
        mend: "start the program that should, or correct the port".to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::node::tests::pasteable;

    #[test]
    fn sockets_that_take_packets_are_found() {
        let sockets = "  sl  local_address rem_address   st\n   \
                       0: 0100007F:17D4 00000000:0000 0A 00000000:00000003\n   \
                       1: 0100007F:0050 0100007F:A000 01 00000000:00000000\n";
        [nothing_listens("tcp", 80), nothing_listens("udp", 53)].iter().for_each(pasteable);
        assert_eq!(queue(sockets, true, 6100), Some(3));
        assert_eq!(queue(sockets, true, 80), None, "it is connected, and does not listen");
        assert_eq!(queue(sockets, false, 80), Some(0));
        assert!(queue("", false, 80).is_none() && queue("x\ny\n", true, 0).is_none());
    }

    #[test]
    fn the_kernel_shows_queue_and_limit_of_a_real_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let messages = dump(NETLINK_SOCK_DIAG, BY_FAMILY, &question(libc::AF_INET)).await.unwrap();
            messages.iter().find_map(|message| backlog(message, port))
        });
        let (waiting, limit) = found.unwrap();
        assert!(waiting == 0 && limit > 0, "{waiting} {limit}");
        assert_eq!(runtime.block_on(find("tcp", port)), None);
    }
}
