//! The netcheck agent: probes from one node, and what that node's kernel saw of them.
//!
//! In the order of the data: `session` takes the `plan` from the hub, `schedule` says what is due, the `engine` sends
//! it through the probers (`probe`), `merge` joins what sockets and `kernel` saw (as [`observation`]s), `wire` and
//! `buffer` pack and keep it until the hub has it. Beside that stand the `responder`, which other agents probe, `http`, and the pod
//! `vantage`, whose sockets are in another network namespace.

mod address;
mod app;
mod backends;
mod buffer;
mod capability;
mod clock;
pub mod config;
mod counters;
mod dns_caches;
mod engine;
mod exchange;
mod http;
mod interface_drops;
#[cfg(feature = "ebpf")]
pub mod kernel;
mod merge;
mod metrics;
mod mmsg;
pub mod observation;
mod own_addresses;
mod plan;
mod ports;
mod probe;
mod report;
mod responder;
mod schedule;
mod session;
mod sizes;
mod starvation;
mod status;
mod token;
mod usage;
mod vantage;
mod wire;

pub use app::{cleanup, run};
pub use status::show as show_status;
pub use vantage::pod::run as run_vantage;
