//! A pod on a secondary network: what is probed there leaves from its address there, or not at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command as Process;

use netcheck_common::domain::Outcome;
use netcheck_proto::{convert, v1};

use super::pod_net::{Agent, PodNet, V4};
use super::{count, plan, spec};
use crate::engine::Command;

const NETWORK: &str = "default/storage";
const NET_V4: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 1);
const NET_V6: Ipv6Addr = Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 1);

fn ip(pod: &PodNet, lines: &'static [&'static str]) {
    pod.run(move || {
        for line in lines {
            assert!(Process::new("ip").args(line.split(' ')).status().unwrap().success(), "{line}");
        }
    });
}

fn on_network(path_id: u32, kind: v1::ProbeKind, address: IpAddr, port: u16) -> v1::PathSpec {
    v1::PathSpec { network: NETWORK.into(), ..spec(path_id, kind, address, port) }
}

/// The plan of these paths, in which the pod's addresses on the network are these.
fn plan_with(upsert: Vec<v1::PathSpec>, addresses: &[IpAddr]) -> Command {
    let Command::Plan(mut delta) = plan(upsert) else { panic!("a plan") };
    let entry = |&address: &IpAddr| v1::AddressEntry {
        address: convert::address_bytes(address),
        pod: "netcheck/vantage-1".into(),
        network: NETWORK.into(),
        local: true,
        ..Default::default()
    };
    delta.addresses =
        Some(v1::AddressTable { entries: addresses.iter().map(entry).collect(), ..Default::default() });
    Command::Plan(delta)
}

#[tokio::test]
async fn probes_stay_in_their_network_and_without_an_address_there_are_none() {
    let mut agent = Agent::start();
    let mut pod = PodNet::new(true);
    // A bridge without ports: it has addresses, and leads nowhere else.
    ip(
        &pod,
        &[
            "link add net1 type bridge",
            "link set net1 up",
            "addr add 10.98.0.1/24 dev net1",
            "addr add fd98::1/64 dev net1 nodad",
        ],
    );
    pod.serve(&agent.path);
    let status = agent.wait(|status| !status.pod.is_empty()).await;
    let (v4, v6) = (IpAddr::V4(NET_V4), IpAddr::V6(NET_V6));
    let net1 = status.links.iter().find(|link| link.interface == "net1").expect("it says which it has");
    assert_eq!(net1.addresses, [v4, v6]);

    use v1::ProbeKind::{Icmp, Tcp, Udp};
    let (replied, silent) = (1..=6, 7..=8);
    let mut specs = vec![
        on_network(1, Icmp, v4, 0),
        on_network(2, Icmp, v6, 0),
        on_network(3, Udp, v4, 6100),
        on_network(4, Udp, v6, 6100),
        on_network(5, Tcp, v4, 6100),
        on_network(6, Tcp, v6, 6100),
        // The pod has a way there, but not through that network.
        on_network(7, Udp, IpAddr::V4(V4), 6100),
        on_network(8, Icmp, IpAddr::V4(V4), 0),
        spec(9, Icmp, IpAddr::V4(V4), 0),
    ];
    // A network that it is not on.
    specs.push(v1::PathSpec { network: "default/other".into(), ..spec(10, Icmp, v4, 0) });
    agent.handle.command(plan_with(specs.clone(), &[v4, v6])).await;
    let report = agent
        .collect(|report| {
            let ended =
                |path| Outcome::FAILURES.iter().map(|&outcome| count(report, path, outcome)).sum::<u32>();
            replied.clone().chain([9]).all(|path| count(report, path, Outcome::Reply) >= 3)
                && silent.clone().all(|path| ended(path) >= 1)
        })
        .await;
    for path in silent.chain([10]) {
        assert_eq!(count(&report, path, Outcome::Reply), 0, "path {path} left its network");
    }
    assert!(report.lost.iter().all(|lost| lost.probe.path.0 != 10), "nobody is there to probe it");

    // Without the address nothing is lost, and nothing is sent by another way.
    agent.handle.command(plan_with(vec![], &[v4, v6])).await;
    ip(&pod, &["addr del 10.98.0.1/24 dev net1"]);
    let gone = agent.wait(|status| !status.addresses.contains(&v4) && !status.pod.is_empty()).await;
    assert!(gone.addresses.contains(&v6), "{gone:?}");
    // Under other numbers: what is on its way of the first ones still comes.
    let again = specs.into_iter().filter(|spec| spec.path_id <= 6 || spec.path_id == 9);
    let again = again.map(|spec| v1::PathSpec { path_id: spec.path_id + 20, ..spec }).collect();
    agent.handle.command(plan_with(again, &[v4, v6])).await;
    let report = agent
        .collect(|report| [22, 24, 26, 29].iter().all(|&path| count(report, path, Outcome::Reply) >= 3))
        .await;
    for path in [21, 23, 25] {
        let rows = report.windows.iter().flat_map(|window| &window.paths);
        assert_eq!(rows.filter(|row| row.path.0 == path).count(), 0, "path {path}");
    }
    let lost: Vec<_> = report.lost.iter().filter(|lost| lost.probe.path.0 > 20).collect();
    assert!(lost.is_empty(), "{lost:?}");

    // It comes back, and so do its probes.
    ip(&pod, &["addr add 10.98.0.1/24 dev net1"]);
    agent.collect(|report| [21, 23, 25].iter().all(|&path| count(report, path, Outcome::Reply) >= 3)).await;
    agent.stop().await;
}
