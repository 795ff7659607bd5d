//! The kernel side: loads the programs, attaches them, and hands their view to the probe engine.
//!
//! [`open`] gives two halves: an [`Attacher`], whose task follows the node's interfaces, and a source of events for the
//! engine's thread. What this kernel or these privileges do not allow is an [`OpenError`] (nothing works) or a line in
//! [`crate::model::observation::KernelStatus::degraded`] (something is missing); never a crash.

mod attach;
mod btf;
mod conntrack;
mod drop_slots;
mod drops;
mod events;
mod interfaces;
mod lingering;
mod links;
mod log;
mod ports;
mod refusal;
mod source;
mod stage;
mod symbols;
mod tables;
mod translated;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use aya::maps::{Array, HashMap, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use netcheck_common::abi::{globals, maps, scope};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::btf::BtfError;
use self::btf::DropReasons;
use self::drop_slots::DropSlots;
use self::drops::Drops;
use self::interfaces::Shared;
use self::ports::PortBits;
pub use self::refusal::OpenError;
use self::source::{Abi, EbpfSource, Maps, SourceParts};
use self::symbols::Symbols;
use self::translated::TranslatedPrefilters;
use crate::model::observation::KernelSource;

/// The kernel programs, as `cargo xtask build-ebpf` made them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETCHECK_EBPF_OBJECT_PATH"));

/// A setting that the kernel shows in its first network namespace only (net/core/sysctl_net_core.c).
const FIRST_ALONE: &str = "/proc/sys/net/core/netdev_max_backlog";

/// How classifiers are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcMode {
    /// Links of Linux 6.6 and newer: gone with their process.
    Tcx,
    /// Filters on a clsact qdisc: stay behind after a crash, and are swept at the next start.
    Netlink,
}

/// What the programs need to know.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Session in this agent's probe headers.
    pub session: u64,
    /// Where this node's responder listens.
    pub responder_port: u16,
    /// Inodes of the network namespaces whose drops count. Empty: found: all of
    /// this kernel's in its first namespace, else those of the agent's own and of the pods behind its links.
    pub netns_scope: Vec<u32>,
    /// Added to all stamps. For showing that nothing depends on clocks that agree.
    pub clock_offset_ns: i64,
    /// How to attach; none: tcx from Linux 6.6 on.
    pub tc_mode: Option<TcMode>,
    /// Have the kernel name its functions. False: as where it can't.
    pub kernel_names: bool,
}

/// Follows the node's interfaces. See [`open`].
pub struct Attacher(attach::Attacher);

impl Attacher {
    /// Runs until cancelled; when dropped, all hooks are detached.
    pub async fn run(self, shutdown: CancellationToken) {
        self.0.run(shutdown).await;
    }
}

/// Loads all programs and attaches them to the interfaces that are there. Must run in a tokio runtime.
///
/// # Errors
/// Where the kernel allows none of it. A missing drop tracepoint is no error: see the status.
pub async fn open(config: &KernelConfig) -> Result<(Attacher, Box<dyn KernelSource>), OpenError> {
    let shared = Arc::new(Shared::default());
    let mut reasons = DropReasons::default();
    let mut offsets = netcheck_common::abi::KernelOffsets::default();
    let own_btf = btf::Btf::read(Path::new(btf::VMLINUX)).and_then(|btf| {
        reasons = DropReasons::read(&btf)?;
        btf::offsets(&btf, &reasons)
    });
    let offsets_known = match own_btf {
        Ok(found) => {
            offsets = found;
            true
        }
        Err(error) => {
            shared.lock().degraded.push(format!("drops are not seen: {error}"));
            false
        }
    };
    let scoped = scope_of(&config.netns_scope);
    let offsets = Abi(offsets);
    let log_level = log::level();
    let own_netns = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |netns| netns.ino() as u32);
    let mut ebpf = EbpfLoader::new()
        .override_global(globals::OWN_SESSION, &config.session, true)
        .override_global(globals::RESPONDER_PORT, &config.responder_port, true)
        .override_global(globals::SCOPED, &scoped, true)
        .override_global(globals::CLOCK_OFFSET_NS, &config.clock_offset_ns, true)
        .override_global(globals::OWN_NETNS, &own_netns, true)
        .override_global(globals::OFFSETS, &offsets, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .load(OBJECT)
        .map_err(|source| OpenError::Load { source })?;
    attach::load_classifiers(&mut ebpf)
        .map_err(|(program, source)| OpenError::Program { program, source })?;
    let drops = if offsets_known { drops::attach(&mut ebpf, config.kernel_names) } else { Drops::default() };
    for line in &drops.missing {
        warn!("{line}");
    }
    shared.lock().degraded.extend(drops.missing);
    let source_maps = take_maps(&mut ebpf, config)?;
    let roles = take(&mut ebpf, maps::INTERFACES, HashMap::try_from)?;
    let names = take(&mut ebpf, maps::NAMES, HashMap::try_from)?;
    let symbols = Symbols::start(drops.named.then_some(names))
        .map_err(|source| OpenError::Io { what: "the symbols thread", source })?;
    let mode = config.tc_mode.unwrap_or_else(supported_mode);
    let mut attacher = attach::Attacher::new(ebpf, roles, Arc::clone(&shared), mode)
        .map_err(|source| OpenError::Io { what: "netlink", source })?;
    attacher.refresh().await;
    // Reading the kernel's BTF took memory that is of no further use.
    // SAFETY: gives free pages back; touches nothing that is in use.
    unsafe { libc::malloc_trim(0) };
    info!(?mode, hooks = shared.lock().hooks.len(), "kernel programs loaded");
    let source = EbpfSource::new(SourceParts {
        maps: source_maps,
        shared,
        reasons,
        symbols,
        own_netns,
        responder_port: config.responder_port,
        drops_seen: drops.seen,
    });
    Ok((Attacher(attacher), Box::new(source)))
}

/// Whose drops count. A node that is a container, as those of kind are, shares its kernel with others: its own are those
/// in its namespace and in the pods' that have a link to it. The kernel's first namespace is a node's that has the kernel
/// to itself: its pods may be linked in whichever way.
fn scope_of(listed: &[u32]) -> u8 {
    if !listed.is_empty() {
        scope::LISTED
    } else if Path::new(FIRST_ALONE).exists() {
        scope::ALL
    } else {
        scope::REACHED
    }
}

/// Removes what an agent on a kernel before 6.6 may have left behind. Returns how many filters.
#[must_use]
pub fn cleanup() -> usize {
    let names = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok()).map(|name| attach::sweep(&name)).sum()
}

/// tcx came with Linux 6.6.
fn supported_mode() -> TcMode {
    let kernel = aya::util::KernelVersion::current();
    if kernel.is_ok_and(|kernel| kernel < aya::util::KernelVersion::new(6, 6, 0)) {
        TcMode::Netlink
    } else {
        TcMode::Tcx
    }
}

fn take<M>(
    ebpf: &mut Ebpf,
    name: &'static str,
    as_type: impl FnOnce(aya::maps::Map) -> Result<M, MapError>,
) -> Result<M, OpenError> {
    let map = ebpf.take_map(name).ok_or(OpenError::Map { map: name, source: None })?;
    as_type(map).map_err(|source| OpenError::Map { map: name, source: Some(source) })
}

fn take_maps(ebpf: &mut Ebpf, config: &KernelConfig) -> Result<Maps, OpenError> {
    let mut scope: HashMap<_, u32, u8> = take(ebpf, maps::SCOPE, HashMap::try_from)?;
    for &netns in &config.netns_scope {
        scope
            .insert(netns, 1, 0)
            .map_err(|source| OpenError::Map { map: maps::SCOPE, source: Some(source) })?;
    }
    Ok(Maps {
        events: take(ebpf, maps::EVENTS, RingBuf::try_from)?,
        ports: PortBits::prefiltered(
            take(ebpf, maps::PORTS, Array::try_from)?,
            take(ebpf, maps::PORT_PREFILTER, Array::try_from)?,
        ),
        watched_ports: PortBits::new(take(ebpf, maps::WATCHED_PORTS, Array::try_from)?),
        flows: take(ebpf, maps::FLOWS, HashMap::try_from)?,
        addresses: take(ebpf, maps::ADDRESSES, HashMap::try_from)?,
        reflect: take(ebpf, maps::REFLECT, HashMap::try_from)?,
        tuples: take(ebpf, maps::TUPLES, HashMap::try_from)?,
        translated: TranslatedPrefilters::new(
            [
                take(ebpf, maps::TRANSLATED_PREFILTERS[0], Array::try_from)?,
                take(ebpf, maps::TRANSLATED_PREFILTERS[1], Array::try_from)?,
            ],
            Instant::now(),
        ),
        drops: DropSlots::new(
            take(ebpf, maps::DROPS, PerCpuArray::try_from)?,
            take(ebpf, maps::DROP_BANK, Array::try_from)?,
        ),
        counters: take(ebpf, maps::COUNTERS, PerCpuArray::try_from)?,
    })
}
