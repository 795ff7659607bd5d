//! A connection that has to begin in time, and to take what it asked for.
//!
//! It ends with an error once its place is another's, once it has not said enough to count as begun by the deadline, or
//! once it has taken no byte for long of what is sent to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::places::Place;

/// The connection.
#[derive(Debug)]
pub struct Guarded<IO> {
    io: IO,
    place: Arc<Place>,
    out: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Bytes that are still to come before it has begun, and until when; none once it has.
    beginning: Option<(usize, Pin<Box<Sleep>>)>,
    /// Runs while a byte waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<IO> Guarded<IO> {
    /// It has begun once `bytes` came.
    #[must_use]
    pub fn new(io: IO, place: Arc<Place>, bytes: usize) -> Self {
        let deadline = Instant::now() + place.limits().begin;
        let out = Box::pin(place.out());
        Self { io, place, out, beginning: Some((bytes, Box::pin(sleep_until(deadline)))), stalled: None }
    }

    /// What is guarded.
    pub const fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Its place.
    pub const fn place(&self) -> &Arc<Place> {
        &self.place
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        let out = self.out.as_mut().poll(context).is_ready();
        out.then(|| io::Error::new(io::ErrorKind::ConnectionAborted, "its place is a newer connection's"))
    }

    /// Watches over one write: what is pending may not be so for long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stall = self.place.limits().stall;
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
                this.place.begun();
            } else if deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "it does not begin")));
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
