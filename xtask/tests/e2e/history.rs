//! History over a restart of a real hub: killed amid an incident, and what it says of the past afterwards.

use std::time::{Duration, Instant};

use netcheck_netlab::Mode;
use serde_json::Value;
use xtask::cluster::{Cluster, Settings};

use crate::{healthy, inject};

/// Anything that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Id and first loss of the open incidents.
fn open(cluster: &Cluster) -> Vec<(String, String)> {
    let answer = cluster.ask(&["incidents"]).unwrap();
    let incidents = answer["incidents"].as_array().cloned().unwrap_or_default();
    let open = incidents.iter().filter(|incident| incident["state"] == "INCIDENT_STATE_OPEN");
    open.map(|one| (one["id"].as_str().unwrap().to_owned(), one["firstSeen"].as_str().unwrap().to_owned()))
        .collect()
}

/// Asks until the answer is as wanted.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_hub_killed_amid_an_incident_goes_on_with_it_and_shows_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!("--data-dir={}", dir.path().display());
    let settings = Settings { hub_args: vec![data.clone()], ..Settings::default() };
    let mut cluster = healthy("e2e-history", Mode::Vxlan, settings);
    let fault = inject(&cluster, "drop node=n2 hook=forward");
    let before = until("an incident opens", || Some(open(&cluster)).filter(|open| open.len() == 1));
    // It is on the disk when this is asked again after a restart.
    let asked = until("it is kept", || {
        // What happened in the newest second may not be recorded yet.
        let asked = cluster.ask(&["report", "--at", "-3s"]).ok()?;
        let kept = asked["report"]["incidents"].as_array().is_some_and(|incidents| incidents.len() == 1);
        kept.then_some(asked)
    });
    let instant = asked["report"]["past"]["at"].as_str().unwrap().to_owned();
    cluster.kill_hub().unwrap();
    cluster.start_hub().unwrap();
    assert_eq!(open(&cluster), before, "at once, before anything is measured again");
    cluster
        .wait("it measures again", PATIENCE, |report| report.no_data == 0 && report.reachable > 0)
        .unwrap();
    assert_eq!(open(&cluster), before, "found again under its id");
    let again = cluster.ask(&["report", "--at", &instant]).unwrap();
    let id_of = |answer: &Value| answer["report"]["incidents"][0]["id"].clone();
    assert_eq!(id_of(&again), id_of(&asked));
    assert_eq!(again["report"]["unreachable"], asked["report"]["unreachable"], "the same verdicts stood");

    let history = cluster.ask(&["history", "n1", "n3", "--since", "10m", "--step", "10s"]).unwrap();
    assert_eq!(history["gaps"].as_array().unwrap().len(), 1, "{history}");
    let in_gap = history["gaps"][0]["to"].as_str().unwrap();
    let events = cluster.shown(&["events", "--since", "10m"]).unwrap();
    assert_eq!(events.matches("opened: ").count(), 1, "{events}");
    assert!(events.contains("the hub began; it was away since "), "{events}");
    // An instant before the hub was back.
    let before_it: std::time::SystemTime = time(in_gap) - Duration::from_millis(20);
    let at = humantime::format_rfc3339_nanos(before_it).to_string();
    let gap = cluster.shown(&["report", "--at", &at]).unwrap();
    assert!(gap.contains("the hub was away from "), "{gap}");
    assert!(!gap.contains("✓"), "{gap}");

    cluster.lab.heal(&fault).unwrap();
    until("it closes", || open(&cluster).is_empty().then_some(()));
    let closed = cluster.incidents().unwrap();
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!(closed[0].id, before[0].0);
    cluster.stop().unwrap().down().unwrap();
}

fn time(text: &str) -> std::time::SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}
