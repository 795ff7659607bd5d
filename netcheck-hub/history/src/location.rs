//! Where history lies under the data directory, and what becomes of files that can't be used.
//!
//! ```text
//! DATA/history/FORMAT   "netcheck-history 1"
//! DATA/history/store/   fjall
//! DATA/history.aside-UNIXTIME/
//! ```

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::store::{Disk, Memory, Store, StoreError};
use crate::tier::seconds;

/// The version of everything under `history`: keys, values, marks.
const FORMAT: u32 = 1;
const NAME: &str = "netcheck-history";

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// What was there could not be used. It was renamed, and a new history begun. Where this comes while history is
    /// written, and not when it was opened, the numbers of paths must be asked for anew, and verdicts and facts be
    /// recorded anew.
    SetAside {
        /// Its new name.
        to: PathBuf,
        /// Why.
        why: String,
    },
    /// The data directory can't be used. History is kept in memory, within bounds, until the process ends.
    InMemory {
        /// Why.
        why: String,
    },
    /// Nothing can be written for now. What comes meanwhile is lost, and counted.
    Failing {
        /// Why.
        why: String,
    },
    /// It can be written again.
    Resumed,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { to, why } => {
                write!(
                    f,
                    "history could not be read ({why}): set aside as {}, a new one is begun",
                    to.display()
                )
            }
            Self::InMemory { why } => write!(f, "history is kept in memory only: {why}"),
            Self::Failing { why } => write!(f, "history can't be written: {why}"),
            Self::Resumed => f.write_str("history is written again"),
        }
    }
}

/// The data directory.
#[derive(Clone, Debug)]
pub(crate) struct Location(PathBuf);

impl Location {
    pub(crate) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    fn home(&self) -> PathBuf {
        self.0.join("history")
    }

    /// Opens what is there, or begins anew. What can't be used is set aside; without a usable directory it is memory.
    pub(crate) fn open(&self, now_ns: i64) -> (Store, Vec<Note>) {
        let mut notes = Vec::new();
        let mut opened = self.open_as_is();
        if let Err(error @ (StoreError::Damaged(_) | StoreError::Newer(_))) = opened {
            opened = self.begin_anew(&error.to_string(), now_ns, &mut notes);
        }
        let store = match opened {
            Ok(disk) => Store::Disk(disk),
            Err(error) => {
                notes.push(Note::InMemory { why: error.to_string() });
                Store::Memory(Memory::default())
            }
        };
        (store, notes)
    }

    /// Opens what is there, or begins where there is nothing.
    ///
    /// # Errors
    /// If it can't be used.
    pub(crate) fn open_as_is(&self) -> Result<Disk, StoreError> {
        let home = self.home();
        match fs::read(home.join("FORMAT")) {
            Ok(text) => known(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.begin()?,
            Err(error) => return Err(error.into()),
        }
        Disk::open(&home.join("store"))
    }

    /// Sets aside what is there and begins anew.
    ///
    /// # Errors
    /// If the new one can't be used.
    pub(crate) fn begin_anew(
        &self,
        why: &str,
        now_ns: i64,
        notes: &mut Vec<Note>,
    ) -> Result<Disk, StoreError> {
        let name = format!("history.aside-{}", seconds(now_ns));
        let names = (0..).map(|again| if again == 0 { name.clone() } else { format!("{name}-{again}") });
        let free = names.map(|name| self.0.join(name)).find(|path| fs::symlink_metadata(path).is_err());
        let to = free.ok_or_else(|| StoreError::Io("no free name".into()))?;
        fs::rename(self.home(), &to)?;
        notes.push(Note::SetAside { to, why: why.to_owned() });
        self.open_as_is()
    }

    /// Marks the directory as history, where nothing else is in it.
    fn begin(&self) -> Result<(), StoreError> {
        let home = self.home();
        fs::create_dir_all(&home)?;
        let new = home.join("FORMAT.new");
        for entry in fs::read_dir(&home)? {
            let path = entry?.path();
            if path != new {
                return Err(StoreError::Damaged(format!("{} is not history", path.display())));
            }
        }
        let mut file = fs::File::create(&new)?;
        writeln!(file, "{NAME} {FORMAT}")?;
        file.sync_all()?;
        fs::rename(&new, home.join("FORMAT"))?;
        // The name is on the disk when its directory is.
        Ok(fs::File::open(&home)?.sync_all()?)
    }
}

fn known(text: &[u8]) -> Result<(), StoreError> {
    let text = String::from_utf8_lossy(text);
    let version = text.trim_end().strip_prefix(NAME).and_then(|version| version.trim().parse::<u32>().ok());
    match version {
        Some(FORMAT) => Ok(()),
        Some(newer) if newer > FORMAT => Err(StoreError::Newer(format!("format {newer}"))),
        _ => Err(StoreError::Damaged("it does not say that it is history".into())),
    }
}
