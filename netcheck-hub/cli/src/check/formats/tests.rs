use proptest::prelude::*;

use super::*;
use crate::check::document::{Cause, Problem};
use crate::check::gather::tests::gathered;
use crate::check::record::tests::cell;
use crate::style::Paint;

const CAUSE: &str = "n2, netfilter forward: <NETFILTER_DROP> & \"more\"";

fn broken() -> Document {
    let cause = Cause {
        headline: CAUSE.to_owned(),
        verdict: "unreachable".to_owned(),
        fails: true,
        evidence: vec!["12 of 12 paths fail".to_owned()],
        ..Cause::default()
    };
    let mut document = gathered(&[], &[]).document;
    document.headline = "12 of 40 paths are unreachable".to_owned();
    document.exit_code = 2;
    document.passed = false;
    document.causes = vec![cause];
    document
}

#[test]
fn a_cause_is_in_the_first_lines_and_the_only_failed_case() {
    let document = broken();
    let table = table::render(&document, &[], Paint::plain());
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("✗ 12 of 40 paths are unreachable, 1 cause"));
    assert_eq!(lines.next(), Some(format!("✗ {CAUSE}").as_str()));
    let junit = junit::render(&document);
    assert_eq!(junit.matches("<failure ").count(), 1, "{junit}");
    let escaped = "message=\"n2, netfilter forward: &lt;NETFILTER_DROP&gt; &amp; &quot;more&quot;\"";
    assert!(junit.contains(escaped) && junit.contains("failures=\"1\""), "{junit}");
    let markdown = markdown::render(&document);
    assert!(markdown.starts_with("## netcheck: ✗ 12 of 40 paths are unreachable, 1 cause\n"), "{markdown}");
    assert!(yaml(&document).contains("headline: 12 of 40 paths are unreachable"));
}

#[test]
fn an_excepted_cause_is_skipped_and_each_problem_is_a_case() {
    let mut document = broken();
    document.causes[0].excepted = Some("moves on Monday".to_owned());
    document.causes[0].fails = false;
    let problem =
        |name: &str| Problem { name: name.to_owned(), message: name.to_owned(), details: Vec::new() };
    document.problems = vec![problem("round"), problem("unjudged")];
    let junit = junit::render(&document);
    assert!(junit.contains("<skipped message=\"excepted: moves on Monday\""), "{junit}");
    assert_eq!(junit.matches("<failure ").count(), 2, "{junit}");
}

/// Fields of one line of CSV, by RFC 4180.
fn fields(line: &str) -> usize {
    let mut quoted = false;
    1 + line
        .chars()
        .filter(|&char| {
            quoted ^= char == '"';
            char == ',' && !quoted
        })
        .count()
}

/// By xmllint, against the schema of those who read it.
fn validate(texts: &[String]) {
    let dir = tempfile::tempdir().unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/junit.xsd");
    let mut xmllint = std::process::Command::new("xmllint");
    xmllint.args(["--noout", "--nonet", "--schema", schema]);
    for (at, text) in texts.iter().enumerate() {
        let path = dir.path().join(format!("{at}.xml"));
        std::fs::write(&path, text).unwrap();
        xmllint.arg(path);
    }
    let output = xmllint.output().expect("xmllint is there (cargo xtask setup xmllint)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{texts:#?}");
    assert_eq!(said.matches(" validates").count(), texts.len(), "{said}");
}

#[test]
fn jenkins_takes_what_junit_says() {
    let passed = || gathered(&[], &[]).document;
    let mut skipped = broken();
    skipped.causes[0].excepted = Some("moves on <Monday> & \"after\"".to_owned());
    skipped.causes[0].fails = false;
    let mut problems = broken();
    let details = vec!["n3: no \u{1b}[31m agent".to_owned(), "]]> </failure>".to_owned()];
    problems.problems =
        vec![Problem { name: "round".to_owned(), message: "n3 is missing".to_owned(), details }];
    let mut silent = passed();
    silent.exit_code = crate::EXIT_FAILURE;
    silent.caveats = vec!["no agent connected on n1".to_owned()];
    let documents = [passed(), broken(), skipped, problems, silent];
    validate(&documents.each_ref().map(junit::render));
    let junit = junit::render(&documents[2]);
    assert!(junit.contains("<testsuite name=\"netcheck\" tests=\"1\" skipped=\"1\""), "{junit}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn so_do_checks_of_whatever_paths(checks in prop::collection::vec(prop::collection::vec(cell(), 0..20), 8)) {
        let texts: Vec<String> =
            checks.iter().map(|cells| junit::render(&gathered(cells, &[]).document)).collect();
        validate(&texts);
    }
}

proptest! {
    #[test]
    fn every_form_holds_whatever_names_are_like(cells in prop::collection::vec(cell(), 0..20)) {
        let gathered = gathered(&cells, &[]);
        let document = &gathered.document;
        let read: Document = serde_json::from_str(&document.json()).unwrap();
        prop_assert_eq!(&read, document);
        let read: Document = serde_saphyr::from_str(&yaml(document)).unwrap();
        prop_assert_eq!(&read, document);
        for path in document.failed.iter().chain(&gathered.others) {
            let row = csv::row(path);
            prop_assert_eq!(fields(row.trim_end()), fields(csv::HEADER.trim_end()), "{}", row);
        }
        let bad = cells.iter().filter(|cell| [2, 3, 5].contains(&cell.verdict)).count();
        prop_assert_eq!(document.failed.len(), bad);
        let junit = junit::render(document);
        prop_assert!(junit.starts_with("<?xml") && junit.trim_end().ends_with("</testsuites>"));
        let pipes = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        for line in markdown::render(document).lines().filter(|line| line.starts_with("| pods") || line.starts_with("| n")) {
            prop_assert!([7, 9].contains(&pipes(line)), "{}", line);
        }
        let wide = table::render(document, &gathered.others, Paint::plain());
        prop_assert!(wide.contains("Round:"));
    }
}
