//! Settings of the kernel that keep packets from their way: read, as files below `/proc/sys/net`.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use netcheck_proto::shell::word;
use netcheck_proto::v1;

/// Where the kernel shows them.
pub(super) const SYSCTLS: &str = "/proc/sys/net";

/// A sysctl's number.
pub(super) fn number(sysctls: &Path, name: &str) -> Option<i64> {
    fs::read_to_string(sysctls.join(name)).ok()?.trim().parse().ok()
}

/// `name`: below `net`, with slashes: sysctl(8) takes them, and takes the dots in an interface's name for slashes where there are
/// none. `better`: a value that mends it, and what else there is to do.
fn sysctl(name: &str, value: i64, text: String, better: (i64, &str)) -> v1::Culprit {
    let (better, more) = better;
    v1::Culprit {
        kind: v1::CulpritKind::Sysctl.into(),
        object: format!("net.{} = {value}", name.replace('/', ".")),
        text,
        see: format!("sysctl {}", word(&format!("net/{name}"))),
        mend: format!("sysctl -w {}, {more}", word(&format!("net/{name}={better}"))),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

/// The stricter of an interface's own setting and that for all counts (Documentation/networking/ip-sysctl.rst).
pub(super) fn reverse_path(sysctls: &Path, interface: &str) -> Option<v1::Culprit> {
    let of = |name: &str| number(sysctls, &format!("ipv4/conf/{name}/rp_filter"));
    let names = [interface, "all"].into_iter().filter(|name| !name.is_empty() && !name.contains('/'));
    let (value, name) = names.filter_map(|name| Some((of(name)?, name))).max_by_key(|(value, _)| *value)?;
    (value > 0).then(|| {
        let text = match value {
            1 => "strict: the way back to the sender must lead through the interface that the packet came in by",
            _ => "loose: some route must lead back to the sender",
        };
        let better = match value {
            1 => (2, "which is loose, where ways are asymmetric; or a route back through the same interface"),
            _ => (0, "which is off; or a route back to the sender"),
        };
        sysctl(&format!("ipv4/conf/{name}/rp_filter"), value, text.to_owned(), better)
    })
}

/// An interface on which the kernel takes and sends no IPv6.
pub(super) fn ipv6_disabled(sysctls: &Path, interface: &str) -> Option<v1::Culprit> {
    let names = [interface, "all"].into_iter().filter(|name| !name.is_empty() && !name.contains('/'));
    let names = names.map(|name| format!("ipv6/conf/{name}/disable_ipv6"));
    let name = names.into_iter().find(|name| number(sysctls, name) == Some(1))?;
    let text = "the kernel took the addresses away, and drops what comes in".to_owned();
    Some(sysctl(
        &name,
        1,
        text,
        (
            0,
            "then the addresses and routes that went with it; and the file in /etc/sysctl.d that says otherwise",
        ),
    ))
}

/// A time to live that ends a few nodes away. IPv6 has one for each interface, which routers may set by what they advertise
/// (RFC 4861 section 6.3.4).
pub(super) fn short_life(sysctls: &Path, v4: bool, interface: &str) -> Option<v1::Culprit> {
    let name = match v4 {
        true => "ipv4/ip_default_ttl".to_owned(),
        false if interface.is_empty() || interface.contains('/') => return None,
        false => format!("ipv6/conf/{interface}/hop_limit"),
    };
    let value = number(sysctls, &name).filter(|&hops| hops < FEW_HOPS)?;
    let text = format!(
        "packets of this node go {value} nodes far: one that is passed on to a pod is dropped before it"
    );
    let more = if v4 {
        "and the file in /etc/sysctl.d that says otherwise"
    } else {
        "and the router's advertisements (Cur Hop Limit), which the kernel takes it from where accept_ra is on"
    };
    Some(sysctl(&name, value, text, (64, more)))
}

/// Fewer than any way through the Internet takes, and more than those in a cluster.
const FEW_HOPS: i64 = 16;

/// What a bridge passes on between its own ports is not shown to netfilter: nobody takes a translation back there
/// (Documentation/networking/ip-sysctl.rst, `bridge-nf-call-iptables`).
pub(super) fn bridge_unfiltered(sysctls: &Path, to: IpAddr) -> Option<v1::Culprit> {
    let name =
        if to.is_ipv4() { "bridge/bridge-nf-call-iptables" } else { "bridge/bridge-nf-call-ip6tables" };
    let text = "a pod that asks a service whose backend is on the same bridge gets the answer from the backend's own address";
    match number(sysctls, name) {
        Some(1) => return None,
        Some(_) => {}
        None => {
            let name = name.replace('/', ".");
            return Some(v1::Culprit {
                kind: v1::CulpritKind::Sysctl.into(),
                object: format!("net.{name} is not there: the module br_netfilter is not loaded"),
                text: text.to_owned(),
                see: "lsmod | grep br_netfilter".to_owned(),
                mend: "modprobe br_netfilter, and the file in /etc/modules-load.d that loads it at boot"
                    .to_owned(),
                certainty: v1::Certainty::Inferred.into(),
                ..Default::default()
            });
        }
    }
    let more =
        "with the module br_netfilter loaded at boot, and the file in /etc/sysctl.d that says otherwise";
    Some(sysctl(name, 0, text.to_owned(), (1, more)))
}

/// An interface on which the kernel answers nobody who asks for its hardware address (Documentation/networking/ip-sysctl.rst,
/// `arp_ignore`): 8 is for all addresses, less for some.
pub(super) fn unanswered(sysctls: &Path, interface: &str) -> Option<v1::Culprit> {
    let names = [interface, "all"].into_iter().filter(|name| !name.is_empty() && !name.contains('/'));
    let names = names.map(|name| format!("ipv4/conf/{name}/arp_ignore"));
    let name = names.into_iter().find(|name| number(sysctls, name) == Some(8))?;
    let text = "the node answers no ARP request: others on that link do not learn where it is".to_owned();
    Some(sysctl(&name, 8, text, (0, "or =1 where a load balancer's address is on more than one machine")))
}

/// Forwarding that is off, where packets for this address come in.
pub(super) fn forwarding(sysctls: &Path, to: IpAddr, interface: &str) -> Option<v1::Culprit> {
    let interface = if interface.contains('/') { "" } else { interface };
    let names = match to {
        // IPv4 asks the interface that the packet came in by; `ip_forward` sets all of them.
        IpAddr::V4(_) if interface.is_empty() => vec!["ipv4/ip_forward".to_owned()],
        IpAddr::V4(_) => vec!["ipv4/ip_forward".to_owned(), format!("ipv4/conf/{interface}/forwarding")],
        IpAddr::V6(_) => vec!["ipv6/conf/all/forwarding".to_owned()],
    };
    let off = names.iter().find(|name| number(sysctls, name) == Some(0))?;
    let text = "the node passes nothing on that is not for itself".to_owned();
    Some(sysctl(off, 0, text, (1, "and the file in /etc/sysctl.d that says otherwise")))
}

/// A table of connections that has no room.
pub(super) fn connections(sysctls: &Path) -> Option<v1::Culprit> {
    let count = number(sysctls, "netfilter/nf_conntrack_count")?;
    let most = number(sysctls, "netfilter/nf_conntrack_max")?;
    (most > 0 && count >= most - most / 100).then(|| v1::Culprit {
        kind: v1::CulpritKind::Conntrack.into(),
        object: format!("connection tracking is full: {count} of {most} entries"),
        text: "new connections find no room; those that are in the table go on".to_owned(),
        see: "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max".to_owned(),
        mend: format!(
            "sysctl -w net.netfilter.nf_conntrack_max={}, or fewer connections",
            most.saturating_mul(2)
        ),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}
