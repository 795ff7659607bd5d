//! What a crate must not link: the walls between the command line, the hub and the agent, as cargo resolves them.

use anyhow::{Result, ensure};

use crate::tools::{cargo, output, shown};

/// A crate of ours, and the families of crates that it does without: `kube` is `kube` and every `kube-…`.
const WALLS: &[(&str, &[&str])] = &[
    // It finds the hub by the Kubernetes API itself, so it has a client of that.
    ("kubectl-netcheck", &["axum", "aya", "netcheck-hub", "netcheck-agent"]),
    ("netcheck-hub", &["aya", "netcheck-agent"]),
    ("netcheck-agent", &["kube", "k8s", "netcheck-hub"]),
];

/// Fails with the crates that stand on the wrong side.
pub(super) fn check() -> Result<()> {
    let mut found = Vec::new();
    for (package, without) in WALLS {
        let mut tree = cargo();
        tree.args(["tree", "--locked", "--package", package, "--prefix", "none", "--format", "{p}"]);
        // What only tests link stands on neither side: a test may serve what the crate asks.
        tree.args(["--edges", "no-dev"]);
        println!("$ {}", shown(&tree));
        let tree = output(&mut tree)?;
        found.extend(strangers(&tree, without).map(|name| format!("{package} links {name}")));
    }
    ensure!(found.is_empty(), "{}", found.join("; "));
    Ok(())
}

/// The crates of a tree that belong to one of the families.
fn strangers<'a>(tree: &'a str, families: &[&str]) -> impl Iterator<Item = &'a str> {
    let mut names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter(move |name| {
        families.iter().any(|family| {
            name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_crate_and_those_named_after_it() {
        let tree = "kubectl-netcheck v0.1.0 (/x)\nclap v4.6.1\nkube v5.0.0\nkube-client v5.0.0\naxum-core v0.5.5\n\
                    k8s-openapi v0.29.0\nkube v5.0.0 (*)\nayaya v1.0.0\n";
        let found: Vec<&str> = strangers(tree, &["kube", "k8s", "axum", "aya"]).collect();
        assert_eq!(found, ["axum-core", "k8s-openapi", "kube", "kube-client"]);
    }
}
