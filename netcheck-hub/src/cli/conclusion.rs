//! What an answer comes to, for the exit code. Silence is not reachability.

use netcheck_proto::v1;

/// What the answer says, as the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// All that was measured is reachable, and something was, unless all is meant to be away.
    Fine,
    /// Something is unreachable.
    Unreachable,
    /// Nothing was measured, which says nothing.
    Unmeasured {
        /// Paths that were asked about.
        paths: usize,
    },
}

impl Conclusion {
    pub(super) fn of(verdicts: impl Iterator<Item = v1::Verdict>) -> Self {
        let (mut paths, mut measured, mut absent) = (0, 0, 0);
        for verdict in verdicts {
            paths += 1;
            match verdict {
                v1::Verdict::Unreachable => return Self::Unreachable,
                v1::Verdict::Reachable | v1::Verdict::Degraded => measured += 1,
                v1::Verdict::ExpectedAbsent => absent += 1,
                v1::Verdict::NoData | v1::Verdict::Unspecified => {}
            }
        }
        if measured > 0 || (paths > 0 && absent == paths) { Self::Fine } else { Self::Unmeasured { paths } }
    }

    pub(super) fn of_report(report: &v1::Report) -> Self {
        let all_absent = report.paths > 0 && report.expected_absent == report.paths;
        if report.unreachable > 0 {
            Self::Unreachable
        } else if report.reachable + report.degraded > 0 || all_absent {
            Self::Fine
        } else {
            Self::Unmeasured { paths: report.paths as usize }
        }
    }
}
