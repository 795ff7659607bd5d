//! The cluster: [`inventory`] reads its objects from a text, [`roster`] normalises them, [`selection`] decides what of
//! them is probed.

pub mod inventory;
pub mod roster;
pub mod selection;
