//! Which backends a path's probes reached, and which of them do not answer, as its agent saw it. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::cluster::roster::Roster;

/// Backends that are kept of one path. Who was not heard of for longest goes first.
const PER_PATH: usize = 64;
/// Probes in a row that a backend must have lost until it is called silent.
const RUN: u64 = 3;

/// One backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where the packets went to.
    pub backend: SocketAddr,
    /// Probes that it answered.
    pub answered: u64,
    /// Probes that left for it and were not answered.
    pub lost: u64,
    /// Those since it last answered.
    pub(crate) run: u64,
    /// When it last answered, on the hub's axis.
    pub(crate) answered_ns: Option<i64>,
    /// When the newest probe left for it.
    pub(crate) heard_ns: i64,
}

/// What an agent saw of one, since it last said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where the packets went to.
    pub backend: SocketAddr,
    /// Probes that it answered.
    pub answered: u32,
    /// Probes that left for it and were not answered.
    pub lost: u32,
    /// When it last answered, on the hub's axis; counts where it answered any.
    pub answered_ns: i64,
    /// When the newest of those left that were not answered, in the same way.
    pub lost_ns: i64,
}

/// The backends of one path, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends(Vec<Reached>);

impl Backends {
    /// Takes what an agent saw of one.
    pub fn take(&mut self, seen: &Seen) {
        let &Seen { backend, answered, lost, .. } = seen;
        let answered_ns = (answered > 0).then_some(seen.answered_ns);
        let lost_ns = (lost > 0).then_some(seen.lost_ns);
        let heard_ns = answered_ns.max(lost_ns).unwrap_or_default();
        let at = match self.0.binary_search_by_key(&backend, |known| known.backend) {
            Ok(at) => at,
            Err(_) => {
                if self.0.len() == PER_PATH
                    && let Some(oldest) = (0..self.0.len()).min_by_key(|&at| self.0[at].heard_ns)
                {
                    self.0.remove(oldest);
                }
                let at = self.0.partition_point(|known| known.backend < backend);
                let new = Reached { backend, answered: 0, lost: 0, run: 0, answered_ns: None, heard_ns };
                self.0.insert(at, new);
                at
            }
        };
        let known = &mut self.0[at];
        known.answered = known.answered.saturating_add(answered.into());
        known.lost = known.lost.saturating_add(lost.into());
        // Within one report nobody knows which came first, but for the newest of each.
        known.run = match (answered_ns, lost_ns) {
            (Some(answered_ns), Some(lost_ns)) if lost_ns > answered_ns => 1,
            (Some(_), _) => 0,
            (None, _) => known.run.saturating_add(lost.into()),
        };
        known.answered_ns = known.answered_ns.max(answered_ns);
        known.heard_ns = known.heard_ns.max(heard_ns);
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reached> {
        self.0.iter()
    }

    /// Forgets those that no probe left for since `oldest_ns`. Returns whether any is left.
    pub fn expire(&mut self, oldest_ns: i64) -> bool {
        self.0.retain(|known| known.heard_ns >= oldest_ns);
        !self.0.is_empty()
    }

    /// Who answered, and how many probes: those that still do.
    pub fn answering(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        let answering = self.0.iter().filter(|known| known.answered > 0 && known.run < RUN);
        answering.map(|known| (known.backend.ip(), u32::try_from(known.answered).unwrap_or(u32::MAX)))
    }

    /// Those that lost all of their newest probes while others may answer, one line each.
    pub fn silent<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = String> + 'a {
        self.0.iter().filter(|known| known.run >= RUN).map(|known| {
            let who = crate::evidence::words::whose(roster, known.backend.ip());
            let who = who.trim_start_matches("pod ");
            match known.answered {
                0 => format!("backend {who} never answered"),
                _ => format!("backend {who} does not answer any more"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use netcheck_proto::v1;

    use super::*;

    fn seen(last: u8, answered: u32, lost: u32, answered_unix_ns: i64, lost_unix_ns: i64) -> v1::BackendSeen {
        let address = vec![10, 0, 0, last];
        v1::BackendSeen { path_id: 1, address, port: 8080, answered, lost, answered_unix_ns, lost_unix_ns }
    }

    #[test]
    fn who_lost_its_newest_probes_is_silent() {
        let mut backends = Backends::default();
        let silent = |backends: &Backends| backends.silent(&Roster::default()).collect::<Vec<_>>();
        let none: [&str; 0] = [];
        backends.add(&seen(1, 5, 0, 10, 0), 0).unwrap();
        backends.add(&seen(2, 0, 2, 0, 10), 0).unwrap();
        assert_eq!(silent(&backends), none, "two may be chance");
        backends.add(&seen(2, 0, 1, 0, 11), 0).unwrap();
        backends.add(&seen(1, 1, 9, 12, 13), 0).unwrap();
        assert_eq!(silent(&backends), ["backend 10.0.0.2 (no node or pod of the cluster) never answered"]);
        backends.add(&seen(1, 0, 2, 0, 14), 0).unwrap();
        assert!(
            silent(&backends)[0]
                .ends_with("10.0.0.1 (no node or pod of the cluster) does not answer any more")
        );
        backends.add(&seen(2, 1, 0, 15, 0), 0).unwrap();
        assert_eq!(silent(&backends).len(), 1);
        let wire = backends.to_wire(&Roster::default());
        assert_eq!((wire[0].answered, wire[0].lost, wire[0].lost_in_a_row), (6, 11, 3));
        assert_eq!((wire[1].answered, wire[1].lost, wire[1].lost_in_a_row), (1, 3, 0));
    }

    #[test]
    fn bounded_forgotten_and_checked() {
        let mut backends = Backends::default();
        for last in 0..=PER_PATH as u8 {
            backends.add(&seen(last, 1, 0, 100 - i64::from(last), 0), 0).unwrap();
        }
        assert_eq!(backends.0.len(), PER_PATH);
        assert!(
            backends.0.iter().all(|known| known.backend.ip().to_string() != "10.0.0.63"),
            "it was the oldest"
        );
        assert!(backends.0.is_sorted_by_key(|known| known.backend));
        assert!(!backends.expire(1_000));
        let bad = [
            v1::BackendSeen { address: vec![1], ..seen(1, 1, 0, 1, 0) },
            v1::BackendSeen { port: 70_000, ..seen(1, 1, 0, 1, 0) },
            seen(1, 0, 0, 1, 1),
        ];
        assert!(bad.iter().all(|wire| backends.add(wire, 0).is_err()));
    }
}
