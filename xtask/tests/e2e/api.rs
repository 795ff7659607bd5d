//! The HTTP side of a hub at work: schemathesis holds it against its own document, watches send what changes, and a script
//! for k8snet-checker runs unchanged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use netcheck_netlab::{Lab, LabSpec};
use serde_json::Value;
use xtask::cluster::{Cluster, Settings, tool};

use crate::inject;

/// Anything that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(40);

/// Operations whose answers have no end.
const WATCHES: usize = 2;

/// Of those who came from k8snet-checker: which hosts don't reach which, how slow the others are, and how many fail.
const SCRIPT: &str = r#"
import json, sys, urllib.request
def get(path):
    return json.load(urllib.request.urlopen(sys.argv[1] + "/api/v1/" + path))
assert get("health")["status"] == "healthy"
hosts, pods = get("hosts"), get("pods")
assert hosts["count"] == len(hosts["host_ips"]) == 4 and pods["count"] == len(pods["pod_ips"]) > 0
assert get("clients/count")["active_client_count"] == get("results")["active_client_count"] > 0
dead = {}
for source, targets in get("test-results/hosts")["results"].items():
    assert source in hosts["host_ips"] or ":" in source
    for target, test in targets.items():
        if test["ping"] != "reachable" or test["port_status"] != "open":
            dead[target] = dead.get(target, 0) + 1
        else:
            assert 0 < float(test["test_duration"].rstrip("s")) < 10
assert all(test["ping"] in ("reachable", "unreachable") for targets in get("test-results/pods")["results"].values() for test in targets.values())
for source, test in get("test-results/service")["results"].items():
    assert test["source_ip"] == source and list(test["port_status"].values())[0] in ("open", "closed")
results = get("results")
for summary in (results["host_test_summary"], results["pod_test_summary"]):
    assert summary["total_tests"] == summary["successful_tests"] + summary["failed_tests"] > 0
    assert summary["failed_tests"] > 0 and summary["success_rate"] < 100.0
    assert summary["avg_test_duration"].endswith("s") and summary["total_test_duration"].endswith("s")
# Who reaches nobody misses all others, too.
print(" ".join(sorted(target for target, count in dead.items() if count > 1 and ":" not in target)))
"#;

#[test]
fn the_api_is_as_its_document_says() {
    let lab = Lab::up(LabSpec { vantage: true, ..LabSpec::named("e2e-api") }).unwrap();
    let cluster = Cluster::start(lab, Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    let hub = SocketAddr::new(cluster.lab.topology().hub_v4.into(), 8080);
    let mut watch = Watch::begin(&cluster, hub, "/api/v1/incidents/watch");
    assert_eq!(watch.next()["initialDone"], true, "nothing is wrong yet");
    let mut matrix =
        Watch::begin(&cluster, hub, "/api/v1/matrix/watch?source=n1&target=n2&kind=icmp&changes_only=true");
    assert_eq!(matrix.next()["initialDone"], true);

    let fault = inject(&cluster, "drop node=n2 hook=input proto=icmp");
    let opened = watch.until(|event| event["incident"]["state"] == "INCIDENT_STATE_OPEN");
    let changed = matrix.until(|event| event["cell"]["verdict"] == "VERDICT_UNREACHABLE");
    assert_eq!(changed["cell"]["path"]["sourceNode"], "n1");
    script(&cluster, hub);
    check(&cluster, hub);
    schemathesis(&cluster, hub);
    cluster.lab.heal(&fault).unwrap();
    let id = &opened["incident"]["id"];
    watch.until(|event| {
        event["incident"]["state"] == "INCIDENT_STATE_CLOSED" && &event["incident"]["id"] == id
    });
    // The hub ends in time though somebody still watches.
    cluster.stop().unwrap().down().unwrap();
}

fn script(cluster: &Cluster, hub: SocketAddr) {
    let dead = cluster.lab.node("n2").unwrap().v4.to_string();
    let (mut said, deadline) = (String::new(), Instant::now() + PATIENCE);
    while said.trim() != dead {
        assert!(Instant::now() < deadline, "it says: {said}");
        let mut python = cluster.lab.command("hub", "python3").unwrap();
        let output = python.args(["-c", SCRIPT, &format!("http://{hub}")]).output().unwrap();
        said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    }
}

/// Which operations are tried, and how often.
const TRIED: [(&[&str], usize); 2] = [
    // Watches have no end and are looked at by hand; a check takes some seconds each time.
    (
        &[
            "--exclude-path-regex",
            "(watch|/check)$",
            "--max-examples",
            "20",
            "--phases",
            "examples,coverage,fuzzing",
        ],
        WATCHES + 1,
    ),
    (&["--include-path", "/api/v1/check", "--max-examples", "6", "--phases", "fuzzing"], 0),
];

/// What is refused, and how, is part of the document.
fn schemathesis(cluster: &Cluster, hub: SocketAddr) {
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
        negative_data_rejection,unsupported_method";
    let document = format!("http://{hub}/api/v1/openapi.json");
    for (which, left_out) in TRIED {
        let mut python = cluster.lab.command("hub", "python3").unwrap();
        // Nothing that lies in the working directory is taken for a module.
        python.env("PYTHONPATH", tool("schemathesis")).env("PYTHONSAFEPATH", "1");
        python.current_dir(std::env::temp_dir());
        python.args(["-m", "schemathesis.cli", "run", &document, "--checks", checks]).args(which);
        python.args(["--workers", "1", "--seed", "1", "--no-color", "--generation-database", "none"]);
        python.args(["--request-timeout", "60", "--suppress-health-check", "all"]);
        let output = python.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        let number = |text: &str| -> Option<usize> {
            text.trim_start().split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
        };
        let after = |label: &str| said.split(label).nth(1);
        let selected = after("Selected:").and_then(number).filter(|&selected| selected > 0);
        let all = after("Selected:").and_then(|rest| number(rest.split('/').nth(1)?));
        assert_eq!(after("Tested:").and_then(number), selected, "{said}");
        // Those that were left out were so by name, and nothing else.
        let wanted = if left_out == 0 { Some(1) } else { all.map(|all| all - left_out) };
        assert_eq!(selected, wanted, "{said}");
    }
}

/// A check by HTTP is the one by gRPC: it names who is not reached.
fn check(cluster: &Cluster, hub: SocketAddr) {
    let path = format!("http://{hub}/api/v1/check?source=n1&target=n2&kind=icmp&rounds=2");
    let ask = |method: &str| {
        let mut python = cluster.lab.command("hub", "python3").unwrap();
        let script = "import sys, urllib.request\n\
            print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], method=sys.argv[2])).read().decode())";
        python.args(["-c", script, &path, method]).output().unwrap()
    };
    let output = ask("POST");
    let said = String::from_utf8_lossy(&output.stdout);
    let result: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(result["passed"], Value::Null, "false is left out: {result}");
    assert_eq!(result["cells"][0]["verdict"], "VERDICT_UNREACHABLE", "{result}");
    assert_eq!(result["cells"][0]["path"]["target"]["name"], "n2", "{result}");
    let refused = ask("GET");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("405"), "it makes agents probe: {refused:?}");
}

/// A reader of server-sent events.
struct Watch {
    lines: BufReader<TcpStream>,
}

impl Watch {
    fn begin(cluster: &Cluster, hub: SocketAddr, path: &str) -> Self {
        let stream = cluster.lab.enter("hub", || TcpStream::connect(hub).unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut writer = stream.try_clone().unwrap();
        write!(writer, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut watch = Self { lines: BufReader::new(stream) };
        let head: Vec<String> =
            std::iter::from_fn(|| Some(watch.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains("200") && head.join("\n").contains("text/event-stream"), "{head:?}");
        watch
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the hub says something in time");
        line.trim_end().to_owned()
    }

    /// The next message. Of the chunks that it comes in nothing else looks like one.
    fn next(&mut self) -> Value {
        loop {
            if let Some(data) = self.line().strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "it is sent in time");
            let event = self.next();
            if wanted(&event) {
                return event;
            }
        }
    }
}
