//! Where the cluster's objects come from: a [`file`](mod@file), or the API ([`kubernetes`]).
//!
//! In: objects. Out: [`News`] to whoever takes them ([`Take`]); nothing here knows the hub's state.

use std::sync::Arc;

use netcheck_analysis::cluster::roster::{LeftOut, Roster};

pub mod file;
pub mod kubernetes;

/// What there is to report.
#[derive(Debug)]
pub enum News {
    /// The cluster changed.
    Roster {
        /// All of it.
        roster: Roster,
        /// What is wrong with the API all the same.
        trouble: Option<String>,
    },
    /// The newest inventory is no good: the roster stays as it was.
    Failed(String),
    /// How the API is.
    State {
        /// What is wrong with it, if anything.
        trouble: Option<String>,
        /// What is missing in it.
        caveat: Option<String>,
    },
    /// What does not hold together.
    LeftOut {
        /// What of the roster in use is left out for that.
        left_out: LeftOut,
        /// How often anything was so far.
        so_far: u64,
    },
}

/// Who is notified. It may take its time: it is called where blocking is allowed.
pub type Take = Arc<dyn Fn(News) + Send + Sync>;
