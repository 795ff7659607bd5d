//! The hub itself: its incidents, its rotation, its inventory, and what happened since its start.

use super::collect::Families;
use crate::state::{Counters, State};
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_analysis::model::incident::IncidentKind;
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::plan::coverage::Coverage;
use netcheck_analysis::wire;

/// Open incidents that have a series of their own.
const INCIDENTS: usize = 64;

/// All kinds, those that there is none of as 0: an alert needs a series to look at.
pub(super) fn incidents(families: &mut Families, state: &State) {
    let open = state.incidents.open();
    let each = |count: &dyn Fn(IncidentKind) -> u64| {
        IncidentKind::ALL.map(|kind| (vec![("kind", kind_name(kind))], count(kind) as f64))
    };
    let now = each(&|kind| open.iter().filter(|incident| incident.kind == kind).count() as u64);
    families.gauge("incidents_open", "Open incidents by kind of cause.", now);
    let help = "Incidents that opened, by the kind of cause that they had then.";
    families.counter("incidents_opened", help, each(&|kind| state.incidents.opened(kind)));
    let help = "When an open incident opened, seconds since 1970; beyond 64 of them not the least.";
    let named = open.iter().take(INCIDENTS).filter_map(|incident| {
        let labels = vec![
            ("incident", incident.id.clone()),
            ("kind", kind_name(incident.kind)),
            ("verdict", incident.verdict.as_str().to_owned()),
        ];
        Some((labels, incident.opened_ns? as f64 / SECOND_NS as f64))
    });
    families.gauge("incident_opened_timestamp_seconds", help, named);
}

fn kind_name(kind: IncidentKind) -> String {
    wire::incident_kind(kind).as_str_name().trim_start_matches("INCIDENT_KIND_").to_lowercase()
}

/// Paths that take turns. The series are there whether any do or not.
pub(super) fn coverage(families: &mut Families, coverage: &Coverage) {
    let inactive = Verdict::ALL
        .map(|verdict| (vec![("verdict", verdict.as_str().to_owned())], coverage.inactive(verdict) as f64));
    let help = "Paths that are not in turn now, by the verdict of their last turn.";
    families.gauge("paths_inactive", help, inactive);
    let help = "How long it takes until every path had its turn; 0 where all are probed all the time.";
    families.gauge("cover_seconds", help, [(vec![], coverage.promised().as_secs_f64())]);
}

/// Writes what the hub knows of itself.
pub(super) fn write(families: &mut Families, state: &State) {
    let mut one = |name, help, value| families.gauge(name, help, [(vec![], value)]);
    let flag = |set: bool| f64::from(u8::from(set));
    let broken = flag(state.inventory_error.is_some());
    one("hub_inventory_broken", "1 while the newest inventory can't be read.", broken);
    let help = "Objects of the inventory in use that are left out, wholly or in part.";
    one("hub_inventory_objects_left_out", help, state.left_out.count as f64);
    let broken = flag(state.tls_error.is_some());
    one("hub_certificate_broken", "1 while a renewed certificate can't be used.", broken);
    let help = "When the roster in use was read, seconds since 1970.";
    one("hub_roster_timestamp_seconds", help, state.roster_ns as f64 / SECOND_NS as f64);
    let help = "1 while zones or services have no series of their own for want of room.";
    one("hub_metrics_folded", help, flag(state.meters.folded()));
    counters(families, state);
}

fn counters(families: &mut Families, state: &State) {
    let counters = &state.counters;
    let batch = |result: &str, value: u64| (vec![("result", result.to_owned())], value as f64);
    let batches =
        [batch("applied", counters.batches_applied), batch("duplicate", counters.batches_duplicate)];
    families.counter("hub_batches", "Batches of samples.", batches);
    for (name, help, value) in samples(counters).into_iter().chain(sessions(counters)).chain(evidence(state))
    {
        families.counter(name, help, [(vec![], value as f64)]);
    }
}

/// A counter's name, help and value.
type Row = (&'static str, &'static str, u64);

/// Of what agents measured.
fn samples(counters: &Counters) -> [Row; 7] {
    [
        ("hub_batch_parts_refused", "Parts of messages that did not hold together.", counters.parts_refused),
        ("hub_unknown_path_samples", "Samples of paths that are in no plan.", counters.unknown_path),
        ("hub_samples", "Judged samples that were applied.", counters.samples),
        ("hub_suspect_samples", "Samples that agents could not judge.", counters.suspect),
        (
            "hub_excused_samples",
            "Samples lost at responders that had said that they restart.",
            counters.excused,
        ),
        ("hub_lost_probes", "Lost probes that were reported.", counters.lost_reported),
        ("hub_lost_probes_evicted", "Lost probes whose evidence was given up.", counters.lost_evicted),
    ]
}

/// Of who connects: agents and readers.
fn sessions(counters: &Counters) -> [Row; 14] {
    [
        ("hub_sessions", "Agent sessions that began.", counters.sessions),
        ("hub_sessions_superseded", "Sessions ended by a newer one.", counters.sessions_superseded),
        ("hub_sessions_refused", "Sessions that were refused.", counters.sessions_refused),
        (
            "hub_sessions_contested",
            "Sessions that were refused because another agent has the node's name.",
            counters.sessions_contested,
        ),
        (
            "hub_sessions_unproven",
            "Sessions that were refused because their token was missing or not good.",
            counters.sessions_unproven,
        ),
        (
            "hub_sessions_foreign",
            "Sessions that were refused because their token, or what they say of themselves, is another node's.",
            counters.sessions_foreign,
        ),
        (
            "hub_sessions_unreviewed",
            "Sessions that were put off because their token could not be reviewed.",
            counters.sessions_unreviewed,
        ),
        (
            "hub_sessions_silent",
            "Sessions ended because the agent neither read nor spoke.",
            counters.sessions_silent,
        ),
        (
            "hub_messages_refused",
            "Messages of agents that were too large, or no messages.",
            counters.messages_refused,
        ),
        ("hub_readers_refused", "Readers that did not show the token.", counters.readers_refused),
        ("hub_connections_refused", "Connections beyond a limit.", counters.connections_refused),
        ("hub_connections_evicted", "Connections ended for newer ones.", counters.connections_evicted),
        (
            "hub_readers_turned_away",
            "Answers to readers that were put off or broken off: too many at once, or not taken in time.",
            counters.readers_turned_away,
        ),
        ("hub_handshakes_failed", "TLS handshakes that failed.", counters.handshakes_failed),
    ]
}

/// Of what explains losses, and of what the hub reads.
fn evidence(state: &State) -> [Row; 11] {
    let counters = &state.counters;
    [
        ("hub_drop_records", "Kernel drop records that were received.", counters.drop_records),
        (
            "hub_drop_records_misfit",
            "Drop records that name a lost probe and are not of it: forged headers, most likely.",
            counters.drop_records_misfit,
        ),
        ("hub_drop_records_evicted", "Drop records that had to go early.", state.drops.evicted),
        ("hub_evidence_questions", "Questions to agents.", counters.questions),
        ("hub_evidence_answers", "Answers of agents.", counters.answers),
        ("hub_evidence_answers_unasked", "Answers that nobody had asked for.", counters.answers_unasked),
        ("hub_culprit_questions", "Questions to agents for what did it.", counters.culprit_questions),
        ("hub_culprit_answers", "Answers of agents to these.", counters.culprit_answers),
        ("hub_control_dropped", "Messages to agents that found no room.", counters.control_dropped),
        ("hub_inventory_errors", "Inventories that could not be read.", counters.inventory_errors),
        (
            "hub_kubernetes_objects_skipped",
            "Objects of the inventory that did not hold together, each time that they were read.",
            counters.objects_skipped,
        ),
    ]
}
