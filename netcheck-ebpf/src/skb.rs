//! Bytes of packets: of the skb that a classifier was given, and of kernel memory for the drop tracepoint.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel as bpf_probe_read_kernel_raw, bpf_skb_load_bytes};
use aya_ebpf::programs::TcContext;
use netcheck_common::packet::{Address, Bytes};

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

/// How much of a packet in kernel memory is read with few calls: down to the ports inside a tunnel's packet with
/// ordinary headers.
pub(crate) const WINDOW: usize = 128;
/// How much of that first: down to the first bytes behind ordinary headers.
pub(crate) const PREFIX: usize = WINDOW / 2;

/// A packet in kernel memory from an address on, of which nothing but the first [`PREFIX`] bytes was read.
pub(crate) struct Prefix<'a> {
    address: u64,
    room: &'a mut [u8; WINDOW],
}

impl<'a> Prefix<'a> {
    /// Reads them into `room`. An skb's buffer ends with more bytes of the kernel's own than the whole window has
    /// (include/linux/skbuff.h, skb_shared_info), so that no packet is too short. `None` where reading faults.
    #[inline(always)]
    pub(crate) fn at(address: u64, room: &'a mut [u8; WINDOW]) -> Option<Self> {
        let (first, _) = halves(room);
        if read_into(address, first) { Some(Self { address, room }) } else { None }
    }

    /// Those bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8; PREFIX] {
        // SAFETY: the first half of the room.
        unsafe { &*self.room.as_ptr().cast() }
    }

    /// Reads the rest of the window. `None` where that faults.
    #[inline(always)]
    pub(crate) fn widen(self) -> Option<Window<'a>> {
        let (_, rest) = halves(self.room);
        if read_into(self.address.wrapping_add(PREFIX as u64), rest) {
            Some(Window { address: self.address, first: self.room })
        } else {
            None
        }
    }
}

#[inline(always)]
fn halves(room: &mut [u8; WINDOW]) -> (&mut [u8; PREFIX], &mut [u8; WINDOW - PREFIX]) {
    let start = room.as_mut_ptr();
    // SAFETY: both lie in the room, one behind the other.
    unsafe { (&mut *start.cast(), &mut *start.add(PREFIX).cast()) }
}

/// A packet in kernel memory from an address on. Its first bytes were read, what lies behind them is read where it is
/// wanted.
pub(crate) struct Window<'a> {
    address: u64,
    first: &'a [u8; WINDOW],
}

impl Bytes for Window<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let at = offset as usize;
        if at <= WINDOW - N {
            // SAFETY: inside the array, as just checked; a checked slice brings a panic that the verifier has to follow.
            return Some(unsafe { self.first.as_ptr().add(at).cast::<[u8; N]>().read_unaligned() });
        }
        read(self.address.wrapping_add(u64::from(offset)))
    }

    #[inline(always)]
    fn load_into<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        let at = offset as usize;
        // Byte by byte, since nothing is known to be aligned: more than an address costs more than the call.
        if N <= size_of::<Address>() && at <= WINDOW - N {
            // SAFETY: inside the array, as just checked, and the two don't overlap.
            unsafe { self.first.as_ptr().add(at).copy_to_nonoverlapping(into.as_mut_ptr(), N) };
            return true;
        }
        read_into(self.address.wrapping_add(u64::from(offset)), into)
    }
}

/// Reads kernel memory into memory that the caller has. False where that faults.
#[inline(always)]
fn read_into<const N: usize>(address: u64, into: &mut [u8; N]) -> bool {
    let from = address as *const c_void;
    // SAFETY: the helper checks the address and writes N bytes to a buffer of N bytes.
    let result = unsafe { bpf_probe_read_kernel_raw(into.as_mut_ptr().cast::<c_void>(), N as u32, from) };
    result == 0
}

/// Reads a value of kernel memory. `None` where that faults.
#[inline(always)]
pub(crate) fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address; T is plain data at all call sites.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Reads a member of a kernel structure that the verifier knows the type of: a load, where [`read`] is a call. What
/// faults reads as zero.
///
/// # Safety
/// `base` must be such a structure to the verifier, and `offset` a constant that leads to a `T` in it.
#[inline(always)]
pub(crate) unsafe fn member<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the verifier checks the promise when the program is loaded.
    unsafe { base.add(offset as usize).cast::<T>().read_volatile() }
}
