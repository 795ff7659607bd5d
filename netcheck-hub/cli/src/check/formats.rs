//! How a check's document is printed: for people, pipelines and programs. Pure.

pub(crate) mod csv;
pub(crate) mod junit;
pub(crate) mod markdown;
pub(crate) mod table;

use super::document::Document;

/// As YAML, with the names of the JSON form.
pub(crate) fn yaml(document: &Document) -> String {
    serde_saphyr::to_string(document).unwrap_or_default()
}

/// The line that all formats for people begin with.
pub(crate) fn first_line(document: &Document) -> String {
    let fails = document.failing().count();
    let causes = match fails {
        0 => String::new(),
        1 => ", 1 cause".to_owned(),
        many => format!(", {many} causes"),
    };
    let excepted = match document.paths.excepted {
        0 => String::new(),
        excepted => format!(", {excepted} excepted"),
    };
    let symbol = match (document.passed, document.exit_code) {
        (true, _) => "✓",
        (false, 2) => "✗",
        (false, _) => "?",
    };
    format!("{symbol} {}{causes}{excepted}", document.headline)
}

/// `1.25 ms`; `–` where nothing was measured.
pub(crate) fn delay(ns: u64) -> String {
    if ns == 0 {
        return "–".to_owned();
    }
    let wire = netcheck_proto::convert::duration(std::time::Duration::from_nanos(ns));
    crate::style::short(Some(&wire))
}

#[cfg(test)]
mod tests;
