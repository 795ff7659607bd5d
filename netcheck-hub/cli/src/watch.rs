//! `watch`: open incidents first, then every verdict that changes and every incident that opens, changes or closes, one line
//! each, as they come.

use std::io::Write;
use std::time::{Duration, SystemTime};

use netcheck_proto::v1;
use netcheck_proto::words::{family_name, kind_name, source_name, target_name, time_of_day};
use prost_types::Timestamp;
use tokio::time::Instant;

use crate::args::Output;
use crate::connect::Hub;
use crate::json_line;
use crate::refused;
use crate::style::{Paint, symbol, word};

mod tui;

pub(crate) use tui::run as live;

/// Later than anybody watches.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Prints until the hub ends it, or for as long as is wanted.
pub(crate) async fn run(
    hub: &Hub,
    selector: v1::PathSelector,
    length: Option<Duration>,
    (output, paint): (Output, Paint),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let request =
        v1::WatchMatrixRequest { selector: Some(selector), changes_only: true, ..Default::default() };
    let mut matrix = hub.reachability().watch_matrix(request).await.map_err(refused)?.into_inner();
    let request = v1::WatchIncidentsRequest { changes_only: false };
    let mut incidents = hub.reachability().watch_incidents(request).await.map_err(refused)?.into_inner();
    let end = Instant::now() + length.unwrap_or(FOREVER);
    loop {
        let line = tokio::select! {
            () = tokio::time::sleep_until(end) => return Ok(()),
            update = matrix.message() => {
                let Some(update) = update.map_err(refused)? else { anyhow::bail!("the hub ended the watch") };
                match output {
                    Output::Json => update.cell.as_ref().map(|_| json_line(&update)),
                    _ => update.cell.as_ref().map(|cell| change(cell, update.previous(), paint)),
                }
            }
            update = incidents.message() => {
                let Some(update) = update.map_err(refused)? else { anyhow::bail!("the hub ended the watch") };
                match output {
                    Output::Json => update.incident.as_ref().map(|_| json_line(&update)),
                    _ => update.incident.as_ref().map(|one| incident(one, paint)),
                }
            }
        };
        let Some(line) = line else { continue };
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            // Whoever read has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

fn now() -> String {
    time_of_day(&Timestamp::from(SystemTime::now()))
}

/// `12:04:31 UTC ✗ pods of n1 → n2, UDP IPv4: unreachable, was reachable; lost at …`.
fn change(cell: &v1::MatrixCell, previous: v1::Verdict, paint: Paint) -> String {
    let path = cell.path.clone().unwrap_or_default();
    let target = path.target.as_ref().map(target_name).unwrap_or_default();
    let source = source_name(&path.source_node, path.vantage() == v1::Vantage::Pod);
    let verdict = cell.verdict();
    let was = match previous {
        v1::Verdict::Unspecified => String::new(),
        known => format!(", was {}", word(known)),
    };
    let lost = cell.loss.as_ref().map(|loss| format!("; {}", loss.summary)).unwrap_or_default();
    let shown = paint.verdict(verdict, &format!("{} {}", symbol(verdict), word(verdict)));
    let (kind, family) = (kind_name(path.kind()), family_name(path.family()));
    format!("{} {shown}{was}: {source} → {target}, {kind} {family}{lost}", now())
}

/// `12:04:35 UTC ✗ incident i-3 is open: n2 answers nobody`.
fn incident(incident: &v1::Incident, paint: Paint) -> String {
    let (verdict, state) = match incident.state() {
        v1::IncidentState::Closed => (v1::Verdict::Reachable, "is over"),
        v1::IncidentState::Open | v1::IncidentState::Unspecified => (incident.verdict(), "is open"),
    };
    let into = match incident.merged_into.as_str() {
        "" => String::new(),
        into => format!(", one with {into}"),
    };
    let shown = paint.verdict(verdict, &format!("{} incident {}", symbol(verdict), incident.id));
    format!("{} {shown} {state}{into}: {}", now(), incident.headline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_and_an_incident_are_a_line_each() {
        let path = v1::Path {
            source_node: "n1".to_owned(),
            vantage: v1::Vantage::Pod.into(),
            kind: v1::ProbeKind::Udp.into(),
            family: v1::Family::Ipv4.into(),
            target: Some(v1::Target { name: "n2".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let cell = v1::MatrixCell {
            path: Some(path),
            verdict: v1::Verdict::Unreachable.into(),
            ..Default::default()
        };
        let line = change(&cell, v1::Verdict::Reachable, Paint::plain());
        assert!(line.ends_with(" UTC ✗ unreachable, was reachable: pods of n1 → n2, UDP IPv4"), "{line}");
        let mut one = v1::Incident {
            id: "i-3".to_owned(),
            headline: "n2 answers nobody".to_owned(),
            verdict: v1::Verdict::Unreachable.into(),
            state: v1::IncidentState::Open.into(),
            ..Default::default()
        };
        assert!(incident(&one, Paint::plain()).ends_with("✗ incident i-3 is open: n2 answers nobody"));
        one.state = v1::IncidentState::Closed.into();
        one.merged_into = "i-1".to_owned();
        assert!(
            incident(&one, Paint::plain())
                .ends_with("✓ incident i-3 is over, one with i-1: n2 answers nobody")
        );
    }
}
