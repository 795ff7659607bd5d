//! Scheduled checks: all in a table, or one with its rounds and the targets of the newest.

use netcheck_proto::v1;

use crate::conclusion::Conclusion;
use crate::history::date;
use crate::style::{Paint, short, trimmed};

/// Targets of a round that are shown; `-o json` has all.
const TARGETS: usize = 50;

/// Nodes that are shown of those that sent fewer probes than they were asked for.
const SHORT: usize = 10;

/// What the newest rounds come to.
pub(crate) fn conclusion(checks: &[v1::ScheduledCheck]) -> Conclusion {
    let newest = || checks.iter().filter_map(|check| check.rounds.first());
    if newest().any(|round| round.status() == v1::RoundStatus::Failed) {
        Conclusion::Unreachable
    } else {
        Conclusion::Fine
    }
}

const fn word(status: v1::RoundStatus) -> &'static str {
    match status {
        v1::RoundStatus::Succeeded => "succeeded",
        v1::RoundStatus::Failed => "failed",
        v1::RoundStatus::Incomplete => "incomplete",
        v1::RoundStatus::Unspecified => "",
    }
}

const fn verdict(status: v1::RoundStatus) -> v1::Verdict {
    match status {
        v1::RoundStatus::Succeeded => v1::Verdict::Reachable,
        v1::RoundStatus::Failed => v1::Verdict::Unreachable,
        v1::RoundStatus::Incomplete | v1::RoundStatus::Unspecified => v1::Verdict::NoData,
    }
}

pub(crate) fn render(answer: &v1::ListScheduledChecksResponse, whole: bool, paint: Paint) -> String {
    let mut text = String::new();
    if !answer.trouble.is_empty() {
        text += &format!("! {}\n", answer.trouble);
    }
    match answer.checks.as_slice() {
        [] if answer.trouble.is_empty() => {
            text +=
                "there are no scheduled checks: `kubectl explain reachabilitycheck` says how to write one\n";
        }
        [] => {}
        [check] if whole => text += &one(check, paint),
        checks => text += &all(checks, paint),
    }
    text
}

fn all(checks: &[v1::ScheduledCheck], paint: Paint) -> String {
    let mut table = paint.table();
    table.set_header(["CHECK", "ROUNDS", "NEWEST", "SCHEDULE", "NEXT", "WHAT IT CAME TO"]);
    for check in checks {
        let newest = check.rounds.first();
        let (state, of, said) = match newest {
            _ if !check.invalid.is_empty() => {
                ("not accepted", v1::Verdict::Unreachable, check.invalid.clone())
            }
            _ if check.running => ("running", v1::Verdict::NoData, String::new()),
            Some(round) => (word(round.status()), verdict(round.status()), round.headline.clone()),
            None => ("", v1::Verdict::NoData, String::new()),
        };
        table.add_row([
            check.name.as_str().into(),
            rounds(check).into(),
            paint.cell(of, state),
            check.schedule.as_str().into(),
            next(check).into(),
            said.into(),
        ]);
    }
    trimmed(&table)
}

fn rounds(check: &v1::ScheduledCheck) -> String {
    match check.expected_rounds {
        ..0 => check.done_rounds.to_string(),
        wanted => format!("{} of {wanted}", check.done_rounds),
    }
}

fn next(check: &v1::ScheduledCheck) -> String {
    check.next_round_at.as_ref().map_or_else(|| "none".to_owned(), |at| date(Some(at)))
}

fn one(check: &v1::ScheduledCheck, paint: Paint) -> String {
    let mut text = format!(
        "{}: rounds {}, {}, next {}\n",
        paint.bold(&check.name),
        rounds(check),
        check.schedule,
        next(check)
    );
    if !check.invalid.is_empty() {
        text += &format!("  ! not accepted: {}\n", check.invalid);
    }
    if check.running {
        text += "  a round is running\n";
    }
    for (at, round) in check.rounds.iter().enumerate() {
        let status = paint.verdict(verdict(round.status()), word(round.status()));
        text += &format!("\n{}  {status}  {}\n", date(round.started_at.as_ref()), round.headline);
        for line in round.causes.iter().filter(|cause| !round.headline.contains(cause.as_str())) {
            text += &format!("  cause    {line}\n");
        }
        for line in &round.missing {
            text += &format!("  missing  {line}\n");
        }
        if let Some(rate) = &round.rate {
            text += &format!(
                "  rate     asked for {} per second of each node, had {:.1} on average, {:.1} at the least\n",
                rate.asked, rate.mean, rate.lowest
            );
            for line in rate.short.iter().take(SHORT) {
                text += &format!("  short    {line}\n");
            }
            if let Some(more) = rate.short.len().checked_sub(SHORT).filter(|more| *more > 0) {
                text += &format!("  short    {more} more nodes\n");
            }
        }
        if at == 0 && !round.targets.is_empty() {
            text += &targets(&round.targets, paint);
        }
    }
    if check.rounds.is_empty() {
        text += "no round ended since the hub started\n";
    }
    text
}

fn targets(targets: &[v1::TargetResult], paint: Paint) -> String {
    let mut table = paint.table();
    table.set_header([
        "TARGET",
        "PATHS",
        "ANSWERED",
        "ERRORS",
        "MIN",
        "MEAN",
        "P50",
        "P90",
        "P95",
        "P99",
        "MAX",
        "PER SECOND",
        "NOT AS EXPECTED",
    ]);
    for target in targets.iter().take(TARGETS) {
        let of = match (target.failures.is_empty(), target.not_measured) {
            (false, _) => v1::Verdict::Unreachable,
            (true, 1..) => v1::Verdict::NoData,
            (true, 0) => v1::Verdict::Reachable,
        };
        let mut errors: Vec<String> =
            target.errors.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        errors.sort();
        if target.suspect > 0 {
            errors.push(format!("{} not judged", target.suspect));
        }
        let times = target.round_trip.unwrap_or_default();
        let mut row = vec![
            paint.cell(of, &target.target),
            target.paths.to_string().into(),
            format!("{} of {}", target.answered, target.sent).into(),
            errors.join(", ").into(),
        ];
        let delays = [times.min, times.mean, times.p50, times.p90, times.p95, times.p99, times.max];
        row.extend(delays.iter().map(|delay| short(delay.as_ref()).into()));
        row.push(format!("{:.1}", target.probes_per_second).into());
        row.push(target.failures.join("; ").into());
        table.add_row(row);
    }
    let mut text = trimmed(&table);
    if targets.len() > TARGETS {
        let left = targets.len() - TARGETS;
        text += &paint
            .dim(&format!("{left} more targets, all of them as expected or less bad: -o json has them\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: v1::RoundStatus) -> v1::ScheduledCheck {
        let target = v1::TargetResult {
            target: "node/n2".to_owned(),
            paths: 6,
            sent: 6,
            answered: 2,
            errors: [("timeout".to_owned(), 4)].into(),
            failures: vec!["2 of 6 probes answered, expected 99%".to_owned()],
            ..Default::default()
        };
        let round = v1::ScheduledRound {
            round: 3,
            status: status.into(),
            headline: "round 3: 2 of 6 paths reachable".to_owned(),
            rate: Some(v1::RoundRate {
                asked: 50.0,
                lowest: 20.0,
                mean: 35.0,
                short: vec!["n2: asked for 50 per second, had 20.0".to_owned()],
            }),
            targets: vec![target],
            ..Default::default()
        };
        v1::ScheduledCheck {
            name: "nightly".to_owned(),
            schedule: "0 3 * * * UTC".to_owned(),
            expected_rounds: -1,
            done_rounds: 3,
            rounds: vec![round],
            ..Default::default()
        }
    }

    #[test]
    fn a_failed_round_is_shown_with_its_targets_and_is_the_exit_code() {
        let checks = vec![check(v1::RoundStatus::Failed)];
        assert_eq!(conclusion(&checks), Conclusion::Unreachable);
        let answer = v1::ListScheduledChecksResponse { checks, trouble: String::new() };
        let text = render(&answer, true, Paint::plain());
        for part in [
            "nightly: rounds 3, 0 3 * * * UTC",
            "failed",
            "node/n2",
            "4 timeout",
            "expected 99%",
            "asked for 50 per second of each node, had 35.0 on average, 20.0 at the least",
            "short    n2: asked for 50 per second, had 20.0",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let table = render(&answer, false, Paint::plain());
        assert!(table.trim_start().starts_with("CHECK") && table.contains("nightly"), "{table}");
        assert_eq!(conclusion(&[check(v1::RoundStatus::Incomplete)]), Conclusion::Fine);
    }

    #[test]
    fn why_none_can_be_known_is_reported() {
        let answer =
            v1::ListScheduledChecksResponse { checks: Vec::new(), trouble: "they can't be read".to_owned() };
        assert_eq!(render(&answer, false, Paint::plain()), "! they can't be read\n");
    }
}
