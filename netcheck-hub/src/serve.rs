//! The network side: [`accept`] takes connections ([`tls`]), [`server`] and [`http`] answer on them. [`session`] talks
//! to the agents that [`identity`] admits; [`reachability`] and [`check`] answer [`readers`].

pub mod accept;
pub mod api;
pub mod check;
pub mod follow;
pub mod health;
pub mod http;
pub mod identity;
pub mod incidents;
pub mod inflight;
pub mod nodes;
pub mod opened;
pub mod past;
pub mod peers;
pub mod reachability;
pub mod readers;
pub mod report_log;
pub mod role;
pub mod server;
pub mod session;
pub mod tls;
