//! `kubectl-netcheck`: the operator's command line, a client of the hub.

fn main() {}
