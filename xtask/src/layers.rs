//! `cargo xtask test layers`: which folder of a crate may import which.
//!
//! In: the sources of the crates that have a table here. Out: an error that names file and line of each import that the
//! table does not allow. A table lists the lowest layer first: a folder imports only folders of earlier rows, and of
//! these only the ones that its own row names. So no circle of imports can arise.
//!
//! The messages of the contract are named in few modules of a crate whose table says in which.
//!
//! Paths are found in tokens, not in text: in `use` groups, in expressions, in the arguments of macros. `lib.rs` and
//! `main.rs` put the folders together and may import all of them, as may tests (modules by the name of `tests`): a test
//! of a lower layer may set up what is built on it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::tools::root;

mod scan;

use scan::{Import, imports, messages};

/// What one crate's folders may import.
pub(crate) struct Table {
    /// The crate's directory, as seen from the root of the repository.
    crate_dir: &'static str,
    /// Each folder (or file beside `lib.rs`), lowest layer first, and the folders that it may import.
    rows: &'static [Row],
    /// Modules that may name the messages of the contract, with all below them; none: all may.
    messages: &'static [&'static str],
}

type Row = (&'static str, &'static [&'static str]);

/// All crates whose folders are held to an order.
const TABLES: &[Table] = &[AGENT, ANALYSIS, HUB];

/// The agent.
#[rustfmt::skip]
const AGENT: Table = Table {
    crate_dir: "netcheck-agent",
    messages: &[],
    rows: &[
        ("model", &[]),
        ("host", &["model"]),
        ("net", &["host", "model"]),
        ("plan", &["host", "model", "net"]),
        ("vantage", &["host", "model", "net"]),
        ("responder", &["host", "model", "net"]),
        ("relay", &["model", "net"]),
        ("measure", &["host", "model"]),
        ("probe", &["host", "model", "net", "plan", "vantage", "measure"]),
        ("kernel", &["host", "model", "net"]),
        ("culprit", &["host", "model", "net"]),
        ("engine", &["host", "model", "net", "plan", "vantage", "measure", "probe"]),
        ("uplink", &["host", "model", "net", "plan", "relay", "engine"]),
        ("config", &["plan", "uplink"]),
        ("admin", &["host", "model", "responder", "relay", "uplink", "config"]),
        ("vantage_app", &["net", "vantage", "responder", "config"]),
        ("app", &["host", "model", "net", "plan", "vantage", "responder", "relay", "probe", "kernel", "culprit", "engine", "uplink", "config", "admin"]),
        ("foreign", &["plan", "probe", "vantage"]),
    ],
};

/// The hub's pure part.
#[rustfmt::skip]
const ANALYSIS: Table = Table {
    crate_dir: "netcheck-hub/analysis",
    messages: &["wire"],
    rows: &[
        ("model", &[]),
        ("words", &["model"]),
        ("cluster", &[]),
        ("plan", &["model", "words", "cluster"]),
        ("evidence", &["model", "words", "cluster", "plan"]),
        ("matrix", &["model", "words", "cluster", "plan", "evidence"]),
        ("meter", &["model", "cluster", "plan", "matrix"]),
        ("incident", &["model", "words", "cluster", "plan", "matrix"]),
        ("wire", &["model", "cluster", "plan", "evidence", "matrix", "incident"]),
    ],
};

/// The hub around it.
#[rustfmt::skip]
const HUB: Table = Table {
    crate_dir: "netcheck-hub",
    messages: &[],
    rows: &[
        ("inventory", &[]),
        ("state", &["inventory"]),
        ("view", &["state"]),
        ("metrics", &["state"]),
        ("serve", &["inventory", "state", "view", "metrics"]),
        ("scheduled", &["inventory", "state", "serve"]),
        ("deliver", &["state", "metrics"]),
        ("config", &["state", "serve", "deliver"]),
        ("telemetry", &["config"]),
        ("app", &["inventory", "state", "serve", "scheduled", "deliver", "config"]),
        ("foreign", &["state", "serve"]),
    ],
};

/// An import that a table does not allow.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    /// As seen from the crate's `src`.
    file: PathBuf,
    line: usize,
    folder: String,
    imported: String,
    why: &'static str,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, folder, imported, why } = self;
        write!(f, "{}:{line}: {folder} imports {imported}, {why}", file.display())
    }
}

/// Checks the sources of all crates that have a table.
///
/// # Errors
/// An import is not allowed, or a table and the folders are not the same.
pub(crate) fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for table in TABLES {
        let found = table.check(&root().join(table.crate_dir).join("src"))?;
        wrong.extend(found.iter().map(|breach| format!("{}/src/{breach}", table.crate_dir)));
    }
    if !wrong.is_empty() {
        bail!("{} imports that the tables do not allow:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

impl Table {
    fn check(&self, src: &Path) -> Result<Vec<Breach>> {
        let mut files = Vec::new();
        sources(src, &mut files)?;
        files.sort();
        let mut breaches = Vec::new();
        let mut folders = Vec::new();
        for file in files {
            let inside = file.strip_prefix(src)?;
            let module = module_of(inside);
            let Some(folder) = module.first().filter(|_| !module.iter().any(|name| name == "tests")) else {
                continue;
            };
            folders.push(folder.clone());
            let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            breaches.extend(self.breaches(inside, &module, &text)?);
        }
        if let Some((gone, _)) = self.rows.iter().find(|(row, _)| !folders.iter().any(|folder| folder == row))
        {
            bail!("{} has no folder {gone}, but a row for it", self.crate_dir);
        }
        Ok(breaches)
    }

    /// What one file imports against the table.
    fn breaches(&self, file: &Path, module: &[String], text: &str) -> Result<Vec<Breach>> {
        let folder = &module[0];
        let found =
            imports(text, module).with_context(|| format!("read the tokens of {}", file.display()))?;
        let breach = |Import { line, folder: imported }| {
            let why = self.refusal(folder, &imported)?;
            Some(Breach { file: file.to_owned(), line, folder: folder.clone(), imported, why })
        };
        let mut breaches: Vec<Breach> = found.into_iter().filter_map(breach).collect();
        let module = module.join("/");
        let within = |known: &&str| {
            module.strip_prefix(known).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        if !self.messages.is_empty() && !self.messages.iter().any(within) {
            breaches.extend(messages(text)?.into_iter().map(|line| Breach {
                file: file.to_owned(),
                line,
                folder: folder.clone(),
                imported: "netcheck_proto::v1".to_owned(),
                why: "messages, which only the modules know that read and write them",
            }));
        }
        Ok(breaches)
    }

    /// Why a folder may not import another; none where it may.
    fn refusal(&self, folder: &str, imported: &str) -> Option<&'static str> {
        let position = |name| self.rows.iter().position(|&(row, _)| row == name);
        let Some(own) = position(folder) else { return Some("and has no row in the table of layers") };
        match position(imported) {
            _ if folder == imported => None,
            None => Some("which is no folder of the table of layers"),
            Some(other) if other > own => Some("which is a higher layer: an import upwards"),
            Some(_) if !self.rows[own].1.contains(&imported) => Some("which its row does not name"),
            Some(_) => None,
        }
    }
}

/// All Rust files below a directory.
fn sources(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The path of a file's module below the crate; empty for the crate's own files and for binaries.
fn module_of(inside: &Path) -> Vec<String> {
    let names = inside.with_extension("");
    let names: Vec<String> = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    match names.first().map(String::as_str) {
        Some("lib" | "main" | "bin") => Vec::new(),
        _ => names,
    }
}

#[cfg(test)]
mod tests;
