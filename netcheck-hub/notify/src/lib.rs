//! Word of incidents to others: one alert or message for each that opens, changes in its cause, and closes.
//!
//! Knows nothing of the hub. In: all incidents as [`Notice`]s, whenever something changed ([`tokio::sync::watch`]).
//! Out: what each [`Receiver`] is sent, by a [`NotifyTask`] of its own.
//!
//! ```text
//! notices ─watch─▶ NotifyTask ─▶ SentLog ─what is due─▶ Receiver (Alertmanager, webhook, …)
//!                                  ▲  └──what was sent──▶ SentStore ─┐
//!                                  └────────────after a restart──────┘
//! ```
//!
//! A [`SentLog`] (pure) compares what is with what was sent, so nothing queues up while a receiver is away: when it is
//! back it is sent what is then. What was sent is kept in a [`SentStore`] as soon as the receiver has it. A hub that is
//! killed between the two sends it again: Alertmanager takes that for the same alert, and a webhook sees the same id.

pub mod alertmanager;
mod notice;
mod sent;
mod sent_log;
mod task;
pub mod webhook;
mod words;

#[cfg(test)]
mod tests;

pub use notice::{Culprit, Notice, Object};
pub use sent::{FileStore, MemoryStore, SentStore, StoreError};
pub use sent_log::{Change, Event, Message, Sent, SentLog, Style};
pub use task::{NotifyTask, Receiver, SendError};
pub use words::{Label, LabelError};
