//! What connection tracking made of a flow: the kernel's table, asked by netlink (include/uapi/linux/netfilter/
//! nfnetlink_conntrack.h). What a pod sends to a node leaves masqueraded, with a port that no hook can know it again by.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netcheck_common::domain::ProbeKind;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::model::observation::Flow;

/// One entry is some hundred bytes long.
const ANSWER: usize = 4096;

/// The table of the agent's own network namespace.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: Socket,
    sequence: u32,
}

impl Conntrack {
    /// # Errors
    /// The kernel has no such socket, or the agent may not use it.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        // The kernel answers before it returns from the question.
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The flow behind all translation, as its packets leave the node. None where the table has no such flow: it never left, or
    /// nobody tracks it.
    pub(crate) fn left_as(&mut self, flow: &Flow) -> Option<Flow> {
        // Whatever came too late for an earlier question.
        while self.socket.recv(&mut Vec::with_capacity(ANSWER), 0).is_ok() {}
        self.sequence = self.sequence.wrapping_add(1);
        let question = question(flow, self.sequence)?;
        self.socket.send(&question, 0).ok()?;
        let mut answer = Vec::with_capacity(ANSWER);
        self.socket.recv(&mut answer, 0).ok()?;
        left_as(&answer, self.sequence, flow.kind)
    }
}

fn question(flow: &Flow, sequence: u32) -> Option<Vec<u8>> {
    let tcp = match flow.kind {
        ProbeKind::Tcp | ProbeKind::Http => true,
        ProbeKind::Udp | ProbeKind::Dns => false,
        ProbeKind::Icmp => return None,
    };
    let ends =
        vec![IPTuple::SourceAddress(flow.source.ip()), IPTuple::DestinationAddress(flow.destination.ip())];
    let ports = vec![
        ProtoTuple::Protocol(if tcp { Protocol::Tcp } else { Protocol::Udp }),
        ProtoTuple::SourcePort(flow.source.port()),
        ProtoTuple::DestinationPort(flow.destination.port()),
    ];
    let original = ConntrackAttribute::CtaTupleOrig(vec![Tuple::Ip(ends), Tuple::Proto(ports)]);
    let family = if flow.source.is_ipv4() { NetfilterProtoFamily::IPv4 } else { NetfilterProtoFamily::IPv6 };
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (NLM_F_REQUEST, sequence);
    let payload =
        NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), ConntrackMessage::Get(vec![original]));
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(payload));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    Some(bytes)
}

/// The answer's reply tuple, turned round: whoever answers the packet as it left answers so.
fn left_as(answer: &[u8], sequence: u32, kind: ProbeKind) -> Option<Flow> {
    let message = NetlinkMessage::<NetfilterMessage>::deserialize(answer).ok()?;
    if message.header.sequence_number != sequence {
        return None;
    }
    let NetlinkPayload::InnerMessage(message) = message.payload else { return None };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return None;
    };
    let reply = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleReply(reply) => Some(reply),
        _ => None,
    })?;
    let (mut from, mut to) = (End::default(), End::default());
    for part in reply {
        match part {
            Tuple::Ip(ends) => ends.iter().for_each(|end| match end {
                IPTuple::SourceAddress(address) => from.0 = Some(*address),
                IPTuple::DestinationAddress(address) => to.0 = Some(*address),
                _ => {}
            }),
            Tuple::Proto(ports) => ports.iter().for_each(|port| match port {
                ProtoTuple::SourcePort(port) => from.1 = Some(*port),
                ProtoTuple::DestinationPort(port) => to.1 = Some(*port),
                _ => {}
            }),
            _ => {}
        }
    }
    let end = |(address, port): End| Some(SocketAddr::new(address?, port?));
    Some(Flow { kind, source: end(to)?, destination: end(from)? })
}

type End = (Option<IpAddr>, Option<u16>);

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, destination: &str) -> Flow {
        Flow {
            kind: ProbeKind::Tcp,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    #[test]
    fn what_answers_a_masqueraded_flow_shows_how_it_left() {
        let entry = |from: &str, to: &str, sequence| {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let ends = vec![IPTuple::SourceAddress(from.ip()), IPTuple::DestinationAddress(to.ip())];
            let ports = vec![ProtoTuple::SourcePort(from.port()), ProtoTuple::DestinationPort(to.port())];
            let reply = ConntrackAttribute::CtaTupleReply(vec![Tuple::Ip(ends), Tuple::Proto(ports)]);
            let mut header = NetlinkHeader::default();
            header.sequence_number = sequence;
            let family = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
            let payload = NetfilterMessage::new(family, ConntrackMessage::New(vec![reply]));
            let mut message = NetlinkMessage::new(header, NetlinkPayload::from(payload));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            bytes
        };
        let answer = entry("10.0.0.3:6100", "10.0.0.1:51234", 7);
        let left = left_as(&answer, 7, ProbeKind::Tcp);
        assert_eq!(left, Some(flow("10.0.0.1:51234", "10.0.0.3:6100")));
        assert_eq!(left_as(&answer, 8, ProbeKind::Tcp), None, "it is another question's");
        for cut in 0..answer.len() {
            let _ = left_as(&answer[..cut], 7, ProbeKind::Tcp);
        }
        assert_eq!(question(&Flow { kind: ProbeKind::Icmp, ..flow("10.0.0.1:0", "10.0.0.3:0") }, 1), None);
    }
}
