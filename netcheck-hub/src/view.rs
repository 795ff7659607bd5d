//! What readers get to see, made from the state: the report, and warnings about certificates and search lists.

pub mod certificates;
pub mod report;
pub mod search;
