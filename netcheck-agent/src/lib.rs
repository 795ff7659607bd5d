//! The netcheck agent: probes from one node, and what that node's kernel saw of them.

pub mod observation;
