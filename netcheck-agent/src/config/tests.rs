use super::*;

fn run(args: &[&str]) -> Result<Command, NotRun> {
    parse(std::iter::once("netcheck-agent").chain(args.iter().copied()).map(OsString::from))
}

#[test]
fn run_is_the_default() {
    for args in [&["--hub", "http://h:7070", "--insecure"][..], &["run", "--hub=http://h:7070", "--insecure"]]
    {
        let Ok(Command::Run(run)) = run(args) else { panic!("{args:?}") };
        assert_eq!(run.responder_addr, "0.0.0.0:6100".parse().unwrap());
        assert_eq!(run.http.http_addr, "0.0.0.0:6101".parse().unwrap());
        assert_eq!((run.ebpf, run.pps), (EbpfMode::Auto, 1000));
        assert_eq!((run.relay, run.relay_addr), (RelayMode::On, "0.0.0.0:6102".parse().unwrap()));
    }
    assert!(matches!(run(&["status", "--http-addr", "127.0.0.1:1"]), Ok(Command::Status(_))));
    assert!(matches!(run(&["cleanup"]), Ok(Command::Cleanup)));
    let Ok(Command::Vantage(vantage)) = run(&["vantage", "--vantage-socket", "/run/v.sock"]) else {
        panic!()
    };
    assert_eq!(vantage.responder_addr, "0.0.0.0:6100".parse().unwrap());
}

#[test]
fn a_bad_flag_is_one_line_that_names_it() {
    let hub = ["--hub", "http://h:7070", "--insecure"];
    for (flag, value) in [
        ("--pps", "0"),
        ("--pps", "many"),
        ("--pps", "1000001"),
        ("--ebpf", "maybe"),
        ("--responder-addr", "6100"),
        ("--http-addr", "localhost"),
        ("--relay", "yes"),
        ("--relay-addr", "6102"),
        ("--node", "a b"),
        ("--netns-scope", "1,x"),
        ("--node-local-dns", "169.254.169.254"),
        ("--node-local-dns", "127.0.0.1"),
        ("--node-local-dns", "cache"),
        ("--allow-cidr", "192.0.2.0"),
        ("--allow-cidr", "192.0.2.1/24"),
        ("--allow-cidr", "192.0.2.0/24,example.org"),
        ("--allow-cidr", "192.0.2.0/33"),
        ("--log", "=="),
        ("--log", "blah"),
        ("--log", "info,blah"),
        ("--log", "netcheck::kernel=loud"),
        ("--log", ""),
        ("--log-format", "xml"),
        ("--frobnicate", "1"),
    ] {
        let Err(NotRun::Usage(line)) = run(&[&hub[..], &[flag, value]].concat()) else { panic!("{flag}") };
        assert!(line.contains(flag) && !line.contains('\n') && !line.starts_with("error"), "{line}");
    }
}

#[test]
fn a_number_out_of_range_is_answered_with_the_range() {
    for number in ["-1", "0", "1000001"] {
        let Err(NotRun::Usage(line)) = run(&["--hub", "http://h:7070", "--insecure", "--pps", number]) else {
            panic!("{number}")
        };
        assert!(line.contains(&format!("{number} is not in 1..=1000000")), "{line}");
    }
}

#[test]
fn a_log_filter_never_silences_the_rest() {
    for (given, expected) in [
        ("warn", "warn"),
        ("off", "off"),
        ("info,netcheck::kernel=debug", "info,netcheck::kernel=debug"),
        ("netcheck::kernel=debug", "info,netcheck::kernel=debug"),
        ("h2=trace, error", "h2=trace, error"),
        ("[span{a=1}]=debug", "info,[span{a=1}]=debug"),
    ] {
        assert_eq!(log_filter(given).unwrap(), expected);
    }
}

#[test]
fn the_hub_is_checked() {
    for (args, word) in [
        (&["--hub", "http://h:7070"][..], "--insecure"),
        (&["--hub", "https://h:7070", "--tls-cert", "x"], "--tls-key"),
        (&["--hub", "h"], "--hub"),
        (&["--hub", "ftp://h"], "http://HOST"),
        (&[], "--hub"),
    ] {
        let Err(NotRun::Usage(line)) = run(args) else { panic!("{args:?}") };
        assert!(line.contains(word) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn help_is_not_an_error() {
    for args in [&["--help"][..], &["run", "--help"], &["--version"]] {
        assert!(matches!(run(args), Err(NotRun::Shown(_))), "{args:?}");
    }
}

#[test]
fn a_vantage_goes_on_for_a_while_but_not_for_ever() {
    let with = |drain: &str| run(&["vantage", "--vantage-socket", "/run/v.sock", "--drain", drain]);
    let Ok(Command::Vantage(vantage)) = with("3s") else { panic!() };
    assert_eq!(vantage.drain, Duration::from_secs(3));
    for drain in ["3", "61s", "soon"] {
        let Err(NotRun::Usage(line)) = with(drain) else { panic!("{drain}") };
        assert!(line.contains("--drain"), "{line}");
    }
}
