//! Readers that follow: what there is first, then what changed at each tick, until the hub shuts down. A reader that is
//! slow misses states in between, never the newest.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What a reader is sent, in order.
pub type ReaderStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What one reader follows, and what it knows.
pub(crate) trait Follow: Send + 'static {
    /// One thing that is sent.
    type Message: Send;

    /// What there is, and the end of this first pass.
    fn first(&mut self) -> Vec<Self::Message>;

    /// What is not as the reader knows it.
    fn changes(&mut self) -> Vec<Self::Message>;
}

struct Follower<F> {
    follow: F,
    sent_first: bool,
    ticks: watch::Receiver<i64>,
    shutdown: CancellationToken,
}

/// The stream of one reader.
pub(crate) fn follow<F: Follow>(
    follow: F,
    ticks: watch::Receiver<i64>,
    shutdown: CancellationToken,
) -> ReaderStream<F::Message> {
    let follower = Follower { follow, sent_first: false, ticks, shutdown };
    let passes = futures::stream::unfold(follower, |mut follower| async {
        let pass = follower.next().await?;
        Some((futures::stream::iter(pass.into_iter().map(Ok)), follower))
    });
    Box::pin(passes.flatten())
}

impl<F: Follow> Follower<F> {
    async fn next(&mut self) -> Option<Vec<F::Message>> {
        if !self.sent_first {
            self.sent_first = true;
            return Some(self.follow.first());
        }
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                ticked = self.ticks.changed() => ticked.ok()?,
            }
            let changes = self.follow.changes();
            if !changes.is_empty() {
                return Some(changes);
            }
        }
    }
}
