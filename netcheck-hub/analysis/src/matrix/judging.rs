//! Windows of one path → its verdict. Pure arithmetic that takes `now`.
//!
//! | verdict | when |
//! |---|---|
//! | `no_data` | no judged sample in the range, or none for longer than [`Rules::stale_ns`] |
//! | `unreachable` | none of the newest samples was answered: [`RUN`] of them where one host answers, [`RUN_BALANCED`] where a service spreads them over several; or none in the whole range |
//! | `degraded` | any loss in the range; or new flows fare otherwise than old ones ([`Flows`]), or some of a service's are lost |
//! | `reachable` | every judged sample in the range was answered |
//! | `expected_absent` | instead of the first three, where Kubernetes says that source or target are meant to be away |
//!
//! A path comes back in two steps, which is all the hysteresis there is: one answered window ends `unreachable`, and
//! it stays `degraded` until its losses have left the range.

use crate::evidence::Lost;
use crate::matrix::flows::Flows;
use crate::matrix::range::Range;
use crate::matrix::{Row, Slot};
use crate::model::verdict::{RUN, RUN_BALANCED, Rules, Verdict};

#[cfg(test)]
mod tests;

/// A path as far as its verdict goes.
#[derive(Clone, Debug)]
pub struct View<I> {
    /// Its windows in the range, oldest first.
    pub slots: I,
    /// Losses that are newer than any window, in the order of their numbers: how many of the newest are consecutive.
    pub fresh_lost: u64,
    /// When the newest of them was sent.
    pub fresh_lost_ns: Option<i64>,
    /// Hosts that answer in the target's stead.
    pub backends: usize,
    /// Source or target are meant to be away.
    pub absent: bool,
}

/// Judges.
pub fn judge<I, D>(view: View<I>, rules: &Rules, now_ns: i64) -> Verdict
where
    I: DoubleEndedIterator<Item = Slot<D>>,
{
    let (mut replies, mut lost) = (0u64, view.fresh_lost);
    let mut run = view.fresh_lost;
    let mut running = true;
    let mut heard_ns = view.fresh_lost_ns;
    for slot in view.slots.rev() {
        let (slot_lost, slot_replies) = (slot.lost(), u64::from(slot.reply));
        if slot_lost + slot_replies == 0 {
            // Only suspect samples: says nothing, and interrupts nothing.
            continue;
        }
        running &= slot_replies == 0;
        if running {
            run += slot_lost;
        }
        lost += slot_lost;
        replies += slot_replies;
        heard_ns = heard_ns.max(Some(slot.end_ns()));
    }
    let stale = heard_ns.is_none_or(|heard_ns| now_ns.saturating_sub(heard_ns) > rules.stale_ns());
    let needed = if view.backends > 1 { RUN_BALANCED } else { RUN };
    let verdict = if stale {
        Verdict::NoData
    } else if lost > 0 && (replies == 0 || run >= needed) {
        Verdict::Unreachable
    } else if lost > 0 {
        Verdict::Degraded
    } else {
        Verdict::Reachable
    };
    if view.absent && verdict != Verdict::Reachable { Verdict::ExpectedAbsent } else { verdict }
}

/// The verdict of a row over the newest samples since `from_ns`.
#[must_use]
pub fn verdict(row: &Row, rules: &Rules, source_absent: bool, from_ns: i64, now_ns: i64) -> Verdict {
    judge_row(row, rules, source_absent, &Range { from_ns, strict: false, now_ns })
}

/// The verdict of a row over a range.
#[must_use]
pub fn judge_row(row: &Row, rules: &Rules, source_absent: bool, range: &Range) -> Verdict {
    let slower;
    let rules = if row.path.probe.exchange.is_some() {
        slower = rules.of_exchanges();
        &slower
    } else {
        rules
    };
    if is_well(row, rules, range) {
        return Verdict::Reachable;
    }
    let (fresh_lost, fresh_lost_ns) = fresh(row, range.from_ns);
    let target = &row.path.probe.target;
    let absent = source_absent || row.retired_ns.is_some() || target.absent.is_some();
    // Ways that are chosen by port are as many as the backends of a service: one that is dead is not all of them.
    let by_port = row.by_port(range.now_ns);
    let backends = by_port.map_or(target.backends, |ports| target.backends.max(ports.ports as usize));
    let view = View { slots: range.slots(row), fresh_lost, fresh_lost_ns, backends, absent };
    let lost_in_part = by_port.is_some() || row.has_size_loss(range.now_ns).is_some();
    let new_flow = |lost: &Lost| lost.is_new_flow() && !lost.sample.suspect;
    let new_lost = || row.lost.iter().any(new_flow) && range.lost(row).any(new_flow);
    match judge(view, rules, range.now_ns) {
        // In turn again, and nothing came yet: what it was stands for as long as silence says nothing.
        Verdict::NoData if !absent && !range.strict && row.begins(rules, range.now_ns) => Verdict::Reachable,
        Verdict::Reachable if !absent && (lost_in_part || new_lost()) => Verdict::Degraded,
        Verdict::Unreachable if !absent && Flows::old_denied(row).is_some() => Verdict::Degraded,
        verdict => verdict,
    }
}

/// All is answered, which most paths are most of the time, and which is known without a look at their windows.
fn is_well(row: &Row, rules: &Rules, range: &Range) -> bool {
    let heard_ns = range.from_ns.max(range.now_ns.saturating_sub(rules.stale_ns()));
    !range.strict
        && row.lost.is_empty()
        && row.ring.is_answered(heard_ns, range.from_ns)
        && row.by_port(range.now_ns).is_none()
        && row.has_size_loss(range.now_ns).is_none()
}

/// Losses that no window holds yet: how many of the newest follow each other, and when the newest was sent.
fn fresh(row: &Row, from_ns: i64) -> (u64, Option<i64>) {
    let covered_ns = row.ring.newest().map_or(from_ns, |slot| slot.end_ns()).max(from_ns);
    let mut fresh = row
        .lost
        .iter()
        .rev()
        .filter(|lost| !lost.sample.suspect)
        .take_while(|lost| lost.sent_ns >= covered_ns);
    let Some(newest) = fresh.find(|lost| !lost.is_beside()) else { return (0, None) };
    let mut expected = newest.sample.sequence;
    // What is no ordinary probe has a number of its own among the others, and counts for nothing here.
    let older = fresh.take_while(|lost| {
        expected = expected.wrapping_sub(1);
        lost.sample.sequence == expected
    });
    (1 + older.filter(|lost| !lost.is_beside()).count() as u64, Some(newest.sent_ns))
}
