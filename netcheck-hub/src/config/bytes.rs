//! Numbers of bytes as people write them.

/// Why a flag's value is no number of bytes that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BytesError {
    /// It is none.
    #[error("not a number of bytes (try 500MiB or 10GiB)")]
    None,
    /// Too few.
    #[error("must be {}MiB at least", .0 >> 20)]
    Few(u64),
}

/// Reads one.
pub(super) fn of(text: &str, least: u64) -> Result<u64, BytesError> {
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "MiB" | "Mi" => 1 << 20,
        "GiB" | "Gi" => 1 << 30,
        "TiB" | "Ti" => 1 << 40,
        _ => return Err(BytesError::None),
    };
    let number: u64 = number.parse().map_err(|_| BytesError::None)?;
    let bytes = number.checked_mul(unit).ok_or(BytesError::None)?;
    if bytes < least { Err(BytesError::Few(least)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_them() {
        for (text, expected) in
            [("10GiB", 10 << 30), ("500MB", 500_000_000), ("100Mi", 100 << 20), ("67108864", 64 << 20)]
        {
            assert_eq!(of(text, 64 << 20), Ok(expected), "{text}");
        }
        for text in ["", "GiB", "10 gigabytes", "-1GiB", "1MiB", "99999999999999999999TiB", "1.5GiB"] {
            assert!(of(text, 64 << 20).is_err(), "{text}");
        }
    }
}
