//! Events: one line each, in order.

use netcheck_proto::v1;

use crate::history::date;
use crate::style::{Paint, symbol};

const fn word(kind: v1::HistoryEventKind) -> &'static str {
    match kind {
        v1::HistoryEventKind::Unspecified => "",
        v1::HistoryEventKind::Hub => "hub",
        v1::HistoryEventKind::Node => "node",
        v1::HistoryEventKind::Target => "target",
        v1::HistoryEventKind::Agent => "agent",
        v1::HistoryEventKind::Verdict => "verdict",
        v1::HistoryEventKind::Incident => "incident",
        v1::HistoryEventKind::Check => "check",
        v1::HistoryEventKind::Plan => "plan",
    }
}

pub(crate) fn render(answer: &v1::ListEventsResponse, paint: Paint) -> String {
    let mut text = String::new();
    for event in &answer.events {
        let verdict = event.verdict();
        let sign = if verdict == v1::Verdict::Unspecified {
            " ".to_owned()
        } else {
            paint.verdict(verdict, symbol(verdict))
        };
        let incident = event.kind() == v1::HistoryEventKind::Incident;
        let whose = if incident { format!("{} ", event.subject) } else { String::new() };
        text +=
            &format!("{}  {:<8} {sign} {whose}{}\n", date(event.at.as_ref()), word(event.kind()), event.text);
    }
    if answer.events.is_empty() {
        text += "nothing happened\n";
    }
    let from = format!("From {} to {}", date(answer.from.as_ref()), date(answer.to.as_ref()));
    let left_out = match answer.left_out {
        0 => String::new(),
        older => format!("; {older} older ones are left out (--limit)"),
    };
    text += &paint.dim(&format!("{from}{left_out}\n"));
    for line in &answer.notes {
        text += &format!("  ! {line}\n");
    }
    text
}
