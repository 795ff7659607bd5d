//! Faults that are not yet described as they should be. Each row says what is true; the battery prints how far off the
//! answers are. A row moves to the default table when it is right in all networks.

use super::{Families, ICMP, POD, Place, Row, TCP, UDP, at, lab, only, slow, wire};

/// A packet that the bridge may not send back through the port it came by: dropped before it leaves, on the port's device.
const HAIRPIN: Place = at("", "request", "egress|ingress", "");
/// What a node sends under a wrong number dies with whoever receives it.
const OTHER_VNI: Place = at("", "", "ingress", "VXLAN_VNI_NOT_FOUND");
/// Who asks a pod that is deaf: the node, in vain.
const SILENT_POD: Place = at("n2", "request", "neighbour", "NEIGH_");

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Services.
    lab("no-hairpin pod=vantage-n2", UDP, &[Place { nodes: "n2", ..HAIRPIN }]).opens("place n2 vethvantage-n2"),
    // The overlay: described as the overlay's, between the ends that are hurt, never as one pod's.
    lab("wrong-vni node=n2", POD, &[wire("n2", ""), at("n2", "", "ingress|socket", ""), OTHER_VNI]).opens("pod_network n2"),
    lab("stale-tunnel node=n1 to=n2", POD, &[wire("n1", ""), at("n1", "", "neighbour|wire", "")]).opens("one_way n1>n2"),
    lab("tunnel-blocked a=zone-a b=zone-b", POD, &[wire("", "")]).opens("link zone-a~zone-b"),
    // Sizes.
    slow(lab("pod-mtu node=n2 mtu=1400", ICMP, &[at("n2", "request", "egress", "")])).opens("mtu n2"),
    // One pod or node that is set up wrongly.
    lab("pod-mask pod=web-n2", POD, &[at("n2", "reply", "neighbour", "NEIGH_|NOT_SPECIFIED"), at("n2", "reply", "send|routing", "EHOSTUNREACH")]).opens("place n2 web-n2"),
    lab("echo-ignored at=n2", ICMP, &[at("n2", "request", "socket|netfilter_input", "")]).opens("place|target n2 ICMP"),
    lab("forwarding-off node=n2", POD, &[at("n2", "", "routing", "")]).opens("place n2 routing"),
    only(Families::V6, lab("dad-failed pod=web-n2", POD, &[SILENT_POD, at("n2", "request", "send", "EHOSTUNREACH")])).opens("place|target n2|web-n2 IPv6"),
    lab("duplicate-address of=web-n2 at=app-n2-2", TCP, &[at("n2", "request", "socket", "")]).opens("place|target|backend n2|web-n2"),
    // New connections only: those that are open go on.
    lab("new-denied node=n2", POD, &[at("n2", "", "netfilter_forward", "NETFILTER_DROP")]).opens("place n2 netfilter_forward"),
    lab("policy-deny pod=web-n2", POD, &[at("n2", "", "netfilter_forward", "NETFILTER_DROP")]).opens("place n2 netfilter_forward"),
];
