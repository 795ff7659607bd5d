//! Nothing is lost that is not counted, nothing is out of order, whatever becomes of the files.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{collection, prop_assert, prop_assert_eq, proptest};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Limits, Queue};
use crate::cutter::Block;

const WIDE: Limits = Limits { disk: 1 << 20, memory: 1 << 20 };

fn block(time_ms: i64, length: usize) -> Block {
    let bytes = (0..length).map(|at| (at as i64 * 31 + time_ms).to_le_bytes()[0]).collect();
    Block { time_ms, samples: 1 + u32::try_from(time_ms % 7).unwrap(), bytes }
}

/// Takes all that is there.
fn drain(queue: &mut Queue) -> Vec<Block> {
    let mut all = Vec::new();
    while let Some(head) = queue.head() {
        queue.done(head.number);
        all.push(head.block);
    }
    all
}

fn samples(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| u64::from(block.samples)).sum()
}

fn files(dir: &Path, of: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files
        .retain(|path| path.extension().is_some_and(|extension| extension.to_str().unwrap().starts_with(of)));
    files.sort();
    files
}

/// A queue of these blocks, closed again.
fn written(dir: &Path, blocks: &[Block]) {
    let mut queue = Queue::open(Some(dir), WIDE);
    blocks.iter().for_each(|block| queue.push(vec![block.clone()]));
    assert_eq!((queue.take_lost(), queue.take_notes()), (0, Vec::new()));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize),
    Take,
    /// The process ends; what is in its memory is gone.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => (0usize..3000).prop_map(Step::Push), 2 => proptest::strategy::Just(Step::Take),
                1 => proptest::strategy::Just(Step::Restart)]
}

proptest! {
    /// What comes out is what went in, in order; what is missing was counted.
    #[test]
    fn what_is_not_delivered_is_counted(steps in collection::vec(step(), 0..80), narrow in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let limits = if narrow { Limits { disk: 16_000, memory: 4000 } } else { WIDE };
        let mut queue = Queue::open(Some(dir.path()), limits);
        let (mut pushed, mut taken, mut lost) = (0, 0, 0);
        let (mut time_ms, mut last) = (0, -1);
        for step in steps {
            match step {
                Step::Push(length) => {
                    time_ms += 1;
                    let block = block(time_ms, length);
                    pushed += u64::from(block.samples);
                    queue.push(vec![block]);
                    prop_assert!(!narrow || queue.bytes() <= 16_000 + 4000 + 3100);
                }
                Step::Take => if let Some(head) = queue.head() {
                    prop_assert!(head.block.time_ms > last);
                    prop_assert!(narrow || head.block.time_ms == last.max(0) + 1);
                    last = head.block.time_ms;
                    let length = head.block.bytes.len();
                    prop_assert_eq!(&head.block, &block(last, length));
                    taken += u64::from(head.block.samples);
                    queue.done(head.number);
                    // Once is enough.
                    queue.done(head.number);
                },
                Step::Restart => {
                    lost += queue.take_lost();
                    drop(queue);
                    queue = Queue::open(Some(dir.path()), limits);
                    prop_assert_eq!(queue.newest_ms().max(0), time_ms);
                }
            }
            lost += queue.take_lost();
            prop_assert_eq!(pushed, taken + lost + queue.samples());
            prop_assert_eq!(queue.take_notes(), Vec::<String>::new());
        }
        prop_assert!(narrow || lost == 0);
    }

    /// Any byte of any file becomes another: the queue opens, what comes out is what went in, in order, and what is missing
    /// is said.
    #[test]
    fn damage_is_survived_and_said(which in any::<proptest::sample::Index>(), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let blocks: Vec<Block> = (1..30).map(|time| block(time, 40 + usize::try_from(time).unwrap() * 7)).collect();
        written(dir.path(), &blocks[..20]);
        let mut queue = Queue::open(Some(dir.path()), WIDE);
        for _ in 0..3 {
            let head = queue.head().unwrap();
            queue.done(head.number);
        }
        blocks[20..].iter().for_each(|block| queue.push(vec![block.clone()]));
        drop(queue);
        let mut all = files(dir.path(), "blocks");
        all.push(dir.path().join("position"));
        let path = &all[which.index(all.len())];
        let mut bytes = fs::read(path).unwrap();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        fs::write(path, bytes).unwrap();

        let mut queue = Queue::open(Some(dir.path()), WIDE);
        let out = drain(&mut queue);
        let (lost, notes) = (queue.take_lost(), queue.take_notes());
        prop_assert!(out.windows(2).all(|two| two[0].time_ms < two[1].time_ms));
        for one in &out {
            prop_assert!(blocks.contains(one));
        }
        let whole = samples(&out) >= samples(&blocks[3..]);
        prop_assert!(whole || !notes.is_empty(), "{} of {} samples, {lost} lost, nothing said", samples(&out), samples(&blocks[3..]));
        // And it goes on.
        queue.push(vec![block(99, 10)]);
        prop_assert_eq!(drain(&mut queue).len(), 1);
    }
}

#[test]
fn a_file_that_ends_anywhere_is_read_up_to_there() {
    let blocks: Vec<Block> = (1..4).map(|time| block(time, 25)).collect();
    let model = tempfile::tempdir().unwrap();
    written(model.path(), &blocks);
    let path = files(model.path(), "blocks").remove(0);
    let whole = fs::read(&path).unwrap();
    for length in 8..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(path.file_name().unwrap()), &whole[..length]).unwrap();
        let mut queue = Queue::open(Some(dir.path()), WIDE);
        queue.push(vec![block(9, 25)]);
        let full = (length - 8) / (24 + 25);
        let expected: Vec<Block> = blocks[..full].iter().cloned().chain([block(9, 25)]).collect();
        assert_eq!(drain(&mut queue), expected, "{length} bytes");
        assert_eq!((queue.take_lost(), queue.take_notes()), (0, Vec::new()), "as after every crash");
    }
}

#[test]
fn what_is_foreign_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), &[block(1, 10)]);
    let newer = [b"NCRWQ\0\0\x02", &[7; 40][..]].concat();
    fs::write(dir.path().join("0000000000000007.blocks"), newer).unwrap();
    fs::write(dir.path().join("0000000000000008.blocks"), "").unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let mut queue = Queue::open(Some(dir.path()), WIDE);
    let notes = queue.take_notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("another version's") && notes[0].contains("set aside"), "{notes:?}");
    assert_eq!(files(dir.path(), "aside").len(), 2);
    queue.push(vec![block(2, 10)]);
    assert_eq!(drain(&mut queue), [block(1, 10), block(2, 10)]);
    assert!(dir.path().join("notes.txt").exists());
}

#[test]
fn a_directory_that_another_has_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Queue::open(Some(dir.path()), WIDE);
    let mut second = Queue::open(Some(dir.path()), WIDE);
    let notes = second.take_notes();
    assert!(notes[0].contains("in memory") && notes[0].contains("another process has it"), "{notes:?}");
    second.push(vec![block(1, 10)]);
    assert_eq!(drain(&mut second), [block(1, 10)]);
    assert!(files(dir.path(), "blocks").is_empty());
    drop(first);
}

#[test]
fn without_a_directory_the_oldest_go_when_there_is_no_room() {
    let mut queue = Queue::open(None, Limits { disk: 0, memory: 100 });
    (1..=5).for_each(|time| queue.push(vec![block(time, 40)]));
    let all: Vec<Block> = (1..=5).map(|time| block(time, 40)).collect();
    assert_eq!(queue.take_lost(), samples(&all[..3]));
    // The one that is being sent goes like any other, and what is said of it then is about nobody.
    let head = queue.head().unwrap();
    queue.push(vec![block(6, 40)]);
    queue.done(head.number);
    assert_eq!(drain(&mut queue), [block(5, 40), block(6, 40)]);
    assert_eq!((queue.bytes(), queue.samples()), (0, 0));
}

/// Unmounts it.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_costs_memory_and_no_order() {
    let dir = Mounted(tempfile::tempdir().unwrap());
    let options = c"size=64k,mode=700";
    mount("netcheck-test", dir.0.path(), "tmpfs", MountFlags::empty(), Some(options))
        .expect("tests run as root");
    let mut queue = Queue::open(Some(dir.0.path()), WIDE);
    let blocks: Vec<Block> = (1..=60).map(|time| block(time, 3000)).collect();
    blocks[..40].iter().for_each(|block| queue.push(vec![block.clone()]));
    assert!(queue.take_notes()[0].contains("kept in memory for now"));
    let mut out = Vec::new();
    for _ in 0..30 {
        let head = queue.head().unwrap();
        queue.done(head.number);
        out.push(head.block);
    }
    // There is room again, and what is newer still waits behind what is in memory.
    blocks[40..].iter().for_each(|block| queue.push(vec![block.clone()]));
    out.extend(drain(&mut queue));
    assert_eq!(out, blocks);
    assert_eq!(queue.take_lost(), 0);
    // And from here on it is on the disk.
    queue.push(vec![block(61, 3000)]);
    drop(queue);
    assert_eq!(drain(&mut Queue::open(Some(dir.0.path()), WIDE)), [block(61, 3000)]);
}
