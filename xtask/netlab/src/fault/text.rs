//! The textual form of faults: their words, and how they are written. [`read`] reads it.

mod read;

use std::fmt;

use super::{
    DeadRoute, Direction, DnsAnswer, End, Family, Fault, Hook, Leg, Match, Narrow, NodeState, Proto, Verdict,
};

/// All faults with their settings, for `--help`.
pub const HELP: &str = "\
Faults (settings in [] may be left out):
  drop node=N hook=prerouting|input|forward|output|postrouting [MATCH]
  reject node=N hook=prerouting|input|forward|output [MATCH]
  route node=N type=blackhole|unreachable|prohibit|throw to=PLACE
  route-loop a=N b=N to=PLACE      both send what is for it to each other
  reverse-path node=N from=N       asymmetric way back under a strict rp_filter (IPv4)
  slow-link pod=P [rate-kbit=2]    its queue at the node overflows
  veth-down pod=P                  host side of the pod's veth pair
  pod-link-down pod=P              eth0 inside the pod
  uplink-down node=N               eth0 of the node
  storage-down node=N              its port of network default/storage towards other nodes
  storage-address-gone pod=P       its addresses on network default/storage
  responder-filtered node=N [port=6100] [family=]
  request-loss from=A to=B [at=source|destination] [family=] [proto=] [port=6100] [percent=]
  reply-loss from=A to=B [at=source|destination] [family=] [proto=] [port=6100] [percent=]
                                   A, B: where the probe starts and ends; default at=destination
  loss node=N direction=in|out percent=P [family=] [longer=]   on the cable, seen by no node
  source-ports from=N to=N [way=3] [family=]   one of eight ways between them, chosen by UDP source port, is dead
  duplicate node=N [percent=100]   the cable to it delivers twice
  reorder node=N [percent=50] [delay-ms=300]   the cable to it holds packets back, each for another time
  conntrack-full node=N            no room for new connections
  fragments-dropped node=N [from=N]   as they arrive; from: what that node sends there is cut into pieces
  dns answer=servfail|nxdomain|slow|silent|truncated [delay-ms=1000]   truncated: and no way in over TCP
  backend-refuses pod=P            its HTTP server is killed
  backend-stuck pod=P              its HTTP server accepts nothing, and its queue is full
  backend-dead pod=P               its endpoints name addresses that nobody has
  no-endpoints service=S
  no-node-port node=N service=S    its rules there are missing
  no-translation node=N service=S  its rules there are missing altogether
  node-killed node=N
  zone-cut a=Z b=Z [family=] [proto=]
  wrong-neighbour node=N to=A      a node, a pod of N, or over VXLAN any pod
  mtu-blackhole node=N mtu=BYTES [at=tunnel|pods|cable]  default tunnel; over plain routes that is the uplink
  no-hairpin pod=P                 it doesn't reach itself through a service; with kube-proxy's rules
  wrong-vni node=N                 its overlay end has another network identifier
  stale-tunnel node=N to=N         it sends what is for that node's pods to an address that nobody has
  tunnel-blocked a=Z b=Z           the overlay between two zones, seen by no node
  pod-mtu node=N mtu=BYTES         its pods' links take less than their bridge
  pod-mask pod=P                   it takes all nodes' pods for neighbours
  echo-ignored at=N|P              by sysctl
  forwarding-off node=N            by sysctl
  dad-failed pod=P                 its IPv6 address was in use when it came up
  duplicate-address of=P at=P      another pod of the node has it, too, and is the one that is asked
  policy-deny pod=P                no new connection to or from it passes
  new-denied node=N                it forwards no new connection
  node-state node=N state=notready|cordoned|deleted     in the inventory
  pod-gone pod=P                                        in the inventory

MATCH  family=ipv4|ipv6 proto=icmp|udp|tcp src=PLACE dst=PLACE sport= dport= iif= oif= longer=BYTES percent=
PLACE  node, pod, hub, NODE/pods, zone, address or prefix; several with commas";

/// A value that is written as one of a few words.
trait Word: Sized + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];

    fn parse(text: &str) -> Option<&'static Self> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| value)
    }

    fn word(&self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| value == self).map_or("?", |(word, _)| word)
    }
}

impl Word for Family {
    const WORDS: &'static [(&'static str, Self)] = &[("ipv4", Self::V4), ("ipv6", Self::V6)];
}

impl Word for Proto {
    const WORDS: &'static [(&'static str, Self)] =
        &[("icmp", Self::Icmp), ("udp", Self::Udp), ("tcp", Self::Tcp)];
}

impl Word for Hook {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("prerouting", Self::Prerouting),
        ("input", Self::Input),
        ("forward", Self::Forward),
        ("output", Self::Output),
        ("postrouting", Self::Postrouting),
    ];
}

impl Hook {
    /// As nftables calls it.
    pub(crate) fn name(self) -> &'static str {
        self.word()
    }
}

impl Word for DeadRoute {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("blackhole", Self::Blackhole),
        ("unreachable", Self::Unreachable),
        ("prohibit", Self::Prohibit),
        ("throw", Self::Throw),
    ];
}

impl DeadRoute {
    /// As iproute2 calls it.
    pub(crate) fn name(self) -> &'static str {
        self.word()
    }
}

impl Word for End {
    const WORDS: &'static [(&'static str, Self)] =
        &[("source", Self::Source), ("destination", Self::Destination)];
}

impl Word for Narrow {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tunnel", Self::Tunnel), ("pods", Self::Pods), ("cable", Self::Cable)];
}

impl Word for Direction {
    const WORDS: &'static [(&'static str, Self)] = &[("in", Self::In), ("out", Self::Out)];
}

impl Word for NodeState {
    const WORDS: &'static [(&'static str, Self)] =
        &[("notready", Self::NotReady), ("cordoned", Self::Cordoned), ("deleted", Self::Deleted)];
}

/// Writes ` key=value` if there is a value.
fn set(f: &mut fmt::Formatter<'_>, key: &str, value: Option<impl fmt::Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {key}={value}"))
}

fn set_word<T: Word>(f: &mut fmt::Formatter<'_>, key: &str, value: Option<T>) -> fmt::Result {
    set(f, key, value.map(|value| value.word()))
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        set_word(f, "family", self.family)?;
        set_word(f, "proto", self.proto)?;
        set(f, "src", self.src.as_ref())?;
        set(f, "dst", self.dst.as_ref())?;
        set(f, "sport", self.sport)?;
        set(f, "dport", self.dport)?;
        set(f, "iif", self.iif.as_ref())?;
        set(f, "oif", self.oif.as_ref())?;
        set(f, "longer", self.longer_bytes)?;
        set(f, "percent", self.percent)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter { node, hook, verdict, matching } => {
                let kind = if *verdict == Verdict::Drop { "drop" } else { "reject" };
                write!(f, "{kind} node={node} hook={}{matching}", hook.word())
            }
            Self::Route { node, kind, to } => write!(f, "route node={node} type={} to={to}", kind.word()),
            Self::VethDown { pod } => write!(f, "veth-down pod={pod}"),
            Self::PodLinkDown { pod } => write!(f, "pod-link-down pod={pod}"),
            Self::UplinkDown { node } => write!(f, "uplink-down node={node}"),
            Self::StorageDown { node } => write!(f, "storage-down node={node}"),
            Self::StorageAddressGone { pod } => write!(f, "storage-address-gone pod={pod}"),
            Self::ResponderFiltered { node, port, family } => {
                write!(f, "responder-filtered node={node} port={port}")?;
                set_word(f, "family", *family)
            }
            Self::OneWay { leg, from, to, at, family, proto, port, percent } => {
                let kind = if *leg == Leg::Request { "request-loss" } else { "reply-loss" };
                write!(f, "{kind} from={from} to={to} at={}", at.word())?;
                set_word(f, "family", *family)?;
                set_word(f, "proto", *proto)?;
                write!(f, " port={port}")?;
                set(f, "percent", *percent)
            }
            Self::WireLoss { node, direction, percent, family, longer_bytes } => {
                write!(f, "loss node={node} direction={} percent={percent}", direction.word())?;
                set_word(f, "family", *family)?;
                set(f, "longer", *longer_bytes)
            }
            Self::SourcePorts { from, to, way, family } => {
                write!(f, "source-ports from={from} to={to} way={way}")?;
                set_word(f, "family", *family)
            }
            Self::Duplicate { node, percent } => write!(f, "duplicate node={node} percent={percent}"),
            Self::Reorder { node, percent, delay } => {
                write!(f, "reorder node={node} percent={percent} delay-ms={}", delay.as_millis())
            }
            Self::ConntrackFull { node } => write!(f, "conntrack-full node={node}"),
            Self::FragmentsDropped { node, from } => {
                write!(f, "fragments-dropped node={node}")?;
                from.iter().try_for_each(|from| write!(f, " from={from}"))
            }
            Self::RouteLoop { a, b, to } => write!(f, "route-loop a={a} b={b} to={to}"),
            Self::ReversePath { node, from } => write!(f, "reverse-path node={node} from={from}"),
            Self::SlowLink { pod, rate_kbit } => write!(f, "slow-link pod={pod} rate-kbit={rate_kbit}"),
            Self::Dns { answer } => match answer {
                DnsAnswer::Servfail => f.write_str("dns answer=servfail"),
                DnsAnswer::Nxdomain => f.write_str("dns answer=nxdomain"),
                DnsAnswer::Silent => f.write_str("dns answer=silent"),
                DnsAnswer::Truncated => f.write_str("dns answer=truncated"),
                DnsAnswer::Slow(delay) => write!(f, "dns answer=slow delay-ms={}", delay.as_millis()),
            },
            Self::BackendRefuses { pod } => write!(f, "backend-refuses pod={pod}"),
            Self::BackendStuck { pod } => write!(f, "backend-stuck pod={pod}"),
            Self::BackendDead { pod } => write!(f, "backend-dead pod={pod}"),
            Self::NoEndpoints { service } => write!(f, "no-endpoints service={service}"),
            Self::NoNodePort { node, service } => write!(f, "no-node-port node={node} service={service}"),
            Self::NoTranslation { node, service } => {
                write!(f, "no-translation node={node} service={service}")
            }
            Self::NodeKilled { node } => write!(f, "node-killed node={node}"),
            Self::ZoneCut { a, b, family, proto } => {
                write!(f, "zone-cut a={a} b={b}")?;
                set_word(f, "family", *family)?;
                set_word(f, "proto", *proto)
            }
            Self::WrongNeighbour { node, to } => write!(f, "wrong-neighbour node={node} to={to}"),
            Self::MtuBlackhole { node, at, mtu_bytes } => {
                write!(f, "mtu-blackhole node={node} mtu={mtu_bytes}")?;
                set_word(f, "at", Some(*at).filter(|at| *at != Narrow::Tunnel))
            }
            Self::NoHairpin { pod } => write!(f, "no-hairpin pod={pod}"),
            Self::WrongVni { node } => write!(f, "wrong-vni node={node}"),
            Self::StaleTunnel { node, to } => write!(f, "stale-tunnel node={node} to={to}"),
            Self::TunnelBlocked { a, b } => write!(f, "tunnel-blocked a={a} b={b}"),
            Self::PodMtu { node, mtu_bytes } => write!(f, "pod-mtu node={node} mtu={mtu_bytes}"),
            Self::PodMask { pod } => write!(f, "pod-mask pod={pod}"),
            Self::EchoIgnored { at } => write!(f, "echo-ignored at={at}"),
            Self::ForwardingOff { node } => write!(f, "forwarding-off node={node}"),
            Self::DadFailed { pod } => write!(f, "dad-failed pod={pod}"),
            Self::DuplicateAddress { of, at } => write!(f, "duplicate-address of={of} at={at}"),
            Self::PolicyDeny { pod } => write!(f, "policy-deny pod={pod}"),
            Self::NewDenied { node } => write!(f, "new-denied node={node}"),
            Self::NodeState { node, state } => write!(f, "node-state node={node} state={}", state.word()),
            Self::PodGone { pod } => write!(f, "pod-gone pod={pod}"),
        }
    }
}
