//! Which of several addresses answers first (RFC 8305, "Happy Eyeballs"): both families, one attempt after the other in
//! short steps, and none that is given up while another is still to come.
//!
//! In: a look-up of the hub's name, which may take for ever, and addresses that are known without it. Out: a connection,
//! or what became of each attempt. Dropping the future ends all attempts.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::relay::greeting::Greeting;
use crate::uplink::session::failover::HEAD_START;

/// Between the begin of one attempt and that of the next (RFC 8305 section 8: the recommended Connection Attempt Delay).
const STEP: Duration = Duration::from_millis(250);
/// How long a look-up may take until what is known without it is tried.
pub(super) const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);
/// All attempts together. Shorter than what a session gives to a connection, so that it learns what was tried.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(4);

/// Why no address answered: one line, for people.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct DialError(pub(super) Vec<String>);

/// Why a name says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{host} can't be looked up: {source}")]
pub(super) struct LookupError {
    pub(super) host: String,
    pub(super) source: io::Error,
}

/// An address, and where it is known from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(super) address: SocketAddr,
    pub(super) origin: &'static str,
    /// The node whose agent passes the connection on to the hub; none where the hub itself is there.
    pub(super) relay: Option<Arc<str>>,
}

impl Candidate {
    /// The hub.
    pub(super) fn hub(address: SocketAddr, origin: &'static str) -> Self {
        Self { address, origin, relay: None }
    }

    /// An agent that passes connections on to it.
    pub(super) fn relay(address: SocketAddr, node: Arc<str>) -> Self {
        Self { address, origin: "a relay", relay: Some(node) }
    }

    /// Connects. A relay counts as connected once it says that it is so with the hub.
    async fn connect(self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        if self.relay.is_some()
            && let Greeting::Refused { why } = Greeting::read(&mut stream).await?
        {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
        }
        Ok(stream)
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.relay {
            None => write!(f, "{} ({})", self.address, self.origin),
            Some(node) => write!(f, "{} ({} on {node})", self.address, self.origin),
        }
    }
}

/// Candidates whose turn comes later.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) candidates: Vec<Candidate>,
    /// From the begin of the attempt.
    pub(super) after: Duration,
}

impl Late {
    pub(super) fn none() -> Self {
        Self { candidates: Vec::new(), after: Duration::MAX }
    }
}

/// Connects to the first that answers: of what a look-up brings, of what is known without it, and of relays. Relays go
/// before whatever waits when their turn comes. Where all others have failed, they are not waited for longer than direct
/// attempts are given as a head start.
pub(super) async fn dial(
    looking_up: impl Future<Output = Result<Vec<Candidate>, LookupError>>,
    known: Late,
    relays: Late,
) -> Result<(TcpStream, Candidate), DialError> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let mut looking_up = std::pin::pin!(looking_up);
    let mut patience = std::pin::pin!(sleep(known.after));
    let mut head_start = std::pin::pin!(sleep(relays.after));
    let waits_for_relays = relays.after <= HEAD_START;
    let (known, mut relays) = (known.candidates, Some(relays.candidates).filter(|some| !some.is_empty()));
    let mut step = std::pin::pin!(sleep(Duration::ZERO));
    let mut attempts = Attempts::default();
    let (mut lookup_ended, mut known) = (false, Some(known));
    let mut may_begin = true;
    loop {
        if may_begin && attempts.begin_next() {
            may_begin = false;
            step.as_mut().reset(Instant::now() + STEP);
        }
        let over = lookup_ended && known.is_none() && attempts.is_over();
        if over && !(waits_for_relays && relays.is_some()) {
            return Err(DialError(attempts.failures));
        }
        tokio::select! {
            found = &mut looking_up, if !lookup_ended => {
                lookup_ended = true;
                match found {
                    Ok(found) => attempts.add(interleaved(found)),
                    Err(error) => attempts.failures.push(error.to_string()),
                }
                attempts.add(interleaved(known.take().unwrap_or_default()));
            }
            () = &mut patience, if known.is_some() => {
                attempts.add(interleaved(known.take().unwrap_or_default()));
            }
            () = &mut head_start, if relays.is_some() => {
                attempts.add_first(relays.take().unwrap_or_default());
            }
            Some(ended) = attempts.next_end(), if !attempts.running.is_empty() => match ended {
                Ended::Connected(stream, to) => return Ok((stream, to)),
                Ended::Failed => may_begin = true,
            },
            () = &mut step, if !may_begin => may_begin = true,
            () = sleep_until(deadline) => {
                if !lookup_ended {
                    attempts.failures.push("the look-up of its name takes too long".to_owned());
                }
                return Err(DialError(attempts.given_up()));
            }
        }
    }
}

/// How an attempt ended.
enum Ended {
    Connected(TcpStream, Candidate),
    Failed,
}

/// Attempts that are under way, and addresses that wait for one.
#[derive(Default)]
struct Attempts {
    waiting: VecDeque<Candidate>,
    tried: Vec<Candidate>,
    /// Which of those tried, and how it ended.
    running: JoinSet<(usize, io::Result<TcpStream>)>,
    ended: Vec<usize>,
    failures: Vec<String>,
}

impl Attempts {
    fn add(&mut self, candidates: Vec<Candidate>) {
        for candidate in candidates {
            let mut all = self.waiting.iter().chain(&self.tried);
            if !all.any(|other| other.address == candidate.address) {
                self.waiting.push_back(candidate);
            }
        }
    }

    fn add_first(&mut self, candidates: Vec<Candidate>) {
        let waiting = std::mem::take(&mut self.waiting);
        self.add(candidates);
        self.waiting.extend(waiting);
    }

    fn begin_next(&mut self) -> bool {
        let Some(candidate) = self.waiting.pop_front() else { return false };
        let at = self.tried.len();
        self.tried.push(candidate.clone());
        self.running.spawn(async move { (at, candidate.connect().await) });
        true
    }

    /// How the next one ends; none where none is under way.
    async fn next_end(&mut self) -> Option<Ended> {
        let (at, ended) = self.running.join_next().await?.ok()?;
        self.ended.push(at);
        match ended {
            Ok(stream) => Some(Ended::Connected(stream, self.tried[at].clone())),
            Err(error) => {
                self.failures.push(format!("{}: {error}", self.tried[at]));
                Some(Ended::Failed)
            }
        }
    }

    fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// All failures, with the attempts that nothing was heard of.
    fn given_up(mut self) -> Vec<String> {
        for (at, candidate) in self.tried.iter().enumerate() {
            if !self.ended.contains(&at) {
                self.failures.push(format!("{candidate}: no answer"));
            }
        }
        self.failures
    }
}

/// The families in turn, so that a whole family that is dead costs one step only; within each in the order given (RFC 8305
/// section 4).
fn interleaved(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let v6_first = candidates.first().is_some_and(|first| first.address.is_ipv6());
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        candidates.into_iter().partition(|candidate| candidate.address.is_ipv6() == v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair.iter().all(Option::is_none) {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn candidate(address: SocketAddr) -> Candidate {
        Candidate::hub(address, "test")
    }

    fn known(candidates: Vec<Candidate>) -> Late {
        Late { candidates, after: LOOKUP_PATIENCE }
    }

    async fn listener(host: &str) -> (TcpListener, Candidate) {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, candidate(address))
    }

    /// A port of loopback at which nobody listens.
    async fn refusing() -> Candidate {
        listener("127.0.0.1").await.1
    }

    #[test]
    fn families_take_turns() {
        let of = |texts: &[&str]| -> Vec<Candidate> {
            texts.iter().map(|text| candidate(text.parse().unwrap())).collect()
        };
        let mixed = of(&["[fd00::1]:1", "[fd00::2]:1", "[fd00::3]:1", "10.0.0.1:1"]);
        assert_eq!(interleaved(mixed), of(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1", "[fd00::3]:1"]));
        assert_eq!(interleaved(of(&["10.0.0.1:1"])), of(&["10.0.0.1:1"]));
        assert_eq!(interleaved(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn a_look_up_that_never_ends_holds_up_nothing_that_is_known() {
        let (_listener, answers) = listener("127.0.0.1").await;
        let (stream, _) =
            dial(std::future::pending(), known(vec![answers.clone()]), Late::none()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers.address);
    }

    #[tokio::test]
    async fn one_that_failed_is_followed_by_the_next_in_either_family() {
        let (_v6, good) = listener("::1").await;
        let dead = vec![refusing().await, refusing().await, good.clone()];
        let (stream, _) = dial(async { Ok(dead) }, known(Vec::new()), Late::none()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good.address);
        let (_v4, answers) = listener("127.0.0.1").await;
        let dead = vec![refusing().await];
        let (stream, _) = dial(async { Ok(dead) }, known(vec![answers.clone()]), Late::none()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers.address, "what was known stands in for a stale name");
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_is_made_up_for_at_once_and_reported_where_nothing_answers() {
        let (_listener, answers) = listener("127.0.0.1").await;
        let failed = || async {
            Err(LookupError { host: "hub.test".to_owned(), source: io::Error::other("not found") })
        };
        assert!(dial(failed(), known(vec![answers]), Late::none()).await.is_ok());
        let dead = refusing().await;
        let error = dial(failed(), known(vec![dead.clone()]), Late::none()).await.unwrap_err().to_string();
        assert!(error.starts_with("hub.test can't be looked up: not found; "), "{error}");
        assert!(error.contains(&format!("{} (test): ", dead.address)), "{error}");
        let nowhere = dial(failed(), known(Vec::new()), Late::none()).await.unwrap_err().to_string();
        assert_eq!(nowhere, "hub.test can't be looked up: not found");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_in_time_is_named() {
        let error = dial(std::future::pending(), known(Vec::new()), Late::none()).await.unwrap_err();
        assert_eq!(error.to_string(), "the look-up of its name takes too long");
    }
    /// Says `greeting` to whoever connects.
    async fn relay(greeting: Greeting) -> Candidate {
        use tokio::io::AsyncWriteExt as _;

        let (listener, Candidate { address, .. }) = listener("127.0.0.1").await;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(greeting.line().as_bytes()).await.unwrap();
                tokio::spawn(async move { stream.readable().await });
            }
        });
        Candidate::relay(address, "n7".into())
    }

    fn relays(candidates: Vec<Candidate>, after: Duration) -> Late {
        Late { candidates, after }
    }

    #[tokio::test]
    async fn a_relay_that_refuses_is_passed_over_and_named() {
        let good = relay(Greeting::Through { node: "n7".into() }).await;
        let full = relay(Greeting::Refused { why: "it is full".into() }).await;
        let no_answer = || std::future::pending();
        let both = relays(vec![full.clone(), good.clone()], HEAD_START);
        let (_, to) = dial(no_answer(), known(Vec::new()), both).await.unwrap();
        assert_eq!(to, good);
        let refused = async { Ok(vec![refusing().await]) };
        let error = dial(refused, Late::none(), relays(vec![full.clone()], HEAD_START)).await.unwrap_err();
        let line = format!("{} (a relay on n7): it is full", full.address);
        assert!(error.to_string().contains(&line), "{error}");
    }

    #[tokio::test]
    async fn relays_have_to_wait_and_a_hub_that_refuses_does_not_wait_for_them() {
        let ((_listener, hub), good) =
            (listener("127.0.0.1").await, relay(Greeting::Through { node: "n7".into() }).await);
        let (_, to) =
            dial(async { Ok(vec![hub.clone()]) }, Late::none(), relays(vec![good.clone()], HEAD_START))
                .await
                .unwrap();
        assert_eq!(to, hub);
        let begun = Instant::now();
        let refused = async { Ok(vec![refusing().await]) };
        dial(refused, Late::none(), relays(vec![good], Duration::from_secs(3))).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
