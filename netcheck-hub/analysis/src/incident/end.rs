//! A lost probe's location and outcome → what the explainer takes for its end. Pure.

use netcheck_causes as causes;
use netcheck_common::domain::Outcome;

use super::Ending;
use crate::model::location::{Certainty, InterfaceRole, Location, Stage};
use crate::model::reason::DropReason;

/// What became of a lost probe.
pub(super) enum Sort<'a> {
    /// Nothing is known.
    Nothing,
    /// Its own kernel refused to send it, with this errno's name.
    NotSent(&'a str),
    /// Somebody answered otherwise than expected.
    Answered(causes::Answer),
    /// A kernel says that it dropped it there.
    Dropped(&'a Location),
    /// It was seen last there.
    LastSeen(&'a Location),
}

/// What became of these.
pub(super) fn sort(ending: &Ending) -> Sort<'_> {
    let answer = answer(ending.outcome);
    let Some(at) = &ending.at else { return answer.map_or(Sort::Nothing, Sort::Answered) };
    let reason = DropReason::of(&at.reason);
    if let (DropReason::Errno(errno), Outcome::SendError) = (reason, ending.outcome) {
        return Sort::NotSent(errno);
    }
    // A rule that rejects is a kernel's drop with a reason of its own; a closed port or an error of the program is an
    // answer of who was asked.
    let at_end = matches!(at.stage, Stage::Socket | Stage::Application);
    let unexplained = matches!(reason, DropReason::None | DropReason::Errno(_));
    match (answer, at.certainty) {
        (Some(answer), _) if at_end || unexplained => Sort::Answered(answer),
        (_, Certainty::Observed) => Sort::Dropped(at),
        (_, Certainty::Inferred) => Sort::LastSeen(at),
    }
}

/// The explainer's word for a stage.
pub(super) const fn stage(stage: Stage) -> causes::Stage {
    match stage {
        Stage::Unknown => causes::Stage::Unknown,
        Stage::Send => causes::Stage::Send,
        Stage::NetfilterOutput => causes::Stage::NetfilterOutput,
        Stage::Routing => causes::Stage::Routing,
        Stage::Neighbour => causes::Stage::Neighbour,
        Stage::NetfilterPostrouting => causes::Stage::NetfilterPostrouting,
        Stage::Qdisc => causes::Stage::Qdisc,
        Stage::Egress | Stage::Wire | Stage::NetdevEgress => causes::Stage::Egress,
        Stage::Ingress | Stage::NetdevIngress => causes::Stage::Ingress,
        Stage::NetfilterPrerouting => causes::Stage::NetfilterPrerouting,
        Stage::NetfilterForward => causes::Stage::NetfilterForward,
        Stage::NetfilterInput => causes::Stage::NetfilterInput,
        Stage::Socket => causes::Stage::Socket,
        Stage::Application => causes::Stage::Application,
        Stage::BridgePrerouting
        | Stage::BridgeInput
        | Stage::BridgeForward
        | Stage::BridgeOutput
        | Stage::BridgePostrouting => causes::Stage::Bridge,
    }
}

/// The explainer's word for what an interface is for.
pub(super) const fn role(role: InterfaceRole) -> Option<causes::Role> {
    match role {
        InterfaceRole::Unknown => None,
        InterfaceRole::Uplink => Some(causes::Role::Uplink),
        InterfaceRole::Tunnel => Some(causes::Role::Tunnel),
        InterfaceRole::Bridge => Some(causes::Role::Bridge),
        InterfaceRole::PodVeth => Some(causes::Role::PodLink),
        InterfaceRole::Loopback => Some(causes::Role::Loopback),
    }
}

/// Whether an outcome is an answer that is none.
fn answer(outcome: Outcome) -> Option<causes::Answer> {
    match outcome {
        Outcome::Refused => Some(causes::Answer::Refused),
        Outcome::Unreachable => Some(causes::Answer::Unreachable),
        Outcome::DnsError | Outcome::HttpError => Some(causes::Answer::Error),
        Outcome::Reply | Outcome::Timeout | Outcome::SendError => None,
    }
}
