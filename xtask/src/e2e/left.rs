//! What is anywhere in the cluster that should not be there any more.

use anyhow::{Context as _, Result, ensure};

use super::cluster::{Kube, RELEASE};
use crate::tools::output;

impl Kube {
    /// Sees that nothing of the release is anywhere in the cluster.
    pub(super) fn is_clean(&self) -> Result<()> {
        let mut left = self.labelled_anywhere(&format!("app.kubernetes.io/instance={RELEASE}"))?;
        for namespace in [self.namespace().to_owned(), self.hub_namespace()] {
            let words = ["get", "namespace", &namespace, "--ignore-not-found", "--output=name"];
            let name = output(&mut self.kubectl(&words))?;
            left.extend((!name.is_empty()).then_some(name));
        }
        ensure!(left.is_empty(), "there is {}", left.join(", "));
        Ok(())
    }

    /// All kinds of objects that can be listed. An aggregated API that is down does not hide the others.
    fn kinds(&self, namespaced: bool) -> Result<Vec<String>> {
        let scope = format!("--namespaced={namespaced}");
        let mut ask = self.kubectl(&["api-resources", "--verbs=list", "--output=name", &scope]);
        let answer = ask.output().context("starting kubectl")?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        ensure!(
            !text.is_empty(),
            "kubectl api-resources: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        );
        // Events outlive what they are about, and metrics are no objects.
        let objects = |kind: &&str| !kind.starts_with("events") && !kind.contains("metrics.k8s.io");
        Ok(text.lines().filter(objects).map(str::to_owned).collect())
    }

    /// Names of objects with a label, of all kinds and in all namespaces.
    pub(super) fn labelled_anywhere(&self, label: &str) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for namespaced in [true, false] {
            let kinds = self.kinds(namespaced)?;
            let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
            // All at once; where one kind can't be listed, one by one, and without that.
            match self.labelled(&kinds, namespaced, label) {
                Ok(found) => left.extend(found),
                Err(_) => {
                    let each = kinds.iter().flat_map(|kind| self.labelled(&[kind], namespaced, label));
                    left.extend(each.flatten());
                }
            }
        }
        left.sort();
        left.dedup();
        Ok(left)
    }

    /// Names of objects of these kinds with a label.
    fn labelled(&self, kinds: &[&str], namespaced: bool, label: &str) -> Result<Vec<String>> {
        let kinds = kinds.join(",");
        let mut words = vec!["get", &kinds, "--ignore-not-found", "--output=name", "--selector", label];
        words.extend(namespaced.then_some("--all-namespaces"));
        Ok(output(&mut self.kubectl(&words))?.lines().map(str::to_owned).collect())
    }
}
