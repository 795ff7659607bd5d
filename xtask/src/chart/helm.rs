//! Real Helm: version 3 by its command, version 4 by its library's Python binding.

use std::{io::Write as _, path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{CHART, cases::Case, chart_dir, golden, objects, python, tests_dir, yaml_files};
use crate::tools::{command, output, relative};

/// Release and namespace that everything is rendered for.
pub(super) const RELEASE: &str = "netcheck";
/// The version of Kubernetes that is given to Helm, which knows no newer one than itself.
pub(super) const KUBE_VERSION: &str = "1.32.0";
const HELM4: &str = include_str!("helm4.py");

/// What Helm 3 makes of the chart.
pub(super) fn template(words: &[&str]) -> Result<String> {
    template_of(RELEASE, RELEASE, words)
}

/// The same, of another release in another namespace.
pub(super) fn template_of(release: &str, namespace: &str, words: &[&str]) -> Result<String> {
    let mut helm = command("helm");
    helm.args(["template", release, CHART, "--namespace", namespace, "--kube-version", KUBE_VERSION])
        .args(words);
    Ok(output(&mut helm)? + "\n")
}

/// Lints the chart with the values of every case.
pub(super) fn lint_all() -> Result<Vec<String>> {
    let mut lint = command("helm");
    lint.args(["lint", "--strict", "--quiet", CHART]);
    let mut wrong: Vec<_> = output(&mut lint).err().map(|error| format!("{error:#}")).into_iter().collect();
    for values in yaml_files(&tests_dir("values"))? {
        let mut lint = command("helm");
        lint.args(["lint", "--strict", "--quiet", CHART, "--values"]).arg(&values);
        if let Err(error) = output(&mut lint) {
            wrong.push(format!("{}: {error:#}", relative(&values)));
        }
    }
    Ok(wrong)
}

/// What Helm 4 makes of the chart with each of these values: text, or why not.
pub(super) fn template4(values: &[PathBuf]) -> Result<Vec<Result<String, String>>> {
    let answers = helm4(values)?;
    let each = |answer: &Value| match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["text"].as_str().unwrap_or_default().to_owned()),
    };
    Ok(answers.iter().map(each).collect())
}

/// Sees that Helm 4 takes the cases, has nothing to complain of, and makes the same objects of them.
pub(super) fn agrees(cases: &[Case]) -> Result<Vec<String>> {
    let values: Vec<_> = cases.iter().map(|case| case.values.clone()).collect();
    let mut wrong = Vec::new();
    for (case, answer) in cases.iter().zip(helm4(&values)?) {
        for message in answer["lint"].as_array().into_iter().flatten() {
            wrong.push(format!("{}: lint: {}", case.name, message.as_str().unwrap_or_default()));
        }
        let Some(text) = answer["text"].as_str() else {
            wrong.push(format!("{}: {}", case.name, answer["error"]));
            continue;
        };
        let theirs = objects::parse(&golden::without_chance(text))?;
        let (ours, theirs) = (objects::by_name(&case.objects), objects::by_name(&theirs));
        for name in ours.keys().chain(theirs.keys()) {
            if ours.get(name) != theirs.get(name) {
                wrong.push(format!("{}: Helm 3 and 4 differ in {name}", case.name));
            }
        }
    }
    wrong.dedup();
    Ok(wrong)
}

fn helm4(values: &[PathBuf]) -> Result<Vec<Value>> {
    let question = json!({
        "chart": chart_dir(), "release": RELEASE, "kube_version": format!("v{KUBE_VERSION}"),
        "values": values,
    });
    ask(&["helm4", "kubernetes-validate"], HELM4, &question)
}

/// Gives a Python script a question on its standard input, and takes the list that it prints.
pub(super) fn ask(parts: &[&str], script: &str, question: &Value) -> Result<Vec<Value>> {
    let mut python = python(parts, script);
    let mut child = python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't run python3")?;
    let mut stdin = child.stdin.take().context("a pipe is missing")?;
    stdin.write_all(question.to_string().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    serde_json::from_slice(&output.stdout).context("an answer that is no list")
}
