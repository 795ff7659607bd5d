//! The documentation's `kubectl` and `helm` commands against the fake cluster: each page's from the first to the last, as
//! somebody types them who reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use xtask::docs::{Class, DocCommand, commands};

use crate::fake;

#[test]
fn what_pages_say_of_the_cluster_works_in_their_order() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut pages: BTreeMap<String, Vec<DocCommand>> = BTreeMap::new();
    for command in commands().unwrap().into_iter().filter(|command| command.class == Class::Cluster) {
        pages.entry(command.page.clone()).or_default().push(command);
    }
    assert!(pages.contains_key("README.md") && pages.contains_key("docs/operations.md"));
    for (page, commands) in pages {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let exec = |words: &[String]| {
            let known = words.first().is_some_and(|word| word == "/kubectl-netcheck");
            (format!("asked: {}\n", words.join(" ")), String::new(), if known { 0 } else { 126 })
        };
        let cluster = fake(&runtime, Arc::new(exec));
        std::fs::write(&kubeconfig, cluster.kubeconfig()).unwrap();
        let removes = commands.iter().any(|command| command.words.iter().any(|word| word == "uninstall"));
        for command in &commands {
            let run = |args: &[&str]| {
                let mut run = command.command();
                run.args(args).env("KUBECONFIG", &kubeconfig).env("HOME", folder.path()).output().unwrap()
            };
            // kubectl sends a namespace that it makes by itself as protobuf, which the fake does not read; one from a
            // file goes as JSON.
            let output = if command.words.starts_with(&["kubectl", "create", "namespace"].map(str::to_owned))
            {
                let made = run(&["--dry-run=client", "--output=json"]);
                let file = folder.path().join("namespace.json");
                std::fs::write(&file, made.stdout).unwrap();
                let mut create = std::process::Command::new("kubectl");
                create.args(["create", "--filename"]).arg(&file);
                create.env("KUBECONFIG", &kubeconfig).env("HOME", folder.path()).output().unwrap()
            } else {
                run(&[])
            };
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr);
            let shown = format!("{}: {}", command.place(), command.words.join(" "));
            assert!(output.status.success(), "{shown}: {said}{error}");
            if command.words.iter().any(|word| word == "exec") {
                assert!(said.contains("asked: /kubectl-netcheck"), "{shown}: {said}");
            }
        }
        let installs = cluster.objects().iter().any(|(kind, ..)| kind == "daemonsets");
        assert_eq!(installs, !removes, "{page}: what is left: {:?}", cluster.objects());
    }
}
