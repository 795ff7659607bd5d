//! Labs come and go: side by side, detached, after a driver was killed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use netcheck_netlab::{Lab, LabSpec, Lifetime};

use crate::probe::{self, Outcome, eventually};

/// Set for the test binary that plays the driver which is killed.
const DRIVER: &str = "NETLAB_TEST_DRIVER";

fn namespaces(lab: &str) -> Vec<String> {
    let prefix = format!("netlab.{lab}.");
    let names = fs::read_dir("/run/netns").into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// Living processes whose command line names the lab's state folder.
fn processes(lab: &str) -> Vec<String> {
    let dir = format!("/run/netcheck-lab/{lab}/");
    let commands = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        // A zombie has no command line.
        let command = fs::read_to_string(entry.ok()?.path().join("cmdline")).ok()?;
        Some(command.replace('\0', " "))
    });
    commands.filter(|command| command.contains(&dir)).collect()
}

fn assert_gone(lab: &str) {
    assert_eq!(namespaces(lab), [""; 0]);
    eventually("no process is left", || processes(lab).is_empty());
    assert!(!Path::new("/run/netcheck-lab").join(lab).exists());
    assert!(!Path::new("/run/netcheck-lab").join(format!("{lab}.lock")).exists());
}

#[test]
fn two_labs_side_by_side() {
    let a = Lab::up(LabSpec::named("t-twin")).unwrap();
    let b = Lab::up(LabSpec::named("t-twin-2")).unwrap();
    let target = a.pod("web-n3").unwrap().v4;
    assert_eq!(target, b.pod("web-n3").unwrap().v4, "addresses may be equal");
    a.inject(&"veth-down pod=web-n3".parse().unwrap()).unwrap();
    assert_eq!(probe::ping(&a, "n1", target.into(), 56), Outcome::Timeout);
    assert_eq!(probe::ping(&b, "n1", target.into(), 56), Outcome::Reply);
    drop(a);
    assert_gone("t-twin");
    assert_eq!(probe::ping(&b, "n1", target.into(), 56), Outcome::Reply);
    b.down().unwrap();
    assert_gone("t-twin-2");
}

#[test]
fn a_name_has_one_driver() {
    let lab = Lab::up(LabSpec::named("t-name")).unwrap();
    let error = format!("{:#}", Lab::up(LabSpec::named("t-name")).unwrap_err());
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(Lab::remove("t-name").is_err());
    // Others may still look and break things.
    let other = Lab::attach("t-name").unwrap();
    assert!(other.exec("n1", &["true"]).unwrap().status.success());
    drop(other);
    lab.down().unwrap();
    assert_gone("t-name");
}

#[test]
fn a_detached_lab_stays_until_it_is_removed() {
    let spec = LabSpec { lifetime: Lifetime::Detached, ..LabSpec::named("t-stay") };
    drop(Lab::up(spec).unwrap());
    assert!(Lab::list().unwrap().contains(&"t-stay".to_owned()));
    let lab = Lab::attach("t-stay").unwrap();
    let web = probe::address(&lab, "web", netcheck_netlab::Family::V4);
    assert_eq!(probe::service(&lab, "n4", (web, 80).into()), Outcome::Reply);
    // Another driver stops and starts the servers of the first one.
    let fault = "backend-refuses pod=web-n1".parse().unwrap();
    lab.inject(&fault).unwrap();
    assert_eq!(Lab::attach("t-stay").unwrap().faults().unwrap(), [fault]);
    lab.heal_all().unwrap();
    assert_eq!(probe::service(&lab, "n4", (web, 80).into()), Outcome::Reply);
    drop(lab);
    Lab::remove("t-stay").unwrap();
    assert_gone("t-stay");
    assert!(Lab::attach("t-stay").is_err());
    Lab::remove("t-stay").expect("removing what is gone is no error");
}

/// Not a test: the driver that the tests below kill. Does nothing unless they start it.
#[test]
#[ignore = "started by other tests"]
fn driver() {
    let Ok(name) = std::env::var(DRIVER) else { return };
    let lab = Lab::up(LabSpec::named(&name)).unwrap();
    let sleeper = lab.spawn_in("n1", "sleep", &["98765"], &[], "sleep.log").unwrap();
    fs::write(lab.state_dir().join("pid"), sleeper.id().to_string()).unwrap();
    loop {
        thread::park();
    }
}

/// Raises a lab in another process and kills that with SIGKILL; returns the id of a process in the lab.
fn kill_a_driver(name: &str) -> String {
    let mut driver = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::driver", "--ignored"])
        .env(DRIVER, name)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = Path::new("/run/netcheck-lab").join(name).join("pid");
    eventually("the driver has raised its lab", || {
        assert_eq!(driver.try_wait().unwrap(), None, "the driver ended");
        fs::read_to_string(&file).is_ok_and(|pid| !pid.is_empty())
    });
    let pid = fs::read_to_string(&file).unwrap();
    driver.kill().unwrap();
    driver.wait().unwrap();
    pid
}

fn alive(pid: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

#[test]
fn after_sigkill_of_the_driver_down_leaves_nothing() {
    let pid = kill_a_driver("t-killed");
    eventually("the lab's processes die with the driver", || {
        !alive(&pid) && processes("t-killed").is_empty()
    });
    assert!(!namespaces("t-killed").is_empty());
    Lab::remove("t-killed").unwrap();
    assert_gone("t-killed");
}

#[test]
fn after_sigkill_of_the_driver_up_starts_afresh() {
    let pid = kill_a_driver("t-again");
    let lab = Lab::up(LabSpec::named("t-again")).unwrap();
    assert!(!alive(&pid));
    assert_eq!(probe::ping(&lab, "n1", lab.node("n4").unwrap().v4.into(), 56), Outcome::Reply);
    lab.down().unwrap();
    assert_gone("t-again");
}

#[test]
fn processes_are_logged_outlive_their_thread_and_stop() {
    let lab = Lab::up(LabSpec::named("t-proc")).unwrap();
    let script = "trap '' TERM; echo $WORD; ls /sys/class/net; while :; do sleep 0.1; done";
    let (name, env) = ("stubborn.log", [("WORD", "hello")]);
    // The thread that starts it ends at once; the parent-death signal must not take that for our death.
    let mut stubborn = thread::scope(|scope| {
        scope.spawn(|| lab.spawn_in("web-n1", "sh", &["-c", script], &env, name).unwrap()).join().unwrap()
    });
    let log = || fs::read_to_string(lab.log_path(name)).unwrap_or_default();
    eventually("it has said all", || log().ends_with("\nlo\n"));
    assert_eq!(log(), "hello\neth0\nlo\n", "it sees the interfaces of its own namespace");
    assert!(stubborn.exited().unwrap().is_none());
    let status = stubborn.stop(Duration::from_millis(100)).unwrap();
    assert!(!status.success());
    assert!(lab.spawn_in("n1", "no-such-program", &[], &[], "x.log").is_err());
    assert!(lab.spawn_in("n9", "true", &[], &[], "x.log").is_err());
    lab.down().unwrap();
}
