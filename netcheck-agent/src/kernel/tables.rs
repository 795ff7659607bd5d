//! The kernel programs' maps that user space touches.

use aya::Pod;
use aya::maps::{HashMap as BpfHashMap, MapData, PerCpuArray, RingBuf};
use netcheck_common::abi::{FlowKey, FlowValue, KernelAbi, ReflectKey, ReflectValue, TupleKey, TupleValue};

use super::drop_slots::DropSlots;
use super::ports::PortBits;
use super::translated::TranslatedPrefilters;

/// A type of the kernel ABI in aya's terms.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Abi<T>(pub(crate) T);

// SAFETY: KernelAbi promises plain data without implicit padding.
unsafe impl<T: KernelAbi> Pod for Abi<T> {}

/// All maps that user space touches.
pub(crate) struct Maps {
    pub(crate) events: RingBuf<MapData>,
    pub(crate) ports: PortBits,
    pub(crate) watched_ports: PortBits,
    pub(crate) flows: BpfHashMap<MapData, Abi<FlowKey>, Abi<FlowValue>>,
    pub(crate) addresses: BpfHashMap<MapData, [u8; 16], u32>,
    pub(crate) reflect: BpfHashMap<MapData, Abi<ReflectKey>, Abi<ReflectValue>>,
    pub(crate) tuples: BpfHashMap<MapData, Abi<TupleKey>, Abi<TupleValue>>,
    pub(crate) translated: TranslatedPrefilters,
    pub(crate) drops: DropSlots,
    pub(crate) counters: PerCpuArray<MapData, u64>,
}
