use proptest::prelude::*;

use super::ring::SLOTS_PER_PATH;
use super::*;
use crate::model::clock::SECOND_NS;

fn slot(second: i64, reply: u32, lost: u32) -> Slot {
    let mut window = PathWindow::empty(PathId(1));
    window.reply = reply;
    window.failed[0] = lost;
    (0..reply).for_each(|_| window.round_trip.record(1_000));
    Slot::of(second * SECOND_NS, SECOND_NS, window)
}

proptest! {
    #[test]
    fn nothing_is_lost_or_counted_twice_in_whatever_order(
        windows in prop::collection::vec((0i64..40, 0u32..3, 0u32..3), 0..60),
    ) {
        let mut ring = Ring::default();
        for &(second, reply, lost) in &windows {
            ring.add(slot(second, reply, lost));
        }
        let starts: Vec<i64> = ring.since(0).map(|slot| slot.start_ns).collect();
        prop_assert!(starts.is_sorted_by(|a, b| a < b));
        let reply: u32 = ring.since(0).map(|slot| slot.reply).sum();
        prop_assert_eq!(reply, windows.iter().map(|window| window.1).sum::<u32>());
        let lost: u64 = ring.since(0).map(|slot| slot.lost()).sum();
        prop_assert_eq!(lost, windows.iter().map(|window| u64::from(window.2)).sum::<u64>());
        let delays: u64 =
            ring.since(0).filter_map(|slot| Some(slot.delays.delays()?.round_trip.count())).sum();
        prop_assert_eq!(delays, u64::from(reply));
    }
}

#[test]
fn ranges_and_expiry() {
    let mut ring = Ring::default();
    (0..10).for_each(|second| ring.add(slot(second, 1, 0)));
    assert_eq!(ring.since(7 * SECOND_NS).count(), 3);
    assert_eq!(ring.since(7 * SECOND_NS - 1).count(), 4, "a window that reaches into the range counts");
    assert_eq!(
        ring.started_since(7 * SECOND_NS + 1).count(),
        2,
        "one that began before it does not, if so wanted"
    );
    ring.expire(5 * SECOND_NS);
    assert_eq!(ring.since(0).count(), 6);
    assert_eq!(ring.newest().map(|slot| slot.end_ns()), Some(10 * SECOND_NS));
    // Jitter of the moved clock does not split a window in two.
    ring.add(Slot { start_ns: 9 * SECOND_NS + 1_000_000, ..slot(9, 0, 1) });
    assert_eq!(ring.since(0).count(), 6);
}

#[test]
fn the_ring_is_bounded() {
    let mut ring = Ring::default();
    (0..10_000).for_each(|second| ring.add(slot(second, 1, 0)));
    assert_eq!(ring.since(0).count(), SLOTS_PER_PATH);
}
