//! The line for people in its parts, so that what is lost for its size, its source port or for being new is said of the way that it
//! takes. Pure.

/// A cause in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headline {
    /// `n2 answers nobody and reaches nobody, UDP only`.
    pub(super) what: String,
    /// Of which packets that is: `to and from n2`. None where no words for a way fit.
    pub(super) way: Option<String>,
    /// `, UDP only`; empty for all packets.
    pub(super) only: String,
    /// Where most of them die, behind a colon; empty where nobody knows, and where `what` says it.
    pub(super) place: String,
}

impl Headline {
    /// All of it.
    pub(super) fn whole(&self) -> String {
        format!("{}{}", self.what, self.place)
    }

    /// The same of some packets alone: `packets above 1400 bytes`, `are lost, smaller ones pass`.
    pub(super) fn of(self, packets: &str, fare: &str) -> Self {
        let Self { what, way, only, place } = self;
        let what = match &way {
            Some(way) => format!("{packets} {way} {fare}{only}"),
            None => format!("{packets} {fare}: {what}"),
        };
        Self { what, way, only, place }
    }

    /// The same of a secondary network of pods.
    pub(super) fn named(self, network: &str) -> Self {
        Self { what: format!("{network}: {}", self.what), ..self }
    }
}
