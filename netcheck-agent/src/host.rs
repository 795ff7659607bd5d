//! The machine as this process sees it: its clocks, what it lacks in time and rights, what it uses itself.

pub(crate) mod capability;
pub(crate) mod clock;
pub(crate) mod conntrack;
pub(crate) mod starvation;
pub(crate) mod usage;
pub(crate) mod waker;
