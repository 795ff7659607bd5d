//! JUnit's XML, as GitLab, Jenkins and the reporters for GitHub Actions read it: one failed case for each cause, with the
//! cause as its message, and one for everything else that keeps the check from being passed. Pure.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::check::document::{Cause, Document};

/// The suite's name, and the first part of the names of classes.
const SUITE: &str = "netcheck";

fn case(name: String, class: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("{SUITE}.{class}"));
    case
}

fn failed(name: &str, class: &str, message: &str, lines: &[String]) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message).set_type(class);
    if !lines.is_empty() {
        status.set_description(lines.join("\n"));
    }
    case(name.to_owned(), class, status)
}

fn of_cause(cause: &Cause) -> TestCase {
    if let Some(reason) = &cause.excepted {
        let mut status = TestCaseStatus::skipped();
        status.set_message(format!("excepted: {reason}"));
        return case(cause.headline.clone(), "cause", status);
    }
    if cause.fails {
        let lines = [cause.culprits.as_slice(), &cause.evidence].concat();
        return failed(&cause.headline, "cause", &cause.headline, &lines);
    }
    case(cause.headline.clone(), "tolerated", TestCaseStatus::success())
}

/// The report.
pub(crate) fn render(document: &Document) -> String {
    let mut suite = TestSuite::new(SUITE);
    suite.add_test_cases(document.causes.iter().map(of_cause));
    for problem in &document.problems {
        suite.add_test_case(failed(&problem.name, "check", &problem.message, &problem.details));
    }
    for class in document.classes.iter().filter(|class| class.reachable > 0) {
        let name = format!(
            "{} of {} paths from {} to {} are reachable",
            class.reachable, class.paths, class.from, class.to
        );
        suite.add_test_case(case(name, "paths", TestCaseStatus::success()));
    }
    if document.exit_code == crate::EXIT_FAILURE
        && document.problems.is_empty()
        && document.failing().count() == 0
    {
        suite.add_test_case(failed("no data", "check", &document.headline, &document.caveats));
    }
    let mut report = Report::new(SUITE);
    report.add_test_suite(suite);
    let mut text = as_taken(report.to_string().unwrap_or_default());
    text.push('\n');
    text
}

/// Jenkins' schema has the number of skipped cases at suites, and refuses it at the whole.
fn as_taken(mut text: String) -> String {
    let Some(from) = text.find("<testsuites ") else { return text };
    let end = text[from..].find('>').map_or(text.len(), |at| from + at);
    if let Some(at) = text[from..end].find(" skipped=\"").map(|at| from + at)
        && let Some(length) = text[at..end].match_indices('"').nth(1).map(|(last, _)| last + 1)
    {
        text.replace_range(at..at + length, "");
    }
    text
}
