//! The real binaries: exit codes, one clear line, drain on SIGTERM.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const CLUSTER: &str = include_str!("hub/cluster.yaml");

fn hub(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netcheck-hub"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("NETCHECK_INVENTORY")
        .env_remove("NETCHECK_KUBECONFIG");
    command
}

/// What the command line comes to.
fn ask(arguments: &[&str]) -> kubectl_netcheck::Answer {
    let arguments = ["kubectl-netcheck"].into_iter().chain(arguments.iter().copied());
    kubectl_netcheck::run(arguments, &kubectl_netcheck::Screen::plain())
}

/// Exit code, and the line on stderr that is no log line.
fn failure(output: &Output) -> (i32, String) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("netcheck-hub: ")).collect();
    assert_eq!(lines.len(), 1, "one clear line: {stderr}");
    (output.status.code().unwrap(), lines[0].to_owned())
}

fn inventory(folder: &tempfile::TempDir, text: &str) -> String {
    let path: PathBuf = folder.path().join("inventory.yaml");
    std::fs::write(&path, text).unwrap();
    format!("file:{}", path.display())
}

#[test]
fn bad_usage_is_64() {
    let rows: [(&[&str], &str); 15] = [
        (&["--insecure", "--inventory", "file:x", "--frequency", "1s"], "--frequency"),
        (&["--insecure", "--inventory", "file:x", "--interval", "soon"], "--interval"),
        (&["--insecure", "--inventory", "file:x", "--interval", "0s"], "must be 50ms to 1h"),
        (&["--insecure", "--inventory", "etcd"], "kubernetes or file:PATH"),
        (&["--insecure", "--inventory", "file:x", "--grpc-addr", "here"], "--grpc-addr"),
        (&["--insecure", "--inventory", "file:x", "--log-format", "xml"], "--log-format"),
        (&["--inventory", "file:x"], "--insecure"),
        (&["--inventory", "file:x", "--tls-cert", "x"], "--tls-key"),
        (&["--insecure", "--inventory", "file:x", "--client-ca", "x"], "--tls-cert"),
        (
            &["--inventory", "file:x", "--tls-cert", "x", "--tls-key", "y", "--agent-auth", "none"],
            "--insecure",
        ),
        (&["--insecure", "--agent-service-account", "agent"], "NAMESPACE/NAME"),
        (&["--insecure", "--pods", "some"], "--pods <selected|all>"),
        (&["--insecure", "--services", "none"], "--services <selected|all>"),
        (&["--insecure", "--service-selector", "app in web"], "is not the name of a label"),
        (&["--insecure", "--service-namespaces", "a,B!"], "is not the name of a namespace"),
    ];
    for (arguments, named) in rows {
        let (code, line) = failure(&hub(arguments).output().unwrap());
        assert_eq!(code, 64, "{line}");
        assert!(line.contains(named), "{line}");
    }
    let by_environment =
        hub(&["--insecure", "--inventory", "file:x"]).env("NETCHECK_WINDOW", "9h").output().unwrap();
    assert_eq!(failure(&by_environment).0, 64);
}

#[test]
fn what_cannot_be_started_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let (code, line) = failure(&hub(&["--insecure", "--inventory", "file:/no/such/file"]).output().unwrap());
    assert_eq!(code, 1);
    assert!(line.contains("cannot read inventory /no/such/file"), "{line}");
    let broken = inventory(&folder, "kind: List\nitems:\n- kind: [\n");
    let (code, line) = failure(&hub(&["--insecure", "--inventory", &broken]).output().unwrap());
    assert_eq!(code, 1);
    assert!(line.contains("is broken") && line.contains("line"), "{line}");
    let mut nowhere = hub(&["--insecure"]);
    let (code, line) = failure(&nowhere.env_remove("KUBERNETES_SERVICE_HOST").output().unwrap());
    assert_eq!(code, 1);
    assert!(line.contains("not inside a cluster") && line.contains("--kubeconfig"), "{line}");
    let (code, line) = failure(&hub(&["--insecure", "--kubeconfig", "/no/such/file"]).output().unwrap());
    assert_eq!(code, 1);
    assert!(line.contains("kubeconfig /no/such/file is of no use"), "{line}");
    let path = folder.path().join("no.pem");
    let none = path.to_str().unwrap();
    let good = inventory(&folder, CLUSTER);
    let arguments = ["--insecure", "--inventory", &good, "--tls-cert", none, "--tls-key", none];
    let (code, line) = failure(&hub(&arguments).output().unwrap());
    assert_eq!(code, 1);
    assert!(line.contains(&format!("--tls-cert {none}")), "{line}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = inventory(&folder, CLUSTER);
    let (code, line) =
        failure(&hub(&["--insecure", "--inventory", &good, "--grpc-addr", &address]).output().unwrap());
    assert_eq!(code, 1);
    assert!(line.contains(&format!("cannot listen on {address} for gRPC")), "{line}");
}

#[test]
fn help_shows_units_and_defaults() {
    let help = String::from_utf8(hub(&["--help"]).output().unwrap().stdout).unwrap();
    for flag in [
        "--interval",
        "--timeout",
        "--window",
        "--expire",
        "--grpc-addr",
        "--http-addr",
        "--inventory",
        "--kubeconfig",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(help.contains("[default: 500ms]") && help.contains("[env: NETCHECK_INTERVAL=]"), "{help}");
}

/// Killed if a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the hub's report says of an inventory, all of it.
fn reported(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory");
    std::fs::write(&path, bytes).unwrap();
    let file = format!("file:{}", path.display());
    let mut command = hub(&["--insecure", "--inventory", &file, "--pods", "all", "--services", "all"]);
    command.args(["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--log-format", "json"]);
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(running.0.stderr.take().unwrap());
    let mut lines = log.lines().map(Result::unwrap);
    let listening = lines.find(|line| line.contains("\"listening\"")).expect("it listens");
    let listening: serde_json::Value = serde_json::from_str(&listening).unwrap();
    ask(&["report", "--hub", listening["fields"]["grpc"].as_str().unwrap()]).out
}

#[test]
fn files_as_people_have_them_are_read_and_what_is_odd_in_them_is_reported() {
    let with = |item: &str| format!("{CLUSTER}- {}\n", item.trim()).into_bytes();
    let without = |from: &str, to: &str| {
        assert!(CLUSTER.contains(from), "{from}");
        CLUSTER.replace(from, to).into_bytes()
    };
    let paths = |report: &str| {
        let first = report.lines().next().unwrap_or_default().to_owned();
        first.split_whitespace().find_map(|word| word.parse::<u32>().ok()).expect("a count")
    };
    let plain = reported(CLUSTER.as_bytes());
    let same: [(&str, Vec<u8>); 6] = [
        ("UTF-16", CLUSTER.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("CRLF and a byte order mark", format!("\u{feff}{}", CLUSTER.replace('\n', "\r\n")).into_bytes()),
        (
            "another group's Node",
            with("{apiVersion: longhorn.io/v1beta2, kind: Node, metadata: {name: n1}, spec: 5}"),
        ),
        (
            "another group's Service",
            with("{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: web}}"),
        ),
        (
            "a label that looks like a number",
            without("{topology.kubernetes.io/zone: zone-a}", "{topology.kubernetes.io/zone: 83e2010}"),
        ),
        (
            "a soft taint",
            without(
                "  metadata:\n    name: n2\n",
                "  spec: {taints: [{key: DeletionCandidateOfClusterAutoscaler, effect: PreferNoSchedule}]}\n  \
                 metadata:\n    name: n2\n",
            ),
        ),
    ];
    for (what, bytes) in same {
        let report = reported(&bytes);
        assert_eq!(paths(&report), paths(&plain), "{what}: {report}");
        assert!(!report.contains("left out") && !report.contains("leaving"), "{what}: {report}");
    }
    let cases: [(Vec<u8>, &str, bool); 6] = [
        (
            with(
                "{kind: Pod, metadata: {name: odd, namespace: a}, spec: {nodeName: n1, hostNetwork: true}, status: {phase: Running, podIP: <nil>}}",
            ),
            "(Pod a/odd) is left out: status.podIP is not an address: \"<nil>\"",
            false,
        ),
        (
            with(
                "{kind: EndpointSlice, metadata: {name: odd}, addressType: IPv4, endpoints: [], ports: [{port: 0}]}",
            ),
            "(EndpointSlice odd): left out of it: ports is not a port: 0",
            false,
        ),
        (
            with(
                "{kind: Node, metadata: {name: n9}, status: {addresses: [{type: ExternalIP, address: 192.0.2.9}], \
               conditions: [{type: Ready, status: 'True'}]}}",
            ),
            "no address of type InternalIP on n9",
            true,
        ),
        (without("10.0.0.2}", "10.0.0.1}"), "2 objects have the address 10.0.0.1 (node n1, node n2)", true),
        (
            without("10.244.2.2", "10.244.1.2"),
            "have the address 10.244.1.2 (pod default/web-1, pod default/web-2)",
            true,
        ),
        (without("kube-dns", "names"), "no cluster DNS was found", false),
    ];
    for (bytes, expected, unjudged) in cases {
        let report = reported(&bytes);
        assert!(report.contains(expected), "{expected}: {report}");
        assert!(!report.starts_with('✓'), "{report}");
        assert_eq!(report.lines().next().unwrap().contains("nobody can probe"), unjudged, "{report}");
    }
}

#[test]
fn a_hub_without_agents_serves_says_so_and_drains_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let good = inventory(&folder, CLUSTER);
    let mut command = hub(&[
        "--insecure",
        "--inventory",
        &good,
        "--grpc-addr",
        "127.0.0.1:0",
        "--http-addr",
        "127.0.0.1:0",
    ]);
    let mut running = Running(command.args(["--log-format", "json"]).stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(running.0.stderr.take().unwrap());
    let mut lines =
        log.lines().map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let listening = lines.find(|line| line["fields"]["message"] == "listening").unwrap();
    let grpc = listening["fields"]["grpc"].as_str().unwrap();

    let nodes = ask(&["nodes", "--hub", grpc]);
    assert_eq!(nodes.code, 0, "{nodes:?}");
    assert!(nodes.out.contains("never seen"), "{nodes:?}");
    // Silence is not reachability.
    let report = ask(&["report", "--hub", &format!("http://{grpc}")]);
    assert_eq!(report.code, 1, "nothing is unreachable, and nothing is known to be reachable");
    assert!(report.err.contains("nothing is measured on any of"), "{report:?}");
    assert!(report.out.starts_with("? nothing is measured on any of"), "{report:?}");
    assert!(!report.out.contains('\x1b'), "no colours where it is no terminal");
    let json = ask(&["matrix", "-o", "json", "--hub", grpc]);
    assert_eq!(json.code, 1, "{json:?}");
    let none = ask(&["matrix", "--source", "n99", "--hub", grpc]);
    assert!(
        none.err.contains("none was selected"),
        "a selector that selects nothing is no success: {none:?}"
    );
    assert_eq!(none.code, 1);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["cells"][0]["verdict"], "VERDICT_NO_DATA");
    let path = ask(&["path", "n1", "nowhere", "--hub", grpc]);
    assert_eq!((path.code, path.err.contains("no path from n1 to nowhere")), (1, true), "{path:?}");

    let pid = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
}
