//! UDP echo of netcheck's probes, on a thread that sleeps in `recvmmsg`: a wake-up costs two system calls.
//!
//! Only what begins with a probe header that nobody has sent back yet is sent back, as it came but for the mark that
//! says so, and never to a responder's port: it can be made neither an amplifier nor one end of a loop. Of one source no more
//! than [`super::limit`] allows: what is beyond that is counted, and the agent's status says whose it was.
//! Replies leave from the address that the request was sent to. [`Echo::stop`] ends the thread.

use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netcheck_common::header::{FLAG_REPLY, VERSION_FLAGS_OFFSET};
use socket2::Socket;

use crate::host::clock::monotonic_ns;
use crate::model::sample::header_of;
use crate::net::mmsg::{BATCH, Batch, PACKET, Packet};
use crate::responder::LiveCounts;
use crate::responder::limit::Limiter;

/// Longest packet that is echoed.
const ECHO_MAX: usize = PACKET;

/// The echo, shared by its thread and whoever stops it.
pub(crate) struct Echo {
    socket: Socket,
    port: u16,
    counts: Arc<LiveCounts>,
    stopped: AtomicBool,
}

impl Echo {
    pub(crate) fn new(socket: Socket, port: u16, counts: Arc<LiveCounts>) -> Arc<Self> {
        Arc::new(Self { socket, port, counts, stopped: AtomicBool::new(false) })
    }

    /// Echoes until stopped.
    pub(crate) fn run(&self) {
        let mut batch = Batch::new();
        let mut back = Vec::with_capacity(BATCH);
        let mut limiter = Limiter::new();
        loop {
            let count = batch.receive(self.socket.as_fd(), libc::MSG_WAITFORONE);
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            // An ICMP error about an earlier reply: whoever asked has gone.
            let Ok(count) = count else { continue };
            back.clear();
            back.extend(
                (0..count).filter(|&index| {
                    batch.packet(index).is_some_and(|packet| is_request(&packet, self.port))
                }),
            );
            let refused = count - back.len();
            let now_ns = monotonic_ns();
            back.retain(|&index| {
                let from = batch.packet(index).map(|packet| packet.from.ip());
                let admitted = from.is_some_and(|from| limiter.admit(from, now_ns));
                if let Some(from) = from.filter(|_| !admitted) {
                    self.counts.limited(from.to_canonical(), now_ns);
                }
                admitted
            });
            for &index in &back {
                if let Some(flags) = batch.bytes_mut(index).get_mut(VERSION_FLAGS_OFFSET + 1) {
                    *flags |= FLAG_REPLY;
                }
            }
            batch.send_back(self.socket.as_fd(), &back);
            self.counts.echoed.fetch_add(back.len() as u64, Ordering::Relaxed);
            self.counts.refused.fetch_add(refused as u64, Ordering::Relaxed);
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the receiver although the socket is not connected; the error only says that it is not.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Whether a packet is a probe to be echoed.
fn is_request(packet: &Packet<'_>, own_port: u16) -> bool {
    !packet.cut
        && packet.bytes.len() <= ECHO_MAX
        && packet.from.port() != own_port
        && header_of(packet.bytes).is_some_and(|header| header.flags == 0)
}
