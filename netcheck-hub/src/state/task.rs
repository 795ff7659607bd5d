//! The hub's clock: verdicts, questions and evidence with every tick, and plans beside that. Cancelling the task stops all of
//! them; plans that are being made, by whomever, are left as they are.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Hub;
use netcheck_analysis::model::clock::unix_now_ns;

/// How often verdicts are renewed and questions are asked: well below any window.
pub const TICK: Duration = Duration::from_millis(200);

/// Ticks the hub until cancelled.
pub struct HubTask {
    /// Whose clock this is.
    pub hub: Arc<Hub>,
}

impl HubTask {
    /// Ticks, and makes plans beside that: they may take longer than a tick.
    pub async fn run(self, shutdown: CancellationToken) {
        let every_tick = || {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            ticks
        };
        let observing = async {
            let mut ticks = every_tick();
            loop {
                ticks.tick().await;
                self.hub.observe(unix_now_ns());
            }
        };
        let planning = async {
            let mut ticks = every_tick();
            loop {
                ticks.tick().await;
                let hub = Arc::clone(&self.hub);
                let planned = tokio::task::spawn_blocking(move || hub.plan_due(unix_now_ns())).await;
                if let Err(failed) = planned
                    && failed.is_panic()
                {
                    std::panic::resume_unwind(failed.into_panic());
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = observing => {}
            () = planning => {}
        }
        // Whoever plans just now, here or for an inventory, leaves it at that.
        self.hub.end();
    }
}
