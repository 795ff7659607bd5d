//! Checks: by agents that are there for one alone, by an object's schedule, and again of what failed.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::cluster::{Install, Kube, RELEASE};
use super::expect;
use crate::tools::command;

/// The scheduled check.
const CHECK: &str = RELEASE;
/// Labels what runs of `check --ephemeral` install.
const RUN_LABEL: &str = "netcheck.io/run";
/// What a check saves, and resumptions read.
const RESULT: &str = "netcheck-result.json";

/// The command line as its operator runs it: outside of the cluster, which it reaches by the kubeconfig.
pub(super) struct Operator<'a> {
    kube: &'a Kube,
    program: &'a Path,
    /// Where results are saved.
    folder: tempfile::TempDir,
}

/// What it printed, and the code it ended with.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// As JSON, where it ended with this code.
    fn document(&self, code: i32) -> Result<Value> {
        ensure!(self.code == code, "exit code {} instead of {code}: {}\n{}", self.code, self.out, self.err);
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {}", self.out))
    }

    /// The name of the run that it installed.
    fn run(&self) -> Option<&str> {
        let (_, rest) = self.err.split_once(", run ")?;
        rest.split(',').next()
    }
}

impl<'a> Operator<'a> {
    pub(super) fn new(kube: &'a Kube, program: &'a Path) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder for results")?;
        Ok(Self { kube, program, folder })
    }

    fn result(&self) -> PathBuf {
        self.folder.path().join(RESULT)
    }

    fn run(&self, words: &[&str]) -> Result<Said> {
        let mut netcheck = command(self.program);
        // A netcheck.yaml of the caller's would say what is checked.
        netcheck.current_dir(self.folder.path()).env_remove("NETCHECK_HUB").args(words);
        netcheck.args(self.kube.access());
        Ok(Said::of(&netcheck.output().context("starting kubectl-netcheck")?))
    }

    /// The same of the release's hub.
    fn ask(&self, words: &[&str]) -> Result<Said> {
        let namespace = self.kube.hub_namespace();
        self.run(&[words, &["--output", "json", "--namespace", &namespace]].concat())
    }

    /// What the newest check or resumption saved.
    fn saved(&self) -> Result<Value> {
        let path = self.result();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("nothing at {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Checks a cluster that has no netcheck, and sees that it has none afterwards. What is left is removed.
    pub(super) fn ephemeral(&self, install: &Install<'_>) -> Result<String> {
        let timeout = format!("{}s", install.timeout.as_secs());
        let mut words = vec!["check", "--ephemeral", "--install-timeout", &timeout, "--output", "json"];
        words.extend(install.image.iter().flat_map(|image| ["--image", image]));
        let said = self.run(&words)?;
        let Some(run) = said.run() else { bail!("nothing was installed: {}\n{}", said.out, said.err) };
        let label = format!("{RUN_LABEL}={run}");
        let left = self.kube.labelled_anywhere(&label)?;
        if !left.is_empty() {
            let cleaned = self.run(&["clean", "--run", run])?;
            bail!("{} were left; clean: {}{}\n{}", left.join(", "), cleaned.out, cleaned.err, said.err);
        }
        let cleaned = self.run(&["clean", "--run", run, "--dry-run"])?;
        ensure!(cleaned.out.contains(&format!("nothing of run {run}")), "{}{}", cleaned.out, cleaned.err);
        expect::passed(&said.document(0)?)
    }

    /// A check that fails because of what is denied now, and a resumption that probes what failed and nothing else.
    pub(super) fn denied(&self) -> Result<String> {
        let words = ["check", "--vantage", "pod", "--kind", "icmp,udp,tcp", "--now"];
        let checked = self.ask(&words)?.document(2)?;
        let named = expect::denied(&checked)?;
        let resumed = self.ask(&["resume"])?.document(2)?;
        let again = expect::resumed(&checked, &resumed)?;
        Ok(format!("{named}; resumed: {again}"))
    }

    /// Resumes until nothing is left that failed, which is no longer denied.
    pub(super) fn allowed(&self) -> Result<String> {
        self.kube.wait("what failed does not pass", || {
            let before = self.saved()?;
            let resumed = self.ask(&["resume"])?.document(0)?;
            expect::resumed(&before, &resumed).map(Some)
        })?;
        let said = self.run(&["resume", "--namespace", &self.kube.hub_namespace()])?;
        ensure!(said.code == 0 && said.out.contains("a whole round is due"), "{}{}", said.out, said.err);
        Ok(said.out)
    }
}

impl Kube {
    /// A round that an object asks for: its status, its Events, and the hub's report.
    pub(super) fn scheduled_check(&self) -> Result<String> {
        let check = json!({
            "apiVersion": "netcheck.io/v1alpha1",
            "kind": "ReachabilityCheck",
            "metadata": {"name": CHECK, "labels": {"app.kubernetes.io/instance": RELEASE}},
            "spec": {"samples": 2, "targets": {"kinds": ["node"]}},
        });
        self.create(&check)?;
        let _check = self.undo(&["delete", "reachabilitycheck", CHECK]);
        let came_to = self.wait("the round does not end", || {
            let object = self.get(&["reachabilitycheck", CHECK])?;
            expect::finished(&object).map(Some)
        })?;
        self.wait("Events are missing", || {
            let about = format!("involvedObject.kind=ReachabilityCheck,involvedObject.name={CHECK}");
            let events = self.get(&["events", "--all-namespaces", "--field-selector", &about])?;
            expect::events(&events, &["RoundStarted", "RoundSucceeded"]).map(|()| Some(String::new()))
        })?;
        let reported = expect::reported(CHECK, &self.ask(&["checks", CHECK])?)?;
        Ok(format!("{came_to}; {reported}"))
    }
}
