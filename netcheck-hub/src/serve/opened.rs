//! What a session may send before it is admitted: a hello, and no more than that holds.
//!
//! A message is collected as a whole before it is read, so that a stream that nobody has admitted could have megabytes kept
//! for it. [`Opened`] stands in front of the sessions' service and ends a request's body that is longer than a hello before
//! its session says [`Admitted::admit`].
//!
//! Of large messages one at a time is decoded on the whole hub: the last bytes of one wait here for their turn, which ends
//! when the session says [`Admitted::heard`]. So what large messages cost in memory is counted once, not once a session.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// The longest hello, with all that comes before it in its stream (bytes). An agent that is quick says its first words with
/// it, which wait in the connection.
const HELLO_BYTES: usize = 64 << 10;

/// Messages from this length on take turns (bytes on the wire). Decoded, shorter ones take 22 MiB at worst; an honest agent's
/// are that short but for batches that it kept while the hub was away.
const LARGE: u32 = 64 << 10;
/// A message's head: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const HEAD: usize = 5;

/// Whether a session is admitted, and its turn. Its request has it among its extensions.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    admitted: Arc<AtomicBool>,
    turn: Arc<Mutex<Option<Turn>>>,
}

impl Admitted {
    /// It is.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Release);
    }

    fn is(&self) -> bool {
        self.admitted.load(Ordering::Acquire)
    }

    /// What the last message said was heard, and the message is gone: the next one's turn.
    pub fn heard(&self) {
        drop(self.turn().take());
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose turn it is. Nobody is given the turn who does not look for it just then: a session that is not looked after, since its
/// agent takes nothing of what it is sent, holds up no other.
#[derive(Clone, Debug, Default)]
struct Turns(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    taken: bool,
    /// To be woken when the turn ends: each looks again.
    wakers: Vec<Waker>,
}

/// The turn, until it is dropped.
#[derive(Debug)]
struct Turn(Turns);

impl Turns {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Turn> {
        let mut waiting = self.waiting();
        if waiting.taken {
            if !waiting.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.wakers.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        waiting.taken = true;
        Poll::Ready(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.taken = false;
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The sessions' service behind its threshold.
#[derive(Clone, Debug)]
pub struct Opened<S> {
    inner: S,
    turns: Turns,
}

impl<S> Opened<S> {
    /// In front of this.
    pub fn new(inner: S) -> Self {
        Self { inner, turns: Turns::default() }
    }
}

impl<S: tonic::server::NamedService> tonic::server::NamedService for Opened<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Opened<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> S::Future {
        let admitted = Admitted::default();
        request.extensions_mut().insert(admitted.clone());
        let turns = self.turns.clone();
        self.inner.call(request.map(|body| Body::new(Threshold::new(body, admitted, turns))))
    }
}

/// How far a stream of messages has come.
#[derive(Debug, Default)]
struct Messages {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    begun: usize,
    /// Bytes of the message that are still to come, once its head is there.
    missing: u32,
    /// Its length.
    length: u32,
}

impl Messages {
    /// Goes over these bytes; whether a large message ends in them.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut large = false;
        while !bytes.is_empty() {
            if self.begun < HEAD {
                let (of_head, rest) = bytes.split_at(bytes.len().min(HEAD - self.begun));
                self.head[self.begun..self.begun + of_head.len()].copy_from_slice(of_head);
                self.begun += of_head.len();
                bytes = rest;
                if self.begun < HEAD {
                    break;
                }
                let [_, length @ ..] = self.head;
                self.length = u32::from_be_bytes(length);
                self.missing = self.length;
            }
            let passed = bytes.len().min(self.missing as usize);
            self.missing -= passed as u32;
            bytes = &bytes[passed..];
            if self.missing == 0 {
                large |= self.length >= LARGE;
                self.begun = 0;
            }
        }
        large
    }
}

struct Threshold {
    body: Body,
    admitted: Admitted,
    came: usize,
    messages: Messages,
    turns: Turns,
    /// The end of a large message, which waits for its turn.
    waiting: Option<Frame<Bytes>>,
}

impl Threshold {
    fn new(body: Body, admitted: Admitted, turns: Turns) -> Self {
        Self { body, admitted, came: 0, messages: Messages::default(), turns, waiting: None }
    }

    /// Lets the end of a large message pass once it is its turn.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // One message in a row has the turn of the one before it, which nobody may have said is over.
        self.admitted.heard();
        let turn = ready!(self.turns.poll(context));
        *self.admitted.turn() = Some(turn);
        Poll::Ready(self.waiting.take().map(Ok))
    }
}

impl Drop for Threshold {
    fn drop(&mut self) {
        self.admitted.heard();
    }
}

impl HttpBody for Threshold {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.waiting.is_some() {
            return self.poll_turn(context);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) else {
            return Poll::Ready(frame);
        };
        if !self.admitted.is() {
            self.came += data.len();
            if self.came > HELLO_BYTES {
                let why = format!("more than {HELLO_BYTES} bytes before the session is admitted");
                return Poll::Ready(Some(Err(Status::out_of_range(why))));
            }
        }
        if !self.messages.pass(data) {
            return Poll::Ready(frame);
        }
        self.waiting = frame.and_then(Result::ok);
        self.poll_turn(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt as _;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut wire = vec![0];
        wire.extend_from_slice(&(length as u32).to_be_bytes());
        wire.resize(HEAD + length, 7);
        wire
    }

    fn body(turns: &Turns, wire: &[u8]) -> (Threshold, Admitted) {
        let chunks = wire.chunks(1000).map(|chunk| Ok::<_, Status>(Bytes::copy_from_slice(chunk)));
        let chunks: Vec<_> = chunks.collect();
        let admitted = Admitted::default();
        admitted.admit();
        let stream = Body::new(axum::body::Body::from_stream(futures::stream::iter(chunks)));
        (Threshold::new(stream, admitted.clone(), turns.clone()), admitted)
    }

    /// Bytes that come before it has to wait, or ends.
    fn drain(body: &mut Threshold) -> usize {
        let mut came = 0;
        let mut next = || poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).now_or_never();
        while let Some(Some(frame)) = next() {
            came += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        came
    }

    #[test]
    fn one_large_message_at_a_time_and_small_ones_beside_it() {
        let turns = Turns::default();
        let large = message(LARGE as usize);
        let (mut first, hears) = body(&turns, &large);
        let (mut second, _) = body(&turns, &large);
        let (mut third, _) = body(&turns, &large);
        let small: Vec<u8> = std::iter::repeat_n(message(LARGE as usize - 1), 3).flatten().collect();
        let (mut beside, _) = body(&turns, &small);
        assert_eq!(drain(&mut first), large.len());
        assert!(drain(&mut second) < large.len(), "its end waits");
        assert_eq!(drain(&mut beside), small.len());
        assert_eq!(drain(&mut second), 0);
        hears.heard();
        assert!(drain(&mut second) > 0);
        assert!(drain(&mut third) < large.len());
        drop(second);
        assert!(drain(&mut third) > 0, "who is gone holds up nobody");
    }

    #[test]
    fn who_waits_and_is_not_looked_after_holds_up_nobody() {
        let turns = Turns::default();
        let large = message(LARGE as usize);
        let (mut first, hears) = body(&turns, &large);
        let (mut idle, _) = body(&turns, &large);
        let (mut third, _) = body(&turns, &large);
        assert_eq!(drain(&mut first), large.len());
        assert!(drain(&mut idle) < large.len(), "it asked for the turn before the third");
        let came = drain(&mut third);
        hears.heard();
        assert_eq!(came + drain(&mut third), large.len());
    }

    #[test]
    fn a_session_does_not_wait_for_itself() {
        let turns = Turns::default();
        let two = [message(LARGE as usize), message(LARGE as usize)].concat();
        let (mut body, _) = body(&turns, &two);
        assert_eq!(drain(&mut body), two.len());
        assert!(turns.waiting().taken);
        drop(body);
        assert!(!turns.waiting().taken);
    }
}
