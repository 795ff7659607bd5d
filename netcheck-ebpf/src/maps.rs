//! The maps and globals, and the counters that every loss of information goes to.

use core::cell::UnsafeCell;

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use netcheck_common::abi::{
    DropBank, FlowKey, FlowValue, FunctionName, KernelOffsets, Reached, ReflectKey, ReflectValue,
    SourceBudget, TupleKey, TupleValue, counters, maps,
};
use netcheck_common::header::{HEADER_LEN, REFLECTED_LEN};
use netcheck_common::packet::{Address, Packet};

use crate::skb::WINDOW;

/// `BPF_F_NO_PREALLOC`: memory only for entries that exist.
const NO_PREALLOC: u32 = 1;

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(maps::EVENTS_BYTES, 0);
#[map]
pub(crate) static PORTS: Array<u64> = Array::with_max_entries(maps::PORTS_ENTRIES, 0);
#[map]
pub(crate) static WATCHED_PORTS: Array<u64> = Array::with_max_entries(maps::PORTS_ENTRIES, 0);
#[map]
pub(crate) static FLOWS: HashMap<FlowKey, FlowValue> =
    HashMap::with_max_entries(maps::FLOWS_ENTRIES, NO_PREALLOC);
#[map]
pub(crate) static ADDRESSES: HashMap<Address, u32> =
    HashMap::with_max_entries(maps::ADDRESSES_ENTRIES, NO_PREALLOC);
#[map]
pub(crate) static REFLECT: LruHashMap<ReflectKey, ReflectValue> =
    LruHashMap::with_max_entries(maps::REFLECT_ENTRIES, 0);
#[map]
pub(crate) static REFLECT_SOURCES: LruHashMap<Address, SourceBudget> =
    LruHashMap::with_max_entries(maps::REFLECT_SOURCES_ENTRIES, 0);
#[map]
pub(crate) static TUPLES: LruHashMap<TupleKey, TupleValue> =
    LruHashMap::with_max_entries(maps::TUPLES_ENTRIES, 0);
#[map]
pub(crate) static TRANSLATED: LruHashMap<TupleKey, FlowValue> =
    LruHashMap::with_max_entries(maps::TRANSLATED_ENTRIES, 0);
#[map]
pub(crate) static POD_VETHS: LruHashMap<Address, u32> =
    LruHashMap::with_max_entries(maps::POD_VETHS_ENTRIES, 0);
#[map]
pub(crate) static POD_HARDWARE: LruHashMap<u32, [u8; 6]> =
    LruHashMap::with_max_entries(maps::POD_VETHS_ENTRIES, 0);
#[map]
pub(crate) static INTERFACES: HashMap<u32, u32> =
    HashMap::with_max_entries(maps::INTERFACES_ENTRIES, NO_PREALLOC);
#[map]
pub(crate) static SCOPE: HashMap<u32, u8> = HashMap::with_max_entries(maps::SCOPE_ENTRIES, NO_PREALLOC);
#[map]
pub(crate) static REACHED: LruHashMap<u32, Reached> = LruHashMap::with_max_entries(maps::REACHED_ENTRIES, 0);
#[map]
pub(crate) static DROPS: PerCpuArray<DropBank> = PerCpuArray::with_max_entries(maps::DROPS_ENTRIES, 0);
#[map]
pub(crate) static NAMES: HashMap<u64, FunctionName> = HashMap::with_max_entries(maps::NAMES_ENTRIES, 0);
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counters::COUNT, 0);

/// [`maps::DROP_BANK`].
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.bank")]
pub(crate) static DROP_BANK: Global<u32> = Global::new(0);

/// [`maps::PORT_PREFILTER`].
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.prefilter")]
pub(crate) static PORT_PREFILTER: Global<[u8; maps::PORT_PREFILTER_BYTES]> =
    Global::new([0; maps::PORT_PREFILTER_BYTES]);

/// Bytes that the programs write too.
#[repr(transparent)]
pub(crate) struct Prefilter(UnsafeCell<[u8; maps::TRANSLATED_BYTES]>);

// SAFETY: only single bytes are loaded and stored, by any CPU at any time.
unsafe impl Sync for Prefilter {}

impl Prefilter {
    const fn empty() -> Self {
        Self(UnsafeCell::new([0; maps::TRANSLATED_BYTES]))
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> *mut u8 {
        self.0.get().cast::<u8>().wrapping_add(at)
    }
}

/// [`maps::TRANSLATED_PREFILTERS`].
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.nat0")]
static TRANSLATED_PREFILTER_0: Prefilter = Prefilter::empty();
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.nat1")]
static TRANSLATED_PREFILTER_1: Prefilter = Prefilter::empty();

#[unsafe(no_mangle)]
pub(crate) static OWN_SESSION: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static RESPONDER_PORT: Global<u16> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static SCOPED: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static CLOCK_OFFSET_NS: Global<i64> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static OWN_NETNS: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Global<KernelOffsets> = Global::new(KernelOffsets {
    valid: 0,
    skb_head: 0,
    skb_network_header: 0,
    skb_mac_header: 0,
    skb_dev: 0,
    skb_sk: 0,
    skb_iif: 0,
    skb_refdst: 0,
    dev_ifindex: 0,
    dev_net: 0,
    dev_priv: 0,
    dev_list: 0,
    net_devices: 0,
    net_inum: 0,
    sk_net: 0,
    sk_num: 0,
    dst_dev: 0,
    dst_input: 0,
    reason_no_socket: 0,
    reason_not_specified: 0,
    reason_netfilter_drop: 0,
    reason_consumed: 0,
});

/// Room for what does not fit on a program's 512 bytes of stack.
pub(crate) struct Scratch {
    /// The packet at hand.
    pub(crate) packet: Packet,
    /// Its probe header, as on the wire.
    pub(crate) header: [u8; HEADER_LEN],
    /// What the reflector writes.
    pub(crate) reflected: [u8; REFLECTED_LEN],
    /// A new entry of [`REFLECT`].
    pub(crate) fresh: ReflectValue,
}

/// The same for the drop tracepoint.
pub(crate) struct DropScratch {
    /// The packet at hand.
    pub(crate) packet: Packet,
    /// Its probe header, as on the wire.
    pub(crate) header: [u8; HEADER_LEN],
    /// Its first bytes.
    pub(crate) window: [u8; WINDOW],
    /// A function's name.
    pub(crate) name: FunctionName,
}

/// A classifier's: one at a time on a CPU, since both directions run with softirqs off.
#[map]
static HOOK_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);
/// The drop tracepoint's: newer kernels do not let it interrupt itself.
#[map]
static DROP_SCRATCH: PerCpuArray<DropScratch> = PerCpuArray::with_max_entries(1, 0);

/// Records of foreign flows in the current second.
pub(crate) struct Budget {
    pub(crate) second: u64,
    pub(crate) used: u64,
}

#[map]
pub(crate) static FOREIGN_BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);

/// The classifier's scratch room.
#[inline(always)]
pub(crate) fn hook_scratch() -> Option<&'static mut Scratch> {
    // SAFETY: nobody else uses it while this program runs; all bit patterns are valid.
    HOOK_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// The drop tracepoint's scratch room.
#[inline(always)]
pub(crate) fn drop_scratch() -> Option<&'static mut DropScratch> {
    // SAFETY: as above.
    DROP_SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: a slot of this CPU's own array; a classifier that the tracepoint interrupts may cost it one count.
        unsafe { *counter += 1 };
    }
}

/// Now, CLOCK_MONOTONIC in nanoseconds.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    // SAFETY: takes nothing and can't fail.
    let now = unsafe { aya_ebpf::helpers::generated::bpf_ktime_get_ns() };
    now.wrapping_add_signed(CLOCK_OFFSET_NS.load())
}

/// Whether a port's bit is set.
#[inline(always)]
pub(crate) fn has_port(bits: &Array<u64>, port: u16) -> bool {
    bits.get(u32::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
}

/// Not 0 where a port with this high byte may be in [`PORTS`].
#[inline(always)]
pub(crate) fn port_prefilter(high: u8) -> u8 {
    // SAFETY: any byte is an index of so many bytes.
    unsafe { (&raw const PORT_PREFILTER).cast::<u8>().add(usize::from(high)).read_volatile() }
}

/// Not 0 where a flow with these ports may be in [`TRANSLATED`].
#[inline(always)]
pub(crate) fn translated_prefilter(one: u16, other: u16) -> u8 {
    let at = maps::translated_byte(one, other);
    // SAFETY: that is an index of both, whatever the ports are.
    unsafe {
        TRANSLATED_PREFILTER_0.byte(at).read_volatile() | TRANSLATED_PREFILTER_1.byte(at).read_volatile()
    }
}

/// Lets packets with these ports pass [`translated_prefilter`]. Stores of one byte: no other CPU's is lost by them.
#[inline(always)]
pub(crate) fn set_translated_prefilter(one: u16, other: u16) {
    let at = maps::translated_byte(one, other);
    // SAFETY: as above.
    unsafe {
        TRANSLATED_PREFILTER_0.byte(at).write_volatile(1);
        TRANSLATED_PREFILTER_1.byte(at).write_volatile(1);
    }
}

/// What is known of an address: [`netcheck_common::abi::address_flags`]; 0 where nothing is.
#[inline(always)]
pub(crate) fn address_flags(address: &Address) -> u32 {
    // SAFETY: the value is a plain integer; a racing update shows the old or the new one.
    unsafe { ADDRESSES.get(address) }.copied().unwrap_or(0)
}
