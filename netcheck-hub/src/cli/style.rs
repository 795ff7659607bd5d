//! Colours (on a terminal only, and not where NO_COLOR is set), symbols and short words.

use std::io::IsTerminal as _;
use std::time::Duration;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use netcheck_proto::v1;

/// Columns where the width of the terminal is not known.
const WIDTH: usize = 120;

/// Whether to use colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output.
    pub(super) fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    /// Never.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self(false)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Text that must not be missed.
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Text that may be skipped.
    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Text in the colour of a verdict.
    pub(super) fn verdict(self, verdict: v1::Verdict, text: &str) -> String {
        let code = match verdict {
            v1::Verdict::Reachable => "32",
            v1::Verdict::Degraded => "33",
            v1::Verdict::Unreachable => "1;31",
            v1::Verdict::ExpectedAbsent => "2",
            v1::Verdict::NoData | v1::Verdict::Unspecified => "35",
        };
        self.wrap(code, text)
    }

    /// A cell in the colour of a verdict.
    pub(super) fn cell(self, verdict: v1::Verdict, text: &str) -> Cell {
        let color = match verdict {
            v1::Verdict::Reachable => Color::Green,
            v1::Verdict::Degraded => Color::Yellow,
            v1::Verdict::Unreachable => Color::Red,
            v1::Verdict::ExpectedAbsent => Color::DarkGrey,
            v1::Verdict::NoData | v1::Verdict::Unspecified => Color::Magenta,
        };
        let cell = Cell::new(text);
        if self.0 { cell.fg(color) } else { cell }
    }

    /// An empty table.
    pub(super) fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !self.0 {
            table.force_no_tty();
        }
        table
    }
}

/// Width of the terminal, in columns.
pub(super) fn width() -> usize {
    std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok())
        .unwrap_or_else(|| Table::new().width().map_or(WIDTH, usize::from))
}

/// A table's text without the blanks at its lines' ends.
pub(super) fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.to_string().lines() {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The symbol of a verdict.
pub(super) const fn symbol(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Reachable => "✓",
        v1::Verdict::Degraded => "~",
        v1::Verdict::Unreachable => "✗",
        v1::Verdict::ExpectedAbsent => "–",
        v1::Verdict::NoData | v1::Verdict::Unspecified => "?",
    }
}

/// The word for a verdict.
pub(super) const fn word(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Reachable => "reachable",
        v1::Verdict::Degraded => "degraded",
        v1::Verdict::Unreachable => "unreachable",
        v1::Verdict::ExpectedAbsent => "expected absent",
        v1::Verdict::NoData | v1::Verdict::Unspecified => "no data",
    }
}

/// The word for a kind of probe.
pub(super) const fn kind(kind: v1::ProbeKind) -> &'static str {
    match kind {
        v1::ProbeKind::Unspecified => "?",
        v1::ProbeKind::Icmp => "icmp",
        v1::ProbeKind::Udp => "udp",
        v1::ProbeKind::Tcp => "tcp",
        v1::ProbeKind::Dns => "dns",
        v1::ProbeKind::Http => "http",
    }
}

/// The letter for a kind of probe.
pub(super) const fn letter(kind: v1::ProbeKind) -> char {
    match kind {
        v1::ProbeKind::Unspecified => '?',
        v1::ProbeKind::Icmp => 'I',
        v1::ProbeKind::Udp => 'U',
        v1::ProbeKind::Tcp => 'T',
        v1::ProbeKind::Dns => 'D',
        v1::ProbeKind::Http => 'H',
    }
}

/// 4 or 6.
pub(super) const fn family(family: v1::Family) -> &'static str {
    match family {
        v1::Family::Unspecified => "",
        v1::Family::Ipv4 => "4",
        v1::Family::Ipv6 => "6",
    }
}

/// A duration with three digits: `431 µs`, `1.25 ms`.
pub(super) fn short(wire: Option<&prost_types::Duration>) -> String {
    let Some(wire) = wire else { return "–".to_owned() };
    let seconds = wire.seconds as f64 + f64::from(wire.nanos) / 1e9;
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 => (s * 1e6, "µs"),
        s => (s * 1e9, "ns"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// How long ago, in whole seconds or more: `3s`, `12m 5s`.
pub(super) fn ago(then: Option<&prost_types::Timestamp>, now_ns: i64) -> String {
    let Some(then) = then else { return "never".to_owned() };
    let then_ns =
        then.seconds.saturating_mul(crate::model::clock::SECOND_NS).saturating_add(i64::from(then.nanos));
    let seconds = crate::model::clock::duration(now_ns.saturating_sub(then_ns)).as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Hours, minutes and seconds of a day, UTC.
pub(super) fn time_of_day(at: Option<&prost_types::Timestamp>) -> String {
    crate::model::clock::time_of_day(
        at.map_or(0, |at| at.seconds).saturating_mul(crate::model::clock::SECOND_NS),
    )
}
