//! `objects.json` of `netcheck-hub/cli/reach`: the chart as `kubectl netcheck check --ephemeral` installs it, which embeds the
//! file. Names that each run has anew stand there as words that occur nowhere else; the chart itself puts them where they
//! belong.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Wanted, helm, objects};
use crate::tools::root;

/// Where the file is, from the project's root.
const PATH: &str = "netcheck-hub/cli/reach/src/ephemeral/objects.json";
/// Stands for a run's name. `manifest.rs` there replaces it and the other words.
const RUN: &str = "netcheck-runid";
/// Stands for its namespace.
const NAMESPACE: &str = "netcheck-namespace";

const VALUES: &[&str] = &[
    "--skip-tests",
    "--set=namespace.create=true",
    // The run makes its own certificates, as the chart would.
    "--set=tls.mode=existingSecret",
    "--set=tls.existingSecret.hub=netcheck-runid-hub-tls",
    "--set=tls.existingSecret.agent=netcheck-runid-agent-tls",
    // Beside other agents of netcheck, and without a volume in the cluster's scope.
    "--set=agent.socketDir=/run/netcheck-runid",
    "--set=vantage.socketVolume=hostPath",
    "--set=agent.responderPort=46100,agent.httpPort=46101,agent.relay.port=46102",
    // It lives for minutes.
    "--set=hub.podDisruptionBudget=null",
    "--set=commonLabels.netcheck\\.io/run=netcheck-runid",
];

/// The file as it should be.
pub(super) fn wanted() -> Result<Vec<Wanted>> {
    let mut rendered = objects::parse(&helm::template_of(RUN, NAMESPACE, VALUES)?)?;
    rendered.iter_mut().for_each(own);
    let document = json!({
        "about": "Made from the chart in deploy/netcheck by `cargo xtask chart ephemeral`; don't edit.",
        "objects": rendered,
    });
    let text = serde_json::to_string_pretty(&document)? + "\n";
    Ok(vec![Wanted { path: root().join(PATH), text }])
}

/// Takes out what Helm alone uses, and says whose the object is.
fn own(object: &mut Value) {
    let labels = &mut object["metadata"]["labels"];
    if let Some(labels) = labels.as_object_mut() {
        labels.remove("helm.sh/chart");
        labels.insert("app.kubernetes.io/managed-by".to_owned(), "kubectl-netcheck".into());
    }
    if object["metadata"]["namespace"].is_null() && object["kind"] != "Namespace" {
        // How a run's namespace is found by what is in none.
        object["metadata"]["annotations"]["netcheck.io/namespace"] = NAMESPACE.into();
    }
}
