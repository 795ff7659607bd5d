//! `cargo xtask release-files`: what goes with the binaries of a release of the command line: manual pages, scripts by which
//! shells complete it, and krew's manifest, which has the checksums of its archives.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{Profile, built};
use crate::tools::{cargo, command, output, relative, run};

/// Shells that have a script.
const SHELLS: [&str; 4] = ["bash", "elvish", "fish", "zsh"];

/// What and where to.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder to write into
    #[arg(long, value_name = "DIR", default_value = "target/release-files")]
    dir: PathBuf,
    /// An archive of the command line for one platform, as linux/amd64=netcheck-linux-amd64.tar.gz; with it comes krew's manifest
    #[arg(long, value_name = "OS/ARCH=FILE")]
    archive: Vec<Archive>,
    /// Where the archives can be downloaded from
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://github.com/netcheck-io/netcheck/releases/download"
    )]
    downloads: String,
}

/// An archive with `kubectl-netcheck` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Archive {
    os: String,
    arch: String,
    file: PathBuf,
}

impl FromStr for Archive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not OS/ARCH=FILE, such as linux/amd64=netcheck.tar.gz");
        let (platform, file) = text.split_once('=').ok_or_else(wrong)?;
        let (os, arch) = platform.split_once('/').ok_or_else(wrong)?;
        let known = ["linux", "darwin", "windows"].contains(&os) && ["amd64", "arm64"].contains(&arch);
        if !known || file.is_empty() {
            return Err(wrong());
        }
        Ok(Self { os: os.to_owned(), arch: arch.to_owned(), file: file.into() })
    }
}

/// Writes them.
pub(crate) fn release(args: &Args) -> Result<()> {
    run(cargo().args(["build", "--package", "kubectl-netcheck"]))?;
    let program = built("kubectl-netcheck", Profile::default())?;
    let (manual, scripts) = (args.dir.join("man"), args.dir.join("completion"));
    for folder in [&manual, &scripts] {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    run(command(&program).arg("manual").arg(&manual))?;
    for shell in SHELLS {
        let script = output(command(&program).args(["completion", shell]))?;
        fs::write(scripts.join(format!("kubectl-netcheck.{shell}")), script)?;
    }
    println!("wrote {} and {}", relative(&manual), relative(&scripts));
    if args.archive.is_empty() {
        return Ok(());
    }
    let sums = args.archive.iter().map(|archive| Ok((archive, sum(&archive.file)?)));
    let sums = sums.collect::<Result<Vec<_>>>()?;
    let manifest = args.dir.join("netcheck.yaml");
    fs::write(&manifest, krew(&sums, &args.downloads)?)?;
    println!("wrote {}", relative(&manifest));
    Ok(())
}

fn sum(file: &Path) -> Result<String> {
    let line = output(command("sha256sum").arg(file))?;
    let sum = line.split_whitespace().next().unwrap_or_default();
    ensure!(sum.len() == 64, "sha256sum says {line:?} of {}", file.display());
    Ok(sum.to_owned())
}

/// The manifest of the plugin (krew.googlecontainertools.github.com/v1alpha2).
fn krew(archives: &[(&Archive, String)], downloads: &str) -> Result<String> {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let mut text = format!(
        "\
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: netcheck
spec:
  version: {version}
  homepage: https://github.com/netcheck-io/netcheck
  shortDescription: Where in the cluster's network packets die
  description: |
    Asks netcheck's hub whether every node, pod and service of the cluster can
    reach every other, and where a packet died, why, and what to change.
  caveats: |
    netcheck must be installed in the cluster. Without --hub, this plugin lists
    pods and forwards a port of the hub's pod.
  platforms:
"
    );
    for (Archive { os, arch, file }, sum) in archives {
        let name = file.file_name().and_then(|name| name.to_str()).context("an archive without a name")?;
        let bin = if os == "windows" { "kubectl-netcheck.exe" } else { "kubectl-netcheck" };
        write!(
            text,
            "  - selector:
      matchLabels:
        os: {os}
        arch: {arch}
    uri: {downloads}/{version}/{name}
    sha256: {sum}
    bin: {bin}
"
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_manifest_names_each_archive_with_its_sum() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("netcheck-linux-amd64.tar.gz");
        fs::write(&file, "abc").unwrap();
        let archive: Archive = format!("linux/amd64={}", file.display()).parse().unwrap();
        let sum = sum(&archive.file).unwrap();
        let text = krew(&[(&archive, sum)], "https://example.com/d").unwrap();
        let manifest: Value = serde_saphyr::from_str(&text).unwrap();
        let platform = &manifest["spec"]["platforms"][0];
        assert_eq!(platform["selector"]["matchLabels"]["arch"], "amd64");
        // As FIPS 180-2 has it for these three bytes.
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(platform["sha256"], sum);
        let uri = platform["uri"].as_str().unwrap();
        assert!(
            uri.starts_with("https://example.com/d/v") && uri.ends_with("/netcheck-linux-amd64.tar.gz"),
            "{uri}"
        );
        for wrong in ["linux=x", "linux/amd64", "linux/amd64=", "plan9/amd64=x", "linux/mips=x"] {
            assert!(wrong.parse::<Archive>().is_err(), "{wrong}");
        }
    }
}
