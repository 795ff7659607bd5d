//! What a lab leaves on disk, so that whoever comes next can clean up after a driver that was killed:
//! `/run/netcheck-lab/NAME/` with a record, the active faults, the processes, logs and the inventory, and
//! `/run/netcheck-lab/NAME.lock`, held while a driver is at work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::spec::{LabSpec, check_name};

/// Where all labs keep their state.
const ROOT: &str = "/run/netcheck-lab";

/// Written before anything is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) spec: LabSpec,
    /// Process id of whoever raised the lab.
    pub(crate) driver: u32,
    /// Whether it came up; a record without is what a killed driver left.
    pub(crate) complete: bool,
}

/// The state folder of one lab.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    dir: PathBuf,
    lock: PathBuf,
}

impl StateDir {
    pub(crate) fn new(name: &str) -> Result<Self> {
        check_name(name)?;
        let root = Path::new(ROOT);
        Ok(Self { dir: root.join(name), lock: root.join(format!("{name}.lock")) })
    }

    /// Names of all labs that left state here.
    pub(crate) fn names() -> Result<Vec<String>> {
        let entries = match fs::read_dir(ROOT) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("reading {ROOT}")),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn create(&self) -> Result<()> {
        for dir in [self.dir.clone(), self.dir.join("log"), self.dir.join("process")] {
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        Ok(())
    }

    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("deleting {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(name)
    }

    /// Takes the lab's name for this process.
    pub(crate) fn lock(&self) -> Result<LabLock> {
        fs::create_dir_all(ROOT).with_context(|| format!("creating {ROOT}"))?;
        loop {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.lock)?;
            if flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive).is_err() {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                bail!("lab is in use by process {}; stop that first", holder.trim());
            }
            // Its last holder may have deleted the file between our open and our lock.
            let same =
                fs::metadata(&self.lock).is_ok_and(|now| file.metadata().is_ok_and(|m| m.ino() == now.ino()));
            if same {
                file.set_len(0)?;
                file.rewind()?;
                write!(file, "{}", std::process::id())?;
                return Ok(LabLock { file, path: self.lock.clone() });
            }
        }
    }

    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        write_atomically(&self.dir.join("lab.json"), &serde_json::to_vec_pretty(record)?)
    }

    pub(crate) fn record(&self) -> Result<Option<Record>> {
        match fs::read(self.dir.join("lab.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).context("reading the lab's record"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("reading the lab's record"),
        }
    }

    /// The active faults, in the order they were injected.
    pub(crate) fn faults(&self) -> Result<Vec<Fault>> {
        match fs::read_to_string(self.dir.join("faults")) {
            Ok(text) => text.lines().map(str::parse).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).context("reading the active faults"),
        }
    }

    pub(crate) fn write_faults(&self, faults: &[Fault]) -> Result<()> {
        let text: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
        write_atomically(&self.dir.join("faults"), text.as_bytes())
    }

    /// Held while faults are injected or healed, by whichever process.
    pub(crate) fn lock_faults(&self) -> Result<File> {
        let path = self.dir.join("faults.lock");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        flock(file.as_fd(), FlockOperation::LockExclusive).context("locking the active faults")?;
        Ok(file)
    }
}

/// The hold on a lab's name; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct LabLock {
    file: File,
    path: PathBuf,
}

impl Drop for LabLock {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.path);
        _ = flock(self.file.as_fd(), FlockOperation::Unlock);
    }
}

/// Readers see the old or the new content, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes).with_context(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("replacing {}", path.display()))
}
