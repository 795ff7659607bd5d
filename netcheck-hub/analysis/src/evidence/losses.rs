//! Lost probes of one path, by where they died. Pure.

use std::cmp::Reverse;

use super::Lost;
use crate::model::location::Location;

/// A location and how much it explains.
#[derive(Clone, Debug, PartialEq)]
pub struct LocatedLoss {
    /// It.
    pub location: Location,
    /// Lost probes that died there.
    pub probes: u64,
    /// When the first of them was sent, unix nanoseconds.
    pub first_ns: i64,
    /// The same of the newest.
    pub last_ns: i64,
    /// One line for people.
    pub summary: String,
}

/// The locations where these probes died, most first; what a kernel reported before what was concluded.
#[must_use]
pub fn losses(lost: &[&Lost]) -> Vec<LocatedLoss> {
    let mut losses: Vec<LocatedLoss> = Vec::new();
    for lost in lost {
        let Some(location) = &lost.located.location else { continue };
        match losses.iter_mut().find(|loss| loss.location == *location) {
            Some(loss) => {
                loss.probes += 1;
                loss.first_ns = lost.sent_ns.min(loss.first_ns);
                loss.last_ns = lost.sent_ns.max(loss.last_ns);
            }
            None => losses.push(LocatedLoss {
                location: location.clone(),
                probes: 1,
                first_ns: lost.sent_ns,
                last_ns: lost.sent_ns,
                summary: lost.located.summary.clone(),
            }),
        }
    }
    losses.sort_by_key(|loss| (Reverse(loss.probes), loss.location.certainty));
    losses
}
