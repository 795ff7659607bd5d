//! An agent that does what a test says.

use std::collections::BTreeMap;

use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_common::domain::{Outcome, PathId, ProbeKind};
use netcheck_common::window::PathWindow;
use netcheck_proto::parts::Joiner;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use netcheck_proto::{columns, convert, v1};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::DEADLINE;

pub(crate) fn hello(node: &str, boot_id: &str) -> v1::Hello {
    v1::Hello {
        node: node.to_owned(),
        boot_id: boot_id.to_owned(),
        probe_session: node.bytes().map(u64::from).sum::<u64>() * 1000 + boot_id.len() as u64,
        agent_version: "test".to_owned(),
        responder_port: 6100,
        sent_unix_ns: unix_now_ns(),
        takes_table_changes: true,
        ..Default::default()
    }
}

pub(crate) struct FakeAgent {
    pub(crate) hello: v1::Hello,
    pub(crate) welcome: v1::Welcome,
    pub(crate) plan: BTreeMap<u32, v1::PathSpec>,
    pub(crate) plan_version: u64,
    pub(crate) addresses: v1::AddressTable,
    pub(crate) sequence: u64,
    /// Bytes of the largest message that had a plan or a part of it.
    pub(crate) largest_part: usize,
    joiner: Joiner,
    tx: mpsc::Sender<v1::SessionRequest>,
    rx: Streaming<v1::SessionResponse>,
}

impl FakeAgent {
    /// Says hello, and nothing more.
    pub(crate) async fn greet(channel: Channel, hello: v1::Hello) -> Self {
        Self::greet_with(channel, hello, None).await
    }

    async fn greet_with(channel: Channel, hello: v1::Hello, token: Option<&str>) -> Self {
        let (tx, requests) = mpsc::channel(16);
        let mut client = AgentServiceClient::new(channel);
        let first = v1::SessionRequest { message: Some(FromAgent::Hello(hello.clone())) };
        tx.send(first).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(requests));
        if let Some(token) = token {
            let value: MetadataValue<Ascii> = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let rx = client.session(request).await.unwrap().into_inner();
        Self {
            hello,
            welcome: v1::Welcome::default(),
            plan: BTreeMap::new(),
            plan_version: 0,
            addresses: v1::AddressTable::default(),
            sequence: 0,
            largest_part: 0,
            joiner: Joiner::default(),
            tx,
            rx,
        }
    }

    pub(crate) async fn start(channel: Channel, hello: v1::Hello) -> Self {
        Self::start_with(channel, hello, None).await
    }

    /// One that shows a token.
    pub(crate) async fn start_with(channel: Channel, hello: v1::Hello, token: Option<&str>) -> Self {
        let mut agent = Self::greet_with(channel, hello, token).await;
        agent.welcome = agent
            .until(|message| match message {
                ToAgent::Welcome(welcome) => Some(welcome.clone()),
                _ => None,
            })
            .await;
        agent.until_plan(|_| true).await;
        agent.send(FromAgent::Status(healthy())).await;
        agent
    }

    pub(crate) async fn send(&self, message: FromAgent) {
        self.tx.send(v1::SessionRequest { message: Some(message) }).await.unwrap();
    }

    /// The next message that the hub sends; the parts of a plan as one.
    pub(crate) async fn next(&mut self) -> Result<Option<ToAgent>, Status> {
        loop {
            let message =
                tokio::time::timeout(DEADLINE, self.rx.message()).await.expect("the hub says something")?;
            match message.and_then(|message| message.message) {
                Some(ToAgent::Plan(part)) => {
                    self.largest_part = self.largest_part.max(part.encoded_len());
                    if let Some(delta) = self.joiner.add(part) {
                        self.apply(&delta);
                        return Ok(Some(ToAgent::Plan(delta)));
                    }
                }
                other => return Ok(other),
            }
        }
    }

    /// Why the hub ends the session.
    pub(crate) async fn ended(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a reason"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn until<T>(&mut self, wanted: impl Fn(&ToAgent) -> Option<T>) -> T {
        loop {
            let message = self.next().await.unwrap().expect("the session goes on");
            if let Some(found) = wanted(&message) {
                return found;
            }
        }
    }

    pub(crate) async fn until_plan(&mut self, wanted: impl Fn(&v1::PlanDelta) -> bool) -> v1::PlanDelta {
        self.until(|message| match message {
            ToAgent::Plan(delta) if wanted(delta) => Some(delta.clone()),
            _ => None,
        })
        .await
    }

    fn apply(&mut self, delta: &v1::PlanDelta) {
        if delta.base_version == 0 {
            self.plan.clear();
        } else {
            assert_eq!(delta.base_version, self.plan_version, "deltas follow each other");
        }
        for id in &delta.remove {
            assert!(self.plan.remove(id).is_some(), "only what is there is removed");
        }
        self.plan.extend(delta.upsert.iter().map(|path| (path.path_id, path.clone())));
        match delta.addresses.clone() {
            Some(change) if change.change => {
                let stale = |of: &v1::AddressEntry| {
                    change.gone.contains(&of.address)
                        || change.entries.iter().any(|fresh| fresh.address == of.address)
                };
                self.addresses.entries.retain(|of| !stale(of));
                self.addresses.entries.extend(change.entries);
                self.addresses.watched_ports = change.watched_ports;
            }
            Some(table) => self.addresses = table,
            None => {}
        }
        self.plan_version = delta.version;
    }

    /// Ids of its paths of one kind to one target.
    pub(crate) fn paths(&self, target: &str, kind: ProbeKind) -> Vec<u32> {
        let wanted =
            |path: &&v1::PathSpec| path.target == target && path.kind == convert::kind_to_wire(kind) as i32;
        self.plan.values().filter(wanted).map(|path| path.path_id).collect()
    }

    /// Sends a batch and waits for its acknowledgement.
    pub(crate) async fn batch(&mut self, batch: v1::SampleBatch) -> u64 {
        let sequence = self.sequence + 1;
        self.batch_as(sequence, batch).await
    }

    pub(crate) async fn batch_as(&mut self, sequence: u64, batch: v1::SampleBatch) -> u64 {
        self.sequence = sequence;
        self.send(FromAgent::Batch(v1::SampleBatch { sequence, ..batch })).await;
        self.until(|message| match message {
            ToAgent::Ack(ack) => Some(ack.sequence),
            _ => None,
        })
        .await
    }

    /// A batch in which all paths of the plan had these outcomes in each of the newest `seconds` windows.
    pub(crate) fn windows(
        &self,
        seconds: i64,
        outcome_of: impl Fn(&v1::PathSpec) -> Outcome,
    ) -> v1::SampleBatch {
        let newest = unix_now_ns() / SECOND_NS * SECOND_NS;
        let windows = (1..=seconds).rev().map(|back| {
            let rows: Vec<PathWindow> = self
                .plan
                .values()
                .map(|path| {
                    let mut window = PathWindow::empty(PathId(path.path_id));
                    let outcome = outcome_of(path);
                    window.count(outcome);
                    if outcome == Outcome::Reply {
                        window.round_trip.record(400_000);
                    }
                    window
                })
                .collect();
            columns::encode(newest - back * SECOND_NS, SECOND_NS, &rows)
        });
        v1::SampleBatch { windows: windows.collect(), ..Default::default() }
    }
}

/// The status of an agent whose hooks all see.
pub(crate) fn healthy() -> v1::AgentStatus {
    netcheck_simagents::status(false)
}

/// A probe that timed out after it had left through eth0.
pub(crate) fn lost(path_id: u32, sequence: u32) -> v1::LostSample {
    v1::LostSample {
        path_id,
        sequence,
        sent_unix_ns: unix_now_ns() - SECOND_NS,
        outcome: v1::Outcome::Timeout.into(),
        request_hooks: vec![eth0(true)],
        ..Default::default()
    }
}

pub(crate) fn eth0(egress: bool) -> v1::HookSeen {
    v1::HookSeen {
        interface: "eth0".to_owned(),
        role: v1::InterfaceRole::Uplink.into(),
        egress,
        encapsulated: false,
    }
}
