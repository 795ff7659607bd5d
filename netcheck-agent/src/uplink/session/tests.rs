//! Against a scripted hub over an in-memory connection. The engine is a channel's other end.

mod endings;
mod relayed;

use std::sync::Mutex;
use std::time::Instant;

use hyper_util::rt::TokioIo;
use netcheck_common::domain::ProbeSession;
use netcheck_common::window::PathWindow;
use netcheck_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use netcheck_proto::v1::session_request::Message as ToHub;
use netcheck_proto::v1::session_response::Message as FromHub;
use tokio::io::DuplexStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Uri};
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::engine::{Engine, EngineConfig};
use crate::model::report::{ClosedWindow, Report};
use crate::model::status::Way;
use crate::net::interface_drops::NoKernelSource;
use crate::plan::policy;
use crate::uplink::buffer::Limits;
use crate::uplink::wire::Reporter;

const PATIENCE: Duration = Duration::from_secs(20);

/// One session as the hub sees it.
struct HubSession {
    heard: Streaming<v1::SessionRequest>,
    say: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

impl HubSession {
    async fn next(&mut self) -> ToHub {
        let next = timeout(PATIENCE, self.heard.next()).await.expect("the agent says something");
        next.expect("the session goes on").expect("no error").message.expect("a message")
    }

    /// The next message that `wanted` takes.
    async fn next_of<T>(&mut self, wanted: impl Fn(ToHub) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    async fn batch(&mut self) -> v1::SampleBatch {
        self.next_of(|message| if let ToHub::Batch(batch) = message { Some(batch) } else { None }).await
    }

    async fn applied(&mut self) -> v1::PlanApplied {
        self.next_of(|message| if let ToHub::PlanApplied(applied) = message { Some(applied) } else { None })
            .await
    }

    async fn say(&self, message: FromHub) {
        self.say.send(Ok(v1::SessionResponse { message: Some(message) })).await.unwrap();
    }

    /// Takes the hello and gives the welcome.
    async fn welcome(&mut self, applied_sequence: u64) -> v1::Hello {
        let ToHub::Hello(hello) = self.next().await else { panic!("hello comes first") };
        let welcome = v1::Welcome { hub_instance: "h".into(), node_id: 7, applied_sequence };
        self.say(FromHub::Welcome(welcome)).await;
        hello
    }

    async fn plan(&self, base_version: u64, version: u64, upsert: Vec<v1::PathSpec>) {
        let delta = v1::PlanDelta { version, base_version, upsert, ..Default::default() };
        self.say(FromHub::Plan(delta)).await;
    }
}

/// Hands every session to the script.
struct ScriptedHub {
    sessions: mpsc::Sender<HubSession>,
}

#[tonic::async_trait]
impl AgentService for ScriptedHub {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (say, said) = mpsc::channel(16);
        let session = HubSession { heard: request.into_inner(), say };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("the script is over"))?;
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

/// An agent's session task with a real engine that has no kernel side, and the hub's side of it.
struct Rig {
    sessions: mpsc::Receiver<HubSession>,
    outbox: Arc<Outbox>,
    hub: watch::Receiver<HubState>,
    relays: Arc<Relays>,
    nodes: Arc<NodeAddresses>,
    engine: EngineHandle,
    engine_thread: Option<std::thread::JoinHandle<()>>,
    task: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        Self::going(limits, &Arc::new(Mutex::new(Way::Direct(None))))
    }

    /// One whose connections go this way. While that is a relay, direct ones get no answer.
    fn going(limits: Limits, way: &Arc<Mutex<Way>>) -> Self {
        let (to_script, sessions) = mpsc::channel(4);
        let (connections, incoming) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(4);
        let server = tonic::transport::Server::builder()
            .add_service(AgentServiceServer::new(ScriptedHub { sessions: to_script }))
            .serve_with_incoming(ReceiverStream::new(incoming));
        tokio::spawn(server);
        let connections = Arc::new(Mutex::new(connections));
        let way = Arc::clone(way);
        let connect: Connect = Arc::new(move |race| {
            let connections = connections.lock().unwrap().clone();
            let way = way.lock().unwrap().clone();
            Box::pin(async move {
                if race == Race::DIRECT && way.relay().is_some() {
                    std::future::pending::<()>().await;
                }
                let connector = tower::service_fn(move |_: Uri| {
                    let connections = connections.clone();
                    async move {
                        let (agent, hub) = tokio::io::duplex(1 << 16);
                        connections.send(Ok(hub)).await.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
                        Ok::<_, std::io::Error>(TokioIo::new(agent))
                    }
                });
                let channel = Endpoint::from_static("http://hub").connect_with_connector(connector).await?;
                Ok(Connection { channel, way, socket: None })
            })
        });
        let kernel = Box::new(NoKernelSource::new(v1::EbpfState::Off, vec!["off".into()]));
        let config = EngineConfig {
            node: "n1".into(),
            session: ProbeSession(5),
            limit_pps: 100,
            policy: policy::refusal,
            allowed: policy::Allowed::default(),
            kernel,
            vantage: None,
        };
        let (engine, handle, output) = Engine::new(config).unwrap();
        let engine_thread = Some(std::thread::spawn(move || engine.run()));
        let outbox = Outbox::new(limits);
        let (hub, hub_seen) = watch::channel(HubState::default());
        let shutdown = CancellationToken::new();
        let (questions, mut asked) = mpsc::channel::<v1::CulpritQuestion>(1);
        let (answers, answered) = mpsc::channel(1);
        let culprits = Culprits { questions, answers: answered };
        tokio::spawn(async move {
            while let Some(question) = asked.recv().await {
                let _ = answers.send(v1::CulpritAnswer { id: question.id, ..Default::default() }).await;
            }
        });
        let addresses = Arc::new(HubAddresses::new(&Uri::from_static("http://hub"), None, None));
        let (relays, nodes) = (Arc::new(Relays::new("hub", None)), Arc::new(NodeAddresses::default()));
        let task = SessionTask {
            connect,
            addresses,
            relays: Arc::clone(&relays),
            nodes: Arc::clone(&nodes),
            token: None,
            hello: v1::Hello { node: "n1".into(), boot_id: "b".into(), ..Default::default() },
            engine: handle.clone(),
            replies: output.replies,
            culprits,
            status: output.status,
            outbox: Arc::clone(&outbox),
            hub,
            uptime: Uptime::begin(),
            notice: Arc::new(|| Some("said besides".to_owned())),
        };
        let task = tokio::spawn(task.run(shutdown.clone()));
        Self { sessions, outbox, hub: hub_seen, relays, nodes, engine: handle, engine_thread, task, shutdown }
    }

    async fn session(&mut self) -> HubSession {
        timeout(PATIENCE, self.sessions.recv()).await.expect("the agent connects").expect("the hub runs")
    }

    /// Puts one sample into the outbox.
    fn sample(&self) {
        let mut window = PathWindow::empty(netcheck_common::domain::PathId(1));
        window.reply = 1;
        let windows = vec![ClosedWindow { start_ns: 0, duration_ns: 1, paths: vec![window] }];
        let reporter = Reporter { session: ProbeSession(5), unix_offset_ns: 0 };
        self.outbox.push(reporter, &Report { windows, ..Report::default() });
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "the condition never held");
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.engine.stop();
        if let Some(thread) = self.engine_thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking());
        }
    }
}

fn icmp(path_id: u32, address: [u8; 4]) -> v1::PathSpec {
    v1::PathSpec {
        path_id,
        vantage: v1::Vantage::Host.into(),
        kind: v1::ProbeKind::Icmp.into(),
        address: address.to_vec(),
        ..Default::default()
    }
}

#[tokio::test]
async fn hello_plan_status_and_acknowledged_batches() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    let hello = hub.welcome(0).await;
    assert_eq!((hello.node.as_str(), hello.plan_version), ("n1", 0));
    assert!(hello.sent_unix_ns > 0);
    let status =
        hub.next_of(|message| if let ToHub::Status(status) = message { Some(status) } else { None }).await;
    assert_eq!(status.ebpf(), v1::EbpfState::Off);
    assert_eq!(status.degraded[0], "off");
    assert!(status.resident_bytes > 0);
    hub.plan(0, 3, vec![icmp(1, [127, 0, 0, 1])]).await;
    let applied = hub.applied().await;
    assert_eq!((applied.version, applied.refused.len()), (3, 1));
    assert!(applied.refused[0].why.contains("loopback"));
    rig.sample();
    rig.sample();
    assert_eq!(hub.batch().await.sequence, 1);
    assert_eq!(hub.batch().await.sequence, 2);
    hub.say(FromHub::Ack(v1::BatchAck { sequence: 2 })).await;
    rig.until(|rig| rig.outbox.status().batches == 0).await;
    assert!(rig.hub.borrow().connected());
}

#[tokio::test]
async fn evidence_is_answered_even_if_nothing_is_known() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    let question = v1::EvidenceQuestion {
        id: 9,
        paths: vec![v1::ReflectedPath { probe_session: 4, path_id: 2, ..Default::default() }],
        flows: vec![v1::FlowQuestion::default()],
    };
    hub.say(FromHub::EvidenceQuestion(question)).await;
    let answer = hub
        .next_of(|message| if let ToHub::EvidenceAnswer(answer) = message { Some(answer) } else { None })
        .await;
    assert_eq!((answer.id, answer.paths.len(), answer.flows.len()), (9, 1, 1));
    assert!(!answer.paths[0].known && !answer.flows[0].known);
    assert_eq!(answer.paths[0].probe_session, 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_is_sent_again() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    (0..3).for_each(|_| rig.sample());
    for sequence in 1..=3 {
        assert_eq!(hub.batch().await.sequence, sequence);
    }
    hub.say.send(Err(Status::unavailable("restarting"))).await.unwrap();
    drop(hub);
    rig.until(|rig| !rig.hub.borrow().connected()).await;
    assert!(
        rig.hub.borrow().trouble(tokio::time::Instant::now()).contains("restarting"),
        "{:?}",
        rig.hub.borrow()
    );
    let mut hub = rig.session().await;
    hub.welcome(1).await;
    assert_eq!(hub.batch().await.sequence, 2, "what the hub has applied is not sent again");
    assert_eq!(hub.batch().await.sequence, 3);
    assert_eq!(rig.hub.borrow().sessions, 2);
}

#[tokio::test]
async fn a_gap_in_the_plan_starts_a_new_session_with_the_plan_kept() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    hub.plan(0, 3, vec![]).await;
    assert_eq!(hub.applied().await.version, 3);
    hub.plan(7, 8, vec![]).await;
    let mut hub = rig.session().await;
    let hello = hub.welcome(0).await;
    assert_eq!(hello.plan_version, 3);
    hub.plan(0, 8, vec![]).await;
    assert_eq!(hub.applied().await.version, 8);
}

#[tokio::test]
async fn what_the_buffer_dropped_while_the_hub_was_away_is_reported() {
    let mut rig = Rig::new(Limits { bytes: usize::MAX, batches: 2 });
    (0..5).for_each(|_| rig.sample());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    let batch = hub.batch().await;
    assert_eq!((batch.sequence, batch.dropped_batches, batch.dropped_samples), (4, 3, 3));
    assert_eq!(hub.batch().await.dropped_batches, 0);
}

#[tokio::test]
async fn at_shutdown_the_last_batch_is_acknowledged_first() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    rig.sample();
    rig.shutdown.cancel();
    rig.engine.stop();
    assert_eq!(hub.batch().await.sequence, 1);
    rig.sample();
    rig.outbox.close();
    assert_eq!(hub.batch().await.sequence, 2);
    assert!(!rig.task.is_finished());
    hub.say(FromHub::Ack(v1::BatchAck { sequence: 2 })).await;
    let task = std::mem::replace(&mut rig.task, tokio::spawn(async {}));
    timeout(PATIENCE, task).await.expect("ends once all is acknowledged").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hub_without_manners_is_left() {
    let mut rig = Rig::new(Limits::default());
    let hub = rig.session().await;
    hub.say(FromHub::Ack(v1::BatchAck { sequence: 1 })).await;
    rig.until(|rig| rig.hub.borrow().trouble(tokio::time::Instant::now()).contains("welcome")).await;
    // One that says nothing at all is left after a while.
    let _silent = rig.session().await;
    let mut third = rig.session().await;
    third.welcome(0).await;
    rig.until(|rig| rig.hub.borrow().sessions == 1).await;
}

#[tokio::test]
async fn a_plan_in_parts_is_applied_as_one() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    // Refused paths, for they are reported and never probed.
    let loopback = |path_id: u32| icmp(path_id, [127, 0, 0, 1]);
    hub.plan(0, 4, vec![loopback(1), loopback(2)]).await;
    assert_eq!(hub.applied().await.version, 4);
    let parts = [
        v1::PlanDelta { base_version: 4, remove: vec![1], more: true, ..Default::default() },
        v1::PlanDelta { base_version: 5, upsert: vec![loopback(3)], more: true, ..Default::default() },
        v1::PlanDelta { base_version: 5, upsert: vec![loopback(4)], ..Default::default() },
    ];
    for part in parts {
        hub.say(FromHub::Plan(v1::PlanDelta { version: 5, ..part })).await;
    }
    let applied = hub.applied().await;
    let refused: Vec<u32> = applied.refused.iter().map(|refused| refused.path_id).collect();
    assert_eq!((applied.version, refused), (5, vec![2, 3, 4]));
    hub.plan(5, 6, vec![]).await;
    assert_eq!(hub.applied().await.version, 6, "one change, one answer");
}
