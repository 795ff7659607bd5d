//! The real binary without a hub: exit codes, one clear line, help.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn ask(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-netcheck"));
    command.args(arguments).env_remove("NETCHECK_HUB").output().unwrap()
}

/// Exit code, and the line on stderr.
fn failure(output: &Output) -> (i32, String) {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(stderr.lines().count(), 1, "one clear line: {stderr}");
    assert!(stderr.starts_with("kubectl-netcheck: "), "{stderr}");
    (output.status.code().unwrap(), stderr)
}

#[test]
fn bad_usage_is_64() {
    for (url, named) in [("ftp://x", "ftp:// is no scheme"), ("https://", "no"), ("http://", "no")] {
        let (code, line) = failure(&ask(&["report", "--hub", url]));
        assert_eq!(code, 64, "{line}");
        assert!(
            line.contains("--hub") && line.contains(named) && line.contains("http://HOST:PORT"),
            "{line}"
        );
    }
    for arguments in [
        &["--foo"][..],
        &["path", "n1"],
        &["matrix", "--range", "0s"],
        &["matrix", "--kind", "sctp"],
        &["report", "-o", "yaml"],
        &[],
    ] {
        assert_eq!(failure(&ask(arguments)).0, 64, "{arguments:?}");
    }
}

#[test]
fn a_hub_that_is_not_there_is_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // A port that nobody listens on.
    drop(listener);
    let (code, line) = failure(&ask(&["report", "--hub", &address]));
    assert_eq!(code, 1);
    assert!(line.contains(&address) && line.contains("refused"), "{line}");
    let (code, line) = failure(&ask(&["report", "--hub", &address, "--token-file", "/no/such/file"]));
    assert_eq!(code, 1);
    assert!(line.contains("--token-file /no/such/file"), "{line}");
}

#[test]
fn help_is_on_standard_output_and_names_every_kind_of_probe() {
    let help = ask(&["matrix", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("[possible values: icmp, udp, tcp, dns, http]"), "{text}");
    assert!(text.contains("[env: NETCHECK_HUB=]"), "{text}");
    let version = ask(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(version.stdout.starts_with(b"kubectl-netcheck "));
}

#[test]
fn what_goes_with_a_release_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(ask(&["manual", path]).status.code(), Some(0));
    let pages: Vec<_> = std::fs::read_dir(path).unwrap().map(|page| page.unwrap().file_name()).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let script = ask(&["completion", shell]);
        assert!(
            script.status.success() && String::from_utf8_lossy(&script.stdout).contains("resume"),
            "{shell}"
        );
    }
    let (code, line) = failure(&ask(&["manual", "/no/such/folder"]));
    assert!(code == 1 && line.contains("/no/such/folder"), "{line}");
}

#[test]
fn init_writes_a_file_and_replaces_none_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("netcheck.yaml");
    let file = file.to_str().unwrap();
    let foreign = folder.path().join("config.json");
    std::fs::write(&foreign, r#"{"protocol": "tcp", "maxNum": 3}"#).unwrap();
    let written = ask(&["init", file, "--from", foreign.to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    assert!(String::from_utf8_lossy(&written.stdout).contains("! maxNum 3 has no counterpart"));
    assert!(std::fs::read_to_string(file).unwrap().contains("kinds: [\"tcp\"]"));
    let (code, line) = failure(&ask(&["init", file]));
    assert!(code == 1 && line.contains("--force"), "{line}");
    assert!(ask(&["init", file, "--force"]).status.success());
}

#[test]
fn a_resumption_without_a_check_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (code, line) = failure(&ask(&["resume", "--result", "/no/such/result.json", "--hub", &address]));
    assert!(code == 1 && line.contains("/no/such/result.json"), "{line}");
}
