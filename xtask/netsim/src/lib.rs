//! A pure simulator of a cluster network: random clusters, faults with known truth, and the facts that a hub would get.
