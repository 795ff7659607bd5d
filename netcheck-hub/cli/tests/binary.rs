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
