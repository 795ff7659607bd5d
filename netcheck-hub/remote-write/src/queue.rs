//! Blocks that wait for their receiver: on disk, and in memory where there is none or where it fails.
//!
//! ```text
//! push ─▶ [ segment ][ segment ][ segment being written ] ─▶ [ memory ]
//!           ▲ head: the oldest block; `position` says where
//! ```
//!
//! What is in memory is newer than all that is on the disk. Once something had to go there, everything does until it is empty
//! again, so that the order stays. Nothing here looks at a clock or waits for anything but the disk. What can't be read is
//! set aside and counted; it never keeps the queue from opening.

use std::collections::VecDeque;
use std::path::Path;

use self::disk::Disk;
use crate::cutter::Block;

mod disk;
mod position;
mod segment;

/// How much may wait. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On disk.
    pub disk: u64,
    /// In memory, of blocks for which there is no room or no disk.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { disk: 512 << 20, memory: 64 << 20 }
    }
}

/// The oldest block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Names it until it is gone.
    pub number: u64,
    /// What is to be sent.
    pub block: Block,
}

/// Blocks in the order of their times.
#[derive(Debug)]
pub struct Queue {
    disk: Option<Disk>,
    memory: VecDeque<Block>,
    memory_bytes: u64,
    limits: Limits,
    number: u64,
    newest_ms: i64,
    lost: u64,
    notes: Vec<String>,
    /// Why it is in memory though it was meant to be on the disk: said as long as it is.
    in_memory: Option<String>,
}

fn bytes_of(block: &Block) -> u64 {
    block.bytes.len() as u64
}

impl Queue {
    /// With what an earlier run left in the directory, which is made. Without one, or where it is of no use, everything is
    /// in memory. Always succeeds; [`Self::take_notes`] says what is amiss.
    #[must_use]
    pub fn open(dir: Option<&Path>, limits: Limits) -> Self {
        let mut queue = Self {
            disk: None,
            memory: VecDeque::new(),
            memory_bytes: 0,
            limits,
            number: 0,
            newest_ms: i64::MIN,
            lost: 0,
            notes: Vec::new(),
            in_memory: None,
        };
        let Some(dir) = dir else { return queue };
        match Disk::open(dir, limits.disk, &mut queue.notes) {
            Ok((disk, newest_ms)) => {
                queue.disk = Some(disk);
                queue.newest_ms = newest_ms;
            }
            Err(error) => {
                let why = format!("the queue is in memory, and lost with the hub's process: {error}");
                queue.in_memory = Some(why);
            }
        }
        queue
    }

    /// The time of the newest block that was ever pushed, as far as is known; unix milliseconds.
    #[must_use]
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Samples that wait.
    #[must_use]
    pub fn samples(&self) -> u64 {
        let memory: u64 = self.memory.iter().map(|block| u64::from(block.samples)).sum();
        memory + self.disk.as_ref().map_or(0, Disk::samples)
    }

    /// Bytes that are taken up.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory_bytes + self.disk.as_ref().map_or(0, Disk::bytes)
    }

    /// Samples that were given up since this was asked last: there was no room, or they can't be read any more.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// What is amiss, for people, since this was asked last.
    pub fn take_notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(self.in_memory.clone());
        notes
    }

    /// Adds blocks of one time behind all others. Where there is no room, the oldest go.
    pub fn push(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            self.newest_ms = self.newest_ms.max(block.time_ms);
            match &mut self.disk {
                Some(disk) if self.memory.is_empty() => {
                    if let Err(error) = disk.push(&block) {
                        self.note(format!("what waits is kept in memory for now: {error}"));
                        self.keep_in_memory(block);
                    }
                }
                _ => self.keep_in_memory(block),
            }
        }
        if let Some(disk) = &mut self.disk {
            // Without it, a machine that fails loses some seconds more.
            if let Err(error) = disk.sync() {
                self.notes.push(format!("the queue can't be synced: {error}"));
            }
            let (lost, head) = disk.make_room();
            self.lost += lost;
            self.number += u64::from(head);
        }
        while self.memory_bytes > self.limits.memory {
            let Some(block) = self.memory.pop_front() else { break };
            self.memory_bytes -= bytes_of(&block);
            self.lost += u64::from(block.samples);
            // Behind what is on the disk, it was not the head.
            self.number += u64::from(self.disk.as_ref().is_none_or(Disk::is_empty));
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn keep_in_memory(&mut self, block: Block) {
        self.memory_bytes += bytes_of(&block);
        self.memory.push_back(block);
    }

    /// The oldest block. It stays until it is [`done`](Self::done), or there is no room for it.
    pub fn head(&mut self) -> Option<Head> {
        if let Some(disk) = &mut self.disk {
            let (block, lost) = disk.head(&mut self.notes);
            self.lost += lost;
            if let Some(block) = block {
                return Some(Head { number: self.number, block });
            }
        }
        let block = self.memory.front()?.clone();
        Some(Head { number: self.number, block })
    }

    /// The receiver has the block of that number, or never will. Nothing happens where it is gone already.
    pub fn done(&mut self, number: u64) {
        if number != self.number {
            return;
        }
        self.number += 1;
        if let Some(disk) = self.disk.as_mut().filter(|disk| !disk.is_empty()) {
            if let Err(error) = disk.done(self.newest_ms) {
                self.note(format!("what was sent can't be noted and is sent again after a restart: {error}"));
            }
        } else if let Some(block) = self.memory.pop_front() {
            self.memory_bytes -= bytes_of(&block);
        }
    }
}

#[cfg(test)]
mod tests;
