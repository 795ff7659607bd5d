//! Whose connection is passed on, and whose is not. Pure; takes `now`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

/// How much one relay passes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Sessions at a time.
    pub(crate) sessions: usize,
    /// The same from one address. A node has one session; while it takes another way it may have two.
    pub(crate) per_source: usize,
    /// Connections from one address within [`Limits::within`], whether they go on or not.
    pub(crate) begins: usize,
    /// See above.
    pub(crate) within: Duration,
}

impl Default for Limits {
    /// Each session may take half a megabyte of the kernel's and 32 KiB of the agent's memory if neither end reads: 64
    /// MiB for all. An agent that is cut off tries again every 12 s at most often, and once at once.
    fn default() -> Self {
        Self { sessions: 128, per_source: 3, begins: 12, within: Duration::from_secs(60) }
    }
}

/// Why a connection is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It comes from no address of a node.
    Stranger,
    /// This agent does not reach the hub itself.
    NoSession,
    /// So many are passed on already.
    Full,
    /// The same for this address.
    SourceFull,
    /// This address connects all the time.
    TooOften,
    /// The hub did not take the connection.
    HubUnreachable,
}

impl Refusal {
    pub(crate) const ALL: [Self; 6] =
        [Self::Stranger, Self::NoSession, Self::Full, Self::SourceFull, Self::TooOften, Self::HubUnreachable];

    /// One word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::NoSession => "no_session",
            Self::Full => "full",
            Self::SourceFull => "source_full",
            Self::TooOften => "too_often",
            Self::HubUnreachable => "hub_unreachable",
        }
    }

    /// What the other agent is answered; nothing where it is none.
    pub(crate) const fn reply(self) -> Option<&'static str> {
        match self {
            Self::Stranger => None,
            Self::NoSession => Some("it has no session of its own that reaches the hub directly"),
            Self::Full => Some("it passes on as many sessions as it may"),
            Self::SourceFull => Some("it passes on as many sessions of this address as it may"),
            Self::TooOften => Some("too many connections of this address within a minute"),
            Self::HubUnreachable => Some("the hub does not take its connection"),
        }
    }
}

/// What is passed on now.
///
/// Each address that is open was admitted and did not leave yet, and the sum of `open` is within [`Limits::sessions`].
#[derive(Debug, Default)]
pub(crate) struct Admission {
    limits: Limits,
    open: BTreeMap<IpAddr, usize>,
    begun: BTreeMap<IpAddr, VecDeque<Instant>>,
}

impl Admission {
    /// Whether a connection from `from` is passed on, and where to. `is_node`: a node has that address. `hub`: where this
    /// agent's own session reached the hub directly.
    pub(crate) fn admit(
        &mut self,
        from: IpAddr,
        is_node: bool,
        hub: Option<SocketAddr>,
        now: Instant,
    ) -> Result<SocketAddr, Refusal> {
        if !is_node {
            return Err(Refusal::Stranger);
        }
        let hub = hub.ok_or(Refusal::NoSession)?;
        if self.sessions() >= self.limits.sessions {
            return Err(Refusal::Full);
        }
        if self.open.get(&from).is_some_and(|&open| open >= self.limits.per_source) {
            return Err(Refusal::SourceFull);
        }
        let within = self.limits.within;
        self.begun.retain(|_, begun| {
            while begun.front().is_some_and(|&at| now.duration_since(at) >= within) {
                begun.pop_front();
            }
            !begun.is_empty()
        });
        let begun = self.begun.entry(from).or_default();
        if begun.len() >= self.limits.begins {
            return Err(Refusal::TooOften);
        }
        begun.push_back(now);
        *self.open.entry(from).or_default() += 1;
        Ok(hub)
    }

    /// One that was admitted has ended.
    pub(crate) fn left(&mut self, from: IpAddr) {
        if let Some(open) = self.open.get_mut(&from) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&from);
            }
        }
    }

    fn sessions(&self) -> usize {
        self.open.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn hub() -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 96, 0, 9], 7070)))
    }

    #[derive(Clone, Debug)]
    enum Event {
        Comes { from: u8, is_node: bool, reaches: bool },
        Leaves(prop::sample::Index),
        Passes(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            6 => (0u8..6, prop::bool::weighted(0.9), prop::bool::weighted(0.9))
                .prop_map(|(from, is_node, reaches)| Event::Comes { from, is_node, reaches }),
            3 => any::<prop::sample::Index>().prop_map(Event::Leaves),
            1 => (0u64..30_000).prop_map(Event::Passes),
        ];
        prop::collection::vec(event, 0..200)
    }

    proptest! {
        #[test]
        fn the_limits_hold_and_nobody_is_refused_without_a_reason(events in events()) {
            let limits =
                Limits { sessions: 7, per_source: 2, begins: 5, within: Duration::from_secs(10) };
            let mut admission = Admission { limits, ..Admission::default() };
            let mut now = Instant::now();
            let mut open: Vec<IpAddr> = Vec::new();
            let mut begun: Vec<(IpAddr, Instant)> = Vec::new();
            for event in events {
                match event {
                    Event::Passes(ms) => now += Duration::from_millis(ms),
                    Event::Leaves(which) if !open.is_empty() => {
                        admission.left(open.swap_remove(which.index(open.len())));
                    }
                    Event::Leaves(_) => {}
                    Event::Comes { from, is_node, reaches } => {
                        let from = address(from);
                        let of_source = open.iter().filter(|other| **other == from).count();
                        let recent = begun
                            .iter()
                            .filter(|(other, at)| *other == from && now.duration_since(*at) < limits.within)
                            .count();
                        let expected = if !is_node {
                            Err(Refusal::Stranger)
                        } else if !reaches {
                            Err(Refusal::NoSession)
                        } else if open.len() >= limits.sessions {
                            Err(Refusal::Full)
                        } else if of_source >= limits.per_source {
                            Err(Refusal::SourceFull)
                        } else if recent >= limits.begins {
                            Err(Refusal::TooOften)
                        } else {
                            Ok(hub().unwrap())
                        };
                        let admitted = admission.admit(from, is_node, hub().filter(|_| reaches), now);
                        prop_assert_eq!(admitted, expected);
                        if admitted.is_ok() {
                            open.push(from);
                            begun.push((from, now));
                        }
                    }
                }
                prop_assert_eq!(admission.sessions(), open.len());
                prop_assert!(admission.open.values().all(|&open| open > 0));
            }
        }
    }

    #[test]
    fn replies_are_short_and_strangers_get_none() {
        for refusal in Refusal::ALL {
            assert_eq!(refusal.reply().is_none(), refusal == Refusal::Stranger);
            assert!(refusal.reply().unwrap_or_default().len() < 80);
        }
    }
}
