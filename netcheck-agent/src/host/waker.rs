//! Wakes a thread that sleeps in poll(2), from any other thread: an eventfd (eventfd(2)).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

/// One sleeper's waker; clones wake the same one.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Makes the descriptor readable until it is drained.
    pub(crate) fn wake(&self) {
        // This fails only after 2⁶⁴ wakes that nobody drained, and then the descriptor is readable anyway.
        let _ = write(&*self.0, &1u64.to_ne_bytes());
    }

    /// What the sleeper waits for.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Takes all wakes so far.
    pub(crate) fn drain(&self) {
        let _ = read(&*self.0, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(waker: &Waker) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(waker.fd(), PollFlags::IN)], Some(&at_once)).unwrap() == 1
    }

    #[test]
    fn wakes_are_drained_together() {
        let waker = Waker::open().unwrap();
        assert!(!is_readable(&waker));
        waker.wake();
        waker.clone().wake();
        assert!(is_readable(&waker));
        waker.drain();
        assert!(!is_readable(&waker));
    }
}
