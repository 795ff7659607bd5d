//! What history has recorded of a path. Pure: what the numbers mean is history's.

use crate::matrix::Row;

/// What history has recorded of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Its number there; none where it has none yet.
    pub number: Option<u32>,
    /// The verdict that it recorded last, by history's number.
    pub verdict: Option<u8>,
    /// A digest of the sizes and ports that it recorded last; 0: none.
    pub limits: u32,
}

impl Recorded {
    /// Of a row that is forgotten, other than for a while because others have their turn; none where history does not
    /// know it.
    pub(super) fn forgotten(row: &Row, keep: bool) -> Option<Self> {
        Some(row.recorded).filter(|recorded| !keep && !row.inactive && recorded.number.is_some())
    }
}
