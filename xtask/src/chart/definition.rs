//! The definition of `ReachabilityCheck` in the chart, made from the types that the hub reads the objects by.

use anyhow::{Context as _, Result, ensure};
use kube_core::CustomResourceExt as _;
use netcheck_scheduled::ReachabilityCheck;

use super::{Wanted, chart_dir};

const HEAD: &str = "\
{{- if .Values.hub.scheduledChecks -}}
# Made by `cargo xtask chart definition` from netcheck-hub/scheduled/src/spec.rs; don't edit.
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: reachabilitychecks.netcheck.io
  labels: {{- include \"netcheck.labels\" (dict \"root\" . \"component\" \"hub\") | nindent 4 }}
spec:
";
const TAIL: &str = "{{- end }}\n";

/// The template as it should be.
pub(super) fn wanted() -> Result<Vec<Wanted>> {
    let definition = serde_json::to_value(ReachabilityCheck::crd())?;
    ensure!(
        definition["metadata"]["name"] == "reachabilitychecks.netcheck.io",
        "the definition has another name"
    );
    let spec = serde_saphyr::to_string(&definition["spec"]).context("the definition can't be written")?;
    ensure!(!spec.contains("{{"), "Helm would take a part of the definition for a template");
    let body: String = spec.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect();
    let path = chart_dir().join("templates/hub/scheduledchecks.yaml");
    Ok(vec![Wanted { path, text: format!("{HEAD}{body}{TAIL}") }])
}
