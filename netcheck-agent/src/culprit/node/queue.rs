//! The queueing discipline of an interface that drops packets.

use netcheck_proto::shell::word;
use netcheck_proto::v1;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{dump, number};
use super::program::traffic_message;
use crate::culprit::nft::attributes::{Attributes, text};

/// `RTM_GETQDISC`.
const GET: u16 = 38;

/// One discipline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    kind: String,
    handle: u32,
    parent: u32,
    dropped: u32,
    packets: u32,
    bytes: u32,
    /// In its own unit.
    limit: Option<(u32, &'static str)>,
    /// It drops by chance, whatever there is room for.
    by_chance: bool,
}

/// The discipline that dropped most; none where none dropped anything.
pub(super) async fn find(interface: &str, index: u32) -> Option<v1::Culprit> {
    let messages = dump(NETLINK_ROUTE, GET, &traffic_message(index, 0)).await.ok()?;
    let all = messages.iter().filter_map(|message| read(message, index));
    let most = all.filter(|queue| queue.dropped > 0).max_by_key(|queue| queue.dropped)?;
    Some(culprit(&most, interface))
}

/// Reads a `struct tcmsg` with its attributes (linux/rtnetlink.h, linux/pkt_sched.h).
fn read(message: &[u8], index: u32) -> Option<Queue> {
    if number(message, 4)? != index {
        return None;
    }
    let attributes = Attributes::new(message.get(20..)?);
    let kind = text(attributes.get(1)?);
    // TCA_STATS2 with TCA_STATS_QUEUE: struct gnet_stats_queue.
    let stats = attributes.nested(7).and_then(|stats| stats.get(3)).unwrap_or_default();
    let options = attributes.get(2).unwrap_or_default();
    let nested = Attributes::new(options);
    let own = |kind: u16| nested.get(kind).and_then(|value| number(value, 0));
    let limit = match kind.as_str() {
        "pfifo" | "pfifo_head_drop" => number(options, 0).map(|limit| (limit, "packets")),
        "bfifo" => number(options, 0).map(|limit| (limit, "bytes")),
        // struct tc_netem_qopt: latency, limit, loss.
        "netem" => number(options, 4).map(|limit| (limit, "packets")),
        // TCA_TBF_PARMS, struct tc_tbf_qopt: two rates, then the limit.
        "tbf" => nested.get(1).and_then(|value| number(value, 24)).map(|limit| (limit, "bytes")),
        "fq" => own(1).map(|limit| (limit, "packets")),
        "fq_codel" => own(2).map(|limit| (limit, "packets")),
        _ => None,
    };
    Some(Queue {
        handle: number(message, 8)?,
        parent: number(message, 12)?,
        packets: number(stats, 0).unwrap_or(0),
        bytes: number(stats, 4).unwrap_or(0),
        dropped: number(stats, 8).unwrap_or(0),
        by_chance: kind == "netem" && number(options, 8).is_some_and(|loss| loss > 0),
        limit,
        kind,
    })
}

/// In the words of tc(8).
fn culprit(queue: &Queue, interface: &str) -> v1::Culprit {
    let Queue { kind, handle, parent, dropped, packets, bytes, limit, by_chance } = queue;
    let is_root = *parent == u32::MAX;
    let at = if is_root { "root of" } else { "under the root of" };
    let device = word(interface);
    let room = limit.map(|(limit, unit)| format!(", limit {limit} {unit}")).unwrap_or_default();
    let (text, mend) = if *by_chance {
        (
            "a test tool: it drops by chance, on purpose".to_owned(),
            // The root's removal would take all with it that it shapes.
            if is_root {
                format!("unless it is meant: tc qdisc del dev {device} root")
            } else {
                let class = format!("{:x}:{:x}", parent >> 16, parent & 0xffff);
                format!("unless it is meant: tc qdisc del dev {device} parent {class}")
            },
        )
    } else {
        (
            format!("{packets} packets ({bytes} bytes) wait in it now"),
            "less traffic, a higher rate or a larger limit; look who shapes that interface".to_owned(),
        )
    };
    v1::Culprit {
        kind: v1::CulpritKind::Queue.into(),
        object: format!("queue {kind} {:x}: at the {at} {interface}{room}: {dropped} dropped", handle >> 16),
        text,
        see: format!("tc -s qdisc show dev {device}"),
        mend,
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::forms::commands;
    use crate::culprit::node::tests::pasteable;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn numbers(all: &[u32]) -> Vec<u8> {
        all.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    fn message(kind: &str, options: &[u8]) -> Vec<u8> {
        let stats = attribute(3, &numbers(&[3, 4500, 17, 0, 17]));
        let name = [kind.as_bytes(), &[0]].concat();
        let header = numbers(&[0, 9, 0x8001_0000, u32::MAX, 2]);
        [header, attribute(1, &name), attribute(2, options), attribute(7, &stats)].concat()
    }

    #[test]
    fn a_queue_is_reported_with_its_limit_and_what_it_dropped() {
        let described =
            |kind: &str, options: &[u8]| culprit(&read(&message(kind, options), 9).unwrap(), "eth0");
        let tbf = attribute(1, &numbers(&[0, 0, 250, 0, 0, 0, 3000, 0, 0]));
        let found = described("tbf", &tbf);
        assert_eq!(found.object, "queue tbf 8001: at the root of eth0, limit 3000 bytes: 17 dropped");
        assert_eq!(found.text, "3 packets (4500 bytes) wait in it now");
        let netem = described("netem", &numbers(&[0, 1000, 42_949_672, 0, 0, 0]));
        assert!(netem.text.contains("by chance"), "{netem:?}");
        assert_eq!(commands(&netem.mend), ["tc qdisc del dev eth0 root"]);
        let mut below = read(&message("netem", &numbers(&[0, 1000, 42_949_672, 0, 0, 0])), 9).unwrap();
        below.parent = 0x0001_0010;
        let below = culprit(&below, "eth0");
        assert_eq!(commands(&below.mend), ["tc qdisc del dev eth0 parent 1:10"]);
        [&netem, &below].into_iter().for_each(pasteable);
        assert!(described("pfifo", &numbers(&[2])).object.contains("limit 2 packets"));
        assert!(
            described("mystery", &[1, 2, 3])
                .object
                .starts_with("queue mystery 8001: at the root of eth0: 17")
        );
        assert_eq!(read(&message("tbf", &tbf), 8), None, "of another interface");
        assert_eq!(read(&[0; 3], 0), None);
    }
}
