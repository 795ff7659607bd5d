//! Losses, facts from other nodes, and where that puts their end.

use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::model::location::Stage;
use netcheck_common::domain::{Outcome, PathId, ProbeKind};
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;
use netcheck_proto::v1::session_response::Message as ToAgent;

use crate::rig::{FakeAgent, Rig, eth0, healthy, lost};

fn broken(ids: &[u32]) -> impl Fn(&v1::PathSpec) -> Outcome + '_ {
    move |path| if ids.contains(&path.path_id) { Outcome::Timeout } else { Outcome::Reply }
}

/// The cell of one path, once its loss is located as wanted.
async fn located(rig: &Rig, target: &str, wanted: impl Fn(&v1::LossLocation) -> bool) -> v1::LossLocation {
    let wanted = |cell: &v1::MatrixCell| {
        cell.path.as_ref().unwrap().kind() != v1::ProbeKind::Udp
            || cell.path.as_ref().unwrap().family() != v1::Family::Ipv4
            || cell.loss.as_ref().and_then(|loss| loss.location.as_ref()).is_some_and(&wanted)
    };
    let cells = rig.cells("n1", target, wanted).await;
    cells.into_iter().find_map(|cell| cell.loss).unwrap().location.unwrap()
}

async fn answer(agent: &mut FakeAgent, reply: impl Fn(&v1::ReflectedPath) -> v1::ReflectedState) {
    let question = agent
        .until(|message| match message {
            ToAgent::EvidenceQuestion(question) => Some(question.clone()),
            _ => None,
        })
        .await;
    let paths = question.paths.iter().map(reply).collect();
    let answer = v1::EvidenceAnswer { id: question.id, paths, flows: Vec::new() };
    agent.send(FromAgent::EvidenceAnswer(answer)).await;
}

/// A UDP probe's packet of n1's to n2, as it was sent from this address.
pub(crate) fn from_n1_to_n2(source: [u8; 4]) -> v1::FlowTuple {
    v1::FlowTuple {
        kind: v1::ProbeKind::Udp.into(),
        source_address: source.to_vec(),
        destination_address: vec![10, 0, 0, 2],
        source_port: 40_000,
        destination_port: 6100,
    }
}

#[tokio::test]
async fn a_header_that_a_pod_forges_places_no_loss() {
    for record_first in [true, false] {
        let rig = Rig::start();
        let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
        let path = source.paths("node/n2", ProbeKind::Udp)[0];
        // What n2's kernel truly reports of a packet that pod web-2 sent, with the header of n1's lost probe.
        let record = v1::DropRecord {
            probe_session: source.hello.probe_session,
            path_id: path,
            sequence: 5,
            observed_unix_ns: unix_now_ns(),
            stage: v1::Stage::NetfilterInput.into(),
            direction: v1::Direction::Request.into(),
            reason: "NETFILTER_DROP".to_owned(),
            flow: Some(from_n1_to_n2([10, 244, 2, 2])),
            ..Default::default()
        };
        let records = v1::SampleBatch { drops: vec![record], ..Default::default() };
        let mut losses = source.windows(4, broken(&[path]));
        losses.lost = vec![lost(path, 5)];
        if record_first {
            other.batch(records).await;
            source.batch(losses).await;
        } else {
            source.batch(losses).await;
            other.batch(records).await;
        }
        rig.until("it is looked at", |state| state.counters.drop_records_misfit == 1).await;
        let session = source.hello.probe_session;
        answer(&mut other, |_| v1::ReflectedState {
            probe_session: session,
            path_id: path,
            known: true,
            highest_sequence: 4,
            arrived: 0b1111,
            ..Default::default()
        })
        .await;
        let at = located(&rig, "node/n2", |at| at.stage() == v1::Stage::Wire).await;
        assert_eq!(at.certainty(), v1::Certainty::Inferred, "the wire, as before");
    }
}

#[tokio::test]
async fn a_drop_record_of_another_node_locates_the_loss_whichever_comes_first() {
    for record_first in [true, false] {
        let rig = Rig::start();
        let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
        let path = source.paths("node/n2", ProbeKind::Udp)[0];
        let record = v1::DropRecord {
            probe_session: source.hello.probe_session,
            path_id: path,
            sequence: 5,
            observed_unix_ns: unix_now_ns(),
            interface: "eth0".to_owned(),
            role: v1::InterfaceRole::Uplink.into(),
            stage: v1::Stage::NetfilterInput.into(),
            direction: v1::Direction::Request.into(),
            reason: "NETFILTER_DROP".to_owned(),
            function: "nf_hook_slow".to_owned(),
            flow: Some(from_n1_to_n2([10, 0, 0, 1])),
            ..Default::default()
        };
        let records = v1::SampleBatch { drops: vec![record], ..Default::default() };
        let mut losses = source.windows(4, broken(&[path]));
        losses.lost = vec![lost(path, 5)];
        if record_first {
            other.batch(records).await;
            source.batch(losses).await;
        } else {
            source.batch(losses).await;
            other.batch(records).await;
        }
        let at = located(&rig, "node/n2", |at| at.certainty() == v1::Certainty::Observed).await;
        assert_eq!(
            (at.node.as_str(), at.interface.as_str(), at.reason.as_str()),
            ("n2", "eth0", "NETFILTER_DROP")
        );
        let request = v1::GetPathRequest {
            source: "n1".to_owned(),
            target: "n2".to_owned(),
            selector: Some(v1::PathSelector { kinds: vec![v1::ProbeKind::Udp.into()], ..Default::default() }),
            ..Default::default()
        };
        let paths = rig.reader().await.get_path(request).await.unwrap().into_inner().paths;
        let detail = paths.iter().find(|path| !path.lost_probes.is_empty()).unwrap();
        assert_eq!(
            detail.lost_probes[0].evidence,
            ["the kernel of n2 dropped the request: NETFILTER_DROP in nf_hook_slow at eth0 \
                 (10.0.0.1:40000 → 10.0.0.2:6100)"]
        );
        let report = rig
            .reader()
            .await
            .get_report(v1::GetReportRequest::default())
            .await
            .unwrap()
            .into_inner()
            .report
            .unwrap();
        assert_eq!((report.unreachable, report.findings.len()), (1, 1));
        let (what, place) = report.findings[0].headline.split_once(" UTC at ").unwrap();
        assert!(what.starts_with("n1 → n2, UDP over IPv4: 100 % of requests lost since "), "{what}");
        assert_eq!(
            place,
            "n2, interface eth0, netfilter input: NETFILTER_DROP in nf_hook_slow (observed, 1 of 4); \
             ICMP, TCP and IPv6 on the same path are fine"
        );
    }
}

#[tokio::test]
async fn the_destination_is_asked_and_distinguishes_lost_requests_from_lost_replies() {
    let rig = Rig::start();
    let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
    let path = source.paths("node/n2", ProbeKind::Udp)[0];
    let session = source.hello.probe_session;
    let mut losses = source.windows(4, broken(&[path]));
    losses.lost = vec![lost(path, 5)];
    source.batch(losses).await;
    // It saw requests up to 4 only.
    answer(&mut other, |asked| {
        assert_eq!((asked.probe_session, asked.path_id), (session, path));
        v1::ReflectedState {
            probe_session: session,
            path_id: path,
            known: true,
            requests: 4,
            highest_sequence: 4,
            arrived: 0b1111,
            ..Default::default()
        }
    })
    .await;
    let at = located(&rig, "node/n2", |at| at.stage() == v1::Stage::Wire).await;
    assert_eq!(
        (at.node.as_str(), at.interface.as_str(), at.direction()),
        ("n1", "eth0", v1::Direction::Request)
    );
    assert_eq!((at.next_node.as_str(), at.next_interface.as_str()), ("n2", "eth0"));
    assert_eq!(at.certainty(), v1::Certainty::Inferred);

    // The next ones arrive, and their replies leave.
    let replies = v1::SampleBatch { lost: vec![lost(path, 6), lost(path, 7)], ..Default::default() };
    source.batch(replies).await;
    answer(&mut other, |_| v1::ReflectedState {
        probe_session: session,
        path_id: path,
        known: true,
        requests: 6,
        highest_sequence: 7,
        arrived: 0b1_101_111,
        last_request_hook: Some(eth0(false)),
        last_reply_hook: Some(eth0(true)),
        last_reply_sequence: 7,
        ..Default::default()
    })
    .await;
    let at = located(&rig, "node/n2", |at| at.direction() == v1::Direction::Reply).await;
    assert_eq!((at.node.as_str(), at.stage(), at.next_node.as_str()), ("n2", v1::Stage::Wire, "n1"));
}

#[tokio::test]
async fn a_refusing_backend_is_named() {
    let rig = Rig::start();
    let mut source = rig.agent("n1").await;
    let path = source.paths("service/default/web:80", ProbeKind::Tcp)[0];
    let mut batch = source.windows(9, |_| Outcome::Reply);
    let mut refused = lost(path, 40);
    refused.sent_unix_ns = unix_now_ns();
    refused.outcome = v1::Outcome::Refused.into();
    refused.flow = Some(v1::FlowTuple {
        kind: v1::ProbeKind::Tcp.into(),
        source_address: vec![10, 0, 0, 1],
        destination_address: vec![10, 244, 3, 2],
        source_port: 40_000,
        destination_port: 8080,
    });
    batch.lost = vec![refused];
    source.batch(batch).await;
    let cells = rig.cells("n1", "web", |cell| cell.loss.is_some()).await;
    assert_eq!(cells[0].verdict(), v1::Verdict::Degraded);
    let report = rig
        .reader()
        .await
        .get_report(v1::GetReportRequest::default())
        .await
        .unwrap()
        .into_inner()
        .report
        .unwrap();
    let finding = &report.findings[0];
    let (what, who) = finding.headline.split_once(" UTC: ").unwrap();
    assert!(what.starts_with("n1 → service default/web:80, TCP: 11 % of requests lost since "), "{what}");
    assert_eq!(who, "refused by backend default/web-3 (10.244.3.2) on n3 (inferred, 1 of 1)");
    let evidence = ["pod default/web-3 (10.244.3.2) on n3 answered with a TCP reset", "n1 alone says so"];
    assert_eq!(finding.evidence, evidence);
    let at = finding.loss.as_ref().unwrap().location.as_ref().unwrap();
    assert_eq!((at.node.as_str(), at.pod.as_str(), at.stage()), ("n3", "default/web-3", v1::Stage::Socket));
    assert_eq!(at.certainty(), v1::Certainty::Inferred);
}

#[tokio::test]
async fn what_is_known_of_older_losses_is_reported_while_newer_ones_wait() {
    let rig = Rig::start();
    // Nobody on n2 can be asked.
    let mut source = rig.agent("n1").await;
    let path = source.paths("node/n2", ProbeKind::Udp)[0];
    let mut losses = source.windows(4, broken(&[path]));
    losses.lost = vec![lost(path, 5)];
    source.batch(losses).await;
    let why = |state: &netcheck_hub::state::State| {
        let at = state.find("n1").unwrap();
        let row = state.agent(at).rows.get(PathId(path)).unwrap();
        let range = netcheck_analysis::matrix::range::Range::newest(
            std::time::Duration::from_secs(10),
            unix_now_ns(),
        );
        let waiting = row.lost.back().is_some_and(|lost| lost.located.want.is_some());
        (row.lost.len(), waiting, state.cell(at, row, row.verdict, &range).unlocated.unwrap_or_default())
    };
    let known = "left n1 through eth0; nobody on n2 can tell whether it arrived";
    rig.until("the first is settled", |state| why(state).2 == known).await;
    source.batch(v1::SampleBatch { lost: vec![lost(path, 6)], ..Default::default() }).await;
    rig.until("the second waits", |state| why(state) == (2, true, known.to_owned())).await;
}

#[tokio::test]
async fn a_link_that_is_reported_to_be_down_later_is_where_it_died() {
    let rig = Rig::start();
    let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
    let path = source.paths("pod/default/web-2", ProbeKind::Icmp)[0];
    let session = source.hello.probe_session;
    let mut losses = source.windows(4, broken(&[path]));
    losses.lost = vec![lost(path, 5)];
    source.batch(losses).await;
    answer(&mut other, |_| v1::ReflectedState {
        probe_session: session,
        path_id: path,
        known: true,
        requests: 5,
        highest_sequence: 5,
        arrived: 0b1_1111,
        last_request_hook: Some(eth0(false)),
        ..Default::default()
    })
    .await;
    let reason = |state: &netcheck_hub::state::State| {
        let row = state.agent(state.find("n1").unwrap()).rows.get(PathId(path)).unwrap();
        row.lost[0].located.location.as_ref().map(|at| at.reason.clone())
    };
    rig.until("a place", |state| reason(state).is_some_and(|reason| reason.is_empty())).await;
    let link = v1::PodLinkDown {
        interface: "vethweb-2".to_owned(),
        pod: "default/web-2".to_owned(),
        age: Some(netcheck_proto::convert::duration_from_ns(10_000_000_000)),
        ..Default::default()
    };
    let status = v1::AgentStatus { pod_links_down: vec![link], ..healthy() };
    other.send(FromAgent::Status(status)).await;
    rig.until("another place", |state| reason(state).as_deref() == Some("ENETDOWN")).await;
}

#[tokio::test]
async fn what_went_into_a_pod_is_its_programs_only_where_its_node_reports_drops() {
    for (drops_unseen, stage) in [(false, Stage::Application), (true, Stage::Egress)] {
        let rig = Rig::start();
        let (mut source, mut other) = (rig.agent("n1").await, rig.agent("n2").await);
        other.send(FromAgent::Status(v1::AgentStatus { drops_unseen, ..healthy() })).await;
        let path = source.paths("node/n2", ProbeKind::Udp)[0];
        let session = source.hello.probe_session;
        let mut losses = source.windows(4, broken(&[path]));
        losses.lost = vec![lost(path, 5)];
        source.batch(losses).await;
        let veth = v1::HookSeen { role: v1::InterfaceRole::PodVeth.into(), egress: true, ..eth0(true) };
        answer(&mut other, |_| v1::ReflectedState {
            probe_session: session,
            path_id: path,
            known: true,
            requests: 5,
            highest_sequence: 5,
            arrived: 0b1_1111,
            last_request_hook: Some(veth.clone()),
            ..Default::default()
        })
        .await;
        let place = || {
            let state = rig.hub.lock();
            let row = state.agent(state.find("n1").unwrap()).rows.get(PathId(path)).unwrap();
            row.lost[0].located.location.as_ref().map(|at| at.stage)
        };
        // An agent that fell silent would report no drops either.
        for _ in 0..40 {
            let windows = other.windows(1, |_| Outcome::Reply);
            other.batch(windows).await;
            if place().is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        assert_eq!(place(), Some(stage), "drops unseen: {drops_unseen}");
    }
}
