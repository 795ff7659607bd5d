//! History under simulated time: the past is what was shown then, and a restart changes neither ids nor times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::SECOND_NS;
use netcheck_common::domain::{Outcome, PathId};
use netcheck_common::window::PathWindow;
use netcheck_hub::state::ingest::Decoded;
use netcheck_hub::state::{Hub, Settings};
use netcheck_hub::view::past::{PastError, When};
use netcheck_proto::v1;
use proptest::prelude::*;

pub(crate) use crate::turned::{Turned, begin_ns, cut_off, well};

use crate::turned::RANGE;

/// `n1 loses probes to n2`, without which share of them and on how many paths.
fn without_share(line: &str) -> String {
    let line = line.rsplit_once(" (").map_or(line, |(line, _)| line);
    match line.split_once(" % of ") {
        Some((who, what)) => {
            format!("{} {what}", who.trim_end_matches(|digit: char| digit.is_ascii_digit()).trim_end())
        }
        None => line.replace("less than 1 % of ", ""),
    }
}

/// What must be the same: counts, totals, and of incidents all but what every evaluation renews.
pub(crate) fn figures(report: &v1::Report) -> (Vec<u64>, v1::PathStats, Vec<v1::Incident>, Vec<String>) {
    let counts = vec![
        report.paths,
        report.reachable,
        report.degraded,
        report.unreachable,
        report.expected_absent,
        report.no_data,
        report.unjudged,
    ];
    let of = |incident: &v1::Incident| v1::Incident {
        last_seen: None,
        evidence: Vec::new(),
        // So are the figures in its lines.
        broken: without_share(&incident.broken),
        place: incident.place.split_once("; ").map_or(&*incident.place, |(what, _)| what).to_owned(),
        contradictions: Vec::new(),
        contradicting: 0,
        ..incident.clone()
    };
    let incidents = report.incidents.iter().map(of).collect();
    let mut lines = report.caveats.clone();
    lines.extend([report.headline.clone(), format!("{:?}", report.coverage)]);
    (counts, report.totals.unwrap(), incidents, lines)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Whatever breaks and heals: the report of an instant is the one that was shown then.
    #[test]
    fn a_report_of_the_past_is_the_one_that_was_shown(faults in prop::collection::vec((0_usize..4, 5_usize..15), 2..5)) {
        let mut hub = Turned::start(None, begin_ns());
        hub.connect();
        hub.seconds(20, &well);
        let mut reports: Vec<(i64, v1::Report)> = Vec::new();
        for (node, seconds) in faults {
            for _ in 0..seconds {
                match node {
                    0 => hub.second(&well),
                    1 => hub.second(&cut_off("n1")),
                    2 => hub.second(&cut_off("n2")),
                    _ => hub.second(&cut_off("n3")),
                }
                if hub.now_ns % (10 * SECOND_NS) == 0 {
                    reports.push((hub.now_ns, hub.live()));
                }
            }
        }
        hub.hub.remember_all(hub.now_ns);
        prop_assert!(!reports.is_empty());
        for (at_ns, live) in reports {
            let past = hub.past(at_ns);
            prop_assert_eq!(figures(&past), figures(&live), "{} s", (at_ns - begin_ns()) / SECOND_NS);
            prop_assert_eq!(past.past.unwrap().no_data, "");
        }
        hub.kill();
    }
}

fn ids(report: &v1::Report) -> Vec<(&str, Option<prost_types::Timestamp>)> {
    report.incidents.iter().map(|incident| (incident.id.as_str(), incident.first_seen)).collect()
}

#[test]
fn a_restart_amid_an_incident_keeps_its_id_and_its_times_and_shows_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let start_ns = begin_ns();
    let mut first = Turned::start(Some(dir.path()), start_ns);
    first.connect();
    first.seconds(20, &well);
    first.seconds(20, &cut_off("n3"));
    let before = first.live();
    assert_eq!(before.incidents.len(), 1, "{before:?}");
    first.written();
    let killed_ns = first.kill();

    let mut second = Turned::start(Some(dir.path()), killed_ns + 30 * SECOND_NS);
    let at_once = second.live();
    assert_eq!(ids(&at_once), ids(&before), "it is there before anything is measured");
    assert_eq!(at_once.no_data, at_once.paths, "and nothing is shown as measured");
    second.seconds(20, &well);
    assert_eq!(ids(&second.live()), ids(&before), "that nobody measures does not close it");
    second.connect();
    second.seconds(15, &cut_off("n3"));
    let after = second.live();
    assert_eq!(ids(&after), ids(&before));
    let cell = |report: &Turned, verdict| {
        let matrix = report.hub.matrix(&Default::default(), &Range::newest(RANGE, report.now_ns));
        matrix
            .cells
            .into_iter()
            .filter(|cell| cell.verdict() == verdict)
            .map(|cell| cell.since.unwrap().seconds)
            .collect::<BTreeSet<i64>>()
    };
    let since = cell(&second, v1::Verdict::Reachable);
    assert!(
        since.iter().all(|&since| since < start_ns / SECOND_NS + 10),
        "{since:?}: since before the restart"
    );
    second.hub.remember_all(second.now_ns);

    let gap = second.past(killed_ns + 10 * SECOND_NS);
    assert_eq!((gap.reachable, gap.unreachable, gap.no_data), (0, 0, gap.paths), "{gap:?}");
    assert!(gap.headline.starts_with("the hub was away from "), "{}", gap.headline);
    assert!(gap.incidents.is_empty());
    let not_yet = second.past(killed_ns + 31 * SECOND_NS);
    assert_eq!((not_yet.reachable, not_yet.unreachable), (0, 0), "there, and nothing measured yet");
    assert_eq!(ids(&second.past(killed_ns - 10 * SECOND_NS)), ids(&before));
    let request = v1::GetPathHistoryRequest {
        source: "n1".to_owned(),
        target: "node/n2".to_owned(),
        from: Some(netcheck_analysis::model::clock::timestamp(start_ns)),
        to: Some(netcheck_analysis::model::clock::timestamp(second.now_ns)),
        step: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..Default::default()
    };
    let selector = netcheck_analysis::plan::selector::Selector::default().between("n1", "node/n2");
    let history = second.hub.path_history(&request, &selector).unwrap();
    assert_eq!(history.gaps.len(), 1);
    for series in &history.series {
        let starts: Vec<i64> =
            series.points.iter().map(|point| point.start.unwrap().seconds - start_ns / SECOND_NS).collect();
        assert!(starts.iter().all(|start| !(40..90).contains(start)), "{starts:?}");
        assert!(starts.contains(&10) && starts.contains(&90), "{starts:?}");
    }
    let events = v1::ListEventsRequest { from: request.from, to: request.to, ..Default::default() };
    let events = second.hub.events(&events).unwrap().events;
    let text = |kind: v1::HistoryEventKind| -> Vec<String> {
        events.iter().filter(|event| event.kind() == kind).map(|event| event.text.clone()).collect()
    };
    assert_eq!(text(v1::HistoryEventKind::Hub).len(), 2, "{events:?}");
    let incidents = text(v1::HistoryEventKind::Incident);
    assert_eq!(incidents.iter().filter(|line| line.starts_with("opened: ")).count(), 1, "{incidents:?}");
    assert!(!incidents.iter().any(|line| line.starts_with("closed")), "{incidents:?}");
    second.kill();
}

#[test]
fn an_incident_that_healed_while_the_hub_was_away_closes_under_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Turned::start(Some(dir.path()), begin_ns());
    first.connect();
    first.seconds(15, &well);
    first.seconds(10, &cut_off("n2"));
    let before = first.live();
    assert_eq!(before.incidents.len(), 1);
    first.written();
    let killed_ns = first.kill();
    let mut second = Turned::start(Some(dir.path()), killed_ns + 40 * SECOND_NS);
    second.connect();
    second.seconds(12, &well);
    let closed: Vec<v1::Incident> = second.hub.incidents(true).incidents;
    let closed: Vec<(&str, v1::IncidentState)> =
        closed.iter().map(|incident| (incident.id.as_str(), incident.state())).collect();
    assert_eq!(closed, [(before.incidents[0].id.as_str(), v1::IncidentState::Closed)]);
    second.written();
    let killed_ns = second.kill();
    let third = Turned::start(Some(dir.path()), killed_ns + SECOND_NS);
    assert!(third.live().incidents.is_empty(), "it does not come back");
    third.kill();
}

#[test]
fn what_is_expected_to_be_absent_stays_so_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = Turned::start(Some(dir.path()), begin_ns());
    let address = first.hub.lock().roster.nodes["n2"].addresses[0];
    first.hub.lock().leaves.say(&[address], 6100, first.now_ns);
    first.hub.remember(first.now_ns);
    first.written();
    let killed_ns = first.kill();
    let second = Turned::start(Some(dir.path()), killed_ns + 10 * SECOND_NS);
    let away = |hub: &Turned, seconds: i64| {
        let kind = netcheck_common::domain::ProbeKind::Udp;
        hub.hub.lock().leaves.is_away(kind, (address, 6100), killed_ns + seconds * SECOND_NS)
    };
    assert!(away(&second, 10), "it said good-bye to the hub before");
    assert!(!away(&second, 61), "and has no more time for that");
    second.kill();
}

#[test]
fn before_history_began_there_is_no_data_and_a_line_that_says_so() {
    let mut hub = Turned::start(None, begin_ns());
    hub.connect();
    hub.seconds(12, &well);
    hub.hub.remember_all(hub.now_ns);
    let before = hub.past(begin_ns() - 3600 * SECOND_NS);
    assert_eq!(before.conclusion(), v1::Conclusion::Unmeasured);
    assert!(before.headline.starts_with("history begins at "), "{}", before.headline);
    assert!(before.caveats.contains(&before.headline));
    assert!(!hub.past(hub.now_ns).reaches.is_empty());
    let caveats = hub.live().caveats;
    assert!(caveats.iter().any(|line| line.contains("--data-dir")), "{caveats:?}");
    hub.kill();
    let nothing = Hub::new(Settings::every(Duration::from_secs(1)));
    let when = When { at_ns: 1, range: RANGE, judged: false };
    assert_eq!(nothing.past_report(&when), Err(PastError::NoHistory));
}

/// Files that are no history, and a disk that has no room: the hub starts, measures, and says so.
#[test]
fn a_directory_of_no_use_does_not_keep_the_hub_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    std::fs::create_dir_all(foreign.join("history")).unwrap();
    std::fs::write(foreign.join("history/photos.zip"), "x").unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    let tmpfs = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"];
    let mounted = std::process::Command::new(tmpfs[0]).args(&tmpfs[1..]).arg(&full).status().unwrap();
    assert!(mounted.success(), "mounting needs root");
    let filled = std::fs::write(full.join("fill"), vec![0; 1 << 20]);
    assert!(filled.is_err(), "it is full");
    for (path, said) in [(&foreign, "set aside"), (&file, "in memory"), (&full, "in memory")] {
        let mut hub = Turned::start(Some(path), begin_ns());
        hub.connect();
        hub.seconds(25, &well);
        let report = hub.live();
        assert_eq!(report.reachable, report.paths, "it measures");
        assert!(report.caveats.iter().any(|line| line.contains(said)), "{path:?}: {:?}", report.caveats);
        hub.hub.remember_all(hub.now_ns);
        assert_eq!(hub.past(begin_ns() + 20 * SECOND_NS).reachable, report.paths, "and remembers");
        hub.kill();
    }
    let unmounted = std::process::Command::new("umount").arg(&full).status().unwrap();
    assert!(unmounted.success());
    assert!(
        foreign
            .read_dir()
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("history.aside-") })
    );
}

/// What an agent kept while it was cut off from the hub comes late, and counts once.
#[test]
fn windows_that_come_late_are_kept() {
    let mut hub = Turned::start(None, begin_ns());
    hub.connect();
    hub.seconds(30, &well);
    let (now_ns, sequence) = (hub.now_ns, hub.sequence);
    let late = {
        let state = hub.hub.lock();
        let agent = state.agent(NodeIx(0));
        let row = agent.rows.iter().next().unwrap();
        let mut window = PathWindow::empty(PathId(row.id().0));
        window.count(Outcome::Timeout);
        (Arc::clone(&row.path.probe.target.id), Arc::clone(&agent.name), window)
    };
    let (target, source, window) = late;
    let batch = Decoded {
        sequence: sequence + 1,
        windows: vec![(begin_ns() + 3 * SECOND_NS, SECOND_NS, vec![window])],
        ..Decoded::default()
    };
    hub.hub.lock().apply(NodeIx(0), 1, batch, now_ns).unwrap();
    hub.hub.remember_all(now_ns);
    let when = When { at_ns: begin_ns() + 10 * SECOND_NS, range: RANGE, judged: true };
    let selector = netcheck_analysis::plan::selector::Selector::default().between(&source, &target);
    let path = hub.hub.past_path(&selector, &when).unwrap();
    let sent: u64 = path.paths.iter().map(|path| path.cell.as_ref().unwrap().stats.unwrap().timeout).sum();
    assert_eq!(sent, 1);
    hub.kill();
}
