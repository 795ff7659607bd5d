//! What the kernel programs and user space must agree on, and the words that agent and hub share.
//!
//! Without the feature `user` this crate is `no_std` and holds only what runs inside the kernel:
//! [`abi`] (map layouts), [`header`] (the probe header) and [`packet`] (the packet parser). With `user` come the
//! domain types ([`domain`], [`sketch`], [`window`]), the agents' [`schedule`], [`hash`], [`varint`] and [`files`].
#![cfg_attr(not(feature = "user"), no_std)]

pub mod abi;
pub mod header;
pub mod packet;

#[cfg(feature = "user")]
pub mod domain;
#[cfg(all(feature = "user", unix))]
pub mod files;
#[cfg(feature = "user")]
pub mod hash;
#[cfg(feature = "user")]
pub mod schedule;
#[cfg(feature = "user")]
pub mod sketch;
#[cfg(feature = "user")]
pub mod varint;
#[cfg(feature = "user")]
pub mod window;
