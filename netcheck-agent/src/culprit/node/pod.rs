//! What a pod's own network looks like, read from the node without entering it: `/proc/PID/net` of one of the pod's processes.
//!
//! A pod is found by its address: of all processes that this agent sees, one whose network namespace is not the node's own
//! and has that address. Where the agent sees no others' processes (no `hostPID`), nothing is found.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use netcheck_proto::shell::word;
use netcheck_proto::v1;

mod program;

/// Processes that are looked at.
const PROCESSES: usize = 8192;
/// Network namespaces that are looked at.
const NAMESPACES: usize = 1024;
/// `IFA_F_DADFAILED` (linux/if_addr.h).
const DAD_FAILED: u32 = 0x08;
/// `IFA_F_TENTATIVE`.
const TENTATIVE: u32 = 0x40;

/// The network of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodNet {
    /// Of the process through which it is seen.
    process: u32,
    net: PathBuf,
}

impl PodNet {
    /// The pod that has this address. `proc`: where the kernel shows processes.
    pub(super) fn of(proc: &Path, address: IpAddr) -> Option<Self> {
        let own = namespace(&proc.join("self"));
        let mut seen: BTreeSet<PathBuf> = own.into_iter().collect();
        let processes = fs::read_dir(proc).ok()?.filter_map(Result::ok).take(PROCESSES);
        for entry in processes {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Some(other) = namespace(&entry.path()) else { continue };
            if seen.len() > NAMESPACES || !seen.insert(other) {
                continue;
            }
            let net = Self { process, net: entry.path().join("net") };
            if net.has(address) {
                return Some(net);
            }
        }
        None
    }

    /// A process that is in it.
    pub(super) const fn process(&self) -> u32 {
        self.process
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.net.join(file)).unwrap_or_default()
    }

    fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => is_local(&self.read("fib_trie"), v4),
            IpAddr::V6(v6) => flags(&self.read("if_inet6"), v6).is_some(),
        }
    }

    /// A command that is run in there.
    pub(super) fn see(&self, command: &str) -> String {
        format!("nsenter -t {} -n {command}", self.process)
    }

    /// Its address is in use elsewhere, or it is not known yet whether it is.
    pub(super) fn unusable(&self, address: IpAddr) -> Option<v1::Culprit> {
        let IpAddr::V6(v6) = address else { return None };
        let (flags, interface) = flags(&self.read("if_inet6"), v6)?;
        let (what, shown, text) = match (flags & DAD_FAILED != 0, flags & TENTATIVE != 0) {
            (true, _) => (
                "failed duplicate address detection",
                "dadfailed",
                "another machine on that link had the address when it came up; the kernel does not use it since",
            ),
            (false, true) => {
                ("is tentative", "tentative", "duplicate address detection has not ended; it is not used yet")
            }
            (false, false) => return None,
        };
        Some(culprit(
            v1::CulpritKind::Interface,
            format!("address {v6} of {interface} in the pod {what}"),
            text.to_owned(),
            self.see(&format!("ip -6 addr show {shown}")),
            "find who else has the address (ip neigh on the node), then start the pod anew".to_owned(),
        ))
    }

    /// It has lost the address that Kubernetes has for it.
    pub(super) fn without(&self, address: IpAddr) -> v1::Culprit {
        let v6 = self.read("if_inet6");
        // The loopback's alone, or none.
        let off = address.is_ipv6() && v6.lines().all(|line| line.trim_end().ends_with(" lo"));
        let text = if off {
            "none of its interfaces has an IPv6 address: IPv6 is switched off in it (disable_ipv6)"
        } else {
            "somebody took it away, or gave it another one; Kubernetes does not notice"
        };
        let see = if off { "sysctl -a -r disable_ipv6" } else { "ip addr" };
        culprit(
            v1::CulpritKind::Interface,
            format!("the pod does not have the address {address}"),
            text.to_owned(),
            self.see(see),
            "start the pod anew, so that the CNI gives it its addresses; look at what in it changes them"
                .to_owned(),
        )
    }

    /// How it would send to this address, where that can't be right: it has no route, or asks its own link for it.
    pub(super) fn way_back(&self, to: IpAddr) -> Option<v1::Culprit> {
        let (routes, tool) = match to {
            IpAddr::V4(_) => (routes_v4(&self.read("route")), "ip"),
            IpAddr::V6(_) => (routes_v6(&self.read("ipv6_route")), "ip -6"),
        };
        let covers = |route: &&Route| route.covers(to);
        let best =
            routes.iter().filter(covers).max_by_key(|route| (route.length, std::cmp::Reverse(route.metric)));
        let default = if routes.iter().any(|route| route.length == 0 && !route.dead) {
            ""
        } else {
            ": it has no default route"
        };
        match best {
            None => Some(culprit(
                v1::CulpritKind::Route,
                format!("the pod has no route to {to}{default}"),
                "what arrives there is not answered".to_owned(),
                self.see(&format!("{tool} route")),
                "start the pod anew, so that the CNI sets its routes; look at what else sets routes in it"
                    .to_owned(),
            )),
            Some(route) if route.dead => Some(culprit(
                v1::CulpritKind::Route,
                format!("the pod's route to {}/{} leads nowhere", route.network, route.length),
                "what arrives there is not answered".to_owned(),
                self.see(&format!("{tool} route")),
                "start the pod anew, so that the CNI sets its routes; look at what else sets routes in it"
                    .to_owned(),
            )),
            Some(route) if route.gateway.is_none() => Some(culprit(
                v1::CulpritKind::Route,
                format!(
                    "the pod takes {}/{} for its own link ({})",
                    route.network, route.length, route.interface
                ),
                format!(
                    "it asks there for {to}, which is behind its gateway: a wrong mask, or a route without a gateway"
                ),
                self.see(&format!("{tool} route get {to}")),
                "the mask that the CNI gives pods; start the pod anew if something else changed it"
                    .to_owned(),
            )),
            Some(Route { gateway: Some(IpAddr::V4(gateway)), network, length, interface, .. }) => {
                let arp = self.read("arp");
                let entry =
                    arp.lines().skip(1).filter_map(Neighbour::read).find(|one| one.address == *gateway);
                entry.filter(|entry| !entry.complete)?;
                Some(culprit(
                    v1::CulpritKind::Route,
                    format!("the pod's route to {network}/{length} leads to {gateway}, which does not answer"),
                    format!("nobody on {interface} of the pod has that address: what arrives in the pod is not answered"),
                    self.see(&format!("{tool} neigh show {gateway}")),
                    "the gateway that the CNI gives pods is its bridge's address; start the pod anew if something else \
                     changed the route"
                        .to_owned(),
                ))
            }
            Some(_) => None,
        }
    }

    /// Its entry for an address of the node has a hardware address that no interface of the node has: what it sends there
    /// reaches nobody. `class`: where the kernel shows the node's interfaces. IPv4 alone: of IPv6's neighbours the kernel shows
    /// nothing in files.
    pub(super) fn stale_gateway(&self, proc: &Path, class: &Path) -> Option<v1::Culprit> {
        let trie = fs::read_to_string(proc.join("self/net/fib_trie")).ok()?;
        let interfaces = fs::read_dir(class).ok()?.filter_map(Result::ok);
        let hardware: BTreeSet<String> = interfaces
            .filter_map(|interface| fs::read_to_string(interface.path().join("address")).ok())
            .map(|address| address.trim().to_owned())
            .collect();
        let arp = self.read("arp");
        let is_stale = |entry: &Neighbour<'_>| {
            entry.complete && is_local(&trie, entry.address) && !hardware.contains(entry.hardware)
        };
        let stale = arp.lines().skip(1).filter_map(Neighbour::read).find(is_stale)?;
        let (address, interface) = (stale.address, stale.interface);
        let text = if stale.permanent {
            "no interface of the node has that hardware address, and the entry was set by hand: the kernel does not ask again"
        } else {
            "no interface of the node has that hardware address any more: the bridge's was changed, and the pod does not know yet"
        };
        Some(culprit(
            v1::CulpritKind::Neighbour,
            format!(
                "the pod's neighbour {address} on {interface} is at {}, which is not the node's",
                stale.hardware
            ),
            text.to_owned(),
            self.see(&format!("ip neigh show {address}")),
            self.see(&format!("ip neigh del {address} dev {}", word(interface))),
        ))
    }
}

fn culprit(kind: v1::CulpritKind, object: String, text: String, see: String, mend: String) -> v1::Culprit {
    v1::Culprit {
        kind: kind.into(),
        object,
        text,
        see,
        mend,
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

/// The network namespace of a process.
fn namespace(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/net")).ok()
}

/// Whether `/proc/net/fib_trie` has it as one of its own addresses: its line, and `/32 host LOCAL` below.
fn is_local(trie: &str, address: Ipv4Addr) -> bool {
    let leaf = format!("|-- {address}");
    let lines: Vec<&str> = trie.lines().map(str::trim).collect();
    let own = lines.iter().enumerate().filter(|(_, line)| **line == leaf);
    own.map(|(at, _)| lines.iter().skip(at + 1).take_while(|line| line.starts_with('/')))
        .any(|mut below| below.any(|line| line.contains("/32 host LOCAL")))
}

/// A line of `/proc/net/arp`.
#[derive(Debug)]
struct Neighbour<'a> {
    address: Ipv4Addr,
    hardware: &'a str,
    interface: &'a str,
    /// `ATF_COM` (linux/if_arp.h): its hardware address is known.
    complete: bool,
    /// `ATF_PERM`.
    permanent: bool,
}

impl<'a> Neighbour<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, hardware, _, interface] = words.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        Some(Self {
            address: address.parse().ok()?,
            hardware,
            interface,
            complete: flags & 0x02 != 0,
            permanent: flags & 0x04 != 0,
        })
    }
}

/// Flags and interface of an address in `/proc/net/if_inet6`.
fn flags(text: &str, address: Ipv6Addr) -> Option<(u32, String)> {
    let wanted: String = address.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    text.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [own, _, _, _, flags, interface] = words.as_slice() else { return None };
        (*own == wanted).then(|| Some((u32::from_str_radix(flags, 16).ok()?, (*interface).to_owned())))?
    })
}

/// A route of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    network: IpAddr,
    length: u8,
    gateway: Option<IpAddr>,
    interface: String,
    metric: u32,
    dead: bool,
}

impl Route {
    fn covers(&self, to: IpAddr) -> bool {
        ipnet::IpNet::new(self.network, self.length).is_ok_and(|net| net.contains(&to))
    }
}

/// `RTF_REJECT` (linux/route.h).
const REJECT: u32 = 0x0200;

/// `/proc/net/route`: addresses as the machine has them in memory.
fn routes_v4(text: &str) -> Vec<Route> {
    let address = |word: &str| Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()));
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, network, gateway, flags, _, _, metric, mask, ..] = words.as_slice() else {
            return None;
        };
        let gateway = address(gateway)?;
        Some(Route {
            network: address(network)?.into(),
            length: u8::try_from(u32::from(address(mask)?).leading_ones()).ok()?,
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            interface: (*interface).to_owned(),
            metric: metric.parse().ok()?,
            dead: u32::from_str_radix(flags, 16).ok()? & REJECT != 0,
        })
    };
    text.lines().skip(1).filter_map(read).collect()
}

/// `/proc/net/ipv6_route`, without what is the loopback's: local addresses, and what the kernel rejects by default.
fn routes_v6(text: &str) -> Vec<Route> {
    let address = |word: &str| Some(Ipv6Addr::from(u128::from_str_radix(word, 16).ok()?));
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [network, length, _, _, gateway, metric, _, _, flags, interface] = words.as_slice() else {
            return None;
        };
        let gateway = address(gateway)?;
        let metric = u32::from_str_radix(metric, 16).ok()?;
        let dead = u32::from_str_radix(flags, 16).ok()? & REJECT != 0;
        (*interface != "lo" || (dead && metric != u32::MAX)).then_some(())?;
        Some(Route {
            network: address(network)?.into(),
            length: u8::from_str_radix(length, 16).ok()?,
            gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
            interface: (*interface).to_owned(),
            metric,
            dead,
        })
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
