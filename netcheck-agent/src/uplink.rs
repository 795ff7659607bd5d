//! The way to the hub: reports are packed, kept until they are acknowledged, and sent over one session.

pub(crate) mod buffer;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod wire;
