//! nftables: which rule drops a probe, by the kernel's own tracing, and what that rule says.
//!
//! [`request`] writes messages, [`attributes`], [`event`] and [`rule`] read them, [`owner`] guesses whose a rule is; all of
//! these are pure. [`trace`] talks to the kernel.

pub(crate) mod attributes;
pub(crate) mod event;
pub(crate) mod owner;
pub(crate) mod request;
pub(crate) mod rule;
pub(crate) mod trace;

#[cfg(test)]
mod tests;

/// nft's word for a family of tables (`NFPROTO_*`).
pub(crate) const fn family_name(family: u8) -> &'static str {
    match family {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}
