//! Holds what the chart renders to against the schemas of Kubernetes, strictly: an unknown field is an error.

use anyhow::Result;
use serde_json::json;

use super::{cases::Case, helm, objects};

/// The oldest that the chart takes, the oldest that is maintained, and the newest tried.
const VERSIONS: &[&str] = &["1.29", "1.32", "1.36"];
/// Groups of objects that Kubernetes itself doesn't know.
const FOREIGN: &[&str] = &["monitoring.coreos.com/", "cert-manager.io/"];
const SCRIPT: &str = include_str!("schemas.py");

/// What is wrong with the cases' objects.
pub(super) fn check(cases: &[Case]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut asked = Vec::new();
    for case in cases {
        for object in &case.objects {
            let version = object["apiVersion"].as_str().unwrap_or_default();
            // The same object in several cases is one question.
            if !FOREIGN.iter().any(|group| version.starts_with(group)) && !asked.contains(object) {
                names.push(format!("{}: {}", case.name, objects::name(object)));
                asked.push(object.clone());
            }
        }
    }
    let answers =
        helm::ask(&["kubernetes-validate"], SCRIPT, &json!({"versions": VERSIONS, "objects": asked}))?;
    let wrong = |(name, answer): (&String, &serde_json::Value)| {
        objects::list(answer)
            .iter()
            .map(|line| format!("{name}: {}", line.as_str().unwrap_or_default()))
            .collect()
    };
    Ok(names.iter().zip(&answers).flat_map::<Vec<_>, _>(wrong).collect())
}
