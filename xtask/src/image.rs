//! `cargo xtask image`: static binaries, from them the image that the chart runs, and what is in it (SBOM). Built twice
//! from one commit on one machine, it has the same digest.
//!
//! `cargo xtask test image` runs it as the chart would: see [`trial`].

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    setup,
    tools::{command, output, relative, root, run_logged, shown, target_dir},
};

mod binaries;
mod containers;
mod flags;
mod sbom;
mod trial;

/// What building an image needs; its test, too.
const BUILD_TOOLS: &[&str] = &["buildah"];
/// What its test needs.
pub(crate) const TOOLS: &[&str] = &["buildah", "podman", "cni", "helm"];

/// Options of `image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to call the image [default: localhost/netcheck:VERSION]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Only build the static binaries, into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "tag")]
    binaries: Option<PathBuf>,
}

/// An image in a storage of its own, below `target/image`.
pub(crate) struct Image {
    /// As in `localhost/netcheck:0.1.0`.
    pub(crate) name: String,
    /// Of its manifest in the archive, as in `sha256:…`.
    pub(crate) digest: String,
    /// For `podman load`, `docker load`, `ctr image import`, `kind load image-archive`.
    pub(crate) archive: PathBuf,
    /// What it holds.
    pub(crate) rootfs: PathBuf,
}

/// Builds the binaries or the image, and says what came of it.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(dir) = &args.binaries {
        return binaries::build(dir);
    }
    setup::ensure(BUILD_TOOLS)?;
    let image = build(args.tag.as_deref())?;
    println!("\n{}\n{}", image.name, image.digest);
    for file in binaries::NAMES.iter().chain(&[sbom::FILE]) {
        println!("  {:>6.1} MiB  /{file}", mib(&image.rootfs.join(file))?);
    }
    println!("  {:>6.1} MiB  compressed: {}", mib(&image.archive)?, relative(&image.archive));
    Ok(())
}

/// Builds the image.
pub(crate) fn build(name: Option<&str>) -> Result<Image> {
    let home = home();
    let rootfs = home.join("rootfs");
    let _ = fs::remove_dir_all(&rootfs);
    binaries::build(&rootfs)?;
    let commit = Commit::read();
    fs::write(rootfs.join(sbom::FILE), sbom::document(&binaries::triple()?, &commit.created())?)?;

    let version = env!("CARGO_PKG_VERSION");
    let name = name.map_or_else(|| format!("localhost/netcheck:{version}"), str::to_owned);
    let log = home.join("buildah.log");
    let _ = fs::remove_file(&log);
    let mut bud = buildah();
    bud.args([
        "bud",
        "--isolation",
        "chroot",
        "--layers=false",
        "--identity-label=false",
        "--target",
        "image",
    ]);
    bud.args(["--timestamp", &commit.seconds.to_string(), "--tag", &name]);
    bud.arg("--build-context").arg(format!("binaries={}", rootfs.display()));
    for (argument, value) in [("VERSION", version), ("REVISION", &commit.id), ("CREATED", &commit.created())]
    {
        bud.args(["--build-arg", &format!("{argument}={value}")]);
    }
    bud.arg("--file").arg(root().join("deploy/Dockerfile")).arg(&rootfs);
    println!("$ {}", shown(&bud));
    run_logged(&mut bud, &log)?;
    // What had the name before.
    run_logged(buildah().args(["rmi", "--prune"]), &log)?;

    let archive = home.join(format!("netcheck-{version}-{ARCH}.oci.tar"));
    let digest_file = home.join("digest");
    // An archive is added to.
    let _ = fs::remove_file(&archive);
    let mut push = buildah();
    push.arg("push").arg("--digestfile").arg(&digest_file).arg(&name);
    push.arg(format!("oci-archive:{}:{name}", archive.display()));
    run_logged(&mut push, &log)?;
    let digest = fs::read_to_string(&digest_file)?.trim().to_owned();
    Ok(Image { name, digest, archive, rootfs })
}

fn home() -> PathBuf {
    target_dir().join("image")
}

/// Where buildah and podman keep images: beside the project's other products, not among the machine's.
fn storage() -> [String; 6] {
    let below = |dir: &str| home().join(dir).to_string_lossy().into_owned();
    [
        "--root".to_owned(),
        below("storage"),
        "--runroot".to_owned(),
        below("run"),
        "--storage-driver".to_owned(),
        "overlay".to_owned(),
    ]
}

fn buildah() -> std::process::Command {
    let mut buildah = command("buildah");
    buildah.args(storage());
    buildah
}

fn mib(file: &Path) -> Result<f64> {
    let bytes = fs::metadata(file).with_context(|| format!("there is no {}", relative(file)))?.len();
    Ok(bytes as f64 / f64::from(1 << 20))
}

/// The commit that is built: what decides all times in the image.
struct Commit {
    id: String,
    /// Since 1970.
    seconds: u64,
}

impl Commit {
    /// From `SOURCE_DATE_EPOCH` and git; where there is no git, as in a builder, the beginning of time.
    fn read() -> Self {
        let git =
            |format: &str| output(command("git").args(["log", "-1", &format!("--format={format}")])).ok();
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
        let seconds = epoch.or_else(|| git("%ct")).and_then(|text| text.trim().parse().ok());
        Self { id: git("%H").unwrap_or_default(), seconds: seconds.unwrap_or_default() }
    }

    fn created(&self) -> String {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.seconds);
        humantime::format_rfc3339_seconds(time).to_string()
    }
}

/// The part `image` of the test.
pub(crate) fn test() -> Result<()> {
    let image = build(None)?;
    println!("{} {}", image.name, image.digest);
    flags::check(&image.rootfs)?;
    trial::run(&image)
}
