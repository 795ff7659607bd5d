//! The table of faults: what each breaks, and what it leaves whole.

use netcheck_netlab::Family;

use crate::probe::Outcome;
use Check::{Big, Dns, Http, Pieces, Ping, Udp, Web};
use Family::{V4, V6};
use Outcome::{Other, Partly, Rcode, Refused, Reply, Timeout, Unreachable};

/// What is probed: kind, family, source, target.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    Ping(Family, &'static str, &'static str),
    /// A ping too large for a lowered MTU.
    Big(Family, &'static str, &'static str),
    /// A ping that has to be cut into pieces.
    Pieces(Family, &'static str, &'static str),
    /// The responder's port.
    Udp(Family, &'static str, &'static str),
    /// A web pod's own port.
    Http(Family, &'static str, &'static str),
    /// All backends of `web`.
    Web(Family, &'static str),
    Dns(Family, &'static str),
}

/// A fault and what is seen under it; before and after, all checks get a reply.
pub(crate) struct Case {
    pub(crate) fault: &'static str,
    pub(crate) seen: &'static [(Check, Outcome)],
}

pub(crate) const CASES: &[Case] = &[
    Case {
        fault: "drop node=n2 hook=forward",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V4, "app-n2-2", "app-n3-2"), Timeout),
            (Ping(V4, "n1", "n2"), Reply),
            (Ping(V6, "n2", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "drop node=n3 hook=prerouting family=ipv6 proto=udp src=n1,zone-b dport=6100",
        seen: &[
            (Udp(V6, "n1", "n3"), Timeout),
            (Udp(V6, "n4", "n3"), Timeout),
            (Udp(V6, "n2", "n3"), Reply),
            (Udp(V4, "n1", "n3"), Reply),
            (Ping(V6, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "drop node=n3 hook=postrouting proto=icmp dst=10.244.1.0/24 oif=cni0",
        seen: &[(Ping(V4, "n3", "app-n1-2"), Reply)],
    },
    Case {
        fault: "drop node=n1 hook=postrouting proto=icmp dst=app-n1-2 oif=cni0",
        seen: &[
            (Ping(V4, "n3", "app-n1-2"), Timeout),
            (Ping(V6, "n3", "app-n1-2"), Timeout),
            (Ping(V6, "n3", "web-n1"), Reply),
            (Http(V4, "n3", "web-n1"), Reply),
        ],
    },
    Case {
        fault: "drop node=n1 hook=output proto=tcp dst=fd00:10:244:2::/64",
        seen: &[(Http(V6, "n1", "web-n2"), Timeout), (Http(V4, "n1", "web-n2"), Reply)],
    },
    Case {
        fault: "drop node=n2 hook=input proto=icmp",
        seen: &[
            (Ping(V4, "n1", "n2"), Timeout),
            (Ping(V6, "n1", "n2"), Timeout),
            (Udp(V6, "n1", "n2"), Reply),
            (Ping(V6, "n1", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "reject node=n2 hook=input proto=udp dport=6100",
        seen: &[
            (Udp(V4, "n1", "n2"), Refused),
            (Udp(V6, "n1", "n2"), Refused),
            (Ping(V4, "n1", "n2"), Reply),
        ],
    },
    Case {
        fault: "reject node=n2 hook=forward proto=tcp dport=8080",
        seen: &[
            (Http(V4, "app-n1-2", "web-n2"), Refused),
            (Http(V6, "app-n1-2", "web-n2"), Refused),
            (Http(V6, "app-n1-2", "web-n3"), Reply),
        ],
    },
    Case {
        fault: "route node=n1 type=blackhole to=n3/pods",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n3-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n3-2"), Timeout),
            (Http(V4, "app-n1-2", "web-n3"), Timeout),
            (Http(V4, "n1", "web-n3"), Other),
            (Ping(V4, "app-n2-2", "app-n3-2"), Reply),
            (Ping(V6, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "route node=n1 type=unreachable to=web-n3,fd00:10:244:2::11/128",
        seen: &[
            (Http(V4, "app-n1-2", "web-n3"), Unreachable),
            (Http(V6, "app-n1-2", "web-n3"), Unreachable),
            (Http(V6, "n1", "web-n3"), Unreachable),
            (Http(V6, "n1", "web-n2"), Unreachable),
            (Http(V4, "app-n1-2", "web-n2"), Reply),
        ],
    },
    Case {
        fault: "route node=n1 type=prohibit to=n2",
        seen: &[
            (Ping(V4, "n1", "n2"), Timeout),
            (Ping(V6, "n1", "n2"), Timeout),
            (Ping(V4, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "veth-down pod=web-n2",
        seen: &[
            (Ping(V4, "n1", "web-n2"), Timeout),
            (Ping(V6, "n1", "web-n2"), Timeout),
            (Ping(V6, "n1", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "pod-link-down pod=app-n2-2",
        seen: &[
            (Ping(V4, "app-n2-2", "n2"), Timeout),
            (Ping(V6, "app-n2-2", "web-n3"), Timeout),
            (Ping(V4, "n1", "app-n2-2"), Timeout),
            (Ping(V6, "n1", "app-n2-2"), Timeout),
            (Ping(V4, "n1", "web-n2"), Reply),
        ],
    },
    Case {
        fault: "uplink-down node=n3",
        seen: &[
            (Ping(V4, "n1", "n3"), Timeout),
            (Ping(V6, "n3", "n1"), Timeout),
            (Ping(V4, "app-n3-2", "app-n1-2"), Timeout),
            (Ping(V6, "app-n3-2", "web-n3"), Reply),
            (Ping(V6, "n1", "n4"), Reply),
        ],
    },
    Case {
        fault: "responder-filtered node=n2",
        seen: &[
            (Udp(V4, "n1", "n2"), Timeout),
            (Udp(V6, "n3", "n2"), Timeout),
            (Udp(V4, "n2", "n1"), Reply),
            (Udp(V6, "n1", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "responder-filtered node=n2 family=ipv6",
        seen: &[(Udp(V4, "n1", "n2"), Reply), (Udp(V6, "n3", "n2"), Timeout)],
    },
    Case {
        fault: "request-loss from=n1 to=n2 proto=icmp",
        seen: &[
            (Ping(V4, "n1", "n2"), Timeout),
            (Ping(V6, "n1", "n2"), Timeout),
            (Ping(V6, "n2", "n1"), Reply),
            (Udp(V4, "n1", "n2"), Reply),
        ],
    },
    Case {
        fault: "request-loss from=app-n1-2 to=web-n2 at=source port=8080",
        seen: &[
            (Http(V4, "app-n1-2", "web-n2"), Timeout),
            (Http(V6, "app-n1-2", "web-n2"), Timeout),
            (Ping(V6, "app-n1-2", "web-n2"), Timeout),
            (Ping(V6, "web-n2", "app-n1-2"), Reply),
            (Http(V6, "app-n1-2", "web-n3"), Reply),
        ],
    },
    Case {
        fault: "reply-loss from=app-n1-2 to=app-n2-2",
        seen: &[
            (Udp(V4, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n2-2", "app-n1-2"), Reply),
        ],
    },
    Case {
        fault: "reply-loss from=n1 to=app-n2-2",
        seen: &[
            (Udp(V4, "n1", "app-n2-2"), Timeout),
            (Ping(V6, "n1", "app-n2-2"), Timeout),
            (Ping(V6, "app-n2-2", "n1"), Reply),
        ],
    },
    Case {
        fault: "loss node=n4 direction=in percent=100",
        seen: &[
            (Ping(V4, "n1", "n4"), Timeout),
            (Ping(V6, "n4", "n2"), Timeout),
            (Ping(V6, "n1", "n2"), Reply),
        ],
    },
    Case {
        fault: "loss node=n4 direction=out percent=100 family=ipv6",
        seen: &[(Ping(V4, "n1", "n4"), Reply), (Ping(V6, "n4", "n2"), Timeout)],
    },
    Case {
        fault: "loss node=n4 direction=in percent=100 family=ipv4 longer=1400",
        seen: &[
            (Big(V4, "n1", "n4"), Timeout),
            (Big(V6, "n1", "n4"), Reply),
            (Ping(V4, "n1", "n4"), Reply),
            (Big(V4, "n1", "n2"), Reply),
        ],
    },
    Case {
        fault: "drop node=n2 hook=forward longer=1400",
        seen: &[
            (Big(V4, "n1", "app-n2-2"), Timeout),
            (Big(V6, "n1", "app-n2-2"), Timeout),
            (Ping(V6, "n1", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "fragments-dropped node=n2",
        seen: &[
            (Pieces(V4, "n1", "n2"), Timeout),
            (Pieces(V6, "n1", "n2"), Timeout),
            (Pieces(V6, "app-n1-2", "app-n2-2"), Timeout),
            (Big(V4, "n1", "n2"), Reply),
            (Pieces(V4, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "fragments-dropped node=n1 from=n2",
        seen: &[
            (Big(V4, "n1", "n2"), Timeout),
            (Big(V6, "n1", "n2"), Timeout),
            (Ping(V4, "n1", "n2"), Reply),
            (Big(V4, "n3", "n2"), Reply),
        ],
    },
    Case {
        fault: "conntrack-full node=n2",
        seen: &[
            (Ping(V4, "n1", "n2"), Timeout),
            (Udp(V6, "n1", "n2"), Timeout),
            (Http(V4, "n1", "web-n2"), Timeout),
            (Ping(V6, "n2", "n1"), Timeout),
            (Ping(V6, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "dns answer=truncated",
        // The header says that there is more, and holds no answer.
        seen: &[(Dns(V4, "n1"), Other), (Dns(V6, "app-n1-2"), Other), (Web(V4, "n1"), Reply)],
    },
    Case {
        fault: "dns answer=servfail",
        seen: &[(Dns(V4, "n1"), Rcode(2)), (Dns(V6, "app-n1-2"), Rcode(2)), (Web(V4, "n1"), Reply)],
    },
    Case { fault: "dns answer=nxdomain", seen: &[(Dns(V4, "n1"), Rcode(3)), (Dns(V6, "n2"), Rcode(3))] },
    Case { fault: "dns answer=silent", seen: &[(Dns(V4, "n1"), Timeout), (Dns(V6, "n4"), Timeout)] },
    Case {
        fault: "dns answer=slow delay-ms=800",
        seen: &[(Dns(V4, "n1"), Timeout), (Dns(V6, "n1"), Timeout)],
    },
    Case {
        fault: "dns answer=slow delay-ms=50",
        seen: &[(Dns(V4, "n1"), Reply), (Dns(V6, "app-n4-1"), Reply)],
    },
    Case {
        fault: "backend-refuses pod=web-n1",
        seen: &[
            (Web(V4, "n2"), Partly),
            (Web(V6, "app-n4-1"), Partly),
            (Http(V4, "n2", "web-n1"), Refused),
            (Http(V6, "n2", "web-n2"), Reply),
        ],
    },
    Case {
        fault: "backend-stuck pod=web-n1",
        seen: &[
            (Http(V4, "n2", "web-n1"), Timeout),
            (Http(V6, "n1", "web-n1"), Timeout),
            (Web(V6, "app-n4-1"), Partly),
            (Ping(V4, "n2", "web-n1"), Reply),
        ],
    },
    Case {
        fault: "backend-dead pod=web-n3",
        seen: &[(Web(V4, "n2"), Partly), (Web(V6, "app-n4-1"), Partly), (Http(V4, "n2", "web-n3"), Reply)],
    },
    Case {
        fault: "no-endpoints service=web",
        seen: &[(Web(V4, "n2"), Refused), (Web(V6, "app-n4-1"), Refused), (Http(V4, "n2", "web-n3"), Reply)],
    },
    Case {
        fault: "node-killed node=n1",
        seen: &[
            (Ping(V4, "n2", "n1"), Timeout),
            (Ping(V6, "n2", "app-n1-2"), Timeout),
            (Web(V4, "n2"), Partly),
            (Http(V6, "n2", "web-n2"), Reply),
        ],
    },
    Case {
        fault: "zone-cut a=zone-a b=zone-b proto=udp",
        seen: &[
            (Udp(V4, "n1", "n3"), Timeout),
            (Udp(V6, "n4", "n2"), Timeout),
            (Udp(V4, "app-n1-2", "app-n3-2"), Timeout),
            (Udp(V6, "n1", "n2"), Reply),
            (Ping(V4, "n1", "n3"), Reply),
            (Http(V6, "app-n1-2", "web-n3"), Reply),
        ],
    },
    Case {
        fault: "zone-cut a=zone-a b=zone-b",
        seen: &[
            (Ping(V4, "n1", "n4"), Timeout),
            (Ping(V6, "app-n2-2", "app-n3-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "wrong-neighbour node=n1 to=n2",
        seen: &[
            (Ping(V4, "n1", "n2"), Timeout),
            (Ping(V6, "n1", "n2"), Timeout),
            (Ping(V6, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "wrong-neighbour node=n1 to=app-n1-2",
        seen: &[
            (Ping(V4, "n3", "app-n1-2"), Timeout),
            (Ping(V6, "n3", "app-n1-2"), Timeout),
            (Ping(V6, "n3", "web-n1"), Reply),
        ],
    },
    Case {
        fault: "wrong-neighbour node=n1 to=app-n3-2",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n3-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n3-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "mtu-blackhole node=n1 mtu=1300",
        seen: &[
            (Big(V4, "app-n1-2", "app-n2-2"), Timeout),
            (Big(V6, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Reply),
            (Big(V6, "app-n3-2", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "mtu-blackhole node=n2 mtu=1300 at=pods",
        seen: &[
            (Big(V4, "n1", "app-n2-2"), Timeout),
            (Big(V6, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V4, "n1", "app-n2-2"), Reply),
            (Big(V4, "n1", "app-n3-2"), Reply),
        ],
    },
    Case {
        fault: "mtu-blackhole node=n2 mtu=1300 at=cable",
        seen: &[
            (Big(V4, "n1", "n2"), Timeout),
            (Big(V6, "app-n2-2", "app-n3-2"), Timeout),
            (Ping(V6, "n1", "n2"), Reply),
            (Big(V4, "n1", "n3"), Reply),
        ],
    },
    Case {
        fault: "node-state node=n1 state=deleted",
        seen: &[(Web(V4, "n2"), Reply), (Http(V4, "n2", "web-n1"), Refused), (Ping(V6, "n2", "n1"), Reply)],
    },
    Case {
        fault: "pod-gone pod=web-n2",
        seen: &[(Web(V4, "n2"), Reply), (Http(V4, "n1", "web-n2"), Refused)],
    },
];
