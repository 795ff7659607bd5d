//! What starves hosts, for a while: busy loops, a CPU quota, a process that is stopped again and again. Everything ends
//! with [`Loaded`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netcheck_netlab::Process;
use rustix::process::{Pid, Signal, kill_process};

use super::super::veth_pair::{FAR, NEAR, VethPair};

/// How a host is kept from its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    None,
    /// Two busy loops on each core.
    Busy,
    /// The source's agent and both pings share a tenth of a core with a busy loop.
    Quota,
    /// The source's programs and the responder share a tenth of a core with a busy loop.
    Starved,
    /// The responder is stopped for 20 ms out of 40.
    Asleep,
}

const ASLEEP: Duration = Duration::from_millis(20);

impl Load {
    pub(super) const ALL: [Self; 5] = [Self::None, Self::Busy, Self::Quota, Self::Starved, Self::Asleep];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::None => "idle",
            Self::Busy => "all cores busy",
            Self::Quota => "source in a quota of 100m",
            Self::Starved => "responder in a quota of 100m",
            Self::Asleep => "responder asleep half the time",
        }
    }

    /// Begins it, for the agents with these process ids.
    pub(super) fn begin(self, veth_pair: &VethPair, near: u32, far: u32) -> Result<Loaded> {
        let over = Arc::new(AtomicBool::new(false));
        let mut loaded =
            Loaded { over: Arc::clone(&over), threads: Vec::new(), busy: None, quota: None, joins: false };
        let limited = |node: &str, agent: u32| -> Result<(Process, Quota)> {
            let quota = Quota::tenth_of_a_core()?;
            let busy = veth_pair.lab.spawn_in(node, "sh", &["-c", "while :; do :; done"], &[], "busy")?;
            quota.add(busy.id())?;
            quota.add(agent)?;
            Ok((busy, quota))
        };
        match self {
            Self::None => {}
            Self::Busy => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                loaded.threads = (0..2 * cores).map(|_| spin(Arc::clone(&over))).collect();
            }
            Self::Quota => {
                let (busy, quota) = limited(NEAR, near)?;
                (loaded.busy, loaded.quota, loaded.joins) = (Some(busy), Some(quota), true);
            }
            Self::Starved => {
                let (busy, quota) = limited(FAR, far)?;
                (loaded.busy, loaded.quota) = (Some(busy), Some(quota));
            }
            Self::Asleep => {
                let pid = i32::try_from(far).ok().and_then(Pid::from_raw).context("no process id")?;
                loaded.threads = vec![std::thread::spawn(move || doze(pid, &over))];
            }
        }
        Ok(loaded)
    }
}

fn spin(over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    })
}

fn doze(pid: Pid, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        // One that is gone needs no waking.
        _ = kill_process(pid, Signal::STOP);
        std::thread::sleep(ASLEEP);
        _ = kill_process(pid, Signal::CONT);
        std::thread::sleep(ASLEEP);
    }
}

/// A load that goes on.
pub(super) struct Loaded {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    busy: Option<Process>,
    quota: Option<Quota>,
    /// Whether the pings share the quota.
    joins: bool,
}

impl Loaded {
    /// Further processes of the source.
    pub(super) fn also(&self, processes: &[u32]) -> Result<()> {
        let quota = self.quota.as_ref().filter(|_| self.joins);
        quota.map_or(Ok(()), |quota| processes.iter().try_for_each(|&pid| quota.add(pid)))
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // None of them can panic.
            _ = thread.join();
        }
        if let Some(mut busy) = self.busy.take() {
            busy.kill()?;
        }
        self.quota.take().map_or(Ok(()), |mut quota| quota.remove())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        _ = self.finish();
    }
}

/// A cgroup of its own, of either version, whose processes together get a tenth of a core, as Kubernetes' `100m`.
struct Quota {
    folder: PathBuf,
    /// Where its processes go when it ends.
    parent: PathBuf,
    /// Groups of version 2 had no share of the CPU to give before.
    enabled: bool,
}

impl Quota {
    fn tenth_of_a_core() -> Result<Self> {
        let first = Path::new("/sys/fs/cgroup/cpu");
        let is_first = first.join("cgroup.procs").exists();
        let parent = if is_first { first } else { Path::new("/sys/fs/cgroup") };
        let control = parent.join("cgroup.subtree_control");
        let given = is_first
            || fs::read_to_string(&control).is_ok_and(|all| all.split(' ').any(|one| one.trim() == "cpu"));
        if !given {
            write(&control, "+cpu")?;
        }
        let folder = parent.join("netcheck-bench");
        // One that a killed bench left behind does as well.
        if !folder.exists() {
            fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let quota = Self { folder, parent: parent.to_owned(), enabled: !given };
        if is_first {
            write(&quota.folder.join("cpu.cfs_period_us"), "100000")?;
            write(&quota.folder.join("cpu.cfs_quota_us"), "10000")?;
        } else {
            write(&quota.folder.join("cpu.max"), "10000 100000")?;
        }
        Ok(quota)
    }

    fn add(&self, pid: u32) -> Result<()> {
        write(&self.folder.join("cgroup.procs"), &pid.to_string())
    }

    fn remove(&mut self) -> Result<()> {
        let members = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            // One that has ended meanwhile is out of it.
            _ = write(&self.parent.join("cgroup.procs"), pid);
        }
        fs::remove_dir(&self.folder).with_context(|| format!("removing {}", self.folder.display()))?;
        if self.enabled {
            write(&self.parent.join("cgroup.subtree_control"), "-cpu")?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {text} to {}", path.display()))
}
