use jiff::ToSpan as _;
use proptest::prelude::*;

use super::*;
use crate::spec::Span;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn every(seconds: u64, after: u64) -> Rounds {
    let span = |seconds| Some(Span(std::time::Duration::from_secs(seconds)));
    let schedule = Schedule {
        every: span(seconds),
        start_after: span(after).filter(|_| after > 0),
        ..Schedule::default()
    };
    read(schedule, None).unwrap()
}

fn read(schedule: Schedule, rounds: Option<i64>) -> Result<Rounds, ScheduleError> {
    Rounds::read(&ReachabilityCheckSpec {
        schedule: Some(schedule),
        rounds,
        ..ReachabilityCheckSpec::default()
    })
}

fn cron(text: &str, zone: Option<&str>) -> Result<Rounds, ScheduleError> {
    let schedule = Schedule {
        cron: Some(text.to_owned()),
        time_zone: zone.map(ToOwned::to_owned),
        ..Schedule::default()
    };
    read(schedule, None)
}

#[test]
fn without_a_schedule_there_is_one_round_at_once() {
    let rounds = Rounds::read(&ReachabilityCheckSpec::default()).unwrap();
    let created = at("2026-03-01T10:00:00Z");
    assert_eq!(rounds.wanted(), 1);
    // However late the hub comes.
    let now = created + 50.hours();
    assert_eq!(rounds.due(created, (0, None), now), Due::Begin { at: created, missed: 0 });
    assert_eq!(rounds.due(created, (1, Some(created)), now), Due::Never);
}

#[test]
fn at_an_instant_once() {
    let schedule = Schedule { at: Some("2026-03-02T03:00:00Z".to_owned()), ..Schedule::default() };
    let rounds = read(schedule, None).unwrap();
    let (created, due) = (at("2026-03-01T10:00:00Z"), at("2026-03-02T03:00:00Z"));
    assert_eq!(rounds.due(created, (0, None), created), Due::Wait { until: due, missed: 0 });
    assert_eq!(rounds.due(created, (0, None), due), Due::Begin { at: due, missed: 0 });
    assert_eq!(rounds.due(created, (1, Some(due)), due), Due::Never);
}

#[test]
fn cron_goes_by_its_time_zone_through_changes_of_the_clock() {
    // Clocks go forward at 2 o'clock on 29 March 2026 in Vienna, and back at 3 o'clock on 25 October.
    let rounds = cron("30 3 * * *", Some("Europe/Vienna")).unwrap();
    let next = |after: &str| rounds.after(at("2026-01-01T00:00:00Z"), Some(at(after))).unwrap();
    assert_eq!(next("2026-03-28T12:00:00Z"), at("2026-03-29T01:30:00Z"));
    assert_eq!(next("2026-03-29T01:30:00Z"), at("2026-03-30T01:30:00Z"));
    assert_eq!(next("2026-10-24T12:00:00Z"), at("2026-10-25T02:30:00Z"));
    // A time that does not exist that night comes later that night; a whole day is never left out.
    let lost = cron("30 2 * * *", Some("Europe/Vienna")).unwrap();
    let next = lost.after(at("2026-01-01T00:00:00Z"), Some(at("2026-03-28T12:00:00Z"))).unwrap();
    assert!(next <= at("2026-03-30T00:30:00Z"), "{next}");
}

#[test]
fn what_makes_no_sense_is_refused_with_the_field() {
    let errors = [
        (cron("61 * * * *", None), "spec.schedule.cron"),
        (cron("* * *", None), "spec.schedule.cron"),
        (cron("* * * * * *", None), "spec.schedule.cron"),
        (cron("0 3 * * *", Some("Europe/Nowhere")), "spec.schedule.timeZone"),
        (read(Schedule::default(), None), "exactly one"),
        (read(Schedule { at: Some("tomorrow".to_owned()), ..Schedule::default() }, None), "spec.schedule.at"),
        (
            read(Schedule { at: Some("2026-03-02T03:00:00Z".to_owned()), ..Schedule::default() }, Some(3)),
            "spec.rounds",
        ),
    ];
    for (error, field) in errors {
        let text = error.unwrap_err().to_string();
        assert!(text.contains(field), "{text}");
    }
    let often = Schedule { every: Some(Span(std::time::Duration::from_secs(1))), ..Schedule::default() };
    assert!(read(often, None).unwrap_err().to_string().contains("spec.schedule.every"));
}

#[test]
fn a_hub_that_was_away_does_not_make_up_for_it() {
    let rounds = every(3600, 0);
    let created = at("2026-03-01T00:00:00Z");
    let last = Some(created);
    // Nine hours were missed; the tenth is due 2 minutes ago.
    let now = created + 10.hours() + 2.minutes();
    assert_eq!(rounds.due(created, (1, last), now), Due::Begin { at: created + 10.hours(), missed: 9 });
    // Too late for the tenth as well.
    let now = created + 10.hours() + 20.minutes();
    assert_eq!(rounds.due(created, (1, last), now), Due::Wait { until: created + 11.hours(), missed: 10 });
}

#[test]
fn an_absence_of_months_keeps_nothing_from_beginning() {
    let created = at("2026-03-01T00:00:00Z");
    for rounds in [every(10, 0), cron("* * * * *", None).unwrap()] {
        let now = created + 5000.hours();
        let Due::Begin { at, missed } = rounds.due(created, (7, Some(created)), now) else {
            panic!("the newest is due now")
        };
        assert_eq!((at, missed), (now, SKIPPED_MAX));
    }
}

proptest! {
    /// Whenever the hub looks, rounds begin in order, on the grid, each once, never too early and never much too late.
    #[test]
    fn every_round_once_in_order_and_never_early(
        length in 10u64..5000, after in 0u64..5000, looks in prop::collection::vec(1u64..20_000, 1..60)
    ) {
        let rounds = every(length, after);
        let created = at("2026-03-01T00:00:00Z");
        let (mut now, mut last, mut begun) = (created, None, 0i64);
        let mut left_out = 0;
        for pause in looks {
            now += SignedDuration::from_secs(i64::try_from(pause).unwrap());
            if let Due::Begin { at: due, missed } = rounds.due(created, (begun, last), now) {
                prop_assert!(due <= now);
                prop_assert!(now.duration_since(due) <= LATEST);
                prop_assert!(last.is_none_or(|last| due > last));
                let offset = due.duration_since(created).as_secs() - i64::try_from(after).unwrap();
                prop_assert_eq!(offset % i64::try_from(length).unwrap(), 0);
                (last, begun, left_out) = (Some(due), begun + 1, left_out + missed);
            }
        }
        // Begun and left out together are all that were due until the newest.
        if let Some(last) = last.filter(|_| left_out < SKIPPED_MAX) {
            let offset = last.duration_since(created).as_secs() - i64::try_from(after).unwrap();
            let due = offset / i64::try_from(length).unwrap() + 1;
            prop_assert_eq!(due, begun + i64::try_from(left_out).unwrap());
        }
    }

    #[test]
    fn no_text_makes_a_schedule_panic(text in ".{0,40}", zone in ".{0,20}") {
        if let Ok(rounds) = cron(&text, Some(&zone)) {
            let created = at("2026-03-01T00:00:00Z");
            let next = rounds.after(created, None);
            prop_assert!(next.is_none_or(|next| next > created));
        }
    }
}
