//! How many probes a second nodes sent of those that a check asked for. Pure.

use super::NAMES_MAX;
use crate::status::RateSummary;

/// A node that sends so much of what it is asked for has sent it: a window begins and ends within a second.
const ENOUGH: f64 = 0.9;

/// What was asked for, and what was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rate {
    /// Of each node, a second.
    pub asked: f64,
    /// By node, of those that have paths that are selected.
    pub nodes: Vec<(String, f64)>,
}

impl Rate {
    /// Nodes that sent fewer than they were asked for, the slowest first.
    #[must_use]
    pub fn short(&self) -> Vec<(&str, f64)> {
        let short = self.nodes.iter().filter(|(_, sent)| *sent < self.asked * ENOUGH);
        let mut short: Vec<(&str, f64)> = short.map(|(node, sent)| (node.as_str(), *sent)).collect();
        short.sort_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(other.0)));
        short
    }

    /// Of the slowest node, and of all on average; none without nodes.
    #[must_use]
    pub fn figures(&self) -> Option<(f64, f64)> {
        let lowest = self.nodes.iter().map(|(_, sent)| *sent).min_by(f64::total_cmp)?;
        let sum: f64 = self.nodes.iter().map(|(_, sent)| sent).sum();
        Some((lowest, sum / self.nodes.len() as f64))
    }

    /// What is not reached, in one line.
    #[must_use]
    pub fn shortfall(&self) -> Option<String> {
        let short = self.short();
        let &(node, sent) = short.first()?;
        let others = match short.len() - 1 {
            0 => String::new(),
            others => format!(" ({others} more nodes had less, too)"),
        };
        Some(format!("asked for {} probes per second, {node} had {sent:.1}{others}", self.asked))
    }

    pub(super) fn summary(&self) -> Option<RateSummary> {
        let (lowest, mean) = self.figures()?;
        let rounded = |rate: f64| (rate * 10.0).round() / 10.0;
        let short = self.short().into_iter().take(NAMES_MAX).map(|(node, _)| node.to_owned()).collect();
        Some(RateSummary { asked: self.asked, lowest: rounded(lowest), mean: rounded(mean), short })
    }
}
