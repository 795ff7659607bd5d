//! Files that are read as a whole: regular ones, up to a size.
//!
//! A path from a command line may lead to a FIFO, at which a reader waits for ever, or to a device that never ends.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// `O_NONBLOCK` of Linux: opening a FIFO does not wait for whoever writes into it.
const NONBLOCK: i32 = 0o4000;
/// As long as keys, certificates and tokens get.
pub const SMALL: u64 = 1 << 20;
/// As long as inventories get: some hundred megabytes for the largest clusters.
pub const LARGE: u64 = 1 << 30;

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// It can't be read, is no regular file, or is longer.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(most)).unwrap_or(0));
    // It may grow meanwhile, or be one of those whose length is not known.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_files_that_end() {
        let folder = std::env::temp_dir().join(format!("netcheck-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (plain, fifo) = (folder.join("plain"), folder.join("fifo"));
        std::fs::write(&plain, "twelve bytes").unwrap();
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert_eq!(read(&plain, 12).unwrap(), b"twelve bytes");
        assert_eq!(read(&plain, 11).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        for other in [&fifo, Path::new("/dev/zero"), &folder] {
            let error = read(other, SMALL).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{}: {error}", other.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
