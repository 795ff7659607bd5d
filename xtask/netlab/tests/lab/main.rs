//! The lab against a real kernel. Needs root, and fails without.

mod cluster;
mod faults;
mod lifecycle;
mod probe;
