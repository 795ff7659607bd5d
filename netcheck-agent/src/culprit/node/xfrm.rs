//! The policy of IPsec that forbids a packet, or asks for what there is no state for (ip-xfrm(8), linux/xfrm.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netcheck_proto::v1;
use netlink_sys::protocols::NETLINK_XFRM;

use super::netlink::{dump, number};
use crate::culprit::nft::attributes::Attributes;

/// `XFRM_MSG_GETPOLICY`.
const GET_POLICY: u16 = 0x15;
/// `XFRM_MSG_GETSA`.
const GET_STATE: u16 = 0x12;
/// Length of `struct xfrm_userpolicy_info`.
const POLICY: usize = 168;
/// `XFRMA_TMPL`.
const TEMPLATES: u16 = 5;
/// Where `struct xfrm_usersa_info` has its id, behind the selector.
const STATE_ID: usize = 56;

/// Which packets a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
    Forward,
}

impl Way {
    const fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Forward => "fwd",
        }
    }
}

/// A policy as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    /// None: the selector names no family, and takes all addresses.
    networks: Option<(IpNet, IpNet)>,
    /// 0: any.
    protocol: u8,
    priority: u32,
    way: Way,
    blocks: bool,
    /// What it asks for: from, to, protocol.
    template: Option<(IpAddr, IpAddr, u8)>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) from: Option<IpAddr>,
    pub(super) to: IpAddr,
    /// IANA's number; none where it is not known.
    pub(super) protocol: Option<u8>,
}

/// The policy that takes such packets, if it forbids them or they can't fulfil it. `checked`: the kernel says that the packet
/// did not pass a policy, of whichever way; else it was to be sent.
pub(super) async fn find(packet: Packet, checked: bool) -> Option<v1::Culprit> {
    let policies = dump(NETLINK_XFRM, GET_POLICY, &[]).await.ok()?;
    let policies: Vec<Policy> = policies.iter().filter_map(|message| policy(message)).collect();
    if policies.is_empty() {
        return None;
    }
    let states = dump(NETLINK_XFRM, GET_STATE, &[]).await.ok()?;
    let states: Vec<(IpAddr, IpAddr)> = states.iter().filter_map(|message| state(message)).collect();
    culprit(&policies, &states, packet, checked)
}

/// An `xfrm_address_t` at this place. A selector without a family has none.
fn address(bytes: &[u8], at: usize, family: u16) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => bytes.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        libc::AF_INET6 => bytes.get(at..)?.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
        _ => None,
    }
}

fn family(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

/// A `struct xfrm_userpolicy_info` with its templates. Policies of single sockets are none of these.
fn policy(message: &[u8]) -> Option<Policy> {
    let header = message.get(..POLICY)?;
    let of = family(header, 40)?;
    let networks = match (address(header, 16, of), address(header, 0, of)) {
        (Some(from), Some(to)) => {
            Some((IpNet::new(from, header[43]).ok()?, IpNet::new(to, header[42]).ok()?))
        }
        _ => None,
    };
    let way = match header[160] {
        0 => Way::In,
        1 => Way::Out,
        2 => Way::Forward,
        _ => return None,
    };
    let templates = Attributes::new(message.get(POLICY..)?).get(TEMPLATES);
    let template = templates.and_then(|bytes| {
        let of = family(bytes, 24)?;
        Some((address(bytes, 28, of)?, address(bytes, 0, of)?, *bytes.get(20)?))
    });
    Some(Policy {
        networks,
        protocol: header[44],
        priority: number(header, 152)?,
        way,
        blocks: header[161] == 1,
        template,
    })
}

/// From where to where a state leads; none where its key is not agreed on yet.
fn state(message: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let selector = family(message, 40)?;
    // Behind the id stand the source, three lifetimes and numbers; then the family of both ends.
    let of = family(message, STATE_ID + 24 + 16 + 64 + 32 + 12 + 8).filter(|of| *of != 0).unwrap_or(selector);
    let is_larval = number(message, STATE_ID + 16)? == 0;
    (!is_larval).then_some((address(message, STATE_ID + 24, of)?, address(message, STATE_ID, of)?))
}

impl Policy {
    fn takes(&self, packet: Packet) -> bool {
        let within = self.networks.is_none_or(|(from, to)| {
            to.contains(&packet.to) && packet.from.is_none_or(|source| from.contains(&source))
        });
        within && (self.protocol == 0 || packet.protocol.is_none_or(|protocol| protocol == self.protocol))
    }

    /// In the words of ip-xfrm(8); none of a policy for both families, for which it has none.
    fn selector(&self) -> Option<String> {
        let (from, to) = self.networks?;
        let protocol = match self.protocol {
            0 => String::new(),
            protocol => format!(" proto {protocol}"),
        };
        Some(format!("src {} dst {}{protocol}", from.trunc(), to.trunc()))
    }
}

fn culprit(
    policies: &[Policy],
    states: &[(IpAddr, IpAddr)],
    packet: Packet,
    checked: bool,
) -> Option<v1::Culprit> {
    let takes = |policy: &&Policy| (checked || policy.way == Way::Out) && policy.takes(packet);
    let stopped = |policy: &&Policy| {
        let missing = policy.template.is_some_and(|(from, to, _)| {
            (checked && policy.way != Way::Out) || !states.contains(&(from, to))
        });
        policy.blocks || missing
    };
    // Of each way the kernel takes the one with the lowest number.
    let first =
        |way: Way| policies.iter().filter(takes).filter(|one| one.way == way).min_by_key(|it| it.priority);
    let policy = [Way::Out, Way::Forward, Way::In].into_iter().filter_map(first).find(stopped)?;
    let (way, selector) = (policy.way.word(), policy.selector());
    let said = selector.as_deref().unwrap_or("for both families");
    let (object, text, mend) = match policy.template.filter(|_| !policy.blocks) {
        None => (
            format!("IPsec policy dir {way} {said} action block"),
            "it forbids these packets".to_owned(),
            match &selector {
                Some(selector) => format!("unless it is meant: ip xfrm policy delete {selector} dir {way}"),
                None => "unless it is meant, the program that set it must take it back".to_owned(),
            },
        ),
        Some((from, to, protocol)) => (
            format!("IPsec policy dir {way} {said} asks for {} from {from} to {to}", protocol_name(protocol)),
            if policy.way == Way::Out {
                "there is no state (no key) for it, so nothing is sent"
            } else {
                "what comes in without it is dropped"
            }
            .to_owned(),
            "the program that agrees on keys (strongSwan, Libreswan, the CNI): is it up, and does its peer answer?"
                .to_owned(),
        ),
    };
    Some(v1::Culprit {
        kind: v1::CulpritKind::IpsecPolicy.into(),
        object,
        text,
        see: format!("ip xfrm policy list dir {way}; ip xfrm state"),
        mend,
        certainty: v1::Certainty::Inferred.into(),
        ..Default::default()
    })
}

const fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        50 => "esp",
        51 => "ah",
        108 => "comp",
        _ => "a transformation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::culprit::forms::commands;
    use crate::culprit::node::tests::pasteable;

    fn v4(bytes: &mut [u8], at: usize, address: &str) {
        let address: Ipv4Addr = address.parse().unwrap();
        bytes[at..at + 4].copy_from_slice(&address.octets());
    }

    /// From 172.30.0.11 to 172.30.0.12.
    fn message(way: u8, action: u8, priority: u32, template: bool) -> Vec<u8> {
        let mut bytes = vec![0; POLICY];
        v4(&mut bytes, 0, "172.30.0.12");
        v4(&mut bytes, 16, "172.30.0.11");
        bytes[40..42].copy_from_slice(&2u16.to_ne_bytes());
        (bytes[42], bytes[43]) = (32, 24);
        bytes[152..156].copy_from_slice(&priority.to_ne_bytes());
        (bytes[160], bytes[161]) = (way, action);
        if template {
            let mut wanted = vec![0; 64];
            v4(&mut wanted, 0, "172.30.0.12");
            v4(&mut wanted, 28, "172.30.0.11");
            wanted[20] = 50;
            wanted[24..26].copy_from_slice(&2u16.to_ne_bytes());
            bytes.extend([68u16.to_ne_bytes(), TEMPLATES.to_ne_bytes()].concat());
            bytes.extend(wanted);
        }
        bytes
    }

    fn packet(to: &str) -> Packet {
        Packet { from: Some("172.30.0.11".parse().unwrap()), to: to.parse().unwrap(), protocol: Some(1) }
    }

    #[test]
    fn a_policy_that_blocks_is_named_where_it_takes_the_packet() {
        let policies = [policy(&message(1, 1, 5, false)).unwrap()];
        let found = culprit(&policies, &[], packet("172.30.0.12"), false).unwrap();
        assert_eq!(found.object, "IPsec policy dir out src 172.30.0.0/24 dst 172.30.0.12/32 action block");
        assert_eq!(culprit(&policies, &[], packet("172.30.0.13"), false), None);
        pasteable(&found);
        let udp = [Policy { protocol: 17, ..policies[0].clone() }];
        let taken = Packet { protocol: Some(17), ..packet("172.30.0.12") };
        let found = culprit(&udp, &[], taken, false).unwrap();
        let delete = ["ip xfrm policy delete src 172.30.0.0/24 dst 172.30.0.12/32 proto 17 dir out"];
        assert_eq!(commands(&found.mend), delete);
        pasteable(&found);
        let any = [Policy { networks: None, ..policies[0].clone() }];
        let found = culprit(&any, &[], packet("172.30.0.12"), false).unwrap();
        assert_eq!(found.object, "IPsec policy dir out for both families action block");
        assert!(commands(&found.mend).is_empty(), "{}", found.mend);
        assert_eq!(culprit(&udp, &[], packet("172.30.0.12"), false), None);
        let into = [policy(&message(0, 1, 5, false)).unwrap()];
        assert_eq!(
            culprit(&into, &[], packet("172.30.0.12"), false),
            None,
            "nobody says that it was checked"
        );
        assert!(culprit(&into, &[], packet("172.30.0.12"), true).unwrap().object.contains("dir in"));
        // One that comes first lets it pass.
        let passes = [policies[0].clone(), policy(&message(1, 0, 1, false)).unwrap()];
        assert_eq!(culprit(&passes, &[], packet("172.30.0.12"), false), None);
        assert_eq!(policy(&message(1, 1, 5, false)[..100]), None);
    }

    #[test]
    fn a_policy_without_a_key_is_named_and_one_with_a_key_is_not() {
        let policies = [policy(&message(1, 0, 0, true)).unwrap()];
        let found = culprit(&policies, &[], packet("172.30.0.12"), false).unwrap();
        assert!(found.object.ends_with("asks for esp from 172.30.0.11 to 172.30.0.12"), "{}", found.object);
        pasteable(&found);
        let mut bytes = vec![0; 224];
        v4(&mut bytes, STATE_ID, "172.30.0.12");
        v4(&mut bytes, STATE_ID + 24, "172.30.0.11");
        bytes[212..214].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(state(&bytes), None, "the key is still being agreed on");
        bytes[STATE_ID + 16] = 1;
        let key = state(&bytes).unwrap();
        assert_eq!(culprit(&policies, &[key], packet("172.30.0.12"), false), None);
    }
}
