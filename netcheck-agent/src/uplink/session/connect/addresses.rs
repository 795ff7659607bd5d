//! Where the hub is: what its name says today, and what is known where nobody can be asked for names.
//!
//! In: the hub's URL, the address of its Service from the pod's environment, a file of this node. Out: a connection, and
//! the file as of the last session. Cluster DNS may be the very thing that is broken, so an agent that ever knew the hub
//! finds it without. An address that answers and turns out not to be the hub's is tried last from then on.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::transport::Uri;

use super::dial::{Candidate, DialError, LOOKUP_PATIENCE, Late, LookupError, dial};
use super::relays::Relays;
use crate::model::status::Way;
use crate::net::socket::UNACKNOWLEDGED;
use crate::uplink::session::failover::Race;

/// Addresses that are remembered: those of one Service and a few of before.
const REMEMBERED: usize = 8;
/// A file of that many addresses has about 400 bytes.
const FILE_MAX: u64 = 4 << 10;
/// A look-up that ended before so long is worth nothing any more.
const LOOKUP_AGE: Duration = Duration::from_secs(20);
/// How long an address is tried last that turned out not to be the hub's.
const DISTRUST: Duration = Duration::from_secs(300);

const OF_NAME: &str = "its name";
const OF_SERVICE: &str = "its Service";
const LAST_GOOD: &str = "last good";

/// Looks a name up: host and port.
pub(crate) type Resolve = Box<dyn Fn(String, u16) -> Resolving + Send + Sync>;
type Resolving = Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>;

/// Where the hub may be.
pub(crate) struct HubAddresses {
    host: String,
    port: u16,
    /// From the pod's environment.
    service: Option<SocketAddr>,
    /// Where addresses are kept over a restart.
    file: Option<PathBuf>,
    resolve: Resolve,
    /// One look-up at a time: the system's resolver may take half a minute, and can't be told to stop.
    looking_up: tokio::sync::Mutex<Option<LookUp>>,
    known: Mutex<Known>,
}

struct LookUp {
    begun: Instant,
    task: JoinHandle<std::io::Result<Vec<SocketAddr>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Newest first.
    good: Vec<SocketAddr>,
    /// What the name said last.
    named: Vec<SocketAddr>,
    /// Answered, but no session came of it: until when.
    doubtful: Vec<(SocketAddr, Instant)>,
    /// The other end of the newest connection.
    reached: Option<SocketAddr>,
}

impl Known {
    fn doubts(&self, address: SocketAddr, now: Instant) -> bool {
        self.doubtful.iter().any(|&(other, until)| other == address && now < until)
    }

    /// Those that are in doubt last.
    fn sorted(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        let now = Instant::now();
        candidates.sort_by_key(|candidate| self.doubts(candidate.address, now));
        candidates
    }
}

impl HubAddresses {
    /// Those of a hub. Reads the file, if there is one.
    pub(crate) fn new(hub: &Uri, service: Option<SocketAddr>, file: Option<PathBuf>) -> Self {
        Self::with_resolver(hub, service, file, system_resolver())
    }

    pub(super) fn with_resolver(
        hub: &Uri,
        service: Option<SocketAddr>,
        file: Option<PathBuf>,
        resolve: Resolve,
    ) -> Self {
        let host = hub.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let default = if hub.scheme_str() == Some("https") { 443 } else { 80 };
        let port = hub.port_u16().unwrap_or(default);
        let good = file.as_deref().map(|file| read(file, &host)).unwrap_or_default();
        let known = Mutex::new(Known { good, ..Known::default() });
        Self { host, port, service, file, resolve, looking_up: tokio::sync::Mutex::default(), known }
    }

    /// The hub's name, as its URL has it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Connects to the first address that answers: one of the hub's, or of an agent that passes the connection on.
    pub(crate) async fn connect(&self, race: Race, relays: &Relays) -> Result<(TcpStream, Way), DialError> {
        self.known().reached = None;
        let late = race.relays_after.map(|after| Late { candidates: relays.candidates(), after });
        let late = late.unwrap_or_else(Late::none);
        let (stream, to) = match self.host.parse::<IpAddr>() {
            Ok(address) => {
                let only = Candidate::hub(SocketAddr::new(address, self.port), "its URL");
                let after = async {
                    sleep(race.direct_after).await;
                    Ok(vec![only])
                };
                dial(after, Late::none(), late).await?
            }
            Err(_name) => {
                let by_name = async {
                    sleep(race.direct_after).await;
                    self.by_name().await
                };
                let after = race.direct_after + LOOKUP_PATIENCE;
                dial(by_name, Late { candidates: self.without_name(), after }, late).await?
            }
        };
        // Reports are small and somebody waits for them; the hub is reached without, too.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let way = match to.relay {
            Some(node) => {
                relays.connected(&node);
                Way::Relay(node)
            }
            None => {
                self.known().reached = stream.peer_addr().ok();
                Way::Direct(stream.peer_addr().ok())
            }
        };
        Ok((stream, way))
    }

    /// A session came of the newest connection: its address is remembered, here and on the node.
    pub(crate) fn succeeded(&self) {
        let mut known = self.known();
        let Some(reached) = known.reached else { return };
        known.doubtful.retain(|(address, _)| *address != reached);
        let mut good = vec![reached];
        for address in known.named.iter().chain(&known.good) {
            if good.len() < REMEMBERED && !good.contains(address) {
                good.push(*address);
            }
        }
        let changed = known.good != good;
        known.good.clone_from(&good);
        drop(known);
        if let Some(file) = self.file.as_deref().filter(|file| changed || !file.exists())
            && let Err(error) = write(file, &self.host, &good)
        {
            tracing::warn!(%error, file = %file.display(), "the hub's addresses can't be kept for a restart");
        }
    }

    /// No session came of the newest connection: whoever has its address may not be the hub any more.
    pub(crate) fn failed(&self) {
        let mut known = self.known();
        let now = Instant::now();
        known.doubtful.retain(|(_, until)| now < *until);
        if let Some(reached) = known.reached.take()
            && !known.doubts(reached, now)
        {
            known.doubtful.push((reached, now + DISTRUST));
        }
    }

    /// Whether the newest attempt brought a connection to one of them.
    pub(crate) fn has_connected(&self) -> bool {
        self.known().reached.is_some()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the hub's name says.
    async fn by_name(&self) -> Result<Vec<Candidate>, LookupError> {
        let mut looking_up = self.looking_up.lock().await;
        if looking_up.as_ref().is_some_and(|old| old.task.is_finished() && old.begun.elapsed() > LOOKUP_AGE) {
            *looking_up = None;
        }
        let begin = || LookUp {
            begun: Instant::now(),
            task: tokio::spawn((self.resolve)(self.host.clone(), self.port)),
        };
        let found = (&mut looking_up.get_or_insert_with(begin).task).await;
        *looking_up = None;
        let found = found.unwrap_or_else(|_cancelled| Err(std::io::ErrorKind::Interrupted.into()));
        let found = found.map_err(|source| LookupError { host: self.host.clone(), source })?;
        let mut known = self.known();
        known.named.clone_from(&found);
        let candidates = found.into_iter().map(|address| Candidate::hub(address, OF_NAME));
        Ok(known.sorted(candidates.collect()))
    }

    /// What is known without it.
    fn without_name(&self) -> Vec<Candidate> {
        let known = self.known();
        let good = known.good.iter().map(|&address| Candidate::hub(address, LAST_GOOD));
        let service = self.service.map(|address| Candidate::hub(address, OF_SERVICE));
        known.sorted(good.chain(service).collect())
    }
}

fn system_resolver() -> Resolve {
    Box::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

/// The addresses of a file, if it speaks of this hub. What is wrong in it is passed over: it only ever helps.
fn read(file: &Path, host: &str) -> Vec<SocketAddr> {
    let small = fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() <= FILE_MAX);
    let text = if small { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let mut lines = text.lines();
    if lines.next() != Some(host) {
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let addresses = lines.filter_map(|line| line.trim().parse().ok());
    addresses.filter(|address| seen.insert(*address)).take(REMEMBERED).collect()
}

/// The hub's name, then one address a line, newest first.
fn write(file: &Path, host: &str, addresses: &[SocketAddr]) -> std::io::Result<()> {
    let mut text = format!("{host}\n");
    for address in addresses {
        text += &format!("{address}\n");
    }
    replace_file(file, &text)
}

/// Writes a file of this agent's own. Another process never sees half of it.
pub(super) fn replace_file(file: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&fresh)?.write_all(text.as_bytes())?;
    fs::rename(&fresh, file)
}

/// Whatever the pod's environment says of the hub's Service. Kubernetes leaves a reference to a Service that was not there
/// yet as it is written: that is no address, and no error.
pub(crate) fn service_address(host: Option<&str>, port: Option<&str>, hub: &Uri) -> Option<SocketAddr> {
    let address: IpAddr = host?.trim().parse().ok()?;
    let port = port.and_then(|port| port.trim().parse().ok()).or(hub.port_u16())?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests;
