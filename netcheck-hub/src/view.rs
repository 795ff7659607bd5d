//! What readers get to see, made from the state: the report, paths that are not in turn now, and warnings about the measurement,
//! certificates and search lists.

mod caveats;
pub mod certificates;
pub mod inactive;
pub mod past;
pub mod report;
pub mod search;
