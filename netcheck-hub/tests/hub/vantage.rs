//! The pod vantage: planned when its agent reports it, without data when it is gone.

use netcheck_common::domain::{Outcome, ProbeKind};
use netcheck_proto::v1;
use netcheck_proto::v1::session_request::Message as FromAgent;

use crate::rig::{Rig, healthy};

/// The vantage that is pod default/web-1 of n1.
pub(crate) fn present() -> v1::PodVantage {
    use v1::ProbeKind::{Dns, Icmp, Tcp, Udp};
    let can = [Icmp, Udp, Tcp, Dns].map(|kind| v1::VantageKind { kind: kind.into(), ip_version: 4 });
    v1::PodVantage {
        pod: "default/web-1".to_owned(),
        addresses: vec![vec![10, 244, 1, 2]],
        can: can.to_vec(),
        responder_port: 6100,
        ..Default::default()
    }
}

fn absent() -> v1::PodVantage {
    v1::PodVantage { detail: vec!["the pod vantage is gone: closed".to_owned()], ..Default::default() }
}

pub(crate) fn status(vantage: v1::PodVantage) -> FromAgent {
    FromAgent::Status(v1::AgentStatus { vantage: Some(vantage), ..healthy() })
}

pub(crate) fn from_pods(spec: &v1::PathSpec) -> bool {
    spec.vantage() == v1::Vantage::Pod
}

#[tokio::test]
async fn its_paths_are_planned_measured_and_without_data_when_it_is_gone() {
    let rig = Rig::start();
    let mut agent = rig.agent("n1").await;
    let mut other = rig.agent("n2").await;
    assert!(!agent.plan.values().any(from_pods));
    let from_host = agent.plan.len();
    agent.send(status(present())).await;
    agent.until_plan(|plan| plan.upsert.iter().any(from_pods)).await;
    let of_pods = |agent: &crate::rig::FakeAgent, target: &str| {
        let mut kinds: Vec<_> = agent
            .plan
            .values()
            .filter(|spec| from_pods(spec) && spec.target == target)
            .map(v1::PathSpec::kind)
            .collect();
        kinds.sort_unstable();
        kinds
    };
    use v1::ProbeKind::{Icmp, Tcp, Udp};
    assert_eq!(of_pods(&agent, "node/n1"), [Icmp, Udp, Tcp], "its own node");
    assert_eq!(of_pods(&agent, "node/n2"), [Icmp, Udp, Tcp]);
    assert_eq!(of_pods(&agent, "pod/default/web-1"), [], "not itself");
    assert!(agent.plan.values().filter(|spec| from_pods(spec)).all(|spec| spec.address.len() == 4));
    assert!(agent.plan.values().filter(|spec| !from_pods(spec)).count() >= from_host);
    // Its responder is known to listen: everybody may ask it.
    other.until_plan(|plan| plan.upsert.iter().any(|spec| spec.target == "pod/default/web-1")).await;
    assert_eq!(other.paths("pod/default/web-1", ProbeKind::Udp).len(), 1);

    let batch = agent.windows(3, |_| Outcome::Reply);
    agent.batch(batch).await;
    let mut reader = rig.reader().await;
    let selector = v1::PathSelector { vantages: vec![v1::Vantage::Pod.into()], ..Default::default() };
    let request = v1::GetMatrixRequest { selector: Some(selector), ..Default::default() };
    let cells = reader.get_matrix(request.clone()).await.unwrap().into_inner().cells;
    assert!(!cells.is_empty());
    for cell in &cells {
        assert_eq!(cell.path.as_ref().unwrap().vantage(), v1::Vantage::Pod);
        assert_eq!(cell.path.as_ref().unwrap().source_node, "n1");
    }
    let caveats = |report: v1::GetReportResponse| report.report.unwrap().caveats;
    let shown = caveats(reader.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner());
    let line = "no pod vantage on n2: nothing is measured from pods there (its agent was not configured to expect one)";
    assert!(shown.iter().any(|shown| shown == line), "{shown:?}");

    // Gone: its paths stay, for a while.
    let planned = agent.plan.len();
    agent.send(status(absent())).await;
    rig.until("it is gone", |state| state.agents.iter().any(|agent| agent.vantage.missing().is_some())).await;
    let shown = caveats(reader.get_report(v1::GetReportRequest::default()).await.unwrap().into_inner());
    let line = "no pod vantage on n1: nothing is measured from pods there (the pod vantage is gone: closed)";
    assert!(shown.iter().any(|shown| shown == line), "{shown:?}");
    assert_eq!(agent.plan.len(), planned);
    let still = reader.get_matrix(request).await.unwrap().into_inner().cells;
    assert_eq!(still.len(), cells.len());
}
