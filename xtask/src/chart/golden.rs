//! What the cases rendered to last time: the defaults in full, every other case as what it changes. So a change of the
//! chart shows in review as what it does to a cluster.

use std::fs;

use anyhow::{Context as _, Result};

use super::{Wanted, cases::Case, difference, tests_dir};
use crate::tools::relative;

const DEFAULT: &str = "default";

/// The files as they should be.
pub(super) fn wanted(cases: &[Case]) -> Result<Vec<Wanted>> {
    let dir = tests_dir("golden");
    let default = cases.iter().find(|case| case.name == DEFAULT).context("there is no case of defaults")?;
    let mut files = vec![Wanted { path: dir.join("default.yaml"), text: default.text.clone() }];
    for case in cases.iter().filter(|case| case.name != DEFAULT) {
        let text = difference(&default.text, &case.text)?;
        // Line numbers of hunks move with every change above them.
        let text = text
            .lines()
            .map(|line| if line.starts_with("@@") { "@@\n".to_owned() } else { format!("{line}\n") });
        files.push(Wanted { path: dir.join(format!("{}.diff", case.name)), text: text.collect() });
    }
    Ok(files)
}

/// Files that no case makes any more.
pub(super) fn stray(cases: &[Case]) -> Result<Vec<String>> {
    let wanted = wanted(cases)?;
    let mut stray = Vec::new();
    for entry in fs::read_dir(tests_dir("golden"))? {
        let path = entry?.path();
        if !wanted.iter().any(|file| file.path == path) {
            stray.push(format!("{} belongs to no case", relative(&path)));
        }
    }
    Ok(stray)
}

/// The rendering with keys and certificates, which are new each time, taken out.
pub(super) fn without_chance(text: &str) -> String {
    let blank = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        let random = ["tls.crt", "tls.key", "ca.crt"].contains(&key.trim()) && value.len() > 100;
        random.then(|| format!("{key}: Li4u\n"))
    };
    text.lines().map(|line| blank(line).unwrap_or_else(|| format!("{line}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::without_chance;

    #[test]
    fn only_certificates_and_keys_are_taken_out() {
        let random = "A".repeat(200);
        let text = format!(
            "data:\n  tls.crt: {random}\n  other: {random}\n  - {{key: ca.crt, path: ca.crt}}\n  tls.key: x\n"
        );
        let wanted = format!(
            "data:\n  tls.crt: Li4u\n  other: {random}\n  - {{key: ca.crt, path: ca.crt}}\n  tls.key: x\n"
        );
        assert_eq!(without_chance(&text), wanted);
    }
}
