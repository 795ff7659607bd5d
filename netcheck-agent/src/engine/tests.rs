//! The whole engine against this host's own loopback, which the agent itself would never probe.

mod continue_over_tcp;
mod hasten;
mod news;
mod starved;

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use netcheck_common::domain::{Outcome, PathId};
use netcheck_proto::{convert, v1};

use super::*;
use crate::model::report::Report;
use crate::net::interface_drops::NoKernelSource;
use crate::responder::Responder;
use crate::responder::echo::Echo;

const PATIENCE: Duration = Duration::from_secs(20);

fn start() -> (EngineHandle, EngineOutput, std::thread::JoinHandle<()>) {
    start_with(Box::new(NoKernelSource::new(v1::EbpfState::Off, Vec::new())))
}

fn start_with(kernel: Box<dyn KernelSource>) -> (EngineHandle, EngineOutput, std::thread::JoinHandle<()>) {
    let config = EngineConfig {
        node: "n1".into(),
        session: ProbeSession(11),
        limit_pps: 1000,
        policy: |_| None,
        allowed: Allowed::default(),
        kernel,
        vantage: None,
    };
    let (engine, handle, output) = Engine::new(config).unwrap();
    (handle, output, std::thread::spawn(move || engine.run()))
}

/// A path from the host, with a question for where it needs one.
pub(crate) fn spec(path_id: u32, kind: v1::ProbeKind, address: &str, port: u16) -> v1::PathSpec {
    v1::PathSpec {
        path_id,
        vantage: v1::Vantage::Host.into(),
        kind: kind.into(),
        address: convert::address_bytes(address.parse().unwrap()),
        port: port.into(),
        dns_name: "web.default.svc.cluster.local.".into(),
        dns_type: 1,
        ..Default::default()
    }
}

fn plan(upsert: Vec<v1::PathSpec>) -> Command {
    let milliseconds = |ms: u64| Some(convert::duration_from_ns(ms * MILLISECOND_NS));
    Command::Plan(Box::new(v1::PlanDelta {
        version: 1,
        upsert,
        interval: milliseconds(100),
        timeout: milliseconds(200),
        window: milliseconds(100),
        ..Default::default()
    }))
}

/// Reports until `enough`.
async fn collect(output: &mut EngineOutput, enough: impl Fn(&Report) -> bool) -> Report {
    let mut all = Report::default();
    let deadline = Instant::now() + PATIENCE;
    while !enough(&all) {
        assert!(Instant::now() < deadline, "not enough: {all:?}");
        if let Ok(Some(report)) = tokio::time::timeout(PATIENCE, output.reports.recv()).await {
            all.windows.extend(report.windows);
            all.lost.extend(report.lost);
        }
    }
    all
}

fn count(report: &Report, path: u32, outcome: Outcome) -> u32 {
    let rows = report.windows.iter().flat_map(|window| &window.paths);
    rows.filter(|row| row.path == PathId(path)).map(|row| row.outcome(outcome)).sum()
}

#[tokio::test]
async fn probes_of_every_kind_and_family_end_as_they_should() {
    let responder = Responder::bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let echo = Echo::new(responder.udp, responder.port, responder.counts);
    let echo_thread = std::thread::spawn({
        let echo = Arc::clone(&echo);
        move || echo.run()
    });
    let closed_udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed_tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    use v1::ProbeKind::{Dns, Icmp, Tcp, Udp};
    let table = [
        (spec(1, Icmp, "127.0.0.1", 0), Outcome::Reply),
        (spec(2, Icmp, "::1", 0), Outcome::Reply),
        (spec(3, Udp, "127.0.0.1", responder.port), Outcome::Reply),
        (spec(4, Udp, "::1", responder.port), Outcome::Reply),
        (spec(5, Tcp, "127.0.0.1", responder.port), Outcome::Reply),
        (spec(6, Tcp, "::1", responder.port), Outcome::Reply),
        (spec(7, Udp, "127.0.0.1", closed_udp), Outcome::Refused),
        (spec(8, Tcp, "127.0.0.1", closed_tcp), Outcome::Refused),
        (spec(9, Udp, "127.0.0.1", silent_port), Outcome::Timeout),
        (spec(10, Dns, "127.0.0.1", closed_udp), Outcome::Refused),
        (spec(11, Dns, "127.0.0.1", silent_port), Outcome::Timeout),
        (spec(12, Icmp, "255.255.255.255", 0), Outcome::SendError),
    ];
    let (handle, mut output, thread) = start();
    handle.command(plan(table.iter().map(|(spec, _)| spec.clone()).collect())).await;
    let report = collect(&mut output, |report| {
        table.iter().all(|(spec, outcome)| count(report, spec.path_id, *outcome) >= 2)
    })
    .await;
    handle.stop();
    thread.join().unwrap();
    echo.stop();
    echo_thread.join().unwrap();
    for (spec, outcome) in &table {
        for other in std::iter::once(Outcome::Reply).chain(Outcome::FAILURES).filter(|other| other != outcome)
        {
            assert_eq!(count(&report, spec.path_id, other), 0, "path {} {other}", spec.path_id);
        }
    }
    let lost = |path: u32| report.lost.iter().find(|lost| lost.probe.path == PathId(path)).unwrap();
    assert!(lost(9).unwatched);
    assert_eq!(lost(7).detail.icmp.unwrap().code, 3, "port unreachable");
    assert_eq!(lost(12).detail.errno, Some(rustix::io::Errno::ACCESS));
    let rows = report.windows.iter().flat_map(|window| &window.paths);
    assert!(rows.filter(|row| row.path.0 <= 6 && row.reply > 0).all(|row| !row.round_trip.is_empty()));
}

#[tokio::test]
async fn the_last_report_comes_when_stopped_and_then_the_channels_close() {
    let (handle, mut output, thread) = start();
    handle.command(plan(vec![spec(1, v1::ProbeKind::Icmp, "127.0.0.1", 0)])).await;
    let applied = tokio::time::timeout(PATIENCE, output.replies.recv()).await.unwrap();
    assert!(matches!(applied, Some(EngineReply::PlanApplied(applied)) if applied.version == 1));
    collect(&mut output, |report| count(report, 1, Outcome::Reply) >= 1).await;
    handle.stop();
    thread.join().unwrap();
    while output.reports.recv().await.is_some() {}
    assert_eq!(output.replies.recv().await, None);
    assert_eq!(output.status.borrow().plan.paths, 1);
}

#[tokio::test]
async fn a_path_asked_for_out_of_turn_is_probed_now() {
    let (handle, mut output, thread) = start();
    let hourly = v1::PlanDelta {
        version: 1,
        upsert: vec![spec(1, v1::ProbeKind::Icmp, "127.0.0.1", 0)],
        interval: Some(convert::duration_from_ns(3600 * SECOND_NS)),
        window: Some(convert::duration_from_ns(100 * MILLISECOND_NS)),
        ..Default::default()
    };
    handle.command(Command::Plan(Box::new(hourly))).await;
    handle.command(Command::Expedite(vec![PathId(1)])).await;
    let report = collect(&mut output, |report| !report.windows.is_empty()).await;
    assert_eq!(count(&report, 1, Outcome::Reply), 1);
    handle.stop();
    thread.join().unwrap();
}
