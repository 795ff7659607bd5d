//! Disks that are full or read-only: real ones, a tmpfs each. Needs root.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netcheck_history::location::Note;
use netcheck_history::path::PathNumber;
use netcheck_history::record::{CheckResult, Record, Windows};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use crate::{Running, SECOND_NS, START_NS, event, window};

/// Unmounted whatever happens; lazily, as a test that fails has files open.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(options: &CStr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(options)).expect("mounting needs root");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

fn windows(step: i64) -> Windows {
    let mut delay = step as u64 + 1;
    let windows = (0..50).map(|path| {
        let delays: Vec<u64> = (0..30)
            .map(|_| {
                delay = delay.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                delay >> 30
            })
            .collect();
        (PathNumber(path), window(&delays))
    });
    Windows { start_ns: START_NS + step * 10 * SECOND_NS, windows: windows.collect(), late: false }
}

/// Records until something is lost. Returns the step.
fn until_full(history: &Running) -> i64 {
    let began = Instant::now();
    for step in 0.. {
        let at_ns = START_NS + step * 10 * SECOND_NS;
        history.record(Record::Windows(windows(step)));
        let body = vec![step as u8; 200 << 10];
        history.record(Record::Check(CheckResult { at_ns, check: "large".into(), body }));
        history.record(Record::Event(event(at_ns, "before")));
        history.writer.flush(at_ns);
        if history.writer.counts().lost > 0 {
            return step;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the disk does not fill up");
    }
    unreachable!("the loop above ends")
}

fn filler(dir: &Path, bytes: usize) -> PathBuf {
    let filler = dir.join("filler");
    fs::write(&filler, vec![1; bytes]).unwrap();
    filler
}

#[test]
fn a_full_disk_loses_and_counts_and_goes_on() {
    let disk = Tmpfs::new(c"size=32m");
    let filler = filler(disk.path(), 20 << 20);
    let (history, notes) = Running::open(disk.path(), START_NS);
    assert_eq!(notes, []);
    let step = until_full(&history);
    let notes = history.writer.take_notes();
    assert!(notes.iter().any(|note| matches!(note, Note::Failing { .. })), "{notes:?}");
    assert!(!notes.iter().any(|note| matches!(note, Note::SetAside { .. })), "{notes:?}");
    assert!(step > 3, "some of it was written");
    // Full for some time: nothing waits, nothing ends.
    for more in 1..30 {
        let at_ns = START_NS + (step + more) * 10 * SECOND_NS;
        let _ = history.writer.try_record(Record::Event(event(at_ns, "full")));
        history.writer.flush(at_ns);
        drop(history.reader.events(START_NS, i64::MAX));
    }
    fs::remove_file(filler).unwrap();
    let end_ns = START_NS + (step + 60) * 10 * SECOND_NS;
    for more in 30..60 {
        history.writer.flush(START_NS + (step + more) * 10 * SECOND_NS);
    }
    history.record(Record::Event(event(end_ns, "after")));
    history.writer.flush(end_ns);
    let events = history.reader.events(START_NS, i64::MAX).unwrap();
    assert!(events.iter().any(|event| event.subject == "after"), "{:?}", history.writer.take_notes());
    let before = events.iter().filter(|event| event.subject == "before").count() as i64;
    assert!(before >= step - 1, "what was written before is there: {before} of {step}");
    assert_eq!(history.writer.counts().set_aside, 0);
    history.close();
    let (history, notes) = Running::open(disk.path(), end_ns);
    assert_eq!(notes, []);
    assert_eq!(history.reader.events(START_NS, i64::MAX).unwrap(), events);
    history.close();
}

#[test]
fn a_disk_without_room_for_a_beginning() {
    let disk = Tmpfs::new(c"size=256k");
    let _filler = filler(disk.path(), 250 << 10);
    let (history, notes) = Running::open(disk.path(), START_NS);
    for step in 0..20 {
        history.record(Record::Event(event(START_NS + step, "x")));
        history.writer.flush(START_NS + step * SECOND_NS);
    }
    let lost = history.writer.counts().lost;
    assert!(lost > 0 || !notes.is_empty() || history.reader.events(START_NS, i64::MAX).unwrap().len() == 20);
    history.close();
}

#[test]
fn a_read_only_disk_is_memory() {
    let disk = Tmpfs::new(c"size=32m");
    let (history, _) = Running::open(disk.path(), START_NS);
    history.record(Record::Event(event(START_NS, "old")));
    history.close();
    mount_remount(disk.path(), MountFlags::RDONLY, "").unwrap();
    let (history, notes) = Running::open(disk.path(), START_NS);
    assert!(matches!(notes.as_slice(), [Note::InMemory { .. }]), "{notes:?}");
    history.record(Record::Event(event(START_NS + 1, "new")));
    history.writer.flush(START_NS + 2);
    assert_eq!(history.reader.events(START_NS, i64::MAX).unwrap(), [event(START_NS + 1, "new")]);
    history.close();
    mount_remount(disk.path(), MountFlags::empty(), "").unwrap();
    let (history, notes) = Running::open(disk.path(), START_NS);
    assert_eq!(notes, []);
    assert_eq!(history.reader.events(START_NS, i64::MAX).unwrap(), [event(START_NS, "old")]);
    history.close();
}
