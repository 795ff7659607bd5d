//! A connection that has to begin in time, and to take what it asked for.
//!
//! It ends with an error once its slot is another's, once it has not said enough to count as begun by the deadline, or
//! once it has taken no byte for long of what is sent to it. The deadline begins with the first look for its words: how late
//! that comes, where the machine is busy, is nothing that the peer could hurry.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::slots::Slot;

/// The connection.
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    slot: Arc<Slot>,
    out: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Bytes that are still to come before it has begun, and until when, once somebody looked for them; none once it has.
    beginning: Option<(usize, Option<Pin<Box<Sleep>>>)>,
    /// Runs while a byte waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<IO> Guarded<IO> {
    /// It has begun once `bytes` came.
    #[must_use]
    pub fn new(io: IO, slot: Arc<Slot>, bytes: usize) -> Self {
        let out = Box::pin(slot.out());
        Self { io, slot, out, beginning: Some((bytes, None)), stalled: None }
    }

    /// What is guarded.
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Its slot.
    pub const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        let out = self.out.as_mut().poll(context).is_ready();
        out.then(|| io::Error::new(io::ErrorKind::ConnectionAborted, "its slot is a newer connection's"))
    }

    /// Watches over one write: what is pending may not be so for long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.slot.limits().stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
        if stalled.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "it takes nothing")));
        }
        match self.poll_out(context) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guarded<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(error) = this.poll_out(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        if let Some((missing, deadline)) = &mut this.beginning {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.beginning = None;
                this.slot.begun();
            } else {
                let begin = this.slot.limits().begin;
                let deadline = deadline.get_or_insert_with(|| Box::pin(sleep(begin)));
                if deadline.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "it does not begin")));
                }
            }
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guarded<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{advance, timeout};

    use super::*;
    use crate::slots::{Limits, Slots};

    #[tokio::test(start_paused = true)]
    async fn a_late_first_look_is_not_the_peers_fault() {
        let slots = Slots::new(Limits { begin: Duration::from_secs(5), ..Limits::default() });
        let enter = || Arc::new(slots.enter([10, 0, 0, 1].into()).unwrap());
        let (mut peer, end) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(end, enter(), 4);
        advance(Duration::from_secs(10)).await;
        let mut words = [0; 4];
        let looked = timeout(Duration::from_secs(4), guarded.read(&mut words)).await;
        assert!(looked.is_err(), "it is still waited for: {looked:?}");
        peer.write_all(b"abcd").await.unwrap();
        assert_eq!(guarded.read(&mut words).await.unwrap(), 4);

        let (_silent, end) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(end, enter(), 4);
        let late = timeout(Duration::from_secs(6), guarded.read(&mut words)).await.unwrap();
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
