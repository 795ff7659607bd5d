//! The agent at work, and how it stops.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::engine::EngineHandle;
use crate::model::status::HubState;
use crate::responder::echo::Echo;
use crate::uplink::buffer::outbox::Outbox;

/// How long the hub may take to acknowledge the last batch; well within a pod's grace period.
const DRAIN: Duration = Duration::from_secs(3);

/// The agent at work.
pub(super) struct Running {
    /// Collector and session, which drain.
    pub(super) data: JoinSet<()>,
    /// Who answers others, and what goes on without data to lose.
    pub(super) answering: JoinSet<()>,
    /// The listener for the pod vantage.
    pub(super) handing: JoinSet<()>,
    /// The kernel's hooks.
    pub(super) watching: JoinSet<()>,
    pub(super) shutdown: CancellationToken,
    /// Ends the responder.
    pub(super) closing: CancellationToken,
    pub(super) detach: CancellationToken,
    pub(super) engine: EngineHandle,
    pub(super) echo: Arc<Echo>,
    pub(super) threads: [JoinHandle<()>; 2],
    pub(super) outbox: Arc<Outbox>,
    pub(super) hub: watch::Receiver<HubState>,
}

impl Running {
    /// Until a task ends, which none should.
    pub(super) async fn first_end(&mut self) {
        tokio::select! {
            _ = self.data.join_next() => {}
            _ = self.answering.join_next() => {}
            Some(_) = self.handing.join_next() => {}
            Some(_) = self.watching.join_next() => {}
        }
    }

    /// Stops everything in the order of the data. Whether all threads ended as they should.
    pub(super) async fn stop(mut self) -> bool {
        self.shutdown.cancel();
        self.engine.stop();
        // What is left after that is lost, and said below.
        let _ = timeout(DRAIN, async { while self.data.join_next().await.is_some() {} }).await;
        let lost = self.outbox.status().batches;
        if lost > 0 {
            let hub = self.hub.borrow().trouble(Instant::now()).to_owned();
            tracing::warn!(lost, hub, "the hub did not acknowledge the last batches");
        }
        tracing::debug!("drained");
        self.echo.stop();
        self.closing.cancel();
        self.detach.cancel();
        self.data.shutdown().await;
        self.answering.shutdown().await;
        self.handing.shutdown().await;
        // All that takes time here: the kernel waits for an RCU grace period for each hook, one after the other (its
        // tcx_link_release holds the RTNL lock meanwhile), 10 ms on an idle machine. Threads or an early exit save
        // nothing.
        self.watching.shutdown().await;
        tracing::debug!("detached");
        let mut joined = true;
        for thread in self.threads {
            joined &= thread.join().is_ok();
        }
        joined
    }
}
