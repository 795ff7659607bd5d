//! What all stages speak of: the time axis and the verdict of a path. Pure; imports no other folder.

pub mod clock;
pub mod verdict;
