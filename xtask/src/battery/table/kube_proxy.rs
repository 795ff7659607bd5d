//! Faults behind services under kube-proxy's own rules. A host's request to a cluster address leaves under another source
//! port than the socket's; who knows a flow by its ports alone can't say where it died.

use super::{DNS, POD, RESTARTED, Row, TCP, at, lab};

/// The backend's node drops what it forwards: whoever asks meets it with every third request.
const FORWARD: super::Place = at("n2", "", "netfilter_forward", "NETFILTER_DROP");

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    lab("backend-refuses pod=web-n1", TCP, &[at("n1", "request", "socket", "")]).opens("backend web-n1"),
    lab("drop node=n2 hook=forward", POD, &[FORWARD]).opens("place n2 netfilter_forward"),
    lab("drop node=n2 hook=forward proto=tcp dport=8080", TCP, &[FORWARD]).opens("place n2 netfilter_forward TCP"),
    lab("no-endpoints service=web", TCP, &[at("", "request", "netfilter_output", "NETFILTER_DROP"), RESTARTED]).opens("service web:80"),
    // What is not translated leaves for the default route, and the gateway knows no such network.
    lab("no-translation node=n2 service=web", TCP, &[at("n2", "request", "", "")]).opens("service|target|place n2|web:80"),
    lab("no-translation node=n2 service=kube-dns", DNS, &[at("n2", "request", "", "")]).opens("dns_server|target|place n2|kube-dns"),
];
