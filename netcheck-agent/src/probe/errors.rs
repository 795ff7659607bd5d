//! ICMP errors about the packets of one socket, from its error queue (`IP_RECVERR`, ip(7)): what there is where no raw
//! socket can be had, for sockets of another network namespace.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use netcheck_common::domain::{Family, Outcome};

use crate::model::sample::IcmpSeen;
use crate::net::socket;
use crate::probe::quoted;

/// Bytes kept of the packet that an error is about: more than a probe header with ICMP's own.
const QUOTE: usize = 128;
/// The control message: `sock_extended_err`, then the sender's address.
const CONTROL: usize = 256;
/// Errors taken at a time: there may be more than anybody needs.
const AT_ONCE: usize = 256;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    pub(crate) outcome: Outcome,
    pub(crate) icmp: IcmpSeen,
    /// Where the packet was going; port 0 for ICMP.
    pub(crate) to: SocketAddr,
    /// What followed its UDP header, or its ICMP packet from the start.
    pub(crate) quote: Vec<u8>,
}

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Switches the queue on.
pub(crate) fn enable(socket: &OwnedFd, family: Family) -> std::io::Result<()> {
    match family {
        Family::V4 => socket::set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &1),
        Family::V6 => socket::set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &1),
    }
}

/// Takes what is in the queue.
pub(crate) fn take(socket: BorrowedFd<'_>, family: Family, mut sink: impl FnMut(QueuedError)) {
    for _ in 0..AT_ONCE {
        match next(socket, family) {
            Next::None => return,
            Next::Other => {}
            Next::Error(queued) => sink(queued),
        }
    }
}

/// The newest error about a connected socket's packets.
pub(crate) fn newest(socket: BorrowedFd<'_>, family: Family) -> Option<IcmpSeen> {
    let mut newest = None;
    take(socket, family, |queued| newest = Some(queued.icmp));
    newest
}

enum Next {
    None,
    /// An error that this host itself made, or one that means nothing.
    Other,
    Error(QueuedError),
}

fn next(socket: BorrowedFd<'_>, family: Family) -> Next {
    let mut quote = [0u8; QUOTE];
    let mut control = Control([0; CONTROL]);
    let mut iovec = libc::iovec { iov_base: quote.as_mut_ptr().cast(), iov_len: QUOTE };
    // SAFETY: plain C structures for which all zeroes is a valid value.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL;
    // SAFETY: the header points to buffers of the sizes it says, which live until the call returns.
    let len = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    let Ok(len) = usize::try_from(len) else { return Next::None };
    let Some((error, from)) = extended_error(&header) else { return Next::Other };
    // SAFETY: the storage is large enough and aligned for any socket address.
    let to = unsafe { address_at((&raw const name).cast()) };
    let (Some(from), Some(to)) = (from, to) else { return Next::Other };
    let (kind, code) = (error.ee_type, error.ee_code);
    let outcome = match (family, error.ee_origin) {
        (Family::V4, libc::SO_EE_ORIGIN_ICMP) => quoted::meaning_v4(kind, code),
        (Family::V6, libc::SO_EE_ORIGIN_ICMP6) => quoted::meaning_v6(kind, code),
        _ => None,
    };
    let Some(outcome) = outcome else { return Next::Other };
    let mtu_bytes = quoted::next_hop_mtu(family, kind, code, error.ee_info.to_be_bytes());
    let icmp = IcmpSeen { from: from.ip(), kind, code, mtu_bytes };
    Next::Error(QueuedError { outcome, icmp, to, quote: quote[..len.min(QUOTE)].to_vec() })
}

/// The error, and who sent it.
fn extended_error(header: &libc::msghdr) -> Option<(libc::sock_extended_err, Option<SocketAddr>)> {
    // SAFETY: the kernel wrote well-formed control messages of `msg_controllen` bytes into our own buffer, which is
    // aligned for them; what is read of one is within its length.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let is_error = matches!(
                ((*message).cmsg_level, (*message).cmsg_type),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            let data = libc::CMSG_DATA(message);
            let len = (*message).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            let own = size_of::<libc::sock_extended_err>();
            if is_error && len >= own {
                let error = data.cast::<libc::sock_extended_err>().read_unaligned();
                let mut offender: libc::sockaddr_storage = mem::zeroed();
                let rest = (len - own).min(size_of::<libc::sockaddr_storage>());
                std::ptr::copy_nonoverlapping(data.add(own), (&raw mut offender).cast(), rest);
                return Some((error, address_at((&raw const offender).cast())));
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// # Safety
/// `name` points to a `sockaddr_storage`.
unsafe fn address_at(name: *const libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: the caller's promise; the storage is large enough and aligned for both.
    unsafe {
        match i32::from((*name).ss_family) {
            libc::AF_INET => {
                let v4 = &*name.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::new(IpAddr::V4(address), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                let v6 = &*name.cast::<libc::sockaddr_in6>();
                let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddr::new(IpAddr::V6(address), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{SendFlags, SocketType, sendto};

    use super::*;

    #[test]
    fn a_closed_port_is_reported_with_the_packet_that_it_refused() {
        for (family, host) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
            // Taken and given back: closed.
            let to = std::net::UdpSocket::bind(host).unwrap().local_addr().unwrap();
            let socket = socket::open(family, SocketType::DGRAM, None).unwrap();
            enable(&socket, family).unwrap();
            sendto(&socket, b"netcheck", SendFlags::empty(), &to).unwrap();
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            poll(&mut [PollFd::new(&socket, PollFlags::empty())], Some(&patience)).unwrap();
            let mut queued = Vec::new();
            take(socket.as_fd(), family, |one| queued.push(one));
            let [queued] = queued.as_slice() else { panic!("{queued:?}") };
            assert_eq!((queued.outcome, queued.to, queued.icmp.from), (Outcome::Refused, to, to.ip()));
            assert_eq!(queued.quote, b"netcheck");
        }
    }
}
