//! Which object did it: asked where probes die, named in the incident.

use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;

use crate::rig::{FakeAgent, Rig, hello, lost};

/// Loses n1's probes to n2 over UDP, which n2's kernel drops.
async fn lose(source: &mut FakeAgent, other: &mut FakeAgent) -> u32 {
    let path = source.paths("node/n2", ProbeKind::Udp)[0];
    let broken = |spec: &v1::PathSpec| if spec.path_id == path { Outcome::Timeout } else { Outcome::Reply };
    let mut losses = source.windows(4, broken);
    losses.lost = vec![lost(path, 5)];
    source.batch(losses).await;
    let record = v1::DropRecord {
        probe_session: source.hello.probe_session,
        path_id: path,
        sequence: 5,
        observed_unix_ns: unix_now_ns(),
        interface: "eth0".to_owned(),
        stage: v1::Stage::NetfilterInput.into(),
        direction: v1::Direction::Request.into(),
        reason: "NETFILTER_DROP".to_owned(),
        function: "nft_do_chain".to_owned(),
        flow: Some(crate::evidence::from_n1_to_n2([10, 0, 0, 1])),
        ..Default::default()
    };
    other.batch(v1::SampleBatch { drops: vec![record], ..Default::default() }).await;
    path
}

/// The culprits of the only open incident, once there are some.
async fn culprits(rig: &Rig) -> Vec<v1::Culprit> {
    let named = |state: &netcheck_hub::state::State| {
        state.incidents.open().iter().any(|incident| !incident.culprits.is_empty())
    };
    rig.until("a culprit", named).await;
    let listed = rig.reader().await.list_incidents(v1::ListIncidentsRequest::default()).await.unwrap();
    let incidents = listed.into_inner().incidents;
    assert_eq!(incidents.len(), 1);
    incidents.into_iter().flat_map(|incident| incident.culprits).collect()
}

#[tokio::test]
async fn the_agent_at_the_place_is_asked_and_its_answer_is_the_incidents() {
    let rig = Rig::start();
    let mut source = rig.agent("n1").await;
    let explains = v1::Hello { explain_rules: v1::ExplainRules::OnIncident.into(), ..hello("n2", "boot-1") };
    let mut other = FakeAgent::start(rig.channel().await, explains).await;
    let path = lose(&mut source, &mut other).await;
    let question = other
        .until(|message| match message {
            ToAgent::CulpritQuestion(question) => Some(question.clone()),
            _ => None,
        })
        .await;
    let [case] = question.cases.as_slice() else { panic!("{question:?}") };
    let at = case.location.as_ref().unwrap();
    assert_eq!((at.node.as_str(), at.stage()), ("n2", v1::Stage::NetfilterInput));
    assert_eq!((case.probe_session, case.path_id), (source.hello.probe_session, path));
    assert!(!question.on_demand);
    let rule = v1::Culprit {
        node: "n1".to_owned(),
        kind: v1::CulpritKind::FilterRule.into(),
        object: "rule 7\x1b[31m".to_owned(),
        ..Default::default()
    };
    let found = v1::CulpritFound { case: 0, culprit: Some(rule) };
    let stray = v1::CulpritAnswer { id: question.id + 1, found: vec![found.clone()], again_after: None };
    other.send(FromAgent::CulpritAnswer(stray)).await;
    let answer = v1::CulpritAnswer { id: question.id, found: vec![found], again_after: None };
    other.send(FromAgent::CulpritAnswer(answer)).await;
    let named = culprits(&rig).await;
    let [culprit] = named.as_slice() else { panic!("{named:?}") };
    assert_eq!(culprit.object, "rule 7?[31m");
    assert_eq!(culprit.node, "n2", "an agent speaks of its own node");
    assert!(culprit.found_at.is_some());
    let state = rig.hub.lock();
    let counters = &state.counters;
    assert_eq!((counters.culprit_questions, counters.culprit_answers, counters.answers_unasked), (1, 1, 1));
}

#[tokio::test]
async fn an_agent_that_knows_no_such_question_is_not_asked_and_the_incident_says_so() {
    let rig = Rig::start();
    let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
    lose(&mut source, &mut other).await;
    let named = culprits(&rig).await;
    let [culprit] = named.as_slice() else { panic!("{named:?}") };
    assert_eq!((culprit.kind(), culprit.node.as_str()), (v1::CulpritKind::Untold, "n2"));
    assert!(culprit.text.contains("too old"), "{}", culprit.text);
    assert_eq!(rig.hub.lock().counters.culprit_questions, 0);
}
