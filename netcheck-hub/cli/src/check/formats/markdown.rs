//! Markdown for the summary of a pipeline. Pure.

use super::{delay, first_line};
use crate::check::document::{BETWEEN, Document};

/// Failed paths that are listed.
const PATHS: usize = 50;

/// A text in a table's cell: no pipes, no lines, nothing that is markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    // Blanks in a row would make a block of code of an item.
    for char in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match char {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => out.extend(['\\', char]),
            other => out.push(other),
        }
    }
    out
}

fn row<const N: usize>(cells: [&str; N]) -> String {
    format!("| {} |\n", cells.map(cell).join(" | "))
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for cells in rows {
        text += &row(cells.each_ref().map(String::as_str));
    }
    text
}

/// The summary.
pub(crate) fn render(document: &Document) -> String {
    let mut text = format!("## netcheck: {}\n", cell(&first_line(document)));
    for line in &document.between {
        text += &format!("\n{}\n", cell(line));
    }
    for cause in &document.causes {
        let excepted =
            cause.excepted.as_ref().map(|reason| format!(" (excepted: {reason})")).unwrap_or_default();
        text += &format!("\n- **{}**{}\n", cell(&cause.headline), cell(&excepted));
        for line in cause.culprits.iter().chain(&cause.evidence) {
            text += &format!("  - {}\n", cell(line));
        }
    }
    for problem in document.problems.iter().filter(|problem| problem.name != BETWEEN) {
        text += &format!("\n- **{}**\n", cell(&problem.message));
        for line in &problem.details {
            text += &format!("  - {}\n", cell(line));
        }
    }
    let head = ["from", "to", "paths", "reachable", "degraded", "unreachable", "no data", "slowest p99"];
    let classes = document.classes.iter().map(|class| {
        [
            class.from.clone(),
            class.to.clone(),
            class.paths.to_string(),
            class.reachable.to_string(),
            class.degraded.to_string(),
            class.unreachable.to_string(),
            class.no_data.to_string(),
            delay(class.slowest_p99_ns),
        ]
    });
    text += &table(head, classes);
    if !document.failed.is_empty() {
        let paths = document.failed.iter().take(PATHS).map(|path| {
            [
                path.source_name(),
                path.target_name.clone(),
                format!("{} {}", path.kind, path.family),
                path.verdict.clone(),
                format!("{} of {}", path.answered, path.sent),
                path.lost_at.clone(),
            ]
        });
        text += &table(["source", "target", "kind", "verdict", "answered", "lost at"], paths);
        let more = document.failed_total.saturating_sub(document.failed.len().min(PATHS) as u64);
        if more > 0 {
            text += &format!("\nand {more} more failed paths\n");
        }
    }
    for line in document.notes.iter().chain(&document.caveats) {
        text += &format!("\n> {}\n", cell(line));
    }
    text
}
