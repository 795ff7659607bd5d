//! netcheck's kernel programs.
//!
//! Four classifiers, for each direction and for devices with and without a link layer, on every interface that
//! matters of a node; and one tracepoint program that sees every packet that the kernel drops. The classifiers let
//! every packet pass (`TCX_NEXT`) and write into none but replies to netcheck's own probes.
//!
//! A packet that is not netcheck's costs `filter` and nothing else. Rare conditions are logged, where the loader asks
//! for it (`AYA_LOG_LEVEL`); everything that gets lost is counted in any case.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value they would be copied to a small stack"
)]
#![expect(clippy::needless_pass_by_value, reason = "the attributes hand contexts over by value")]

mod drops;
mod filter;
mod hook;
mod maps;
mod names;
mod place;
mod reflect;
mod skb;
mod slots;
mod stamp;

use aya_ebpf::macros::{btf_tracepoint, classifier};
use aya_ebpf::programs::{BtfTracePointContext, TcContext};
use netcheck_common::packet::Start;

use crate::drops::Naming;

/// `TCX_NEXT` and `TC_ACT_UNSPEC`: on to the next program, no verdict of ours (include/uapi/linux/bpf.h).
const NEXT: i32 = -1;

#[classifier]
pub(crate) fn netcheck_in_l2(ctx: TcContext) -> i32 {
    hook::packet(&ctx, Start::Ethernet, false);
    NEXT
}

#[classifier]
pub(crate) fn netcheck_out_l2(ctx: TcContext) -> i32 {
    hook::packet(&ctx, Start::Ethernet, true);
    NEXT
}

#[classifier]
pub(crate) fn netcheck_in_l3(ctx: TcContext) -> i32 {
    hook::packet(&ctx, Start::Ip, false);
    NEXT
}

#[classifier]
pub(crate) fn netcheck_out_l3(ctx: TcContext) -> i32 {
    hook::packet(&ctx, Start::Ip, true);
    NEXT
}

#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn netcheck_drops(ctx: BtfTracePointContext) -> i32 {
    drops::dropped(&ctx, Naming::Kernel);
    0
}

/// The same for kernels that can't name their functions, or don't let this program ask for it.
#[btf_tracepoint(function = "kfree_skb")]
pub(crate) fn netcheck_drops_bare(ctx: BtfTracePointContext) -> i32 {
    drops::dropped(&ctx, Naming::None);
    0
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel gives GPL-only helpers (bpf_probe_read_kernel) to programs of a compatible licence only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
