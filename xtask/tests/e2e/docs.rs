//! The documentation against a hub at work: its commands run as they are printed, and its metrics are those that hub and
//! agents serve.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec, Mode};
use xtask::cluster::{Cluster, Report, Settings};
use xtask::docs::{Class, commands, metrics};

use crate::inject;

#[test]
fn commands_run_as_printed_and_metrics_are_those_of_the_page() {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, vantage: true, ..LabSpec::named("e2e-docs") }).unwrap();
    let mut cluster = Cluster::start(lab, Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    commands_run(&cluster);
    // A session that ended and a packet that was dropped: now every metric has a series.
    cluster.restart_hub(&[]).unwrap();
    cluster.wait_healthy().unwrap();
    let fault = inject(&cluster, "drop node=n1 hook=input proto=icmp");
    let n1 = cluster.lab.node("n1").unwrap().v4;
    let hub = cluster.lab.topology().hub_v4;
    for (of, address) in [(metrics::Of::Hub, (hub, 8080)), (metrics::Of::Agent, (n1, 6101))] {
        let documented = metrics::documented(of).unwrap();
        let mut wrong = Vec::new();
        let same = |_: &Report| {
            let served = metrics::served(&page(&cluster, SocketAddr::new(address.0.into(), address.1)));
            wrong = metrics::differences(&documented, &served);
            wrong.is_empty()
        };
        let waited = cluster.wait("the page of metrics", Duration::from_secs(20), same);
        assert!(waited.is_ok(), "{of:?}: {wrong:#?}");
    }
    cluster.lab.heal(&fault).unwrap();
    cluster.stop().unwrap().down().unwrap();
}

/// All that ask a hub without TLS.
fn commands_run(cluster: &Cluster) {
    let asks = |class| matches!(class, Class::Reader | Class::Api);
    let all = commands().unwrap();
    let asking: Vec<_> = all.iter().filter(|command| asks(command.class) && !command.needs_tls()).collect();
    assert!(asking.len() > 15, "only {} commands ask a hub", asking.len());
    for command in asking {
        let shown = format!("{}: {}", command.place(), command.words.join(" "));
        // History has a window some 20 s after it was measured.
        let deadline = Instant::now() + Duration::from_secs(45);
        let said = loop {
            let output = command.against(cluster).unwrap().output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            // This hub knows of no past that long ago, and says so.
            let young = output.status.code() == Some(1) && said.contains("history begins at");
            if output.status.success() || young {
                break said;
            }
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(Instant::now() < deadline, "{shown}: {}: {said}{error}", output.status);
            std::thread::sleep(Duration::from_millis(500));
        };
        assert!(!said.trim().is_empty(), "{shown}: says nothing");
    }
}

/// `GET /metrics`, as the hub's namespace sees it.
fn page(cluster: &Cluster, address: SocketAddr) -> String {
    cluster
        .lab
        .enter("hub", || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.split_once("\r\n\r\n").unwrap().1.to_owned()
        })
        .unwrap()
}
