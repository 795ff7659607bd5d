//! What changes in the cluster → events: nodes, what is probed, agents that come and go. Found by comparing what there is
//! with what there was a second ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netcheck_analysis::cluster::roster::{Node, Roster};
use netcheck_analysis::plan::Catalog;
use netcheck_analysis::words::names::listed;
use netcheck_history::record::{CheckResult, Event, Record};
use netcheck_proto::v1;
use prost::Message as _;

use super::Archive;
use super::absences::Absences;
use crate::state::State;

/// What was there when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    roster: Option<Arc<Roster>>,
    catalog: Option<Arc<Catalog>>,
    /// Connected agents, and since when (unix nanoseconds).
    agents: BTreeMap<Arc<str>, i64>,
    pub(super) absences: Absences,
}

/// What is there now.
pub(super) struct Now {
    roster: Option<Arc<Roster>>,
    catalog: Arc<Catalog>,
    agents: BTreeMap<Arc<str>, i64>,
}

/// An event in the words of `v1::HistoryEventKind`, of which it is.
struct Change {
    at_ns: i64,
    kind: v1::HistoryEventKind,
    subject: String,
    text: String,
}

impl State {
    /// What is there now; the roster only where there is one.
    pub(super) fn present(&self) -> Now {
        let live = self
            .each()
            .filter_map(|(_, agent)| Some((Arc::clone(&agent.name), agent.live.as_ref()?.since_ns)));
        Now {
            roster: (self.roster_ns > 0).then(|| Arc::clone(&self.roster)),
            catalog: Arc::clone(&self.catalog),
            agents: live.collect(),
        }
    }
}

/// What a node is to those who wonder why it is not reached.
fn condition(node: &Node) -> String {
    let ready = if node.ready { "ready" } else { "not ready" };
    let cordoned = if node.cordoned { ", cordoned" } else { "" };
    let absent = node.unanswering().map(|why| format!(", expected to be absent: {why}"));
    format!("{ready}{cordoned}{}", absent.unwrap_or_default())
}

fn nodes(before: &Roster, now: &Roster, at_ns: i64) -> Vec<Change> {
    let change = |node: &Node, text: String| {
        let kind = v1::HistoryEventKind::Node;
        Change { at_ns, kind, subject: node.name.clone(), text }
    };
    let mut changes = Vec::new();
    for node in now.nodes.values() {
        let text = match before.nodes.get(&node.name) {
            None => format!("node {} came: {}", node.name, condition(node)),
            Some(older) if condition(older) != condition(node) => {
                format!("node {} is {}, was {}", node.name, condition(node), condition(older))
            }
            Some(_) => continue,
        };
        changes.push(change(node, text));
    }
    let gone = before.nodes.values().filter(|node| !now.nodes.contains_key(&node.name));
    changes.extend(gone.map(|node| change(node, format!("node {} left the cluster", node.name))));
    changes
}

/// Targets other than nodes: of these it is recorded on its own.
fn targets(catalog: &Catalog) -> BTreeSet<Arc<str>> {
    let ids = catalog.probes.iter().map(|probe| &probe.target.id);
    ids.filter(|id| !id.starts_with("node/")).cloned().collect()
}

fn planned(before: &Catalog, now: &Catalog, at_ns: i64) -> Vec<Change> {
    let (older, newer) = (targets(before), targets(now));
    let names = |ids: Vec<&Arc<str>>| (ids.len(), listed(ids.into_iter().map(ToString::to_string)));
    let mut changes = Vec::new();
    for (ids, what) in [
        (newer.difference(&older).collect::<Vec<_>>(), "probed from now on"),
        (older.difference(&newer).collect::<Vec<_>>(), "not probed any more"),
    ] {
        if !ids.is_empty() {
            let subject = if let [one] = ids[..] { one.to_string() } else { String::new() };
            let (count, names) = names(ids);
            let s = if count == 1 { "" } else { "s" };
            let text = format!("{count} target{s} {what}: {names}");
            changes.push(Change { at_ns, kind: v1::HistoryEventKind::Target, subject, text });
        }
    }
    changes
}

fn agents(before: &BTreeMap<Arc<str>, i64>, now: &BTreeMap<Arc<str>, i64>, now_ns: i64) -> Vec<Change> {
    let change = |at_ns, node: &str, what: &str| Change {
        at_ns,
        kind: v1::HistoryEventKind::Agent,
        subject: node.to_owned(),
        text: format!("the agent of {node} {what}"),
    };
    let mut changes = Vec::new();
    for (node, &since_ns) in now {
        match before.get(node) {
            None => changes.push(change(since_ns, node, "connected")),
            Some(&older_ns) if older_ns != since_ns => changes.push(change(since_ns, node, "connected anew")),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|node| !now.contains_key(*node));
    changes.extend(gone.map(|node| change(now_ns, node, "is not connected any more")));
    changes
}

impl Archive {
    /// Records what changed.
    pub(super) fn record_changes(&self, now: Now, now_ns: i64) {
        let mut seen = self.seen.lock();
        let mut changes = agents(&seen.agents, &now.agents, now_ns);
        if let Some((before, roster)) = seen.roster.as_ref().zip(now.roster.as_ref())
            && !Arc::ptr_eq(before, roster)
        {
            changes.extend(nodes(before, roster, now_ns));
        }
        // The first catalog is news to the hub alone.
        let planned_before = seen.catalog.as_ref().filter(|before| !before.probes.is_empty());
        if let Some(before) = planned_before.filter(|before| !Arc::ptr_eq(before, &now.catalog)) {
            changes.extend(planned(before, &now.catalog, now_ns));
        }
        seen.agents = now.agents;
        seen.roster = now.roster;
        seen.catalog = Some(now.catalog);
        drop(seen);
        for Change { at_ns, kind, subject, text } in changes {
            self.record_event(at_ns, kind, &subject, text);
        }
    }

    /// Has an event kept: one line about somebody.
    pub fn record_event(&self, at_ns: i64, kind: v1::HistoryEventKind, subject: &str, text: String) {
        let body = v1::HistoryEvent { kind: kind.into(), text, ..Default::default() }.encode_to_vec();
        let (kind, subject) = (kind.as_str_name().to_owned(), subject.to_owned());
        self.record(Record::Event(Event { at_ns, kind, subject, body }));
    }

    /// Has the result of a check kept, of which so many cells.
    pub fn record_check(&self, check: &str, result: &v1::CheckResult, at_ns: i64) {
        const CELLS: usize = 256;
        let mut kept = result.clone();
        kept.cells.truncate(CELLS);
        let body = kept.encode_to_vec();
        self.record(Record::Check(CheckResult { at_ns, check: check.to_owned(), body }));
    }

    /// Records what is expected to be absent, as far as that changed.
    pub(super) fn record_absent(&self, now: Absences) {
        let before = &mut self.seen.lock().absences;
        self.record_absences(before, now);
    }

    /// The store was set aside: what stands is recorded anew.
    pub(super) fn record_absences_anew(&self) {
        self.seen.lock().absences.clear();
    }
}
