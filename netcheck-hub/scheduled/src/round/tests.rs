use proptest::prelude::*;

use super::*;
use crate::spec::{Percent, Span};

fn figures(target: &str, paths: u64, failed: u64, unmeasured: u64) -> TargetFigures {
    TargetFigures {
        target: target.to_owned(),
        paths,
        failed_paths: failed,
        not_measured: unmeasured,
        sent: (paths - unmeasured) * 10,
        answered: (paths - unmeasured - failed) * 10,
        ..TargetFigures::default()
    }
}

fn judge(expect: &Expect, targets: Vec<TargetFigures>) -> RoundReport {
    RoundReport::judge(expect, RoundFacts { round: 1, targets, ..RoundFacts::default() })
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn silence_is_no_success() {
    let expect = Expect::default();
    assert_eq!(judge(&expect, vec![]).status, RoundStatus::Incomplete);
    assert_eq!(judge(&expect, vec![figures("node/a", 3, 0, 3)]).status, RoundStatus::Incomplete);
    assert_eq!(judge(&expect, vec![figures("node/a", 3, 0, 0)]).status, RoundStatus::Succeeded);
    let missing = vec![("n3".to_owned(), "its agent is away".to_owned())];
    let facts = RoundFacts { missing, targets: vec![figures("node/a", 3, 0, 0)], ..RoundFacts::default() };
    let report = RoundReport::judge(&expect, facts);
    assert_eq!(report.status, RoundStatus::Incomplete);
    assert!(report.reason.contains("n3"), "{}", report.reason);
}

#[test]
fn the_cause_is_the_reason_and_the_worst_target_is_first() {
    let targets = vec![figures("node/a", 3, 0, 0), figures("node/b", 3, 1, 0), figures("node/c", 3, 2, 0)];
    let report = judge(&Expect::default(), targets.clone());
    assert_eq!(report.status, RoundStatus::Failed);
    assert_eq!(report.targets[0].figures.target, "node/c");
    assert!(report.reason.starts_with("node/c: 2 of 3"), "{}", report.reason);
    let causes = vec!["packets to n3 are dropped there".to_owned()];
    let report =
        RoundReport::judge(&Expect::default(), RoundFacts { causes, targets, ..RoundFacts::default() });
    assert_eq!(report.reason, "packets to n3 are dropped there");
    assert!(report.headline().contains("6 of 9 paths"), "{}", report.headline());
}

#[test]
fn delays_are_held_against_what_is_expected() {
    let round_trip = RoundTrip {
        min: milliseconds(1),
        mean: milliseconds(6),
        max: milliseconds(40),
        p50: milliseconds(2),
        p90: milliseconds(10),
        p95: milliseconds(15),
        p99: milliseconds(30),
    };
    let slow = TargetFigures { round_trip: Some(round_trip), ..figures("node/a", 3, 0, 0) };
    let expect = |mean, p99| Expect {
        mean: Some(Span(milliseconds(mean))),
        p99: Some(Span(milliseconds(p99))),
        success_rate: None,
    };
    assert_eq!(judge(&expect(6, 30), vec![slow.clone()]).status, RoundStatus::Succeeded);
    let report = judge(&expect(5, 20), vec![slow]);
    assert_eq!(
        report.targets[0].failures,
        ["mean 6ms, expected 5ms at most", "p99 30ms, expected 20ms at most"]
    );
}

proptest! {
    /// A share is met by exactly those counts by which arithmetic says so.
    #[test]
    fn shares_are_exact(part in 0u64..=10_000, rest in 0u64..=10_000, millionths in 0u32..=1_000_000) {
        let wanted = Percent::of_ratio(f64::from(millionths) / 1e6).unwrap();
        let whole = part + rest;
        let met = whole > 0 && u128::from(part) * 1_000_000 >= u128::from(whole) * u128::from(millionths);
        prop_assert_eq!(wanted.is_met(part, whole), met);
        prop_assert_eq!(wanted.to_string().parse::<Percent>().unwrap(), wanted);
    }

    /// Counts add up, whatever was measured; a round with a bad path succeeds only where less was expected.
    #[test]
    fn a_round_shows_what_was_measured(parts in prop::collection::vec((0u64..20, 0u64..20, 0u64..20), 0..20)) {
        let targets: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(at, &(fine, failed, unmeasured))| {
                figures(&format!("node/{at}"), fine + failed + unmeasured, failed, unmeasured)
            })
            .collect();
        let report = judge(&Expect::default(), targets);
        let summary = report.summary();
        prop_assert_eq!(summary.paths, parts.iter().map(|part| part.0 + part.1 + part.2).sum::<u64>());
        prop_assert_eq!(summary.failed, parts.iter().map(|part| part.1).sum::<u64>());
        let expected = match (summary.failed, summary.not_measured, summary.targets) {
            (1.., _, _) => RoundStatus::Failed,
            (0, 0, 1..) => RoundStatus::Succeeded,
            _ => RoundStatus::Incomplete,
        };
        prop_assert_eq!(report.status, expected);
    }
}

#[test]
fn a_rate_that_is_not_reached_is_reported_and_makes_the_round_incomplete() {
    let facts = |nodes: &[(&str, f64)]| RoundFacts {
        targets: vec![TargetFigures { paths: 1, sent: 9, answered: 9, ..TargetFigures::default() }],
        rate: Some(Rate {
            asked: 50.0,
            nodes: nodes.iter().map(|&(node, sent)| (node.to_owned(), sent)).collect(),
        }),
        ..RoundFacts::default()
    };
    let reached = RoundReport::judge(&Expect::default(), facts(&[("n1", 50.2), ("n2", 47.0)]));
    assert_eq!((reached.status, reached.reason.as_str()), (RoundStatus::Succeeded, ""));
    let summary = reached.summary().rate.unwrap();
    assert_eq!((summary.asked, summary.lowest, summary.mean), (50.0, 47.0, 48.6));
    let short = RoundReport::judge(&Expect::default(), facts(&[("n1", 50.0), ("n2", 20.04), ("n3", 31.0)]));
    assert_eq!(short.status, RoundStatus::Incomplete);
    assert_eq!(short.reason, "asked for 50 probes per second, n2 had 20.0 (1 more nodes had less, too)");
    assert_eq!(short.summary().rate.unwrap().short, ["n2", "n3"]);
    let mut failed = facts(&[("n1", 1.0)]);
    failed.targets[0].failed_paths = 1;
    let failed = RoundReport::judge(&Expect::default(), failed);
    assert_eq!(failed.status, RoundStatus::Failed, "what fails is worse");
}
