//! An agent that the fault itself cuts off from the hub.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cluster, Finding, Settings};

use crate::inject;

/// One rule takes what n3 sends to the hub and to the nodes of the other zone.
const CUT: &str = "drop node=n3 hook=output dst=hub,n1,n2";

/// What the hub says of a node's agent.
fn agent(cluster: &Cluster, node: &str) -> Value {
    let answer = cluster.ask(&["nodes"]).unwrap();
    let nodes = answer["nodes"].as_array().unwrap();
    nodes.iter().find(|found| found["name"] == node).unwrap()["agent"].clone()
}

fn relayed_by(cluster: &Cluster, node: &str) -> Option<String> {
    agent(cluster, node)["relayedBy"].as_str().filter(|by| !by.is_empty()).map(str::to_owned)
}

/// What an agent says of itself.
fn status(cluster: &Cluster, node: &str) -> Value {
    let program = xtask::cluster::binary("netcheck-agent").unwrap();
    let output = cluster.lab.exec(node, &[program.to_str().unwrap(), "status", "--json"]).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rule_of_n3(finding: &Finding) -> bool {
    finding
        .location
        .as_ref()
        .is_some_and(|at| at.node == "n3" && at.stage == "netfilter_output" && at.certainty == "observed")
}

fn cluster(name: &str) -> (Cluster, PathBuf) {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, ..LabSpec::named(name) }).unwrap();
    let file = lab.log_path("hub-addresses").with_extension("kept");
    let mut settings = Settings::default();
    settings.node_args.insert("n3".to_owned(), vec![format!("--hub-addresses-file={}", file.display())]);
    let cluster = Cluster::start(lab, settings).unwrap();
    cluster.wait_healthy().unwrap();
    let mut kept = file.into_os_string();
    kept.push(".relays");
    (cluster, kept.into())
}

/// Waits until n3's session goes through another node, and says which.
fn through(cluster: &Cluster) -> String {
    let mut by = None;
    cluster
        .wait("n3's session comes through a neighbour", Duration::from_secs(20), |_| {
            by = relayed_by(cluster, "n3");
            by.is_some()
        })
        .unwrap();
    by.unwrap()
}

fn direct(cluster: &Cluster) {
    let back = |_: &xtask::cluster::Report| {
        agent(cluster, "n3")["connected"] == true && relayed_by(cluster, "n3").is_none()
    };
    cluster.wait("n3's session is direct again", Duration::from_secs(30), back).unwrap();
}

#[test]
fn who_is_cut_off_from_the_hub_by_the_fault_reports_it_through_a_neighbour() {
    let (cluster, _) = cluster("e2e-relay");
    // So many seconds of samples are looked at in the end.
    let began = Instant::now();
    let fault = inject(&cluster, CUT);
    let cut = Instant::now();
    // n1 and n2 see that n3 does not answer; what n3's kernel did is n3's to report.
    let found = |report: &xtask::cluster::Report| report.findings.iter().any(rule_of_n3);
    cluster.wait("the rule on n3 is found", Duration::from_secs(20), found).unwrap();
    println!("n3's rule is named {:.1} s after it came", cut.elapsed().as_secs_f64());
    let by = through(&cluster);
    assert_eq!(by, "n4", "nobody else reaches the hub and is reached by n3");
    assert_eq!(agent(&cluster, "n3")["relayDoubt"].as_str().unwrap_or_default(), "");
    let nodes = cluster.shown(&["nodes"]).unwrap();
    assert!(nodes.lines().any(|line| line.contains("n3") && line.contains("through n4")), "{nodes}");
    let (own, relay) = (status(&cluster, "n3"), status(&cluster, "n4"));
    assert_eq!(own["hub"]["relayed_by"], "n4");
    assert_eq!((&relay["relay"]["open"], &relay["relay"]["sessions"]), (&1.into(), &1.into()));
    assert!(relay["relay"]["to_hub_bytes"].as_u64().unwrap() > 1000, "{relay}");
    // What came late joined what was known: one cause, at one place.
    let located = Instant::now();
    cluster
        .wait("it stays so", Duration::from_secs(20), |report| {
            assert!(report.findings.iter().all(rule_of_n3), "{:#?}", report.findings);
            located.elapsed() >= Duration::from_secs(3)
        })
        .unwrap();
    let incidents = cluster.incidents().unwrap();
    assert_eq!(incidents.len(), 1, "{}", cluster.shown(&["incidents", "--closed"]).unwrap());
    cluster.lab.heal(&fault).unwrap();
    direct(&cluster);
    cluster.wait_healthy().unwrap();
    assert_eq!(cluster.incidents().unwrap().len(), 1, "no second one came of it");
    nothing_is_missing(&cluster, began);
    cluster.stop().unwrap().down().unwrap();
}

/// No sample of n3 was lost on the ways there and back.
fn nothing_is_missing(cluster: &Cluster, began: Instant) {
    let n3 = agent(cluster, "n3");
    assert_eq!(n3["droppedSamples"].as_str().unwrap_or("0"), "0", "{n3}");
    let seconds = began.elapsed().as_secs();
    let range = format!("{seconds}s");
    let answer = cluster.ask(&["matrix", "--range", &range, "--source", "n3"]).unwrap();
    let cells = xtask::cluster::Cell::read_all(&answer).unwrap();
    assert!(!cells.is_empty());
    for cell in cells {
        // A probe a second; the newest windows are still on their way.
        assert!(cell.sent + cell.suspect + 4 >= seconds, "{seconds} s: {cell:?}");
    }
}

#[test]
fn an_agent_that_starts_while_it_is_cut_off_knows_its_neighbours() {
    let (mut cluster, kept) = cluster("e2e-relay-start");
    let text = std::fs::read_to_string(&kept).unwrap();
    assert!(text.starts_with("172.30.0.2\n") && text.contains(":6102 n4"), "{text}");
    let fault = inject(&cluster, CUT);
    cluster.kill_agent("n3").unwrap();
    cluster.start_agent("n3").unwrap();
    assert_eq!(through(&cluster), "n4");
    // The relay ends: there is nobody else, until it is back.
    cluster.stop_agent("n4").unwrap();
    let away = |_: &xtask::cluster::Report| agent(&cluster, "n3")["connected"] != true;
    cluster.wait("n3 is away", Duration::from_secs(20), away).unwrap();
    cluster.start_agent("n4").unwrap();
    assert_eq!(through(&cluster), "n4");
    cluster.lab.heal(&fault).unwrap();
    direct(&cluster);
    cluster.stop().unwrap().down().unwrap();
}

#[test]
fn who_may_not_is_not_relayed() {
    let lab = Lab::up(LabSpec { mode: Mode::Routed, ..LabSpec::named("e2e-relay-off") }).unwrap();
    let mut settings = Settings::default();
    settings.node_args.insert("n3".to_owned(), vec!["--relay=off".to_owned()]);
    let cluster = Cluster::start(lab, settings).unwrap();
    cluster.wait_healthy().unwrap();
    let n3 = cluster.lab.node("n3").unwrap().v4;
    let refused = cluster.lab.enter("n4", || std::net::TcpStream::connect((n3, 6102)).is_err()).unwrap();
    assert!(refused, "nothing listens where it is switched off");
    // A pod is no node, and the hub is none either: they are not let in.
    let n4 = cluster.lab.node("n4").unwrap().v4;
    for stranger in ["web-n1", "hub"] {
        let said = cluster.lab.enter(stranger, || {
            use std::io::Read as _;

            let mut said = String::new();
            let stream = std::net::TcpStream::connect((n4, 6102));
            stream.and_then(|mut stream| stream.read_to_string(&mut said)).map(|_| said)
        });
        assert_eq!(said.unwrap().unwrap_or_default(), "", "{stranger}");
    }
    let refused = status(&cluster, "n4")["relay"]["refused"]["stranger"].as_u64();
    assert!(refused >= Some(1), "{refused:?}");
    inject(&cluster, CUT);
    cluster
        .wait("n3 is away", Duration::from_secs(90), |_| agent(&cluster, "n3")["connected"] != true)
        .unwrap();
    assert_eq!(relayed_by(&cluster, "n3"), None);
    cluster.stop().unwrap().down().unwrap();
}
