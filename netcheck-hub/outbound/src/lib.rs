//! What the hub sends to others by HTTP: to Alertmanager, to webhooks, to remote-write receivers.
//!
//! [`Endpoint`] says where and as whom, [`Client`] asks, [`Answer::taken`] says what the answer means for the sender, and
//! [`Patience`] how long to wait before the next attempt. [`Board`] holds what became of all deliveries, for metrics
//! and reports. There are no tasks here: whoever sends has its own.

mod answer;
mod authorities;
mod board;
mod client;
mod endpoint;
mod patience;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Taken};
pub use board::{Board, Entry, QUIET, Standing};
pub use client::{Client, ClientError, PostError};
pub use endpoint::{Credentials, Endpoint, Url, UrlError};
pub use patience::Patience;
