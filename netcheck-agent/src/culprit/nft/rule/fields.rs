//! What a register holds, what that is called, and how its values are written. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4 or IPv6, by its length; shorter ones are prefixes.
    Address,
    /// A number in network order, however long.
    Wire,
    /// A protocol of layer 4.
    Protocol,
    /// `NFPROTO_*`.
    NetworkProtocol,
    /// Of Ethernet, in network order.
    EtherType,
    /// A number in the host's order.
    Number,
    /// Bits in the host's order.
    Mark,
    /// States of connection tracking, in the host's order.
    State,
    /// An interface's name; without its zero, the beginning of one.
    Name,
    /// A hardware address.
    Hardware,
    /// Nobody knows.
    Bytes,
}

/// What a register holds: one field of a packet, or some that lie side by side.
#[derive(Clone, Debug)]
pub(super) struct Field {
    parts: Vec<Part>,
    /// Only these bits.
    pub(super) mask: Option<Vec<u8>>,
    /// It was brought into the other byte order.
    pub(super) swapped: bool,
}

#[derive(Clone, Debug)]
struct Part {
    words: String,
    kind: Kind,
    /// Of its value; 0: all there is.
    length: usize,
}

/// What earlier comparisons of a rule say of its packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// 4 or 6; 0: not known.
    version: u8,
    /// Of layer 4; 0: not known.
    protocol: u8,
}

impl Context {
    /// Of a table's family.
    pub(super) const fn of(family: u8) -> Self {
        let version = match family {
            2 => 4,
            10 => 6,
            _ => 0,
        };
        Self { version, protocol: 0 }
    }

    /// Something was found equal.
    pub(super) fn learn(&mut self, field: &Field, value: &[u8]) {
        let [part] = field.parts.as_slice() else { return };
        match (part.kind, value) {
            (Kind::NetworkProtocol, [2, ..]) | (Kind::EtherType, [0x08, 0x00, ..]) => self.version = 4,
            (Kind::NetworkProtocol, [10, ..]) | (Kind::EtherType, [0x86, 0xdd, ..]) => self.version = 6,
            (Kind::Protocol, [protocol, ..]) => self.protocol = *protocol,
            _ => {}
        }
    }
}

impl Field {
    /// One that is no part of a packet's headers.
    pub(super) fn single(words: String, kind: Kind) -> Self {
        Self { parts: vec![Part { words, kind, length: 0 }], mask: None, swapped: false }
    }

    /// A value that the rule itself brings.
    pub(super) fn literal(value: &[u8]) -> Self {
        let number = value.first_chunk().map(|bytes| format!("{:#x}", u32::from_ne_bytes(*bytes)));
        Self::single(number.unwrap_or_else(|| hex(value)), Kind::Bytes)
    }

    /// What it is called.
    pub(super) fn words(&self) -> String {
        self.parts.iter().map(|part| part.words.as_str()).collect::<Vec<_>>().join(" . ")
    }

    /// It as something that is set.
    pub(super) fn shown(&self) -> String {
        match &self.mask {
            Some(mask) => format!("{} & {}", self.words(), hex(mask)),
            None => self.words(),
        }
    }

    /// A value as this field's.
    pub(super) fn value(&self, bytes: &[u8]) -> String {
        match self.parts.first() {
            Some(part) => write(part.kind, bytes, self.swapped),
            None => hex(bytes),
        }
    }

    /// A comparison.
    pub(super) fn compared(&self, sign: &str, value: &[u8]) -> String {
        if let (Some(mask), [part]) = (&self.mask, self.parts.as_slice()) {
            return masked(part, mask, sign, value);
        }
        let mut rest = value;
        let mut words = Vec::new();
        for part in &self.parts {
            let length = if part.length == 0 { rest.len() } else { part.length.min(rest.len()) };
            let (own, other) = rest.split_at(length);
            rest = other;
            words.push(format!("{} {sign}{}", part.words, write(part.kind, own, self.swapped)));
        }
        words.join(" ")
    }
}

/// A comparison of some bits.
fn masked(part: &Part, mask: &[u8], sign: &str, value: &[u8]) -> String {
    let Part { words, kind, .. } = part;
    let none = value.iter().all(|&byte| byte == 0);
    match kind {
        // `ct state new`: some of these bits are not zero.
        Kind::State if none && sign == "!= " => format!("{words} {}", write(*kind, mask, false)),
        Kind::State if none && sign.is_empty() => format!("{words} != {}", write(*kind, mask, false)),
        Kind::Address => match prefix(mask) {
            Some(bits) => format!("{words} {sign}{}/{bits}", write(*kind, value, false)),
            None => format!("{words} & {} {sign}{}", write(*kind, mask, false), write(*kind, value, false)),
        },
        kind => {
            let sign = if sign.is_empty() { "== " } else { sign };
            format!("{words} & {} {sign}{}", write(*kind, mask, false), write(*kind, value, false))
        }
    }
}

/// The length of the prefix that a mask is.
fn prefix(mask: &[u8]) -> Option<u32> {
    let ones: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let mut leading = 0;
    for byte in mask {
        leading += byte.leading_ones();
        if *byte != 0xff {
            break;
        }
    }
    (leading == ones).then_some(ones)
}

/// A value in nft's words.
fn write(kind: Kind, bytes: &[u8], swapped: bool) -> String {
    match kind {
        Kind::Address => address(bytes),
        Kind::Wire => number(bytes, true).map_or_else(|| hex(bytes), |number| number.to_string()),
        Kind::Number => number(bytes, swapped).map_or_else(|| hex(bytes), |number| number.to_string()),
        Kind::Mark => number(bytes, swapped).map_or_else(|| hex(bytes), |number| format!("{number:#x}")),
        Kind::State => number(bytes, swapped).map_or_else(|| hex(bytes), states),
        Kind::Name => match bytes.contains(&0) {
            true => format!("{:?}", super::text(bytes)),
            false => format!("\"{}*\"", super::text(bytes)),
        },
        Kind::Protocol => match bytes {
            [1, ..] => "icmp".to_owned(),
            [6, ..] => "tcp".to_owned(),
            [17, ..] => "udp".to_owned(),
            [58, ..] => "ipv6-icmp".to_owned(),
            [132, ..] => "sctp".to_owned(),
            [other, ..] => other.to_string(),
            [] => "…".to_owned(),
        },
        Kind::NetworkProtocol => match bytes {
            [2, ..] => "ipv4".to_owned(),
            [10, ..] => "ipv6".to_owned(),
            _ => hex(bytes),
        },
        Kind::EtherType => match bytes {
            [0x08, 0x00, ..] => "ip".to_owned(),
            [0x86, 0xdd, ..] => "ip6".to_owned(),
            [0x08, 0x06, ..] => "arp".to_owned(),
            [0x81, 0x00, ..] => "vlan".to_owned(),
            _ => hex(bytes),
        },
        Kind::Hardware => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
        Kind::Bytes => hex(bytes),
    }
}

/// A whole address, or the bytes of a prefix.
fn address(bytes: &[u8]) -> String {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map_or_else(String::new, |bytes| Ipv4Addr::from(*bytes).to_string()),
        16 => bytes.first_chunk::<16>().map_or_else(String::new, |bytes| Ipv6Addr::from(*bytes).to_string()),
        short @ 1..4 => {
            let mut whole = [0; 4];
            whole[..short].copy_from_slice(bytes);
            format!("{}/{}", Ipv4Addr::from(whole), short * 8)
        }
        short @ 5..16 => {
            let mut whole = [0; 16];
            whole[..short].copy_from_slice(bytes);
            format!("{}/{}", Ipv6Addr::from(whole), short * 8)
        }
        _ => hex(bytes),
    }
}

fn number(bytes: &[u8], big_endian: bool) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    let little = cfg!(target_endian = "little") && !big_endian;
    Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
}

/// Bits of `ct state` (NF_CT_STATE_BIT in include/net/netfilter/nf_conntrack.h).
fn states(bits: u64) -> String {
    let names = [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")];
    let known: Vec<&str> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if known.is_empty() || bits & !0b100_1111 != 0 { format!("{bits:#x}") } else { known.join(",") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(32).fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// What `meta` calls it (enum nft_meta_keys).
pub(super) fn meta(key: u32) -> (&'static str, Kind) {
    match key {
        0 => ("meta length", Kind::Number),
        1 => ("meta protocol", Kind::EtherType),
        2 => ("meta priority", Kind::Mark),
        3 => ("meta mark", Kind::Mark),
        8 => ("meta iiftype", Kind::Number),
        9 => ("meta oiftype", Kind::Number),
        4 => ("iif", Kind::Number),
        5 => ("oif", Kind::Number),
        6 => ("iifname", Kind::Name),
        7 => ("oifname", Kind::Name),
        10 => ("meta skuid", Kind::Number),
        11 => ("meta skgid", Kind::Number),
        12 => ("meta nftrace", Kind::Number),
        15 => ("meta nfproto", Kind::NetworkProtocol),
        16 => ("meta l4proto", Kind::Protocol),
        17 => ("meta ibrname", Kind::Name),
        18 => ("meta obrname", Kind::Name),
        19 => ("meta pkttype", Kind::Number),
        23 => ("meta cgroup", Kind::Number),
        24 => ("meta random", Kind::Number),
        _ => ("meta …", Kind::Bytes),
    }
}

type Known = (u32, u32, &'static str, Kind);

const ETHERNET: &[Known] = &[
    (0, 6, "ether daddr", Kind::Hardware),
    (6, 6, "ether saddr", Kind::Hardware),
    (12, 2, "ether type", Kind::EtherType),
];
const V4: &[Known] = &[
    (2, 2, "ip length", Kind::Wire),
    (4, 2, "ip id", Kind::Wire),
    (6, 2, "ip frag-off", Kind::Wire),
    (8, 1, "ip ttl", Kind::Wire),
    (9, 1, "ip protocol", Kind::Protocol),
    (10, 2, "ip checksum", Kind::Wire),
    (12, 4, "ip saddr", Kind::Address),
    (16, 4, "ip daddr", Kind::Address),
];
const V6: &[Known] = &[
    (4, 2, "ip6 length", Kind::Wire),
    (6, 1, "ip6 nexthdr", Kind::Protocol),
    (7, 1, "ip6 hoplimit", Kind::Wire),
    (8, 16, "ip6 saddr", Kind::Address),
    (24, 16, "ip6 daddr", Kind::Address),
];
const TCP: &[Known] =
    &[(0, 2, "tcp sport", Kind::Wire), (2, 2, "tcp dport", Kind::Wire), (13, 1, "tcp flags", Kind::Mark)];
const UDP: &[Known] =
    &[(0, 2, "udp sport", Kind::Wire), (2, 2, "udp dport", Kind::Wire), (4, 2, "udp length", Kind::Wire)];
const ICMP: &[Known] = &[(0, 1, "icmp type", Kind::Wire), (1, 1, "icmp code", Kind::Wire)];
const ICMP6: &[Known] = &[(0, 1, "icmpv6 type", Kind::Wire), (1, 1, "icmpv6 code", Kind::Wire)];
const PORTS: &[Known] = &[(0, 2, "th sport", Kind::Wire), (2, 2, "th dport", Kind::Wire)];

/// What a rule loads of a packet: base (enum nft_payload_bases), first byte, bytes.
pub(super) fn loaded(context: &Context, base: u32, offset: Option<u32>, length: Option<u32>) -> Field {
    let (offset, length) = (offset.unwrap_or_default(), length.unwrap_or_default().min(64));
    let (name, known): (&str, &[Known]) = match (base, context.version, context.protocol) {
        (0, ..) => ("ll", ETHERNET),
        (1, 4, _) => ("nh", V4),
        (1, 6, _) => ("nh", V6),
        (2, _, 1) => ("th", ICMP),
        (2, _, 6) => ("th", TCP),
        (2, _, 17) => ("th", UDP),
        (2, _, 58) => ("th", ICMP6),
        (2, ..) => ("th", PORTS),
        (1, ..) => ("nh", &[]),
        _ => ("ih", &[]),
    };
    let raw = || Part {
        words: format!("@{name},{},{}", offset.saturating_mul(8), length * 8),
        kind: Kind::Bytes,
        length: 0,
    };
    let parts = side_by_side(known, offset, length).unwrap_or_else(|| vec![raw()]);
    Field { parts, mask: None, swapped: false }
}

/// The known fields that these bytes are made of; the last may be the beginning of an address.
fn side_by_side(known: &[Known], mut offset: u32, mut length: u32) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while length > 0 {
        let &(_, whole, words, kind) = known.iter().find(|(at, ..)| *at == offset)?;
        let own = whole.min(length);
        if own < whole && kind != Kind::Address {
            return None;
        }
        parts.push(Part { words: words.to_owned(), kind, length: usize::try_from(own).ok()? });
        (offset, length) = (offset + own, length - own);
    }
    (!parts.is_empty()).then_some(parts)
}
