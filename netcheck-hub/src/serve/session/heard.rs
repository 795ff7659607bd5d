//! What an agent says in a session that was admitted, up to the state.

use std::collections::VecDeque;
use std::sync::Arc;

use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use netcheck_proto::{agent as wire, v1};

use super::SessionGuard;
use crate::state::ingest;

impl SessionGuard {
    /// Takes one message. What is to be said to it goes behind what is `ready`.
    pub(crate) fn hear(&self, message: Option<FromAgent>, now_ns: i64, ready: &mut VecDeque<ToAgent>) {
        let Self { hub, node, generation, .. } = self;
        let message = match message {
            Some(FromAgent::Batch(batch)) => {
                let batch = ingest::decode(batch);
                let acknowledged = hub.lock().apply(*node, *generation, batch, now_ns);
                if let Some(sequence) = acknowledged {
                    ready.push_back(ToAgent::Ack(v1::BatchAck { sequence }));
                }
                return;
            }
            other => other,
        };
        let mut state = hub.lock();
        let Some(agent) = state.spoken(*node, *generation, now_ns) else { return };
        match message {
            Some(FromAgent::Status(status)) => {
                let (name, sequence, leaving) =
                    (Arc::clone(&agent.name), agent.applied_sequence, status.leaving);
                if agent.take_status(wire::status(status), now_ns) {
                    state.link_reports.insert(name);
                }
                state.hear_of_leaves(*node, now_ns);
                if leaving {
                    // So that it knows that it may end.
                    ready.push_back(ToAgent::Ack(v1::BatchAck { sequence }));
                }
            }
            Some(FromAgent::EvidenceAnswer(answer)) => state.answered(*node, &wire::evidence_answer(answer)),
            Some(FromAgent::CulpritAnswer(answer)) => {
                state.culprits_answered(*node, &wire::culprit_answer(answer), now_ns);
            }
            Some(FromAgent::PlanApplied(applied)) => {
                let applied = wire::plan_applied(applied);
                agent.refused_paths =
                    applied.refused.iter().map(|refused| (refused.path_id, refused.why.clone())).collect();
                agent.plan_applied = Some(applied);
            }
            // A second hello, or something newer than this hub.
            Some(FromAgent::Hello(_) | FromAgent::Batch(_) | FromAgent::TokenRenewal(_)) | None => {
                state.counters.parts_refused += 1;
            }
        }
    }
}
