//! Where the samples of a path are counted for metrics: what a row keeps of its last look-up. Pure.

/// Places in the tables of [`crate::meter::Meters`]; worth something only as long as their epoch is the tables' own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// 0: never looked up.
    pub(crate) epoch: u32,
    /// By zones; [`Counted::NOWHERE`] where it is not counted there.
    pub(crate) zones: u32,
    /// The same of the shares of round trips.
    pub(crate) shares: u32,
    /// The same by the node that sends.
    pub(crate) source: u32,
    /// The same by the node or service that they go to.
    pub(crate) target: u32,
    /// The same by pair of nodes.
    pub(crate) pair: u32,
}

impl Counted {
    /// Not counted.
    pub(crate) const NOWHERE: u32 = u32::MAX;

    /// Looked up, and counted nowhere so far.
    pub(crate) const fn nowhere(epoch: u32) -> Self {
        let at = Self::NOWHERE;
        Self { epoch, zones: at, shares: at, source: at, target: at, pair: at }
    }
}
