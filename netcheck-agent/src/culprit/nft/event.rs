//! What nftables reports of a packet that is traced (net/netfilter/nf_tables_trace.c). Pure.

use std::net::IpAddr;

use super::attributes::{Attributes, Message};

/// `NFNL_SUBSYS_NFTABLES`, and its message `NFT_MSG_TRACE`.
const TRACE: u16 = 10 << 8 | 17;

// enum nft_trace_attributes.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const TYPE: u16 = 4;
const VERDICT: u16 = 5;
const ID: u16 = 6;
const NETWORK_HEADER: u16 = 8;
const POLICY: u16 = 16;

/// What a rule or a chain's policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The packet ends here; of `reject` with an answer.
    Drop,
    /// It leaves this base chain.
    Accept,
    /// A program in user space decides.
    Queue,
    /// The rule keeps it: for another interface (`fwd`), or to answer in its target's place (`synproxy`).
    Stolen,
    /// To another chain, by `jump` or `goto`.
    To(String),
    /// Something else, after which it goes on.
    On,
}

/// What an IP header says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Of layer 4.
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
}

impl Packet {
    fn read(header: &[u8]) -> Option<Self> {
        let v4 = |at: usize| header.get(at..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets));
        let v6 = |at: usize| header.get(at..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets));
        Some(match header.first()? >> 4 {
            4 => Self { protocol: *header.get(9)?, source: v4(12)?, destination: v4(16)? },
            6 => Self { protocol: *header.get(6)?, source: v6(8)?, destination: v6(24)? },
            _ => return None,
        })
    }

    /// How much two headers look like one packet's at two hooks; none: they can't be. Translation changes an address.
    pub(crate) fn likeness(&self, other: &Self) -> Option<u8> {
        let same = self.protocol == other.protocol && self.source.is_ipv4() == other.source.is_ipv4();
        let ends = u8::from(self.source == other.source) + u8::from(self.destination == other.destination);
        same.then_some(ends)
    }
}

/// One step of a traced packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceEvent {
    /// The same for all steps of one packet within one hook, and often, not always, at the next hook.
    pub(crate) id: u32,
    /// Whose packet it is: reported with its first step at each hook.
    pub(crate) packet: Option<Packet>,
    /// `NFPROTO_*` of the table.
    pub(crate) family: u8,
    pub(crate) table: String,
    pub(crate) chain: String,
    /// 0: the chain's policy.
    pub(crate) handle: u64,
    pub(crate) verdict: Verdict,
}

impl TraceEvent {
    /// Reads one. None of other messages, and of such as lack what every trace has.
    pub(crate) fn read(message: &Message<'_>) -> Option<Self> {
        if message.kind != TRACE {
            return None;
        }
        let (family, attributes) = message.netfilter()?;
        // enum nft_trace_types: 1 policy, 2 return, 3 rule.
        let (handle, verdict) = match attributes.number(TYPE)? {
            1 => (0, plain(attributes.number(POLICY)?)),
            3 => match attributes.long(HANDLE) {
                Some(handle) => (handle, verdict(attributes.nested(VERDICT)?)?),
                // The packet as it enters the chain, before any rule.
                None => (0, Verdict::On),
            },
            _ => (0, Verdict::On),
        };
        Some(Self {
            id: attributes.number(ID)?,
            packet: attributes.get(NETWORK_HEADER).and_then(Packet::read),
            family,
            table: attributes.text(TABLE)?,
            chain: attributes.text(CHAIN)?,
            handle,
            verdict,
        })
    }
}

/// A verdict with its chain (enum nft_verdict_attributes).
pub(super) fn verdict(attributes: Attributes<'_>) -> Option<Verdict> {
    let code = attributes.number(1)?;
    // NFT_JUMP and NFT_GOTO are -3 and -4.
    Some(match code.cast_signed() {
        -3 | -4 => Verdict::To(attributes.text(2).unwrap_or_default()),
        _ => plain(code),
    })
}

/// NF_DROP, NF_ACCEPT, NF_STOLEN, NF_QUEUE (include/uapi/linux/netfilter.h); the upper half says more of a drop or names the queue.
const fn plain(code: u32) -> Verdict {
    if code.cast_signed() < 0 && code >> 16 == 0xffff {
        return Verdict::On;
    }
    match code & 0xff {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        2 => Verdict::Stolen,
        3 => Verdict::Queue,
        _ => Verdict::On,
    }
}
