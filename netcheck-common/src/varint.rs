//! Numbers of variable length: LEB128, seven bits a byte, the lowest first.

use std::fmt;

/// Bytes that hold no number, or not the length that they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end too early.
    Short,
    /// A number or text that can't be.
    Range,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the value ends too early",
            Self::Range => "the value holds what can't be",
        })
    }
}

impl std::error::Error for Error {}

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that may be negative: 0, −1, 1, −2, …
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends bytes after their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What is left to be read of an encoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte.
    ///
    /// # Errors
    /// [`Error::Short`].
    pub fn byte(&mut self) -> Result<u8, Error> {
        let (&first, rest) = self.0.split_first().ok_or(Error::Short)?;
        self.0 = rest;
        Ok(first)
    }

    /// The next number.
    ///
    /// # Errors
    /// [`Error::Short`], or [`Error::Range`] where it has more than 64 bits.
    #[inline]
    pub fn number(&mut self) -> Result<u64, Error> {
        match self.0 {
            [first, rest @ ..] if *first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*first))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Error::Range);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Range)
    }

    /// The next number that may be negative.
    ///
    /// # Errors
    /// As [`Cursor::number`].
    #[inline]
    pub fn signed(&mut self) -> Result<i64, Error> {
        let value = self.number()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The next number, of a narrower type.
    ///
    /// # Errors
    /// As [`Cursor::number`], and [`Error::Range`] where it does not fit.
    #[inline]
    pub fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, Error> {
        T::try_from(self.number()?).map_err(|_| Error::Range)
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Error::Short`] where there are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Error::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Bytes after their length.
    ///
    /// # Errors
    /// [`Error::Short`] where there are fewer.
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = self.narrow()?;
        self.take(len)
    }

    /// Text after its length.
    ///
    /// # Errors
    /// As [`Cursor::bytes`], and [`Error::Range`] where it is not UTF-8.
    pub fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Error::Range)
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_signed(&mut out, signed);
            let mut cursor = Cursor(&out);
            prop_assert_eq!(cursor.number().unwrap(), value);
            prop_assert_eq!(cursor.signed().unwrap(), signed);
            prop_assert!(cursor.is_empty());
            prop_assert!(Cursor(&out[..1]).number().is_ok() == (value < 0x80));
        }
    }
}
