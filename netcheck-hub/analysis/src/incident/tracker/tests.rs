//! What an incident outlives: evidence that comes late, another incident that turns out to be the same, a roster that
//! changed, the hub's restart. And what it does not: another fault.

use std::sync::Arc;

use netcheck_common::domain::PathId;

use super::*;
use crate::incident::tests::world::{World, dropped, timeout, touches};
use crate::model::location::Direction;

const SIX: [&str; 6] = ["a", "a", "a", "b", "b", "b"];

fn around_n2() -> World {
    World::plain(&SIX).breaks(|fact| touches(fact, "n2"), |_| timeout())
}

/// One evaluation a second.
#[derive(Default)]
struct Run {
    tracker: IncidentTracker,
    now_ns: i64,
}

impl Run {
    fn see(&mut self, causes: &[Explained], facts: &[Fact]) -> Vec<Incident> {
        self.now_ns += SECOND_NS;
        self.tracker.update(causes, facts, self.now_ns);
        self.tracker.open()
    }

    fn see_for(&mut self, evaluations: u32, world: &World) -> Vec<Incident> {
        let causes = world.explain();
        for _ in 0..evaluations {
            self.see(&causes, &world.facts);
        }
        self.tracker.open()
    }
}

fn ids(open: &[Incident]) -> Vec<&str> {
    open.iter().map(|incident| incident.id.as_str()).collect()
}

#[test]
fn evidence_that_comes_late_mends_the_incident_in_place() {
    let world = around_n2();
    let mut run = Run::default();
    let opened = run.see_for(7, &world);
    assert_eq!((opened.len(), opened[0].certainty), (1, Certainty::Inferred));
    // Most of its paths have their place now; the others are still what they were.
    let inferred = world.explain().remove(0);
    let (most, rest) = inferred.paths.split_at(inferred.paths.len() * 3 / 4);
    let observed = Explained {
        key: "place/n2/netfilter_input/NETFILTER_DROP".to_owned(),
        kind: IncidentKind::Place,
        certainty: Certainty::Observed,
        paths: most.to_vec(),
        ..inferred.clone()
    };
    let rest = Explained { paths: rest.to_vec(), ..inferred.clone() };
    for _ in 0..20 {
        let open = run.see(&[observed.clone(), rest.clone()], &world.facts);
        assert_eq!(ids(&open), ids(&opened), "no second incident");
        assert_eq!((&open[0].cause, open[0].kind), (&observed.key, IncidentKind::Place));
        assert_eq!(open[0].paths.len(), inferred.paths.len());
        assert_eq!((open[0].opened_ns, open[0].first_ns), (opened[0].opened_ns, opened[0].first_ns));
    }
    assert_eq!(run.tracker.closed().count(), 0);
}

#[test]
fn of_two_incidents_that_are_one_the_older_goes_on() {
    let world = around_n2();
    let all = world.explain().remove(0);
    let (some, others) = all.paths.split_at(all.paths.len() / 3);
    let of =
        |key: &str, paths: &[usize]| Explained { key: key.to_owned(), paths: paths.to_vec(), ..all.clone() };
    let (first, second) = (of("first", some), of("second", others));
    let mut run = Run::default();
    run.see(std::slice::from_ref(&first), &world.facts);
    let opened = run.see(std::slice::from_ref(&first), &world.facts)[0].id.clone();
    for _ in 0..3 {
        assert!(run.see(&[first.clone(), second.clone()], &world.facts).len() <= 2);
    }
    assert_eq!(run.tracker.open().len(), 2);
    // The name of the younger explains all of both.
    let open = run.see(&[of("second", &all.paths)], &world.facts);
    assert_eq!(ids(&open), [opened.as_str()]);
    assert_eq!(open[0].cause, "second");
    let closed: Vec<&Incident> = run.tracker.closed().collect();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].merged_into.as_deref(), Some(opened.as_str()));
}

#[test]
fn another_fault_of_the_same_paths_is_another_incident_once_the_evidence_is_in() {
    let at = |node: &'static str| {
        World::plain(&SIX).breaks(|fact| touches(fact, "n2"), move |_| dropped(node, Direction::Request))
    };
    let (first, second) = (at("n2"), at("n5"));
    let mut run = Run::default();
    let old = run.see_for(2, &first);
    // While it is young, that is its evidence.
    let mended = run.see_for(1, &second);
    assert_eq!(ids(&mended), ids(&old));
    let mut run = Run::default();
    let old = run.see_for(2 + u32::try_from(LATE_NS / SECOND_NS).unwrap(), &first);
    let both = run.see_for(2, &second);
    assert_eq!(both.len(), 2, "the old one has not closed yet");
    let new = run.see_for(CLOSE_AFTER, &second);
    assert_eq!(new.len(), 1);
    assert_ne!(ids(&new), ids(&old));
    assert!(
        new[0].places.hold(second.facts.iter().find_map(|fact| fact.symptom.as_ref()?.at.as_ref()).unwrap())
    );
    let closed: Vec<&Incident> = run.tracker.closed().collect();
    assert_eq!((closed[0].id.as_str(), closed[0].merged_into.as_ref()), (ids(&old)[0], None));
}

#[test]
fn an_incident_stays_while_nobody_measures_its_paths_and_not_for_ever() {
    let bad = around_n2();
    let unmeasured = World::plain(&SIX).silent(|fact| touches(fact, "n2"), Verdict::NoData);
    let fine = World::plain(&SIX);
    let mut run = Run::default();
    let opened = run.see_for(2, &bad);
    assert_eq!(ids(&run.see_for(HOLD, &unmeasured)), ids(&opened));
    // It is the same when its paths are bad again, whatever their numbers are.
    let mut again = bad.clone();
    for fact in &mut again.facts {
        let path = Arc::make_mut(&mut fact.path);
        path.id = PathId(path.id.0 + 5_000);
    }
    assert_eq!(ids(&run.see_for(1, &again)), ids(&opened));
    assert!(run.see_for(HOLD + CLOSE_AFTER, &unmeasured).is_empty());
    let mut run = Run::default();
    run.see_for(2, &bad);
    assert!(run.see_for(CLOSE_AFTER, &fine).is_empty(), "what is fine is no reason to wait");
}

#[test]
fn what_is_restored_is_the_same_incident_in_the_next_process() {
    let bad = around_n2();
    let mut before = Run::default();
    let opened = before.see_for(3, &bad);
    let mut after = Run { now_ns: before.now_ns + 5 * SECOND_NS, ..Run::default() };
    after.tracker.restore(opened[0].clone());
    // Nothing is known yet, then other numbers and another reading.
    for _ in 0..20 {
        assert_eq!(ids(&after.see(&[], &[])), ids(&opened));
    }
    let mut again = bad;
    for fact in &mut again.facts {
        let path = Arc::make_mut(&mut fact.path);
        path.id = PathId(path.id.0 + 5_000);
    }
    let mut causes = again.explain();
    causes[0].key = "another".to_owned();
    let open = after.see(&causes, &again.facts);
    assert_eq!(ids(&open), ids(&opened));
    assert_eq!((open[0].first_ns, open[0].opened_ns), (opened[0].first_ns, opened[0].opened_ns));
    assert_eq!(open[0].paths.len(), opened[0].paths.len());
    // It lives as any other from then on.
    for _ in 0..CLOSE_AFTER {
        after.see(&[], &[]);
    }
    assert_eq!((after.tracker.open().len(), after.tracker.closed().count()), (0, 1));
}
