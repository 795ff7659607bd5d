//! The cases: values that must render, with what they render to, and values that must be refused.

use std::{fs, path::PathBuf, thread};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{golden, helm, objects, stem, tests_dir, yaml_files};
use crate::tools::relative;

/// Values that must render.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) values: PathBuf,
    /// What Helm 3 made of them, without anything that chance has a part in.
    pub(super) text: String,
    pub(super) objects: Vec<Value>,
}

/// Renders all cases with Helm 3.
pub(super) fn render_all() -> Result<Vec<Case>> {
    let files = yaml_files(&tests_dir("values"))?;
    thread::scope(|scope| {
        let renderings: Vec<_> = files.into_iter().map(|values| scope.spawn(|| render(values))).collect();
        renderings.into_iter().map(|rendering| rendering.join().expect("it doesn't panic")).collect()
    })
}

fn render(values: PathBuf) -> Result<Case> {
    let words = ["--values", &values.to_string_lossy()];
    let text = helm::template(&words).with_context(|| format!("{} must render", relative(&values)))?;
    let text = golden::without_chance(&text);
    let objects =
        objects::parse(&text).with_context(|| format!("{} renders to no YAML", relative(&values)))?;
    Ok(Case { name: stem(&values), values, text, objects })
}

/// Sees that bad values are refused, by both Helms, with words that help. The first line of a file says which.
pub(super) fn check_refused() -> Result<Vec<String>> {
    let files = yaml_files(&tests_dir("refused"))?;
    let by_helm4 = helm::template4(&files)?;
    let mut wrong = Vec::new();
    for (path, helm4) in files.iter().zip(by_helm4) {
        let text = fs::read_to_string(path)?;
        let wanted = text.lines().next().and_then(|line| line.strip_prefix("# says: "));
        let wanted = wanted.with_context(|| format!("{}: its first line says nothing", relative(path)))?;
        let helm3 =
            helm::template(&["--values", &path.to_string_lossy()]).map_err(|error| format!("{error:#}"));
        for (version, outcome) in [("Helm 3", helm3), ("Helm 4", helm4)] {
            match outcome {
                Ok(_) => wrong.push(format!("{version} takes {}", relative(path))),
                Err(said) if wanted.split('|').any(|wanted| said.contains(wanted)) => {}
                Err(said) => {
                    wrong.push(format!(
                        "{version} refuses {}, but not with `{wanted}`: {said}",
                        relative(path)
                    ));
                }
            }
        }
    }
    Ok(wrong)
}
