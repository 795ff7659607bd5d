//! From probes to causes: the fewest components whose failure explains every lost probe and no answered one. Pure.
//!
//! In: what there is ([`Topology`]) and how the probes of the last seconds ended ([`Group`]), from whoever measured
//! them. Out: [`Cause`], one for each thing that is broken, each with the groups that it explains and its arithmetic.
//! Nothing here knows of protobuf, of a clock, of names of files or of a cluster's API; names are carried through and
//! decide nothing, so a renamed node changes no answer.
//!
//! [`topology`] and [`observation`] are what comes in, [`cause`] is what goes out.

mod candidates;
pub mod cause;
mod chain;
mod class;
mod crossings;
mod evidence;
mod explain;
mod joint;
mod objects;
pub mod observation;
mod places;
mod polish;
mod rates;
mod report;
mod scope;
mod search;
mod symptoms;
pub mod topology;
mod way;
mod words;

pub use cause::{Carrier, Cause, Certainty, Component, Extent, Heading, Pattern};
pub use explain::explain;
pub use observation::{Answer, Class, Direction, End, Entry, Group, Loss, Place, Role, Size, Stage, Target};
pub use topology::{
    Endpoint, Node, NodeIx, Pod, PodIx, PodNetwork, Service, ServiceIx, Topology, Visibility, ZoneIx,
};
