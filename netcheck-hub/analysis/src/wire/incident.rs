//! Incidents and what did them: as agents report it, and as readers get it.

use netcheck_proto::{convert, v1};

use super::evidence::certainty_to_wire;
use super::past::unix_ns;
use super::target::wire_path;
use crate::incident::advice::{Advice, advice};
use crate::incident::{Incident, PathOf};
use crate::model::clock::timestamp;
use crate::model::culprit::{Culprit, CulpritKind, FilterRule};
use crate::model::incident::IncidentKind;
use crate::model::location::Certainty;

both_ways!(
    culprit_kind_to_wire,
    culprit_kind,
    CulpritKind {
        Unknown,
        Untold,
        FilterRule,
        FilterPolicy,
        FilterLegacy,
        Route,
        RoutingRule,
        Sysctl,
        Program,
        Queue,
        Conntrack,
        Neighbour,
        Interface,
        Socket,
        IpsecPolicy,
    }
);

/// Reads what an agent found.
#[must_use]
pub fn culprit(wire: &v1::Culprit) -> Culprit {
    let rule = wire.rule.as_ref().map(|rule| FilterRule {
        family: rule.family.clone(),
        table: rule.table.clone(),
        chain: rule.chain.clone(),
        handle: rule.handle,
    });
    let certainty = match wire.certainty() {
        v1::Certainty::Unspecified => None,
        v1::Certainty::Observed => Some(Certainty::Observed),
        v1::Certainty::Inferred => Some(Certainty::Inferred),
    };
    Culprit {
        node: wire.node.clone(),
        kind: culprit_kind(wire.kind()),
        object: wire.object.clone(),
        text: wire.text.clone(),
        comment: wire.comment.clone(),
        owner: wire.owner.clone(),
        see: wire.see.clone(),
        mend: wire.mend.clone(),
        certainty,
        rule,
        found_ns: wire.found_at.as_ref().map(unix_ns),
        symptom: wire.symptom,
    }
}

fn culprit_to_wire(of: &Culprit) -> v1::Culprit {
    let rule = of.rule.as_ref().map(|rule| v1::FilterRule {
        family: rule.family.clone(),
        table: rule.table.clone(),
        chain: rule.chain.clone(),
        handle: rule.handle,
    });
    v1::Culprit {
        node: of.node.clone(),
        kind: culprit_kind_to_wire(of.kind).into(),
        object: of.object.clone(),
        text: of.text.clone(),
        comment: of.comment.clone(),
        owner: of.owner.clone(),
        see: of.see.clone(),
        mend: of.mend.clone(),
        certainty: of.certainty.map_or(v1::Certainty::Unspecified, certainty_to_wire).into(),
        rule,
        found_at: of.found_ns.map(timestamp),
        symptom: of.symptom,
    }
}

/// The wire form of what an incident blames.
#[must_use]
pub const fn incident_kind(kind: IncidentKind) -> v1::IncidentKind {
    match kind {
        IncidentKind::Place => v1::IncidentKind::Place,
        IncidentKind::Node => v1::IncidentKind::Node,
        IncidentKind::PodNetwork => v1::IncidentKind::PodNetwork,
        IncidentKind::Link => v1::IncidentKind::Link,
        IncidentKind::OneWay => v1::IncidentKind::OneWay,
        IncidentKind::Backend => v1::IncidentKind::Backend,
        IncidentKind::Service => v1::IncidentKind::Service,
        IncidentKind::DnsServer => v1::IncidentKind::DnsServer,
        IncidentKind::Protocol => v1::IncidentKind::Protocol,
        IncidentKind::Family => v1::IncidentKind::Family,
        IncidentKind::Cluster => v1::IncidentKind::Cluster,
        IncidentKind::Target => v1::IncidentKind::Target,
        IncidentKind::Scattered => v1::IncidentKind::Scattered,
        IncidentKind::Mtu => v1::IncidentKind::Mtu,
        IncidentKind::SourcePorts => v1::IncidentKind::SourcePorts,
    }
}

fn path_of(of: &PathOf) -> v1::Path {
    wire_path(&of.source, &of.zone, &of.path)
}

/// An incident as readers get it.
#[must_use]
pub fn incident(of: &Incident) -> v1::Incident {
    let state = if of.closed_ns.is_some() { v1::IncidentState::Closed } else { v1::IncidentState::Open };
    let Advice { broken, place, next } = advice(of);
    v1::Incident {
        id: of.id.clone(),
        kind: incident_kind(of.kind).into(),
        state: state.into(),
        headline: of.headline.clone(),
        verdict: of.verdict.to_wire().into(),
        certainty: certainty_to_wire(of.certainty).into(),
        probe_kind: of.probe.map_or(v1::ProbeKind::Unspecified, convert::kind_to_wire).into(),
        family: of.family.map_or(v1::Family::Unspecified, convert::family_to_wire).into(),
        paths: of.paths.iter().map(path_of).collect(),
        contradictions: of.contradictions.iter().map(path_of).collect(),
        contradicting: of.contradicting as u64,
        evidence: of.evidence.clone(),
        first_seen: of.first_ns.map(timestamp),
        last_seen: of.last_ns.map(timestamp),
        opened_at: of.opened_ns.map(timestamp),
        closed_at: of.closed_ns.map(timestamp),
        cause: of.cause.clone(),
        merged_into: of.merged_into.clone().unwrap_or_default(),
        culprits: of.culprits.iter().map(culprit_to_wire).collect(),
        path_count: 0,
        broken,
        place,
        next_step: next,
    }
}
