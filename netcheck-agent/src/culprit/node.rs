//! What of the node's settings and tables did it, by reading alone: routes, sysctls, the table of connections, sockets.
//!
//! What is found here fits what happened; nobody saw that it was this. So it is told as inferred.

mod route;

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use netcheck_proto::{convert, v1};

/// Looks for what did it at one place. None where nothing fits, and where it happened inside a pod's network.
pub(super) async fn find(case: &v1::CulpritCase) -> Option<v1::Culprit> {
    let at = case.location.as_ref()?;
    if !at.pod.is_empty() && at.interface.is_empty() {
        return None;
    }
    if at.reason == "IP_RPFILTER" {
        return reverse_path(Path::new(SYSCTLS), &at.interface);
    }
    if at.function.starts_with("nf_hook_slow") || at.function.starts_with("nf_conntrack") {
        return connections(Path::new(SYSCTLS));
    }
    match at.stage() {
        v1::Stage::Routing | v1::Stage::Send if at.reason != "EPERM" && at.reason != "PKT_TOO_BIG" => {
            let to = destination(case)?;
            match forwarding(Path::new(SYSCTLS), to, &at.interface) {
                Some(off) if at.stage() == v1::Stage::Routing => Some(off),
                _ => route::find(to).await,
            }
        }
        v1::Stage::Socket if at.reason == "NO_SOCKET" || at.reason == "refused" => {
            let (kind, port) = target_port(case)?;
            (!listens(kind, port)?).then(|| nothing_listens(kind, port))
        }
        _ => None,
    }
}

const SYSCTLS: &str = "/proc/sys/net";

/// Where packets of this case go.
fn destination(case: &v1::CulpritCase) -> Option<IpAddr> {
    case.flows.iter().find_map(|flow| convert::address("flow", &flow.destination_address).ok())
}

/// A sysctl's number.
fn number(sysctls: &Path, name: &str) -> Option<i64> {
    fs::read_to_string(sysctls.join(name)).ok()?.trim().parse().ok()
}

fn sysctl(name: &str, value: i64, text: String, mend: &str) -> v1::Culprit {
    let name = name.replace('/', ".");
    v1::Culprit {
        kind: v1::CulpritKind::Sysctl.into(),
        object: format!("net.{name} = {value}"),
        text,
        see: format!("sysctl net.{name}"),
        mend: mend.to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

/// The stricter of an interface's own setting and that for all counts (Documentation/networking/ip-sysctl.rst).
fn reverse_path(sysctls: &Path, interface: &str) -> Option<v1::Culprit> {
    let of = |name: &str| number(sysctls, &format!("ipv4/conf/{name}/rp_filter"));
    let names = [interface, "all"].into_iter().filter(|name| !name.is_empty() && !name.contains('/'));
    let (value, name) = names.filter_map(|name| Some((of(name)?, name))).max_by_key(|(value, _)| *value)?;
    (value > 0).then(|| {
        let text = match value {
            1 => "strict: the way back to the sender must lead through the interface that the packet came in by",
            _ => "loose: some route must lead back to the sender",
        };
        let mend = "2 (loose) where ways are asymmetric, or a route back through the same interface";
        sysctl(&format!("ipv4/conf/{name}/rp_filter"), value, text.to_owned(), mend)
    })
}

/// Forwarding that is off, where packets for this address come in.
fn forwarding(sysctls: &Path, to: IpAddr, interface: &str) -> Option<v1::Culprit> {
    let interface = if interface.contains('/') { "" } else { interface };
    let names = match to {
        // IPv4 asks the interface that the packet came in by; `ip_forward` sets all of them.
        IpAddr::V4(_) if interface.is_empty() => vec!["ipv4/ip_forward".to_owned()],
        IpAddr::V4(_) => vec!["ipv4/ip_forward".to_owned(), format!("ipv4/conf/{interface}/forwarding")],
        IpAddr::V6(_) => vec!["ipv6/conf/all/forwarding".to_owned()],
    };
    let off = names.iter().find(|name| number(sysctls, name) == Some(0))?;
    let text = "the node passes nothing on that is not for itself".to_owned();
    Some(sysctl(
        off,
        0,
        text,
        &format!(
            "sysctl -w net.{}=1, and the file in /etc/sysctl.d that says otherwise",
            off.replace('/', ".")
        ),
    ))
}

/// A table of connections that has no room.
fn connections(sysctls: &Path) -> Option<v1::Culprit> {
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

/// The port that the target should listen at, and over what.
fn target_port(case: &v1::CulpritCase) -> Option<(&'static str, u16)> {
    let flow = case.flows.iter().find(|flow| flow.destination_port != 0)?;
    let kind = match flow.kind() {
        v1::ProbeKind::Tcp | v1::ProbeKind::Http => "tcp",
        v1::ProbeKind::Udp | v1::ProbeKind::Dns => "udp",
        v1::ProbeKind::Icmp | v1::ProbeKind::Unspecified => return None,
    };
    Some((kind, u16::try_from(flow.destination_port).ok()?))
}

/// Whether a socket of the node's own network takes packets to a port; none where the kernel does not show it.
fn listens(kind: &str, port: u16) -> Option<bool> {
    let files = [format!("/proc/self/net/{kind}"), format!("/proc/self/net/{kind}6")];
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    (!texts.is_empty()).then(|| texts.iter().any(|text| takes(text, kind == "tcp", port)))
}

/// Whether one of these sockets (proc_pid_net(5)) takes packets to a port: of TCP, one that listens (0A).
fn takes(sockets: &str, tcp: bool, port: u16) -> bool {
    sockets.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state) = (words.next(), words.next(), words.next());
        let own = local.and_then(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok());
        own == Some(port) && (!tcp || state == Some("0A"))
    })
}

fn nothing_listens(kind: &str, port: u16) -> v1::Culprit {
    let flag = if kind == "tcp" { "t" } else { "u" };
    v1::Culprit {
        kind: v1::CulpritKind::Socket.into(),
        object: format!("nothing listens on {kind} port {port}"),
        see: format!("ss -ln{flag}p sport = :{port}"),
        mend: "start the program that should, or correct the port".to_owned(),
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
