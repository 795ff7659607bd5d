//! The interface on the way: whether it is up, and what fits into it.

use std::ffi::CStr;
use std::fs;
use std::path::Path;

use netcheck_proto::shell::word;
use netcheck_proto::v1;

/// Where the kernel shows interfaces.
pub(super) const CLASS: &str = "/sys/class/net";

/// The name of an interface of this network namespace.
pub(super) fn name_of(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the length that the function asks for (if_indextoname(3)).
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    CStr::from_bytes_until_nul(&name).ok()?.to_str().ok().map(ToOwned::to_owned)
}

fn read(class: &Path, interface: &str, file: &str) -> Option<String> {
    // A name is no path.
    if interface.is_empty() || interface.contains('/') || interface.starts_with('.') {
        return None;
    }
    fs::read_to_string(class.join(interface).join(file)).ok().map(|text| text.trim().to_owned())
}

fn mtu(class: &Path, interface: &str) -> Option<u32> {
    read(class, interface, "mtu")?.parse().ok()
}

/// Whether it wraps packets in others: the kinds of which the kernel keeps neighbours (`DEVTYPE` of drivers/net/vxlan and
/// drivers/net/geneve.c).
pub(super) fn is_tunnel(interface: &str) -> bool {
    wraps(Path::new(CLASS), interface)
}

/// Whether it is a bridge.
pub(super) fn is_bridge(interface: &str) -> bool {
    Path::new(CLASS).join(interface).join("bridge").is_dir()
}

fn wraps(class: &Path, interface: &str) -> bool {
    let uevent = read(class, interface, "uevent").unwrap_or_default();
    uevent.lines().any(|line| matches!(line, "DEVTYPE=vxlan" | "DEVTYPE=geneve"))
}

/// The bridge that it is a port of.
fn bridge(class: &Path, interface: &str) -> Option<String> {
    read(class, interface, "ifindex")?;
    let link = fs::read_link(class.join(interface).join("brport/bridge")).ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

pub(super) fn culprit(object: String, text: String, see: String, mend: String) -> v1::Culprit {
    v1::Culprit {
        kind: v1::CulpritKind::Interface.into(),
        object,
        text,
        see,
        mend,
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

/// What does not fit into an interface. `route`: what the route that leads there allows, in its own words, where it says so.
pub(super) fn too_big(class: &Path, interface: &str, route: Option<(u32, &str)>) -> Option<v1::Culprit> {
    let own = mtu(class, interface)?;
    if let Some((allows, text)) = route.filter(|(allows, _)| *allows < own) {
        return Some(v1::Culprit {
            kind: v1::CulpritKind::Route.into(),
            ..culprit(
                format!("route {text} allows packets of {allows} bytes, {interface} takes {own}"),
                "the route has an MTU of its own, less than its interface's".to_owned(),
                "ip route show table all | grep mtu".to_owned(),
                "the route without its mtu, or the MTU that the way really has at the sender".to_owned(),
            )
        });
    }
    let port = bridge(class, interface).and_then(|bridge| Some((mtu(class, &bridge)?, bridge)));
    let text = match port.filter(|(of_bridge, _)| *of_bridge > own) {
        Some((of_bridge, bridge)) => {
            format!("its bridge {bridge} takes {of_bridge}, so senders are not told that less fits here")
        }
        None => "what is larger does not fit, and senders must be told so (ICMP) to send less".to_owned(),
    };
    Some(culprit(
        format!("interface {interface} has an MTU of {own} bytes"),
        text,
        format!("ip link show {}", word(interface)),
        format!(
            "one MTU on the whole way: ip link set {} mtu N, or what the CNI sets it from",
            word(interface)
        ),
    ))
}

/// An interface that takes less than what was sent to it: its kernel drops what is longer without a word.
pub(super) fn takes_less(class: &Path, interface: &str, bytes: u32) -> Option<v1::Culprit> {
    mtu(class, interface).filter(|&own| own < bytes)?;
    too_big(class, interface, None)
}

/// A port of a bridge that does not forward: itself, or the ports of the bridge that it is. The states are those of
/// linux/if_bridge.h.
fn blocked(class: &Path, interface: &str) -> Option<v1::Culprit> {
    let state = |port: &str| read(class, port, "brport/state")?.parse::<usize>().ok();
    let ports = fs::read_dir(class.join(interface).join("brif")).into_iter().flatten();
    let ports = ports.take(PORTS).filter_map(|port| port.ok()?.file_name().into_string().ok());
    let all = std::iter::once(interface.to_owned()).chain(ports);
    let mut blocked = all.filter_map(|port| Some((state(&port).filter(|state| *state != FORWARDING)?, port)));
    let (state, port) = blocked.next()?;
    let of = bridge(class, &port).unwrap_or_default();
    let name = STATES.get(state).unwrap_or(&"unknown");
    Some(culprit(
        format!("interface {port} is a port of {of} that does not forward: {name}"),
        "the bridge takes nothing from it and sends nothing through it".to_owned(),
        format!("bridge -d link show dev {}", word(&port)),
        format!("what set it so (spanning tree, or by hand): bridge link set dev {} state 3", word(&port)),
    ))
}

/// What of a bridge's settings keeps a frame from a port. `interface`: the bridge, or the port that the frame came in by or was
/// to leave by; `function`: what gave the frame up (net/bridge/br_forward.c).
pub(super) fn undelivered(class: &Path, interface: &str, function: &str) -> Option<v1::Culprit> {
    let is_bridge = class.join(interface).join("brif").is_dir();
    let bridge = if is_bridge { interface.to_owned() } else { bridge(class, interface)? };
    let set = |port: &str, flag: &str| read(class, port, &format!("brport/{flag}")).map(|value| value == "1");
    let mend = |port: &str, settings: &str| format!("bridge link set dev {} {settings}", word(port));
    let see = |port: &str| format!("bridge -d link show dev {}", word(port));
    if function.starts_with("br_flood") {
        // Nobody knows where its address is, and ports that take nothing for unknown ones are left out.
        let entries = fs::read_dir(class.join(&bridge).join("brif")).ok()?.take(PORTS);
        let ports = entries.filter_map(|port| port.ok()?.file_name().into_string().ok());
        let mut closed: Vec<String> =
            ports.filter(|port| set(port, "unicast_flood") == Some(false)).collect();
        closed.sort();
        let port = closed.first()?;
        let more = if closed.len() > 1 { format!(", as {} others", closed.len() - 1) } else { String::new() };
        let learns =
            if set(port, "learning") == Some(false) { ", and learns none (learning off)" } else { "" };
        return Some(culprit(
            format!(
                "interface {port} is a port of {bridge} that takes no frames for unknown addresses (flood off)"
            ),
            format!("{bridge} does not know where the packet's hardware address is{learns}{more}"),
            format!("{}; bridge fdb show br {}", see(port), word(&bridge)),
            format!(
                "{}, or an entry of the pod's hardware address: bridge fdb add ADDRESS dev {} master static",
                mend(port, "learning on flood on"),
                word(port)
            ),
        ));
    }
    if is_bridge || !matches!(function, "br_forward" | "maybe_deliver" | "br_handle_frame_finish") {
        return None;
    }
    if set(interface, "isolated") == Some(true) {
        return Some(culprit(
            format!("interface {interface} is a port of {bridge} that is isolated"),
            "isolated ports of a bridge do not reach each other".to_owned(),
            see(interface),
            format!("unless it is meant: {}", mend(interface, "isolated off")),
        ));
    }
    // What came in by this port was to leave by it again.
    (set(interface, "hairpin_mode") == Some(false)).then(|| {
        culprit(
            format!("interface {interface} is a port of {bridge} without hairpin mode"),
            "the bridge sends nothing back through the port that it came by: what a pod sends to a service and is to answer \
             itself"
                .to_owned(),
            see(interface),
            format!("{}, or hairpinMode in the CNI's configuration", mend(interface, "hairpin on")),
        )
    })
}

/// Ports of one bridge that are looked at.
const PORTS: usize = 1024;
/// `BR_STATE_FORWARDING`.
const FORWARDING: usize = 3;
/// By the kernel's numbers.
const STATES: [&str; 5] = ["disabled", "listening", "learning", "forwarding", "blocking"];

/// An interface that takes no packets: it was set down, or the other end was.
pub(super) fn down(class: &Path, interface: &str) -> Option<v1::Culprit> {
    let state = read(class, interface, "operstate")?;
    let flags = read(class, interface, "flags")?;
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
    let up = flags & u32::try_from(libc::IFF_UP).unwrap_or(1) != 0;
    let (what, text, mend) = match (up, state.as_str()) {
        (false, _) => (
            "is down",
            "somebody set it down, or nobody set it up",
            format!("ip link set {} up", word(interface)),
        ),
        (true, "down" | "lowerlayerdown") => (
            "has no carrier",
            "it is up, and its other end is not",
            "the other end: the pod's own interface, the cable, the switch's port".to_owned(),
        ),
        _ => return blocked(class, interface),
    };
    let see = format!("ip link show {}", word(interface));
    Some(culprit(format!("interface {interface} {what}"), text.to_owned(), see, mend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::node::tests::pasteable;

    fn described_mtu(bytes: u32) -> String {
        format!("interface vethweb has an MTU of {bytes} bytes")
    }

    #[test]
    fn interfaces_are_described_by_what_the_kernel_shows_of_them() {
        let root = std::env::temp_dir().join(format!("netcheck-link-{}", std::process::id()));
        let make = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir_all(root.join(name)).unwrap();
            for (file, text) in files {
                fs::write(root.join(name).join(file), text).unwrap();
            }
        };
        make("cni0", &[("mtu", "1500\n"), ("ifindex", "3\n")]);
        make(
            "vethweb",
            &[
                ("mtu", "1400\n"),
                ("ifindex", "4\n"),
                ("operstate", "lowerlayerdown\n"),
                ("flags", "0x1003\n"),
            ],
        );
        make("eth1", &[("mtu", "9000\n"), ("operstate", "down\n"), ("flags", "0x1002\n")]);
        make("vethweb/brport", &[]);
        std::os::unix::fs::symlink("../../cni0", root.join("vethweb/brport/bridge")).unwrap();
        let found = too_big(&root, "vethweb", None).unwrap();
        assert_eq!(found.object, "interface vethweb has an MTU of 1400 bytes");
        assert!(found.text.contains("its bridge cni0 takes 1500"), "{}", found.text);
        pasteable(&found);
        let found = too_big(&root, "eth1", Some((1280, "10.0.0.0/8"))).unwrap();
        assert_eq!(found.object, "route 10.0.0.0/8 allows packets of 1280 bytes, eth1 takes 9000");
        pasteable(&found);
        assert_eq!(too_big(&root, "../cni0", None), None);
        assert_eq!(takes_less(&root, "vethweb", 1500).unwrap().object, described_mtu(1400));
        assert_eq!((takes_less(&root, "vethweb", 1400), takes_less(&root, "eth1", 1500)), (None, None));
        assert_eq!(down(&root, "vethweb").unwrap().object, "interface vethweb has no carrier");
        assert_eq!(down(&root, "eth1").unwrap().object, "interface eth1 is down");
        ["vethweb", "eth1"].into_iter().filter_map(|name| down(&root, name)).for_each(|one| pasteable(&one));
        // A port that the bridge does not use, asked for itself and by its bridge; and a tunnel.
        make("cni0", &[("operstate", "up\n"), ("flags", "0x1003\n"), ("uevent", "DEVTYPE=bridge\n")]);
        assert_eq!(down(&root, "cni0"), None);
        make("vethapp", &[("operstate", "up\n"), ("flags", "0x1003\n"), ("ifindex", "5\n")]);
        make("vethapp/brport", &[("state", "0\n")]);
        std::os::unix::fs::symlink("../../cni0", root.join("vethapp/brport/bridge")).unwrap();
        make("cni0/brif/vethapp", &[]);
        for asked in ["vethapp", "cni0"] {
            let found = down(&root, asked).unwrap();
            assert_eq!(found.object, "interface vethapp is a port of cni0 that does not forward: disabled");
            pasteable(&found);
        }
        make("vethapp/brport", &[("state", "3\n")]);
        assert_eq!(down(&root, "vethapp"), None);
        make("flannel.1", &[("uevent", "DEVTYPE=vxlan\nINTERFACE=flannel.1\n")]);
        assert_eq!((wraps(&root, "flannel.1"), wraps(&root, "cni0")), (true, false));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_a_bridge_is_told_to_keep_from_a_port_is_named() {
        let root = std::env::temp_dir().join(format!("netcheck-port-{}", std::process::id()));
        let set = |port: &str, flags: &[(&str, &str)]| {
            fs::create_dir_all(root.join(port).join("brport")).unwrap();
            for (flag, value) in flags {
                fs::write(root.join(port).join("brport").join(flag), value).unwrap();
            }
        };
        for port in ["vethapp", "vethweb"] {
            fs::create_dir_all(root.join("cni0/brif").join(port)).unwrap();
            fs::create_dir_all(root.join(port)).unwrap();
            fs::write(root.join(port).join("ifindex"), "4\n").unwrap();
            let flags =
                [("isolated", "0\n"), ("unicast_flood", "1\n"), ("learning", "1\n"), ("hairpin_mode", "1\n")];
            set(port, &flags);
            std::os::unix::fs::symlink("../../cni0", root.join(port).join("brport/bridge")).unwrap();
        }
        let named = |interface: &str, function: &str| {
            undelivered(&root, interface, function).map(|found| {
                pasteable(&found);
                found.object
            })
        };
        assert_eq!(named("vethapp", "br_forward"), None);
        assert_eq!(named("cni0", "br_flood"), None);
        set("vethweb", &[("isolated", "1\n"), ("unicast_flood", "0\n"), ("learning", "0\n")]);
        let object = named("vethweb", "br_forward").unwrap();
        assert_eq!(object, "interface vethweb is a port of cni0 that is isolated");
        for seen in ["cni0", "vethapp"] {
            let found = undelivered(&root, seen, "br_flood").unwrap();
            assert!(found.object.starts_with("interface vethweb is a port of cni0 that takes no frames"));
            assert!(found.text.ends_with("and learns none (learning off)"), "{}", found.text);
        }
        set("vethapp", &[("hairpin_mode", "0\n")]);
        let object = named("vethapp", "br_forward").unwrap();
        assert_eq!(object, "interface vethapp is a port of cni0 without hairpin mode");
        assert_eq!(named("vethapp", "ip_rcv_core"), None);
        assert_eq!(named("eth0", "br_forward"), None);
        fs::remove_dir_all(root).unwrap();
    }
}
