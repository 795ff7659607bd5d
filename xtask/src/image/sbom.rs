//! What is in the binaries, as CycloneDX 1.5 (<https://cyclonedx.org/docs/1.5/json/>): all crates that cargo links into
//! them, with licence and origin, and which needs which. The same commit gives the same text.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::tools::{cargo, output};

/// Its name at the image's root.
pub(super) const FILE: &str = "netcheck.cdx.json";
/// What the image holds, kernel programs included.
const ROOTS: &[&str] = &["kubectl-netcheck", "netcheck-agent", "netcheck-ebpf", "netcheck-hub"];

/// The document for binaries of this target.
pub(super) fn document(triple: &str, created: &str) -> Result<String> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version=1", "--locked", "--filter-platform", triple]);
    let metadata: Value =
        serde_json::from_str(&output(&mut metadata)?).context("cargo's metadata is no JSON")?;
    Ok(format!("{:#}\n", bill(&metadata, created)))
}

fn bill(metadata: &Value, created: &str) -> Value {
    let packages: BTreeMap<&str, &Value> = by_id(&metadata["packages"]);
    let nodes: BTreeMap<&str, &Value> = by_id(&metadata["resolve"]["nodes"]);
    let roots = packages.iter().filter(|(_, package)| ROOTS.iter().any(|root| package["name"] == *root));
    let mut to_visit: Vec<&str> = roots.map(|(id, _)| *id).collect();
    let mut linked = BTreeSet::new();
    while let Some(id) = to_visit.pop() {
        if linked.insert(id) {
            to_visit.extend(nodes.get(id).into_iter().flat_map(|node| needs(node)));
        }
    }
    let components = linked.iter().filter_map(|id| packages.get(id)).map(|package| component(package));
    let dependencies = linked.iter().filter_map(|id| {
        let on: BTreeSet<_> = needs(nodes.get(id)?).filter_map(|id| Some(purl(packages.get(id)?))).collect();
        Some(json!({"ref": purl(packages.get(id)?), "dependsOn": on}))
    });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": {"type": "container", "name": "netcheck", "version": env!("CARGO_PKG_VERSION")},
        },
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    })
}

fn by_id(list: &Value) -> BTreeMap<&str, &Value> {
    list.as_array().into_iter().flatten().filter_map(|item| Some((item["id"].as_str()?, item))).collect()
}

/// The packages that a node links; not what only builds or tests it.
fn needs(node: &Value) -> impl Iterator<Item = &str> {
    let links = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
    };
    node["deps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(links)
        .filter_map(|dependency| dependency["pkg"].as_str())
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component(package: &Value) -> Value {
    let purl = purl(package);
    let mut component = json!({
        "type": "library", "bom-ref": purl, "purl": purl, "name": package["name"], "version": package["version"],
    });
    if let Some(licence) = package["license"].as_str() {
        // An older way of cargo's to say OR.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::bill;

    #[test]
    fn what_is_linked_is_listed_and_nothing_else() {
        let package =
            |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let needs = |name: &str, kind: Option<&str>| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let packages = ["netcheck-hub", "tonic", "http", "protox", "proptest", "xtask"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": {"nodes": [
                {"id": "netcheck-hub", "deps": [needs("tonic", None), needs("proptest", Some("dev"))]},
                {"id": "tonic", "deps": [needs("http", None), needs("protox", Some("build"))]},
                {"id": "xtask", "deps": [needs("netcheck-hub", None)]},
            ]},
        });
        let bill = bill(&metadata, "2026-01-01T00:00:00Z");
        let names: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["http", "netcheck-hub", "tonic"]);
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let hub = &bill["dependencies"][0];
        assert_eq!(
            *hub,
            json!({"ref": "pkg:cargo/netcheck-hub@1.0.0", "dependsOn": ["pkg:cargo/tonic@1.0.0"]})
        );
    }
}
