//! What is counted for metrics is forgotten when nobody adds to it any more.

use super::{Settings, State};
use netcheck_analysis::model::clock::nanos;
use netcheck_analysis::plan::rotation::RotationSlot;

impl State {
    /// Paths that take turns are silent for as long as a rotation takes, and a little more.
    pub(super) fn forget_meters(&mut self, settings: &Settings, now_ns: i64) {
        let rotations = self.each().filter_map(|(_, agent)| agent.turns.as_ref().map(RotationSlot::cover));
        let silent = rotations.max().unwrap_or_default().saturating_mul(2).max(settings.expire);
        self.meters.expire(now_ns.saturating_sub(nanos(silent)));
    }
}
