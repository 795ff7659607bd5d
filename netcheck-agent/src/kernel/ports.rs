//! Bitmaps of ports in the kernel: what sends a packet into the slow path, and what drops are watched for.

use std::collections::HashMap;

use aya::maps::{Array, MapData};
use netcheck_common::abi;
use tracing::warn;

/// [`abi::maps::PORT_PREFILTER`].
type Prefilter = [u8; abi::maps::PORT_PREFILTER_BYTES];
/// Words of the bitmap for each byte of the prefilter.
const WORDS_PER_BYTE: usize = abi::maps::PORTS_ENTRIES as usize / abi::maps::PORT_PREFILTER_BYTES;

/// A bitmap of ports in the kernel, with how often each is wanted.
pub(crate) struct PortBits {
    map: Array<MapData, u64>,
    /// [`abi::maps::PORT_PREFILTER`], of the bitmap that has one, and what is in it.
    prefilter: Option<(Array<MapData, Prefilter>, Prefilter)>,
    /// As in the kernel.
    words: Box<[u64; abi::maps::PORTS_ENTRIES as usize]>,
    /// Those that stay.
    fixed: Box<[u64; abi::maps::PORTS_ENTRIES as usize]>,
    wanted: HashMap<u16, u32>,
}

impl PortBits {
    /// No port is set.
    pub(crate) fn new(map: Array<MapData, u64>) -> Self {
        let none = Box::new([0; abi::maps::PORTS_ENTRIES as usize]);
        Self { map, prefilter: None, words: none.clone(), fixed: none, wanted: HashMap::new() }
    }

    /// The same, with a prefilter before it.
    pub(crate) fn prefiltered(map: Array<MapData, u64>, prefilter: Array<MapData, Prefilter>) -> Self {
        Self { prefilter: Some((prefilter, [0; abi::maps::PORT_PREFILTER_BYTES])), ..Self::new(map) }
    }

    /// Sets ports for good.
    pub(crate) fn fix(&mut self, ports: impl IntoIterator<Item = u16>) {
        for port in ports {
            self.fixed[usize::from(port >> 6)] |= 1 << (port & 63);
        }
        for word in 0..self.words.len() {
            if self.fixed[word] & !self.words[word] != 0 {
                self.write(word, self.words[word] | self.fixed[word]);
            }
        }
    }

    /// Sets a port until it is released as often.
    pub(crate) fn want(&mut self, port: u16) {
        let count = self.wanted.entry(port).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.set(port, true);
        }
    }

    /// Undoes one [`PortBits::want`].
    pub(crate) fn release(&mut self, port: u16) {
        if let Some(count) = self.wanted.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(&port);
                self.set(port, false);
            }
        }
    }

    /// Ports that are wanted, those for good not among them.
    pub(crate) fn wanted(&self) -> Vec<u16> {
        self.wanted.keys().copied().collect()
    }

    /// Writes the prefilter as the bitmap is.
    fn write_prefilter(&mut self) {
        let Some((map, prefilter)) = &mut self.prefilter else { return };
        let now = prefilter_of(&self.words);
        if now == *prefilter {
            return;
        }
        match map.set(0, now, 0) {
            Ok(()) => *prefilter = now,
            Err(error) => warn!(%error, "the kernel's prefilter of ports can't be written"),
        }
    }

    fn set(&mut self, port: u16, set: bool) {
        let (word, bit) = (usize::from(port >> 6), 1 << (port & 63));
        let bits = if set { self.words[word] | bit } else { self.words[word] & !bit | self.fixed[word] };
        if bits != self.words[word] {
            self.write(word, bits);
        }
    }

    fn write(&mut self, word: usize, bits: u64) {
        // A port must not be missing in the prefilter while it is in the bitmap.
        let before = self.words[word];
        self.words[word] |= bits;
        if before & bits != bits {
            self.write_prefilter();
        }
        self.words[word] = bits;
        if before & bits != before {
            self.write_prefilter();
        }
        if let Err(error) = self.map.set(word as u32, bits, 0) {
            warn!(word, %error, "the kernel's table of ports can't be written");
        }
    }
}

fn prefilter_of(words: &[u64; abi::maps::PORTS_ENTRIES as usize]) -> Prefilter {
    let mut prefilter = [0; abi::maps::PORT_PREFILTER_BYTES];
    for (byte, words) in prefilter.iter_mut().zip(words.chunks_exact(WORDS_PER_BYTE)) {
        *byte = u8::from(words.iter().any(|&word| word != 0));
    }
    prefilter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_high_bytes_of_ports_pass_the_prefilter() {
        for port in [0, 255, 256, 6100, 8472, 61_000, 64_999, u16::MAX] {
            let mut words = [0; abi::maps::PORTS_ENTRIES as usize];
            words[usize::from(port >> 6)] |= 1 << (port & 63);
            let prefilter = prefilter_of(&words);
            for high in 0..=u8::MAX {
                assert_eq!(
                    prefilter[usize::from(high)] != 0,
                    high == port.to_be_bytes()[0],
                    "{port}, {high}"
                );
            }
        }
    }
}
