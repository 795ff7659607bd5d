//! What was sent, over restarts of the hub.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::sent_log::{Change, Sent};

/// First word of a store's file. Another one is another version's, or nobody's.
const FORMAT: &str = "netcheck-notify 1";

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a store's file is of no use.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{source}")]
    File { source: io::Error },
    #[error("{source}")]
    Json { source: serde_json::Error },
    /// Another version's, or nobody's.
    #[error("it has the format {found:?}")]
    Format { found: String },
}

/// Keeps what one receiver was sent. Called on a thread that may wait for a disk.
pub trait SentStore: Send + Sync + 'static {
    /// All that is kept, by incident; and what is wrong with it, for people. What can't be read is set aside, so that a hub
    /// always starts.
    fn load(&self) -> (Vec<(String, Sent)>, Vec<String>);

    /// Keeps these.
    ///
    /// # Errors
    /// They can't be written. They are kept in memory then, and written with the next.
    fn save(&self, changes: &[Change]) -> Result<(), StoreError>;
}

fn apply(all: &mut BTreeMap<String, Sent>, changes: &[Change]) {
    for Change { key, sent } in changes {
        match sent {
            Some(sent) => drop(all.insert(key.clone(), sent.clone())),
            None => drop(all.remove(key)),
        }
    }
}

/// Keeps it as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<String, Sent>>);

impl SentStore for MemoryStore {
    fn load(&self) -> (Vec<(String, Sent)>, Vec<String>) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (all.clone().into_iter().collect(), Vec::new())
    }

    fn save(&self, changes: &[Change]) -> Result<(), StoreError> {
        apply(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), changes);
        Ok(())
    }
}

/// Keeps it in a file, which is written whole, beside the old one, and put in its place: some kilobytes for each open
/// incident.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    all: Mutex<BTreeMap<String, Sent>>,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    format: String,
    open: BTreeMap<String, Sent>,
}

impl FileStore {
    /// In the directory `dir`, which is made. `name` is the receiver's: it may hold anything.
    #[must_use]
    pub fn new(dir: &Path, name: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let readable: String = name.chars().map(plain).take(64).collect();
        // Two names that read alike have files of their own.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { path: dir.join(format!("{readable}-{hash:016x}.json")), all: Mutex::default() }
    }

    fn read(&self) -> Result<BTreeMap<String, Sent>, ReadError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(ReadError::File { source }),
        };
        let contents: Contents =
            serde_json::from_slice(&text).map_err(|source| ReadError::Json { source })?;
        if contents.format == FORMAT {
            Ok(contents.open)
        } else {
            Err(ReadError::Format { found: contents.format })
        }
    }

    fn write(&self, open: &BTreeMap<String, Sent>) -> io::Result<()> {
        let contents = Contents { format: FORMAT.to_owned(), open: open.clone() };
        let text = serde_json::to_vec(&contents)?;
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let new = self.path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(&new, &self.path)
    }

    /// Takes a file that is of no use out of the way.
    fn set_aside(&self, why: &ReadError) -> String {
        let unix = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let aside = self.path.with_extension(format!("json.aside-{unix}"));
        let after = "alerts of an earlier run may be sent again";
        match fs::rename(&self.path, &aside) {
            Ok(()) => format!(
                "what was sent can't be read ({why}): it is set aside as {}, {after}",
                aside.display()
            ),
            Err(error) => {
                format!("{} can't be read ({why}) nor set aside ({error}): {after}", self.path.display())
            }
        }
    }
}

impl SentStore for FileStore {
    fn load(&self) -> (Vec<(String, Sent)>, Vec<String>) {
        let (all, notes) = match self.read() {
            Ok(all) => (all, Vec::new()),
            Err(why) => (BTreeMap::new(), vec![self.set_aside(&why)]),
        };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&all);
        (all.into_iter().collect(), notes)
    }

    fn save(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        apply(&mut all, changes);
        self.write(&all).map_err(|source| StoreError::Write { path: self.path.clone(), source })
    }
}
