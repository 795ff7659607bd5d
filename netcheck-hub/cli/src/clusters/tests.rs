use clap::Parser as _;

use super::*;
use crate::args::Cli;

fn two(words: &str) -> anyhow::Result<Option<Two>> {
    let words = format!("kubectl-netcheck {words}");
    Two::of(&Cli::try_parse_from(words.split_whitespace()).unwrap().command)
}

fn named(words: &str) -> [String; 2] {
    two(words).unwrap().unwrap().names
}

#[test]
fn clusters_are_called_by_their_contexts() {
    assert!(two("check").unwrap().is_none());
    assert_eq!(named("check --src-context west --dst-context east"), ["west", "east"]);
    // What ids can't have is none of a name.
    let name = &named("check --src-context arn:aws:eks:eu:1:cluster/a --dst-context b")[0];
    assert_eq!(name, "arn-aws-eks-eu-1-cluster-a");
    assert_eq!(named("check --src-hub http://a:7070 --dst-hub b:7070"), ["a-7070", "b-7070"]);
    let same = named("check --src-context a --dst-context a --dst-kubeconfig other");
    assert_eq!(same, ["src-a", "dst-a"]);
    for (words, needed) in [
        ("check --src-context a", "--dst-context"),
        ("check --dst-hub a:1", "--src-context"),
        ("check --src-context a --dst-context a", "both clusters are a"),
        ("check --src-context a --dst-context b --target n1", "--target"),
    ] {
        let error = two(words).err().unwrap().to_string();
        assert!(error.contains(needed), "{words}: {error}");
    }
}

#[test]
fn a_resumption_asks_each_hub_for_its_own() {
    let mut again = two("check --src-context west --dst-context east").unwrap().unwrap();
    let record = |source: &str, target: &str| PathRecord {
        source: source.to_owned(),
        vantage: "pod".to_owned(),
        kind: "tcp".to_owned(),
        target: target.to_owned(),
        ..PathRecord::default()
    };
    let failed = vec![
        record("n1 of west", "peer/east/node/n1"),
        record("n2 of west", "peer/east/node/n1"),
        record("n1 of east", "peer/west/node/n2"),
    ];
    let asked = |again: &Two, way| {
        let request = again.request(way, Some(&failed)).unwrap();
        assert!(request.selector.is_none());
        request.paths.into_iter().map(|path| (path.source_node, path.target.unwrap().id)).collect::<Vec<_>>()
    };
    let pair = |source: &str, target: &str| (source.to_owned(), target.to_owned());
    assert_eq!(asked(&again, Way::There), [pair("n1", "peer/east/node/n1"), pair("n2", "peer/east/node/n1")]);
    assert_eq!(asked(&again, Way::Back), [pair("n1", "peer/west/node/n2")]);
    // The whole of it selects what the other cluster has, and nothing else.
    again.selection.sources = vec!["n1".to_owned()];
    let selector = again.request(Way::Back, None).unwrap().selector.unwrap();
    assert_eq!((selector.targets, selector.sources), (vec!["peer/west".to_owned()], vec!["n1".to_owned()]));
}

#[test]
fn both_results_are_one() {
    let result = |paths, conclusion: v1::Conclusion, target: &str| {
        let path = v1::Path {
            target: Some(v1::Target { id: target.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let finding =
            v1::Finding { headline: "a finding".to_owned(), paths: vec![path.clone()], ..Default::default() };
        let incident =
            v1::Incident { headline: "an incident".to_owned(), paths: vec![path], ..Default::default() };
        let report = v1::Report {
            paths,
            unreachable: 1,
            conclusion: conclusion.into(),
            findings: vec![finding.clone(), finding],
            incidents: vec![incident],
            ..Default::default()
        };
        v1::CheckResult { report: Some(report), unexplained: 1, ..Default::default() }
    };
    let names = ["west".to_owned(), "east".to_owned()];
    let both = |there, back| {
        let results = [result(3, there, "a"), result(4, back, "usual")];
        merge::merge(results, &names, |target| target.id == "usual")
    };
    let merged = both(v1::Conclusion::Reachable, v1::Conclusion::Unreachable);
    let report = merged.report.unwrap();
    assert_eq!((report.paths, report.unreachable, report.conclusion()), (7, 2, v1::Conclusion::Unreachable));
    // Each says whose it is; what is usual is no cause; what an incident explains is shown once.
    let headlines: Vec<&str> = report.incidents.iter().map(|one| one.headline.as_str()).collect();
    assert_eq!(headlines, ["west: an incident"]);
    let headlines: Vec<&str> = report.findings.iter().map(|one| one.headline.as_str()).collect();
    assert_eq!((headlines, merged.unexplained), (vec!["west: a finding"], 1));
    let unmeasured = both(v1::Conclusion::Unmeasured, v1::Conclusion::Unmeasured).report.unwrap();
    assert_eq!(unmeasured.conclusion(), v1::Conclusion::Unmeasured);
}
