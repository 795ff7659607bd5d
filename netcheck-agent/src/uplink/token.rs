//! The token that proves to the hub which node this is. Read anew for every session, for the kubelet replaces it
//! about once an hour.

use std::io::ErrorKind;
use std::path::PathBuf;

use netcheck_common::files;
use tonic::metadata::{Ascii, MetadataValue};

/// A projected token has about 1.2 KiB.
const LONGEST: u64 = 16 << 10;

/// Why there is no token to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The file can't be read.
    #[error("cannot read --token-file {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has something else in it.
    #[error("--token-file {} holds no token", path.display())]
    NoToken {
        /// Which.
        path: PathBuf,
    },
}

/// Where the token is.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile(pub(crate) PathBuf);

impl TokenFile {
    /// The value of the `authorization` header.
    pub(crate) fn bearer(&self) -> Result<MetadataValue<Ascii>, TokenError> {
        let path = || self.0.clone();
        let read = || {
            if std::fs::metadata(&self.0)?.len() > LONGEST {
                return Ok(String::new());
            }
            let bytes = files::read(&self.0, LONGEST)?;
            String::from_utf8(bytes).map_err(|_binary| ErrorKind::InvalidData.into())
        };
        let text = read().map_err(|source| TokenError::Read { path: path(), source })?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::NoToken { path: path() });
        }
        let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
        let mut value = value.map_err(|_not_ascii| TokenError::NoToken { path: path() })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_file_now_is_shown() {
        let path = std::env::temp_dir().join(format!("netcheck-token-{}", std::process::id()));
        let file = TokenFile(path.clone());
        assert!(file.bearer().unwrap_err().to_string().contains("cannot read --token-file"));
        for (text, shown) in [("one.two.three\n", Some("Bearer one.two.three")), ("new", Some("Bearer new"))]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file.bearer().ok().as_ref().and_then(|value| value.to_str().ok()), shown);
        }
        for text in ["", " \n", "two words", "tok\u{e9}n", &"x".repeat(20_000)] {
            std::fs::write(&path, text).unwrap();
            assert!(file.bearer().unwrap_err().to_string().contains("holds no token"), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
