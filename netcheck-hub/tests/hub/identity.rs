//! Agents that are not who they say they are: over real gRPC, against a fake Kubernetes API that reviews tokens.

use std::sync::Arc;
use std::time::Duration;

use netcheck_common::domain::Outcome;
use netcheck_hub::inventory::kubernetes::{Access, ApiHealth, connect};
use netcheck_hub::serve::identity::{Identity, Reviewer, Terms};
use netcheck_kubefake::{FakeApi, Token};
use netcheck_proto::v1;
use netcheck_proto::v1::agent_service_client::AgentServiceClient;
use netcheck_proto::v1::session_request::Message as FromAgent;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use crate::rig::{CLUSTER, FakeAgent, Rig, hello, is, set_roster};

/// Agents run as `netcheck/agent`, one pod per node; tokens are called as the node they are of.
const ACCOUNT: &str = "netcheck/agent";

struct Court {
    rig: Rig,
    fake: FakeApi,
}

async fn reviewer(fake: &FakeApi, terms: Terms) -> Reviewer {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig()).unwrap();
    let access = Access { kubeconfig: Some(kubeconfig), ..Access::default() };
    Reviewer::on_terms(connect(&access, &Arc::new(ApiHealth::default())).await.unwrap(), terms)
}

fn agents_pods() -> String {
    let pod = |node: u8| {
        format!(
            "- kind: Pod\n  metadata: {{name: agent-{node}, namespace: netcheck}}\n  \
             spec: {{nodeName: n{node}, hostNetwork: true}}\n  status: {{phase: Running, podIP: 10.0.0.{node}}}\n"
        )
    };
    (1..=3).map(pod).collect()
}

impl Court {
    async fn sit() -> Self {
        Self::sit_on(Terms::default()).await
    }

    /// The same, which asks so often.
    async fn sit_on(terms: Terms) -> Self {
        let fake = FakeApi::start().await.unwrap();
        for node in 1..=3 {
            let token =
                Token::of_pod("netcheck", "agent", &format!("agent-{node}"), Some(&format!("n{node}")));
            fake.token(&format!("token-{node}"), token);
        }
        let reviewer = Box::new(reviewer(&fake, terms).await);
        let rig =
            Rig::start_with(Identity::Tokens { reviewer, account: Some(ACCOUNT.to_owned()), all_pods: true });
        set_roster(&rig.hub, &format!("{CLUSTER}{}", agents_pods()));
        Self { rig, fake }
    }

    /// An agent that is let in.
    async fn agent(&self, node: &str, token: &str) -> FakeAgent {
        let channel = self.rig.channel().await;
        FakeAgent::start_with(channel, hello(node, "boot-1"), Some(token)).await
    }

    /// What an agent is answered that is not let in.
    async fn refused(&self, hello: v1::Hello, authorization: Option<&str>) -> Status {
        let (tx, rx) = tokio::sync::mpsc::channel(1);
        tx.send(v1::SessionRequest { message: Some(FromAgent::Hello(hello)) }).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(rx));
        if let Some(text) = authorization {
            let value: MetadataValue<Ascii> = text.parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let mut client = AgentServiceClient::new(self.rig.channel().await);
        let mut answers = client.session(request).await.unwrap().into_inner();
        answers.message().await.expect_err("refused")
    }
}

#[tokio::test]
async fn an_agent_with_its_own_nodes_token_is_let_in_and_the_api_is_asked_once() {
    let court = Court::sit().await;
    for _ in 0..5 {
        let mut agent = court.agent("n1", "token-1").await;
        let batch = agent.windows(1, |_| Outcome::Reply);
        let sequence = agent.welcome.applied_sequence + 1;
        agent.batch_as(sequence, batch).await;
    }
    court.rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
    assert_eq!(court.fake.called("create", "authentication.k8s.io/tokenreviews"), 1);
    // API servers before 1.30 don't write the node into the token: the pod shows it.
    court.fake.token("old-2", Token::of_pod("netcheck", "agent", "agent-2", None));
    court.agent("n2", "old-2").await;
}

#[tokio::test]
async fn rogues_are_refused_counted_and_harm_nobody() {
    let court = Court::sit().await;
    let mut honest = court.agent("n1", "token-1").await;
    let of = |account: &str, pod: &str, node: &str| Token::of_pod("netcheck", account, pod, Some(node));
    court.fake.token("expired", Token { expired: true, ..of("agent", "agent-2", "n2") });
    let elsewhere = vec!["https://kubernetes.default.svc".to_owned()];
    court.fake.token("audience", Token { audiences: elsewhere, ..of("agent", "agent-2", "n2") });
    court.fake.token("somebody", of("default", "web-2", "n2"));
    court.fake.token("moved", of("agent", "agent-3", "n2"));
    court.fake.token("unknown-pod", of("agent", "agent-9", "n2"));
    let unbound = Token { extra: std::collections::BTreeMap::new(), ..of("agent", "agent-2", "n2") };
    court.fake.token("unbound", unbound);
    let rows = [
        (None, Code::Unauthenticated, "no bearer token"),
        (Some("Basic bjI6bjI="), Code::Unauthenticated, "no bearer token"),
        (Some("Bearer "), Code::Unauthenticated, "not good"),
        (Some("Bearer forged"), Code::Unauthenticated, "invalid bearer token"),
        (Some("Bearer expired"), Code::Unauthenticated, "expired"),
        (Some("Bearer audience"), Code::Unauthenticated, "audience"),
        (Some("Bearer token-1"), Code::PermissionDenied, "is n2, but its token is n1's"),
        (Some("Bearer moved"), Code::PermissionDenied, "runs on n3"),
        (Some("Bearer somebody"), Code::PermissionDenied, "netcheck/agent"),
        (Some("Bearer unbound"), Code::PermissionDenied, "bound to no pod"),
        (Some("Bearer unknown-pod"), Code::Unavailable, "not known yet"),
    ];
    for (authorization, code, words) in rows {
        let status = court.refused(hello("n2", "boot-1"), authorization).await;
        assert_eq!(status.code(), code, "{authorization:?}: {status}");
        assert!(status.message().contains(words), "{authorization:?}: {status}");
    }
    let counters = court.rig.hub.lock().counters.clone();
    assert_eq!(
        (counters.sessions_unproven, counters.sessions_foreign, counters.sessions_unreviewed),
        (6, 4, 1)
    );
    assert_eq!(counters.sessions_refused, 11);
    {
        let state = court.rig.hub.lock();
        assert!(state.find("n2").is_none_or(|n2| state.agent(n2).live.is_none()));
    }
    let batch = honest.windows(3, |_| Outcome::Reply);
    assert_eq!(honest.batch(batch).await, 1);
    court.rig.cells("n1", "n2", is(v1::Verdict::Reachable)).await;
}

#[tokio::test]
async fn samples_for_another_node_are_refused_and_counted() {
    let court = Court::sit().await;
    let mut victim = court.agent("n2", "token-2").await;
    let mut rogue = court.agent("n1", "token-1").await;
    let batch = victim.windows(3, |_| Outcome::Reply);
    victim.batch(batch).await;
    court.rig.cells("n2", "n3", is(v1::Verdict::Reachable)).await;

    // The victim's path ids, all lost, in the rogue's session.
    let forged: Vec<v1::WindowBatch> = victim.windows(3, |_| Outcome::Timeout).windows;
    let foreign = victim.plan.keys().filter(|id| !rogue.plan.contains_key(id)).count() as u64;
    assert_eq!(foreign, victim.plan.len() as u64, "ids of two nodes differ");
    rogue.batch(v1::SampleBatch { windows: forged, ..Default::default() }).await;
    assert_eq!(court.rig.hub.lock().counters.unknown_path, 3 * foreign);
    court.rig.cells("n2", "n3", is(v1::Verdict::Reachable)).await;
    court.rig.cells("n1", "n3", is(v1::Verdict::NoData)).await;

    // A second hello, now as the victim; the session stays what it was.
    rogue.send(FromAgent::Hello(hello("n2", "boot-1"))).await;
    let batch = rogue.windows(3, |_| Outcome::Reply);
    rogue.batch(batch).await;
    assert_eq!(court.rig.hub.lock().counters.parts_refused, 1);
    court.rig.cells("n1", "n3", is(v1::Verdict::Reachable)).await;

    // What the victim's probe headers carry, as its own: drops of n2's probes would count as n3's.
    let stolen = v1::Hello { probe_session: victim.hello.probe_session, ..hello("n3", "boot-1") };
    let status = court.refused(stolen, Some("Bearer token-3")).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(court.rig.hub.lock().counters.sessions_contested, 1);
    let batch = victim.windows(1, |_| Outcome::Reply);
    assert_eq!(victim.batch(batch).await, 2);
}

#[tokio::test]
async fn while_the_api_is_away_known_tokens_are_good_and_others_come_again() {
    let mut court = Court::sit().await;
    court.agent("n1", "token-1").await;
    court.fake.faults(|faults| faults.break_reviews(true));
    court.agent("n1", "token-1").await;
    let status = court.refused(hello("n2", "boot-1"), Some("Bearer token-2")).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("etcd is away"), "{status}");
    court.fake.stop().await;
    let status = court.refused(hello("n2", "boot-1"), Some("Bearer token-2")).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    court.fake.restart().await.unwrap();
    court.fake.faults(|faults| faults.break_reviews(false));
    court.agent("n2", "token-2").await;
}

/// Short enough for a test.
fn impatient() -> Terms {
    let ms = Duration::from_millis;
    Terms { remember: Duration::ZERO, review: ms(200), again: ms(50), borne: ms(5000) }
}

fn expired(node: u8) -> Token {
    let pod = Token::of_pod("netcheck", "agent", &format!("agent-{node}"), Some(&format!("n{node}")));
    Token { expired: true, ..pod }
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_another_came() {
    let court = Court::sit_on(impatient()).await;
    let (mut kept, mut renewed) = (court.agent("n1", "token-1").await, court.agent("n2", "token-2").await);
    let next = Token::of_pod("netcheck", "agent", "agent-2", Some("n2"));
    court.fake.token("next-2", next);
    let renewal = v1::TokenRenewal { token: "next-2".to_owned() };
    assert!(!format!("{renewal:?}").contains("next-2"), "no log shows it");
    renewed.send(FromAgent::TokenRenewal(renewal)).await;
    let batch = renewed.windows(1, |_| Outcome::Reply);
    renewed.batch(batch).await;
    (1..=2).for_each(|node| court.fake.token(&format!("token-{node}"), expired(node)));
    let status = kept.ended().await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("expired"), "{status}");
    assert_eq!(court.rig.hub.lock().counters.sessions_unproven, 1);
    let batch = renewed.windows(1, |_| Outcome::Reply);
    assert_eq!(renewed.batch(batch).await, 2, "the other goes on");
    // It does not become another node's either.
    renewed.send(FromAgent::TokenRenewal(v1::TokenRenewal { token: "token-3".to_owned() })).await;
    assert_eq!(renewed.ended().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn who_renews_again_and_again_is_reviewed_all_the_same() {
    let court = Court::sit_on(impatient()).await;
    let mut agent = court.agent("n1", "token-1").await;
    court.fake.faults(|faults| faults.slow_reviews(Duration::from_millis(100)));
    let mut number = 0;
    let status = loop {
        tokio::select! {
            biased;
            status = agent.ended() => break status,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                number += 1;
                let token = format!("made-up-{number}");
                agent.send(FromAgent::TokenRenewal(v1::TokenRenewal { token })).await;
            }
        }
        assert!(number < 500, "the session goes on with tokens that are none");
    };
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

#[tokio::test]
async fn an_api_that_is_away_ends_no_session_for_long() {
    let court = Court::sit_on(impatient()).await;
    let mut agent = court.agent("n1", "token-1").await;
    court.fake.faults(|faults| faults.break_reviews(true));
    let asked = || court.fake.called("create", "authentication.k8s.io/tokenreviews");
    let before = asked();
    court.rig.until("it is asked several times", |_| asked() > before + 5).await;
    let batch = agent.windows(1, |_| Outcome::Reply);
    assert_eq!(agent.batch(batch).await, 1, "the session goes on");
    let status = agent.ended().await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("etcd is away"), "{status}");
}
