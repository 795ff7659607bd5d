//! One line for each path (RFC 4180). Pure.

use crate::check::record::PathRecord;

/// The first line.
pub(crate) const HEADER: &str = "source,vantage,target,kind,family,address,port,detail,verdict,sent,answered,p50_ns,\
                                 p99_ns,lost_at,excepted\r\n";

/// A field, quoted where it must be. What a spreadsheet would take for a formula is text.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// One path, with the end of its line.
pub(crate) fn row(path: &PathRecord) -> String {
    let excepted = path.excepted.as_deref().unwrap_or_default();
    let fields = [
        field(&path.source),
        field(&path.vantage),
        field(&path.target),
        field(&path.kind),
        field(&path.family),
        field(&path.address),
        path.port.to_string(),
        field(&path.detail),
        field(&path.verdict),
        path.sent.to_string(),
        path.answered.to_string(),
        path.p50_ns.to_string(),
        path.p99_ns.to_string(),
        field(&path.lost_at),
        field(excepted),
    ];
    fields.join(",") + "\r\n"
}
