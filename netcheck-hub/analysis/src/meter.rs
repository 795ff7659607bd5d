//! Samples, counted for metrics: monotonic counts and delays by zones, nodes, services, and pairs of nodes where that is
//! wanted. Pure.
//!
//! In: each window of each path once, as ingest applies it. Out: tables of [`Tally`], which grow with nodes and, within a
//! bound, with zones and services ([`bounds`]), never with paths. What is counted no more for long is forgotten: its
//! series end.

use std::sync::Arc;

use netcheck_common::domain::{Family, Outcome, ProbeKind, Vantage};

use crate::cluster::roster::Roster;
use crate::matrix::{Row, Slot};
use crate::model::meter::Counted;
use crate::model::target::TargetKind;
use crate::plan::Target;

pub mod bounds;
pub mod delays;
pub mod table;

use bounds::Bounds;
pub use bounds::OTHER;
pub use delays::DelayCounts;
pub use table::Table;

/// What distinguishes probes beside their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sort {
    /// What is sent.
    pub kind: ProbeKind,
    /// By which family.
    pub family: Family,
    /// From where on the node.
    pub vantage: Vantage,
}

/// From a zone to a zone; empty for nodes without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zones {
    /// Whence.
    pub source: Arc<str>,
    /// Whither.
    pub target: Arc<str>,
}

/// Probes that ended, by how they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// With a reply.
    pub reply: u64,
    /// Otherwise, as [`Outcome::FAILURES`].
    pub failed: [u64; Outcome::FAILURES.len()],
    /// Not to be judged; in none of the other counts.
    pub suspect: u64,
}

impl Outcomes {
    fn add(&mut self, slot: &Slot) {
        self.reply += u64::from(slot.reply);
        for (sum, &count) in self.failed.iter_mut().zip(&slot.failed) {
            *sum += u64::from(count);
        }
        self.suspect += u64::from(slot.suspect);
    }

    /// Those that ended so.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        outcome.failure_index().map_or(self.reply, |index| self.failed[index])
    }
}

/// Probes that ended, and round trips of those that were answered.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How they ended.
    pub outcomes: Outcomes,
    /// How long the answers took.
    pub round_trip: DelayCounts,
}

impl Tally {
    fn add(&mut self, slot: &Slot) {
        self.outcomes.add(slot);
        if let Some(delays) = &slot.delays {
            self.round_trip.add(&delays.round_trip);
        }
    }
}

/// Shares of round trips.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// Of the network.
    pub network: DelayCounts,
    /// Of the source.
    pub host: DelayCounts,
    /// Of the target.
    pub responder: DelayCounts,
}

/// Probes from one node to another and its pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct PairTally {
    /// How they ended.
    pub outcomes: Outcomes,
    /// All round trips together, within 3 %, nanoseconds.
    pub sum_ns: u64,
}

/// Places in the tables of [`Meters`] by the same names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// See [`Meters::zones`].
    pub zones: Option<u32>,
    /// See [`Meters::sources`].
    pub source: Option<u32>,
    /// See [`Meters::targets`].
    pub target: Option<u32>,
    /// See [`Meters::services`].
    pub service: Option<u32>,
}

/// All that is counted since the hub's start.
#[derive(Debug, Default)]
pub struct Meters {
    /// Probes to nodes and pods by zones.
    pub zones: Table<(Zones, Sort), Tally>,
    /// Their shares, where kernels stamped them.
    pub shares: Table<(Zones, ProbeKind), Shares>,
    /// The same probes by the node that sent them.
    pub sources: Table<Arc<str>, Tally>,
    /// And by the node that they went to, or that held the pod.
    pub targets: Table<Arc<str>, Tally>,
    /// Probes to services, DNS servers and what is asked by HTTP.
    pub services: Table<(Arc<str>, Sort), Tally>,
    /// Probes to nodes and pods by both nodes; empty unless that is wanted.
    pub pairs: Table<(Arc<str>, Arc<str>), PairTally>,
    bounds: Bounds,
    epoch: u32,
}

impl Meters {
    /// Counts nothing yet; by pairs of nodes never, unless `pairs`.
    #[must_use]
    pub fn new(pairs: bool) -> Self {
        Self { bounds: Bounds::new(pairs), epoch: 1, ..Self::default() }
    }

    /// Takes a roster: what is not in it any more is forgotten.
    pub fn follow(&mut self, roster: &Roster) {
        if !self.bounds.follow(roster) {
            return;
        }
        let (bounds, node) = (&self.bounds, |name: &Arc<str>| roster.nodes.contains_key(&**name));
        self.zones.retain(|(zones, _), _| bounds.has(zones));
        self.shares.retain(|(zones, _), _| bounds.has(zones));
        self.sources.retain(|name, _| node(name));
        self.targets.retain(|name, _| node(name));
        self.pairs.retain(|(source, target), _| node(source) && node(target) && bounds.pairs());
        self.renew();
    }

    /// Forgets what was not counted since `oldest_ns`.
    pub fn expire(&mut self, oldest_ns: i64) {
        let gone = self.zones.expire(oldest_ns)
            + self.shares.expire(oldest_ns)
            + self.sources.expire(oldest_ns)
            + self.targets.expire(oldest_ns)
            + self.services.expire(oldest_ns)
            + self.pairs.expire(oldest_ns);
        if gone > 0 {
            let services = &self.services;
            self.bounds.keep_services(|name| services.iter().any(|((known, _), _)| known == name));
            self.renew();
        }
    }

    /// Whether something has no series of its own for want of room.
    #[must_use]
    pub fn folded(&self) -> bool {
        self.bounds.folded()
    }

    /// Whether pairs of nodes are wanted and there are too many of them.
    #[must_use]
    pub fn pairs_refused(&self) -> bool {
        self.bounds.pairs_refused()
    }

    /// Counts a window of a path of this node once.
    pub fn count(&mut self, source: &Arc<str>, row: &mut Row, slot: &Slot, now_ns: i64) {
        if row.counted.epoch != self.epoch {
            row.counted = self.look_up(source, row);
        }
        let at = row.counted;
        if let Some(tally) = self.zones.touch(at.zones, now_ns) {
            tally.add(slot);
        }
        if let (Some(shares), Some(delays)) = (self.shares.touch(at.shares, now_ns), &slot.delays) {
            shares.network.add(&delays.network);
            shares.host.add(&delays.host);
            shares.responder.add(&delays.responder);
        }
        let service = !between_nodes(&row.path.probe.target);
        let targets = if service {
            self.services.touch(at.target, now_ns)
        } else {
            self.targets.touch(at.target, now_ns)
        };
        if let Some(tally) = targets {
            tally.add(slot);
        }
        if let Some(pair) = self.pairs.touch(at.pair, now_ns) {
            pair.outcomes.add(slot);
            let delays = slot.delays.iter();
            pair.sum_ns += delays.map(|delays| delays::sum_ns(&delays.round_trip)).sum::<u64>();
        }
        if let Some(tally) = self.sources.touch(at.source, now_ns) {
            tally.add(slot);
        }
    }

    /// Paths that left the plan add to what there is, and begin nothing.
    fn look_up(&mut self, source: &Arc<str>, row: &Row) -> Counted {
        let create = row.retired_ns.is_none();
        let probe = &row.path.probe;
        let target = &probe.target;
        let sort = Sort { kind: probe.kind, family: Family::of(probe.address), vantage: row.path.vantage };
        let mut counted = Counted::nowhere(self.epoch);
        if !between_nodes(target) {
            let service = self.bounds.service(&service_name(target));
            counted.target = self.services.place((service, sort), create);
            return counted;
        }
        let Some(zones) = self.bounds.zones(source, &target.node) else { return counted };
        counted.zones = self.zones.place((zones.clone(), sort), create);
        if probe.kind.carries_header() {
            counted.shares = self.shares.place((zones, probe.kind), create);
        }
        if let Some(node) = self.bounds.node(source) {
            counted.source = self.sources.place(node, create);
        }
        let node = self.bounds.node(&target.node);
        if let Some(node) = node {
            counted.target = self.targets.place(Arc::clone(&node), create);
            if self.bounds.pairs() {
                counted.pair = self.pairs.place((Arc::clone(source), node), create);
            }
        }
        counted
    }

    /// Where the samples of a node's path are counted: by zones, by node or service that they go to, by node that sends.
    #[must_use]
    pub fn places(&self, row: &Row) -> Places {
        let at = row.counted;
        if at.epoch != self.epoch {
            return Places::default();
        }
        let place = |at: u32| (at != Counted::NOWHERE).then_some(at);
        if between_nodes(&row.path.probe.target) {
            Places {
                zones: place(at.zones),
                source: place(at.source),
                target: place(at.target),
                service: None,
            }
        } else {
            Places { service: place(at.target), ..Places::default() }
        }
    }

    /// Series of kernel drops that a node has at most.
    #[must_use]
    pub fn drops_of_a_node(&self) -> usize {
        self.bounds.drops_of_a_node()
    }

    /// What rows know of the tables is worth nothing any more.
    fn renew(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
    }
}

/// Whether probes to it are probes between nodes.
fn between_nodes(target: &Target) -> bool {
    matches!(target.kind, TargetKind::Node | TargetKind::Pod)
}

/// One name for all addresses of a service's port: node ports would be as many as nodes.
#[must_use]
pub fn service_name(target: &Target) -> Arc<str> {
    if let Some(peer) = &target.peer {
        // As many as another cluster has nodes and pods, for some minutes.
        return format!("peer/{}", peer.cluster).into();
    }
    if let Some(by) = &target.requested {
        // As many as a check asks for, for as long as its round takes.
        return format!("check/{}", by.check).into();
    }
    match &target.at {
        Some(at) if target.kind == TargetKind::Service && at.port != 0 => {
            format!("service/{}/{}:{}", target.namespace, target.name, at.port).into()
        }
        _ => Arc::clone(&target.id),
    }
}
