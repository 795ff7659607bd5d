//! Labels, times and bounded text. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use crate::sent_log::Sent;

/// Longest annotation, in bytes: mail and chat cut them off anyway.
const LONGEST: usize = 4096;

/// A label that every alert bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub name: String,
    /// Not empty.
    pub value: String,
}

/// Why a label is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is no `=` in it, or nothing behind it.
    #[error("expected NAME=VALUE")]
    Shape,
    /// Prometheus would not take it.
    #[error("a label's name is made of letters, digits and _, and doesn't begin with a digit or __")]
    Name,
    /// netcheck gives it a meaning of its own.
    #[error("netcheck sets this label itself")]
    Own,
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (name, value) = text.split_once('=').ok_or(LabelError::Shape)?;
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(LabelError::Shape);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !name.starts_with(starts) || !name.chars().all(plain) || name.starts_with("__") {
            return Err(LabelError::Name);
        }
        if matches!(name, "alertname" | "incident" | "kind") {
            return Err(LabelError::Own);
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// An alert's labels, which never change while it lasts: they are its identity. The operator's may replace `severity`.
pub(crate) fn labels<'a>(sent: &'a Sent, own: &'a [Label]) -> BTreeMap<&'a str, &'a str> {
    let severity = if sent.verdict == "unreachable" { "critical" } else { "warning" };
    let fixed = [
        ("alertname", "NetcheckNetworkIncident"),
        ("severity", severity),
        ("incident", sent.alert.as_str()),
        ("kind", sent.kind.as_str()),
    ];
    let own = own.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    fixed.into_iter().chain(own).filter(|(_, value)| !value.is_empty()).collect()
}

/// As RFC 3339 has it, in milliseconds.
pub(crate) fn time(unix_ns: i64) -> String {
    let since = Duration::from_nanos(u64::try_from(unix_ns).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// Lines as one text of bounded length.
pub(crate) fn text<'a, I: IntoIterator<Item = &'a str>>(lines: I) -> String {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() > LONGEST {
            text.push('…');
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}
