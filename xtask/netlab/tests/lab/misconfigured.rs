//! Nodes and pods that are set up wrongly, with the rules and the CNI plugins of a real cluster underneath.

use netcheck_netlab::{Family, LabSpec, Mode, Proxy};

use crate::cases::Case;
use crate::cases::Check::{Big, Http, Ping, Udp, Web};
use crate::faults::table;
use crate::probe::Outcome::{Partly, Refused, Reply, Timeout, Unreachable};
use Family::{V4, V6};

/// In every lab.
const EVERYWHERE: &[Case] = &[
    Case {
        // Nobody behind the default route knows a service's address.
        fault: "no-translation node=n2 service=web",
        seen: &[(Web(V4, "n2"), Timeout), (Web(V6, "n2"), Unreachable), (Web(V4, "n1"), Reply)],
    },
    Case {
        fault: "no-hairpin pod=web-n1",
        seen: &[
            (Web(V4, "web-n1"), Partly),
            (Web(V6, "web-n1"), Partly),
            (Web(V4, "app-n1-2"), Reply),
            (Web(V6, "n1"), Reply),
        ],
    },
    Case {
        fault: "echo-ignored at=n2",
        seen: &[
            (Ping(V4, "n1", "n2"), Timeout),
            (Ping(V6, "n1", "n2"), Timeout),
            (Udp(V4, "n1", "n2"), Reply),
            (Ping(V6, "n1", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "forwarding-off node=n2",
        seen: &[
            (Ping(V4, "n1", "app-n2-2"), Timeout),
            (Ping(V6, "n1", "app-n2-2"), Timeout),
            (Ping(V4, "app-n2-2", "app-n3-2"), Timeout),
            (Ping(V6, "n1", "n2"), Reply),
            (Ping(V4, "n2", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "pod-mtu node=n2 mtu=1300",
        seen: &[
            (Big(V4, "n2", "app-n2-2"), Timeout),
            (Big(V6, "n2", "app-n2-2"), Timeout),
            (Big(V4, "n1", "app-n2-2"), Timeout),
            (Ping(V6, "n1", "app-n2-2"), Reply),
            (Big(V4, "n1", "app-n3-2"), Reply),
        ],
    },
    Case {
        fault: "pod-mask pod=app-n2-2",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V4, "app-n2-2", "app-n3-2"), Timeout),
            (Ping(V4, "n2", "app-n2-2"), Reply),
            (Ping(V6, "n2", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "dad-failed pod=web-n2",
        seen: &[
            (Ping(V6, "n1", "web-n2"), Timeout),
            (Http(V6, "n2", "web-n2"), Timeout),
            (Ping(V4, "n1", "web-n2"), Reply),
            (Ping(V6, "n1", "app-n2-2"), Reply),
        ],
    },
    Case {
        fault: "duplicate-address of=web-n2 at=app-n2-2",
        seen: &[
            (Http(V4, "n1", "web-n2"), Refused),
            (Http(V6, "n1", "web-n2"), Refused),
            (Ping(V4, "n1", "web-n2"), Reply),
            (Http(V6, "n1", "web-n3"), Reply),
        ],
    },
    Case {
        fault: "policy-deny pod=web-n2",
        seen: &[
            (Http(V4, "n1", "web-n2"), Timeout),
            (Ping(V6, "n1", "web-n2"), Timeout),
            (Ping(V4, "web-n2", "n1"), Timeout),
            (Ping(V4, "n2", "web-n2"), Reply),
            (Http(V6, "n1", "web-n3"), Reply),
        ],
    },
    Case {
        fault: "new-denied node=n2",
        seen: &[
            (Http(V4, "n1", "web-n2"), Timeout),
            (Ping(V6, "web-n2", "n1"), Timeout),
            (Ping(V4, "n2", "web-n2"), Reply),
            (Ping(V4, "n1", "n2"), Reply),
        ],
    },
];

/// Where there is an overlay.
const OVERLAY: &[Case] = &[
    Case {
        fault: "wrong-vni node=n2",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n2-2", "app-n3-2"), Timeout),
            (Ping(V4, "n1", "n2"), Reply),
            (Ping(V6, "n2", "app-n2-2"), Reply),
            (Ping(V6, "app-n1-2", "app-n3-2"), Reply),
        ],
    },
    Case {
        fault: "stale-tunnel node=n1 to=n2",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n2-2", "app-n1-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n3-2"), Reply),
            (Ping(V4, "n1", "n2"), Reply),
        ],
    },
    Case {
        fault: "tunnel-blocked a=zone-a b=zone-b",
        seen: &[
            (Ping(V4, "app-n1-2", "app-n3-2"), Timeout),
            (Ping(V6, "app-n3-2", "app-n2-2"), Timeout),
            (Ping(V6, "app-n1-2", "app-n2-2"), Reply),
            (Udp(V4, "n1", "n3"), Reply),
        ],
    },
];

#[test]
fn every_one_breaks_and_heals_over_vxlan() {
    let spec = LabSpec { mode: Mode::Vxlan, cni_plugins: true, ..LabSpec::named("t-conf-v") };
    table(LabSpec { proxy: Proxy::KubeProxyIptables, ..spec.clone() }, OVERLAY);
    table(LabSpec { proxy: Proxy::KubeProxyIptables, ..spec }, EVERYWHERE);
}

#[test]
fn every_one_breaks_and_heals_over_routes() {
    let spec = LabSpec { mode: Mode::Routed, ..LabSpec::named("t-conf-r") };
    table(LabSpec { proxy: Proxy::KubeProxyNftables, ..spec }, EVERYWHERE);
}
