//! For how long other clusters' targets are probed. Pure; takes `now`.
//!
//! ```text
//!            begin                     begin by another holder
//!   (none) ────────► held by A ──────────────────────────────► held by B
//!     ▲                │  ▲ renew by A                             │
//!     └────────────────┘  └── until later                          │
//!       end by A, or expired ◄─────────────────────────────────────┘
//! ```
//!
//! One lease for each cluster: the newest holder's. Who lost it is answered so when it renews, and its end ends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TARGETS_MAX;
use crate::plan::Probe;

/// Clusters that targets are leased of at a time.
const CLUSTERS_MAX: usize = 8;

/// Why a lease is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// There is no such lease, or it is another holder's.
    #[error(
        "the lease for targets of cluster {cluster} ended, or another check of the same clusters took it over: run this one \
         again when that is done"
    )]
    Lost {
        /// Which cluster.
        cluster: String,
    },
    /// There is no room.
    #[error(
        "targets of other clusters are {TARGETS_MAX} of {CLUSTERS_MAX} clusters at most, and {held} of {clusters} are leased: \
         wait until those end, or lease fewer"
    )]
    Full {
        /// Targets that others have.
        held: usize,
        /// Clusters that these are of.
        clusters: usize,
    },
}

#[derive(Clone, Debug)]
struct Lease {
    holder: String,
    until_ns: i64,
    targets: usize,
    probes: Arc<[Probe]>,
}

/// All leases, by cluster.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    leases: BTreeMap<String, Lease>,
}

/// Who wants what, until when (unix time).
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The other cluster.
    pub cluster: &'a str,
    /// A word of its own.
    pub holder: &'a str,
    /// When it ends.
    pub until_ns: i64,
}

impl Leases {
    /// Begins a lease in place of the one that the cluster has.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn begin(&mut self, claim: Claim<'_>, probes: Vec<Probe>, now_ns: i64) -> Result<(), LeaseError> {
        self.expire(now_ns);
        let targets = probes.chunk_by(|one, next| one.target.id == next.target.id).count();
        let others = self.leases.iter().filter(|(cluster, _)| cluster.as_str() != claim.cluster);
        let (clusters, held) =
            others.fold((0, 0), |(clusters, held), (_, lease)| (clusters + 1, held + lease.targets));
        if held + targets > TARGETS_MAX || clusters >= CLUSTERS_MAX {
            return Err(LeaseError::Full { held, clusters });
        }
        let Claim { cluster, holder, until_ns } = claim;
        let lease = Lease { holder: holder.to_owned(), until_ns, targets, probes: probes.into() };
        self.leases.insert(cluster.to_owned(), lease);
        Ok(())
    }

    /// Prolongs a lease; its targets stay.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub fn renew(&mut self, claim: Claim<'_>, now_ns: i64) -> Result<(), LeaseError> {
        let own = |lease: &&mut Lease| lease.holder == claim.holder && lease.until_ns > now_ns;
        let lease = self.leases.get_mut(claim.cluster).filter(own);
        let lost = || LeaseError::Lost { cluster: claim.cluster.to_owned() };
        lease.ok_or_else(lost)?.until_ns = claim.until_ns;
        Ok(())
    }

    /// Ends a lease, if it is the holder's. Whether it was.
    pub fn end(&mut self, cluster: &str, holder: &str) -> bool {
        let own = self.leases.get(cluster).is_some_and(|lease| lease.holder == holder);
        own && self.leases.remove(cluster).is_some()
    }

    /// Ends what is over. Whether anything was.
    pub fn expire(&mut self, now_ns: i64) -> bool {
        let before = self.leases.len();
        self.leases.retain(|_, lease| lease.until_ns > now_ns);
        self.leases.len() < before
    }

    /// What is to be probed.
    #[must_use]
    pub fn probes(&self) -> Vec<Arc<[Probe]>> {
        self.leases.values().map(|lease| Arc::clone(&lease.probes)).collect()
    }

    /// Each lease: the cluster, how many targets of it, and when it ends.
    pub fn all(&self) -> impl Iterator<Item = (&str, usize, i64)> {
        self.leases.iter().map(|(cluster, lease)| (cluster.as_str(), lease.targets, lease.until_ns))
    }
}
