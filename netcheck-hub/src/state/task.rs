//! The hub's clock: verdicts, questions and evidence with every tick, and plans beside that. Cancelling the task stops all of
//! them; plans that are being made, by whomever, are left as they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = again_and_again(&self.hub, Hub::observe) => {}
            () = again_and_again(&self.hub, Hub::plan_due) => {}
        }
        // Whoever plans just now, here or for an inventory, leaves it at that.
        self.hub.end();
    }
}

/// Does this with every tick, on a thread where it keeps nobody waiting: with a million paths a tick takes some hundred
/// milliseconds, in which no session would be served. Half of the time it does nothing, so that one core is never full of it.
async fn again_and_again(hub: &Arc<Hub>, work: fn(&Hub, i64)) {
    loop {
        let (began, hub) = (Instant::now(), Arc::clone(hub));
        let done = tokio::task::spawn_blocking(move || work(&hub, unix_now_ns())).await;
        if let Err(failed) = done
            && failed.is_panic()
        {
            std::panic::resume_unwind(failed.into_panic());
        }
        let spent = began.elapsed();
        tokio::time::sleep(TICK.saturating_sub(spent).max(spent)).await;
    }
}
