//! A check that lasts for a while, and wants so many probes of each node meanwhile.
//!
//! Agents are asked for it again and again, each time for some seconds: when nobody asks any more, it is over. They send what
//! their own budgets have room for; how much that was is read from the windows, as all else.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{nanos, wire_duration};
use netcheck_analysis::plan::selector::Selector;
use netcheck_proto::v1;

use super::survey::Survey;
use super::wanted::Wanted;
use crate::state::Hub;

/// For how long agents are asked; they are asked again every second.
const ASKED: Duration = Duration::from_secs(5);

/// How long, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Haste {
    /// By this number agents distinguish this check's wishes from those of others.
    pub id: u64,
    /// How long probes are sent.
    pub duration: Duration,
    /// Probes a second of each node; none: as many as at any time.
    pub per_second: Option<NonZeroU32>,
}

/// What was sent in a time, by node.
type Sent = BTreeMap<String, f64>;

impl Haste {
    /// How long the check lasts: until its last window is there.
    pub(super) fn whole(&self, hub: &Hub, survey: &Survey) -> Duration {
        self.duration + survey.settled(hub)
    }

    /// When its last probe is sent if it began then.
    pub(crate) fn ends_ns(&self, started_ns: i64) -> i64 {
        started_ns.saturating_add(nanos(self.duration))
    }

    /// Asks agents to probe what is selected more often.
    pub(super) fn hasten(&self, hub: &Hub, wanted: &Wanted, elapsed: Duration) {
        let left = self.duration.saturating_sub(elapsed);
        let Some(per_second) = self.per_second.filter(|_| !left.is_zero()) else { return };
        for source in hub.indices() {
            let mut state = hub.lock();
            let agent = state.agent(source);
            if agent.live.is_none() || !wanted.selector.takes_source(&agent.name) {
                continue;
            }
            let rows = agent.rows.shown().filter(|row| {
                row.retired_ns.is_none()
                    && wanted.takes(&agent.name, &row.path)
                    && !agent.refused_paths.contains_key(&row.path.id.0)
            });
            let path_ids: Vec<u32> = rows.map(|row| row.path.id.0).collect();
            if path_ids.is_empty() {
                continue;
            }
            let interval =
                Duration::from_secs(1) * u32::try_from(path_ids.len()).unwrap_or(u32::MAX) / per_second.get();
            let wish = v1::Hasten {
                id: self.id,
                path_ids,
                interval: Some(wire_duration(interval)),
                duration: Some(wire_duration(left.min(ASKED))),
            };
            state.send(source, v1::session_response::Message::Hasten(wish));
        }
    }

    /// Probes a second that each node sent of what is selected, of those nodes that have any of it, and each target got.
    pub(crate) fn sent(hub: &Hub, selector: &Selector, from_ns: i64, until_ns: i64) -> (Sent, Sent) {
        let range = Range { from_ns, strict: true, now_ns: until_ns };
        let (mut nodes, mut targets) = (Sent::new(), BTreeMap::<String, u64>::new());
        let mut longest_ns = 0;
        for source in hub.indices() {
            if let Some(node) = Window::of(hub, source, selector, &range, &mut targets) {
                longest_ns = longest_ns.max(node.length_ns);
                nodes.insert(node.name, rate(node.probes, node.length_ns));
            }
        }
        (nodes, targets.into_iter().map(|(target, probes)| (target, rate(probes, longest_ns))).collect())
    }
}

/// What one node sent.
struct Window {
    name: String,
    probes: u64,
    length_ns: i64,
}

impl Window {
    /// None where nothing of this node is selected.
    fn of(
        hub: &Hub,
        source: NodeIx,
        selector: &Selector,
        range: &Range,
        targets: &mut BTreeMap<String, u64>,
    ) -> Option<Self> {
        let state = hub.lock();
        let agent = state.agent(source);
        if agent.name.is_empty() || !selector.takes_source(&agent.name) {
            return None;
        }
        let (mut any, mut probes) = (false, 0);
        let (mut begin_ns, mut end_ns) = (i64::MAX, i64::MIN);
        for row in agent.rows.shown().filter(|row| selector.takes(&agent.name, &row.path)) {
            any = true;
            let mut to_target = 0;
            for slot in range.slots(row).filter(|slot| slot.end_ns() <= range.now_ns) {
                to_target += u64::from(slot.reply) + slot.lost() + u64::from(slot.suspect);
                begin_ns = begin_ns.min(slot.start_ns);
                end_ns = end_ns.max(slot.end_ns());
            }
            probes += to_target;
            match targets.get_mut(&*row.path.probe.target.id) {
                Some(sum) => *sum += to_target,
                None => drop(targets.insert(row.path.probe.target.id.to_string(), to_target)),
            }
        }
        let length_ns = end_ns.saturating_sub(begin_ns).max(0);
        any.then(|| Self { name: agent.name.to_string(), probes, length_ns })
    }
}

fn rate(probes: u64, length_ns: i64) -> f64 {
    if length_ns <= 0 { 0.0 } else { probes as f64 * 1e9 / length_ns as f64 }
}
