//! Whether new flows of a path fare otherwise than those that connection tracking knows: ordinary ICMP and UDP probes go
//! on in the same flows, others leave beside them from ports and with identifiers that no flow had lately. Pure.
//!
//! | it is reported | when |
//! |---|---|
//! | new connections are denied, old ones go on | the newest [`RUN_NEW`] new flows or more were lost without exception, and hardly any ordinary probe meanwhile |
//! | old ones are lost, new connections go on | the newest [`RUN`] ordinary probes or more were lost without exception, and [`RUN`] new flows or more were answered meanwhile, all of them |
//!
//! Either makes the path `degraded`. The first loss of a new flow is followed by three more at once, each from another
//! port: one dead way of `n` (ECMP) loses all four once in n⁴ times. Where single source ports are known or suspected to
//! lose their packets, that is what explains it.

use std::collections::VecDeque;

use crate::evidence::Lost;
use crate::matrix::ports::Ports;
use crate::matrix::{Packed, Ring, Row, Slot};
use crate::model::clock::SECOND_NS;
use crate::model::verdict::RUN;

/// Consecutive new flows that are lost where new connections are denied.
pub const RUN_NEW: u32 = 4;
/// What the newest loss shows is worth nothing after this: new flows leave every few seconds.
const STALE_NS: i64 = 60 * SECOND_NS;
/// The ordinary probe of a turn leaves before its new flow, by less than this.
const TOGETHER_NS: i64 = SECOND_NS / 10;
/// Of so many ordinary probes one may be lost meanwhile.
const HARDLY: u64 = 5;

/// How they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// New connections are denied, and old ones go on; else the other way round.
    pub new_denied: bool,
    /// When the first of them was lost, on the hub's axis.
    pub since_ns: i64,
    /// Those that are lost, in a row.
    pub lost: u64,
    /// Probes of the other kind that were answered meanwhile.
    pub answered: u64,
}

impl Flows {
    /// Of a row whose ordinary probes are answered.
    #[must_use]
    pub fn new_denied(row: &Row, now_ns: i64) -> Option<Self> {
        let by_port = |ports: &Ports| ports.stands(now_ns) || ports.in_question(now_ns);
        if row.ports.as_deref().is_some_and(by_port) {
            return None;
        }
        Self::new_among(&row.lost, &row.ring, now_ns, row.since_ns)
    }

    /// `verdict_ns`: since when what stands is as it is.
    fn new_among(lost: &VecDeque<Lost>, ring: &Ring, now_ns: i64, verdict_ns: i64) -> Option<Self> {
        let mut flows = lost.iter().rev().filter(|lost| lost.is_new_flow() && !lost.sample.suspect);
        let stands = |lost: &&Lost| {
            lost.sample.new_flows_lost >= RUN_NEW && now_ns.saturating_sub(lost.sent_ns) <= STALE_NS
        };
        let newest = flows.next().filter(stands)?;
        let answered_since = |slot: Slot<Packed<'_>>| {
            slot.start_ns >= newest.sent_ns && slot.new_reply > 0 && slot.new_lost == 0
        };
        if ring.since(newest.sent_ns).any(answered_since) {
            return None;
        }
        let mut count = newest.sample.new_flows_lost;
        let first = flows.take_while(|lost| {
            let of_run = lost.sample.new_flows_lost < count;
            count = lost.sample.new_flows_lost;
            of_run
        });
        let first_ns = first.last().unwrap_or(newest).sent_ns;
        // The oldest are forgotten after a while.
        let since_ns = if count == 1 { first_ns } else { first_ns.min(verdict_ns) };
        let (answered, old_lost) = ordinary(ring.since(since_ns));
        let flows = Self { new_denied: true, since_ns, lost: newest.sample.new_flows_lost.into(), answered };
        // Of what no window holds yet, only losses are known.
        let covered_ns = ring.newest().map_or(i64::MIN, |slot| slot.end_ns()).max(since_ns - TOGETHER_NS);
        let newer = lost.iter().rev().take_while(|lost| lost.sent_ns >= covered_ns);
        let newer = newer.filter(|lost| !lost.is_beside() && !lost.sample.suspect).count() as u64;
        let old_lost = old_lost + newer;
        (old_lost == 0 || old_lost * HARDLY <= answered).then_some(flows)
    }

    /// Of a row whose newest ordinary probes are all lost.
    #[must_use]
    pub fn old_denied(row: &Row) -> Option<Self> {
        Self::old_among(&row.ring)
    }

    fn old_among(ring: &Ring) -> Option<Self> {
        let run = || ring.since(i64::MIN).rev().take_while(|slot| slot.reply == 0);
        let (_, lost) = ordinary(run());
        let sum = |of: fn(&Slot<Packed<'_>>) -> u32| run().map(|slot| u64::from(of(&slot))).sum::<u64>();
        let (answered, denied) = (sum(|slot| slot.new_reply), sum(|slot| slot.new_lost));
        let since_ns = run().filter(|slot| slot.lost() > 0).last()?.start_ns;
        let flows = Self { new_denied: false, since_ns, lost, answered };
        (lost >= RUN && answered >= RUN && denied == 0).then_some(flows)
    }

    /// A line of evidence.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { lost, answered, .. } = self;
        if self.new_denied {
            format!(
                "the newest {lost} new flows were lost, {answered} probes of old ones were answered meanwhile"
            )
        } else {
            format!(
                "the newest {lost} probes of old flows were lost, {answered} new ones were answered meanwhile"
            )
        }
    }
}

/// Ordinary probes that were answered and lost.
fn ordinary<D>(slots: impl Iterator<Item = Slot<D>>) -> (u64, u64) {
    slots.fold((0, 0), |(answered, lost), slot| (answered + u64::from(slot.reply), lost + slot.lost()))
}

impl Lost {
    /// It had a flow of its own beside the ordinary ones.
    #[must_use]
    pub fn is_new_flow(&self) -> bool {
        self.sample.new_flows_lost != 0
    }

    /// It is no ordinary probe: it tried a size, or had a flow of its own. Such have numbers of their own among the others.
    #[must_use]
    pub fn is_beside(&self) -> bool {
        self.tries_size() || self.is_new_flow()
    }
}

#[cfg(test)]
mod tests;
