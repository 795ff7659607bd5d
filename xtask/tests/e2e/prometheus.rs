//! A real Prometheus scrapes hub and agents of a lab with faults: every query of the alerts and dashboards has an answer,
//! what can be provoked fires, native histograms and exemplars arrive, and the hub's log says what opened and closed.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Process};
use serde_json::Value;
use tempfile::TempDir;
use xtask::chart::queries;
use xtask::cluster::{Cluster, Settings};

use crate::http::servers::Servers;
use crate::{args, inject};

const PATIENCE: Duration = Duration::from_secs(60);
/// What these faults make true.
const FIRING: [&str; 4] = [
    "NetcheckIncident",
    "NetcheckNodeUnreachable",
    "NetcheckServiceUnreachable",
    "NetcheckCertificateExpires",
];

/// One that runs where the hub does.
struct Prometheus {
    address: SocketAddr,
    process: Process,
    _dir: TempDir,
}

impl Prometheus {
    fn start(cluster: &Cluster, port: u16, features: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hub = cluster.lab.topology().hub_v4;
        let agents: Vec<String> =
            cluster.lab.nodes().iter().map(|node| format!("\"{}:6101\"", node.v4)).collect();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
             - {{job_name: hub, honor_labels: true, static_configs: [{{targets: [\"{hub}:8080\"]}}]}}\n\
             - {{job_name: agents, honor_labels: true, static_configs: [{{targets: [{}]}}]}}\n",
            agents.join(", ")
        );
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let address = SocketAddr::new(hub.into(), port);
        let mut flags = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", dir.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        flags.extend(features.iter().map(|feature| format!("--enable-feature={feature}")));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let process =
            cluster.lab.spawn_in("hub", "prometheus", &flags, &[], &format!("prometheus-{port}")).unwrap();
        Self { address, process, _dir: dir }
    }

    /// The result of a query; none while it does not answer, or finds it wrong.
    fn ask(&self, cluster: &Cluster, query: &str) -> Option<Value> {
        let answer = get(cluster, self.address, &format!("/api/v1/query?query={}", encoded(query)))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        (answer["status"] == "success").then(|| answer["data"]["result"].clone())
    }

    fn has(&self, cluster: &Cluster, query: &str) -> bool {
        self.ask(cluster, query).is_some_and(|result| result.as_array().is_some_and(|all| !all.is_empty()))
    }
}

/// The body of an answer, as the hub's namespace sees it.
fn get(cluster: &Cluster, address: SocketAddr, path: &str) -> Option<String> {
    let asked = cluster.lab.enter("hub", || {
        let mut stream = TcpStream::connect(address)?;
        // By HTTP 1.0 it comes in one piece.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    Some(asked.unwrap().ok()?.split_once("\r\n\r\n")?.1.to_owned())
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() {
            all.push(char::from(byte));
        } else {
            write!(all, "%{byte:02X}").unwrap();
        }
        all
    })
}

/// What a query looks at, whether it says yes to it or not: without comparisons with numbers, and what is to be absent.
fn looked_at(query: &str) -> String {
    let words: Vec<&str> = query.split_whitespace().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let compares = matches!(words[at], ">" | "<" | "==");
        if compares {
            // `< 7 * 86400`, `> 0)`.
            let number = words[at + 1];
            let behind = number.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
            kept.push(behind);
            at += if words.get(at + 2) == Some(&"*") { 4 } else { 2 };
        } else {
            kept.push(words[at]);
            at += 1;
        }
    }
    kept.join(" ").replace("absent(", "(")
}

#[test]
fn comparisons_are_left_out() {
    for (query, expected) in [
        ("sum by (kind) (netcheck_incidents_open) > 0", "sum by (kind) (netcheck_incidents_open) "),
        ("topk(10, sum(x) > 0)", "topk(10, sum(x) )"),
        ("a == 0 and b == 1", "a  and b "),
        ("a - time() < 7 * 86400", "a - time() "),
        ("absent(netcheck_paths)", "(netcheck_paths)"),
    ] {
        assert_eq!(looked_at(query), expected);
    }
}

/// Waits until all of these have an answer; says which have none.
fn wait_all(cluster: &Cluster, what: &str, prometheus: &Prometheus, queries: &[(String, String)]) {
    let mut left: Vec<&(String, String)> = queries.iter().collect();
    let waited = cluster.wait(what, PATIENCE, |_| {
        left.retain(|(_, query)| !prometheus.has(cluster, query));
        left.is_empty()
    });
    // What such a query looks at, for whoever reads the failure.
    let seen: Vec<_> = left.iter().map(|(_, query)| prometheus.ask(cluster, &looked_at(query))).collect();
    assert!(waited.is_ok(), "{what}: no answer to {left:#?}; without comparisons: {seen:?}");
}

#[test]
fn every_query_of_alerts_and_dashboards_has_an_answer() {
    let lab = Lab::up(LabSpec { vantage: true, ..LabSpec::named("e2e-prometheus") }).unwrap();
    let servers = Servers::start(&lab);
    let hub_args = args("--http-interval 1s --http-timeout 2s --report-interval 5s");
    let cluster = Cluster::start(lab, Settings { hub_args, ..Settings::default() }).unwrap();
    let mut plain = Prometheus::start(&cluster, 9090, &["exemplar-storage"]);
    let mut native = Prometheus::start(&cluster, 9091, &["native-histograms", "exemplar-storage"]);
    // Before anything is broken: rates need a sample from before their first rise.
    let seen = [("hub".to_owned(), "netcheck_incidents_opened_total".to_owned())];
    wait_all(&cluster, "the hub is scraped", &plain, &seen);

    let faults =
        ["drop node=n2 hook=input", "backend-refuses pod=web-n1"].map(|fault| inject(&cluster, fault));
    servers.announce(&cluster.lab);
    let alerts = queries::alerts().unwrap();
    let alert = |rule: &Value| {
        (rule["alert"].as_str().unwrap().to_owned(), rule["expr"].as_str().unwrap().to_owned())
    };
    let alerts: Vec<(String, String)> = alerts.iter().map(alert).collect();
    let boards = queries::dashboard_queries().unwrap();
    let all: Vec<(String, String)> =
        alerts.iter().chain(&boards).map(|(name, query)| (name.clone(), looked_at(query))).collect();
    assert!(all.len() > 40, "only {} queries", all.len());
    wait_all(&cluster, "all have an answer", &plain, &all);
    let firing = alerts.iter().filter(|(name, _)| FIRING.contains(&name.as_str())).cloned();
    let firing: Vec<(String, String)> = firing.collect();
    assert_eq!(firing.len(), FIRING.len());
    wait_all(&cluster, "what is broken fires", &plain, &firing);
    natively(&cluster, &native, &plain, &boards);
    checked_by_promtool(&cluster);

    for fault in &faults {
        cluster.lab.heal(fault).unwrap();
    }
    let log = cluster.lab.log_path("hub");
    let mut text = String::new();
    let logged = cluster.wait("the log says that it is over", PATIENCE, |_| {
        text = std::fs::read_to_string(&log).unwrap();
        ["report: ", " opened: ", " closed after ", "incident "].iter().all(|words| text.contains(words))
    });
    assert!(logged.is_ok(), "{text}");
    for prometheus in [&mut plain, &mut native] {
        prometheus.process.stop(Duration::from_secs(10)).unwrap();
    }
    drop(servers);

    cluster.stop().unwrap().down().unwrap();
}

/// Native histograms: the dashboards' quantiles find them where there are no classic buckets, with the same counts.
fn natively(cluster: &Cluster, native: &Prometheus, plain: &Prometheus, boards: &[(String, String)]) {
    let quantiles = boards.iter().filter(|(_, query)| query.contains("histogram_quantile"));
    let quantiles: Vec<(String, String)> = quantiles.cloned().collect();
    assert!(quantiles.len() >= 4);
    wait_all(cluster, "native quantiles", native, &quantiles);
    assert!(!native.has(cluster, "netcheck_probe_duration_seconds_bucket"), "native ones only");
    // Half of all round trips are below the median in both, within the width of a classic bucket.
    let median = |of: &Prometheus, query: &str| {
        let result = of.ask(cluster, query).unwrap();
        result[0]["value"][1].as_str().unwrap().parse::<f64>().unwrap()
    };
    let exact = median(native, "histogram_quantile(0.5, sum(rate(netcheck_probe_duration_seconds[1m])))");
    let coarse = median(
        plain,
        "histogram_quantile(0.5, sum by (le) (rate(netcheck_probe_duration_seconds_bucket[1m])))",
    );
    assert!(exact > 0.0 && exact < coarse * 5.0 && coarse < exact * 10.0, "{exact} {coarse}");
    let path = "/api/v1/query_exemplars?start=0&end=99999999999&query=netcheck_target_probes_total";
    for prometheus in [plain, native] {
        let with_incident = |_: &xtask::cluster::Report| {
            get(cluster, prometheus.address, path).is_some_and(|text| text.contains("\"incident\":\""))
        };
        let waited = cluster.wait("exemplars", PATIENCE, with_incident);
        assert!(waited.is_ok(), "no exemplar at {}", prometheus.address);
    }
}

/// The page as a person gets it.
fn checked_by_promtool(cluster: &Cluster) {
    let page = get(cluster, SocketAddr::new(cluster.lab.topology().hub_v4.into(), 8080), "/metrics").unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
