use std::time::Duration;

use super::*;
use crate::state::Hub;
use crate::state::Settings;

/// A hub that knows so many agents, none of them connected.
fn hub(agents: usize, mut of: impl FnMut(usize, &mut crate::state::agent::Agent)) -> std::sync::Arc<Hub> {
    let hub = Hub::new(Settings::every(Duration::from_secs(1)));
    {
        let mut state = hub.lock();
        for number in 0..agents {
            let index = state.intern(&format!("n{number:02}"));
            of(number, state.agent_mut(index));
        }
    }
    hub
}

#[test]
fn what_is_the_same_of_many_agents_is_one_line() {
    let hub = hub(12, |number, agent| {
        agent.refused_ns = Some(1);
        agent.refused_batches = if number == 7 { 9 } else { 2 };
    });
    assert_eq!(
        hub.lock().of_agents(),
        ["n00, n01 and 9 more: 2 malformed batches were refused", "n07: 9 malformed batches were refused"]
    );
}

#[test]
fn of_many_lines_the_rest_is_counted() {
    let hub = hub(LINES + 8, |number, agent| {
        agent.refused_ns = Some(1);
        agent.refused_batches = 100 + number as u64;
    });
    let lines = hub.lock().of_agents();
    assert_eq!(lines.len(), LINES + 1);
    assert_eq!(lines[0], "n00: 100 malformed batches were refused");
    assert_eq!(lines[LINES], "n32, n33 and 6 more: 8 more warnings like these");
}
