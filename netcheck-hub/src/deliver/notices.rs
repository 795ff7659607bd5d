//! The hub's incidents → what is sent of them. [`NoticesTask`] looks whenever the hub has ticked; cancelling it
//! loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netcheck_notify::{Culprit, Notice, Object};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state::Hub;
use netcheck_analysis::cluster::roster::Roster;
use netcheck_analysis::incident::Incident;
use netcheck_analysis::incident::advice::{Advice, advice};
use netcheck_analysis::model::culprit;
use netcheck_analysis::model::incident::IncidentKind;
use netcheck_analysis::model::location::Certainty;
use netcheck_analysis::model::target::TargetKind;
use netcheck_analysis::wire;

/// Closed incidents that are sent: those that a receiver that was away may not have heard of.
const CLOSED: usize = 128;
/// Sources, and targets, that are named; the number of paths says how many more there are.
const NAMED: usize = 16;
/// Lines of evidence.
const LINES: usize = 16;

/// Shows receivers the incidents as they are.
pub(super) struct NoticesTask {
    hub: Arc<Hub>,
    publish: watch::Sender<Arc<Vec<Notice>>>,
    /// What is closed does not change any more.
    closed: BTreeMap<String, Notice>,
    revision: Option<u64>,
}

impl NoticesTask {
    pub(super) fn new(hub: Arc<Hub>, publish: watch::Sender<Arc<Vec<Notice>>>) -> Self {
        Self { hub, publish, closed: BTreeMap::new(), revision: None }
    }

    /// Looks until cancelled.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = self.hub.ticks();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                ticked = ticks.changed() => if ticked.is_err() { return },
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let state = self.hub.lock();
        if self.revision == Some(state.incidents.revision()) {
            return;
        }
        self.revision = Some(state.incidents.revision());
        let roster = Arc::clone(&state.roster);
        let open = state.incidents.open();
        let mut closed = BTreeMap::new();
        for incident in state.incidents.closed().take(CLOSED) {
            let known = self.closed.remove(&incident.id);
            closed.insert(incident.id.clone(), known.unwrap_or_else(|| notice(incident, &roster)));
        }
        drop(state);
        self.closed = closed;
        let open = open.iter().map(|incident| notice(incident, &roster));
        self.publish.send_replace(Arc::new(open.chain(self.closed.values().cloned()).collect()));
    }
}

fn notice(incident: &Incident, roster: &Roster) -> Notice {
    let (mut sources, mut targets) = (BTreeSet::new(), BTreeSet::new());
    for path in &incident.paths {
        sources.insert(&*path.source);
        targets.insert(&*path.path.probe.target.id);
    }
    let named = |names: BTreeSet<&str>| names.into_iter().take(NAMED).map(ToOwned::to_owned).collect();
    let opened_ns = incident.opened_ns.unwrap_or_default();
    let culprits = culprits(&incident.culprits);
    let Advice { broken, place, next } = advice(incident);
    Notice {
        id: incident.id.clone(),
        kind: kind(incident.kind),
        verdict: incident.verdict.as_str().to_owned(),
        certainty: match incident.certainty {
            Certainty::Observed => "observed".to_owned(),
            Certainty::Inferred => "inferred".to_owned(),
        },
        headline: incident.headline.clone(),
        cause: incident.cause.clone(),
        broken,
        place,
        command: next.lines().next().unwrap_or_default().to_owned(),
        blames: blames(incident, &culprits, roster),
        culprits,
        evidence: incident.evidence.iter().take(LINES).cloned().collect(),
        paths: incident.paths.len() as u64,
        sources: named(sources),
        targets: named(targets),
        first_seen_ns: incident.first_ns.unwrap_or(opened_ns),
        last_seen_ns: incident.last_ns.unwrap_or(opened_ns),
        opened_ns,
        closed_ns: incident.closed_ns,
        merged_into: incident.merged_into.clone(),
    }
}

/// As in `netcheck_incidents_open`.
fn kind(kind: IncidentKind) -> String {
    wire::incident_kind(kind).as_str_name().trim_start_matches("INCIDENT_KIND_").to_lowercase()
}

/// Those that are known; that one is not is no news for who is called at night.
fn culprits(found: &[culprit::Culprit]) -> Vec<Culprit> {
    let known = found.iter().filter(|culprit| !culprit.is_untold());
    let described = known.map(|culprit| Culprit {
        node: culprit.node.clone(),
        object: culprit.object.clone(),
        owner: culprit.owner.clone(),
        see: culprit.see.clone(),
        mend: culprit.mend.clone(),
    });
    described.collect()
}

/// The service that fails, or the node where it is: the one with the culprit, or the one in the cause's name.
fn blames(incident: &Incident, culprits: &[Culprit], roster: &Roster) -> Option<Object> {
    let of_service = |at: &&netcheck_analysis::incident::PathOf| {
        let target = &at.path.probe.target;
        let named = !target.namespace.is_empty() && !target.name.is_empty();
        named && matches!(target.kind, TargetKind::Service | TargetKind::DnsServer)
    };
    let serves =
        matches!(incident.kind, IncidentKind::Service | IncidentKind::Backend | IncidentKind::DnsServer);
    if let Some(at) = incident.paths.iter().find(of_service).filter(|_| serves) {
        let target = &at.path.probe.target;
        let key = format!("{}/{}", target.namespace, target.name);
        return roster.services.contains_key(&key).then(|| Object {
            kind: "Service".to_owned(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        });
    }
    let is_node = |name: &&str| roster.nodes.contains_key(*name);
    let culprit = culprits.iter().map(|culprit| culprit.node.as_str()).find(is_node);
    // Causes between two nodes blame neither.
    let named = || incident.cause.split_once('/')?.1.split(['/', ' ']).next().filter(is_node);
    let name = culprit.or_else(named)?.to_owned();
    Some(Object { kind: "Node".to_owned(), namespace: String::new(), name })
}
