//! What the engine counted since its start. Monotonic.

use netcheck_common::domain::{Family, Outcome, ProbeKind};

use crate::model::sample::StarvationReason;

/// `[kind][family][outcome]`; the outcomes are reply, then [`Outcome::FAILURES`].
type ByOutcome = [[[u64; 1 + Outcome::FAILURES.len()]; 2]; ProbeKind::ALL.len()];

/// Counters of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    samples: ByOutcome,
    /// Samples that could not be judged, in the order of [`StarvationReason::ALL`].
    suspects: [u64; StarvationReason::ALL.len()],
    /// Answers after the deadline.
    pub(crate) late: u64,
    /// Second answers.
    pub(crate) duplicate: u64,
    /// Answers to what was never asked, or from elsewhere.
    pub(crate) forged: u64,
    /// Replies of watched probes with both kernel stamps.
    pub(crate) stamped: u64,
    /// Replies of watched probes without.
    pub(crate) unstamped: u64,
    /// Lost samples and drop records that a report had no room for.
    pub(crate) details_dropped: u64,
    /// Reports that the buffer's task was too slow to take.
    pub(crate) reports_dropped: u64,
    /// Probes that tried a packet size; they are in none of the samples.
    pub(crate) sizes_tried: u64,
    /// Those of `sizes_tried` that were lost.
    pub(crate) sizes_lost: u64,
    /// Probes with a flow of their own beside the ordinary ones, judged; they are in none of the samples.
    pub(crate) new_flows: u64,
    /// Those of `new_flows` that were lost.
    pub(crate) new_flows_lost: u64,
    /// New flows that were not sent for want of a number or a socket.
    pub(crate) new_flows_skipped: u64,
    /// Ports and identifiers of flows that came back within connection tracking's time-outs.
    pub(crate) numbers_reused: u64,
    /// Turns of the loop that came late.
    pub(crate) late_turns: u64,
    /// Turns of the loop.
    pub(crate) turns: u64,
}

impl Counters {
    /// Counts one judged sample.
    pub(crate) fn sample(&mut self, kind: ProbeKind, family: Family, outcome: Outcome) {
        let outcome = outcome.failure_index().map_or(0, |index| index + 1);
        self.samples[kind_index(kind)][family as usize][outcome] += 1;
    }

    /// Counts one sample that could not be judged.
    pub(crate) const fn suspect(&mut self, why_starved: StarvationReason) {
        self.suspects[why_starved as usize] += 1;
    }

    /// Samples that could not be judged, by what spoke against it.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = (StarvationReason, u64)> + '_ {
        StarvationReason::ALL.into_iter().zip(self.suspects)
    }

    /// All samples that could not be judged.
    pub(crate) fn suspects_total(&self) -> u64 {
        self.suspects.iter().sum()
    }

    /// (kind, family, outcome, samples), all combinations.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (ProbeKind, Family, Outcome, u64)> + '_ {
        let outcomes = || std::iter::once(Outcome::Reply).chain(Outcome::FAILURES).enumerate();
        ProbeKind::ALL.into_iter().flat_map(move |kind| {
            [Family::V4, Family::V6].into_iter().flat_map(move |family| {
                outcomes().map(move |(index, outcome)| {
                    (kind, family, outcome, self.samples[kind_index(kind)][family as usize][index])
                })
            })
        })
    }

    /// Judged samples with this outcome, of all kinds and families.
    pub(crate) fn total(&self, outcome: Outcome) -> u64 {
        self.samples().filter(|&(_, _, this, _)| this == outcome).map(|(.., samples)| samples).sum()
    }
}

const fn kind_index(kind: ProbeKind) -> usize {
    match kind {
        ProbeKind::Icmp => 0,
        ProbeKind::Udp => 1,
        ProbeKind::Tcp => 2,
        ProbeKind::Dns => 3,
        ProbeKind::Http => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_its_own_place() {
        let mut counters = Counters::default();
        counters.sample(ProbeKind::Dns, Family::V6, Outcome::DnsError);
        counters.sample(ProbeKind::Icmp, Family::V4, Outcome::Reply);
        let counted: Vec<_> = counters.samples().filter(|&(.., samples)| samples > 0).collect();
        assert_eq!(
            counted,
            [
                (ProbeKind::Icmp, Family::V4, Outcome::Reply, 1),
                (ProbeKind::Dns, Family::V6, Outcome::DnsError, 1)
            ]
        );
        assert_eq!(counters.total(Outcome::Reply), 1);
        assert_eq!(counters.samples().count(), 70);
    }
}
