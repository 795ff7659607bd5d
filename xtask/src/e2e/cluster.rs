//! The cluster, by kubectl and helm as its operator would.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::POLL;
use crate::tools::{command, output, root};

/// Name of the release and of all that belongs to it.
pub(super) const RELEASE: &str = "netcheck-e2e";
/// The chart.
const CHART: &str = "deploy/netcheck";
/// The policy that denies.
const DENY: &str = "netcheck-e2e-deny";

/// What is installed.
pub(super) struct Install<'a> {
    pub(super) image: Option<&'a str>,
    pub(super) pull_policy: Option<&'a str>,
    pub(super) values: &'a [PathBuf],
    pub(super) set: &'a [String],
    pub(super) timeout: Duration,
}

/// A cluster.
pub(super) struct Kube {
    kubeconfig: PathBuf,
    context: Option<String>,
    namespace: String,
    patience: Duration,
}

/// Takes something back when it is dropped, whatever happens.
pub(super) struct Undo(Option<Command>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(mut undo) = self.0.take()
            && let Err(error) = output(&mut undo)
        {
            eprintln!("could not take it back: {error:#}");
        }
    }
}

impl Kube {
    pub(super) fn new(
        kubeconfig: &Path,
        context: Option<&str>,
        namespace: &str,
        patience: Duration,
    ) -> Result<Self> {
        let kubeconfig = kubeconfig
            .canonicalize()
            .with_context(|| format!("no kubeconfig at {}", kubeconfig.display()))?;
        Ok(Self {
            kubeconfig,
            context: context.map(str::to_owned),
            namespace: namespace.to_owned(),
            patience,
        })
    }

    /// How long it may take until the hub shows what is.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn hub_namespace(&self) -> String {
        format!("{}-hub", self.namespace)
    }

    pub(super) fn kubectl(&self, words: &[&str]) -> Command {
        let mut kubectl = command("kubectl");
        kubectl.stdin(Stdio::null()).args(self.access()).args(words);
        kubectl
    }

    fn helm(&self, words: &[&str]) -> Command {
        let mut helm = command("helm");
        helm.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]);
        helm.args(self.context.iter().flat_map(|context| ["--kube-context", context])).args(words);
        helm
    }

    /// Where the cluster is, in the words of `kubectl` and `kubectl netcheck`.
    pub(super) fn access(&self) -> Vec<OsString> {
        let mut words = vec!["--kubeconfig".into(), self.kubeconfig.clone().into()];
        words.extend(self.context.iter().flat_map(|context| ["--context".into(), context.into()]));
        words
    }

    pub(super) fn get(&self, words: &[&str]) -> Result<Value> {
        let text = output(&mut self.kubectl(&[&["get", "--output", "json"], words].concat()))?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {}", words.join(" ")))
    }

    /// Makes an object.
    pub(super) fn create(&self, object: &Value) -> Result<()> {
        let mut kubectl = self.kubectl(&["create", "--filename=-"]);
        let mut child = kubectl
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl takes no input")?;
        stdin.write_all(object.to_string().as_bytes()).context("passing kubectl what to create")?;
        drop(stdin);
        let done = child.wait_with_output().context("waiting for kubectl")?;
        let kind = object["kind"].as_str().unwrap_or_default();
        let why = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "cannot create the {kind}: {}", why.trim());
        Ok(())
    }

    /// What kind of cluster it is.
    pub(super) fn greet(&self) -> Result<String> {
        let version: Value =
            serde_json::from_str(&output(&mut self.kubectl(&["version", "--output", "json"]))?)?;
        let server =
            version["serverVersion"]["gitVersion"].as_str().context("the API server reports no version")?;
        let nodes = self.get(&["nodes"])?;
        let nodes: Vec<String> = nodes["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|node| {
                let info = &node["status"]["nodeInfo"];
                let text = |key: &str| info[key].as_str().unwrap_or("?").to_owned();
                let name = node["metadata"]["name"].as_str().unwrap_or("?");
                format!("  {name}: Linux {}, {}", text("kernelVersion"), text("containerRuntimeVersion"))
            })
            .collect();
        Ok(format!("Kubernetes {server}, {} nodes\n{}", nodes.len(), nodes.join("\n")))
    }

    pub(super) fn install(&self, install: &Install<'_>) -> Result<String> {
        self.create(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.namespace,
                // The agent is in the host's network.
                "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
            },
        }))?;
        let seconds = format!("{}s", install.timeout.as_secs());
        let mut helm = self.helm(&["install", RELEASE, "--wait", "--timeout", &seconds]);
        helm.arg(root().join(CHART));
        let own = [
            format!("fullnameOverride={RELEASE}"),
            format!("hub.namespace={}", self.hub_namespace()),
            "hub.createNamespace=true".to_owned(),
            // A policy of the chart that allows all would speak against one that denies.
            "networkPolicy.enabled=false".to_owned(),
            "hub.scheduledChecks=true".to_owned(),
        ];
        let image = install.image.map(image_values).transpose()?.unwrap_or_default();
        let pull = install.pull_policy.map(|policy| format!("image.pullPolicy={policy}"));
        for value in own.iter().chain(&pull) {
            helm.args(["--set", value]);
        }
        for value in &image {
            // A tag may look like a number.
            helm.args(["--set-string", value]);
        }
        for path in install.values {
            // Helm runs at the project's root.
            helm.arg("--values")
                .arg(path.canonicalize().with_context(|| format!("no file {}", path.display()))?);
        }
        for value in install.set {
            helm.args(["--set", value]);
        }
        output(&mut helm)?;
        let agents = format!("daemonset/{RELEASE}-agent");
        output(&mut self.kubectl(&[
            "--namespace",
            &self.namespace,
            "rollout",
            "status",
            &agents,
            &format!("--timeout={seconds}"),
        ]))?;
        Ok(install.image.unwrap_or("the chart's image").to_owned())
    }

    /// Names of the nodes that are Ready, and take an agent.
    pub(super) fn ready_nodes(&self) -> Result<Vec<String>> {
        let ready = |node: &&Value| {
            let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
            ready.any(|condition| condition["status"] == "True")
        };
        let nodes = self.get(&["nodes"])?;
        let nodes = nodes["items"].as_array().into_iter().flatten().filter(ready);
        Ok(nodes.filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// Whether the release has a vantage.
    pub(super) fn has_vantage(&self) -> Result<bool> {
        let name = format!("daemonset/{RELEASE}-vantage");
        let words = ["--namespace", &self.namespace, "get", &name, "--ignore-not-found", "--output=name"];
        Ok(!output(&mut self.kubectl(&words))?.is_empty())
    }

    fn exec(&self, words: &[&str]) -> Command {
        let (namespace, hub) = (self.hub_namespace(), format!("deployment/{RELEASE}-hub"));
        self.kubectl(&[&["--namespace", &namespace, "exec", &hub, "--", "/kubectl-netcheck"], words].concat())
    }

    /// What the command line shows, whatever it exits with.
    pub(super) fn show(&self, words: &[&str]) -> Result<String> {
        let mut exec = self.exec(words);
        let out = exec.output().context("starting kubectl")?;
        // 2 says that something is unreachable.
        ensure!(
            matches!(out.status.code(), Some(0 | 2)),
            "kubectl-netcheck {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&out.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// What the command line answers as JSON, whatever it exits with.
    pub(super) fn ask(&self, words: &[&str]) -> Result<Value> {
        let text = self.show(&[words, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl-netcheck {}: {text}", words.join(" ")))
    }

    /// Asks until it is as it should be: `Some` ends it; an error is why it isn't yet.
    pub(super) fn wait(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<String>>,
    ) -> Result<String> {
        let begin = Instant::now();
        loop {
            let error = match look() {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            if begin.elapsed() > self.patience {
                let why = error.map(|error| format!(": {error:#}")).unwrap_or_default();
                bail!("{what} after {} s{why}", self.patience.as_secs());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Cordons a node until what is returned is dropped.
    pub(super) fn cordon(&self, node: &str) -> Result<Undo> {
        output(&mut self.kubectl(&["cordon", node]))?;
        Ok(self.undo(&["uncordon", node]))
    }

    /// Has this run once what is returned is dropped.
    pub(super) fn undo(&self, words: &[&str]) -> Undo {
        Undo(Some(self.kubectl(words)))
    }

    /// Denies what comes in to the vantage's pods until what is returned is dropped.
    pub(super) fn deny_ingress(&self) -> Result<Undo> {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": DENY,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/instance": RELEASE},
            },
            "spec": {
                "podSelector": {"matchLabels": {
                    "app.kubernetes.io/instance": RELEASE,
                    "app.kubernetes.io/component": "vantage",
                }},
                "policyTypes": ["Ingress"],
            },
        });
        self.create(&policy)?;
        Ok(self.undo(&["--namespace", &self.namespace, "delete", "networkpolicy", DENY]))
    }

    pub(super) fn helm_test(&self) -> Result<String> {
        output(&mut self.helm(&["test", RELEASE, "--timeout", "180s"]))?;
        Ok(String::new())
    }

    /// Removes the release and its namespaces.
    pub(super) fn uninstall(&self, timeout: Duration) -> Result<()> {
        let seconds = format!("{}s", timeout.as_secs());
        let listed = output(&mut self.helm(&["list", "--all", "--short"]))?;
        if listed.lines().any(|name| name == RELEASE) {
            output(&mut self.helm(&["uninstall", RELEASE, "--wait", "--timeout", &seconds]))?;
        }
        // The first is ours, and the second the chart's: if it is still there, `is_clean` says so.
        let timeout = format!("--timeout={seconds}");
        output(&mut self.kubectl(&[
            "delete",
            "namespace",
            &self.namespace,
            "--ignore-not-found",
            "--wait",
            &timeout,
        ]))?;
        Ok(())
    }

    /// What there is to see when something went wrong.
    pub(super) fn diagnosis(&self) -> String {
        let hub = self.hub_namespace();
        let mut text = String::new();
        let selector = format!("app.kubernetes.io/instance={RELEASE}");
        for words in [
            &["get", "pods", "--all-namespaces", "--output=wide", "--selector", &selector][..],
            &["--namespace", &self.namespace, "get", "events", "--sort-by=.lastTimestamp"],
            &["--namespace", &hub, "get", "events", "--sort-by=.lastTimestamp"],
            &["--namespace", &self.namespace, "logs", "--selector", &selector, "--tail=20", "--prefix"],
            &["--namespace", &hub, "logs", "--selector", &selector, "--tail=40", "--prefix"],
        ] {
            let output_of = output(&mut self.kubectl(words)).unwrap_or_else(|error| format!("{error:#}"));
            text += &format!("$ kubectl {}\n{output_of}\n\n", words.join(" "));
        }
        text += &self.show(&["report"]).unwrap_or_else(|error| format!("no report: {error:#}"));
        text
    }
}

/// `NAME:TAG` or `NAME@DIGEST` as values of the chart.
fn image_values(image: &str) -> Result<Vec<String>> {
    if let Some((name, digest)) = image.split_once('@') {
        // A tag beside a digest says nothing.
        let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        return Ok(vec![format!("image.repository={name}"), format!("image.digest={digest}")]);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !name.is_empty() && !tag.is_empty() => {
            Ok(vec![format!("image.repository={name}"), format!("image.tag={tag}")])
        }
        _ => bail!("--image is NAME:TAG or NAME@DIGEST, not {image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_as_values() {
        let values = |image: &str| image_values(image).map(|values| values.join(" ")).ok();
        for (image, expected) in [
            ("localhost/netcheck:0.1.0", Some("image.repository=localhost/netcheck image.tag=0.1.0")),
            ("host:5000/a/b:1", Some("image.repository=host:5000/a/b image.tag=1")),
            ("host:5000/a/b", None),
            ("a", None),
            ("a@sha256:00", Some("image.repository=a image.digest=sha256:00")),
            ("host:5000/a:1@sha256:00", Some("image.repository=host:5000/a image.digest=sha256:00")),
        ] {
            assert_eq!(values(image).as_deref(), expected, "{image}");
        }
        assert!(root().join(CHART).join("Chart.yaml").is_file());
    }
}
