//! What the command lines of all binaries have in common: how bad usage ends, and how a token is read from its file.

use std::io;
use std::path::{Path, PathBuf};

use netcheck_common::files;

/// The exit code of bad usage: EX_USAGE of sysexits.h.
pub const EXIT_USAGE: u8 = 64;
/// A token of fewer bytes can be guessed.
const SHORTEST: usize = 16;

/// What a command line's parser says, in one line: its first paragraph.
#[must_use]
pub fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").map(ToOwned::to_owned).unwrap_or(line)
}

/// Why there is no readers' token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in the file is no token.
    #[error("{}: no token in it; a token is {SHORTEST} or more visible ASCII characters", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the readers' token from a file, without the blanks around it.
///
/// # Errors
/// See [`TokenError`].
pub fn read_token(path: &Path) -> Result<String, TokenError> {
    let text = files::read(path, files::SMALL)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_binary| io::ErrorKind::InvalidData.into()))
        .map_err(|source| TokenError::Unreadable { path: path.to_owned(), source })?;
    let token = text.trim();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::NoToken { path: path.to_owned() });
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_paragraph_in_one_line() {
        let clap = "error: invalid value 'x' for '--hub <URL>':\n  names no host\n\nFor more information, try '--help'.\n";
        assert_eq!(one_line(clap), "invalid value 'x' for '--hub <URL>': names no host");
        assert_eq!(one_line(""), "");
    }
}
