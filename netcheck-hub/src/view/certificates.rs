//! Servers' certificates: when they expire, reported before it is too late. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use netcheck_proto::words::expiry;

use crate::state::State;
use netcheck_analysis::model::clock::{SECOND_NS, nanos};
use netcheck_analysis::plan::Target;

impl State {
    /// By target, when the first of its certificates expires (unix seconds).
    #[must_use]
    pub fn certificates(&self) -> BTreeMap<Arc<str>, (i64, Arc<Target>)> {
        let mut first: BTreeMap<Arc<str>, (i64, Arc<Target>)> = BTreeMap::new();
        for (_, agent) in self.each() {
            for row in agent.rows.shown().filter(|row| row.retired_ns.is_none()) {
                let Some(not_after) = row.certificate() else { continue };
                let target = &row.path.probe.target;
                let known = first.entry(Arc::clone(&target.id));
                let known = known.or_insert_with(|| (not_after, Arc::clone(target)));
                known.0 = known.0.min(not_after);
            }
        }
        first
    }

    /// One line for each target whose certificate expires within `warning`, or has.
    #[must_use]
    pub fn certificates_expiring(&self, warning: Duration, now_ns: i64) -> Vec<String> {
        let until_ns = now_ns.saturating_add(nanos(warning));
        let soon = self.certificates().into_values();
        let soon = soon.filter(|(not_after, _)| not_after.saturating_mul(SECOND_NS) < until_ns);
        soon.map(|(not_after, target)| {
            format!("{}: its certificate {}", target.label(), expiry(not_after, now_ns / SECOND_NS))
        })
        .collect()
    }
}
