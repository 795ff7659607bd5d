//! Clusters of network namespaces on one Linux machine: real kernel, real forwarding, real servers, with
//! faults on demand. Linux only, root only; all traffic stays inside the lab's namespaces.
//!
//! ```no_run
//! use netcheck_netlab::{Fault, Lab, LabSpec};
//!
//! let lab = Lab::up(LabSpec::named("try"))?;
//! let ping = lab.exec("n1", &["ping", "-c1", &lab.pod("web-n2")?.v4.to_string()])?;
//! assert!(ping.status.success());
//!
//! let fault: Fault = "drop node=n2 hook=forward".parse()?;
//! lab.inject(&fault)?;
//! lab.heal(&fault)?;
//! lab.down()?;
//! # anyhow::Ok(())
//! ```
//!
//! Where things are: `spec` (what is asked for) → `topology` (names and addresses, on paper) → `wiring`
//! (interfaces, routes) and `cni` (pods that plugins attach) → `service`, `dns`, `servers` (what runs on it) → `inventory` (what Kubernetes would
//! say about it). `fault` breaks it, `lab` holds it together, `state` survives the driver.

mod cni;
mod dns;
mod fault;
mod inventory;
mod join;
mod lab;
mod late;
mod netns;
mod process;
mod servers;
mod service;
mod spec;
mod state;
mod topology;
mod wiring;

pub use fault::{
    DeadRoute, Direction, DnsAnswer, End, Family, Fault, HELP as FAULT_HELP, Hook, Leg, Match, Narrow,
    NodeState, Proto, Verdict,
};
pub use lab::Lab;
pub use netns::enter;
pub use process::Process;
pub use service::{Backend, ECHO_PORT, Port, Service, Transport};
pub use spec::{LabSpec, Lifetime, Mode, Proxy};
pub use topology::{
    API_PORT, Node, Pod, STORAGE, STORAGE_BRIDGE, STORAGE_UPLINK, Storage, Topology, VXLAN_PORT, WEB_PORT,
};
