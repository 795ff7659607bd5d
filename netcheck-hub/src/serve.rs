//! The network side: [`accept`] takes connections ([`tls`]), [`server`] and [`http`] answer on them. [`session`] talks
//! to the agents that [`identity`] admits; [`reachability`] and [`check`] answer [`readers`].

pub mod accept;
pub mod check;
pub mod follow;
pub mod http;
pub mod identity;
pub mod incidents;
pub mod metrics;
pub mod reachability;
pub mod readers;
pub mod server;
pub mod session;
pub mod tls;
