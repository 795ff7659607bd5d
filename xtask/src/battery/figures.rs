//! What the battery found, as a table for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::judge::Grade;
use super::{Cell, FAMILIES, Line, Selection};
use crate::network::Network;

fn count(lines: &[Line], grade: Grade) -> usize {
    lines.iter().flat_map(|line| &line.cells).filter(|cell| cell.grade == grade).count()
}

fn count_incidents(lines: &[Line], grade: Grade) -> usize {
    lines.iter().filter_map(|line| line.incident.as_ref()).filter(|(found, _)| *found == grade).count()
}

fn described(cell: &Cell) -> String {
    let detected = cell.detected.map(|took| format!(" {:.1} s", took.as_secs_f64()));
    format!("{}{}", cell.grade, detected.unwrap_or_default())
}

pub(super) fn progress(line: &Line) -> String {
    let (name, network) = (line.row.action.text(), line.network.to_string());
    let mut text = format!("{network:<7} {name:<62}");
    for cell in &line.cells {
        _ = write!(text, " {} {:<14}", cell.family, described(cell));
    }
    if let Some((grade, _)) = &line.incident {
        _ = write!(text, " incident {grade}");
    }
    text.push_str(line.failed.as_deref().unwrap_or_default());
    text.push('\n');
    for note in line.incident.iter().flat_map(|(_, notes)| notes) {
        _ = writeln!(text, "    {note}");
    }
    for cell in &line.cells {
        for note in &cell.notes {
            _ = writeln!(text, "    {}: {note}", cell.family);
        }
    }
    text
}

/// One row a fault, one column a network and family.
pub(super) fn shown(selection: &Selection, lines: &[Line], took: Duration) -> String {
    let networks = &selection.networks;
    let columns: Vec<(Network, &str)> =
        networks.iter().flat_map(|network| FAMILIES.map(|family| (*network, family))).collect();
    // The longest heading decides.
    let width = networks.iter().map(|network| network.to_string().len() + 9).max().unwrap_or_default();
    let mut text = format!("\n{:<62}", "fault");
    for (network, family) in &columns {
        _ = write!(text, " {:<width$}", format!("{network} {family}"));
    }
    for network in networks {
        _ = write!(text, " {:<width$}", format!("{network} incident"));
    }
    text.push('\n');
    for row in selection.set.rows() {
        let of_row: Vec<&Line> = lines.iter().filter(|line| std::ptr::eq(line.row, row)).collect();
        if of_row.is_empty() {
            continue;
        }
        _ = write!(text, "{:<62}", row.action.text());
        for (network, family) in &columns {
            let mut cells = of_row.iter().flat_map(|line| &line.cells);
            let cell = cells.find(|cell| cell.network == *network && cell.family == *family);
            _ = write!(text, " {:<width$}", cell.map_or_else(|| "-".to_owned(), described));
        }
        for network in networks {
            let line = of_row.iter().find(|line| line.network == *network);
            let grade = line.and_then(|line| line.incident.as_ref()).map(|(grade, _)| grade.to_string());
            _ = write!(text, " {:<width$}", grade.as_deref().unwrap_or("-"));
        }
        text.push('\n');
        for failed in of_row.iter().filter_map(|line| line.failed.as_ref()) {
            _ = writeln!(text, "    not tried: {failed}");
        }
    }
    let places = |grade| count(lines, grade);
    let incidents = |grade| count_incidents(lines, grade);
    for (what, count) in [("places", &places as &dyn Fn(Grade) -> usize), ("incidents", &incidents)] {
        let grades = [Grade::Right, Grade::Wrong, Grade::Unknown, Grade::NotDetected, Grade::NotStated];
        let counts: Vec<String> = grades
            .iter()
            .map(|grade| format!("{} {}", count(*grade), grade.to_string().to_lowercase()))
            .collect();
        _ = writeln!(text, "{what}: {}", counts.join(", "));
    }
    _ = writeln!(text, "in {:.0} s", took.as_secs_f64());
    text
}

pub(super) fn as_json(lines: &[Line], took: Duration) -> Value {
    let rows: Vec<Value> = lines
        .iter()
        .flat_map(|line| {
            let fault = line.row.action.text();
            let failed =
                line.failed.iter().map(|why| json!({ "fault": fault, "not_tried": why })).collect::<Vec<_>>();
            let cells = line.cells.iter().map(|cell| {
                json!({
                    "fault": fault,
                    "network": cell.network.to_string(),
                    "family": cell.family,
                    "grade": cell.grade.to_string().to_lowercase(),
                    "detected_s": cell.detected.map(|took| took.as_secs_f64()),
                    "notes": cell.notes,
                })
            });
            let incident = line.incident.iter().map(|(grade, notes)| {
                json!({
                    "fault": fault,
                    "network": line.network.to_string(),
                    "incident": grade.to_string().to_lowercase(),
                    "notes": notes,
                })
            });
            failed.into_iter().chain(cells).chain(incident).collect::<Vec<_>>()
        })
        .collect();
    json!({
        "seconds": took.as_secs_f64(),
        "right": count(lines, Grade::Right),
        "wrong": count(lines, Grade::Wrong),
        "unknown": count(lines, Grade::Unknown),
        "not_detected": count(lines, Grade::NotDetected),
        "incidents_right": count_incidents(lines, Grade::Right),
        "incidents_wrong": count_incidents(lines, Grade::Wrong),
        "incidents_not_detected": count_incidents(lines, Grade::NotDetected),
        "rows": rows,
    })
}
