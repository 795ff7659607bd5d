//! How long connection tracking remembers flows (`nf_conntrack_*_timeout*`, Documentation/networking/
//! nf_conntrack-sysctl.rst), as this node has it set.
//!
//! Other nodes on the way may have theirs set otherwise, and their settings can't be read from here: the kernel's
//! defaults are the least that is reckoned with.

use std::path::Path;

use super::clock::SECOND_NS;

const SYSCTLS: &str = "/proc/sys/net/netfilter";

/// Sysctls of one protocol, and the kernel's defaults in seconds (net/netfilter/nf_conntrack_proto_*.c).
type Named = &'static [(&'static str, u64)];

/// States that TCP probes leave behind: a SYN that nobody answered, and connections that were closed by FIN or RST.
const TCP: Named = &[
    ("nf_conntrack_tcp_timeout_syn_sent", 120),
    ("nf_conntrack_tcp_timeout_time_wait", 120),
    ("nf_conntrack_tcp_timeout_close", 10),
];
/// A stream is what is answered two seconds after its first packet, or later.
const UDP: Named = &[("nf_conntrack_udp_timeout", 30), ("nf_conntrack_udp_timeout_stream", 120)];
const ICMP: Named = &[("nf_conntrack_icmp_timeout", 30), ("nf_conntrack_icmpv6_timeout", 30)];

/// Longest time-outs that are believed: a day says that flows are never forgotten, and no range is wide enough for that.
const LONGEST_S: u64 = 600;

/// How long a flow that is over may be remembered, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConntrackTimeouts {
    pub(crate) tcp_ns: u64,
    pub(crate) udp_ns: u64,
    pub(crate) icmp_ns: u64,
}

impl ConntrackTimeouts {
    /// As this node has it set, and the kernel's defaults where those are longer, or where connection tracking is not
    /// loaded or can't be read.
    pub(crate) fn read() -> Self {
        Self::read_from(Path::new(SYSCTLS))
    }

    fn read_from(directory: &Path) -> Self {
        let longest = |named: Named| {
            let seconds = named.iter().map(|&(name, default_s)| {
                let text = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
                text.trim().parse().map_or(default_s, |set_s: u64| set_s.max(default_s))
            });
            seconds.max().unwrap_or(0).min(LONGEST_S) * SECOND_NS
        };
        Self { tcp_ns: longest(TCP), udp_ns: longest(UDP), icmp_ns: longest(ICMP) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_what_is_set_and_the_default() {
        let directory = std::env::temp_dir().join(format!("netcheck-conntrack-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, value) in [
            ("nf_conntrack_tcp_timeout_syn_sent", "60\n"),
            ("nf_conntrack_udp_timeout_stream", "180\n"),
            ("nf_conntrack_icmp_timeout", "nonsense"),
            ("nf_conntrack_icmpv6_timeout", "86400"),
        ] {
            std::fs::write(directory.join(name), value).unwrap();
        }
        let read = ConntrackTimeouts::read_from(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        let seconds = |ns: u64| ns / SECOND_NS;
        assert_eq!((seconds(read.tcp_ns), seconds(read.udp_ns), seconds(read.icmp_ns)), (120, 180, 600));
        let absent = ConntrackTimeouts::read_from(&directory);
        assert_eq!((seconds(absent.tcp_ns), seconds(absent.udp_ns), seconds(absent.icmp_ns)), (120, 120, 30));
    }
}
