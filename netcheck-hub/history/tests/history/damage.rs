//! Files that are not what they were: history opens, says so, and goes on.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netcheck_history::location::Note;
use netcheck_history::path::PathNumber;
use netcheck_history::record::{Record, Windows};

use crate::{Running, SECOND_NS, START_NS, event, window};

const TIME: Duration = Duration::from_secs(12);

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        match entry.unwrap().path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), to.to_owned());
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).map(drop).unwrap();
        }
    }
}

/// Two hours of an event and a window every minute.
fn fill(dir: &Path) {
    let (history, notes) = Running::open(dir, START_NS);
    assert_eq!(notes, []);
    for minute in 0..120 {
        let at_ns = START_NS + minute * 60 * SECOND_NS;
        history.record(Record::Event(event(at_ns, &minute.to_string())));
        let windows = (0..20).map(|path| (PathNumber(path), window(&[1000 + minute as u64]))).collect();
        history.record(Record::Windows(Windows { start_ns: at_ns, windows, late: false }));
        history.writer.flush(at_ns);
    }
    history.close();
}

/// It answers with what was written or nothing, and takes what is new. Returns how much of the old is there.
fn works(dir: &Path) -> (usize, Vec<Note>) {
    let now_ns = START_NS + 7200 * SECOND_NS;
    let (history, notes) = Running::open(dir, now_ns);
    let events = history.reader.events(START_NS, now_ns).unwrap_or_default();
    for old in &events {
        let minute: i64 = old.subject.parse().unwrap();
        assert_eq!(*old, event(START_NS + minute * 60 * SECOND_NS, &minute.to_string()));
    }
    if let Ok(series) = history.reader.series(PathNumber(3), START_NS, now_ns, Duration::from_secs(60)) {
        for point in series.points {
            assert_eq!(point.window.reply, 1, "a window is right or is not there");
        }
    }
    for second in 1..40 {
        let at_ns = now_ns + second * SECOND_NS;
        history.record(Record::Event(event(at_ns, "new")));
        history.writer.flush(at_ns);
    }
    let new = history.reader.events(now_ns, i64::MAX).unwrap();
    let (counts, notes_since) = (history.writer.counts(), history.writer.take_notes());
    assert_eq!(new.len() as u64 + counts.lost, 39, "{notes:?} {notes_since:?} {counts:?}");
    assert!(counts.lost < 39);
    history.close();
    (events.len(), notes.into_iter().chain(notes_since).collect())
}

#[test]
fn damage_at_random_bytes() {
    let whole = crate::tempdir();
    fill(whole.path());
    let (began, mut seed, mut trials, mut aside) = (Instant::now(), 88_172_645_463_325_252_u64, 0, 0);
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    while began.elapsed() < TIME {
        let trial = crate::tempdir();
        copy(whole.path(), trial.path());
        let files: Vec<_> =
            files(trial.path()).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
        let name = &files[random(files.len() as u64) as usize];
        let file = fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        let len = file.metadata().unwrap().len();
        let at = random(len);
        match trials % 3 {
            0 => file.set_len(at).unwrap(),
            1 => file.write_all_at(&[random(256) as u8], at).unwrap(),
            _ => {
                let from = at / 4096 * 4096;
                file.write_all_at(&vec![0; 4096.min(len - from) as usize], from).unwrap();
            }
        }
        let (_, notes) = works(trial.path());
        aside += usize::from(notes.iter().any(|note| matches!(note, Note::SetAside { .. })));
        trials += 1;
    }
    println!("{trials} trials, {aside} set aside");
    assert!(trials >= 10 && aside > 0, "{trials} trials, {aside} set aside");
}

/// Opens, works, and has set aside what was there. Opened again, it is in order.
fn set_aside(dir: &Path, why: &str) {
    let (events, notes) = works(dir);
    assert_eq!(events, 0);
    let [Note::SetAside { to, why: said }] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(said.contains(why), "{said}");
    assert!(fs::symlink_metadata(to).is_ok(), "it is there under its new name");
    let (history, notes) = Running::open(dir, START_NS);
    assert_eq!(notes, []);
    assert_eq!(history.reader.events(START_NS, i64::MAX).unwrap().len(), 39);
    history.close();
}

#[test]
fn a_newer_version_is_set_aside() {
    let dir = crate::tempdir();
    fill(dir.path());
    fs::write(dir.path().join("history/FORMAT"), "netcheck-history 2\n").unwrap();
    set_aside(dir.path(), "newer version");
    let aside = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let aside = aside.into_iter().find(|path| path.to_string_lossy().contains("aside")).unwrap();
    // It is as it was: the newer version can have it back.
    fs::remove_dir_all(dir.path().join("history")).unwrap();
    fs::rename(&aside, dir.path().join("history")).unwrap();
    fs::write(dir.path().join("history/FORMAT"), "netcheck-history 1\n").unwrap();
    assert_eq!(works(dir.path()).0, 120);
}

#[test]
fn foreign_files_are_set_aside() {
    let dir = crate::tempdir();
    fs::write(dir.path().join("history"), "a file").unwrap();
    set_aside(dir.path(), "damaged");

    let dir = crate::tempdir();
    fs::create_dir(dir.path().join("history")).unwrap();
    fs::write(dir.path().join("history/letters.txt"), "of somebody").unwrap();
    set_aside(dir.path(), "is not history");

    let dir = crate::tempdir();
    fs::create_dir(dir.path().join("history")).unwrap();
    fs::write(dir.path().join("history/FORMAT"), [0xff; 100]).unwrap();
    set_aside(dir.path(), "does not say");
}

#[test]
fn two_processes_do_not_share_it() {
    let dir = crate::tempdir();
    let (first, _) = Running::open(dir.path(), START_NS);
    let (second, notes) = Running::open(dir.path(), START_NS);
    assert!(matches!(notes.as_slice(), [Note::InMemory { .. }]), "{notes:?}");
    assert!(second.reader.is_in_memory() && !first.reader.is_in_memory());
    second.close();
    first.close();
}
