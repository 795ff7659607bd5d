//! An honest agent over a real connection, in the fewest words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netcheck_analysis::model::clock::{SECOND_NS, unix_now_ns};
use netcheck_common::domain::{Outcome, PathId};
use netcheck_common::window::PathWindow;
use netcheck_proto::parts::Joiner;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;
use netcheck_proto::{columns, v1};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// The number of the probe that is lost.
pub(crate) const LOST: u32 = 5;

pub(crate) struct Honest {
    hello: v1::Hello,
    tx: mpsc::Sender<v1::SessionRequest>,
    plan: watch::Receiver<Vec<v1::PathSpec>>,
    alive: Arc<AtomicBool>,
    sequence: u64,
}

/// What the lost probe is known by, which a rogue agent shall know, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) session: u64,
    pub(crate) path: u32,
}

pub(crate) fn hello(node: &str) -> v1::Hello {
    v1::Hello {
        node: node.to_owned(),
        boot_id: "boot-1".to_owned(),
        probe_session: node.bytes().map(u64::from).sum::<u64>() * 1000,
        responder_port: 6100,
        sent_unix_ns: unix_now_ns(),
        takes_table_changes: true,
        ..Default::default()
    }
}

fn hook(egress: bool) -> v1::HookStatus {
    v1::HookStatus {
        interface: "eth0".to_owned(),
        role: v1::InterfaceRole::Uplink.into(),
        egress,
        state: v1::HookState::Attached.into(),
        ..Default::default()
    }
}

impl Honest {
    pub(crate) async fn start(hub: SocketAddr, node: &str) -> Self {
        let (tx, rx) = mpsc::channel(16);
        let hello = hello(node);
        let say = |message| v1::SessionRequest { message: Some(message) };
        tx.send(say(FromAgent::Hello(hello.clone()))).await.unwrap();
        let status = v1::AgentStatus {
            ebpf: v1::EbpfState::Attached.into(),
            hooks: vec![hook(false), hook(true)],
            ..Default::default()
        };
        tx.send(say(FromAgent::Status(status))).await.unwrap();
        let mut client = AgentServiceClient::new(crate::hub::channel(hub).await);
        let mut answers = client.session(ReceiverStream::new(rx)).await.unwrap().into_inner();
        let (plans, plan) = watch::channel(Vec::new());
        let alive = Arc::new(AtomicBool::new(true));
        let lives = Arc::clone(&alive);
        tokio::spawn(async move {
            let mut joiner = Joiner::default();
            while let Ok(Some(answer)) = answers.message().await {
                if let Some(ToAgent::Plan(part)) = answer.message
                    && let Some(delta) = joiner.add(part)
                    && !delta.upsert.is_empty()
                {
                    plans.send_modify(|plan| {
                        if delta.base_version == 0 {
                            plan.clear();
                        }
                        plan.extend(delta.upsert);
                    });
                }
            }
            lives.store(false, Ordering::Relaxed);
        });
        let mut honest = Self { hello, tx, plan, alive, sequence: 0 };
        honest.plan.wait_for(|plan| !plan.is_empty()).await.unwrap();
        honest
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { session: self.hello.probe_session, path: self.udp_to_n2() }
    }

    /// Its path to n2 over UDP and IPv4.
    fn udp_to_n2(&self) -> u32 {
        let plan = self.plan.borrow();
        let wanted = |path: &&v1::PathSpec| {
            path.target == "node/n2" && path.kind() == v1::ProbeKind::Udp && path.address.len() == 4
        };
        plan.iter().find(wanted).map_or(0, |path| path.path_id)
    }

    async fn batch(&mut self, batch: v1::SampleBatch) {
        self.sequence += 1;
        let batch = v1::SampleBatch { sequence: self.sequence, ..batch };
        self.tx.send(v1::SessionRequest { message: Some(FromAgent::Batch(batch)) }).await.unwrap();
    }

    /// All paths were fine in the newest seconds, but for the one that loses.
    pub(crate) async fn report(&mut self) {
        let losing = if self.hello.node == "n1" { self.udp_to_n2() } else { 0 };
        let window = |path: &v1::PathSpec| {
            let mut window = PathWindow::empty(PathId(path.path_id));
            window.count(if path.path_id == losing { Outcome::Timeout } else { Outcome::Reply });
            window.round_trip.record(400_000);
            window
        };
        let rows: Vec<PathWindow> = self.plan.borrow().iter().map(window).collect();
        let newest = unix_now_ns() / SECOND_NS * SECOND_NS - SECOND_NS;
        let windows = (0..4).rev().map(|back| columns::encode(newest - back * SECOND_NS, SECOND_NS, &rows));
        self.batch(v1::SampleBatch { windows: windows.collect(), ..Default::default() }).await;
    }
}

/// A packet of the lost probe, as this node's kernel reports that it dropped it.
pub(crate) fn record(identity: Identity, observed_unix_ns: i64) -> v1::DropRecord {
    v1::DropRecord {
        probe_session: identity.session,
        path_id: identity.path,
        sequence: LOST,
        observed_unix_ns,
        interface: "eth0".to_owned(),
        stage: v1::Stage::NetfilterInput.into(),
        direction: v1::Direction::Request.into(),
        reason: "NETFILTER_DROP".to_owned(),
        flow: Some(v1::FlowTuple {
            kind: v1::ProbeKind::Udp.into(),
            source_address: vec![10, 0, 0, 1],
            destination_address: vec![10, 0, 0, 2],
            source_port: 40_000,
            destination_port: 6100,
        }),
        ..Default::default()
    }
}

/// n1 loses a probe to n2, whose kernel dropped it.
pub(crate) async fn lose_one(n1: &mut Honest, n2: &mut Honest) {
    let identity = n1.identity();
    n1.report().await;
    n2.report().await;
    let lost = v1::LostSample {
        path_id: identity.path,
        sequence: LOST,
        sent_unix_ns: unix_now_ns() - SECOND_NS,
        outcome: v1::Outcome::Timeout.into(),
        ..Default::default()
    };
    n1.batch(v1::SampleBatch { lost: vec![lost], ..Default::default() }).await;
    let drops = vec![record(identity, unix_now_ns() - SECOND_NS)];
    n2.batch(v1::SampleBatch { drops, ..Default::default() }).await;
}
