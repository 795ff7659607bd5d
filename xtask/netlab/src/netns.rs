//! Network namespaces: made and deleted by name as iproute2 does, entered by threads, searched for processes.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{io, thread};

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where iproute2 keeps named namespaces.
const DIR: &str = "/run/netns";

/// Path of a namespace.
pub(crate) fn path(ns: &str) -> PathBuf {
    Path::new(DIR).join(ns)
}

/// Opens a namespace.
pub(crate) fn open(ns: &str) -> Result<File> {
    File::open(path(ns)).with_context(|| format!("opening network namespace {ns}"))
}

/// Creates namespaces.
pub(crate) fn create(names: &[String]) -> Result<()> {
    let lines: Vec<String> = names.iter().map(|name| format!("netns add {name}")).collect();
    run(Command::new("ip").args(["-batch", "-"]), &lines.join("\n")).context("creating network namespaces")
}

/// Deletes a namespace; one that is not there is no error.
pub(crate) fn delete(ns: &str) -> Result<()> {
    let path = path(ns);
    if !path.exists() {
        return Ok(());
    }
    // A driver that was killed between creating the file and mounting the namespace left a plain file.
    if run(Command::new("ip").args(["netns", "delete", ns]), "").is_err() && path.exists() {
        fs::remove_file(&path).with_context(|| format!("deleting network namespace {ns}"))?;
    }
    Ok(())
}

/// Names of all namespaces that begin with `prefix`.
pub(crate) fn list(prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(DIR) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {DIR}")),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort_unstable();
    Ok(names)
}

/// Runs `f` on a thread of its own inside a namespace and waits for it.
///
/// # Errors
/// If the namespace cannot be opened or entered, or `f` panicked.
pub fn enter<T: Send>(ns: &str, f: impl FnOnce() -> T + Send) -> Result<T> {
    let file = open(ns)?;
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("entering network namespace {ns}"))?;
            Ok(f())
        });
        inside.join().map_err(|_| anyhow!("a thread in network namespace {ns} panicked"))?
    })
}

/// Runs `f` for each item, side by side; the first error wins.
pub(crate) fn each<T: Sync>(items: &[T], f: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = items.iter().map(|item| scope.spawn(|| f(item))).collect();
        // All are joined before the first error is returned.
        let results: Vec<Result<()>> = running
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))))
            .collect();
        results.into_iter().collect()
    })
}

/// Runs lines of `ip` commands inside a namespace; stops at the first that fails.
pub(crate) fn ip(ns: &str, lines: &[String]) -> Result<()> {
    let script = lines.join("\n");
    run(Command::new("ip").args(["-n", ns, "-batch", "-"]), &script).with_context(|| {
        let numbered = lines.iter().enumerate().map(|(i, line)| format!("{:4}  {line}\n", i + 1));
        format!("ip commands in {ns}:\n{}", numbered.collect::<String>())
    })
}

/// Like [`ip`], but a line that fails (because there is nothing to undo) does not stop the next.
pub(crate) fn ip_forgiving(ns: &str, lines: &[String]) {
    _ = run(Command::new("ip").args(["-force", "-n", ns, "-batch", "-"]), &lines.join("\n"));
}

/// Runs lines of `bridge` commands inside a namespace.
pub(crate) fn bridge(ns: &str, lines: &[String]) -> Result<()> {
    run(Command::new("bridge").args(["-n", ns, "-batch", "-"]), &lines.join("\n"))
        .with_context(|| format!("bridge commands in {ns}"))
}

/// Runs one `tc` command inside a namespace.
pub(crate) fn tc(ns: &str, words: &str) -> Result<()> {
    run(Command::new("tc").args(["-n", ns]).args(words.split_whitespace()), "")
        .with_context(|| format!("tc in {ns}: {words}"))
}

/// Loads an nftables script inside a namespace, all or nothing.
pub(crate) fn nft(ns: &str, script: &str) -> Result<()> {
    enter(ns, || run(Command::new("nft").args(["-f", "-"]), script))?
        .with_context(|| format!("nftables in {ns}:\n{script}"))
}

/// Writes `net.*` sysctls, as paths below `/proc/sys/net`, inside a namespace.
/// Those that the kernel does not have (no bridge netfilter, say) are passed over.
pub(crate) fn sysctl(ns: &str, settings: &[(&str, &str)]) -> Result<()> {
    enter(ns, || {
        for (name, value) in settings {
            let path = Path::new("/proc/sys/net").join(name);
            match fs::write(&path, value) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("writing {value} to {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    })?
    .with_context(|| format!("sysctls of {ns}"))
}

/// Processes whose network namespace is one of these, other than the caller's own.
pub(crate) fn processes(namespaces: &[String]) -> Result<Vec<i32>> {
    let inside: Vec<(u64, u64)> = namespaces
        .iter()
        .filter_map(|ns| fs::metadata(path(ns)).ok())
        .map(|meta| (meta.dev(), meta.ino()))
        .collect();
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process that is gone meanwhile is none of ours.
        let Ok(meta) = fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if Some(pid) != own && inside.contains(&(meta.dev(), meta.ino())) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Loads rules of one family's iptables inside a namespace, in the place of all that were there.
pub(crate) fn iptables(ns: &str, v6: bool, script: &str) -> Result<()> {
    // By the name that says which kind: `iptables-restore` may be the one of another kernel interface.
    let tool = if v6 { "ip6tables-nft-restore" } else { "iptables-nft-restore" };
    enter(ns, || run(&mut Command::new(tool), script))?.with_context(|| format!("{tool} in {ns}:\n{script}"))
}

/// Runs a tool with `input`; an error carries what the tool said.
fn run(command: &mut Command, input: &str) -> Result<()> {
    output(command, input).map(|_| ())
}

/// Runs a tool with `input` and hands back what it printed; an error carries what the tool said.
pub(crate) fn output(command: &mut Command, input: &str) -> Result<String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{tool}` (`cargo xtask setup` installs it)"))?;
    let mut stdin = child.stdin.take().context("the tool has no standard input")?;
    // The tools read all of their input before they say anything longer than a pipe holds. One that ended
    // early has closed the pipe; its status says why.
    _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("waiting for `{tool}`"))?;
    if !output.status.success() {
        // CNI plugins say what is wrong on standard output.
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        bail!("`{tool}` failed ({}): {}", output.status, String::from_utf8_lossy(said).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("what `{tool}` printed is no text"))
}
