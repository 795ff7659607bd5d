//! What reads bytes of others, one function each: for the fuzz targets of `xtask/fuzz`, and for the inputs that these have
//! found before (`xtask/fuzz/corpus`), which are read again by the tests here.
//!
//! In: any bytes. Out: nothing; that it returns is what is wanted of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use netcheck_analysis::cluster::inventory as file;
use netcheck_analysis::cluster::roster::Roster;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_proto::codec::AGENT_MESSAGE_BUDGET;
use netcheck_proto::cost::COSTS;
use netcheck_proto::{agent, v1};
use prost::{Message as _, Name as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::serve::session::SessionGuard;
use crate::state::agent::Live;
use crate::state::{Hub, Settings};

/// Now: some day in 2023 (unix nanoseconds).
const NOW_NS: i64 = 1_700_000_000_000_000_000;
/// Ticks after the last message: a loss is located, a verdict changes.
const TICKS: i64 = 3;

static ROSTER: LazyLock<Roster> = LazyLock::new(|| {
    let text = include_str!("../tests/hub/cluster.yaml");
    file::parse(Path::new("cluster.yaml"), text).expect("it is the tests' own").roster()
});

fn hub() -> Arc<Hub> {
    Hub::new(Settings::every(Duration::from_secs(1)))
}

/// An inventory file, up to the plans that come of it.
pub fn inventory(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(objects) = file::parse(Path::new("inventory.yaml"), text) {
        let hub = hub();
        hub.set_roster(objects.roster(), NOW_NS);
        hub.tick(NOW_NS + SECOND_NS);
    }
}

/// Messages of the agent of n1, each behind two bytes of its length, up to what becomes of them.
pub fn session_requests(mut bytes: &[u8]) {
    let hub = hub();
    hub.set_roster(ROSTER.clone(), NOW_NS);
    let guard = admitted(&hub);
    let mut ready = VecDeque::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (wire, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*length).into()));
        bytes = rest;
        take(wire, &guard, &mut ready);
        ready.clear();
    }
    for tick in 1..=TICKS {
        hub.tick(NOW_NS + tick * SECOND_NS);
    }
}

/// One message, as the codec and the session take it.
fn take(wire: &[u8], guard: &SessionGuard, ready: &mut VecDeque<v1::session_response::Message>) {
    let name = v1::SessionRequest::full_name();
    let mut wire = wire.to_vec();
    match COSTS.of(&name, &wire, AGENT_MESSAGE_BUDGET) {
        Err(_) => return,
        Ok(counted) if counted.obeyed => COSTS.clean(&name, &mut wire),
        Ok(_) => {}
    }
    let Ok(request) = v1::SessionRequest::decode(wire.as_slice()) else { return };
    if let Some(v1::session_request::Message::Hello(hello)) = &request.message {
        let _ = agent::hello(hello.clone());
    }
    guard.hear(request.message, NOW_NS, ready);
}

fn admitted(hub: &Arc<Hub>) -> SessionGuard {
    let mut state = hub.lock();
    let (name, generation) = ("n1".to_owned(), 1);
    let node = state.intern(&name);
    let (control, _closed) = mpsc::channel(1);
    let superseded = CancellationToken::new();
    let heard_ns = NOW_NS;
    state.agent_mut(node).live =
        Some(Live { generation, since_ns: NOW_NS, heard_ns, peer: None, relayed: None, control, superseded });
    SessionGuard { hub: Arc::clone(hub), node, name, generation }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(target: &str, read: fn(&[u8])) {
        let folder = format!("{}/../xtask/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!kept.is_empty(), "{folder}");
        kept.iter().for_each(|path| read(&std::fs::read(path).unwrap()));
    }

    #[test]
    fn what_was_found_before_is_read() {
        each("inventory", inventory);
        each("session", session_requests);
    }
}
