//! The engine inside a real CPU quota. Needs cgroups that can be written, and fails without.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::host::starvation::cpu_stat;
use crate::model::sample::StarvationReason;

/// Shows the test that it is the process inside.
const INSIDE: &str = "NETCHECK_TEST_INSIDE_QUOTA";
const NAME: &str = "engine::tests::starved::under_a_cpu_quota_silence_is_suspect";
/// Of 100 ms: what runs beside the engine uses it up even on a machine where much else runs.
const QUOTA_US: u32 = 5_000;

/// A cgroup with a CPU quota; removed with this value.
struct Quota(PathBuf);

impl Quota {
    fn new() -> Self {
        let own = cpu_stat().expect("a cgroup with the cpu controller");
        // At the root of the hierarchy: a version 2 cgroup with processes in it can't have children with controllers.
        let is_cgroup = |folder: &&Path| folder.join("cgroup.procs").exists();
        let root = own.ancestors().skip(1).take_while(is_cgroup).last().expect("a mounted hierarchy");
        let folder = root.join(format!("netcheck-test-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("cgroups can be made: run the tests as root");
        if folder.join("cpu.cfs_quota_us").exists() {
            std::fs::write(folder.join("cpu.cfs_quota_us"), QUOTA_US.to_string()).unwrap();
        } else {
            std::fs::write(root.join("cgroup.subtree_control"), "+cpu").unwrap();
            std::fs::write(folder.join("cpu.max"), format!("{QUOTA_US} 100000")).unwrap();
        }
        Self(folder)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

#[test]
fn under_a_cpu_quota_silence_is_suspect() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    let quota = Quota::new();
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::write(quota.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    child.stdin.take().unwrap().write_all(b"go").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// The same probes, of which none is answered, in a process whose quota is used up by others of its threads.
async fn inside() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let busy = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    });
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (handle, mut output, thread) = start();
    let Command::Plan(mut delta) = plan(vec![spec(1, v1::ProbeKind::Udp, "127.0.0.1", port)]) else {
        unreachable!()
    };
    // The quota's gaps are shorter than 100 ms: to a timeout of 2 s that is no late turn.
    delta.timeout = Some(convert::duration_from_ns(2 * SECOND_NS));
    handle.command(Command::Plan(delta)).await;
    let suspects = |report: &Report| -> u32 {
        let rows = report.windows.iter().flat_map(|window| &window.paths);
        rows.map(|row| row.suspect).sum()
    };
    let report = collect(&mut output, |report| suspects(report) >= 10).await;
    stop.store(true, Ordering::Relaxed);
    handle.stop();
    thread.join().unwrap();
    busy.join().unwrap();
    assert_eq!(count(&report, 1, Outcome::Timeout), 0);
    let status = output.status.borrow();
    let throttled =
        status.counters.suspects().find(|&(why_starved, _)| why_starved == StarvationReason::Throttled);
    assert!(throttled.is_some_and(|(_, count)| count > 0), "{:?}", status.counters);
}
