//! The table for people: what is wrong and why, then how much of what is well, then the failed paths, worst first. Pure.

use std::collections::BTreeMap;

use netcheck_proto::v1;

use super::{delay, first_line};
use crate::check::document::{BETWEEN, Document, Gap};
use crate::check::record::PathRecord;
use crate::style::{Paint, trimmed};

/// Rows of failed paths.
const ROWS: usize = 20;

fn verdict_of(document: &Document) -> v1::Verdict {
    match (document.passed, document.exit_code) {
        (true, _) => v1::Verdict::Reachable,
        (false, 2) => v1::Verdict::Unreachable,
        (false, _) => v1::Verdict::NoData,
    }
}

fn verdict(word: &str) -> v1::Verdict {
    match word {
        "reachable" => v1::Verdict::Reachable,
        "degraded" => v1::Verdict::Degraded,
        "unreachable" => v1::Verdict::Unreachable,
        "expected absent" => v1::Verdict::ExpectedAbsent,
        _ => v1::Verdict::NoData,
    }
}

/// Ascending: the worst first.
fn rank(word: &str) -> u8 {
    match word {
        "unreachable" => 0,
        "degraded" => 1,
        "no data" => 2,
        "expected absent" => 3,
        _ => 4,
    }
}

/// Everything; of `others` one row each, too, where there are any.
pub(crate) fn render(document: &Document, others: &[PathRecord], paint: Paint) -> String {
    let mut text = paint.verdict(verdict_of(document), &first_line(document)) + "\n";
    for line in &document.between {
        text += &format!("{}\n", paint.bold(line));
    }
    for cause in document.failing() {
        text += &format!("{}\n", paint.bold(&format!("✗ {}", cause.headline)));
    }
    // What is between two clusters is said above.
    for problem in document.problems.iter().filter(|problem| problem.name != BETWEEN) {
        text += &format!("{}\n", paint.bold(&format!("✗ {}", problem.message)));
    }
    let details: String = document.causes.iter().map(|cause| of_cause(cause, paint)).collect();
    text += &details;
    text += &format!("\n{}", classes(document, paint));
    let wide = !others.is_empty();
    if !document.failed.is_empty() || wide {
        text +=
            &format!("\n{}", if wide { wide_rows(document, others, paint) } else { rows(document, paint) });
    }
    text + &notes(document, paint)
}

fn of_cause(cause: &crate::check::document::Cause, paint: Paint) -> String {
    let mut text = format!("\n{}\n", paint.bold(&cause.headline));
    for line in &cause.culprits {
        text += &format!("    {line}\n");
    }
    for (at, line) in cause.evidence.iter().enumerate() {
        text += &format!("    {:<9} {line}\n", if at == 0 { "evidence" } else { "" });
    }
    let sure = if cause.observed {
        "a kernel's report or the target's own answer proves it"
    } else {
        "counting suggests it"
    };
    text += &format!("    {:<9} {sure}\n", "certainty");
    if let Some(reason) = &cause.excepted {
        text += &format!("    {:<9} {reason}\n", "excepted");
    } else if !cause.fails {
        text += &format!("    {:<9} the expected success is kept\n", "tolerated");
    }
    text
}

fn classes(document: &Document, paint: Paint) -> String {
    let mut table = paint.table();
    table.set_header([
        "FROM",
        "TO",
        "PATHS",
        "REACHABLE",
        "DEGRADED",
        "UNREACHABLE",
        "NO DATA",
        "ABSENT",
        "SLOWEST P99",
    ]);
    for class in &document.classes {
        let count = |verdict: v1::Verdict, count: u64| match count {
            0 => comfy_table::Cell::new("0"),
            count => paint.cell(verdict, &count.to_string()),
        };
        table.add_row(vec![
            class.from.clone().into(),
            class.to.clone().into(),
            class.paths.to_string().into(),
            class.reachable.to_string().into(),
            count(v1::Verdict::Degraded, class.degraded),
            count(v1::Verdict::Unreachable, class.unreachable),
            count(v1::Verdict::NoData, class.no_data),
            class.expected_absent.to_string().into(),
            delay(class.slowest_p99_ns).into(),
        ]);
    }
    trimmed(&table)
}

/// Failed paths from one source to one target.
#[derive(Default)]
struct Pair {
    verdict: String,
    kinds: Vec<String>,
    sent: u64,
    answered: u64,
    lost_at: String,
}

/// One row for each source and target.
fn rows(document: &Document, paint: Paint) -> String {
    let mut pairs: BTreeMap<(String, String), Pair> = BTreeMap::new();
    for path in &document.failed {
        let pair = pairs.entry((path.source_name(), path.target_name.clone())).or_default();
        if pair.verdict.is_empty() || rank(&path.verdict) < rank(&pair.verdict) {
            pair.verdict.clone_from(&path.verdict);
        }
        let kind = format!("{}{}", path.kind, path.family.trim_start_matches("ipv"));
        if !pair.kinds.contains(&kind) {
            pair.kinds.push(kind);
        }
        pair.sent += path.sent;
        pair.answered += path.answered;
        if pair.lost_at.is_empty() {
            pair.lost_at.clone_from(&path.lost_at);
        }
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, pair)| {
        (rank(&pair.verdict), std::cmp::Reverse(pair.sent - pair.answered.min(pair.sent)))
    });
    let mut table = paint.table();
    table.set_header(["SOURCE", "TARGET", "KINDS", "VERDICT", "ANSWERED", "LOST AT"]);
    for ((source, target), pair) in pairs.iter().take(ROWS) {
        table.add_row(vec![
            source.into(),
            target.into(),
            pair.kinds.join(" ").into(),
            paint.cell(verdict(&pair.verdict), &pair.verdict),
            format!("{} of {}", pair.answered, pair.sent).into(),
            comfy_table::Cell::new(&pair.lost_at),
        ]);
    }
    let mut text = trimmed(&table);
    if pairs.len() > ROWS {
        text += &format!("and {} more; -o wide has one line for each path\n", pairs.len() - ROWS);
    }
    text
}

/// One row for each path, worst first.
fn wide_rows(document: &Document, others: &[PathRecord], paint: Paint) -> String {
    let mut paths: Vec<&PathRecord> = document.failed.iter().chain(others).collect();
    paths.sort_by_key(|path| (rank(&path.verdict), std::cmp::Reverse(path.p99_ns)));
    let mut table = paint.table();
    table.set_header([
        "SOURCE", "TARGET", "KIND", "FAMILY", "ADDRESS", "PORT", "VERDICT", "ANSWERED", "P50", "P99",
        "LOST AT",
    ]);
    for path in paths {
        let excepted = path.excepted.as_ref().map(|reason| format!("{} (excepted: {reason})", path.lost_at));
        table.add_row(vec![
            path.source_name().into(),
            comfy_table::Cell::new(&path.target_name),
            format!("{} {}", path.kind, path.detail).trim_end().into(),
            comfy_table::Cell::new(&path.family),
            comfy_table::Cell::new(&path.address),
            path.port.to_string().into(),
            paint.cell(verdict(&path.verdict), &path.verdict),
            format!("{} of {}", path.answered, path.sent).into(),
            delay(path.p50_ns).into(),
            delay(path.p99_ns).into(),
            excepted.unwrap_or_else(|| path.lost_at.clone()).into(),
        ]);
    }
    let mut text = trimmed(&table);
    let shown = (document.failed.len() + others.len()) as u64;
    if shown < document.paths.total {
        text += &format!("and {} more; -o csv has all\n", document.paths.total - shown);
    }
    text
}

fn notes(document: &Document, paint: Paint) -> String {
    let mut text = String::new();
    let round = &document.round;
    let absent = match round.absent.as_slice() {
        [] => String::new(),
        absent => format!(" No node has {}: the round goes without.", absent.join(", ")),
    };
    if round.complete {
        text += &format!("\nRound: complete, every node reported its paths.{absent}\n");
    } else {
        text += &format!("\nRound: not complete.{absent}\n");
        text += &round.missing.iter().map(|gap| format!("  ! {}\n", Gap::line(gap))).collect::<String>();
    }
    for note in &document.notes {
        text += &format!("! {note}\n");
    }
    if !document.caveats.is_empty() {
        text += &format!("\n{}\n", paint.bold("About the measurement:"));
        text += &document.caveats.iter().map(|caveat| format!("  ! {caveat}\n")).collect::<String>();
    }
    text
}
