//! Names of kernel functions: of the one that drops a packet, and of those that called it.
//!
//! The kernel hides the addresses of its functions from user space that has no CAP_SYSLOG, but names them for its own
//! programs. That costs, so it is done once for each address: the names stay in [`NAMES`].

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_snprintf};
use aya_ebpf::programs::BtfTracePointContext;
use netcheck_common::abi::{FRAMES, FunctionName, NAME_LEN, counters};

use crate::maps::{NAMES, count};

/// A function by an address in it (Documentation/core-api/printk-formats.rst). The verifier takes formats only from
/// memory that nobody can write to.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata")]
static FUNCTION_FORMAT: [u8; 4] = *b"%ps\0";

/// Sees to it that the function that holds an address has its name in [`NAMES`].
#[inline(always)]
pub(crate) fn keep_name(address: u64, room: &mut FunctionName) {
    // SAFETY: only its presence matters.
    if address == 0 || unsafe { NAMES.get(address) }.is_some() {
        return;
    }
    let mut arguments = [address];
    // SAFETY: the helper writes at most so many bytes into the room, and reads one argument.
    let len = unsafe {
        bpf_snprintf(
            room.bytes.as_mut_ptr().cast(),
            NAME_LEN as u32,
            FUNCTION_FORMAT.as_ptr().cast(),
            arguments.as_mut_ptr(),
            size_of::<u64>() as u32,
        )
    };
    if len > 0 && NAMES.insert(address, &*room, 0).is_err() {
        count(counters::NAMES_LOST);
    }
}

/// Writes who called whom down to here, innermost first, and keeps their names.
#[inline(always)]
pub(crate) fn callers(ctx: &BtfTracePointContext, stack: &mut [u64; FRAMES], room: &mut FunctionName) {
    // SAFETY: the helper writes at most so many bytes into the array, and does not touch what is behind the last frame.
    unsafe { bpf_get_stack(ctx.as_ptr(), stack.as_mut_ptr().cast(), size_of::<[u64; FRAMES]>() as u32, 0) };
    for frame in stack {
        keep_name(*frame, room);
    }
}
