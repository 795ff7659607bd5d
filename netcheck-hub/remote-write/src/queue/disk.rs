//! Segments in a directory. The last one is written, the first one is read; those that are done with are deleted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::position::Position;
use super::segment::{self, Found, MAGIC, ReadError};
use crate::cutter::Block;

const EXTENSION: &str = "blocks";
/// The longest a segment gets: what goes where there is no room, goes in segments.
const SEGMENT: u64 = 8 << 20;

#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    /// Where its last block ends.
    end: u64,
    /// Samples that are still to be sent.
    samples: u64,
}

/// Blocks on disk.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    limit: u64,
    segments: VecDeque<Segment>,
    /// Where the head is in the first of them.
    offset: u64,
    /// The first of them, open for reading.
    reader: Option<File>,
    /// The last of them, open for writing.
    writer: Option<File>,
    next: u64,
    /// Held as long as the process lives.
    _lock: File,
}

impl Disk {
    /// With what is there, and the time of the newest block that ever was.
    pub(super) fn open(dir: &Path, limit: u64, notes: &mut Vec<String>) -> io::Result<(Self, i64)> {
        let wrong = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(wrong)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
        let lock = lock.map_err(wrong)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                wrong(io::Error::new(io::ErrorKind::WouldBlock, "another process has it"))
            }
            TryLockError::Error(error) => wrong(error),
        })?;
        let place = dir.join("position");
        let position = Position::read(&place).unwrap_or_else(|why| {
            notes.push(format!("{}: {why}; what waits is sent again from its beginning", place.display()));
            None
        });
        let mut disk = Self {
            dir: dir.to_owned(),
            limit,
            segments: VecDeque::new(),
            offset: 0,
            reader: None,
            writer: None,
            next: position.map_or(0, |position| position.segment + 1),
            _lock: lock,
        };
        let mut newest_ms = position.map_or(i64::MIN, |position| position.newest_ms);
        for number in numbers(dir)? {
            disk.next = disk.next.max(number + 1);
            if position.is_some_and(|position| number < position.segment) {
                drop(fs::remove_file(path(dir, number)));
                continue;
            }
            let from =
                position.filter(|position| position.segment == number).map_or(0, |position| position.offset);
            let Some(found) = disk.look(number, from, notes) else { continue };
            newest_ms = newest_ms.max(found.newest_ms.unwrap_or(i64::MIN));
            if disk.segments.is_empty() {
                disk.offset = from.max(MAGIC.len() as u64).min(found.end);
            }
            let Found { end, samples, .. } = found;
            disk.segments.push_back(Segment { number, path: path(dir, number), end, samples });
        }
        disk.forget_what_is_done();
        Ok((disk, newest_ms))
    }

    /// What a segment holds; none where it is set aside as a whole.
    fn look(&self, number: u64, from: u64, notes: &mut Vec<String>) -> Option<Found> {
        let path = path(&self.dir, number);
        let found = match segment::scan(&path, from) {
            Ok(found) => found,
            Err(error) => {
                notes.push(set_aside(&path, &error.to_string()));
                return None;
            }
        };
        match &found.trouble {
            None => {}
            // As it is left where a process or machine ends while it writes: that block was never counted as waiting.
            Some(ReadError::CutOff) => {
                tracing::info!("{}: the last block was not written wholly", path.display());
            }
            Some(trouble) => notes.push(copy_aside(&path, &trouble.to_string())),
        }
        Some(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.samples == 0)
    }

    pub(super) fn samples(&self) -> u64 {
        self.segments.iter().map(|segment| segment.samples).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    pub(super) fn push(&mut self, block: &Block) -> io::Result<()> {
        let longest = SEGMENT.min(self.limit / 8).max(1);
        if self.writer.is_none() || self.segments.back().is_none_or(|last| last.end >= longest) {
            self.begin()?;
        }
        let (Some(file), Some(last)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment to write to"));
        };
        let bytes = segment::encode(block);
        if let Err(error) = file.write_all(&bytes) {
            // Half a block at the end is as after a crash, and the next one begins a new segment.
            drop(file.set_len(last.end));
            self.writer = None;
            return Err(error);
        }
        last.end += bytes.len() as u64;
        last.samples += u64::from(block.samples);
        Ok(())
    }

    /// A new segment behind the others. An old one is never written to again.
    fn begin(&mut self) -> io::Result<()> {
        let (number, path) = (self.next, path(&self.dir, self.next));
        let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        // The number is taken whatever comes of it.
        self.next += 1;
        if let Err(error) = file.write_all(MAGIC) {
            drop(fs::remove_file(&path));
            return Err(error);
        }
        let end = MAGIC.len() as u64;
        if self.segments.is_empty() {
            self.offset = end;
            self.reader = None;
        }
        self.segments.push_back(Segment { number, path, end, samples: 0 });
        self.writer = Some(file);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.writer.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Deletes the oldest segments until there is room: how many samples that costs, and whether the head was among them.
    pub(super) fn make_room(&mut self) -> (u64, bool) {
        let (mut lost, mut head) = (0, false);
        while self.bytes() > self.limit && self.segments.len() > 1 {
            lost += self.drop_first();
            head = true;
        }
        (lost, head)
    }

    fn drop_first(&mut self) -> u64 {
        let Some(first) = self.segments.pop_front() else { return 0 };
        if self.segments.is_empty() {
            self.writer = None;
        }
        drop(fs::remove_file(&first.path));
        self.reader = None;
        self.offset = MAGIC.len() as u64;
        first.samples
    }

    /// The oldest block that can be read, and how many samples were given up on the way to it.
    pub(super) fn head(&mut self, notes: &mut Vec<String>) -> (Option<Block>, u64) {
        let mut lost = 0;
        while !self.is_empty() {
            self.forget_what_is_done();
            match self.read() {
                Ok(block) => return (Some(block), lost),
                Err((ReadError::Block(at), Some(header))) => {
                    let Some(first) = self.segments.front_mut() else { break };
                    notes.push(copy_aside(&first.path, &ReadError::Block(at).to_string()));
                    lost += u64::from(header.samples);
                    first.samples = first.samples.saturating_sub(u64::from(header.samples));
                    self.offset = header.next(at);
                }
                Err((trouble, _)) => {
                    let Some(first) = self.segments.front() else { break };
                    notes.push(copy_aside(&first.path, &trouble.to_string()));
                    lost += self.drop_first();
                }
            }
        }
        (None, lost)
    }

    /// The header at the head.
    fn header(&mut self) -> Result<segment::Header, ReadError> {
        let Some(first) = self.segments.front() else { return Err(ReadError::CutOff) };
        let file = match self.reader.take() {
            Some(file) => file,
            None => File::open(&first.path)?,
        };
        let header = segment::header(&file, self.offset, first.end);
        self.reader = Some(file);
        header?.ok_or(ReadError::CutOff)
    }

    fn read(&mut self) -> Result<Block, (ReadError, Option<segment::Header>)> {
        let header = self.header().map_err(|error| (error, None))?;
        let Some(file) = &self.reader else { return Err((ReadError::CutOff, None)) };
        segment::block(file, self.offset, &header).map_err(|error| (error, Some(header)))
    }

    /// Goes on behind the head.
    pub(super) fn done(&mut self, newest_ms: i64) -> io::Result<()> {
        if let Ok(header) = self.header()
            && let Some(first) = self.segments.front_mut()
        {
            first.samples = first.samples.saturating_sub(u64::from(header.samples));
            self.offset = header.next(self.offset);
        }
        let segment = self.segments.front().map_or(self.next, |first| first.number);
        let position = Position { segment, offset: self.offset, newest_ms };
        // Before anything is deleted: what is there and done with is passed over, what is not there can't be.
        let written = position.write(&self.dir.join("position"));
        self.forget_what_is_done();
        written
    }

    /// Deletes segments of which nothing is to be sent any more; the one that is written to only when it is the last.
    fn forget_what_is_done(&mut self) {
        while self.segments.front().is_some_and(|first| first.samples == 0)
            && (self.segments.len() > 1 || self.writer.is_none())
        {
            self.drop_first();
        }
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.{EXTENSION}"))
}

/// The numbers of all segments, ascending. Other files are nobody's business.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn aside(path: &Path) -> PathBuf {
    let unix = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    path.with_extension(format!("aside-{unix}"))
}

fn set_aside(path: &Path, why: &str) -> String {
    let to = aside(path);
    match fs::rename(path, &to) {
        Ok(()) => {
            format!("{}: {why}; set aside as {}, what waited there is lost", path.display(), to.display())
        }
        Err(error) => format!("{}: {why}; it can't be set aside: {error}", path.display()),
    }
}

/// What can still be read of it is sent.
fn copy_aside(path: &Path, why: &str) -> String {
    let to = aside(path);
    match fs::copy(path, &to) {
        Ok(_) => format!("{}: {why}; a copy is kept as {}", path.display(), to.display()),
        Err(error) => format!("{}: {why}; no copy can be kept: {error}", path.display()),
    }
}
