//! Which other agents pass this one's session on, as the hub announced, and what is known of them.
//!
//! In: what the hub says, a file of this node. Out: candidates for a connection, and the file as of what the hub said
//! last: an agent that starts while it can't reach the hub finds its neighbours by it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use netcheck_proto::text::is_name;
use netcheck_proto::{convert, v1};
use tokio::time::Instant;

use super::addresses::replace_file;
use super::dial::Candidate;

/// Relays that are kept: a hub announces four.
const RELAYS_MAX: usize = 8;
/// Addresses of each.
const ADDRESSES_MAX: usize = 4;
/// A file of so many has no more bytes.
const FILE_MAX: u64 = 16 << 10;
/// How long a relay is tried last through which no session came about.
const DISTRUST: Duration = Duration::from_secs(60);

/// The other agents. By default, none are asked.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    /// The hub's name, so that another hub's neighbours are not taken for this one's.
    host: String,
    file: Option<PathBuf>,
    /// Else nobody is asked, whatever the hub says.
    on: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// In the order in which they are tried.
    candidates: Vec<Candidate>,
    doubtful: Vec<(Arc<str>, Instant)>,
    /// What the newest connection goes through, until it is known what came of it.
    reached: Option<Arc<str>>,
}

impl Relays {
    /// Those that the file has, if there is one.
    pub(crate) fn new(host: &str, file: Option<PathBuf>) -> Self {
        let candidates = file.as_deref().map(|file| read(file, host)).unwrap_or_default();
        let known = Mutex::new(Known { candidates, ..Known::default() });
        Self { host: host.to_owned(), file, on: true, known }
    }

    /// The hub said who they are. What is wrong in it is left out.
    pub(crate) fn learn(&self, announced: &v1::Relays) {
        if !self.on {
            return;
        }
        let mut candidates = Vec::new();
        for relay in announced.relays.iter().filter(|relay| is_name(&relay.node)).take(RELAYS_MAX) {
            let Ok(port @ 1..) = convert::port("relays.port", relay.port) else { continue };
            let node: Arc<str> = relay.node.as_str().into();
            let addresses =
                relay.addresses.iter().filter_map(|bytes| convert::address("relays.addresses", bytes).ok());
            let candidate = |address| Candidate::relay((address, port).into(), Arc::clone(&node));
            candidates.extend(addresses.take(ADDRESSES_MAX).map(candidate).enumerate());
        }
        // Each at its first address before any at its second one: a node that is out of reach mostly is so at all.
        candidates.sort_by_key(|&(at, _)| at);
        let candidates: Vec<Candidate> = candidates.into_iter().map(|(_, candidate)| candidate).collect();
        let mut known = self.known();
        if known.candidates == candidates {
            return;
        }
        known.candidates.clone_from(&candidates);
        drop(known);
        if let Some(file) = &self.file
            && let Err(error) = write(file, &self.host, &candidates)
        {
            tracing::warn!(%error, file = %file.display(), "the hub's relays can't be kept for a restart");
        }
    }

    /// Whom to try, in this order; those last through whom no session came about lately.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let (known, now) = (self.known(), Instant::now());
        let doubts = |candidate: &Candidate| {
            let of =
                |(node, until): &(Arc<str>, Instant)| candidate.relay.as_ref() == Some(node) && now < *until;
            known.doubtful.iter().any(of)
        };
        let mut candidates = known.candidates.clone();
        candidates.sort_by_key(doubts);
        candidates
    }

    /// A connection goes through this one.
    pub(crate) fn connected(&self, node: &Arc<str>) {
        self.known().reached = Some(Arc::clone(node));
    }

    /// Whether the newest connection goes through one, and nothing is known yet of what came of it.
    pub(crate) fn has_connected(&self) -> bool {
        self.known().reached.is_some()
    }

    /// A session came of the newest connection.
    pub(crate) fn succeeded(&self) {
        let mut known = self.known();
        if let Some(reached) = known.reached.take() {
            known.doubtful.retain(|(node, _)| *node != reached);
        }
    }

    /// None came of it.
    pub(crate) fn failed(&self) {
        let mut known = self.known();
        let now = Instant::now();
        known.doubtful.retain(|(_, until)| now < *until);
        if let Some(reached) = known.reached.take() {
            known.doubtful.push((reached, now + DISTRUST));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file says, if it is of this hub. What is wrong in it is passed over: it only ever helps.
fn read(file: &Path, host: &str) -> Vec<Candidate> {
    let small = fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() <= FILE_MAX);
    let text = if small { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let mut lines = text.lines();
    if lines.next() != Some(host) {
        return Vec::new();
    }
    let candidate = |line: &str| {
        let (address, node) = line.split_once(' ')?;
        is_name(node).then_some(Candidate::relay(address.parse().ok()?, node.into()))
    };
    lines.filter_map(candidate).take(RELAYS_MAX * ADDRESSES_MAX).collect()
}

/// The hub's name, then an address and the node that has it a line.
fn write(file: &Path, host: &str, candidates: &[Candidate]) -> io::Result<()> {
    let mut text = format!("{host}\n");
    for candidate in candidates {
        text += &format!("{} {}\n", candidate.address, candidate.relay.as_deref().unwrap_or_default());
    }
    replace_file(file, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(nodes: &[(&str, u8)]) -> v1::Relays {
        let relay = |&(node, number): &(&str, u8)| v1::Relay {
            node: node.to_owned(),
            addresses: vec![vec![10, 0, 0, number], vec![1, 2, 3]],
            port: 6102,
        };
        v1::Relays { relays: nodes.iter().map(relay).collect() }
    }

    fn order(relays: &Relays) -> Vec<String> {
        relays.candidates().iter().map(|candidate| candidate.relay.as_deref().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_hubs_order_is_kept_over_a_restart_and_another_hub_has_others() {
        let file = std::env::temp_dir().join(format!("netcheck-relays-{:016x}", rand::random::<u64>()));
        let relays = Relays::new("hub.test", Some(file.clone()));
        assert!(relays.candidates().is_empty());
        relays.learn(&announced(&[("n7", 7), ("bad name", 8), ("n2", 2)]));
        assert_eq!(order(&relays), ["n7", "n2"]);
        assert_eq!(relays.candidates()[0].address, "10.0.0.7:6102".parse().unwrap());
        assert_eq!(Relays::new("hub.test", Some(file.clone())).candidates(), relays.candidates());
        assert!(Relays::new("other.test", Some(file.clone())).candidates().is_empty());
        fs::write(&file, "hub.test\nnonsense\n10.0.0.9:6102 n9\n10.0.0.9 n8\n10.0.0.8:1 a b\n").unwrap();
        assert_eq!(order(&Relays::new("hub.test", Some(file.clone()))), ["n9"]);
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn who_is_configured_to_ask_nobody_does_not() {
        let off = Relays::default();
        off.learn(&announced(&[("n7", 7)]));
        assert!(off.candidates().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_brings_no_session_is_tried_last_for_a_while() {
        let relays = Relays::new("hub.test", None);
        relays.learn(&announced(&[("n7", 7), ("n2", 2), ("n3", 3)]));
        relays.connected(&"n7".into());
        assert!(relays.has_connected());
        relays.failed();
        assert_eq!(order(&relays), ["n2", "n3", "n7"]);
        relays.connected(&"n7".into());
        relays.succeeded();
        assert_eq!(order(&relays), ["n7", "n2", "n3"]);
        relays.failed();
        assert_eq!(order(&relays), ["n7", "n2", "n3"], "that was another connection");
        relays.connected(&"n7".into());
        relays.failed();
        tokio::time::advance(DISTRUST).await;
        assert_eq!(order(&relays), ["n7", "n2", "n3"]);
    }
}
