//! Every fault breaks what it says, nothing else that is looked at, and heals without a trace.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::Duration;

use netcheck_netlab::{Family, Fault, Lab, LabSpec, Mode};

use crate::cases::{CASES, Case, Check};
use crate::probe::{self, Echo, Outcome, eventually};
use Check::{Big, Dns, Http, Pieces, Ping, Udp, Web};
use Family::{V4, V6};
use Outcome::{Reply, Timeout};

fn run(lab: &Lab, check: Check) -> Outcome {
    let at = |name, family| probe::address(lab, name, family);
    match check {
        Ping(family, from, to) => probe::ping(lab, from, at(to, family), 56),
        Big(family, from, to) => probe::ping(lab, from, at(to, family), 1380),
        Pieces(family, from, to) => probe::ping_in_pieces(lab, from, at(to, family)),
        Udp(family, from, to) => probe::udp(lab, from, (at(to, family), 6100).into()),
        Http(family, from, to) => {
            let answer = probe::http(lab, from, (at(to, family), 8080).into());
            answer.map_or_else(|error| Outcome::from(&error), |_| Reply)
        }
        Web(family, from) => probe::service(lab, from, (at("web", family), 80).into()),
        Dns(family, from) => {
            probe::dns(lab, from, at("kube-dns", family), "web.default.svc.cluster.local", family)
        }
    }
}

#[test]
fn every_fault_breaks_and_heals_over_vxlan() {
    table(LabSpec { mode: Mode::Vxlan, ..LabSpec::named("t-fault-v") }, CASES);
}

#[test]
fn every_fault_breaks_and_heals_over_routes() {
    table(LabSpec { mode: Mode::Routed, ..LabSpec::named("t-fault-r") }, CASES);
}

pub(crate) fn table(spec: LabSpec, cases: &[Case]) {
    let lab = Lab::up(spec).unwrap();
    let places = ["n1", "n2", "n3", "n4", "app-n1-2", "app-n2-2", "app-n3-2"];
    let _echoes: Vec<Echo> = places.iter().map(|place| Echo::new(&lab, place)).collect();
    let rules = |lab: &Lab| -> Vec<String> {
        let spaces = ["n1", "n2", "n3", "n4", "net", "dns-n4"];
        let tables = spaces.iter().map(|ns| lab.exec(ns, &["nft", "list", "tables"]).unwrap().stdout);
        tables.map(|text| String::from_utf8(text).unwrap()).collect()
    };
    let routes = |lab: &Lab| -> Vec<String> {
        let commands: [&[&str]; 2] = [&["ip", "route"], &["ip", "-6", "route"]];
        let spaces = lab.topology().namespaces().collect::<Vec<_>>();
        let all = spaces.iter().flat_map(|ns| commands.map(|command| lab.exec(ns, command).unwrap().stdout));
        all.map(|text| {
            let mut lines: Vec<_> = std::str::from_utf8(&text).unwrap().lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines.join("\n")
        })
        .collect()
    };
    let (rules_before, routes_before) = (rules(&lab), routes(&lab));
    for Case { fault, seen } in cases {
        let parsed: Fault = fault.parse().unwrap();
        for (check, _) in *seen {
            eventually(&format!("{check:?} before `{fault}`"), || run(&lab, *check) == Reply);
        }
        lab.inject(&parsed).unwrap();
        lab.inject(&parsed).expect("twice is the same as once");
        assert_eq!(lab.faults().unwrap(), std::slice::from_ref(&parsed));
        for (check, outcome) in *seen {
            let mut last = Reply;
            let met = (0..5).any(|_| {
                last = run(&lab, *check);
                last == *outcome
            });
            assert!(met, "`{fault}`: {check:?} is {last:?}, not {outcome:?}");
        }
        lab.heal(&parsed).unwrap();
        lab.heal(&parsed).expect("twice is the same as once");
        for (check, _) in *seen {
            eventually(&format!("{check:?} after `{fault}`"), || run(&lab, *check) == Reply);
        }
        assert_eq!(lab.faults().unwrap(), []);
        assert_eq!(rules(&lab), rules_before, "`{fault}` leaves no rule");
        eventually(&format!("`{fault}` leaves no route"), || routes(&lab) == routes_before);
    }
    lab.down().unwrap();
}

#[test]
fn one_way_loss_is_one_way() {
    let lab = Lab::up(LabSpec::named("t-oneway")).unwrap();
    let echo = Echo::new(&lab, "n2");
    for at in ["source", "destination"] {
        for family in [V4, V6] {
            for (leg, arrives) in [("request", false), ("reply", true)] {
                let fault: Fault = format!("{leg}-loss from=n1 to=n2 at={at}").parse().unwrap();
                lab.inject(&fault).unwrap();
                let before = echo.received.load(Ordering::Relaxed);
                assert_ne!(run(&lab, Udp(family, "n1", "n2")), Reply, "`{fault}`");
                let got = echo.received.load(Ordering::Relaxed) > before;
                assert_eq!(got, arrives, "`{fault}`: whether the request arrived");
                lab.heal(&fault).unwrap();
                assert_eq!(run(&lab, Udp(family, "n1", "n2")), Reply);
            }
        }
    }
    lab.down().unwrap();
}

#[test]
fn a_dead_way_takes_the_ports_that_choose_it() {
    let lab = Lab::up(LabSpec::named("t-ways")).unwrap();
    let _echo = [Echo::new(&lab, "n2"), Echo::new(&lab, "n3")];
    let fault: Fault = "source-ports from=n1 to=n3 way=5".parse().unwrap();
    lab.inject(&fault).unwrap();
    let passing = |from: &str, to: &str| -> Vec<u16> {
        let target = lab.node(to).unwrap().v4;
        let passes = |port: &u16| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 62_000 + port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket.send_to(b"probe", (target, 6100)).unwrap();
            socket.recv(&mut [0; 16]).is_ok()
        };
        lab.enter(from, || (0..8).filter(passes).collect()).unwrap()
    };
    assert_eq!(passing("n1", "n3"), [0, 1, 2, 3, 4, 6, 7]);
    assert_eq!(passing("n1", "n2"), (0..8).collect::<Vec<_>>(), "another way");
    assert_eq!(passing("n3", "n2"), (0..8).collect::<Vec<_>>(), "from elsewhere");
    lab.heal(&fault).unwrap();
    assert_eq!(passing("n1", "n3"), (0..8).collect::<Vec<_>>());
    lab.down().unwrap();
}

#[test]
fn random_loss_takes_its_share() {
    let lab = Lab::up(LabSpec::named("t-share")).unwrap();
    let echo = Echo::new(&lab, "n2");
    for fault in [
        "loss node=n1 direction=out percent=30",
        "drop node=n2 hook=prerouting percent=30 proto=udp",
        "request-loss from=n1 to=n2 percent=30",
    ] {
        let fault: Fault = fault.parse().unwrap();
        lab.inject(&fault).unwrap();
        let before = echo.received.load(Ordering::Relaxed);
        let target = lab.node("n2").unwrap().v4;
        lab.enter("n1", || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            for _ in 0..400 {
                socket.send_to(b"probe", (target, 6100)).unwrap();
            }
        })
        .unwrap();
        // Seven standard deviations (9.2 packets) either side of the expected 280.
        let count = || echo.received.load(Ordering::Relaxed) - before;
        eventually("about 70 of 100 arrive", || count() > 215);
        assert!(count() < 345, "`{fault}`: {} of 400 arrived", count());
        lab.heal(&fault).unwrap();
        assert_eq!(run(&lab, Udp(V4, "n1", "n2")), Reply);
    }
    lab.down().unwrap();
}

#[test]
fn a_cable_may_deliver_twice() {
    let lab = Lab::up(LabSpec::named("t-twice")).unwrap();
    let echo = Echo::new(&lab, "n2");
    let target = lab.node("n2").unwrap().v4;
    let send = |count: u64| {
        let before = echo.received.load(Ordering::Relaxed);
        lab.enter("n1", || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            for _ in 0..count {
                socket.send_to(b"probe", (target, 6100)).unwrap();
            }
        })
        .unwrap();
        before
    };
    let fault: Fault = "duplicate node=n2".parse().unwrap();
    lab.inject(&fault).unwrap();
    let before = send(20);
    eventually("each of them twice", || echo.received.load(Ordering::Relaxed) == before + 40);
    lab.heal(&fault).unwrap();
    let before = send(20);
    eventually("each of them", || echo.received.load(Ordering::Relaxed) >= before + 20);
    assert_eq!(run(&lab, Ping(V4, "n1", "n2")), Reply);
    assert_eq!(echo.received.load(Ordering::Relaxed), before + 20, "and none twice");
    lab.down().unwrap();
}

#[test]
fn a_cable_may_deliver_late() {
    let lab = Lab::up(LabSpec::named("t-late")).unwrap();
    let _echo = Echo::new(&lab, "n2");
    let fault: Fault = "reorder node=n2 percent=50 delay-ms=100".parse().unwrap();
    lab.inject(&fault).unwrap();
    lab.inject(&fault).expect("twice is the same as once");
    for family in [V4, V6] {
        let target = probe::address(&lab, "n2", family);
        let order: Vec<u8> = lab
            .enter("n1", || {
                let any: IpAddr = if family == V4 { [0; 4].into() } else { [0; 16].into() };
                let socket = UdpSocket::bind((any, 0)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
                for number in 0..100 {
                    socket.send_to(&[number], (target, 6100)).unwrap();
                }
                let mut datagram = [0; 1];
                (0..100).map(|_| socket.recv(&mut datagram).map(|_| datagram[0]).unwrap()).collect()
            })
            .unwrap();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u8>>(), "none is lost, none doubled");
        assert_ne!(order, sorted, "{family:?}: some overtake others");
        // A connection lives with it too, checksums and all.
        assert_eq!(run(&lab, Http(family, "n1", "web-n2")), Reply);
    }
    lab.heal(&fault).unwrap();
    lab.heal(&fault).expect("twice is the same as once");
    assert_eq!(run(&lab, Ping(V4, "n1", "n2")), Reply);
    lab.down().unwrap();
}

#[test]
fn faults_heal_in_any_order_and_leave_the_others_be() {
    let lab = Lab::up(LabSpec::named("t-order")).unwrap();
    let faults: Vec<Fault> = ["route node=n1 type=blackhole to=n3/pods", "wrong-neighbour node=n1 to=n2"]
        .map(|text| text.parse().unwrap())
        .into();
    let checks = [Ping(V4, "n1", "app-n3-2"), Ping(V4, "n1", "n2")];
    for first in [0, 1] {
        faults.iter().for_each(|fault| lab.inject(fault).unwrap());
        lab.heal(&faults[first]).unwrap();
        eventually("the healed one works", || run(&lab, checks[first]) == Reply);
        assert_eq!(run(&lab, checks[1 - first]), Timeout, "the other stays broken");
        lab.heal_all().unwrap();
        eventually("the other works", || run(&lab, checks[1 - first]) == Reply);
    }
    for unknown in ["drop node=n9 hook=input", "veth-down pod=x", "no-endpoints service=x"] {
        assert!(lab.inject(&unknown.parse().unwrap()).is_err());
    }
    assert_eq!(lab.faults().unwrap(), []);
    lab.down().unwrap();
}

#[test]
fn the_inventory_file_follows() {
    let lab = Lab::up(LabSpec::named("t-inv")).unwrap();
    let text = || std::fs::read_to_string(lab.inventory_path()).unwrap();
    let healthy = text();
    for fault in [
        "node-state node=n1 state=notready",
        "node-state node=n1 state=cordoned",
        "node-state node=n1 state=deleted",
        "pod-gone pod=web-n2",
        "backend-dead pod=web-n3",
        "no-endpoints service=web",
    ] {
        let fault: Fault = fault.parse().unwrap();
        lab.inject(&fault).unwrap();
        assert_ne!(text(), healthy, "`{fault}` shows");
        lab.heal(&fault).unwrap();
        assert_eq!(text(), healthy, "`{fault}` leaves no trace");
    }
    lab.down().unwrap();
}
