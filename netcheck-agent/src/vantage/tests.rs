//! Agent and vantage, each in its network namespace: real sockets handed over, and what rogues get.

mod networks;
mod pod_net;
mod rogues;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use netcheck_common::domain::{Family, Outcome, PathId, ProbeKind};
use netcheck_proto::{convert, v1};

use self::pod_net::{Agent, PodNet, V4, V6};
use super::listen::ListenTask;
use crate::engine::Command;
use crate::host::clock::MILLISECOND_NS;
use crate::model::report::Report;
use crate::model::status::VantageCounts;

const PATIENCE: Duration = Duration::from_secs(20);

fn spec(path_id: u32, kind: v1::ProbeKind, address: IpAddr, port: u16) -> v1::PathSpec {
    let spec = crate::engine::tests::spec(path_id, kind, &address.to_string(), port);
    v1::PathSpec { vantage: v1::Vantage::Pod.into(), ..spec }
}

fn plan(upsert: Vec<v1::PathSpec>) -> Command {
    let milliseconds = |ms: u64| Some(convert::duration_from_ns(ms * MILLISECOND_NS));
    Command::Plan(Box::new(v1::PlanDelta {
        version: 1,
        upsert,
        interval: milliseconds(50),
        timeout: milliseconds(2000),
        window: milliseconds(100),
        ..Default::default()
    }))
}

fn count(report: &Report, path: u32, outcome: Outcome) -> u32 {
    let rows = report.windows.iter().flat_map(|window| &window.paths);
    rows.filter(|row| row.path == PathId(path)).map(|row| row.outcome(outcome)).sum()
}

#[tokio::test]
async fn probes_leave_from_the_pods_network() {
    let mut agent = Agent::start();
    let mut pod = PodNet::new(true);
    pod.serve(&agent.path);
    let (v4, v6) = (IpAddr::V4(V4), IpAddr::V6(V6));
    use v1::ProbeKind::{Dns, Icmp, Tcp, Udp};
    // None of these addresses is the host's, and only in the pod anybody listens there.
    let table = [
        (spec(1, Icmp, v4, 0), Outcome::Reply),
        (spec(2, Icmp, v6, 0), Outcome::Reply),
        (spec(3, Udp, v4, 6100), Outcome::Reply),
        (spec(4, Udp, v6, 6100), Outcome::Reply),
        (spec(5, Tcp, v4, 6100), Outcome::Reply),
        (spec(6, Tcp, v6, 6100), Outcome::Reply),
        (spec(7, Udp, v4, 81), Outcome::Refused),
        (spec(8, Udp, v6, 81), Outcome::Refused),
        (spec(9, Tcp, v4, 81), Outcome::Refused),
        (spec(10, Dns, v4, 53), Outcome::Refused),
        (spec(11, Udp, "192.0.2.1".parse().unwrap(), 6100), Outcome::SendError),
        (spec(12, Tcp, "192.0.2.1".parse().unwrap(), 6100), Outcome::SendError),
        (spec(13, Icmp, "192.0.2.1".parse().unwrap(), 0), Outcome::SendError),
    ];
    let status = agent.wait(|status| status.pod == "netcheck/vantage-1").await;
    assert_eq!(status.addresses, [v4, v6]);
    assert_eq!((status.detail.as_slice(), status.responder_port), (&[][..], 6100));
    assert!(status.can.contains(&(ProbeKind::Icmp, Family::V4)), "{:?}", status.can);
    agent.handle.command(plan(table.iter().map(|(spec, _)| spec.clone()).collect())).await;
    let report = agent
        .collect(|report| table.iter().all(|(spec, outcome)| count(report, spec.path_id, *outcome) >= 3))
        .await;
    for (spec, outcome) in &table {
        for other in std::iter::once(Outcome::Reply).chain(Outcome::FAILURES).filter(|other| other != outcome)
        {
            assert_eq!(count(&report, spec.path_id, other), 0, "path {} {other}", spec.path_id);
        }
    }
    let lost = |path: u32| report.lost.iter().find(|lost| lost.probe.path == PathId(path)).unwrap();
    for (path, address) in [(7, v4), (8, v6), (10, v4)] {
        let icmp = lost(path).detail.icmp.expect("from the socket's own queue");
        assert_eq!(icmp.from, address, "path {path}");
    }
    assert_eq!(lost(11).detail.errno, Some(rustix::io::Errno::NETUNREACH));
    // Each handshake and each query used one up.
    let status = agent.wait(|status| status.sockets > 200).await;
    assert_eq!(status.refused, 0);
    agent.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_when_the_vantage_goes_is_no_loss() {
    let mut agent = Agent::start();
    let mut pod = PodNet::new(true);
    pod.serve(&agent.path);
    agent.wait(|status| !status.pod.is_empty()).await;
    let (v4, silent) = (IpAddr::V4(V4), pod.silent_port());
    use v1::ProbeKind::{Icmp, Tcp, Udp};
    let specs = vec![spec(1, Icmp, v4, 0), spec(2, Udp, v4, silent), spec(3, Tcp, v4, 6100)];
    agent.handle.command(plan(specs)).await;
    let passing =
        |report: &Report| count(report, 1, Outcome::Reply) >= 3 && count(report, 3, Outcome::Reply) >= 3;
    agent.collect(passing).await;
    // It goes while probes that nobody answers are on their way, and comes back as another pod.
    pod.stop_serving();
    let status = agent.wait(|status| status.pod.is_empty()).await;
    assert!(status.detail[0].contains("gone"), "{:?}", status.detail);
    assert!(status.leaving, "it said good-bye");
    assert!(status.can.is_empty() && status.addresses.is_empty());
    drop(pod);
    let mut pod = PodNet::new(true);
    pod.serve(&agent.path);
    let status = agent.wait(|status| !status.pod.is_empty()).await;
    assert!(!status.leaving);
    let report = agent.collect(passing).await;
    assert!(report.lost.is_empty(), "{:?}", report.lost);
    agent.stop().await;
}

#[tokio::test]
async fn another_vantage_is_refused_until_the_one_that_serves_is_gone() {
    let mut agent = Agent::start();
    let mut older = PodNet::new(true);
    older.serve(&agent.path);
    let first = agent.wait(|status| !status.pod.is_empty()).await.pod;
    let mut newer = PodNet::named("netcheck/vantage-2", true);
    newer.serve(&agent.path);
    // Whoever gets to the socket could say so.
    agent.wait(|status| status.refused > 0).await;
    assert_eq!(agent.status().pod, first);
    older.stop_serving();
    agent.wait(|status| status.pod == "netcheck/vantage-2").await;
    agent.handle.command(plan(vec![spec(1, v1::ProbeKind::Udp, IpAddr::V4(V4), newer.port())])).await;
    let report = agent.collect(|report| count(report, 1, Outcome::Reply) >= 5).await;
    assert!(report.lost.is_empty(), "{:?}", report.lost);
    agent.stop().await;
}

#[tokio::test]
async fn where_ping_sockets_are_forbidden_the_rest_works_and_it_is_said() {
    let mut agent = Agent::start();
    let mut pod = PodNet::new(false);
    pod.serve(&agent.path);
    let status = agent.wait(|status| !status.pod.is_empty()).await;
    assert!(!status.can.iter().any(|(kind, _)| *kind == ProbeKind::Icmp));
    assert!(status.can.contains(&(ProbeKind::Udp, Family::V6)));
    assert_eq!(status.detail.len(), 2, "{:?}", status.detail);
    assert!(status.detail[0].contains("ping_group_range"), "{:?}", status.detail);
    let specs = vec![
        spec(1, v1::ProbeKind::Icmp, IpAddr::V4(V4), 0),
        spec(2, v1::ProbeKind::Udp, IpAddr::V4(V4), 6100),
    ];
    agent.handle.command(plan(specs)).await;
    let report = agent.collect(|report| count(report, 2, Outcome::Reply) >= 3).await;
    assert!(report.lost.is_empty(), "what can't be probed is not: {:?}", report.lost);
    agent.stop().await;
}

#[tokio::test]
async fn the_sockets_place_is_checked() {
    let counts = || std::sync::Arc::new(VantageCounts::default());
    let word =
        |path: PathBuf| ListenTask::bind(&path, counts()).err().map(|error| format!("{error:#}")).unwrap();
    let directory = pod_net::directory();
    assert!(word(directory.join("none/v.sock")).contains("does not exist: make it"));
    let file = directory.join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(word(file.clone()).contains("no socket"));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert!(word(directory.join("x".repeat(120))).contains("107 bytes"));
    let path = directory.join("v.sock");
    let earlier = ListenTask::bind(&path, counts()).unwrap();
    drop(earlier);
    assert!(path.exists(), "as a killed agent leaves it");
    ListenTask::bind(&path, counts()).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_agent_without_a_vantage_refuses_its_paths_at_once() {
    let mut plan =
        crate::plan::Plan::empty(|_| None, crate::plan::policy::Allowed::default(), Vec::new(), false);
    let upsert = vec![spec(1, v1::ProbeKind::Icmp, IpAddr::V4(V4), 0)];
    plan.apply(&v1::PlanDelta { version: 1, upsert, ..Default::default() }).unwrap();
    assert!(plan.refused.values().next().unwrap().contains("no pod vantage"));
}
