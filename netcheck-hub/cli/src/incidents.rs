//! Incidents: one line of cause each, then what it explains, what speaks against it, and the facts.

use netcheck_proto::v1;

use crate::style::{Paint, symbol, time_of_day};

pub(crate) fn render(answer: &v1::ListIncidentsResponse, paint: Paint) -> String {
    let (open, closed): (Vec<_>, Vec<_>) =
        answer.incidents.iter().partition(|incident| incident.state() == v1::IncidentState::Open);
    let mut text = match open.len() {
        0 => paint.verdict(v1::Verdict::Reachable, "✓ no open incident") + "\n",
        many => {
            let paths: usize = open.iter().map(|incident| incident.paths.len()).sum();
            let s = if many == 1 { "" } else { "s" };
            paint.verdict(v1::Verdict::Unreachable, &format!("✗ {many} open incident{s}, {paths} bad paths"))
                + "\n"
        }
    };
    for incident in open {
        text += &one(incident, paint);
    }
    if !closed.is_empty() {
        text += &format!("\n{}\n", paint.bold("Closed:"));
    }
    for incident in closed {
        let merged = match incident.merged_into.as_str() {
            "" => String::new(),
            into => format!(" (one with {into})"),
        };
        text += &paint.dim(&format!(
            "  {} to {}  {}{merged}\n",
            time_of_day(incident.opened_at.as_ref()),
            time_of_day(incident.closed_at.as_ref()),
            incident.headline
        ));
    }
    text
}

/// One open incident.
pub(crate) fn one(incident: &v1::Incident, paint: Paint) -> String {
    let verdict = incident.verdict();
    let mut text =
        format!("\n{} {}\n", paint.verdict(verdict, symbol(verdict)), paint.bold(&incident.headline));
    for culprit in &incident.culprits {
        text += &named(culprit);
    }
    for (at, line) in incident.evidence.iter().enumerate() {
        text += &format!("    {:<9} {line}\n", if at == 0 { "evidence" } else { "" });
    }
    let sure = match incident.certainty() {
        v1::Certainty::Observed => "a kernel's report or the target's own answer proves it",
        v1::Certainty::Inferred | v1::Certainty::Unspecified => "counting suggests it",
    };
    text += &format!("    {:<9} {sure}\n", "certainty");
    let seen = format!(
        "{} to {}; opened {}, {}",
        time_of_day(incident.first_seen.as_ref()),
        time_of_day(incident.last_seen.as_ref()),
        time_of_day(incident.opened_at.as_ref()),
        incident.id
    );
    text + &paint.dim(&format!("    {:<9} {seen}\n", "lost"))
}

/// What did it: the object, what it says, the command that shows it, and what would mend it.
fn named(culprit: &v1::Culprit) -> String {
    culprit_lines(culprit).iter().map(|line| format!("    {line}\n")).collect()
}

/// The same, a line each.
pub(crate) fn culprit_lines(culprit: &v1::Culprit) -> Vec<String> {
    let v1::Culprit { node, object, text, comment, owner, see, mend, .. } = culprit;
    if culprit.kind() == v1::CulpritKind::Untold {
        return vec![format!("{:<9} not known on {node}: {text}", "culprit")];
    }
    let owner = if owner.is_empty() { String::new() } else { format!(", looks like {owner}'s") };
    let sure = if culprit.certainty() == v1::Certainty::Observed { "" } else { " (it fits; nobody saw it)" };
    let mut lines = vec![("culprit", format!("on {node}: {object}{owner}{sure}"))];
    lines.push(("", text.clone()));
    lines.push(("", if comment.is_empty() { String::new() } else { format!("its comment: {comment}") }));
    lines.push(("see it", see.clone()));
    lines.push(("mend it", mend.clone()));
    let said = lines.into_iter().filter(|(_, line)| !line.is_empty());
    said.map(|(label, line)| format!("{label:<9} {line}")).collect()
}
