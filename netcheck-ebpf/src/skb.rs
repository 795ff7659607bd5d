//! Bytes of packets: of the skb that a classifier was given, and of kernel memory for the drop tracepoint.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel as bpf_probe_read_kernel_raw, bpf_skb_load_bytes};
use aya_ebpf::programs::TcContext;
use netcheck_common::packet::Bytes;

/// The packet of a classifier, from its first byte (link layer where the device has one).
pub(crate) struct Skb<'a>(pub(crate) &'a TcContext);

impl Bytes for Skb<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes exactly N bytes to a buffer of N bytes, or fails; it reads paged data too.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.as_ptr().cast(), offset, bytes.as_mut_ptr().cast::<c_void>(), N as u32)
        };
        // SAFETY: the helper filled it.
        if result == 0 { Some(unsafe { bytes.assume_init() }) } else { None }
    }

    #[inline(always)]
    fn load_into<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        // SAFETY: as above.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.as_ptr().cast(), offset, into.as_mut_ptr().cast::<c_void>(), N as u32)
        };
        result == 0
    }
}

/// Kernel memory from an address on. Reads that fault are `None`.
pub(crate) struct Memory(pub(crate) u64);

impl Bytes for Memory {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        read(self.0.wrapping_add(u64::from(offset)))
    }

    #[inline(always)]
    fn load_into<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        let from = self.0.wrapping_add(u64::from(offset)) as *const c_void;
        // SAFETY: the helper checks the address and writes N bytes to a buffer of N bytes.
        let result = unsafe { bpf_probe_read_kernel_raw(into.as_mut_ptr().cast::<c_void>(), N as u32, from) };
        result == 0
    }
}

/// Reads a value of kernel memory. `None` where that faults.
#[inline(always)]
pub(crate) fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address; T is plain data at all call sites.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
