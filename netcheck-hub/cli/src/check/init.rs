//! Writes a commented `netcheck.yaml`, from nothing or from NetDoctor's `config.json`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::config::{Check, Config, ConfigError};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// What it would be made of.
    #[error(transparent)]
    From(#[from] ConfigError),
    /// There is one already.
    #[error("{} is there already; --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The folder can't be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A list of one line, or a comment with an example.
fn list(name: &str, words: &[String], example: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| serde_json::json!(word).to_string()).collect();
    match words {
        [] => format!("  # {name}: [{example}]\n"),
        _ => format!("  {name}: [{}]\n", quoted.join(", ")),
    }
}

/// The file's text.
pub(crate) fn text(config: &Config) -> String {
    let Check { sources, targets, kinds, vantages, .. } = &config.check;
    let mut text = "\
# What `kubectl netcheck check` does where this file is. Flags go before it.
version: 1

check:
  # Only from these nodes. Without: from all.
"
    .to_owned();
    text += &list("sources", sources, "node-a");
    text += "  # Only to these nodes, pods, services and addresses. Without: to all that is probed.\n";
    text += &list("targets", targets, "node-b, shop/web:80, kube-system/kube-dns");
    text += "  # Only these kinds of probe. Without: all.\n";
    text += &list("kinds", kinds, "icmp, udp, tcp, dns, http");
    text += "  # Probes that leave from nodes (host), from pods (pod), or both.\n";
    text += &list("vantages", vantages, "host, pod");
    text += "\
  # Samples wanted of every path.
  rounds: 1
  # When to give up. Without: as long as the hub says that it takes, twice, and 30s at least.
  # deadline: 10m

# What is expected beside reachability. Success and mean are those of all probes to a target by one kind of probe; every
# path must keep p99. Where a success is expected, it is that which shows whether lost probes are too many.
# expect: success=99.9%,p99=20ms,mean=5ms

# Paths that may fail until a day (the last on which it holds, UTC), for a reason. `*` stands for any characters.
exceptions: []
#  - source: node-a
#    target: pod/shop/legacy-*
#    kinds: [udp]
#    vantage: pod
#    until: 2026-12-31
#    reason: the old database speaks TCP only
#  - unjudged: true
#    until: 2026-12-31
#    reason: two test nodes share an address
";
    if !config.notes.is_empty() {
        text += "\n# Of NetDoctor's file:\n";
        for note in &config.notes {
            text += &format!("#   {}\n", note.replace('\n', " "));
        }
    }
    text
}

/// Writes it, and says so.
///
/// # Errors
/// See [`InitError`].
pub(crate) fn write(file: &Path, from: Option<&Path>, force: bool) -> Result<String, InitError> {
    let config = match from {
        Some(from) => Config::read(Some(from))?,
        None => Config::default(),
    };
    let unwritable = |source| InitError::Unwritable { path: file.to_owned(), source };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true);
    let mut opened = match if force { options.create(true) } else { options.create_new(true) }.open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(InitError::Exists { path: file.to_owned() });
        }
        Err(error) => return Err(unwritable(error)),
    };
    opened.write_all(text(&config).as_bytes()).map_err(unwritable)?;
    let mut said = format!("{} is written; `kubectl netcheck check` reads it\n", file.display());
    for note in &config.notes {
        said += &format!("! {note}\n");
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path = Path::new("netcheck.yaml");
        let empty = Config::parse(path, &text(&Config::default())).unwrap();
        assert_eq!((empty.version, empty.check.rounds, empty.exceptions.len()), (1, Some(1), 0));
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let check = Check {
            sources: words(&["n1", "a: b"]),
            targets: words(&["[fd00::1]:80", "shop/web"]),
            kinds: words(&["tcp"]),
            vantages: words(&["pod"]),
            rounds: Some(1),
            deadline: None,
        };
        let config =
            Config { check: check.clone(), notes: words(&["port has no counterpart"]), ..Config::default() };
        assert_eq!(Config::parse(path, &text(&config)).unwrap().check, check);
    }

    #[test]
    fn its_examples_are_what_they_say() {
        let all: String = text(&Config::default())
            .lines()
            .map(|line| match line.strip_prefix("  # ").or(line.strip_prefix("# ")) {
                Some(rest) if rest.starts_with("expect:") => format!("{rest}\n"),
                Some(rest) if rest.split(' ').next().is_some_and(|word| word.ends_with(':')) => {
                    format!("  {rest}\n")
                }
                _ if line == "exceptions: []" => "exceptions:\n".to_owned(),
                _ => format!(
                    "{}\n",
                    line.strip_prefix('#').filter(|rest| rest.starts_with("  ")).unwrap_or(line)
                ),
            })
            .collect();
        let config =
            Config::parse(Path::new("netcheck.yaml"), &all).unwrap_or_else(|error| panic!("{error}: {all}"));
        assert_eq!(config.exceptions.len(), 2, "{all}");
        assert!(config.deadline().is_some() && config.check.kinds.len() == 5, "{all}");
        config.expect.parse::<crate::check::expect::Expect>().unwrap();
        crate::check::exceptions::Exceptions::new(config.exceptions, std::time::SystemTime::now()).unwrap();
    }
}
