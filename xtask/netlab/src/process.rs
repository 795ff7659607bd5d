//! Processes inside a lab's namespaces: started, found again by another driver, and stopped for certain.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{
    Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, set_parent_process_death_signal, setsid,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::netns;

/// How long a process may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// A command that will run inside a namespace, with a `/sys` that shows the namespace's interfaces (as
/// `ip netns exec` does) and still has cgroups, tracefs and a bpffs in it, and with `resolv_conf` in the place
/// of `/etc/resolv.conf`.
pub(crate) fn command(ns: &str, program: &OsStr, resolv_conf: Option<&Path>) -> Result<Command> {
    let file = netns::open(ns)?;
    let resolv_conf = resolv_conf.map(|path| CString::new(path.as_os_str().as_bytes())).transpose()?;
    let prepare = move || -> io::Result<()> {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        // SAFETY: the child has one thread and shares no file table that could surprise another.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        // "Slave", not "private": a namespace that is deleted outside must not be kept alive by this mount.
        mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount(c"netlab", c"/sys", c"sysfs", flags, None)?;
        // What the kernel or the machine does not have, nobody inside can miss.
        _ = mount(c"netlab", c"/sys/fs/cgroup", c"cgroup2", flags, None);
        _ = mount(c"netlab", c"/sys/fs/bpf", c"bpf", flags, None);
        _ = mount(c"netlab", c"/sys/kernel/tracing", c"tracefs", flags, None);
        if let Some(path) = &resolv_conf {
            mount_bind(path.as_c_str(), c"/etc/resolv.conf")?;
        }
        Ok(())
    };
    let mut command = Command::new(program);
    // SAFETY: between fork and exec the closure makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
    Ok(command)
}

/// Where a program is, by the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A program in memory, to be started by [`image_path`]. `/run` is often mounted `noexec`, and a security profile
/// that is bound to a program's path (AppArmor's for unbound) would forbid it to read the lab's files.
pub(crate) fn image(name: &str, bytes: &[u8]) -> Result<File> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC).context("creating a file in memory")?;
    let mut file = File::from(file);
    file.write_all(bytes).context("writing a program into memory")?;
    Ok(file)
}

/// The path by which a child of this process starts an image.
pub(crate) fn image_path(image: &File) -> String {
    format!("/proc/self/fd/{}", image.as_raw_fd())
}

/// Starts `command` with both outputs appended to a log file. Either it gets SIGKILL when this process ends in
/// whatever way, or a session of its own.
pub(crate) fn start(mut command: Command, log: &Path, dies_with_driver: bool) -> Result<Process> {
    let program = command.get_program().to_string_lossy().into_owned();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening log {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let bind_life = move || -> io::Result<()> {
        if dies_with_driver {
            set_parent_process_death_signal(Some(Signal::KILL))?;
        } else {
            setsid()?;
        }
        Ok(())
    };
    // SAFETY: system calls only, see `command`.
    unsafe { command.pre_exec(bind_life) };
    let child = spawn(command).with_context(|| format!("starting `{program}`"))?;
    Ok(Process { child, program, stops_on_drop: dies_with_driver })
}

/// Forks on a thread that lives as long as this process: the kernel sends the parent-death signal when the
/// *thread* that forked ends, and a caller's thread may be short-lived.
fn spawn(command: Command) -> Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static FORKER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (jobs, rx) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in rx {
                _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, child) = mpsc::channel();
    FORKER.send((command, reply)).map_err(|_| anyhow!("the forking thread is gone"))?;
    Ok(child.recv().context("the forking thread is gone")??)
}

/// A process that this program started inside a lab. Dropping it stops it, unless the lab is detached.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    stops_on_drop: bool,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the kernel does not know.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("asking after `{}`", self.program))
    }

    /// SIGTERM, then SIGKILL if it has not ended within `grace`; waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be signalled or waited for.
    pub fn stop(&mut self, grace: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        stop(&Identity::of(self.id())?, grace).with_context(|| format!("stopping `{}`", self.program))?;
        self.child.wait().with_context(|| format!("waiting for `{}`", self.program))
    }

    /// SIGKILL at once; waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be signalled or waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| format!("killing `{}`", self.program))?;
        self.child.wait().with_context(|| format!("waiting for `{}`", self.program))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stops_on_drop {
            _ = self.stop(GRACE);
        }
    }
}

/// A process that can be distinguished from a later one with the same id, by the time it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pid: u32,
    /// Clock ticks since boot (field 22 of proc_pid_stat(5)).
    started_ticks: u64,
}

impl Identity {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // The second field is the name in parentheses and may hold anything; field 3 follows the last `)`.
        let started = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
        let started_ticks = started.and_then(|ticks| ticks.parse().ok());
        Ok(Self { pid, started_ticks: started_ticks.with_context(|| format!("{path} is not as expected"))? })
    }

    pub(crate) fn alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self) && !is_zombie(self.pid)
    }

    pub(crate) fn to_text(&self) -> String {
        format!("{} {}", self.pid, self.started_ticks)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (pid, ticks) = text.split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started_ticks: ticks.parse().ok()? })
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Ends a process, whoever's child it is. One that is gone already is no error.
pub(crate) fn stop(process: &Identity, grace: Duration) -> Result<()> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    // Asked after the pidfd is open: what is alive now is what the pidfd holds.
    if !process.alive() {
        return Ok(());
    }
    let end = |signal, patience: Duration| -> Result<bool> {
        if pidfd_send_signal(&pidfd, signal).is_err() {
            return Ok(true);
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("the time to wait is out of range")?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    };
    if end(Signal::TERM, grace)? || end(Signal::KILL, GRACE)? {
        return Ok(());
    }
    Err(anyhow!("process {} does not die of SIGKILL", process.pid))
}

/// Kills every process inside these namespaces, at once and without asking.
pub(crate) fn kill_all(namespaces: &[String]) -> Result<()> {
    let deadline = Instant::now() + GRACE;
    loop {
        // Again, until none is found: one of them may just have forked.
        let found = netns::processes(namespaces)?;
        let living: Vec<Identity> = found
            .into_iter()
            .filter_map(|pid| Identity::of(pid.try_into().ok()?).ok())
            .filter(Identity::alive)
            .collect();
        if living.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(anyhow!("processes {living:?} do not die of SIGKILL"));
        }
        for process in &living {
            stop(process, Duration::ZERO)?;
        }
    }
}
