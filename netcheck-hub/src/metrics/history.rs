//! How history fares.

use super::collect::Families;
use crate::state::history::Archive;

/// Writes its figures.
pub(super) fn write(families: &mut Families, archive: &Archive) {
    let counts = archive.counts();
    for (name, help, count) in [
        ("hub_history_records_dropped", "Records that the queue of history had no room for.", counts.dropped),
        ("hub_history_records_lost", "Records of history that could not be written.", counts.lost),
        ("hub_history_late_windows", "Windows that came too late for history.", counts.late),
        (
            "hub_history_set_aside",
            "Stores of history that could not be used and were renamed.",
            counts.set_aside,
        ),
        ("hub_history_unreadable", "Values of history that could not be read.", counts.unreadable),
    ] {
        families.counter(name, help, [(vec![], count as f64)]);
    }
    let in_memory = f64::from(u8::from(archive.reader.is_in_memory()));
    for (name, help, value) in [
        (
            "hub_history_bytes",
            "What history takes up, with what its store needs for itself.",
            archive.reader.bytes() as f64,
        ),
        ("hub_history_paths", "Paths that history knows.", archive.paths() as f64),
        ("hub_history_in_memory", "1 while history ends with the hub's process.", in_memory),
    ] {
        families.gauge(name, help, [(vec![], value)]);
    }
}
