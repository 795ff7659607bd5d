//! Hashes that are the same on every machine, in every process and in every version: where agents and hub spread things,
//! they spread them alike.

/// FNV-1a, 64 bits, of pieces that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    /// Takes in more bytes.
    #[must_use]
    pub fn write(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    /// The hash of all bytes so far.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }
}

/// FNV-1a, 64 bits. Neighbouring inputs have neighbouring hashes: see [`splitmix64`].
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    Fnv1a::default().write(bytes).finish()
}

/// One step of the generator splitmix64: spreads neighbouring numbers over all 64 bits.
#[must_use]
pub const fn splitmix64(number: u64) -> u64 {
    splitmix64_finish(number.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// The finaliser of splitmix64, a bijection: every bit of the result depends on every bit of the number.
#[must_use]
pub const fn splitmix64_finish(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // From the FNV draft's test vectors (draft-eastlake-fnv).
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(Fnv1a::default().write(b"foo").write(b"bar").finish(), fnv1a(b"foobar"));
        // The generator's first output for the seed 0.
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
    }
}
