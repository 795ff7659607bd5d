use proptest::prelude::*;

use netcheck_common::sketch::BUCKETS;

use super::*;
use crate::codec::Malformed;
use crate::window::Delays;

fn sketches(most: usize) -> impl Strategy<Value = Sketch> {
    prop::collection::vec((0..BUCKETS, 1_u32..2000), 0..most).prop_map(|entries| {
        let mut sketch = Sketch::new();
        entries.into_iter().for_each(|(bucket, count)| sketch.add(bucket, count));
        sketch
    })
}

fn delays() -> impl Strategy<Value = Delays> {
    let steps = (sketches(3), sketches(3), sketches(3), sketches(3), any::<Option<i64>>());
    let steps = steps.prop_map(|(dns, connect, tls, first_byte, not_after)| {
        Box::new(Steps { dns, connect, tls, first_byte, not_after })
    });
    (sketches(9), sketches(3), sketches(3), sketches(3), prop::option::weighted(0.2, steps)).prop_map(
        |(round_trip, network, host, responder, steps)| Delays {
            round_trip,
            network,
            host,
            responder,
            steps,
        },
    )
}

/// Regular most of the time, as in life.
pub(crate) fn windows() -> impl Strategy<Value = Window> {
    let failed = prop_oneof![3 => Just([0; 6]), 1 => any::<[u32; 6]>()];
    let suspect = prop_oneof![3 => Just(0), 1 => any::<u32>()];
    let reply = prop_oneof![3 => Just(10_u32), 1 => any::<u32>()];
    (reply, failed, suspect, prop::option::of(delays())).prop_map(|(reply, failed, suspect, delays)| Window {
        reply,
        failed,
        suspect,
        delays: delays.map(Box::new),
        fidelity: Fidelity::Exact,
    })
}

fn rows(steps: usize) -> impl Strategy<Value = Vec<Row>> {
    let row = prop::collection::vec(prop::option::of(windows()), steps);
    prop::collection::btree_map(any::<u8>(), row, 0..5).prop_map(|rows| rows.into_iter().collect())
}

fn decoded(bytes: &[u8], wanted: Wanted) -> Result<Vec<(u8, u32, Window)>, Malformed> {
    let mut found = Vec::new();
    decode(bytes, wanted, &mut Zstd::new(), |path, step, window| found.push((path, step, window)))?;
    Ok(found)
}

fn flat(rows: &[Row]) -> Vec<(u8, u32, Window)> {
    let cells =
        rows.iter().flat_map(|(path, row)| (0..).zip(row).map(move |(step, window)| (*path, step, window)));
    cells.filter_map(|(path, step, window)| Some((path, step, window.clone()?))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exact_windows_come_back(rows in rows(7), only: Option<u8>, from in 0_u32..7, len in 0_u32..8) {
        let bytes = encode(Tier::Raw, 7, &rows, &mut Zstd::new());
        let all = flat(&rows);
        prop_assert_eq!(&decoded(&bytes, Wanted::ALL).unwrap(), &all);
        let path = only.map(|only| rows.get(usize::from(only) % 5).map_or(only, |row| row.0));
        let some: Vec<_> = all
            .into_iter()
            .filter(|(at, step, _)| path.is_none_or(|path| path == *at) && (from..from + len).contains(step))
            .collect();
        prop_assert_eq!(decoded(&bytes, Wanted { path, from, to: from + len }).unwrap(), some);
    }

    #[test]
    fn quantiles_and_counts_come_back(mut rows in rows(5), median: bool) {
        let tier = if median { Tier::Minute } else { Tier::Coarse };
        for window in rows.iter_mut().flat_map(|row| &mut row.1).flatten() {
            window.fidelity = if median { Fidelity::Median } else { Fidelity::Quantiles };
        }
        let bytes = encode(tier, 5, &rows, &mut Zstd::new());
        let found = decoded(&bytes, Wanted::ALL).unwrap();
        let measured = flat(&rows);
        prop_assert_eq!(found.len(), measured.len());
        for ((_, _, found), (_, _, measured)) in found.iter().zip(&measured) {
            prop_assert_eq!(found.counts(), measured.counts());
            let Some(delays) = &measured.delays else { continue };
            let held = found.delays.as_ref().unwrap();
            let of = |sketch: &Sketch, shares: &[f64]| -> Vec<Option<u16>> {
                shares.iter().map(|&share| quantile(sketch, share)).collect()
            };
            let round_trip = if median { &ROUND_TRIP[..1] } else { ROUND_TRIP };
            prop_assert_eq!(of(&held.round_trip, round_trip), of(&delays.round_trip, round_trip));
            prop_assert_eq!(held.round_trip.count(), delays.round_trip.count());
            if !median {
                prop_assert_eq!(of(&held.network, SHARE), of(&delays.network, SHARE));
            }
        }
        // What was read is written again as it was.
        let mut again = rows.clone();
        for row in &mut again {
            row.1 = vec![None; 5];
        }
        for (path, step, window) in found {
            let row = again.iter_mut().find(|row| row.0 == path).unwrap();
            row.1[step as usize] = Some(window);
        }
        prop_assert_eq!(encode(tier, 5, &again, &mut Zstd::new()), bytes);
    }

    #[test]
    fn damaged_blocks_are_refused_or_read(rows in rows(5), at: prop::sample::Index, byte: u8) {
        let mut bytes = encode(Tier::Raw, 5, &rows, &mut Zstd::new());
        for len in 0..bytes.len().min(40) {
            drop(decoded(&bytes[..len], Wanted::ALL));
        }
        let at = at.index(bytes.len());
        bytes[at] = byte;
        drop(decoded(&bytes, Wanted::ALL));
    }
}

#[test]
fn a_newer_block_is_distinguished_from_a_damaged_one() {
    let mut bytes = encode(Tier::Raw, 1, &[(7, vec![Some(Window::default())])], &mut Zstd::new());
    bytes[0] = VERSION + 1;
    assert_eq!(decoded(&bytes, Wanted::ALL), Err(Malformed::Version(VERSION + 1)));
}
