//! What paths, probes and times are called wherever they are shown: by the hub in its lines, by the command line in its
//! tables.

use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;

use crate::v1;

const DAY_S: i64 = 86_400;
/// The first second of the year 10000, which RFC 3339 has no date for.
const LAST_DATE_S: i64 = 253_402_300_800;

/// A kind of probe in a sentence: `ICMP`.
#[must_use]
pub const fn kind_name(kind: v1::ProbeKind) -> &'static str {
    match kind {
        v1::ProbeKind::Icmp => "ICMP",
        v1::ProbeKind::Udp => "UDP",
        v1::ProbeKind::Tcp => "TCP",
        v1::ProbeKind::Dns => "DNS",
        v1::ProbeKind::Http => "HTTP",
        v1::ProbeKind::Unspecified => "unknown probes",
    }
}

/// An address family in a sentence: `IPv4`.
#[must_use]
pub const fn family_name(family: v1::Family) -> &'static str {
    match family {
        v1::Family::Ipv4 => "IPv4",
        v1::Family::Ipv6 => "IPv6",
        v1::Family::Unspecified => "an unknown family",
    }
}

/// Where a path starts: `n2`, `pods of n2`.
#[must_use]
pub fn source_name(node: &str, from_pod: bool) -> String {
    if from_pod { format!("pods of {node}") } else { node.to_owned() }
}

/// `service default/web:80`, `NodePort 30080 on n3 of service default/web:80`, `pod default/web-1`,
/// `pod default/web-1 on network default/storage`, `n2`.
#[must_use]
pub fn target_name(target: &v1::Target) -> String {
    let full = format!("{}/{}", target.namespace, target.name);
    match target.kind() {
        v1::TargetKind::Service => service_name(target, &full),
        v1::TargetKind::DnsServer => format!("DNS server {full}"),
        v1::TargetKind::Pod if !target.network.is_empty() => {
            format!("pod {full} on network {}", target.network)
        }
        v1::TargetKind::Pod => format!("pod {full}"),
        v1::TargetKind::Node | v1::TargetKind::Endpoint | v1::TargetKind::Unspecified => target.name.clone(),
    }
}

fn service_name(target: &v1::Target, full: &str) -> String {
    use v1::ServiceAddress::{ClusterIp, Endpoint, ExternalIp, LoadBalancer, NodePort, Unspecified};
    let service = format!("service {full}:{}", target.service_port);
    match target.service_address() {
        // Of a hub that knows no others.
        Unspecified => format!("service {full}:{}", target.port),
        ClusterIp => service,
        NodePort | LoadBalancer | ExternalIp | Endpoint => {
            format!("{} of {service}", service_address(target))
        }
    }
}

/// At which of its addresses a service is probed: `NodePort 30080 on n3`, `load balancer 192.0.2.1`. Empty at its
/// cluster IP.
#[must_use]
pub fn service_address(target: &v1::Target) -> String {
    let address = target.addresses.first().map_or("", String::as_str);
    match target.service_address() {
        v1::ServiceAddress::Unspecified | v1::ServiceAddress::ClusterIp => String::new(),
        v1::ServiceAddress::NodePort => format!("NodePort {} on {}", target.port, target.node),
        v1::ServiceAddress::LoadBalancer => format!("load balancer {address}"),
        v1::ServiceAddress::ExternalIp => format!("external IP {address}"),
        v1::ServiceAddress::Endpoint if target.pod.is_empty() => format!("endpoint {address}"),
        v1::ServiceAddress::Endpoint => format!("endpoint {}", target.pod),
    }
}

/// Hours, minutes and seconds of a day: `12:04:31 UTC`.
#[must_use]
pub fn time_of_day(at: &Timestamp) -> String {
    let seconds = at.seconds.rem_euclid(DAY_S);
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The same, with the date where it is not that of `now`: `2026-11-30 12:04:31 UTC`.
#[must_use]
pub fn moment(at: &Timestamp, now: &Timestamp) -> String {
    let day = |of: &Timestamp| of.seconds.div_euclid(DAY_S);
    let time = time_of_day(at);
    let date = (day(at) != day(now)).then(|| date(at.seconds)).flatten();
    date.map_or_else(|| time.clone(), |date| format!("{date} {time}"))
}

/// Year, month and day of unix seconds; none before 1970, and where RFC 3339 has no date.
fn date(at_s: i64) -> Option<String> {
    let at = u64::try_from(at_s).ok().filter(|_| at_s < LAST_DATE_S)?;
    let text =
        humantime::format_rfc3339_seconds(UNIX_EPOCH.checked_add(Duration::from_secs(at))?).to_string();
    text.split('T').next().map(ToOwned::to_owned)
}

/// When a certificate expires, unix seconds: `expires in 3 days (2026-11-24)`.
#[must_use]
pub fn expiry(not_after_s: i64, now_s: i64) -> String {
    let left_s = not_after_s.saturating_sub(now_s);
    let (count, unit) = match left_s.unsigned_abs() as i64 {
        left if left >= DAY_S => (left / DAY_S, "day"),
        left if left >= 3600 => (left / 3600, "hour"),
        left => (left / 60, "minute"),
    };
    let span = format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let date = date(not_after_s).map(|day| format!(" ({day})")).unwrap_or_default();
    if left_s > 0 { format!("expires in {span}{date}") } else { format!("expired {span} ago{date}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_it_expires() {
        let now_s = 1_795_000_000;
        for (left_s, expected) in [
            (3 * DAY_S + 5, "expires in 3 days (2026-11-21)"),
            (DAY_S, "expires in 1 day (2026-11-19)"),
            (7200, "expires in 2 hours (2026-11-18)"),
            (90, "expires in 1 minute (2026-11-18)"),
            (-90, "expired 1 minute ago (2026-11-18)"),
            (-10 * DAY_S, "expired 10 days ago (2026-11-08)"),
        ] {
            assert_eq!(expiry(now_s + left_s, now_s), expected);
        }
        assert!(expiry(i64::MAX, 0).ends_with("days"), "{}", expiry(i64::MAX, 0));
        assert!(expiry(i64::MIN, 0).ends_with("ago"));
    }

    #[test]
    fn times_of_a_day_before_and_after_1970() {
        for (seconds, expected) in
            [(0, "00:00:00 UTC"), (86_399, "23:59:59 UTC"), (86_400, "00:00:00 UTC"), (-1, "23:59:59 UTC")]
        {
            assert_eq!(time_of_day(&Timestamp { seconds, nanos: 0 }), expected);
        }
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        assert_eq!(moment(&at(DAY_S + 1), &at(DAY_S + 9)), "00:00:01 UTC");
        assert_eq!(moment(&at(DAY_S - 1), &at(DAY_S + 9)), "1970-01-01 23:59:59 UTC");
        assert_eq!(moment(&at(-1), &at(0)), "23:59:59 UTC");
    }

    #[test]
    fn targets_by_their_kind() {
        use v1::{ServiceAddress, TargetKind};
        let target = |kind: TargetKind, address: ServiceAddress| v1::Target {
            kind: kind.into(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            node: "n3".to_owned(),
            port: 30080,
            service_port: 80,
            addresses: vec!["192.0.2.1".to_owned()],
            service_address: address.into(),
            ..Default::default()
        };
        let at = ServiceAddress::Unspecified;
        let storage = v1::Target { network: "shop/storage".to_owned(), ..target(TargetKind::Pod, at) };
        for (target, expected) in [
            (target(TargetKind::Node, at), "web"),
            (target(TargetKind::Pod, at), "pod shop/web"),
            (storage, "pod shop/web on network shop/storage"),
            (target(TargetKind::DnsServer, at), "DNS server shop/web"),
            (target(TargetKind::Service, at), "service shop/web:30080"),
            (target(TargetKind::Service, ServiceAddress::ClusterIp), "service shop/web:80"),
            (
                target(TargetKind::Service, ServiceAddress::NodePort),
                "NodePort 30080 on n3 of service shop/web:80",
            ),
            (
                target(TargetKind::Service, ServiceAddress::LoadBalancer),
                "load balancer 192.0.2.1 of service shop/web:80",
            ),
            (
                target(TargetKind::Service, ServiceAddress::Endpoint),
                "endpoint 192.0.2.1 of service shop/web:80",
            ),
        ] {
            assert_eq!(target_name(&target), expected);
        }
    }
}
