//! Paths that the hub wants probed more often, on this host's own loopback.

use super::*;

#[tokio::test]
async fn a_wish_makes_probes_more_and_flows_no_more_than_there_are_ports() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || while server.accept().is_ok() {});
    let (handle, mut output, thread) = start();
    let hourly = v1::PlanDelta {
        version: 1,
        upsert: vec![
            spec(1, v1::ProbeKind::Icmp, "127.0.0.1", 0),
            spec(2, v1::ProbeKind::Tcp, "127.0.0.1", port),
            spec(3, v1::ProbeKind::Icmp, "127.0.0.1", 0),
        ],
        interval: Some(convert::duration_from_ns(3600 * SECOND_NS)),
        window: Some(convert::duration_from_ns(100 * MILLISECOND_NS)),
        ..Default::default()
    };
    handle.command(Command::Plan(Box::new(hourly))).await;
    let wish = v1::Hasten {
        id: 7,
        path_ids: vec![1, 2, 99],
        interval: Some(convert::duration_from_ns(20 * MILLISECOND_NS)),
        duration: Some(convert::duration_from_ns(20 * SECOND_NS)),
    };
    handle.command(Command::Hasten(wish.clone())).await;
    let report = collect(&mut output, |report| count(report, 1, Outcome::Reply) >= 100).await;
    let connected = count(&report, 2, Outcome::Reply);
    assert!((5..50).contains(&connected), "{connected} connections beside 100 echoes");
    assert_eq!(count(&report, 3, Outcome::Reply), 0, "nobody else is probed more often");
    assert_eq!(output.status.borrow().counters.numbers_reused, 0);
    let new_flows: u32 =
        report.windows.iter().flat_map(|window| &window.paths).map(|row| row.new_reply + row.new_lost).sum();
    assert!(new_flows <= 1, "{new_flows}: what goes with probes goes with those of the plan");
    // Without a distance it is over.
    handle.command(Command::Hasten(v1::Hasten { interval: None, ..wish })).await;
    handle.stop();
    thread.join().unwrap();
}
