//! What an agent's kernel says when it is to send to a source: its replies to that source meet the same.

use std::net::IpAddr;

use netcheck_common::domain::{Outcome, Vantage};

use crate::state::agent::Agent;
use netcheck_analysis::evidence::Lost;
use netcheck_analysis::matrix::Row;
use netcheck_analysis::model::clock::SECOND_NS;

/// How far apart a loss and the other direction's send error may be to be of one cause.
const REVERSE_NS: u64 = 3 * SECOND_NS as u64;

/// The error that an agent's kernel gave when it was to send to this address about then.
pub(super) fn send_error(agent: &Agent, to: IpAddr, about_ns: i64) -> Option<&str> {
    let of_rows = rows_to(agent, to).filter_map(|row| nearest(&row.lost, about_ns));
    let failed = of_rows.filter(|lost| lost.outcome == Outcome::SendError);
    failed.min_by_key(|lost| lost.sent_ns.abs_diff(about_ns)).map(|lost| lost.sample.errno.as_str())
}

/// What the node itself sends there.
fn rows_to(agent: &Agent, to: IpAddr) -> impl Iterator<Item = &Row> {
    agent.rows.iter().filter(move |row| row.path.vantage == Vantage::Host && row.path.probe.address == to)
}

/// The ordinary probe among these that was sent nearest to then, and near enough to be of the same cause.
fn nearest<'a>(losses: impl IntoIterator<Item = &'a Lost>, about_ns: i64) -> Option<&'a Lost> {
    let away_ns = |lost: &&Lost| lost.sent_ns.abs_diff(about_ns);
    let ordinary = losses.into_iter().filter(|lost| !lost.is_beside());
    ordinary.min_by_key(away_ns).filter(|lost| away_ns(lost) <= REVERSE_NS)
}

/// Whether an agent that probes this address has reported nothing yet of probes that it sent there since.
pub(super) fn send_unreported(agent: &Agent, to: IpAddr, since_ns: i64) -> bool {
    let mut rows = rows_to(agent, to).filter(|row| row.retired_ns.is_none()).peekable();
    let reported = |row: &Row| row.ring.newest().is_some_and(|slot| slot.start_ns >= since_ns);
    rows.peek().is_some() && !rows.any(reported)
}

#[cfg(test)]
mod tests {
    use netcheck_analysis::model::evidence::LostSample;

    use super::*;

    #[test]
    fn a_loss_that_is_looked_at_late_meets_what_was_sent_then_and_not_what_came_since() {
        let second = SECOND_NS;
        let lost = |sent, outcome| Lost::new(LostSample::default(), outcome, sent * second, sent * second);
        let losses = [
            lost(100, Outcome::Timeout),
            lost(103, Outcome::SendError),
            lost(104, Outcome::SendError),
            lost(109, Outcome::SendError),
        ];
        for (about, expected) in [
            (92, None),
            (100, Some((100, Outcome::Timeout))),
            (102, Some((103, Outcome::SendError))),
            (106, Some((104, Outcome::SendError))),
            (113, None),
        ] {
            let found = nearest(&losses, about * second).map(|lost| (lost.sent_ns / second, lost.outcome));
            assert_eq!(found, expected, "{about}");
        }
    }
}
