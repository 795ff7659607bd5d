//! Domain types to and from their wire form.

use std::net::IpAddr;

use netcheck_common::domain::{Family, Outcome, ProbeKind, Vantage};

use crate::v1;

/// A field of a message that does not say what its type promises.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidField {
    /// An enum value that is unspecified or unknown here.
    #[error("{field}: {value} is not a known value")]
    UnknownValue {
        /// The message's field.
        field: &'static str,
        /// What stood there.
        value: i32,
    },
    /// An address that has neither 4 nor 16 bytes.
    #[error("{field}: an address has 4 or 16 bytes, not {len}")]
    AddressLength {
        /// The message's field.
        field: &'static str,
        /// How many bytes stood there.
        len: usize,
    },
    /// A port above 65535.
    #[error("{field}: {value} is not a port")]
    Port {
        /// The message's field.
        field: &'static str,
        /// What stood there.
        value: u32,
    },
    /// A name that is none.
    #[error("{field} is missing, too long, or holds other characters than letters, digits, -, . and _")]
    Name {
        /// The message's field.
        field: &'static str,
    },
    /// A number that says nothing.
    #[error("{field} is 0")]
    Zero {
        /// The message's field.
        field: &'static str,
    },
    /// More than anybody can have.
    #[error("{field}: at most {most}, not {len}")]
    TooMany {
        /// The message's field.
        field: &'static str,
        /// How many there may be.
        most: usize,
        /// How many there were.
        len: usize,
    },
}

/// An address in network byte order, 4 or 16 bytes.
#[must_use]
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Reads an address of 4 or 16 bytes.
///
/// # Errors
/// Any other length.
pub fn address(field: &'static str, bytes: &[u8]) -> Result<IpAddr, InvalidField> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(v4));
    }
    <[u8; 16]>::try_from(bytes)
        .map(IpAddr::from)
        .map_err(|_| InvalidField::AddressLength { field, len: bytes.len() })
}

/// Reads a name: see [`crate::text::is_name`].
///
/// # Errors
/// Anything else.
pub fn name<'a>(field: &'static str, text: &'a str) -> Result<&'a str, InvalidField> {
    if crate::text::is_name(text) { Ok(text) } else { Err(InvalidField::Name { field }) }
}

/// Reads a port.
///
/// # Errors
/// Above 65535.
pub fn port(field: &'static str, value: u32) -> Result<u16, InvalidField> {
    u16::try_from(value).map_err(|_| InvalidField::Port { field, value })
}

macro_rules! enum_codec {
    ($to:ident, $from:ident, $domain:ident { $($variant:ident = $wire:ident),+ $(,)? }) => {
        #[doc = concat!("The wire form of a [`", stringify!($domain), "`].")]
        #[must_use]
        pub const fn $to(value: $domain) -> v1::$domain {
            match value { $($domain::$variant => v1::$domain::$wire),+ }
        }

        #[doc = concat!("Reads a [`", stringify!($domain), "`].")]
        ///
        /// # Errors
        /// Unspecified, or a value of a newer version.
        pub fn $from(field: &'static str, value: i32) -> Result<$domain, InvalidField> {
            match v1::$domain::try_from(value) {
                $(Ok(v1::$domain::$wire) => Ok($domain::$variant),)+
                _ => Err(InvalidField::UnknownValue { field, value }),
            }
        }
    };
}

enum_codec!(vantage_to_wire, vantage, Vantage { Host = Host, Pod = Pod });
enum_codec!(family_to_wire, family, Family { V4 = Ipv4, V6 = Ipv6 });
enum_codec!(kind_to_wire, kind, ProbeKind { Icmp = Icmp, Udp = Udp, Tcp = Tcp, Dns = Dns, Http = Http });
enum_codec!(outcome_to_wire, outcome, Outcome {
    Reply = Reply,
    Timeout = Timeout,
    Refused = Refused,
    Unreachable = Unreachable,
    DnsError = DnsError,
    SendError = SendError,
    HttpError = HttpError,
});

/// A duration as protobuf has it. Saturates.
#[must_use]
pub fn duration(duration: std::time::Duration) -> prost_types::Duration {
    duration_from_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// A delay as protobuf has it. Saturates at the largest duration that protobuf can hold.
#[must_use]
pub fn duration_from_ns(delay_ns: u64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: (delay_ns / 1_000_000_000) as i64,
        nanos: (delay_ns % 1_000_000_000) as i32,
    }
}
