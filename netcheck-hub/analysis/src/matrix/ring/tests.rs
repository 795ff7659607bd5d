use std::collections::BTreeSet;

use netcheck_common::domain::PathId;
use netcheck_common::window::PathWindow;
use proptest::prelude::*;

use super::*;
use crate::matrix::HasDelays as _;
use crate::model::clock::SECOND_NS;

/// The windows as they are, and what becomes of them: the same that the ring promises, said plainly.
#[derive(Default)]
struct Plain(Vec<Slot>);

impl Plain {
    fn add(&mut self, slot: Slot) {
        let at = self.0.partition_point(|old| old.start_ns < slot.start_ns);
        let near = |old: &Slot| (old.start_ns - slot.start_ns).abs() * 2 < slot.duration_ns.max(1);
        let same =
            [at.checked_sub(1), Some(at)].into_iter().flatten().find(|&at| self.0.get(at).is_some_and(near));
        match same {
            Some(same) => self.0[same].merge(slot),
            None => self.0.insert(at, slot),
        }
        if self.0.len() > SLOTS_PER_PATH {
            self.0.remove(0);
        }
    }

    fn expire(&mut self, oldest_ns: i64) {
        let over = self.0.iter().take_while(|slot| slot.end_ns() < oldest_ns).count();
        self.0.drain(..over);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Slot),
    Expire(i64),
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 180_000_u64..220_000, 1 => any::<u64>()]
}

prop_compose! {
    fn window()(
        delays in prop::collection::vec((delay(), delay(), prop::option::of(delay())), 0..6),
        failed in prop_oneof![3 => Just([0; 6]), 1 => any::<[u32; 6]>()],
        (suspect, new_reply, new_lost) in (0_u32..2, 0_u32..2, prop_oneof![4 => Just(0), 1 => any::<u32>()]),
        steps in prop::option::weighted(0.1, (prop::collection::vec(delay(), 0..80), prop::option::of(any::<i64>()))),
    ) -> PathWindow {
        let mut window = PathWindow::empty(PathId(1));
        (window.reply, window.failed, window.suspect) = (delays.len() as u32, failed, suspect);
        (window.new_reply, window.new_lost) = (new_reply, new_lost);
        for (round_trip, network, responder) in delays {
            window.round_trip.record(round_trip);
            window.network.record(network);
            responder.into_iter().for_each(|delay| window.responder.record(delay));
        }
        window.steps = steps.map(|(delays, not_after)| {
            let mut steps = netcheck_common::window::Steps { not_after, ..Default::default() };
            delays.into_iter().for_each(|delay| steps.connect.record(delay));
            Box::new(steps)
        });
        window
    }
}

fn step() -> impl Strategy<Value = Step> {
    let start = prop_oneof![
        // About one a second, with the jitter of a moved clock.
        8 => (0_i64..60, -400_000_000_i64..400_000_000).prop_map(|(second, jitter)| second * SECOND_NS + jitter),
        1 => -1_000 * SECOND_NS..1_000 * SECOND_NS,
    ];
    let length = prop_oneof![4 => Just(SECOND_NS), 1 => Just(10 * SECOND_NS), 1 => 0..SECOND_NS];
    let add = (start, length, window())
        .prop_map(|(start, length, window)| Step::Add(Slot::of(start, length, window)));
    prop_oneof![9 => add, 1 => (0_i64..60).prop_map(|second| Step::Expire(second * SECOND_NS))]
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_from_either_end(steps in prop::collection::vec(step(), 0..60), from in -5_i64..65) {
        let (mut ring, mut plain) = (Ring::default(), Plain::default());
        for step in steps {
            match step {
                Step::Add(slot) => {
                    ring.add(slot.clone());
                    plain.add(slot);
                }
                Step::Expire(oldest_ns) => {
                    ring.expire(oldest_ns);
                    plain.expire(oldest_ns);
                }
            }
            prop_assert_eq!(ring.len(), plain.0.len());
        }
        let all: Vec<Slot> = ring.since(i64::MIN).map(|slot| slot.owned()).collect();
        prop_assert_eq!(&all, &plain.0);
        let mut back: Vec<Slot> = ring.since(i64::MIN).rev().map(|slot| slot.owned()).collect();
        back.reverse();
        prop_assert_eq!(&back, &plain.0);
        prop_assert_eq!(ring.newest().map(|slot| slot.owned()), plain.0.last().cloned());
        // Up to the first one, counted from the newest, that the range does not take.
        let from_ns = from * SECOND_NS;
        let taken = |takes: &dyn Fn(&Slot) -> bool| plain.0.iter().rev().take_while(|slot| takes(slot)).count();
        prop_assert_eq!(ring.since(from_ns).count(), taken(&|slot| slot.end_ns() > from_ns));
        prop_assert_eq!(ring.started_since(from_ns).count(), taken(&|slot| slot.start_ns >= from_ns));
        let answered = plain.0.iter().any(|slot| slot.reply > 0 && slot.end_ns() > from_ns);
        let lost = plain.0.iter().any(|slot| slot.lost() > 0 && slot.end_ns() > from_ns);
        prop_assert!(!ring.is_answered(from_ns, from_ns) || answered && !lost);
    }

    #[test]
    fn either_end_leaves_the_other_what_is_left(taken in prop::collection::vec(any::<bool>(), 0..14)) {
        let mut ring = Ring::default();
        (0..10).for_each(|second| ring.add(Slot { start_ns: second, duration_ns: 1, reply: 1, ..Slot::default() }));
        let mut windows = ring.since(3);
        let mut seen = BTreeSet::new();
        for front in taken {
            let next = if front { windows.next() } else { windows.next_back() };
            prop_assert_eq!(next.is_some(), seen.len() < 7);
            seen.extend(next.map(|slot| slot.start_ns));
        }
        let rest: Vec<i64> = windows.map(|slot| slot.start_ns).collect();
        prop_assert_eq!(seen.len() + rest.len(), 7);
        prop_assert!(rest.is_sorted() && rest.iter().all(|start| (3..10).contains(start) && !seen.contains(start)));
    }
}

#[test]
fn an_answer_is_forgotten_with_its_window() {
    let window = |second: i64, reply| Slot {
        start_ns: second * SECOND_NS,
        duration_ns: SECOND_NS,
        reply,
        ..Slot::default()
    };
    let mut ring = Ring::default();
    ring.add(window(16, 1));
    ring.add(window(57, 0));
    assert!(ring.is_answered(0, 0));
    ring.expire(18 * SECOND_NS);
    assert!(!ring.is_answered(0, 0));
    ring.add(window(58, 1));
    assert!(ring.is_answered(0, 0));
}

#[test]
fn a_window_of_one_answered_probe_takes_few_bytes() {
    let mut ring = Ring::default();
    for second in 0..120 {
        let mut window = PathWindow::empty(PathId(1));
        (window.reply, window.new_reply) = (1, 1);
        window.round_trip.record(200_000);
        window.network.record(150_000);
        window.host.record(30_000);
        window.responder.record(20_000);
        ring.add(Slot::of(second * SECOND_NS + second % 7, SECOND_NS, window));
    }
    let bytes = ring.bytes.capacity() / ring.len();
    assert!(bytes <= 24, "{bytes} bytes a window");
    assert!(ring.is_answered(119 * SECOND_NS, 0) && !ring.is_answered(121 * SECOND_NS, 0));
    let held = ring.newest().and_then(|slot| Some(slot.delays.delays()?.round_trip.count()));
    assert_eq!(held, Some(1));
}
