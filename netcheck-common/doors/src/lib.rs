//! Everything that takes connections from whoever reaches its port: the hub's gRPC and HTTP, the agent's HTTP and
//! responder, the vantage's.
//!
//! [`slots`] says who comes in, and who has to go for him; [`guarded`] ends a connection that does not begin, or does not
//! take what it asked for; [`http`] serves HTTP/1 behind both.

pub mod guarded;
pub mod http;
pub mod slots;

pub use guarded::Guarded;
pub use slots::{Counts, Limits, Slot, Slots};
