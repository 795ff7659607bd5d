//! Connections, streams and messages that are too many, too large or too slow: each costs itself, and is counted.

use std::io;
use std::time::Duration;

use netcheck_common::domain::Outcome;
use netcheck_hub::serve::accept::Limits;
use netcheck_hub::state::agent::UNHEARD_NS;
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::rig::{DEADLINE, FakeAgent, Gate, Rig, hello, is};

/// An honest agent works while and after a rogue does what it does.
async fn unharmed(rig: &Rig, honest: &mut FakeAgent) {
    let batch = honest.windows(3, |_| Outcome::Reply);
    honest.batch(batch).await;
    rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
}

async fn gated() -> (Rig, Gate, FakeAgent) {
    let rig = Rig::start();
    let gate = rig.gate(None, Limits::default()).await;
    let honest = FakeAgent::start(gate.channel().await, hello("n1", "boot-1")).await;
    (rig, gate, honest)
}

#[tokio::test]
async fn a_message_of_a_gigabyte() {
    let (rig, gate, mut honest) = gated().await;
    // Announced in its length prefix, as gRPC has it, over a session that was admitted.
    let mut rogue = FakeAgent::start(gate.channel().await, hello("n3", "boot-1")).await;
    let huge = v1::SampleBatch {
        sequence: 1,
        drops: vec![v1::DropRecord { reason: "x".repeat(1 << 30), ..Default::default() }],
        ..Default::default()
    };
    rogue.send(FromAgent::Batch(huge)).await;
    let status = loop {
        match rogue.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(rig.hub.lock().counters.messages_refused, 1);
    unharmed(&rig, &mut honest).await;
}

#[tokio::test]
async fn ten_thousand_streams() {
    let (rig, gate, mut honest) = gated().await;
    let channel = gate.channel().await;
    let mut rogues = JoinSet::new();
    for _ in 0..10_000 {
        let mut client = AgentServiceClient::new(channel.clone());
        rogues.spawn(async move {
            let (tx, rx) = tokio::sync::mpsc::channel(1);
            let nobody = v1::Hello::default();
            drop(tx.try_send(v1::SessionRequest { message: Some(FromAgent::Hello(nobody)) }));
            match client.session(ReceiverStream::new(rx)).await {
                Ok(answers) => answers.into_inner().message().await.is_err(),
                Err(_) => true,
            }
        });
    }
    unharmed(&rig, &mut honest).await;
    let refused = tokio::time::timeout(4 * DEADLINE, rogues.join_all()).await.expect("all of them end");
    assert!(refused.into_iter().all(|refused| refused));
    assert_eq!(rig.hub.lock().counters.sessions_refused, 10_000);
    unharmed(&rig, &mut honest).await;
}

/// When the hub last heard of n3.
fn heard(rig: &Rig) -> Option<i64> {
    let state = rig.hub.lock();
    let n3 = state.find("n3")?;
    Some(state.agent(n3).live.as_ref()?.heard_ns)
}

#[tokio::test]
async fn a_session_that_never_reads() {
    let (rig, gate, mut honest) = gated().await;
    // It lets the hub send less than a plan, and reads none of it.
    let narrow =
        Endpoint::from_shared(format!("http://{}", gate.address)).unwrap().initial_stream_window_size(100);
    let mut rogue = FakeAgent::greet(narrow.connect().await.unwrap(), hello("n3", "boot-1")).await;
    rig.until("the rogue is in", |state| state.counters.sessions == 2).await;
    let flood = async {
        loop {
            rogue.sequence += 1;
            let drops = vec![v1::DropRecord { reason: "x".repeat(10_000), ..Default::default() }];
            let batch = v1::SampleBatch { sequence: rogue.sequence, drops, ..Default::default() };
            rogue.send(FromAgent::Batch(batch)).await;
        }
    };
    let watch = async {
        let last = loop {
            let before = heard(&rig);
            unharmed(&rig, &mut honest).await;
            if before.is_some() && before == heard(&rig) {
                break before.unwrap_or_default();
            }
        };
        // A minute later, of which the honest one was heard since.
        rig.hub.tick(last + UNHEARD_NS + 1);
        assert_eq!(heard(&rig), None, "it does not count as connected");
        {
            let state = rig.hub.lock();
            assert_eq!(state.counters.sessions_silent, 1);
            assert!(state.find("n1").is_some_and(|n1| state.agent(n1).live.is_some()));
        }
        unharmed(&rig, &mut honest).await;
    };
    tokio::select! {
        () = flood => {}
        () = watch => {}
    }
}

#[tokio::test]
async fn connections_beyond_the_limits_and_silent_ones() {
    let rig = Rig::start();
    // Long enough for all to be there before the first is hung up on, however busy the machine.
    let limits = Limits { from_one_address: 20, begin: Duration::from_secs(3), ..Limits::default() };
    let gate = rig.gate(None, limits).await;
    let mut honest = FakeAgent::start(gate.channel().await, hello("n1", "boot-1")).await;
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(gate.address).await.unwrap());
    }
    rig.until("those beyond go for newer ones", |state| state.counters.connections_evicted == 41).await;
    // And the others, because they say nothing.
    for stream in &mut held {
        let closed = async {
            let mut buffer = [0; 256];
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        tokio::time::timeout(DEADLINE, closed).await.expect("the hub hangs up");
    }
    unharmed(&rig, &mut honest).await;
    let mut after = TcpStream::connect(gate.address).await.unwrap();
    after.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let reader = FakeAgent::start(gate.channel().await, hello("n2", "boot-1")).await;
    drop(reader);
    assert_eq!(rig.hub.lock().counters.connections_evicted, 41, "there is room again");
}
