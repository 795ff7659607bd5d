//! Cells out of history.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use netcheck_analysis::evidence::LocatedLoss;
use netcheck_analysis::matrix::figures::Sums;
use netcheck_analysis::matrix::ports::Ports;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::matrix::{Delays, Slot};
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{nanos, timestamp, wire_duration};
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::selector::Selector;
use netcheck_analysis::plan::{Catalog, PlannedPath, Probe, Sources};
use netcheck_analysis::wire::matrix::port_losses;
use netcheck_analysis::wire::target::wire_path;
use netcheck_common::domain::{PathId, ProbeKind};
use netcheck_history::path::{PathIdentity, PathNumber};
use netcheck_history::reader::PathAt;
use netcheck_history::record::INACTIVE;
use netcheck_history::window::Window;
use netcheck_proto::v1;
use prost::Message as _;

use super::{Past, PastError, When};
use crate::state::Hub;
use crate::state::cells::Cell;
use crate::state::history::{Archive, verdict_of};
use netcheck_analysis::wire;

/// By the number of a path, most first.
pub(crate) type Places = HashMap<u32, Vec<LocatedLoss>>;

/// What a path is probed with, to distinguish it from others.
type Key<'a> = (&'a str, ProbeKind, IpAddr, u16, String);

/// Gives paths of history their targets as they are known now; those that are gone, as far as their ids show.
pub(crate) struct Naming {
    catalog: Arc<Catalog>,
    zones: HashMap<String, String>,
}

/// Of one question.
pub(crate) struct Names<'a> {
    naming: &'a Naming,
    probes: HashMap<Key<'a>, &'a Probe>,
}

impl Naming {
    pub(crate) fn of(hub: &Hub) -> Self {
        let state = hub.lock();
        let (catalog, roster) = (Arc::clone(&state.catalog), Arc::clone(&state.roster));
        drop(state);
        let zones = roster.nodes.values().map(|node| (node.name.clone(), node.zone.clone())).collect();
        Self { catalog, zones }
    }

    pub(crate) fn names(&self) -> Names<'_> {
        let probes = self.catalog.probes.iter();
        let probes = probes
            .map(|probe| ((&*probe.target.id, probe.kind, probe.address, probe.port, probe.detail()), probe));
        Names { naming: self, probes: probes.collect() }
    }
}

impl Names<'_> {
    /// The path of an identity, under its number.
    pub(crate) fn path(&self, number: PathNumber, of: &PathIdentity) -> PlannedPath {
        let key = (of.target.as_str(), of.kind, of.address, of.port, of.detail.clone());
        let gone = || Probe {
            target: Arc::new(wire::target_of_id(&of.target)),
            kind: of.kind,
            address: of.address,
            port: of.port,
            question: None,
            sources: Sources::All,
            exchange: None,
        };
        let probe = self.probes.get(&key).map_or_else(gone, |&probe| probe.clone());
        PlannedPath { id: PathId(number.0), vantage: of.vantage, at: 0, probe }
    }

    /// The same as readers see it.
    pub(crate) fn wire(&self, of: &PathIdentity, path: &PlannedPath) -> v1::Path {
        let zone = self.naming.zones.get(&of.source).map_or("", String::as_str);
        v1::Path { detail: of.detail.clone(), ..wire_path(&of.source, zone, path) }
    }
}

/// What was measured, as the figures take it.
pub(crate) fn slot(window: &Window, start_ns: i64, length_ns: i64) -> Slot {
    let delays = window.delays.as_ref().map(|delays| {
        let netcheck_history::window::Delays { round_trip, network, host, responder, steps } = &**delays;
        Box::new(Delays {
            round_trip: round_trip.clone(),
            network: network.clone(),
            host: host.clone(),
            responder: responder.clone(),
            steps: steps.clone(),
        })
    });
    Slot {
        start_ns,
        duration_ns: length_ns,
        reply: window.reply,
        failed: window.failed,
        suspect: window.suspect,
        delays,
        ..Slot::default()
    }
}

/// What counts come to.
pub(crate) fn judged(window: &Window) -> Verdict {
    match (window.sent(), window.reply) {
        (0, _) => Verdict::NoData,
        (_, 0) => Verdict::Unreachable,
        (sent, reply) if u64::from(reply) < sent => Verdict::Degraded,
        _ => Verdict::Reachable,
    }
}

/// The verdict that is shown of a path.
fn verdict(at: &PathAt, when: &When, silent: bool) -> Verdict {
    let recorded = at.verdict.map(|(code, _)| verdict_of(code));
    match &at.window {
        _ if silent => Verdict::NoData,
        window if when.judged => {
            let judged = window.as_ref().map_or(Verdict::NoData, judged);
            if recorded == Some(Verdict::ExpectedAbsent) && judged != Verdict::Reachable {
                Verdict::ExpectedAbsent
            } else {
                judged
            }
        }
        _ => recorded.unwrap_or(Verdict::NoData),
    }
}

/// Losses by place between two instants, of each path the most first.
fn places(archive: &Archive, range: &Range) -> Result<Places, PastError> {
    let mut places = Places::new();
    for losses in archive.reader.losses(range.from_ns, range.now_ns)? {
        for (path, place, count) in losses.counts {
            let Ok(place) = v1::LocatedLoss::decode(&*place) else { continue };
            let location = place.location.as_ref().map(wire::read_location).unwrap_or_default();
            let of = places.entry(path.0).or_default();
            match of.iter_mut().find(|known| known.location == location) {
                Some(known) => {
                    known.probes += count;
                    known.last_ns = losses.at_ns;
                }
                None => of.push(LocatedLoss {
                    location,
                    probes: count,
                    first_ns: losses.at_ns,
                    last_ns: losses.at_ns,
                    summary: place.summary,
                }),
            }
        }
    }
    for of in places.values_mut() {
        of.sort_by_key(|loss| (loss.location.certainty, std::cmp::Reverse(loss.probes)));
    }
    Ok(places)
}

impl Hub {
    /// The paths that a selector takes, as they were.
    pub(crate) fn past(&self, selector: &Selector, when: &When) -> Result<Past, PastError> {
        let archive = self.archive()?;
        let now_ns = netcheck_analysis::model::clock::unix_now_ns();
        let recorded_ns = when.at_ns.min(self.recorded_ns(now_ns));
        let silence = archive.silence(when.at_ns);
        let silent = !silence.is_empty();
        let snapshot = archive.reader.snapshot_at(recorded_ns, when.range)?;
        let recorded =
            if recorded_ns < when.at_ns { Some(archive.reader.verdicts_at(when.at_ns)?) } else { None };
        let range = Range { from_ns: snapshot.from_ns, strict: false, now_ns: snapshot.to_ns };
        let places = if silent { Places::new() } else { places(archive, &range)? };
        let mut paths = snapshot.paths;
        if let Some(recorded) = recorded {
            paths.values_mut().for_each(|path| path.verdict = None);
            for (path, verdict) in recorded {
                paths.entry(path).or_default().verdict = Some(verdict);
            }
        }
        let limits = archive.reader.limits_at(when.at_ns)?;
        let back_ns = archive.back_ns(when.at_ns);
        let naming = Naming::of(self);
        let names = naming.names();
        let mut cells = Vec::new();
        for (number, identity) in archive.reader.paths()? {
            let Some(at) = paths.get(&number) else { continue };
            if at.verdict.is_none() && !when.judged || !selector.takes_source(&identity.source) {
                continue;
            }
            let verdict = verdict(at, when, silent);
            let path = names.path(number, &identity);
            if selector.takes(&identity.source, &path) && selector.takes_verdict(verdict) {
                let path = names.wire(&identity, &path);
                let loss = places.get(&number.0).and_then(|of| of.first());
                let at = if silent { PathAt { window: None, ..at.clone() } } else { at.clone() };
                let mut cell = cell((number, path), &at, verdict, (&range, loss));
                let known = limits.get(&number).filter(|(since_ns, _)| *since_ns >= back_ns);
                if let Some((since_ns, limits)) = known.filter(|_| verdict != Verdict::NoData) {
                    limit(&mut cell, limits, *since_ns);
                }
                cells.push(cell);
            }
        }
        cells.sort_by(|a, b| source(a).cmp(source(b)).then(a.key.1.cmp(&b.key.1)));
        let mut notes: Vec<String> = Vec::new();
        if snapshot.unreadable > 0 {
            notes.push(format!("{} blocks of that time can't be read and are left out", snapshot.unreadable));
        }
        if recorded_ns < when.at_ns {
            notes.push(
                "the newest windows are not in history yet: figures end some seconds earlier".to_owned(),
            );
        }
        let gap = archive
            .gaps
            .iter()
            .find(|gap| !silent && gap.from_ns < range.now_ns && range.from_ns < gap.to_ns);
        notes.extend(gap.map(|gap| {
            format!("the hub was away from {} to {}", super::date(gap.from_ns), super::date(gap.to_ns))
        }));
        let view = v1::PastView {
            at: Some(timestamp(when.at_ns)),
            from: Some(timestamp(range.from_ns)),
            to: Some(timestamp(range.now_ns)),
            step: Some(wire_duration(snapshot.step)),
            no_data: silence,
            notes,
        };
        Ok(Past { view, range, cells, places })
    }
}

fn source(cell: &Cell) -> &str {
    cell.cell.path.as_ref().map_or("", |path| path.source_node.as_str())
}

/// Which sizes and ports passed: recorded when that changed, so that it was measured then at the latest.
fn limit(cell: &mut Cell, limits: &[u8], since_ns: i64) {
    let Ok(v1::MatrixCell { mut sizes, mut ports, .. }) = v1::MatrixCell::decode(limits) else { return };
    let lost = cell.cell.stats.as_ref().is_some_and(|stats| stats.sent > stats.reply);
    let degraded = cell.verdict == Verdict::Degraded;
    if let Some(sizes) = &mut sizes {
        sizes.measured_at = Some(timestamp(since_ns));
    }
    if let Some(ports) = &mut ports {
        ports.measured_at = Some(timestamp(since_ns));
        let losses = port_losses(ports).and_then(|losses| Ports::said(losses, since_ns));
        cell.by_port = losses.filter(|_| degraded);
    }
    cell.oversize = sizes
        .as_ref()
        .filter(|sizes| degraded && !lost && sizes.smallest_lost_bytes > 0 && cell.by_port.is_none())
        .map(|sizes| (sizes.largest_passed_bytes as u16, sizes.smallest_lost_bytes as u16));
    (cell.cell.sizes, cell.cell.ports) = (sizes, ports);
}

fn cell(
    (number, path): (PathNumber, v1::Path),
    at: &PathAt,
    verdict: Verdict,
    (range, loss): (&Range, Option<&LocatedLoss>),
) -> Cell {
    let inactive = at.verdict.is_some_and(|(code, _)| code & INACTIVE != 0);
    let slot = at.window.as_ref().map(|window| slot(window, range.from_ns, nanos(range.length())));
    let lost = slot.as_ref().is_some_and(|slot| slot.lost() > 0);
    let bad = matches!(verdict, Verdict::Degraded | Verdict::Unreachable);
    let loss = loss.filter(|_| bad);
    let steps = slot.as_ref().and_then(|slot| slot.delays.as_ref()?.steps.as_deref());
    Cell {
        verdict,
        loss: loss.cloned(),
        outcome: None,
        unlocated: None,
        evidence: Vec::new(),
        lost_ns: lost.then_some((range.from_ns, range.now_ns)),
        unbacked: None,
        towards: None,
        key: (NodeIx(0), number.0),
        probeable: false,
        oversize: None,
        by_port: None,
        flows: None,
        cell: v1::MatrixCell {
            path: Some(path),
            verdict: verdict.to_wire().into(),
            stats: (!inactive).then(|| Sums::of(slot.clone().into_iter()).to_wire()),
            loss: loss.map(wire::located_loss),
            since: at.verdict.map(|(_, since_ns)| timestamp(since_ns)),
            inactive,
            phases: steps.map(wire::phases),
            certificate_expires_at: steps
                .and_then(|steps| steps.not_after)
                .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        },
    }
}
