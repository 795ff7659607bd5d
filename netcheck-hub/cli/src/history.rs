//! Series: a table of steps for each path, with the times in which nothing was measured or the hub was away. And what an
//! answer about the past rests on.

use std::time::{Duration, SystemTime};

use netcheck_proto::v1;
use netcheck_proto::words::{source_name, target_name};
use prost_types::Timestamp;

use crate::style::{Paint, family, kind, short, symbol, trimmed, word};

/// Day and time, UTC.
pub(crate) fn date(at: Option<&Timestamp>) -> String {
    let time = at.and_then(|at| SystemTime::try_from(*at).ok());
    time.map_or_else(|| "–".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// A length of time, in words of whole seconds.
fn length(wire: Option<&prost_types::Duration>) -> String {
    let seconds = wire.map_or(0, |wire| u64::try_from(wire.seconds).unwrap_or_default());
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// What an answer about the past rests on; empty for one about now. What can't be said, and what may be missing, stands in
/// a report's caveats already.
pub(crate) fn rests_on(past: Option<&v1::PastView>, with_notes: bool, paint: Paint) -> String {
    let Some(past) = past else { return String::new() };
    let mut text = format!("As of {}", date(past.at.as_ref()));
    if past.from.is_some() && past.no_data.is_empty() {
        text += &format!(
            ": figures from {} to {}, by {}",
            date(past.from.as_ref()),
            date(past.to.as_ref()),
            length(past.step.as_ref())
        );
    }
    let mut text = paint.dim(&text) + "\n";
    let silence = Some(&past.no_data).filter(|line| !line.is_empty());
    for line in silence.into_iter().chain(&past.notes).filter(|_| with_notes) {
        text += &format!("  ! {line}\n");
    }
    text
}

fn nanos(at: Option<&Timestamp>) -> i64 {
    at.map_or(0, |at| at.seconds.saturating_mul(1_000_000_000).saturating_add(at.nanos.into()))
}

fn end(point: &v1::HistoryPoint) -> i64 {
    let length = point.length.unwrap_or_default();
    nanos(point.start.as_ref()) + length.seconds * 1_000_000_000 + i64::from(length.nanos)
}

/// All series of an answer.
pub(crate) fn render(answer: &v1::GetPathHistoryResponse, paint: Paint) -> String {
    let mut text = String::new();
    for series in &answer.series {
        text += &one(series, &answer.gaps, paint);
        text.push('\n');
    }
    let from = format!("From {} to {}", date(answer.from.as_ref()), date(answer.to.as_ref()));
    text += &paint.dim(&format!("{from}, by {}\n", length(answer.step.as_ref())));
    for line in &answer.notes {
        text += &format!("  ! {line}\n");
    }
    for reach in &answer.reaches {
        text += &paint.dim(&format!("  {} reach back to {}\n", reach.what, date(reach.oldest.as_ref())));
    }
    text
}

fn title(path: Option<&v1::Path>) -> String {
    let Some(path) = path else { return "all selected paths together".to_owned() };
    let source = source_name(&path.source_node, path.vantage() == v1::Vantage::Pod);
    let target = path.target.as_ref().map(target_name).unwrap_or_default();
    let detail = if path.detail.is_empty() { String::new() } else { format!(" {}", path.detail) };
    format!("{source} → {target}  {}{}{detail}", kind(path.kind()), family(path.family()))
}

fn one(series: &v1::PathSeries, gaps: &[v1::HistoryGap], paint: Paint) -> String {
    let mut table = paint.table();
    table.set_header(["", "", "sent", "lost", "p50", "p90", "p99", "max", ""]);
    let mut before: Option<i64> = None;
    for point in &series.points {
        let start_ns = nanos(point.start.as_ref());
        if let Some(end_ns) = before.filter(|&end_ns| end_ns < start_ns) {
            let away =
                gaps.iter().any(|gap| nanos(gap.from.as_ref()) < start_ns && end_ns < nanos(gap.to.as_ref()));
            let why = if away { "no data: the hub was away" } else { "no data" };
            table.add_row(["?", "", "", "", "", "", "", "", why]);
        }
        before = Some(end(point));
        let stats = point.stats.unwrap_or_default();
        let delay = stats.round_trip.unwrap_or_default();
        let shown = |at: &Option<prost_types::Duration>| {
            if delay.samples == 0 { "–".to_owned() } else { short(at.as_ref()) }
        };
        let lost = stats.sent.saturating_sub(stats.reply);
        let percent = if lost == 0 {
            "0".to_owned()
        } else {
            format!("{lost} ({:.1} %)", lost as f64 * 100.0 / stats.sent as f64)
        };
        let said = if stats.sent == 0 {
            "only samples of a starved agent"
        } else if lost == 0 {
            ""
        } else {
            word(point.verdict())
        };
        table.add_row([
            paint.cell(point.verdict(), symbol(point.verdict())),
            date(point.start.as_ref()).into(),
            stats.sent.to_string().into(),
            percent.into(),
            shown(&delay.p50).into(),
            shown(&delay.p90).into(),
            shown(&delay.p99).into(),
            shown(&delay.max).into(),
            said.into(),
        ]);
    }
    format!("{}\n{}", paint.bold(&title(series.path.as_ref())), trimmed(&table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn point(second: i64, sent: u64, reply: u64) -> v1::HistoryPoint {
        let verdict = if reply == sent { v1::Verdict::Reachable } else { v1::Verdict::Degraded };
        v1::HistoryPoint {
            start: at(second),
            length: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            stats: Some(v1::PathStats { sent, reply, ..Default::default() }),
            verdict: verdict.into(),
            coarse: false,
        }
    }

    #[test]
    fn what_is_missing_is_shown_as_missing_and_why() {
        let series = v1::PathSeries {
            path: None,
            points: vec![point(0, 10, 10), point(10, 10, 8), point(40, 10, 10), point(90, 10, 10)],
        };
        let gaps = vec![v1::HistoryGap { from: at(25), to: at(35) }];
        let answer = v1::GetPathHistoryResponse { series: vec![series], gaps, ..Default::default() };
        let text = render(&answer, Paint::plain());
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert!(lines[3].contains("2 (20.0 %)") && lines[3].ends_with("degraded"), "{text}");
        assert!(lines[4].ends_with("no data: the hub was away"), "{text}");
        assert!(lines[6].ends_with("no data"), "{text}");
        assert_eq!(lines.iter().filter(|line| line.contains("no data")).count(), 2, "{text}");
    }

    #[test]
    fn answers_about_now_rest_on_nothing_that_is_to_be_said() {
        assert_eq!(rests_on(None, true, Paint::plain()), "");
        let past = v1::PastView { at: at(0), no_data: "the hub was away".to_owned(), ..Default::default() };
        let text = rests_on(Some(&past), true, Paint::plain());
        assert_eq!(text, "As of 1970-01-01T00:00:00Z\n  ! the hub was away\n");
    }
}
