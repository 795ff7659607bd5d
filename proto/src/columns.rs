//! [`v1::WindowBatch`]: windows as columns, and back, with every length checked.
//!
//! A window of one probe costs about a third of what rows of messages would: most values fit one byte.

use netcheck_common::domain::{Outcome, PathId};
use netcheck_common::sketch::{BUCKETS, Sketch};
use netcheck_common::window::{PathWindow, Steps};

use crate::convert;
use crate::v1;

/// A batch of columns that does not hold together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidColumns {
    /// Columns of different length.
    #[error("column {column} has {len} entries for {rows} rows")]
    Length {
        /// Which.
        column: &'static str,
        /// Its length.
        len: usize,
        /// Length of the path column.
        rows: usize,
    },
    /// A row number past the end, or counts that contradict each other.
    #[error("{column}: row {row} is out of range or contradicts the counts")]
    Row {
        /// Which column.
        column: &'static str,
        /// Which row.
        row: u32,
    },
    /// A bucket index that no delay has.
    #[error("{column}: bucket index {index} is out of range")]
    Bucket {
        /// Which column.
        column: &'static str,
        /// What stood there.
        index: u64,
    },
    /// Path ids must ascend.
    #[error("path ids do not ascend at row {row}")]
    Order {
        /// Where.
        row: usize,
    },
    /// An outcome that can't stand in this column.
    #[error("outcome {value} does not belong among the failures")]
    Outcome {
        /// What stood there.
        value: i32,
    },
}

/// Packs windows of one interval. `windows` must be sorted by path, each path once.
#[must_use]
pub fn encode(start_unix_ns: i64, duration_ns: i64, windows: &[PathWindow]) -> v1::WindowBatch {
    debug_assert!(windows.is_sorted_by(|a, b| a.path < b.path), "sorted by path");
    let mut batch = v1::WindowBatch {
        start_unix_ns,
        duration_ns,
        round_trip: Some(sketch_column(windows, |window| &window.round_trip)),
        network: Some(sketch_column(windows, |window| &window.network)),
        host: Some(sketch_column(windows, |window| &window.host)),
        responder: Some(sketch_column(windows, |window| &window.responder)),
        ..Default::default()
    };
    if windows.iter().any(|window| window.steps.is_some()) {
        let none = Steps::default();
        let column = |of: fn(&Steps) -> &Sketch| {
            Some(sketch_column(windows, |window| of(window.steps.as_deref().unwrap_or(&none))))
        };
        batch.dns = column(|steps| &steps.dns);
        batch.connect = column(|steps| &steps.connect);
        batch.tls = column(|steps| &steps.tls);
        batch.first_byte = column(|steps| &steps.first_byte);
        let seen = (0u32..).zip(windows).filter_map(|(row, window)| {
            let not_after_unix_seconds = window.steps.as_deref()?.not_after?;
            Some(v1::CertificateSeen { row, not_after_unix_seconds })
        });
        batch.certificates = seen.collect();
    }
    let mut previous = 0;
    for (row, window) in (0u32..).zip(windows) {
        batch.path_delta.push(window.path.0 - previous);
        previous = window.path.0;
        batch.sent.push(window.sent());
        batch.reply.push(window.reply);
        for (outcome, &count) in Outcome::FAILURES.iter().zip(&window.failed) {
            if count > 0 {
                let outcome = convert::outcome_to_wire(*outcome).into();
                batch.other.push(v1::OutcomeCount { row, outcome, count });
            }
        }
        if window.suspect > 0 {
            batch.suspect.push(v1::SuspectCount { row, count: window.suspect });
        }
        if window.new_reply > 0 || window.new_lost > 0 {
            let (reply, lost) = (window.new_reply, window.new_lost);
            batch.new_flows.push(v1::NewFlowCount { row, reply, lost });
        }
    }
    batch
}

/// Unpacks windows, ascending by path.
///
/// # Errors
/// Columns that do not hold together; then nothing of the batch is usable.
pub fn decode(batch: &v1::WindowBatch) -> Result<Vec<PathWindow>, InvalidColumns> {
    let rows = batch.path_delta.len();
    for (column, len) in [("sent", batch.sent.len()), ("reply", batch.reply.len())] {
        if len != rows {
            return Err(InvalidColumns::Length { column, len, rows });
        }
    }
    let mut windows = Vec::with_capacity(rows);
    let mut path = 0u32;
    for (row, &delta) in batch.path_delta.iter().enumerate() {
        if row > 0 && delta == 0 {
            return Err(InvalidColumns::Order { row });
        }
        path = path.checked_add(delta).ok_or(InvalidColumns::Order { row })?;
        let mut window = PathWindow::empty(PathId(path));
        window.reply = batch.reply[row];
        windows.push(window);
    }
    for &v1::OutcomeCount { row, outcome, count } in &batch.other {
        let window = windows.get_mut(row as usize).ok_or(InvalidColumns::Row { column: "other", row })?;
        let index = convert::outcome("other", outcome)
            .ok()
            .and_then(Outcome::failure_index)
            .ok_or(InvalidColumns::Outcome { value: outcome })?;
        window.failed[index] = window.failed[index].saturating_add(count);
    }
    for (row, window) in (0u32..).zip(&windows) {
        if window.sent() != batch.sent[row as usize] {
            return Err(InvalidColumns::Row { column: "sent", row });
        }
    }
    for &v1::SuspectCount { row, count } in &batch.suspect {
        let window = windows.get_mut(row as usize).ok_or(InvalidColumns::Row { column: "suspect", row })?;
        window.suspect = window.suspect.saturating_add(count);
    }
    for &v1::NewFlowCount { row, reply, lost } in &batch.new_flows {
        let window = windows.get_mut(row as usize).ok_or(InvalidColumns::Row { column: "new_flows", row })?;
        window.new_reply = window.new_reply.saturating_add(reply);
        window.new_lost = window.new_lost.saturating_add(lost);
    }
    read_sketches(&mut windows, "round_trip", batch.round_trip.as_ref(), |window| &mut window.round_trip)?;
    read_sketches(&mut windows, "network", batch.network.as_ref(), |window| &mut window.network)?;
    read_sketches(&mut windows, "host", batch.host.as_ref(), |window| &mut window.host)?;
    read_sketches(&mut windows, "responder", batch.responder.as_ref(), |window| &mut window.responder)?;
    read_steps(&mut windows, batch)?;
    Ok(windows)
}

/// Rows without any step have none.
fn read_steps(windows: &mut [PathWindow], batch: &v1::WindowBatch) -> Result<(), InvalidColumns> {
    let columns = [&batch.dns, &batch.connect, &batch.tls, &batch.first_byte];
    if columns.iter().all(|column| column.is_none()) && batch.certificates.is_empty() {
        return Ok(());
    }
    read_sketches(windows, "dns", batch.dns.as_ref(), |window| {
        &mut window.steps.get_or_insert_default().dns
    })?;
    read_sketches(windows, "connect", batch.connect.as_ref(), |window| {
        &mut window.steps.get_or_insert_default().connect
    })?;
    read_sketches(windows, "tls", batch.tls.as_ref(), |window| {
        &mut window.steps.get_or_insert_default().tls
    })?;
    read_sketches(windows, "first_byte", batch.first_byte.as_ref(), |window| {
        &mut window.steps.get_or_insert_default().first_byte
    })?;
    for &v1::CertificateSeen { row, not_after_unix_seconds } in &batch.certificates {
        let window =
            windows.get_mut(row as usize).ok_or(InvalidColumns::Row { column: "certificates", row })?;
        window.steps.get_or_insert_default().expires(Some(not_after_unix_seconds));
    }
    for window in windows {
        window.steps.take_if(|steps| **steps == Steps::default());
    }
    Ok(())
}

fn sketch_column<'a>(
    windows: &'a [PathWindow],
    of: impl Fn(&'a PathWindow) -> &'a Sketch,
) -> v1::SketchColumn {
    let mut column = v1::SketchColumn::default();
    for window in windows {
        let entries = of(window).entries();
        column.buckets.push(entries.len() as u32);
        let mut previous = 0;
        for &(index, count) in entries {
            column.index_delta.push(u32::from(index - previous));
            previous = index;
            column.count.push(count);
        }
    }
    column
}

/// Fills one sketch of each window. An absent or empty column leaves all of them empty.
fn read_sketches(
    windows: &mut [PathWindow],
    column: &'static str,
    wire: Option<&v1::SketchColumn>,
    of: impl Fn(&mut PathWindow) -> &mut Sketch,
) -> Result<(), InvalidColumns> {
    let Some(wire) = wire.filter(|wire| !wire.buckets.is_empty()) else { return Ok(()) };
    let length = |len: usize, rows: usize| InvalidColumns::Length { column, len, rows };
    if wire.buckets.len() != windows.len() {
        return Err(length(wire.buckets.len(), windows.len()));
    }
    let entries: u64 = wire.buckets.iter().map(|&count| u64::from(count)).sum();
    if entries != wire.index_delta.len() as u64 || wire.index_delta.len() != wire.count.len() {
        return Err(length(wire.index_delta.len(), wire.count.len()));
    }
    let mut next = wire.index_delta.iter().zip(&wire.count);
    for (window, &buckets) in windows.iter_mut().zip(&wire.buckets) {
        let mut index = 0u64;
        for (&delta, &count) in next.by_ref().take(buckets as usize) {
            index += u64::from(delta);
            if index >= u64::from(BUCKETS) {
                return Err(InvalidColumns::Bucket { column, index });
            }
            of(window).add(index as u16, count);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn sketch() -> impl Strategy<Value = Sketch> {
        prop::collection::vec(any::<u64>(), 0..4).prop_map(|delays| {
            let mut sketch = Sketch::new();
            delays.into_iter().for_each(|delay| sketch.record(delay));
            sketch
        })
    }

    fn windows() -> impl Strategy<Value = Vec<PathWindow>> {
        let steps = prop::option::of((sketch(), sketch(), any::<i64>()));
        let new_flows = (any::<u8>(), any::<u8>());
        let window = (any::<[u16; 6]>(), any::<u16>(), any::<u8>(), sketch(), sketch(), steps, new_flows);
        prop::collection::btree_map(any::<u32>(), window, 0..20).prop_map(|rows| {
            rows.into_iter()
                .map(|(path, (failed, reply, suspect, round_trip, network, steps, new_flows))| PathWindow {
                    new_reply: new_flows.0.into(),
                    new_lost: new_flows.1.into(),
                    failed: failed.map(u32::from),
                    reply: u32::from(reply),
                    suspect: u32::from(suspect),
                    round_trip,
                    network,
                    steps: steps.map(|(connect, tls, not_after)| {
                        let not_after = Some(not_after);
                        Box::new(Steps {
                            dns: tls.clone(),
                            connect,
                            tls,
                            first_byte: Sketch::new(),
                            not_after,
                        })
                    }),
                    ..PathWindow::empty(PathId(path))
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn round_trip_through_the_wire(windows in windows()) {
            let bytes = encode(5, 7, &windows).encode_to_vec();
            let batch = v1::WindowBatch::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(decode(&batch).unwrap(), windows);
        }

        #[test]
        fn hostile_columns_are_refused_or_read_never_a_panic(
            path_delta in prop::collection::vec(any::<u32>(), 0..4),
            sent in prop::collection::vec(any::<u32>(), 0..4),
            reply in prop::collection::vec(any::<u32>(), 0..4),
            other in prop::collection::vec((any::<u32>(), any::<i32>(), any::<u32>()), 0..4),
            buckets in prop::collection::vec(any::<u32>(), 0..4),
            index_delta in prop::collection::vec(any::<u32>(), 0..4),
        ) {
            let other = other.into_iter()
                .map(|(row, outcome, count)| v1::OutcomeCount { row, outcome, count })
                .collect();
            let count = index_delta.clone();
            let round_trip = Some(v1::SketchColumn { buckets, index_delta, count });
            let batch = v1::WindowBatch { path_delta, sent, reply, other, round_trip, ..Default::default() };
            if let Ok(windows) = decode(&batch) {
                prop_assert_eq!(windows.len(), batch.path_delta.len());
            }
        }
    }

    #[test]
    fn one_probe_costs_few_bytes() {
        let windows: Vec<PathWindow> = (1..=1000)
            .map(|path| {
                let mut window = PathWindow::empty(PathId(path));
                window.count(Outcome::Reply);
                window.round_trip.record(200_000);
                window.network.record(150_000);
                window.host.record(50_000);
                window.responder.record(20_000);
                window
            })
            .collect();
        let bytes = encode(1, 1_000_000_000, &windows).encoded_len();
        assert!(bytes <= 20 * windows.len(), "{bytes} bytes for {} samples", windows.len());
    }
}
