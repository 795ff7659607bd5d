//! How many large answers are made and sent at the same time, over gRPC and HTTP alike.
//!
//! An answer about all paths of a large cluster takes a few hundred megabytes until its reader has it. So few are made at
//! once, one address has few of them, and who does not take his answer in time loses his connection. What is put off or
//! broken off is counted. [`Ticket`] owns the task that watches over its answer; dropping it ends that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use netcheck_doors::Slot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tonic::Status;
use tower::Service;

use crate::serve::accept::Caller;
use crate::state::Hub;

/// Answers that are held in memory as a whole (gRPC).
const WHOLE: usize = 2;
/// Answers that are made while they are sent (HTTP).
const STREAMED: usize = 16;
/// Answers that one address may have or wait for at the same time: as many as a page in a browser asks for at once.
const FROM_ONE_ADDRESS: usize = 8;
/// How long one may wait for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// How long a reader may take for all of it.
const TAKE: Duration = Duration::from_secs(60);

/// What is answered to whom has to wait too long.
const BUSY: &str =
    "too many large answers at the same time: ask again later, or for less (select sources or targets)";

/// The answers that are on their way.
pub struct InFlight {
    hub: Arc<Hub>,
    whole: Arc<Semaphore>,
    streamed: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// How an answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// All of it, then it is sent.
    Whole,
    /// Piece after piece.
    Streamed,
}

/// One answer's turn, until it is dropped.
pub struct Ticket {
    _turn: OwnedSemaphorePermit,
    _slot: Option<AddressSlot>,
    watch: Option<JoinHandle<()>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// One of an address's answers.
struct AddressSlot {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl AddressSlot {
    fn take(by_address: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut slots = by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = slots.entry(address).or_default();
        if *count >= FROM_ONE_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Self { by_address: Arc::clone(by_address), address })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let mut slots = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = slots.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                slots.remove(&self.address);
            }
        }
    }
}

impl InFlight {
    /// None yet.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            hub,
            whole: Arc::new(Semaphore::new(WHOLE)),
            streamed: Arc::new(Semaphore::new(STREAMED)),
            by_address: Arc::default(),
        })
    }

    /// A turn for an answer to whoever has this connection; none where that takes too long.
    pub async fn enter(self: &Arc<Self>, making: Making, connection: Option<Arc<Slot>>) -> Option<Ticket> {
        let address = connection.as_ref().map(|connection| connection.address());
        let slot = address.map(|address| AddressSlot::take(&self.by_address, address));
        let turns = match making {
            Making::Whole => &self.whole,
            Making::Streamed => &self.streamed,
        };
        let turn = async { Arc::clone(turns).acquire_owned().await.ok() };
        let turn = match slot {
            Some(None) => None,
            _ => tokio::time::timeout(WAIT, turn).await.ok().flatten(),
        };
        let Some(turn) = turn else {
            self.hub.lock().counters.readers_turned_away += 1;
            return None;
        };
        let hub = Arc::clone(&self.hub);
        let watch = connection.map(|connection| {
            tokio::spawn(async move {
                tokio::time::sleep(TAKE).await;
                hub.lock().counters.readers_turned_away += 1;
                tracing::debug!("a reader at {} takes its answer too slowly", connection.address());
                connection.throw_out();
            })
        });
        Some(Ticket { _turn: turn, _slot: slot.flatten(), watch })
    }
}

/// A body that keeps its turn until it is sent.
struct TicketBody<B> {
    body: Pin<Box<B>>,
    _ticket: Ticket,
}

impl<B: HttpBody> HttpBody for TicketBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// In front of what is read by HTTP.
pub(crate) async fn turns(State(inflight): State<Arc<InFlight>>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Arc<Slot>>().cloned();
    let Some(ticket) = inflight.enter(Making::Streamed, connection).await else {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "5")], format!("{BUSY}\n"))
            .into_response();
    };
    next.run(request).await.map(|body| Body::new(TicketBody { body: Box::pin(body), _ticket: ticket }))
}

/// A gRPC service some of whose answers are large.
#[derive(Clone)]
pub struct Large<S> {
    inner: S,
    inflight: Arc<InFlight>,
}

impl<S> Large<S> {
    /// Those of `inner` that are take turns.
    pub const fn new(inner: S, inflight: Arc<InFlight>) -> Self {
        Self { inner, inflight }
    }
}

impl<S: tonic::server::NamedService> tonic::server::NamedService for Large<S> {
    const NAME: &'static str = S::NAME;
}

/// Methods that answer about all paths at once.
fn is_large(path: &str) -> bool {
    ["/GetMatrix", "/GetReport", "/ListTargets", "/GetPath"].iter().any(|method| path.ends_with(method))
}

type Answered<E> = Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, E>> + Send>>;

impl<S> Service<http::Request<tonic::body::Body>> for Large<S>
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<tonic::body::Body>>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answered<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        if !is_large(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        // The one that is ready is used, and a fresh one stays.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let inflight = Arc::clone(&self.inflight);
        Box::pin(async move {
            let connection = request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.slot));
            let Some(ticket) = inflight.enter(Making::Whole, connection).await else {
                return Ok(Status::resource_exhausted(BUSY).into_http());
            };
            let response = inner.call(request).await?;
            Ok(response
                .map(|body| tonic::body::Body::new(TicketBody { body: Box::pin(body), _ticket: ticket })))
        })
    }
}
