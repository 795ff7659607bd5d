use std::time::Duration;

use super::*;
use crate::check::exceptions::Exception;

/// What becomes of these cells, as a hub would send them, with these exceptions.
pub(crate) fn gathered(cells: &[v1::MatrixCell], exceptions: &[Exception]) -> Gathered {
    gather(cells, exceptions, "", v1::CheckResult::default())
}

fn gather(
    cells: &[v1::MatrixCell],
    exceptions: &[Exception],
    expect: &str,
    result: v1::CheckResult,
) -> Gathered {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let exceptions = Exceptions::new(exceptions.to_vec(), now).unwrap();
    let mut gather = Gather::new(Selection::default(), expect.parse().unwrap(), exceptions).with_others();
    for cell in cells {
        gather.take(cell).unwrap();
    }
    let count = |verdict: v1::Verdict| cells.iter().filter(|cell| cell.verdict() == verdict).count() as u64;
    let report = v1::Report {
        paths: cells.len() as u64,
        reachable: count(v1::Verdict::Reachable),
        degraded: count(v1::Verdict::Degraded),
        unreachable: count(v1::Verdict::Unreachable),
        no_data: count(v1::Verdict::NoData),
        headline: "a headline".to_owned(),
        conclusion: v1::Conclusion::Reachable.into(),
        ..result.report.clone().unwrap_or_default()
    };
    gather.end(&v1::CheckResult { report: Some(report), ..result })
}

fn cell(target: &str, verdict: v1::Verdict) -> v1::MatrixCell {
    v1::MatrixCell { path: Some(path(target)), verdict: verdict.into(), ..Default::default() }
}

fn path(target: &str) -> v1::Path {
    v1::Path {
        source_node: "n1".to_owned(),
        vantage: v1::Vantage::Pod.into(),
        kind: v1::ProbeKind::Udp.into(),
        target: Some(v1::Target {
            id: format!("node/{target}"),
            name: target.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn incident(targets: &[&str], verdict: v1::Verdict) -> v1::Incident {
    v1::Incident {
        id: "i-1".to_owned(),
        headline: format!("{} answers nobody", targets.join(" ")),
        verdict: verdict.into(),
        paths: targets.iter().map(|target| path(target)).collect(),
        ..Default::default()
    }
}

fn result_with(incidents: Vec<v1::Incident>) -> v1::CheckResult {
    v1::CheckResult { report: Some(v1::Report { incidents, ..Default::default() }), ..Default::default() }
}

fn exception(target: &str, until: &str) -> Exception {
    Exception {
        target: Some(target.to_owned()),
        until: until.to_owned(),
        reason: "it moves".to_owned(),
        ..Exception::default()
    }
}

#[test]
fn a_cause_fails_unless_all_of_its_paths_are_excepted() {
    let cells = [cell("n2", v1::Verdict::Unreachable), cell("n3", v1::Verdict::Unreachable)];
    let result_with = || result_with(vec![incident(&["n2", "n3"], v1::Verdict::Unreachable)]);
    let one = gather(&cells, &[exception("n2", "2026-12-31")], "", result_with()).document;
    assert!(!one.passed && one.causes[0].fails && one.exit_code == 2);
    assert_eq!((one.failed_total, one.paths.excepted), (1, 1));
    let both = gather(&cells, &[exception("n*", "2026-12-31")], "", result_with()).document;
    assert!(both.passed && both.causes[0].excepted.is_some() && both.exit_code == 0, "{both:?}");
    let over = gather(&cells, &[exception("n*", "2026-01-31")], "", result_with()).document;
    assert!(!over.passed && over.failed_total == 2 && over.notes[0].contains("is over"), "{over:?}");
}

#[test]
fn a_share_of_lost_probes_may_be_allowed_and_silence_never() {
    let degraded = v1::MatrixCell {
        stats: Some(v1::PathStats { sent: 1000, reply: 995, ..Default::default() }),
        ..cell("n2", v1::Verdict::Degraded)
    };
    let result_with = || result_with(vec![incident(&["n2"], v1::Verdict::Degraded)]);
    let strict = gather(std::slice::from_ref(&degraded), &[], "", result_with()).document;
    assert!(!strict.passed && strict.failed_total == 1);
    let kept = gather(std::slice::from_ref(&degraded), &[], "success=99%", result_with()).document;
    assert!(kept.passed && !kept.causes[0].fails, "{kept:?}");
    let broken = gather(&[degraded], &[], "success=99.9%", result_with()).document;
    assert!(!broken.passed && broken.broken.len() == 1 && broken.problems[0].message.contains("995 of 1000"));
    let silent = gather(&[cell("n2", v1::Verdict::NoData)], &[], "success=0%", result_with()).document;
    assert!(!silent.passed && silent.problems[0].name == "no data");
}

#[test]
fn what_nobody_can_probe_and_who_did_not_report_keep_it_from_being_passed() {
    let cells = [cell("n2", v1::Verdict::Reachable)];
    let report = Some(v1::Report { unjudged: 2, ..Default::default() });
    let unjudged = v1::CheckResult { report, ..Default::default() };
    let failed = gather(&cells, &[], "", unjudged.clone()).document;
    assert!(!failed.passed && failed.exit_code == 2 && failed.problems[0].name == "unjudged");
    let known = Exception { unjudged: true, target: None, ..exception("", "2026-12-31") };
    assert!(gather(&cells, &[known], "", unjudged).document.passed);
    let gap = v1::RoundGap {
        node: "n3".to_owned(),
        parts: vec![v1::RoundPart::PodToPod.into(), v1::RoundPart::PodToService.into()],
        why: "its agent is away".to_owned(),
        ..Default::default()
    };
    let round = Some(v1::CheckRound { missing: vec![gap], ..Default::default() });
    let missing = gather(&cells, &[], "", v1::CheckResult { round, ..Default::default() }).document;
    assert!(!missing.passed);
    assert_eq!(
        missing.problems[0].message,
        "the round is not complete: n3 did not report pod→pod, pod→service: its agent is away"
    );
}

#[test]
fn what_dies_at_the_place_of_an_incident_is_no_further_cause() {
    let location = v1::LossLocation {
        node: "n2".to_owned(),
        stage: v1::Stage::NetfilterForward.into(),
        reason: "NETFILTER_DROP".to_owned(),
        ..Default::default()
    };
    let finding = |node: &str| {
        let location = v1::LossLocation { node: node.to_owned(), ..location.clone() };
        v1::Finding {
            headline: format!("lost at {node}"),
            verdict: v1::Verdict::Degraded.into(),
            loss: Some(v1::LocatedLoss { location: Some(location), ..Default::default() }),
            paths: vec![path("n9")],
            ..Default::default()
        }
    };
    let cause = "place/n2/netfilter_forward/NETFILTER_DROP".to_owned();
    let incident = v1::Incident { cause, ..incident(&["n2"], v1::Verdict::Unreachable) };
    let findings = vec![finding("n2"), finding("n3")];
    let report = v1::Report { incidents: vec![incident], findings, ..Default::default() };
    let result = v1::CheckResult { report: Some(report), unexplained: 2, ..Default::default() };
    let causes = gather(&[], &[], "", result).document.causes;
    let lines: Vec<&str> = causes.iter().map(|cause| cause.headline.as_str()).collect();
    assert_eq!(lines, ["n2 answers nobody", "lost at n3"]);
    assert_eq!(causes[0].evidence, ["also: lost at n2"]);
}
