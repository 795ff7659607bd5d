//! The exit code of what the hub says that an answer comes to.

use netcheck_proto::v1;

use crate::{EXIT_FAILURE, EXIT_UNREACHABLE};

/// An answer, as the exit code shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// Nothing that was measured is unreachable.
    Fine,
    /// Something is unreachable.
    Unreachable,
    /// Nothing was measured, which says nothing.
    Unmeasured {
        /// Paths that were asked about.
        paths: u64,
    },
}

impl Conclusion {
    /// Of so many paths. What a hub doesn't say is no success.
    pub(crate) fn of(conclusion: v1::Conclusion, paths: u64) -> Self {
        match conclusion {
            v1::Conclusion::Reachable => Self::Fine,
            v1::Conclusion::Unreachable => Self::Unreachable,
            v1::Conclusion::Unmeasured | v1::Conclusion::Unspecified => Self::Unmeasured { paths },
        }
    }

    /// A check's own code.
    pub(crate) const fn of_check(code: u8, paths: u64) -> Self {
        match code {
            0 => Self::Fine,
            EXIT_FAILURE => Self::Unmeasured { paths },
            _ => Self::Unreachable,
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
