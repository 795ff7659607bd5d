//! The pod vantage: an unprivileged process in the pod network opens sockets there and hands them to the node's agent,
//! which probes with them (SCM_RIGHTS over a unix socket). So the agent needs neither CAP_SYS_ADMIN nor setns.
//!
//! At the agent: [`listen`] takes the vantage's connection, has what it hands over checked ([`origin`]), and keeps a
//! stock of sockets ([`pool`]) that the probe engine takes from. In the pod: [`serve`] connects, says who it is, and
//! opens what it is asked for. [`frame`] and [`channel`] are what both speak. The subcommand itself is
//! [`crate::vantage_app`].
//!
//! Whoever can connect to the agent's socket is trusted with no more than his own measurement: a socket that is not
//! exactly what was asked for, or not of a pod's network namespace, ends the connection.

pub(crate) mod channel;
pub(crate) mod frame;
pub(crate) mod listen;
pub(crate) mod origin;
pub(crate) mod pool;
pub(crate) mod serve;

#[cfg(test)]
mod tests;
