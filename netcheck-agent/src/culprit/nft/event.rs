//! What nftables tells of a packet that is traced (net/netfilter/nf_tables_trace.c). Pure.

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
    /// To another chain, by `jump` or `goto`.
    To(String),
    /// Something else, after which it goes on.
    On,
}

/// One step of a traced packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceEvent {
    /// The same for all steps of one packet, as good as unique for a second.
    pub(crate) id: u32,
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
            3 => (attributes.long(HANDLE)?, verdict(attributes.nested(VERDICT)?)?),
            _ => (0, Verdict::On),
        };
        Some(Self {
            id: attributes.number(ID)?,
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

/// NF_DROP, NF_ACCEPT, NF_QUEUE (include/uapi/linux/netfilter.h); the upper half says more of a drop or names the queue.
const fn plain(code: u32) -> Verdict {
    if code.cast_signed() < 0 && code >> 16 == 0xffff {
        return Verdict::On;
    }
    match code & 0xff {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        3 => Verdict::Queue,
        _ => Verdict::On,
    }
}
