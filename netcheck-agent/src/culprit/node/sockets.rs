//! Sockets of the node that should take packets: whether there is one, and whether its program reads.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use netcheck_proto::v1;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink::{dump, number};

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
/// The bit of `TCP_LISTEN`.
const LISTEN: u32 = 1 << 10;

/// What takes packets to a port of the node's own network at one of its addresses: nothing, what listens at other addresses alone,
/// or a program that does not accept.
pub(super) async fn find(kind: &str, to: IpAddr, port: u16) -> Option<v1::Culprit> {
    let listeners = own(kind, port)?;
    if listeners.is_empty() {
        return Some(nothing_listens(kind, port));
    }
    if !listeners.iter().any(|listener| listener.takes(to)) {
        let flag = if kind == "tcp" { "t" } else { "u" };
        return Some(elsewhere(&listeners, (kind, port), "", format!("ss -ln{flag}p sport = :{port}")));
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

/// The sockets of the node's own network that take packets to a port; none where the kernel does not show it.
fn own(kind: &str, port: u16) -> Option<Vec<Listener>> {
    let files = [format!("/proc/self/net/{kind}"), format!("/proc/self/net/{kind}6")];
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    (!texts.is_empty()).then(|| texts.iter().flat_map(|text| listeners(text, kind == "tcp", port)).collect())
}

/// A socket that takes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// The address that it is bound to.
    at: IpAddr,
    /// What nobody has taken from it: connections, or bytes.
    pub(super) waiting: u32,
}

impl Listener {
    /// Whether it takes what is for this address. That a socket of IPv6 may be told to leave IPv4 alone is not shown.
    pub(super) fn takes(&self, to: IpAddr) -> bool {
        self.at == to || (self.at.is_unspecified() && (self.at.is_ipv6() || to.is_ipv4()))
    }
}

/// Of these sockets (proc_pid_net(5)) those that take packets to a port, of TCP those that listen (0A).
pub(super) fn listeners(sockets: &str, tcp: bool, port: u16) -> Vec<Listener> {
    let listener = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state, queues) = (words.next()?, words.next(), words.next(), words.next());
        let (address, own) = local.rsplit_once(':')?;
        if u16::from_str_radix(own, 16).ok()? != port || (tcp && state != Some("0A")) {
            return None;
        }
        let waiting = queues.and_then(|queues| u32::from_str_radix(queues.split_once(':')?.1, 16).ok());
        Some(Listener { at: bound(address)?, waiting: waiting.unwrap_or(0) })
    };
    sockets.lines().skip(1).filter_map(listener).collect()
}

/// An address as these files have it: words of four bytes, each in the machine's order.
fn bound(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

/// What listens on the port, and not at the address that was asked. `whose`: ` in the pod`, or nothing.
pub(super) fn elsewhere(
    listeners: &[Listener],
    (kind, port): (&str, u16),
    whose: &str,
    see: String,
) -> v1::Culprit {
    let at: BTreeSet<String> = listeners.iter().map(|listener| listener.at.to_string()).collect();
    let at = at.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    v1::Culprit {
        kind: v1::CulpritKind::Socket.into(),
        object: format!("what listens on {kind} port {port}{whose} does so at {at} alone"),
        text: "it takes nothing that is for another address".to_owned(),
        see,
        mend:
            "the program's own configuration: the address that it is to listen at (0.0.0.0 or [::] for all)"
                .to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

/// Addresses that are named.
const NAMED: usize = 3;

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
        let waiting = |tcp, port| listeners(sockets, tcp, port).iter().map(|one| one.waiting).max();
        assert_eq!(waiting(true, 6100), Some(3));
        assert_eq!(waiting(true, 80), None, "it is connected, and does not listen");
        assert_eq!(waiting(false, 80), Some(0));
        assert!(listeners("", false, 80).is_empty() && listeners("x\ny\n", true, 0).is_empty());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn what_listens_at_another_address_takes_nothing() {
        let of = |address: &str| {
            let line = format!("sl\n 0: {address}:0050 0:0 0A 0:0\n");
            listeners(&line, true, 80)
        };
        let takes = |address: &str, to: &str| of(address)[0].takes(to.parse().unwrap());
        assert!(takes("0100007F", "127.0.0.1") && !takes("0100007F", "10.0.0.1"));
        assert!(takes("00000000", "10.0.0.1") && !takes("00000000", "fd00::1"));
        let any = "0".repeat(32);
        assert!(takes(&any, "fd00::1") && takes(&any, "10.0.0.1"));
        let one = "000000FD000000000000000001000000";
        assert!(takes(one, "fd00::1") && !takes(one, "fd00::2"));
        let found = elsewhere(&of("0100007F"), ("tcp", 80), " in the pod", "ss -lntp sport = :80".to_owned());
        pasteable(&found);
        assert_eq!(found.object, "what listens on tcp port 80 in the pod does so at 127.0.0.1 alone");
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
        let found = |to: &str| runtime.block_on(find("tcp", to.parse().unwrap(), port));
        assert_eq!(found("127.0.0.1"), None);
        assert!(found("192.0.2.1").unwrap().object.ends_with("at 127.0.0.1 alone"));
    }
}
