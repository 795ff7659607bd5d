//! Runs other programs: from the project's root, with the project's own tools first on the PATH, and with
//! failures that show the command as a shell would take it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::LazyLock,
};

use anyhow::{Context as _, Result, bail};

/// Switched off where the last lines of a log are all that a reader sees.
const BACKTRACE: &str = "RUST_BACKTRACE";

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    // `cargo run` says where the crate is now; the path from build time would be wrong after a move.
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir.parent().map_or(manifest_dir.clone(), Path::to_path_buf)
});

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    &ROOT
}

/// Where everything that is built or fetched goes. One place, so that nothing is compiled twice.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Tools that `cargo xtask setup` installed beside the project.
pub(crate) fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// The PATH that children get: the project's tools, the caller's PATH, and the places of system
/// administration that an ordinary user's PATH lacks (`nft`, `ip`).
fn search_path() -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(tools_dir().join("bin"))
        .chain(env::split_paths(&inherited))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(dirs).unwrap_or(inherited)
}

/// Finds a program the way that a child of [`command`] would.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A command that runs at the project's root.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    // An absolute path, for the child's PATH isn't what the operating system searches at spawn.
    let program = program.as_ref();
    let found = program.to_str().filter(|name| !name.contains('/')).and_then(which);
    let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
    command.current_dir(root()).env("PATH", search_path());
    // What `cargo run` set for this process describes xtask, not the child's package.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_set_by_cargo_run) {
            command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || matches!(name, "CARGO" | "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH")
}

/// Host cargo, of the toolchain that runs this very process.
pub(crate) fn cargo() -> Command {
    command("cargo")
}

/// The command as one would type it: only what differs from the surroundings, quoted where needed.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| name != "PATH" && name != BACKTRACE) {
            // Cargo's own form of the flags has separators that can't be typed.
            let name = name.to_string_lossy().replace("CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS");
            let value = value.to_string_lossy().replace('\u{1f}', " ");
            line += &format!("{name}={} ", quoted(&value));
        }
    }
    let program = Path::new(command.get_program());
    let on_path = program.file_name().and_then(OsStr::to_str).filter(|name| {
        program.is_absolute() && which(name).as_deref() == Some(program) && !program.starts_with(tools_dir())
    });
    line += &quoted(&on_path.map_or_else(|| relative(program), str::to_owned));
    for arg in command.get_args() {
        line.push(' ');
        line += &quoted(&arg.to_string_lossy());
    }
    line
}

/// A path as seen from the project's root.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a command whose output goes straight through.
///
/// # Errors
/// When it can't be started or doesn't exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    succeeded(command, status)
}

/// Runs a command and returns what it wrote to its standard output, without the last line's end.
///
/// # Errors
/// When it can't be started or doesn't exit with 0; then with what it wrote to its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        bail!("{}\n{}", failed(command, output.status), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs a command with its output in a log file, added at its end.
///
/// # Errors
/// When it can't be started or doesn't exit with 0; then with the last lines of the log.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    fs::create_dir_all(log.parent().unwrap_or(root()))?;
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("can't write {}", relative(log)))?;
    writeln!(file, "$ {}", shown(command))?;
    let status = command
        .env(BACKTRACE, "0")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| not_started(command))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
        bail!("{}\n  {tail}\n(the whole log: {})", failed(command, status), relative(log));
    }
    Ok(())
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!(failed(command, status)) }
}

fn failed(command: &Command, status: ExitStatus) -> String {
    format!("this failed ({status}): {}", shown(command))
}

fn not_started(command: &Command) -> String {
    let program = Path::new(command.get_program()).display();
    format!("can't run {program}; if it isn't installed, `cargo xtask setup` installs what the project needs")
}

#[cfg(test)]
mod tests {
    use super::{command, quoted, run, shown};

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        for (word, wanted) in [
            ("--release", "--release"),
            ("a b", "'a b'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("-C linker=x", "'-C linker=x'"),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }

    #[test]
    fn a_command_is_shown_with_its_own_environment_but_not_its_path() {
        let mut ls = command("ls");
        ls.env("RUSTFLAGS", "-C a").args(["-l", "b c"]);
        assert_eq!(shown(&ls), "RUSTFLAGS='-C a' ls -l 'b c'");
    }

    #[test]
    fn failures_name_the_command() {
        let error = run(&mut command("false")).unwrap_err().to_string();
        assert!(error.ends_with(": false"), "{error}");
        let error = run(&mut command("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("cargo xtask setup"), "{error}");
    }
}
