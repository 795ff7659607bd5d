//! Who has a node's name when more than one agent claims it. Pure.
//!
//! An agent that restarts says hello with a new boot id, and the old one never comes back: it takes the name over at
//! once. A boot id that was displaced and returns belongs to a second agent that is alive. When that goes on, the one
//! who came first keeps the name as long as it speaks, and the other is refused.

use std::collections::VecDeque;
use std::net::SocketAddr;

use netcheck_analysis::model::clock::SECOND_NS;

#[cfg(test)]
mod tests;

/// Takeovers within [`WITHIN_NS`] from an agent that was still connected, by one that had been displaced before, that
/// make a contest.
const TAKEOVERS: usize = 3;
/// See above.
const WITHIN_NS: i64 = 30 * SECOND_NS;
/// Takeovers that are remembered: an agent that crashes all the time must not fill the memory.
const REMEMBERED: usize = 16;
/// An agent that said nothing for so long is gone, whatever its connection looks like: it says how it is every 5 s.
const SILENT_NS: i64 = 10 * SECOND_NS;
/// A contest is over when nobody was refused for so long. An agent that is refused tries again every two minutes.
pub const QUIET_NS: i64 = 300 * SECOND_NS;

/// The agent that has the name now.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Its boot.
    pub boot_id: &'a str,
    /// Where it connects from, where that is known.
    pub peer: Option<SocketAddr>,
    /// When it last said anything.
    pub heard_ns: i64,
}

/// Two living agents claim one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// When that was noticed.
    pub since_ns: i64,
    /// When the other one last tried.
    pub last_ns: i64,
    /// Where the other one connects from, where that is known.
    pub rival: Option<SocketAddr>,
    /// How often it was refused.
    pub refused: u64,
}

/// What is known of the claims to one name.
#[derive(Debug, Default)]
pub struct Claims {
    /// When somebody lost the name while connected, and that one's boot. Oldest first.
    displaced: VecDeque<(i64, String)>,
    contest: Option<Contest>,
}

impl Claims {
    /// Whether the agent of boot `newcomer`, which says hello from `peer`, may have the name that `holder` has; none
    /// where nobody is connected.
    pub fn claim(
        &mut self,
        newcomer: &str,
        peer: Option<SocketAddr>,
        holder: Option<Holder<'_>>,
        now_ns: i64,
    ) -> bool {
        self.forget(now_ns);
        let Some(holder) = holder.filter(|holder| holder.boot_id != newcomer) else { return true };
        let silent = now_ns - holder.heard_ns > SILENT_NS;
        if let Some(contest) = &mut self.contest {
            contest.last_ns = now_ns;
            if !silent {
                contest.rival = peer;
                contest.refused += 1;
            }
            return silent;
        }
        let returns = self.displaced.iter().any(|(_, boot_id)| boot_id == newcomer);
        if self.displaced.len() == REMEMBERED {
            self.displaced.pop_front();
        }
        self.displaced.push_back((now_ns, holder.boot_id.to_owned()));
        if silent || !returns || self.displaced.len() < TAKEOVERS {
            return true;
        }
        let first = self.displaced.front().is_some_and(|(_, boot_id)| boot_id == newcomer);
        self.contest = Some(Contest {
            since_ns: now_ns,
            last_ns: now_ns,
            rival: if first { holder.peer } else { peer },
            refused: u64::from(!first),
        });
        self.displaced.clear();
        first
    }

    /// Forgets takeovers that are long past, and a contest that is over.
    pub fn forget(&mut self, now_ns: i64) {
        while self.displaced.front().is_some_and(|&(at_ns, _)| now_ns - at_ns > WITHIN_NS) {
            self.displaced.pop_front();
        }
        self.contest.take_if(|contest| now_ns - contest.last_ns > QUIET_NS);
    }

    /// The contest that goes on, if there is one.
    #[must_use]
    pub fn contest(&self) -> Option<&Contest> {
        self.contest.as_ref()
    }
}
