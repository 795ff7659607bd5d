//! The hub's own types from and to their wire form. What stands in messages is read here, once, where it comes in; what
//! agents and readers get is written here. Nothing else of this crate knows the messages. Pure.

/// Both ways between an enum here and its wire form. An unspecified value and one of a newer agent read as the first.
macro_rules! both_ways {
    ($to:ident, $from:ident, $own:ident { $unknown:ident, $($variant:ident),+ $(,)? }) => {
        pub(super) const fn $to(value: $own) -> v1::$own {
            match value { $own::$unknown => v1::$own::Unspecified, $($own::$variant => v1::$own::$variant),+ }
        }

        pub(super) const fn $from(value: v1::$own) -> $own {
            match value { v1::$own::Unspecified => $own::$unknown, $(v1::$own::$variant => $own::$variant),+ }
        }
    };
}

mod evidence;
mod figures;
mod incident;
pub mod matrix;
mod past;
pub mod peers;
pub mod plan;
pub mod target;

pub use evidence::{
    drop_record, flow, flow_sighting, flow_tuple, located_loss, location, lost_sample, lost_sample_to_wire,
    pod_link_down, reflected_state,
};
pub use figures::phases;
pub use incident::{culprit, incident, incident_kind};
pub use past::{read_incident, read_location, target_of_id};

#[cfg(test)]
mod tests;
