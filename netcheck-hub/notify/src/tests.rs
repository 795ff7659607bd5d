//! What receivers are sent, and what not: by rules that hold whatever happens to incidents, hub and receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{collection, prop_assert, prop_assert_eq, proptest};
use serde_json::Value;

use crate::sent_log::SETTLE;
use crate::{
    Change, Event, FileStore, Label, LabelError, Message, Notice, Sent, SentLog, SentStore as _, Style,
    alertmanager, webhook,
};

const S: i64 = 1_000_000_000;
const EVERY: Duration = Duration::from_secs(60);
const REPEATED: Style = Style::Repeated { every: EVERY };

fn notice(id: &str) -> Notice {
    Notice {
        id: id.to_owned(),
        kind: "node".to_owned(),
        verdict: "unreachable".to_owned(),
        headline: "n2 answers nobody".to_owned(),
        cause: format!("node/{id}"),
        first_seen_ns: 1_700_000_000 * S,
        opened_ns: 1_700_000_003 * S,
        ..Notice::default()
    }
}

fn closed(id: &str, at_ns: i64) -> Notice {
    Notice { closed_ns: Some(at_ns), ..notice(id) }
}

fn events(messages: &[Message]) -> Vec<(Event, &str)> {
    messages.iter().map(|message| (message.event, &*message.sent.alert)).collect()
}

/// Looks, sends all that is due, keeps what is to be kept.
fn turn(
    log: &mut SentLog,
    kept: &mut BTreeMap<String, Sent>,
    notices: &[Notice],
    now_ns: i64,
) -> Vec<Message> {
    let mut changes = log.look(notices, now_ns);
    let due = log.due(notices, now_ns);
    changes.extend(log.done(&due, now_ns));
    for Change { key, sent } in changes {
        match sent {
            Some(sent) => drop(kept.insert(key, sent)),
            None => drop(kept.remove(&key)),
        }
    }
    due
}

fn again(style: Style, kept: &BTreeMap<String, Sent>, now_ns: i64) -> SentLog {
    SentLog::new(style, kept.clone().into_iter().collect(), now_ns)
}

#[test]
fn one_incident_from_its_opening_to_its_end() {
    for style in [REPEATED, Style::Once] {
        let (mut log, mut kept) = (SentLog::new(style, Vec::new(), 0), BTreeMap::new());
        let mut turn_at = |notices: &[Notice], at| turn(&mut log, &mut kept, notices, at * S);
        assert_eq!(events(&turn_at(&[notice("a")], 1)), [(Event::Opened, "a")]);
        assert_eq!(turn_at(&[notice("a")], 2), []);
        // More paths are no news, another cause is.
        let more = Notice { paths: 9, headline: "other words".to_owned(), ..notice("a") };
        assert_eq!(turn_at(std::slice::from_ref(&more), 3), []);
        let other = Notice { kind: "place".to_owned(), cause: "place/n2".to_owned(), ..more };
        let changed = turn_at(std::slice::from_ref(&other), 4);
        assert_eq!(events(&changed), [(Event::Changed, "a")]);
        // Labels are an alert's identity: they are those of the opening.
        let body: Value = serde_json::from_str(&alertmanager::body(&changed, &[], 4 * S, EVERY)).unwrap();
        assert_eq!(body[0]["labels"]["kind"], "node");
        assert_eq!(body[0]["annotations"]["kind"], "place");
        let repeated = turn_at(std::slice::from_ref(&other), 64);
        let expected: &[(Event, &str)] = if style == REPEATED { &[(Event::Repeated, "a")] } else { &[] };
        assert_eq!(events(&repeated), expected);
        let over = Notice { closed_ns: Some(70 * S), ..other };
        assert_eq!(events(&turn_at(std::slice::from_ref(&over), 71)), [(Event::Closed, "a")]);
        assert_eq!(turn_at(std::slice::from_ref(&over), 72), []);
        assert_eq!(turn_at(&[], 200), []);
        assert!(kept.is_empty());
    }
}

#[test]
fn what_came_and_went_unheard_is_sent_once_to_who_wants_everything() {
    let (mut once, mut kept) = (SentLog::new(Style::Once, Vec::new(), 10 * S), BTreeMap::new());
    let both = [closed("old", 9 * S), closed("new", 11 * S)];
    assert_eq!(events(&turn(&mut once, &mut kept, &both, 12 * S)), [(Event::Closed, "new")]);
    assert_eq!(turn(&mut once, &mut kept, &both, 13 * S), []);
    let mut repeated = SentLog::new(REPEATED, Vec::new(), 10 * S);
    assert_eq!(turn(&mut repeated, &mut kept, &both, 12 * S), []);
}

#[test]
fn a_hub_that_forgot_resolves_what_it_does_not_find_again() {
    let mut kept = BTreeMap::new();
    let both = [notice("a"), notice("b")];
    turn(&mut SentLog::new(REPEATED, Vec::new(), 0), &mut kept, &both, S);
    let began = 100 * S;
    let mut log = again(REPEATED, &kept, began);
    // Nothing is known yet, and both are held.
    let held = turn(&mut log, &mut kept, &[], began + S);
    assert_eq!(events(&held), [(Event::Repeated, "a"), (Event::Repeated, "b")]);
    // One is found again under another id, and goes on under the name that the receiver knows.
    let found = Notice { id: "c".to_owned(), ..notice("a") };
    let sent = turn(&mut log, &mut kept, std::slice::from_ref(&found), began + 70 * S);
    assert_eq!(events(&sent), [(Event::Repeated, "a"), (Event::Repeated, "b")]);
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["b", "c"]);
    let settled = began + i64::try_from(SETTLE.as_nanos()).unwrap();
    let sent = turn(&mut log, &mut kept, std::slice::from_ref(&found), settled);
    assert_eq!(events(&sent), [(Event::Closed, "b")]);
    let over = Notice { closed_ns: Some(settled + S), ..found };
    let sent = turn(&mut log, &mut kept, &[over], settled + 2 * S);
    assert_eq!(events(&sent), [(Event::Closed, "a")]);
    assert!(kept.is_empty());
}

#[test]
fn an_alert_ends_after_it_began_and_not_in_the_future() {
    let opened = Notice { first_seen_ns: 50 * S, ..notice("a") };
    let mut log = SentLog::new(REPEATED, Vec::new(), 0);
    let mut kept = BTreeMap::new();
    let alert = |messages: &[Message], at| {
        let body: Value =
            serde_json::from_str(&alertmanager::body(messages, &[], at * S, EVERY * 5)).unwrap();
        (body[0]["startsAt"].as_str().unwrap().to_owned(), body[0]["endsAt"].as_str().unwrap().to_owned())
    };
    let open = turn(&mut log, &mut kept, std::slice::from_ref(&opened), 55 * S);
    assert_eq!(
        alert(&open, 55),
        ("1970-01-01T00:00:50.000Z".to_owned(), "1970-01-01T00:05:55.000Z".to_owned())
    );
    let over = turn(&mut log, &mut kept, &[Notice { closed_ns: Some(60 * S), ..opened }], 61 * S);
    assert_eq!(alert(&over, 61).1, "1970-01-01T00:01:00.000Z");
    // The hub's clock was set back.
    assert_eq!(
        alert(&over, 40),
        ("1970-01-01T00:00:40.000Z".to_owned(), "1970-01-01T00:00:40.000Z".to_owned())
    );
}

#[test]
fn labels_of_the_operator() {
    for (text, wrong) in [
        ("cluster", LabelError::Shape),
        ("cluster=", LabelError::Shape),
        ("1a=b", LabelError::Name),
        ("__a=b", LabelError::Name),
        ("a-b=c", LabelError::Name),
        ("incident=7", LabelError::Own),
    ] {
        assert_eq!(text.parse::<Label>(), Err(wrong), "{text}");
    }
    let own: Vec<Label> = ["cluster=eu=1", "severity=page"].map(|text| text.parse().unwrap()).into();
    let (mut log, mut kept) = (SentLog::new(Style::Once, Vec::new(), 0), BTreeMap::new());
    let opened = turn(&mut log, &mut kept, &[notice("a")], S);
    let document: Value = serde_json::from_str(&webhook::body(&opened[0], &own)).unwrap();
    assert_eq!(document["labels"]["cluster"], "eu=1");
    assert_eq!(document["labels"]["severity"], "page");
    assert_eq!(document["id"], "a/1");
    assert_eq!(document["schema"], webhook::SCHEMA);
}

#[test]
fn files_that_are_of_no_use_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = |name| FileStore::new(&dir.path().join("notify"), name);
    assert_eq!(store("http://a/").load(), (Vec::new(), Vec::new()));
    let (mut log, now) = (SentLog::new(Style::Once, Vec::new(), 0), S);
    let due = log.due(&[notice("a")], now);
    let changes = log.done(&due, now);
    store("http://a/").save(&changes).unwrap();
    assert_eq!(store("http://a/").load().0, [("a".to_owned(), due[0].sent.clone())]);
    assert_eq!(store("http://a?").load().0, [], "another receiver's");
    let file = std::fs::read_dir(dir.path().join("notify")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read_to_string(&file).unwrap();
    let newer = whole.replace("netcheck-notify 1", "netcheck-notify 2");
    for contents in [&whole[..whole.len() / 2], "", "\u{0}\u{0}", &newer] {
        std::fs::write(&file, contents).unwrap();
        let (kept, notes) = store("http://a/").load();
        assert!(kept.is_empty() && notes.len() == 1 && notes[0].contains("set aside"), "{notes:?}");
        assert!(!file.exists());
        store("http://a/").save(&changes).unwrap();
    }
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(u8),
    Change(u8),
    Close(u8),
    Wait(u16),
    /// The receiver takes it, or it is away.
    Send(bool),
    /// With what it knew, or without.
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..4).prop_map(Step::Open),
        (0u8..4).prop_map(Step::Change),
        (0u8..4).prop_map(Step::Close),
        (1u16..200).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Send),
        any::<bool>().prop_map(Step::Restart),
    ]
}

/// What a receiver of one alert's messages must be able to rely on.
#[derive(Default)]
struct Heard {
    open: bool,
    sequence: u64,
}

proptest! {
    /// Whatever happens: an alert opens once and closes once, changes are sent between the two, and when the receiver is
    /// there for long enough, what it believes is what is.
    #[test]
    fn every_alert_has_one_beginning_and_one_end(steps in collection::vec(step(), 0..60), once in any::<bool>()) {
        let style = if once { Style::Once } else { REPEATED };
        let mut now_ns = S;
        let mut incidents: BTreeMap<String, Notice> = BTreeMap::new();
        let (mut log, mut kept) = (SentLog::new(style, Vec::new(), now_ns), BTreeMap::new());
        let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
        let mut count = 0;
        let end = [Step::Wait(200), Step::Send(true), Step::Wait(200), Step::Send(true)];
        for step in steps.into_iter().chain(end) {
            now_ns += S;
            let open_of = |incidents: &BTreeMap<String, Notice>, which: u8| {
                let cause = format!("node/{which}");
                incidents.values().find(|one| one.is_open() && one.cause == cause).map(|one| one.id.clone())
            };
            match step {
                Step::Open(which) => if open_of(&incidents, which).is_none() {
                    count += 1;
                    let (id, cause) = (format!("{which}-{count}"), format!("node/{which}"));
                    incidents.insert(id.clone(), Notice { cause, first_seen_ns: now_ns, ..notice(&id) });
                },
                Step::Change(which) => if let Some(id) = open_of(&incidents, which) {
                    incidents.get_mut(&id).unwrap().kind = format!("kind {now_ns}");
                },
                Step::Close(which) => if let Some(id) = open_of(&incidents, which) {
                    incidents.get_mut(&id).unwrap().closed_ns = Some(now_ns);
                },
                Step::Wait(seconds) => now_ns += i64::from(seconds) * S,
                Step::Restart(knows) => {
                    // Without memory, what is open is found again under another id.
                    if !knows {
                        let old = std::mem::take(&mut incidents);
                        for (_, one) in old.into_iter().filter(|(_, one)| one.is_open()) {
                            count += 1;
                            let id = format!("again-{count}");
                            incidents.insert(id.clone(), Notice { id, ..one });
                        }
                    }
                    log = again(style, &kept, now_ns);
                }
                Step::Send(there) => {
                    let notices: Vec<Notice> = incidents.values().cloned().collect();
                    if !there {
                        let changes = log.look(&notices, now_ns);
                        for Change { key, sent } in changes {
                            match sent {
                                Some(sent) => drop(kept.insert(key, sent)),
                                None => drop(kept.remove(&key)),
                            }
                        }
                        continue;
                    }
                    for message in turn(&mut log, &mut kept, &notices, now_ns) {
                        let one = heard.entry(message.sent.alert.clone()).or_default();
                        match message.event {
                            Event::Opened => prop_assert!(!one.open && one.sequence == 0),
                            Event::Changed => prop_assert!(one.open && message.sent.sequence == one.sequence + 1),
                            Event::Repeated => prop_assert!(one.open && message.sent.sequence == one.sequence),
                            Event::Closed => prop_assert!(one.open || one.sequence == 0),
                        }
                        one.open = message.event != Event::Closed;
                        one.sequence = message.sent.sequence;
                    }
                }
            }
        }
        let believed = heard.values().filter(|one| one.open).count();
        prop_assert_eq!(believed, incidents.values().filter(|one| one.is_open()).count());
        prop_assert_eq!(kept.len(), believed);
    }
}
