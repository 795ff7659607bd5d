//! Which path is which: a number for each, the same for as long as history speaks of it.

use std::net::IpAddr;

use netcheck_common::domain::{ProbeKind, Vantage};

use crate::codec::{Malformed, VERSION};
use netcheck_common::varint::{self, Cursor};

/// A path in history. Never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathNumber(pub u32);

/// What makes a path the same path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathIdentity {
    /// The node that probes.
    pub source: String,
    /// Where its probes start.
    pub vantage: Vantage,
    /// The target's id, as `node/NAME`.
    pub target: String,
    /// With what it is probed.
    pub kind: ProbeKind,
    /// The address probed.
    pub address: IpAddr,
    /// 0 where there is none.
    pub port: u16,
    /// What distinguishes it from other paths that have all this in common; empty where nothing does.
    pub detail: String,
}

impl PathIdentity {
    /// As bytes: texts after their lengths, enumerations as numbers, the address with its length.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::put_bytes(&mut out, self.source.as_bytes());
        out.push(u8::from(self.vantage == Vantage::Pod));
        varint::put_bytes(&mut out, self.target.as_bytes());
        out.push(code(self.kind));
        match self.address {
            IpAddr::V4(address) => varint::put_bytes(&mut out, &address.octets()),
            IpAddr::V6(address) => varint::put_bytes(&mut out, &address.octets()),
        }
        varint::put(&mut out, u64::from(self.port));
        varint::put_bytes(&mut out, self.detail.as_bytes());
        out
    }

    /// Reads it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        match cursor.byte()? {
            VERSION => {}
            version => return Err(Malformed::Version(version)),
        }
        let source = cursor.text()?;
        let vantage = match cursor.byte()? {
            0 => Vantage::Host,
            1 => Vantage::Pod,
            _ => return Err(Malformed::Range),
        };
        let target = cursor.text()?;
        let byte = cursor.byte()?;
        let kind = ProbeKind::ALL.into_iter().find(|kind| code(*kind) == byte).ok_or(Malformed::Range)?;
        let address = cursor.bytes()?;
        let address = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
            (Ok(octets), _) => IpAddr::from(octets),
            (_, Ok(octets)) => IpAddr::from(octets),
            _ => return Err(Malformed::Range),
        };
        Ok(Self { source, vantage, target, kind, address, port: cursor.narrow()?, detail: cursor.text()? })
    }
}

/// A kind's number on disk, which stays what it is: a new kind gets the next one.
const fn code(kind: ProbeKind) -> u8 {
    match kind {
        ProbeKind::Icmp => 0,
        ProbeKind::Udp => 1,
        ProbeKind::Tcp => 2,
        ProbeKind::Dns => 3,
        ProbeKind::Http => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_identity_comes_back(
            source in ".{0,9}", target in ".{0,9}", detail in ".{0,9}", kind in 0..ProbeKind::ALL.len(),
            address: IpAddr, port: u16, pod: bool,
        ) {
            let vantage = if pod { Vantage::Pod } else { Vantage::Host };
            let kind = ProbeKind::ALL[kind];
            let path = PathIdentity { source, vantage, target, kind, address, port, detail };
            let bytes = path.encode();
            prop_assert_eq!(PathIdentity::decode(&bytes), Ok(path));
            for len in 0..bytes.len() {
                prop_assert!(PathIdentity::decode(&bytes[..len]).is_err());
            }
        }
    }
}
