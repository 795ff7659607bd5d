//! Names and sentences: what targets, places and losses are called in all that people read. Pure.

pub mod location;
pub mod names;
pub mod patterns;
