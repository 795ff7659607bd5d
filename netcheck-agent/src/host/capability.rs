//! What this process may do: the capabilities that its parts need (capabilities(7)), and which of them it lacks.

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities};

/// One that some part of the agent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "what only kernel programs need"))]
pub(crate) enum Capability {
    /// Maps and programs.
    Bpf,
    /// Classifiers, and attaching them.
    NetAdmin,
    /// The drop tracepoint.
    Perfmon,
    /// Raw sockets.
    NetRaw,
    /// Addresses of kernel functions, where the kernel does not name them itself.
    Syslog,
}

impl Capability {
    /// Any of these will do: where a kernel asks for CAP_BPF or CAP_PERFMON it takes CAP_SYS_ADMIN too, as it did
    /// before they existed (include/linux/capability.h).
    const fn granted_by(self) -> CapabilitySet {
        match self {
            Self::Bpf => CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN),
            Self::Perfmon => CapabilitySet::PERFMON.union(CapabilitySet::SYS_ADMIN),
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::Syslog => CapabilitySet::SYSLOG,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "CAP_BPF",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::Perfmon => "CAP_PERFMON",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Syslog => "CAP_SYSLOG",
        })
    }
}

/// Which of these are missing, in words; `None` where all are there, or where that is not known.
pub(crate) fn missing(needed: &[Capability]) -> Option<String> {
    let effective = capabilities(None).ok()?.effective;
    missing_of(effective, needed)
}

fn missing_of(effective: CapabilitySet, needed: &[Capability]) -> Option<String> {
    let lacking = |capability: &&Capability| !effective.intersects(capability.granted_by());
    let names: Vec<String> = needed.iter().filter(lacking).map(ToString::to_string).collect();
    match names.as_slice() {
        [] => None,
        [one] => Some(format!("capability {one} is missing")),
        many => Some(format!("capabilities {} are missing", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_is_missing_is_named() {
        use Capability::{Bpf, NetAdmin, NetRaw, Perfmon};
        let all = [Bpf, NetAdmin, Perfmon, NetRaw];
        for (effective, expected) in [
            (CapabilitySet::all(), None),
            (
                CapabilitySet::BPF
                    | CapabilitySet::NET_ADMIN
                    | CapabilitySet::PERFMON
                    | CapabilitySet::NET_RAW,
                None,
            ),
            (CapabilitySet::SYS_ADMIN, Some("capabilities CAP_NET_ADMIN, CAP_NET_RAW are missing")),
            (CapabilitySet::all() - CapabilitySet::NET_RAW, Some("capability CAP_NET_RAW is missing")),
            (
                CapabilitySet::empty(),
                Some("capabilities CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_NET_RAW are missing"),
            ),
        ] {
            assert_eq!(missing_of(effective, &all).as_deref(), expected, "{effective:?}");
        }
    }
}
