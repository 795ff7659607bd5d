//! One node's agent as the hub knows it: its session, its plan, its rows, and how it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use netcheck_proto::{convert, v1};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::claim::{Claims, Holder};
use self::drops::KernelDrops;
use self::links::PodLinks;
use self::searches::Searches;
use super::history::Reached;
use super::relays::Relayed;
use netcheck_analysis::matrix::Rows;
use netcheck_analysis::model::clock::{nanos, positive, time_of_day};
use netcheck_analysis::model::verdict::Rules;
use netcheck_analysis::plan::coverage::LastVerdictCache;
use netcheck_analysis::plan::rotation::RotationSlot;
use netcheck_analysis::plan::{Catalog, NodeAssignment, PathIdAllocator, Plan, Timing};

pub mod claim;
pub mod drops;
pub mod links;
pub mod searches;
pub mod vantage;

/// A session that is alive.
#[derive(Debug)]
pub struct Live {
    /// Distinguishes it from every other session.
    pub generation: u64,
    /// Since when.
    pub since_ns: i64,
    /// When it last said anything.
    pub heard_ns: i64,
    /// Where it connects from, where that is known.
    pub peer: Option<SocketAddr>,
    /// Another agent passes it on.
    pub relayed: Option<Relayed>,
    /// Messages besides plans and acknowledgements.
    pub control: mpsc::Sender<v1::session_response::Message>,
    /// Ends it in favour of a newer one.
    pub superseded: CancellationToken,
}

/// How long an agent may be silent, which says every 5 s how it is. One that does not read what it is sent is not heard
/// either: the hub reads no further than it can answer. Then it counts as not connected, or its node would look watched.
pub const UNHEARD_NS: i64 = 60 * netcheck_analysis::model::clock::SECOND_NS;

impl Live {
    /// Whether nothing came of its agent for long.
    #[must_use]
    pub fn is_silent(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.heard_ns) > UNHEARD_NS
    }
}

/// What the hub knows of one node's agent.
#[derive(Debug)]
pub struct Agent {
    /// The node.
    pub name: Arc<str>,
    /// Gives out its path ids.
    pub plan: PathIdAllocator,
    /// What its session shall send to it.
    pub plans: watch::Sender<Arc<Plan>>,
    /// Its paths.
    pub rows: Rows,
    /// Its session.
    pub live: Option<Live>,
    /// Who else says to be this node's agent.
    pub claims: Claims,
    /// When an agent of this name was refused for its probe session, and whose that is.
    pub session_rival: Option<(i64, String)>,
    /// How it introduced itself last.
    pub hello: Option<v1::Hello>,
    /// Highest batch sequence of that boot that is applied.
    pub applied_sequence: u64,
    /// To be added to its wall clock to get the hub's. None until a batch gave it.
    pub clock_offset_ns: Option<i64>,
    /// When its last batch came.
    pub last_batch_ns: Option<i64>,
    /// How it said it is.
    pub status: Option<v1::AgentStatus>,
    /// What it said of its pods' links.
    pub pod_links: PodLinks,
    /// The pod that opens sockets for it in the pod network.
    pub vantage: vantage::Vantage,
    /// DNS caches that it found on its node.
    pub dns_caches: Vec<IpAddr>,
    /// These are not what the catalog was made of.
    pub(crate) caches_changed: bool,
    /// What it said about its plan.
    pub plan_applied: Option<v1::PlanApplied>,
    /// Paths that it can't probe, and why.
    pub refused_paths: BTreeMap<u32, String>,
    /// Parts of batches that were refused.
    pub refused_batches: u64,
    /// Batches that came twice.
    pub duplicate_batches: u64,
    /// Batches that its buffer dropped.
    pub dropped_batches: u64,
    /// Samples that its buffer dropped.
    pub dropped_samples: u64,
    /// When it last reported such, as long as that is worth a warning.
    pub dropped_ns: Option<i64>,
    /// The same of parts of batches that were refused.
    pub refused_ns: Option<i64>,
    /// Since when it is neither in the roster nor connected; none while it is either.
    pub gone_ns: Option<i64>,
    /// Samples that were applied.
    pub samples: u64,
    /// Packets of anybody that its kernel dropped, by class of interface and reason, since the hub's start.
    pub kernel_drops: KernelDrops,
    /// How short names are looked up on its node.
    pub searches: Searches,
    /// How its paths take turns; none where it probes all of them all the time.
    pub turns: Option<RotationSlot>,
    /// What its paths are that are not in turn.
    pub last_verdicts: LastVerdictCache,
    /// What its plan, its rows' paths and its last verdicts are of.
    pub catalog: Arc<Catalog>,
    /// What of that is its own.
    pub(crate) share: Option<Arc<NodeAssignment>>,
    /// Targets that somebody asked for, and until when they are probed out of turn.
    pub asked: BTreeMap<Arc<str>, i64>,
    /// Its plan is due for what was asked.
    pub in_demand: bool,
    /// What of it history has recorded.
    pub reached: Reached,
}

impl Agent {
    /// Takes what it says of itself. Returns whether it reports a pod's link that went down: what died there may have
    /// been taken for something else.
    pub fn take_status(&mut self, status: v1::AgentStatus, now_ns: i64) -> bool {
        let cut_off = self.pod_links.update(&status.pod_links_down, now_ns);
        self.vantage.update(status.vantage.as_ref(), now_ns);
        let caches =
            status.dns_caches.iter().filter_map(|reported| convert::address("dns_caches", reported).ok());
        let caches: Vec<IpAddr> = caches.collect();
        if self.dns_caches != caches {
            self.dns_caches = caches;
            self.caches_changed = true;
        }
        self.status = Some(status);
        cut_off
    }

    /// A node whose agent never connected.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            plan: PathIdAllocator::default(),
            plans: watch::Sender::new(Arc::default()),
            rows: Rows::default(),
            live: None,
            claims: Claims::default(),
            session_rival: None,
            hello: None,
            applied_sequence: 0,
            clock_offset_ns: None,
            last_batch_ns: None,
            status: None,
            pod_links: PodLinks::default(),
            vantage: vantage::Vantage::default(),
            dns_caches: Vec::new(),
            caches_changed: false,
            plan_applied: None,
            refused_paths: BTreeMap::new(),
            refused_batches: 0,
            duplicate_batches: 0,
            dropped_batches: 0,
            dropped_samples: 0,
            dropped_ns: None,
            refused_ns: None,
            gone_ns: None,
            samples: 0,
            kernel_drops: KernelDrops::default(),
            searches: Searches::default(),
            turns: None,
            last_verdicts: LastVerdictCache::default(),
            catalog: Arc::default(),
            share: None,
            asked: BTreeMap::new(),
            in_demand: false,
            reached: Reached::default(),
        }
    }

    /// Whether an agent that says hello may have this node's name: see [`claim`].
    pub fn claim(&mut self, boot_id: &str, peer: Option<SocketAddr>, now_ns: i64) -> bool {
        let holder = self.live.as_ref().zip(self.hello.as_ref()).map(|(live, hello)| Holder {
            boot_id: &hello.boot_id,
            peer: live.peer,
            heard_ns: live.heard_ns,
        });
        self.claims.claim(boot_id, peer, holder, now_ns)
    }

    /// That somebody else claims its name, in one line; empty where nobody does.
    #[must_use]
    pub fn contested(&self) -> String {
        let Some(contest) = self.claims.contest() else { return String::new() };
        let name = &self.name;
        let has = match &self.live {
            Some(live) => format!("{} has it since {}", from(live.peer), time_of_day(live.since_ns)),
            None => "none is connected".to_owned(),
        };
        format!(
            "two agents claim to be {name}: {has}; {} was refused {} times since {}",
            from(contest.rival),
            contest.refused,
            time_of_day(contest.since_ns)
        )
    }

    /// The node whose agent passes its session on, by its own word; none where it is connected itself, or not at all.
    #[must_use]
    pub fn relayed_by(&self) -> Option<&str> {
        Some(&self.live.as_ref()?.relayed.as_ref()?.by)
    }

    /// Why that is in doubt, in one line.
    #[must_use]
    pub fn relay_doubt(&self) -> Option<&str> {
        let relayed = self.live.as_ref()?.relayed.as_ref()?;
        Some(relayed.doubt.as_str()).filter(|doubt| !doubt.is_empty())
    }

    /// How fast its samples come.
    #[must_use]
    pub fn rules(&self, timing: &Timing) -> Rules {
        let effective =
            self.plan_applied.as_ref().and_then(|applied| positive(applied.effective_interval.as_ref()));
        Rules {
            interval_ns: nanos(timing.interval.max(effective.unwrap_or_default())),
            timeout_ns: nanos(timing.timeout),
            window_ns: nanos(timing.window),
            exchange_ns: (nanos(timing.exchange.interval), nanos(timing.exchange.timeout)),
        }
    }

    /// Forgets what is older than `oldest_ns`. `wanted`: the roster has its node. Returns how many lost probes with
    /// evidence went, and whether nothing of it need be kept any more.
    pub fn expire(&mut self, wanted: bool, oldest_ns: i64, now_ns: i64) -> (usize, bool) {
        self.claims.forget(now_ns);
        self.session_rival.take_if(|(at_ns, _)| *at_ns < oldest_ns);
        for warned in [&mut self.dropped_ns, &mut self.refused_ns] {
            warned.take_if(|at_ns| *at_ns < oldest_ns);
        }
        let lost = self.rows.expire(oldest_ns, now_ns);
        self.vantage.expire(oldest_ns);
        if wanted || self.live.is_some() {
            self.gone_ns = None;
            return (lost, false);
        }
        let gone_ns = *self.gone_ns.get_or_insert(now_ns);
        (lost, gone_ns < oldest_ns && self.rows.is_empty())
    }

    /// Nobody: a place in the list of agents that the next one gets.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether its kernel hooks see packets.
    #[must_use]
    pub fn has_hooks(&self) -> bool {
        let state = self.status.as_ref().map(v1::AgentStatus::ebpf);
        matches!(state, Some(v1::EbpfState::Attached | v1::EbpfState::Partial))
    }

    /// Whether its hooks see all that comes out of the pods.
    #[must_use]
    pub fn watches_pods(&self) -> bool {
        let hooks = self.status.iter().flat_map(|status| &status.hooks);
        let mut veths =
            hooks.filter(|hook| !hook.egress && hook.role() == v1::InterfaceRole::PodVeth).peekable();
        veths.peek().is_some() && veths.all(|hook| hook.state() == v1::HookState::Attached)
    }

    /// The interface that faces the other nodes: where its hooks are attached.
    #[must_use]
    pub fn uplink(&self) -> Option<&str> {
        let hooks = self.status.iter().flat_map(|status| &status.hooks);
        let mut uplinks =
            hooks.filter(|hook| hook.role() == v1::InterfaceRole::Uplink).map(|hook| hook.interface.as_str());
        let first = uplinks.next()?;
        // With several, nobody knows which one it would have been.
        uplinks.all(|other| other == first).then_some(first)
    }

    /// What is wrong with its measurement, one line each, without its name.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if self.dropped_ns.is_some() {
            caveats.push(format!(
                "its buffer dropped {} samples ({} batches) while the hub was away",
                self.dropped_samples, self.dropped_batches
            ));
        }
        if self.refused_ns.is_some() {
            caveats.push(format!("{} malformed batches were refused", self.refused_batches));
        }
        if let Some((_, rival)) = &self.session_rival {
            caveats.push(format!("the agent of {rival} had claimed its probe session: one of them lies"));
        }
        caveats.extend(self.relay_doubt().map(ToOwned::to_owned));
        if self.live.is_none() {
            return caveats;
        }
        match &self.status {
            None => caveats.push("the agent has not said yet how it is".to_owned()),
            Some(status) => {
                let state = match status.ebpf() {
                    v1::EbpfState::Attached => None,
                    v1::EbpfState::Partial => Some("some kernel hooks are missing"),
                    v1::EbpfState::Off => {
                        Some("kernel hooks are switched off: losses can't be located from here")
                    }
                    v1::EbpfState::Failed => {
                        Some("the kernel refused the hooks: losses can't be located from here")
                    }
                    v1::EbpfState::Unspecified => Some("the state of its kernel hooks is unknown"),
                };
                caveats.extend(state.map(ToOwned::to_owned));
                caveats.extend(status.degraded.iter().cloned());
                caveats.extend(self.vantage.detail().iter().cloned());
                let shadowed = status.hooks.iter().filter(|hook| hook.state() == v1::HookState::Shadowed);
                caveats.extend(
                    shadowed
                        .map(|hook| format!("the hook at {} is shadowed: {}", hook.interface, hook.detail)),
                );
                if status.suspect_samples > 0 {
                    caveats.push(format!(
                        "{} samples could not be judged, the agent was starved of CPU",
                        status.suspect_samples
                    ));
                }
            }
        }
        if !self.refused_paths.is_empty() {
            let why = self.refused_paths.values().next().map_or("", String::as_str);
            caveats.push(format!("cannot probe {} of its paths ({why})", self.refused_paths.len()));
        }
        caveats
    }
}

/// The agent at an address.
pub(crate) fn from(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "an agent at an unknown address".to_owned(), |peer| format!("the agent at {peer}"))
}
