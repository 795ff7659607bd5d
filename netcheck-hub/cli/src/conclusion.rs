//! What an answer comes to, for the exit code. Silence is not reachability.

use netcheck_proto::v1;

use crate::{EXIT_FAILURE, EXIT_UNREACHABLE};

/// What the answer says, as the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
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
    pub(crate) fn of(verdicts: impl Iterator<Item = v1::Verdict>) -> Self {
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

    pub(crate) fn of_report(report: &v1::Report) -> Self {
        let all_absent = report.paths > 0 && report.expected_absent == report.paths;
        if report.unreachable > 0 {
            Self::Unreachable
        } else if report.reachable + report.degraded > 0 || all_absent {
            Self::Fine
        } else {
            Self::Unmeasured { paths: report.paths as usize }
        }
    }

    /// A check that a path did not pass is no success, even where nothing is unreachable.
    pub(crate) fn of_check(report: &v1::Report, passed: bool) -> Self {
        match Self::of_report(report) {
            Self::Fine if !passed => Self::Unreachable,
            conclusion => conclusion,
        }
    }

    pub(crate) fn of_incidents(incidents: &[v1::Incident]) -> Self {
        let cut = |incident: &v1::Incident| {
            incident.state() == v1::IncidentState::Open && incident.verdict() == v1::Verdict::Unreachable
        };
        if incidents.iter().any(cut) { Self::Unreachable } else { Self::Fine }
    }

    /// The exit code, and what is to be said besides.
    pub(crate) fn exit(self) -> (u8, String) {
        match self {
            Self::Fine => (0, String::new()),
            Self::Unreachable => (EXIT_UNREACHABLE, String::new()),
            Self::Unmeasured { paths: 0 } => {
                (EXIT_FAILURE, "nothing is measured: no path is probed, or none was selected".to_owned())
            }
            Self::Unmeasured { paths } => (
                EXIT_FAILURE,
                format!(
                    "nothing is measured on any of {paths} paths; `kubectl netcheck nodes` shows which agents are \
                     connected"
                ),
            ),
        }
    }
}
