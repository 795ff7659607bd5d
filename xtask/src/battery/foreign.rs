//! Another project's kernel program that drops what it sees, ARP apart. It goes with the value that stands for it.

use std::os::fd::OwnedFd;

use anyhow::Result;

use crate::bpf::{self, Insn, insn};

/// Where it sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// tcx ingress, behind whoever is there already.
    TcIngress,
    /// tcx egress, behind whoever is there already.
    TcEgress,
    /// XDP, in the mode that every device has.
    Xdp,
}

/// ETH_P_ARP as it lies in memory.
const ARP: i32 = u16::from_ne_bytes([0x08, 0x06]) as i32;

/// `return skb->protocol == ARP ? TCX_NEXT : TCX_DROP`.
const TC: [Insn; 5] = [
    insn(0x61, 0x12, 16, 0),
    insn(0xb7, 0x00, 0, -1),
    insn(0x15, 0x02, 1, ARP),
    insn(0xb7, 0x00, 0, 2),
    insn(0x95, 0, 0, 0),
];

/// `return data + 14 > data_end || ethertype == ARP ? XDP_PASS : XDP_DROP`.
const XDP: [Insn; 10] = [
    insn(0x61, 0x12, 0, 0),
    insn(0x61, 0x13, 4, 0),
    insn(0xbf, 0x24, 0, 0),
    insn(0x07, 0x04, 0, 14),
    insn(0xb7, 0x00, 0, 2),
    insn(0x2d, 0x34, 3, 0),
    insn(0x69, 0x25, 12, 0),
    insn(0x15, 0x05, 1, ARP),
    insn(0xb7, 0x00, 0, 1),
    insn(0x95, 0, 0, 0),
];

/// Attaches it to an interface of the caller's network namespace.
///
/// # Errors
/// If there is no such interface or the kernel refuses.
pub(crate) fn attach(interface: &str, at: At) -> Result<OwnedFd> {
    const XDP_FLAGS_SKB_MODE: u32 = 2;
    // Program type, attach type, flags of the link.
    let (prog_type, attach_type, flags, code): (u32, u32, u32, &[Insn]) = match at {
        At::TcIngress => (bpf::SCHED_CLS, bpf::AT_TCX_INGRESS, 0, &TC),
        At::TcEgress => (bpf::SCHED_CLS, bpf::AT_TCX_EGRESS, 0, &TC),
        At::Xdp => (bpf::XDP, bpf::AT_XDP, XDP_FLAGS_SKB_MODE, &XDP),
    };
    bpf::attach(&bpf::load(prog_type, code)?, interface, attach_type, flags)
}
