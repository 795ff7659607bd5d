//! Many datagrams with one system call (recvmmsg, sendmmsg), into memory that is allocated once.
//!
//! The only file with raw socket structures. Nothing in it blocks unless the socket and the flags say so.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Datagrams per call.
pub(crate) const BATCH: usize = 64;
/// Bytes kept of each; what is longer is cut off and marked so.
pub(crate) const PACKET: usize = 9216;
/// Room for one control message with a packet's own address.
const CONTROL: usize = 64;

/// A control buffer, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Room for one batch.
pub(crate) struct Batch {
    packets: Box<[[u8; PACKET]]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// So many headers, from the first on, are not as a receive wants them.
    used: usize,
}

// SAFETY: the raw pointers in `iovecs` and `headers` point into this struct's own boxes, which stay where they are when
// it is moved; they are written before the first system call that follows them, and are never handed out.
unsafe impl Send for Batch {}

/// One datagram of a batch.
pub(crate) struct Packet<'a> {
    pub(crate) bytes: &'a [u8],
    /// Who sent it; port 0 on raw sockets.
    pub(crate) from: SocketAddr,
    /// It was longer than [`PACKET`].
    pub(crate) cut: bool,
}

impl Batch {
    /// Room for [`BATCH`] datagrams.
    pub(crate) fn new() -> Self {
        // SAFETY: all three are plain C structures for which all zeroes is a valid value.
        let (name, iovec, header): (libc::sockaddr_storage, libc::iovec, libc::mmsghdr) =
            unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            packets: vec![[0; PACKET]; BATCH].into_boxed_slice(),
            names: vec![name; BATCH].into_boxed_slice(),
            controls: vec![Control([0; CONTROL]); BATCH].into_boxed_slice(),
            iovecs: vec![iovec; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            used: BATCH,
        }
    }

    /// Receives up to [`BATCH`] datagrams: how many.
    ///
    /// # Errors
    /// What recvmmsg says; `WouldBlock` where there is none.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<usize> {
        for index in 0..mem::take(&mut self.used) {
            self.iovecs[index] =
                libc::iovec { iov_base: self.packets[index].as_mut_ptr().cast(), iov_len: PACKET };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut self.iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = self.controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
            header.msg_flags = 0;
        }
        // SAFETY: every header points to a name, an iovec and a control buffer of the sizes it says, all of which
        // live as long as `self`, which is borrowed mutably for the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error());
        // It may have begun with one more.
        self.used = (received.as_ref().copied().unwrap_or(0) + 1).min(BATCH);
        received
    }

    /// Receives everything that is there. What has no sender's address is `None`.
    ///
    /// # Errors
    /// What recvmmsg says, but for `WouldBlock`.
    pub(crate) fn drain(
        &mut self,
        socket: BorrowedFd<'_>,
        mut sink: impl FnMut(Option<Packet<'_>>),
    ) -> io::Result<()> {
        loop {
            let count = match self.receive(socket, libc::MSG_DONTWAIT) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            (0..count).for_each(|index| sink(self.packet(index)));
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// A datagram of the last call; `None` where its sender has no address.
    pub(crate) fn packet(&self, index: usize) -> Option<Packet<'_>> {
        let header = &self.headers[index];
        let len = (header.msg_len as usize).min(PACKET);
        Some(Packet {
            bytes: &self.packets[index][..len],
            from: socket_addr(&self.names[index])?,
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        })
    }

    /// A datagram of the last call, to be changed before it is sent back.
    pub(crate) fn bytes_mut(&mut self, index: usize) -> &mut [u8] {
        let len = (self.headers[index].msg_len as usize).min(PACKET);
        &mut self.packets[index][..len]
    }

    /// Sends datagrams of the last [`Batch::receive`] back to where they came from, from the address that they were
    /// sent to (the socket needs `IP_PKTINFO` or `IPV6_RECVPKTINFO`). `which` is ascending. Returns how many left.
    pub(crate) fn send_back(&mut self, socket: BorrowedFd<'_>, which: &[usize]) -> usize {
        for (slot, &index) in which.iter().enumerate() {
            let len = (self.headers[index].msg_len as usize).min(PACKET);
            self.iovecs[index].iov_len = len;
            any_interface(&mut self.headers[index].msg_hdr);
            self.headers[index].msg_hdr.msg_flags = 0;
            self.headers.swap(slot, index);
        }
        let mut sent = 0;
        while sent < which.len() {
            // SAFETY: the headers point to what the kernel filled in at the last receive, all owned by `self`.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers[sent..].as_mut_ptr(),
                    (which.len() - sent) as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            // One that can't be sent stops the call: it is passed over.
            sent += usize::try_from(done).unwrap_or(0).max(1);
        }
        sent
    }
}

/// Makes a received packet-info message fit for sending: the address stays, the interface is the route's choice.
fn any_interface(header: &mut libc::msghdr) {
    // SAFETY: the kernel wrote well-formed control messages of `msg_controllen` bytes into our own buffer, which is
    // aligned for them; CMSG_FIRSTHDR yields null where there is none. The payload is written unaligned.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            return;
        }
        match ((*message).cmsg_level, (*message).cmsg_type) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info = libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>();
                (&raw mut (*info).ipi6_ifindex).write_unaligned(0);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info = libc::CMSG_DATA(message).cast::<libc::in_pktinfo>();
                (&raw mut (*info).ipi_ifindex).write_unaligned(0);
            }
            _ => header.msg_controllen = 0,
        }
    }
}

/// Reads a socket address. An IPv4-mapped one is given as IPv4.
fn socket_addr(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage, which is larger and aligned for it, holds a sockaddr_in.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(address, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage, which is larger and aligned for it, holds a sockaddr_in6.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let (address, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            Some(match address.to_ipv4_mapped() {
                Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                None => SocketAddr::V6(SocketAddrV6::new(address, port, 0, 0)),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn many_datagrams_in_one_call_with_their_senders() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let (to, from) = (UdpSocket::bind(host).unwrap(), UdpSocket::bind(host).unwrap());
            for number in 0..10u8 {
                from.send_to(&[number; 70], to.local_addr().unwrap()).unwrap();
            }
            from.send_to(&[9; PACKET + 1], to.local_addr().unwrap()).unwrap();
            let mut batch = Batch::new();
            assert_eq!(batch.receive(to.as_fd(), libc::MSG_WAITFORONE).unwrap(), 11);
            for number in 0..10u8 {
                let packet = batch.packet(number.into()).unwrap();
                assert_eq!((packet.bytes, packet.from), (&[number; 70][..], from.local_addr().unwrap()));
                assert!(!packet.cut);
            }
            assert!(batch.packet(10).unwrap().cut);
            let error = batch.receive(to.as_fd(), libc::MSG_DONTWAIT).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
