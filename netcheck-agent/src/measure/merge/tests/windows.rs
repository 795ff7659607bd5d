//! When windows begin, end and leave.

use super::*;

#[test]
fn windows_wait_for_their_last_probe_and_leave_in_order() {
    let mut merge = merge();
    merge.sent(probe(key(1, 1)), 500 * MS);
    merge.sent(probe(key(2, 1)), 1500 * MS);
    merge.echo(target(), &header(key(2, 1)), prompt(1501 * MS));
    merge.settle(1400 * MS, |_| None, |_| {});
    assert!(merge.take_report(3000 * MS, false).windows.is_empty());
    merge.settle(3000 * MS, |_| None, |_| {});
    let windows = merge.take_report(3000 * MS, false).windows;
    let spans: Vec<_> =
        windows.iter().map(|window| (window.start_ns / MS, window.duration_ns / MS)).collect();
    assert_eq!(spans, [(0, 1000), (1000, 1000)]);
    assert_eq!((windows[0].paths[0].path, windows[1].paths[0].path), (PathId(1), PathId(2)));
}

#[test]
fn window_borders_lie_on_the_wall_clock_and_a_new_length_starts_at_once() {
    let mut merge = Merge::new(SESSION, TIMEOUT, 1000 * MS, 300 * MS as i64);
    merge.sent(probe(key(1, 1)), 10_000 * MS);
    merge.set_timing(10_100 * MS, TIMEOUT, 500 * MS, 300 * MS as i64);
    merge.sent(probe(key(1, 2)), 10_100 * MS);
    merge.settle(20_000 * MS, |_| None, |_| {});
    let windows = merge.take_report(20_000 * MS, false).windows;
    let spans: Vec<_> =
        windows.iter().map(|window| (window.start_ns / MS, window.duration_ns / MS)).collect();
    assert_eq!(spans, [(9700, 400), (10_100, 100)]);
}
