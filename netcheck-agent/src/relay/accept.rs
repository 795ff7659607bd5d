//! The relay's port. One task accepts, admits and passes on; cancelling it ends all sessions that are passed on, whose
//! agents come another way.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::status::HubState;
use crate::relay::LiveRelayCounts;
use crate::relay::admission::{Admission, Refusal};
use crate::relay::greeting::Greeting;
use crate::relay::nodes::NodeAddresses;
use crate::relay::pipe::{bound, pass_on};

/// How long the hub may take to accept: shorter than an agent waits for a relay.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// After accepting failed, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The task.
pub(crate) struct RelayTask {
    pub(crate) listener: TcpListener,
    /// This node's name.
    pub(crate) node: String,
    /// Where this agent's own session reached the hub.
    pub(crate) hub: watch::Receiver<HubState>,
    pub(crate) nodes: Arc<NodeAddresses>,
    pub(crate) counts: Arc<LiveRelayCounts>,
}

impl RelayTask {
    /// Passes on until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut admission = Admission::default();
        let mut sessions: JoinSet<IpAddr> = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((agent, peer)) => self.accepted(agent, peer, &mut admission, &mut sessions),
                    Err(error) => {
                        tracing::debug!(%error, "accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = sessions.join_next() => if let Ok(from) = ended {
                    admission.left(from);
                },
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn accepted(
        &self,
        agent: TcpStream,
        peer: SocketAddr,
        admission: &mut Admission,
        sessions: &mut JoinSet<IpAddr>,
    ) {
        let from = peer.ip().to_canonical();
        let hub = self.hub.borrow().direct();
        match admission.admit(from, self.nodes.contains(from), hub, Instant::now()) {
            Ok(hub) => {
                let (node, counts) = (self.node.clone(), Arc::clone(&self.counts));
                sessions.spawn(async move {
                    serve(agent, from, hub, (node, &counts)).await;
                    from
                });
            }
            Err(why) => {
                self.counts.refuse(why);
                tracing::debug!(%from, reason = why.word(), "a session is not passed on");
                if let Some(why) = why.reply() {
                    // A fresh socket has room for a line; whoever does not get it sees that the connection ends.
                    let _ = agent.try_write(Greeting::Refused { why: why.to_owned() }.line().as_bytes());
                }
            }
        }
    }
}

/// Connects to the hub, says so, and passes on.
async fn serve(
    mut agent: TcpStream,
    from: IpAddr,
    hub: SocketAddr,
    (node, counts): (String, &LiveRelayCounts),
) {
    let hub = timeout(DIAL_TIMEOUT, TcpStream::connect(hub)).await;
    let greeting = match &hub {
        Ok(Ok(_)) => Greeting::Through { node },
        _ => Greeting::Refused { why: Refusal::HubUnreachable.reply().unwrap_or_default().to_owned() },
    };
    let greeted = async { agent.write_all(greeting.line().as_bytes()).await }.await;
    let Ok(Ok(hub)) = hub else {
        counts.refuse(Refusal::HubUnreachable);
        return;
    };
    if let Err(error) = greeted.and_then(|()| bound(&agent)).and_then(|()| bound(&hub)) {
        tracing::debug!(%error, %from, "a session is not passed on");
        return;
    }
    let _open = Open::count(counts);
    tracing::info!(%from, "passing on the session of another agent");
    pass_on(agent, hub, counts).await;
    tracing::info!(%from, "the session of another agent has ended");
}

/// Counts a session as open as long as it lives, however it ends.
struct Open<'a>(&'a LiveRelayCounts);

impl<'a> Open<'a> {
    fn count(counts: &'a LiveRelayCounts) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        counts.sessions.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use netcheck_proto::v1;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::model::status::Way;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Rig {
        address: SocketAddr,
        hub: TcpListener,
        state: watch::Sender<HubState>,
        counts: Arc<LiveRelayCounts>,
        nodes: Arc<NodeAddresses>,
        shutdown: CancellationToken,
    }

    impl Rig {
        /// A relay whose own session reaches the hub, and that takes this machine for a node.
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut state = HubState::default();
            state.welcomed(Instant::now(), Way::Direct(hub.local_addr().ok()));
            let (state, seen) = watch::channel(state);
            let nodes = Arc::new(NodeAddresses::default());
            let entry =
                v1::AddressEntry { address: vec![127, 0, 0, 1], node: "n2".into(), ..Default::default() };
            nodes.learn(&v1::AddressTable { entries: vec![entry], ..Default::default() });
            let counts = Arc::new(LiveRelayCounts::default());
            let (shutdown, known, counted) =
                (CancellationToken::new(), Arc::clone(&nodes), Arc::clone(&counts));
            let task = RelayTask { listener, node: "n1".into(), hub: seen, nodes: known, counts: counted };
            tokio::spawn(task.run(shutdown.clone()));
            Self { address, hub, state, counts, nodes, shutdown }
        }

        async fn greeting(&self) -> (TcpStream, std::io::Result<Greeting>) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let greeting = timeout(PATIENCE, Greeting::read(&mut stream)).await.unwrap();
            (stream, greeting)
        }
    }

    #[tokio::test]
    async fn bytes_go_to_the_hub_and_back_and_are_counted() {
        let rig = Rig::start().await;
        let (greeted, accepted) = tokio::join!(rig.greeting(), rig.hub.accept());
        let ((mut agent, greeting), mut hub) = (greeted, accepted.unwrap().0);
        assert_eq!(greeting.unwrap(), Greeting::Through { node: "n1".into() });
        agent.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        hub.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        assert_eq!((rig.counts.read().open, rig.counts.read().to_hub_bytes), (1, 5));
        // Told to end, the relay hangs up on both.
        rig.shutdown.cancel();
        assert_eq!(timeout(PATIENCE, agent.read(&mut heard)).await.unwrap().unwrap_or(0), 0);
        assert_eq!(timeout(PATIENCE, hub.read(&mut heard)).await.unwrap().unwrap_or(0), 0);
        assert_eq!((rig.counts.read().open, rig.counts.read().sessions), (0, 1));
    }

    #[tokio::test]
    async fn a_relay_that_is_relayed_itself_passes_nothing_on() {
        let rig = Rig::start().await;
        rig.state.send_modify(|hub| hub.welcomed(Instant::now(), Way::Relay("n7".into())));
        let (_stream, greeting) = rig.greeting().await;
        assert!(matches!(greeting, Ok(Greeting::Refused { .. })), "{greeting:?}");
        assert_eq!(rig.counts.read().refused["no_session"], 1);
    }

    #[tokio::test]
    async fn strangers_get_no_reply_and_a_hub_that_is_gone_is_reported() {
        let rig = Rig::start().await;
        let Rig { hub, .. } = &rig;
        let address = hub.local_addr().unwrap();
        rig.nodes.learn(&v1::AddressTable::default());
        assert!(rig.greeting().await.1.is_err());
        assert_eq!(rig.counts.read().refused["stranger"], 1);
        let entry = v1::AddressEntry { address: vec![127, 0, 0, 1], node: "n2".into(), ..Default::default() };
        rig.nodes.learn(&v1::AddressTable { entries: vec![entry], ..Default::default() });
        // Nobody listens at a port that was never given out again on purpose: the next one of a closed listener.
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_ne!(gone, address);
        rig.state.send_modify(|hub| hub.welcomed(Instant::now(), Way::Direct(Some(gone))));
        let (_stream, greeting) = rig.greeting().await;
        let Ok(Greeting::Refused { why }) = greeting else { panic!("{greeting:?}") };
        assert!(why.contains("hub"), "{why}");
        assert_eq!(rig.counts.read().refused["hub_unreachable"], 1);
    }
}
