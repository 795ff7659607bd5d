//! The matrix: rows probe columns; one table each for nodes, pods, services and DNS; then what is lost where.

use std::collections::{BTreeMap, BTreeSet};

use netcheck_proto::v1;
use netcheck_proto::words::{service_address, source_name, target_name};

use crate::style::{Paint, family, kind, letter, symbol, time_of_day, trimmed, word};

/// Worst first: what a merged cell shows.
const ORDER: [v1::Verdict; 4] =
    [v1::Verdict::Unreachable, v1::Verdict::Degraded, v1::Verdict::NoData, v1::Verdict::ExpectedAbsent];

pub(crate) fn render(matrix: &v1::GetMatrixResponse, paint: Paint, width: usize) -> String {
    if matrix.cells.is_empty() {
        return "no paths match\n".to_owned();
    }
    let mut text = String::new();
    let groups = [
        ("nodes", &[v1::TargetKind::Node][..]),
        ("pods", &[v1::TargetKind::Pod]),
        ("services", &[v1::TargetKind::Service]),
        ("services elsewhere than at their cluster IP", &[]),
        ("DNS servers", &[v1::TargetKind::DnsServer]),
        ("endpoints", &[v1::TargetKind::Endpoint]),
    ];
    let elsewhere = |target: &v1::Target| !service_address(target).is_empty();
    let mut group = |title: &str, of: &dyn Fn(&v1::Target) -> bool| {
        let cells: Vec<&v1::MatrixCell> =
            matrix.cells.iter().filter(|cell| target(cell).is_some_and(of)).collect();
        if !cells.is_empty() {
            text += &format!("{} {}\n", paint.bold(&format!("→ {title}")), families(&cells));
            text += &tables(&cells, paint, width);
            text.push('\n');
        }
    };
    let networks: BTreeSet<&str> =
        matrix.cells.iter().filter_map(|cell| Some(target(cell)?.network.as_str())).collect();
    for (title, kinds) in groups {
        group(title, &|target| match elsewhere(target) {
            true => kinds.is_empty(),
            false => kinds.contains(&target.kind()) && target.network.is_empty(),
        });
        if kinds.contains(&v1::TargetKind::Pod) {
            for network in networks.iter().filter(|network| !network.is_empty()) {
                group(&format!("pods on network {network}"), &|target| target.network == **network);
            }
        }
    }
    text += &legend(matrix, paint);
    text + &losses(&matrix.cells, paint)
}

fn target(cell: &v1::MatrixCell) -> Option<&v1::Target> {
    cell.path.as_ref()?.target.as_ref()
}

fn families(cells: &[&v1::MatrixCell]) -> String {
    let kinds: BTreeSet<&str> =
        cells.iter().filter_map(|cell| cell.path.as_ref()).map(|path| kind(path.kind())).collect();
    let families: BTreeSet<i32> =
        cells.iter().filter_map(|cell| cell.path.as_ref()).map(|path| path.family).collect();
    let families: Vec<&str> = families
        .into_iter()
        .map(|value| if value == v1::Family::Ipv6 as i32 { "IPv6" } else { "IPv4" })
        .collect();
    format!("({}; {})", kinds.into_iter().collect::<Vec<_>>().join(" "), families.join(" "))
}

fn label(target: &v1::Target) -> String {
    match target.kind() {
        v1::TargetKind::Service => match service_address(target) {
            place if place.is_empty() => format!("{}:{}", target.name, target.port),
            place => format!("{}:{} {place}", target.name, target.service_port),
        },
        _ => target.name.clone(),
    }
}

/// `n1`, `n1 pods`.
fn row_name((node, from_pod): (&str, bool)) -> String {
    if from_pod { format!("{node} pods") } else { node.to_owned() }
}

fn tables(cells: &[&v1::MatrixCell], paint: Paint, width: usize) -> String {
    // A row for the node, and one for its pods.
    let mut sources: BTreeSet<(&str, bool)> = BTreeSet::new();
    let mut columns: BTreeMap<&str, &v1::Target> = BTreeMap::new();
    let mut merged: BTreeMap<((&str, bool), &str), Vec<&v1::MatrixCell>> = BTreeMap::new();
    for cell in cells {
        let (Some(path), Some(target)) = (&cell.path, target(cell)) else { continue };
        let source = (path.source_node.as_str(), path.vantage() == v1::Vantage::Pod);
        sources.insert(source);
        columns.insert(&target.id, target);
        merged.entry((source, &target.id)).or_default().push(cell);
    }
    let first = sources.iter().map(|&source| row_name(source).len()).max().unwrap_or(0) + 3;
    let columns: Vec<(&str, &v1::Target)> = columns.into_iter().collect();
    let mut text = String::new();
    let mut rest = columns.as_slice();
    while !rest.is_empty() {
        // As many columns as the terminal has room for, and at least one.
        let mut used = first;
        let fitting = rest.iter().take_while(|(id, target)| {
            let widest = merged
                .iter()
                .filter(|((_, other), _)| other == id)
                .map(|(_, cells)| merge(cells).1.chars().count());
            used += widest.max().unwrap_or(0).max(label(target).chars().count()) + 3;
            used <= width
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        rest = later;
        let mut table = paint.table();
        table.set_header(std::iter::once(String::new()).chain(now.iter().map(|(_, target)| label(target))));
        for &source in &sources {
            let mut row = vec![comfy_table::Cell::new(row_name(source))];
            for (id, target) in now {
                row.push(match merged.get(&(source, *id)) {
                    Some(cells) => {
                        let (verdict, text) = merge(cells);
                        paint.cell(verdict, &text)
                    }
                    None if target.kind() == v1::TargetKind::Node
                        && (target.name.as_str(), false) == source =>
                    {
                        "·".into()
                    }
                    None => "".into(),
                });
            }
            table.add_row(row);
        }
        text += &trimmed(&table);
    }
    text
}

/// Several paths of one source and target in one cell: a symbol for each verdict that is not reachable, with the
/// letters of the kinds that have it, and the family where not both have it.
fn merge(cells: &[&v1::MatrixCell]) -> (v1::Verdict, String) {
    let worst = ORDER.into_iter().find(|&verdict| cells.iter().any(|cell| cell.verdict() == verdict));
    let Some(worst) = worst else {
        return (v1::Verdict::Reachable, symbol(v1::Verdict::Reachable).to_owned());
    };
    let mut parts = Vec::new();
    for verdict in ORDER {
        let having: Vec<&v1::Path> = cells
            .iter()
            .filter(|cell| cell.verdict() == verdict)
            .filter_map(|cell| cell.path.as_ref())
            .collect();
        if having.len() == cells.len() {
            return (verdict, symbol(verdict).to_owned());
        }
        if having.is_empty() {
            continue;
        }
        let mut letters = String::new();
        let kinds: BTreeSet<i32> = having.iter().map(|path| path.kind).collect();
        for value in kinds {
            let of_kind = |path: &&&v1::Path| path.kind == value;
            let all =
                cells.iter().filter_map(|cell| cell.path.as_ref()).filter(|path| path.kind == value).count();
            let bad: Vec<&&v1::Path> = having.iter().filter(of_kind).collect();
            letters.push(v1::ProbeKind::try_from(value).map_or('?', letter));
            if bad.len() < all
                && let Some(path) = bad.first()
            {
                letters += family(path.family());
                letters += &at_address(&bad, cells);
            }
        }
        parts.push(format!("{}{letters}", symbol(verdict)));
    }
    (worst, parts.join(" "))
}

/// `(10.0.0.2)`: the address of these paths, where others of the target and family are not among them.
fn at_address(paths: &[&&v1::Path], cells: &[&v1::MatrixCell]) -> String {
    let Some(first) = paths.first() else { return String::new() };
    let alike = |path: &&v1::Path| path.kind == first.kind && path.family == first.family;
    let of = |paths: &mut dyn Iterator<Item = &v1::Path>| -> BTreeSet<String> {
        paths.filter(alike).map(|path| path.address.clone()).collect()
    };
    let all = of(&mut cells.iter().filter_map(|cell| cell.path.as_ref()));
    let these = of(&mut paths.iter().map(|path| **path));
    let own = target(cells[0])
        .is_some_and(|target| matches!(target.kind(), v1::TargetKind::Node | v1::TargetKind::Pod));
    if own && these.len() < all.len() {
        format!("({})", these.into_iter().collect::<Vec<_>>().join(" "))
    } else {
        String::new()
    }
}

fn legend(matrix: &v1::GetMatrixResponse, paint: Paint) -> String {
    let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
    for cell in &matrix.cells {
        *counts.entry(cell.verdict).or_default() += 1;
    }
    let all = [
        v1::Verdict::Reachable,
        v1::Verdict::Degraded,
        v1::Verdict::Unreachable,
        v1::Verdict::ExpectedAbsent,
        v1::Verdict::NoData,
    ];
    let part = |verdict: v1::Verdict| {
        let count = counts.get(&verdict.into()).copied().unwrap_or(0);
        let text = format!("{} {} {count}", symbol(verdict), word(verdict));
        if count == 0 { paint.dim(&text) } else { paint.verdict(verdict, &text) }
    };
    format!(
        "{} paths: {}\n{}\n",
        matrix.cells.len(),
        all.map(part).join("  "),
        paint.dim(&format!(
            "rows probe columns; I icmp, U udp, T tcp, D dns, H http, 4/6 only that family; newest {} at {}",
            crate::style::short(matrix.range.as_ref()),
            time_of_day(matrix.generated_at.as_ref())
        ))
    )
}

/// Every bad path, by the place where its probes died.
fn losses(cells: &[v1::MatrixCell], paint: Paint) -> String {
    let mut places: BTreeMap<(bool, String), Vec<&v1::MatrixCell>> = BTreeMap::new();
    for cell in cells {
        if !matches!(cell.verdict(), v1::Verdict::Unreachable | v1::Verdict::Degraded) {
            continue;
        }
        let summary = cell.loss.as_ref().map(|loss| loss.summary.clone());
        places.entry((summary.is_none(), summary.unwrap_or_default())).or_default().push(cell);
    }
    let mut text = String::new();
    for ((unlocated, summary), cells) in places {
        let worst = if cells.iter().any(|cell| cell.verdict() == v1::Verdict::Unreachable) {
            v1::Verdict::Unreachable
        } else {
            v1::Verdict::Degraded
        };
        let title = if unlocated { "no place known (`path SRC DST` shows why)".to_owned() } else { summary };
        text += &format!("\n{} {}\n", paint.verdict(worst, symbol(worst)), paint.bold(&title));
        let mut lines: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for cell in cells {
            let (Some(path), Some(target)) = (&cell.path, target(cell)) else { continue };
            let what = format!("{}{}", kind(path.kind()), family(path.family()));
            lines
                .entry((target_name(target), what))
                .or_default()
                .insert(source_name(&path.source_node, path.vantage() == v1::Vantage::Pod));
        }
        for ((target, what), sources) in lines {
            let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
            text += &format!("    {what:<6} {sources} → {target}\n");
        }
    }
    text
}
