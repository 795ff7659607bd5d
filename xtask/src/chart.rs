//! `cargo xtask chart` writes what is made from the Helm chart; `cargo xtask test chart` holds the chart against real
//! Helm 3 and 4, Kubernetes' schemas, Prometheus, and its own promises.
//!
//! In: `deploy/netcheck`, and the cases of `deploy/tests`: `values/` must render, `refused/` must not, `golden/` is what
//! came of them last time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use crate::{
    setup,
    tools::{command, relative, root},
};

mod availability;
mod cases;
mod certificates;
mod definition;
mod docs;
mod ephemeral;
mod exec;
mod golden;
mod helm;
mod manifest;
mod objects;
pub mod queries;
mod rules;
mod schemas;
mod security;

pub(crate) use objects::list;
pub(crate) use security::AGENT_CAPABILITIES;

/// What the chart's tests need.
pub(crate) const TOOLS: &[&str] = &["helm", "helm4", "kubernetes-validate", "promtool", "openssl"];

/// Where the chart is, from the project's root.
const CHART: &str = "deploy/netcheck";

/// Options of `chart`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to write; everything by default
    what: Vec<Made>,
}

/// Files that are made from the chart and checked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Made {
    /// The definition of ReachabilityChecks, from the types that the hub reads them by
    Definition,
    /// deploy/netcheck.yaml, for `kubectl apply`
    Manifest,
    /// The objects that `kubectl netcheck check --ephemeral` installs
    Ephemeral,
    /// The table of values in the chart's README
    Docs,
    /// What the cases of deploy/tests/values render to
    Golden,
}

/// A file as it should be.
struct Wanted {
    path: PathBuf,
    text: String,
}

/// Writes the files.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&["helm"])?;
    for made in Made::value_variants() {
        if args.what.is_empty() || args.what.contains(made) {
            for file in wanted(*made)? {
                fs::write(&file.path, file.text)
                    .with_context(|| format!("can't write {}", relative(&file.path)))?;
                println!("wrote {}", relative(&file.path));
            }
        }
    }
    Ok(())
}

fn wanted(made: Made) -> Result<Vec<Wanted>> {
    match made {
        Made::Definition => definition::wanted(),
        Made::Manifest => manifest::wanted(),
        Made::Ephemeral => ephemeral::wanted(),
        Made::Docs => docs::wanted(),
        Made::Golden => golden::wanted(&cases::render_all()?),
    }
}

/// The part `chart` of the test. All that is wrong is said, not only the first.
pub(crate) fn test() -> Result<()> {
    let cases = cases::render_all()?;
    let mut findings = Findings::default();
    findings.of("Helm 3 lint", helm::lint_all());
    findings.of("Helm 4", helm::agrees(&cases));
    findings.of("schemas of Kubernetes", schemas::check(&cases));
    findings.of("refused values", cases::check_refused());
    findings.of("pod security", Ok(security::check(&cases)));
    findings.of("availability", Ok(availability::check(&cases)));
    findings.of("the command line in the hub's pod", Ok(exec::check(&cases)));
    findings.of("certificates", certificates::check());
    findings.of("queries", queries::check(&cases));
    findings.of("what alerts do", rules::check());
    findings.of("documents of values", docs::check());
    findings.of("golden files", golden::stray(&cases));
    let made = [
        definition::wanted()?,
        manifest::wanted()?,
        ephemeral::wanted()?,
        docs::wanted()?,
        golden::wanted(&cases)?,
    ];
    findings.of(
        "files made from the chart",
        Ok(made.into_iter().flatten().filter_map(|file| stale(&file)).collect()),
    );
    findings.conclude()
}

/// What was found wrong, printed as it is found.
#[derive(Default)]
struct Findings(usize);

impl Findings {
    fn of(&mut self, what: &str, found: Result<Vec<String>>) {
        let found = found.unwrap_or_else(|error| vec![format!("{error:#}")]);
        println!("{} {what}", if found.is_empty() { "ok     " } else { "WRONG  " });
        for line in &found {
            println!("        {}", line.replace('\n', "\n        "));
        }
        self.0 += found.len();
    }

    fn conclude(&self) -> Result<()> {
        match self.0 {
            0 => Ok(()),
            wrong => bail!("{wrong} things are wrong with the chart"),
        }
    }
}

/// Says how a file differs from what it should be.
fn stale(file: &Wanted) -> Option<String> {
    let there = fs::read_to_string(&file.path).unwrap_or_default();
    if there == file.text {
        return None;
    }
    let difference = difference(&there, &file.text).unwrap_or_else(|error| format!("{error:#}"));
    let first: Vec<_> = difference.lines().skip(2).take(12).collect();
    let path = relative(&file.path);
    Some(format!("{path} is out of date; `cargo xtask chart` writes it anew:\n{}", first.join("\n")))
}

/// How `new` differs from `old`, unified, without names and times; empty where it doesn't.
fn difference(old: &str, new: &str) -> Result<String> {
    let place = tempfile::tempdir().context("can't make a temporary directory")?;
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = place.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let mut diff = command("diff");
    diff.args(["--unified=2", "--label=old", "--label=new"]).arg(write("old", old)?).arg(write("new", new)?);
    let output = diff.output().context("can't run diff")?;
    if output.status.code().is_none_or(|code| code > 1) {
        bail!("diff failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What Helm makes of the defaults.
pub(crate) fn default_objects() -> Result<Vec<Value>> {
    objects::parse(&helm::template(&[])?)
}

/// The containers of all cases.
pub(crate) fn containers() -> Result<Vec<Value>> {
    let cases = cases::render_all()?;
    let pods = cases.iter().flat_map(|case| &case.objects).filter_map(objects::pod_spec);
    Ok(pods.flat_map(|pod| list(&pod["containers"])).cloned().collect())
}

/// The spec of a component's pods, and their container.
pub(crate) fn pod_of<'a>(objects: &'a [Value], component: &str) -> Option<(&'a Value, &'a Value)> {
    let pod = objects
        .iter()
        .filter(|object| objects::component(object) == component)
        .find_map(objects::pod_spec)?;
    Some((pod, list(&pod["containers"]).first()?))
}

fn chart_dir() -> PathBuf {
    root().join(CHART)
}

fn tests_dir(kind: &str) -> PathBuf {
    root().join("deploy/tests").join(kind)
}

/// The YAML files of a directory, by name.
fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("can't read {}", relative(dir)))?;
    let mut files: Vec<_> =
        entries.collect::<std::io::Result<Vec<_>>>()?.iter().map(fs::DirEntry::path).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Python with the packages of these parts of the setup.
fn python(parts: &[&str], script: &str) -> Command {
    let mut python = command("python3");
    let homes = parts.iter().map(|part| crate::tools::tools_dir().join(part));
    python.env("PYTHONPATH", std::env::join_paths(homes).unwrap_or_default());
    python.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]);
    python
}
