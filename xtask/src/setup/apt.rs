//! Debian packages: what is missing, and its installation without starting any service.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::tools::{command, output, run_logged, target_dir, which};

/// Those of `packages` that aren't installed, each once.
pub(crate) fn missing(packages: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut packages: Vec<_> = packages.collect();
    packages.sort_unstable();
    packages.dedup();
    packages.retain(|package| {
        output(command("dpkg-query").args(["--show", "--showformat", "${db:Status-Status}", package]))
            .map_or(true, |status| status != "installed")
    });
    packages
}

/// Installs the packages from fresh lists.
///
/// # Errors
/// With the command to run by hand where this isn't Debian or the user isn't root.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if which("apt-get").is_none() {
        bail!("this machine has no apt-get; install what is the like of: {}", packages.join(" "));
    }
    if !rustix::process::geteuid().is_root() {
        bail!("installing packages needs root; run: sudo {by_hand}");
    }
    let log = target_dir().join("setup/apt.log");
    let _ = fs::remove_file(&log);
    // Old lists may still do.
    let updated = run_logged(command("apt-get").arg("update"), &log);
    let _quiet = NoServices::begin()?;
    let installed = run_logged(
        command("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
        &log,
    );
    match (installed, updated) {
        (Ok(()), _) => Ok(()),
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(no_lists)) => Err(error.context(no_lists)),
    }
    .with_context(|| format!("packages were not installed; by hand: {by_hand}"))
}

/// While it lives, packages that bring a service (unbound) don't start it.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# Put here by netcheck's setup while it installs packages.\nexit 101\n";

impl NoServices {
    fn begin() -> Result<Self> {
        let policy = Path::new(POLICY);
        // One that an interrupted run left behind is ours to remove as well.
        let ours = fs::read_to_string(policy).map_or(true, |text| text == POLICY_TEXT);
        if ours {
            fs::write(policy, POLICY_TEXT).with_context(|| format!("can't write {POLICY}"))?;
            fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
