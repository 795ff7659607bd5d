//! What the operator asked of the hub.

use std::time::Duration;

use netcheck_analysis::cluster::selection::Selection;
use netcheck_analysis::matrix::SLOTS_PER_PATH;
use netcheck_analysis::plan::Timing;
use netcheck_analysis::plan::dns::{DnsSettings, NAME};
use netcheck_analysis::plan::http::HttpSettings;
use netcheck_analysis::plan::rotation::Rotation;

/// What a path that is probed takes in memory, and each of its windows: what `cargo xtask bench matrix` prints, and a fifth
/// more, for losses and services.
const PATH_BYTES: u64 = 1_000;
const WINDOW_BYTES: u64 = 24;
/// What the hub takes beside paths: programs, roster, history's buffers.
const OWN_BYTES: u64 = 64 << 20;
/// How many tenths of its limit it plans with: answers to readers and what an allocator holds back take the others.
const USED_TENTHS: u64 = 7;

/// What the operator asked of the hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Probing.
    pub timing: Timing,
    /// How many paths a node probes at a time.
    pub rotation: Rotation,
    /// How many bytes of memory the hub may take; none: any.
    pub memory_limit: Option<u64>,
    /// Name to ask DNS servers for.
    pub dns_name: String,
    /// Which pods and services are probed.
    pub selection: Selection,
    /// What else is asked of DNS servers, and how.
    pub dns: DnsSettings,
    /// What is asked for by HTTP.
    pub http: HttpSettings,
    /// Targets of other clusters are probed for whoever asks for it.
    pub peer_targets: bool,
    /// Architectures that agents' image is made for; of nodes of others none is expected. Empty: any.
    pub agent_archs: Vec<String>,
    /// Certificates that expire sooner are warned of.
    pub certificate_warning: Duration,
    /// How long windows, lost probes, paths that left the plan and agents of nodes that left the roster are kept.
    pub expire: Duration,
    /// Metrics by pairs of nodes, where these are not too many.
    pub pair_metrics: bool,
    /// The name that agents' client certificates bear, and no others; none: they are not distinguished.
    pub agent_cert_name: Option<String>,
    /// What path ids begin at, beside what the plan is made of: nobody but the hub knows it.
    pub path_seed: u64,
}

impl Settings {
    /// All pods and services, each path that often, DNS over UDP and no HTTP; else what `netcheck-hub --help` says.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            timing: Timing::every(interval),
            rotation: Rotation { interval, ..Rotation::default() },
            memory_limit: None,
            dns_name: NAME.to_owned(),
            selection: Selection::everything(),
            dns: DnsSettings::default(),
            http: HttpSettings::default(),
            peer_targets: false,
            agent_archs: Vec::new(),
            certificate_warning: Duration::ZERO,
            expire: Duration::from_secs(120),
            pair_metrics: false,
            agent_cert_name: None,
            path_seed: 0,
        }
    }

    /// How many paths that are probed the hub's memory holds; none where it has no limit.
    #[must_use]
    pub fn paths_held(&self) -> Option<u64> {
        let for_paths = |limit: u64| (limit / 10 * USED_TENTHS).saturating_sub(OWN_BYTES);
        self.memory_limit.map(|limit| for_paths(limit) / self.path_bytes())
    }

    /// The limit of memory that so many need.
    #[must_use]
    pub fn memory_for(&self, paths: u64) -> u64 {
        paths.saturating_mul(self.path_bytes()).saturating_add(OWN_BYTES).div_ceil(USED_TENTHS) * 10
    }

    fn path_bytes(&self) -> u64 {
        let each = self.timing.interval.max(self.timing.window).as_nanos().max(1);
        let windows = (self.expire.as_nanos() / each).min(SLOTS_PER_PATH as u128);
        PATH_BYTES + WINDOW_BYTES * windows as u64
    }

    /// The range that readers get when they name none.
    #[must_use]
    pub fn default_range(&self) -> Duration {
        // Two exchanges at least.
        Duration::from_secs(10).max(self.timing.interval * 3).max(self.timing.exchange.interval * 2)
    }
}
