//! The screen, its colours, symbols and short words.

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use netcheck_common::domain::ProbeKind;
use netcheck_proto::{convert, v1, words};
use prost_types::Timestamp;

/// Columns where the width of the terminal is not known.
const WIDTH: usize = 120;

/// What the answer is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Whether it shows colours.
    pub colours: bool,
    /// Its width.
    pub columns: usize,
}

impl Screen {
    /// Standard output's: colours on a terminal only, and not where `NO_COLOR` is set; `COLUMNS` goes before the
    /// terminal's own width.
    #[must_use]
    pub fn of_stdout() -> Self {
        let wanted = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            columns: wanted.unwrap_or_else(|| Table::new().width().map_or(WIDTH, usize::from)),
        }
    }

    /// A file or a pipe.
    #[must_use]
    pub const fn plain() -> Self {
        Self { colours: false, columns: WIDTH }
    }
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    pub(crate) const fn on(screen: &Screen) -> Self {
        Self(screen.colours)
    }

    /// Never.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self(false)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Text that must not be missed.
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// Text that may be skipped.
    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Text in the colour of a verdict.
    pub(crate) fn verdict(self, verdict: v1::Verdict, text: &str) -> String {
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
    pub(crate) fn cell(self, verdict: v1::Verdict, text: &str) -> Cell {
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
    pub(crate) fn table(self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !self.0 {
            table.force_no_tty();
        }
        table
    }
}

/// A table's text without the blanks at its lines' ends.
pub(crate) fn trimmed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.to_string().lines() {
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// The symbol of a verdict.
pub(crate) const fn symbol(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Reachable => "✓",
        v1::Verdict::Degraded => "~",
        v1::Verdict::Unreachable => "✗",
        v1::Verdict::ExpectedAbsent => "–",
        v1::Verdict::NoData | v1::Verdict::Unspecified => "?",
    }
}

/// The word for a verdict.
pub(crate) const fn word(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Reachable => "reachable",
        v1::Verdict::Degraded => "degraded",
        v1::Verdict::Unreachable => "unreachable",
        v1::Verdict::ExpectedAbsent => "expected absent",
        v1::Verdict::NoData | v1::Verdict::Unspecified => "no data",
    }
}

/// The word for a kind of probe.
pub(crate) fn kind(kind: v1::ProbeKind) -> &'static str {
    convert::kind("kind", kind.into()).map_or("?", ProbeKind::as_str)
}

/// The letter for a kind of probe.
pub(crate) const fn letter(kind: v1::ProbeKind) -> char {
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
pub(crate) const fn family(family: v1::Family) -> &'static str {
    match family {
        v1::Family::Unspecified => "",
        v1::Family::Ipv4 => "4",
        v1::Family::Ipv6 => "6",
    }
}

/// A duration with three digits: `431 µs`, `1.25 ms`.
pub(crate) fn short(wire: Option<&prost_types::Duration>) -> String {
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
pub(crate) fn ago(then: Option<&Timestamp>) -> String {
    let Some(then) = then else { return "never".to_owned() };
    let then = SystemTime::try_from(*then).unwrap_or(UNIX_EPOCH);
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Hours, minutes and seconds of a day, UTC; with its date where that is not today's.
pub(crate) fn time_of_day(at: Option<&Timestamp>) -> String {
    let today = Timestamp::from(SystemTime::now());
    at.map_or_else(|| "–".to_owned(), |at| words::moment(at, &today))
}
