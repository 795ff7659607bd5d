//! `kubectl-netcheck`.
