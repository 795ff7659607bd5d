//! Rounds on demand: what a check says of a fault, in its first lines and in JUnit's XML, and that a resumption probes what
//! failed and nothing else.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Mode};
use serde_json::Value;
use xtask::cluster::{Cluster, Settings};

use crate::inject;

/// Until what was lost has left the windows that count, and agents have probed anew.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs it with its files in a folder: exit code and text.
fn run(cluster: &Cluster, folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let (result, junit) = (folder.join("result.json"), folder.join("junit.xml"));
    let files = ["--result", result.to_str().unwrap(), "--junit-file", junit.to_str().unwrap()];
    let Output { status, stdout, stderr } = cluster.cli(&[words, &files].concat()).unwrap();
    let text = String::from_utf8(stdout).unwrap();
    (status.code(), if text.is_empty() { String::from_utf8(stderr).unwrap() } else { text })
}

fn saved(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("result.json")).unwrap()).unwrap()
}

#[test]
fn a_check_names_the_cause_and_a_resumption_probes_what_failed() {
    let spec = LabSpec { mode: Mode::Vxlan, vantage: true, ..LabSpec::named("e2e-checks") };
    let cluster = Cluster::start(Lab::up(spec).unwrap(), Settings::default()).unwrap();
    cluster.wait_healthy().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();

    let (code, text) = run(&cluster, folder, &["check"]);
    assert_eq!(code, Some(0), "{text}");
    let healthy = saved(folder);
    let all = healthy["paths"]["total"].as_u64().unwrap();
    assert!(healthy["round"]["complete"] == true && text.starts_with("✓ all"), "{text}");

    let fault = inject(&cluster, "drop node=n2 hook=input proto=udp dport=6100");
    let (code, text) = run(&cluster, folder, &["check"]);
    assert_eq!(code, Some(2), "{text}");
    let failed = saved(folder);
    assert_eq!(failed["causes"].as_array().map(Vec::len), Some(1), "{text}");
    let cause = failed["causes"][0]["headline"].as_str().unwrap().to_owned();
    assert!(cause.contains("n2") && cause.contains("netfilter input"), "{cause}");
    assert!(text.lines().take(3).any(|line| line.contains(&cause)), "{text}");
    let junit = std::fs::read_to_string(folder.join("junit.xml")).unwrap();
    let cases: Vec<&str> = junit.matches("<failure ").collect();
    assert_eq!(cases.len(), 1, "{junit}");
    let escaped = cause.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    assert!(junit.contains(&format!("<failure message=\"{escaped}\"")), "{junit}");

    // Counted: what failed, and no more.
    let count = failed["failedTotal"].as_u64().unwrap();
    assert!(count > 0 && count < all, "{count} of {all}");
    let (code, text) = run(&cluster, folder, &["resume"]);
    assert_eq!(code, Some(2), "{text}");
    let again = saved(folder);
    assert_eq!(again["selection"]["resumed"].as_u64(), Some(count));
    assert_eq!(again["paths"]["total"].as_u64(), Some(count), "{text}");

    cluster.lab.heal(&fault).unwrap();
    let mut text = String::new();
    cluster
        .wait("nothing is left that failed", PATIENCE, |_| {
            let (code, said) = run(&cluster, folder, &["resume"]);
            text = said;
            code == Some(0)
        })
        .unwrap_or_else(|error| panic!("{error:#}: {text}"));
    assert!(text.contains("a whole round is due"), "{text}");
    cluster.stop().unwrap().down().unwrap();
}
