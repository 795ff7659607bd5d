//! What changed between two instants, in order: the answer to "what happened at three?".

use std::collections::BTreeMap;

use netcheck_analysis::model::clock::{SECOND_NS, timestamp, unix_now_ns};
use netcheck_analysis::model::verdict::Verdict;
use netcheck_analysis::words::names::listed;
use netcheck_history::path::PathNumber;
use netcheck_history::record::{Event, INACTIVE, IncidentRevision, UNJUDGED, plain};
use netcheck_proto::v1;
use prost::Message as _;

use super::cells::Naming;
use super::{PastError, date, span};
use crate::state::Hub;
use crate::state::history::{Archive, STARTED, verdict_of};

/// Events in one answer where nobody says.
const LIMIT: usize = 1000;
/// At most.
const MOST: usize = 20_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;
/// Verdicts that change within this are shown as one.
const TOGETHER_NS: i64 = 2 * SECOND_NS;
/// Paths that are named; of more, how many there are.
const NAMED: usize = 3;

/// With its time, unix nanoseconds.
type Timed = (i64, v1::HistoryEvent);

fn of_hub(event: &Event) -> v1::HistoryEvent {
    let away = <[u8; 8]>::try_from(&*event.body).map(i64::from_be_bytes);
    let text = match away {
        Ok(from_ns) => format!("the hub began; it was away since {}", date(from_ns)),
        Err(_) => "the hub began; history begins here".to_owned(),
    };
    v1::HistoryEvent { kind: v1::HistoryEventKind::Hub.into(), text, ..Default::default() }
}

fn of_event(event: &Event) -> Option<v1::HistoryEvent> {
    let read = match event.kind.as_str() {
        STARTED => of_hub(event),
        _ => v1::HistoryEvent::decode(&*event.body).ok()?,
    };
    Some(v1::HistoryEvent { at: Some(timestamp(event.at_ns)), subject: event.subject.clone(), ..read })
}

/// What became of an incident from one revision to the next; none where only its facts changed.
fn of_incident(before: Option<&v1::Incident>, now: &v1::Incident) -> Option<String> {
    let headline = &now.headline;
    if now.state() == v1::IncidentState::Closed {
        return Some(match now.merged_into.as_str() {
            "" => format!("closed: {headline}"),
            into => format!("closed, one with {into}: {headline}"),
        });
    }
    let Some(before) = before else { return Some(format!("opened: {headline}")) };
    let blamed = |incident: &v1::Incident| (incident.cause.clone(), incident.verdict, incident.certainty);
    let changed = blamed(before) != blamed(now) || before.culprits.len() != now.culprits.len();
    changed.then(|| format!("is now: {headline}"))
}

fn incidents(revisions: &[IncidentRevision], from_ns: i64) -> Vec<Timed> {
    let mut last: BTreeMap<&str, v1::Incident> = BTreeMap::new();
    let mut events = Vec::new();
    for revision in revisions {
        let Ok(now) = v1::Incident::decode(&*revision.body) else { continue };
        let text = of_incident(last.get(&*revision.id), &now).filter(|_| revision.at_ns >= from_ns);
        events.extend(text.map(|text| {
            let event = v1::HistoryEvent {
                at: Some(timestamp(revision.at_ns)),
                kind: v1::HistoryEventKind::Incident.into(),
                subject: revision.id.clone(),
                text,
                paths: now.path_count.max(now.paths.len() as u64),
                verdict: now.verdict,
            };
            (revision.at_ns, event)
        }));
        last.insert(&revision.id, now);
    }
    events
}

/// Verdicts that became the same at about the same time.
struct Became {
    at_ns: i64,
    verdict: Verdict,
    paths: Vec<PathNumber>,
}

/// Changes of verdicts between two instants.
fn became(archive: &Archive, (from_ns, to_ns): (i64, i64)) -> Result<Vec<Became>, PastError> {
    let mut recorded = archive.reader.verdicts_at(from_ns - 1)?;
    let mut all: Vec<Became> = Vec::new();
    for verdicts in archive.reader.verdict_changes(from_ns, to_ns)? {
        for (path, code) in verdicts.changes {
            let before = match code {
                Some(code) => recorded.insert(path, (code, verdicts.at_ns)).map(|(code, _)| plain(code)),
                None => {
                    recorded.remove(&path);
                    continue;
                }
            };
            let Some(code) = code.filter(|code| code & (UNJUDGED | INACTIVE) == 0) else { continue };
            if before == Some(code) {
                continue;
            }
            let verdict = verdict_of(code);
            let near = all.iter_mut().rev().take_while(|became| verdicts.at_ns - became.at_ns <= TOGETHER_NS);
            match near.into_iter().find(|became| became.verdict == verdict) {
                Some(became) => became.paths.push(path),
                None => all.push(Became { at_ns: verdicts.at_ns, verdict, paths: vec![path] }),
            }
        }
    }
    Ok(all)
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reachable => "reachable",
        Verdict::Degraded => "degraded",
        Verdict::Unreachable => "unreachable",
        Verdict::ExpectedAbsent => "expected to be absent",
        Verdict::NoData => "without data",
    }
}

impl Hub {
    fn of_verdicts(&self, archive: &Archive, became: Vec<Became>) -> Result<Vec<Timed>, PastError> {
        let naming = Naming::of(self);
        let names = naming.names();
        let mut events = Vec::new();
        for Became { at_ns, verdict, paths } in became {
            let mut named = Vec::new();
            for &number in paths.iter().take(NAMED) {
                let Some(identity) = archive.reader.path(number)? else { continue };
                let path = names.path(number, &identity);
                let target = path.probe.target.to_wire();
                let target = netcheck_proto::words::target_name(&target);
                named.push(format!("{} → {target} ({})", identity.source, identity.kind.as_str()));
            }
            let count = paths.len();
            let (s, is) = if count == 1 { ("", "is") } else { ("s", "are") };
            let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
            let event = v1::HistoryEvent {
                at: Some(timestamp(at_ns)),
                kind: v1::HistoryEventKind::Verdict.into(),
                text: format!("{count} path{s} {is} {}: {}{more}", word(verdict), named.join(", ")),
                paths: count as u64,
                verdict: verdict.to_wire().into(),
                ..Default::default()
            };
            events.push((at_ns, event));
        }
        Ok(events)
    }

    /// What a request asks for.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn events(&self, request: &v1::ListEventsRequest) -> Result<v1::ListEventsResponse, PastError> {
        let archive = self.archive()?;
        let now_ns = unix_now_ns();
        let (from_ns, to_ns) = span(request.from.as_ref(), request.to.as_ref(), now_ns)?;
        let to_ns = to_ns.unwrap_or(now_ns);
        let from_ns = from_ns.unwrap_or(to_ns - HOUR_NS);
        let wanted: Vec<v1::HistoryEventKind> = request.kinds().collect();
        let wants = |kind: v1::HistoryEventKind| wanted.is_empty() || wanted.contains(&kind);
        let end_ns = to_ns.saturating_add(1);
        let mut events: Vec<Timed> = Vec::new();
        let recorded = archive.reader.events(from_ns, end_ns)?;
        events.extend(recorded.iter().filter_map(|event| Some((event.at_ns, of_event(event)?))));
        events.retain(|(_, event)| wants(event.kind()));
        if wants(v1::HistoryEventKind::Incident) {
            events.extend(incidents(&archive.reader.incidents(from_ns, end_ns)?, from_ns));
        }
        if wants(v1::HistoryEventKind::Verdict) {
            let became = became(archive, (from_ns, end_ns))?;
            events.extend(self.of_verdicts(archive, became)?);
        }
        if wants(v1::HistoryEventKind::Check) {
            events.extend(checks(archive, (from_ns, end_ns))?);
        }
        events.sort_by_key(|(at_ns, _)| *at_ns);
        let limit = match request.limit as usize {
            0 => LIMIT,
            limit => limit.min(MOST),
        };
        let left_out = events.len().saturating_sub(limit);
        let silence = archive.silence(from_ns);
        Ok(v1::ListEventsResponse {
            generated_at: Some(timestamp(now_ns)),
            from: Some(timestamp(from_ns)),
            to: Some(timestamp(to_ns)),
            events: events.into_iter().skip(left_out).map(|(_, event)| event).collect(),
            left_out: left_out as u64,
            notes: Some(silence).filter(|line| !line.is_empty()).into_iter().collect(),
        })
    }
}

fn checks(archive: &Archive, (from_ns, to_ns): (i64, i64)) -> Result<Vec<Timed>, PastError> {
    let event = |result: &netcheck_history::record::CheckResult| {
        let check = v1::CheckResult::decode(&*result.body).ok()?;
        let report = check.report.unwrap_or_default();
        let bad = report.findings.iter().map(|finding| finding.headline.clone());
        let bad = if report.findings.is_empty() { String::new() } else { format!("; {}", listed(bad)) };
        let word = if check.passed { "passed" } else { "failed" };
        let event = v1::HistoryEvent {
            at: Some(timestamp(result.at_ns)),
            kind: v1::HistoryEventKind::Check.into(),
            subject: result.check.clone(),
            text: format!("a check {word}: {}{bad}", report.headline),
            paths: report.paths,
            verdict: report.verdict,
        };
        Some((result.at_ns, event))
    };
    Ok(archive.reader.checks(from_ns, to_ns)?.iter().filter_map(event).collect())
}
