//! Which source ports lose their packets on a path whose other ports lose none, as its agent found. Pure.
//!
//! Such a path is `degraded`, however few of its probes that costs: whoever's connection has the wrong port gets
//! nothing through. Where they die follows from the same evidence as for any lost probe.

use std::time::Duration;

use crate::evidence::Lost;
use crate::model::clock::{SECOND_NS, nanos};
use crate::model::ports::PortLosses;
use crate::words::patterns::port_names;

/// Rounds that may be missed until what the last one found is worth nothing.
const ROUNDS: i64 = 3;
/// It is worth something for so long at least, and its losses are kept as evidence.
const LEAST_NS: i64 = 30 * SECOND_NS;
/// Ports of one path that make sense.
const PORTS_MAX: u32 = 64;
/// What it looks like when one of several ways is gone.
pub const LOOKS: &str = "as when one of several parallel ways is dead";

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Ports that its probes leave from in turn.
    pub ports: u32,
    /// Those that lose their packets: port, packets sent, packets lost.
    pub lost: Vec<(u16, u32, u32)>,
    /// Packets from all others, sent and lost.
    pub others: (u32, u32),
    /// Chance explains it still: a few more packets will show it.
    pub undecided: bool,
    /// When this was last true, on the hub's axis.
    pub measured_ns: i64,
    /// What is older is worth nothing.
    stale_ns: i64,
}

/// What an agent found on one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How its ports fared.
    pub losses: PortLosses,
    /// Chance explains it still.
    pub undecided: bool,
    /// When, on the hub's axis.
    pub measured_ns: i64,
    /// How long a round of all ports takes.
    pub interval: Duration,
}

impl Ports {
    /// Takes what an agent found.
    ///
    /// # Errors
    /// Where it does not hold together.
    pub fn of(found: Found) -> Result<Self, Nonsense> {
        let Found { losses: PortLosses { ports, lost, others }, undecided, measured_ns, interval } = found;
        let some = !lost.is_empty() && lost.len() < ports as usize && ports <= PORTS_MAX;
        let sound = lost.iter().all(|&(_, sent, lost)| lost > 0 && lost <= sent);
        if !some || !sound || others.1 > others.0 {
            return Err(Nonsense);
        }
        let stale_ns = nanos(interval).saturating_mul(ROUNDS).max(LEAST_NS);
        Ok(Self { ports, lost, others, undecided, measured_ns, stale_ns })
    }

    /// What was found once, at `at_ns`; none where no port lost anything.
    #[must_use]
    pub fn said(losses: PortLosses, at_ns: i64) -> Option<Self> {
        let PortLosses { ports, lost, others } = losses;
        let stale_ns = LEAST_NS;
        (!lost.is_empty()).then_some(Self {
            ports,
            lost,
            others,
            undecided: false,
            measured_ns: at_ns,
            stale_ns,
        })
    }

    /// How its ports fared.
    #[must_use]
    pub fn losses(&self) -> PortLosses {
        PortLosses { ports: self.ports, lost: self.lost.clone(), others: self.others }
    }

    /// It still stands.
    #[must_use]
    pub fn stands(&self, now_ns: i64) -> bool {
        !self.undecided && self.young(now_ns)
    }

    /// It soon may stand.
    #[must_use]
    pub fn in_question(&self, now_ns: i64) -> bool {
        self.undecided && self.young(now_ns)
    }

    fn young(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.measured_ns) <= self.stale_ns
    }

    /// This lost probe shows it.
    #[must_use]
    pub fn shown_by(&self, lost: &Lost, now_ns: i64) -> bool {
        // Where no hook saw it leave, nobody knows its port.
        let port = lost.flow.map(|flow| flow.source.port());
        !lost.is_beside()
            && !lost.sample.suspect
            && port.is_none_or(|port| self.lost.iter().any(|(of, ..)| *of == port))
            && now_ns.saturating_sub(lost.sent_ns) <= self.stale_ns
    }

    /// Packets that are known to be lost for their port.
    #[must_use]
    pub fn packets_lost(&self) -> u64 {
        self.lost.iter().map(|(_, _, lost)| u64::from(*lost)).sum()
    }

    /// Lines of evidence.
    #[must_use]
    pub fn lines(&self) -> [String; 2] {
        let sum = |sum: (u64, u64), of: &(u16, u32, u32)| (sum.0 + u64::from(of.1), sum.1 + u64::from(of.2));
        let (sent, lost) = self.lost.iter().fold((0, 0), sum);
        let word = if self.lost.len() == 1 { "source port" } else { "source ports" };
        let (others_sent, others_lost) = self.others;
        [
            format!("{word} {}: {lost} of {sent} packets lost", port_names(self.lost.iter().map(|of| of.0))),
            format!(
                "the {} others: {others_lost} of {others_sent}; {LOOKS}",
                self.ports as usize - self.lost.len()
            ),
        ]
    }
}

/// An agent's report contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a report of source ports does not hold together")]
pub struct Nonsense;

#[cfg(test)]
mod tests;
