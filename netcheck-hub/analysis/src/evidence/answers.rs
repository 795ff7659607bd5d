//! What agents answer to questions about lost probes. Pure.

use std::time::Duration;

use super::Answer;
use crate::model::clock::nanos;
use crate::model::evidence::{FlowSighting, ReflectedState};

/// What a reflector's state says about one probe of its path. It was asked after the probe had timed out, so a probe
/// above the highest that arrived did not arrive.
#[must_use]
pub fn reflected(state: &ReflectedState, sequence: u32) -> Answer {
    if !state.known {
        // What may have been forgotten is not known never to have come.
        return Answer { arrived: (!state.unsure).then_some(false), ..Answer::default() };
    }
    // Numbers wrap: what matters is which way round the shorter distance is.
    let behind = state.highest_sequence.wrapping_sub(sequence) as i32;
    let arrived = match behind {
        ..=-1 => Some(false),
        0..=63 => Some(state.arrived >> behind & 1 == 1),
        64.. => None,
    };
    let newer_reply = state.last_reply_sequence.wrapping_sub(sequence) as i32 >= 0;
    Answer {
        arrived,
        replied: state.last_reply_hook.is_some() && newer_reply,
        last_request_hook: state.last_request_hook.clone(),
        last_reply_hook: state.last_reply_hook.clone(),
        reply_delay_ns: None,
        quiet_ns: None,
    }
}

/// What the hooks' sighting of one flow says.
#[must_use]
pub fn sighted(seen: &FlowSighting) -> Answer {
    let known = |age: Option<Duration>| age.filter(|age| !age.is_zero());
    let ages = known(seen.last_request_age).zip(known(seen.last_reply_age));
    let delay = ages.and_then(|(request, reply)| request.checked_sub(reply));
    Answer {
        reply_delay_ns: delay.and_then(|delay| u64::try_from(delay.as_nanos()).ok()),
        arrived: Some(seen.known && seen.request_packets > 0),
        replied: seen.reply_packets > 0,
        last_request_hook: seen.last_request_hook.clone(),
        last_reply_hook: seen.last_reply_hook.clone(),
        quiet_ns: seen
            .last_reply_age
            .zip(seen.last_request_age)
            .map(|(reply, request)| nanos(reply).saturating_sub(nanos(request))),
    }
}
