//! The model → the screen.
//!
//! ```text
//! nodes, zone, how old it is, what is wrong with the connection
//! rows: nodes that probe; columns: nodes that are probed, by number
//! the pair under the cursor, path by path
//! incidents, worst first
//! keys
//! ```

use std::time::Instant;

use netcheck_proto::v1;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::model::{Model, Pair, Shown};
use crate::style::{symbol, word};

/// Lines of incidents where there are many.
const INCIDENTS: usize = 8;
/// The longest name of a row; of a longer one the begin.
const NAME: usize = 28;
const KEYS: &str = "q quit   arrows, PgUp PgDn [ ] Home End move   z next zone   ? help";
const HELP: &[&str] = &[
    "Rows probe columns; the number of a column is that of its row.",
    "A cell is the worst verdict of all paths between the two nodes:",
    "",
    "  ✓ reachable   ~ degraded   ✗ unreachable",
    "  – expected to be absent   ? no data   · nothing is probed",
    "",
    "* or underlined: changed in the last ten seconds.",
    "Arrows or h j k l move, PgUp and PgDn by a screen of rows,",
    "[ and ] by a screen of columns, Home and End to the corners.",
    "z shows one zone after the other, then all.",
    "q, Esc and Ctrl-C end.",
];

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, now: Instant) {
    let incidents =
        model.incidents.len().clamp(1, INCIDENTS).min(usize::from(frame.area().height / 3).max(1));
    let parts = [
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(2),
        Constraint::Length(incidents as u16 + 1),
        Constraint::Length(1),
    ];
    let [head, matrix, detail, below, keys] = Layout::vertical(parts).areas(frame.area());
    let columns = Columns::of(model, matrix);
    model.fit((usize::from(matrix.height).saturating_sub(1), columns.room));
    let model = &*model;
    frame.render_widget(Paragraph::new(headline(model, now)), head);
    frame.render_widget(Paragraph::new(table(model, &columns, now)), matrix);
    frame.render_widget(Paragraph::new(looked_at(model)).wrap(Wrap { trim: true }), detail);
    frame.render_widget(Paragraph::new(listed(model, incidents, now)), below);
    frame.render_widget(Paragraph::new(Line::styled(KEYS, dim(model))), keys);
    if model.help {
        help(frame);
    }
}

/// How wide things are.
struct Columns {
    /// Of the number of a node.
    number: usize,
    /// Of a name.
    name: usize,
    /// How many columns fit.
    room: usize,
}

impl Columns {
    fn of(model: &Model, area: Rect) -> Self {
        let number = model.rows().len().max(model.columns().len()).to_string().len().max(2);
        let longest = model.rows().iter().map(|node| label(node).chars().count()).max().unwrap_or(0);
        let name = longest.min(NAME).min(usize::from(area.width) / 2);
        let left = usize::from(area.width).saturating_sub(number + name + 2);
        Self { number, name, room: left / (number + 2) }
    }
}

fn label((zone, name): &(String, String)) -> String {
    if zone.is_empty() { name.clone() } else { format!("{name} ({zone})") }
}

/// Begins where it is longer.
fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

fn dim(model: &Model) -> Style {
    if model.colours { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
}

fn coloured(model: &Model, verdict: v1::Verdict) -> Style {
    // What the hub said last may be otherwise by now.
    if !model.colours || model.lost.is_some() {
        return dim(model);
    }
    let style = Style::new();
    match verdict {
        v1::Verdict::Reachable => style.fg(Color::Green),
        v1::Verdict::Degraded => style.fg(Color::Yellow),
        v1::Verdict::Unreachable => style.fg(Color::Red).add_modifier(Modifier::BOLD),
        v1::Verdict::ExpectedAbsent => style.add_modifier(Modifier::DIM),
        v1::Verdict::NoData | v1::Verdict::Unspecified => style.fg(Color::Magenta),
    }
}

fn headline(model: &Model, now: Instant) -> Line<'static> {
    let seconds = |at: Instant| now.saturating_duration_since(at).as_secs();
    if let Some((why, since)) = &model.lost {
        let text = format!("the hub is lost for {} s, asked again and again: {why}", seconds(*since));
        return Line::styled(text, coloured_alarm(model));
    }
    let (rows, columns) = (model.rows().len(), model.columns().len());
    let zone = model.zone().map(|zone| format!(", zone {zone} alone")).unwrap_or_default();
    let age = match model.last_news {
        None => "asking the hub".to_owned(),
        Some(_) => format!("{} incidents", model.incidents.iter().filter(|shown| !shown.is_over()).count()),
    };
    let nodes = if rows == columns { format!("{rows}") } else { format!("{rows} → {columns}") };
    Line::styled(format!("netcheck: {nodes} nodes{zone}, {age}"), Style::new().add_modifier(Modifier::BOLD))
}

fn coloured_alarm(model: &Model) -> Style {
    let style = Style::new().add_modifier(Modifier::BOLD);
    if model.colours { style.fg(Color::Red) } else { style }
}

fn table(model: &Model, columns: &Columns, now: Instant) -> Vec<Line<'static>> {
    let (rows, targets) = (model.rows(), model.columns());
    let Columns { number, name, room } = *columns;
    let shown = || (model.first.1..targets.len()).take(room);
    let mut numbers = " ".repeat(number + name + 2);
    shown().for_each(|at| numbers += &format!("{:>number$}  ", at + 1));
    let mut lines = vec![Line::styled(numbers, dim(model))];
    for (at, source) in rows.iter().enumerate().skip(model.first.0).take(usize::from(u16::MAX)) {
        let text = format!("{:>number$} {:<name$} ", at + 1, cut(&label(source), name));
        let mut spans = vec![Span::raw(text)];
        for column in shown() {
            let (verdict, mark, mut style) = cell(model, &source.1, &targets[column].1, now);
            if model.cursor == (at, column) {
                style = style.add_modifier(Modifier::REVERSED);
            }
            spans.push(Span::styled(format!("{verdict:>number$}{mark} "), style));
        }
        lines.push(Line::from(spans));
    }
    lines
}

/// Symbol, mark and style of one pair.
fn cell(model: &Model, source: &str, target: &str, now: Instant) -> (&'static str, &'static str, Style) {
    let pair = model.pair(source, target);
    let Some(verdict) = pair.and_then(Pair::worst) else { return ("·", " ", dim(model)) };
    let style = coloured(model, verdict);
    match pair.is_some_and(|pair| pair.changed_lately(now)) {
        true => (symbol(verdict), "*", style.add_modifier(Modifier::UNDERLINED)),
        false => (symbol(verdict), " ", style),
    }
}

/// The pair under the cursor.
fn looked_at(model: &Model) -> Line<'static> {
    let (rows, targets) = (model.rows(), model.columns());
    let Some((source, target)) = rows.get(model.cursor.0).zip(targets.get(model.cursor.1)) else {
        return Line::default();
    };
    let between = format!("{} → {}: ", source.1, target.1);
    let Some((pair, worst)) = model.pair(&source.1, &target.1).and_then(|pair| Some((pair, pair.worst()?)))
    else {
        return Line::from(format!("{between}nothing is probed"));
    };
    let mut spans = vec![Span::raw(between), Span::styled(word(worst), coloured(model, worst))];
    for (path, verdict) in pair.paths() {
        spans.push(Span::raw(", "));
        spans.push(Span::styled(format!("{} {path}", symbol(verdict)), coloured(model, verdict)));
    }
    if !pair.place().is_empty() {
        spans.push(Span::raw(format!("; {}", pair.place())));
    }
    Line::from(spans)
}

fn listed(model: &Model, room: usize, now: Instant) -> Vec<Line<'static>> {
    if model.incidents.is_empty() {
        return vec![Line::styled("no incidents", dim(model))];
    }
    let line = |shown: &Shown| {
        let one = &shown.incident;
        let (verdict, state) = match shown.is_over() {
            true => (v1::Verdict::Reachable, " is over"),
            false => (one.verdict(), ""),
        };
        let mark = if shown.changed_lately(now) { "*" } else { " " };
        let paths = one.path_count.max(one.paths.len() as u64);
        Line::from(vec![
            Span::styled(format!("{mark}{} {}{state}", symbol(verdict), one.id), coloured(model, verdict)),
            Span::raw(format!(": {} ({paths} paths)", one.headline)),
        ])
    };
    let more = model.incidents.len().saturating_sub(room);
    let mut lines: Vec<Line<'static>> = model.incidents.iter().take(room).map(line).collect();
    if more > 0 {
        lines.push(Line::styled(format!("and {more} more: kubectl netcheck incidents"), dim(model)));
    }
    lines
}

fn help(frame: &mut Frame<'_>) {
    let all = frame.area();
    let width = HELP.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u16 + 4;
    let (width, height) = (width.min(all.width), (HELP.len() as u16 + 2).min(all.height));
    let area = Rect { x: (all.width - width) / 2, y: (all.height - height) / 2, width, height };
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(*line)).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(lines).block(ratatui::widgets::Block::bordered().title(" netcheck ")),
        area,
    );
}
