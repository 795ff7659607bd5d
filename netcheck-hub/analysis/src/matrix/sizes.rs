//! Which packet sizes pass on a path, as its agent measured them. Pure.
//!
//! A path whose ordinary probes are answered, and on which larger packets that its node would send are lost, is
//! `degraded`; where they die follows from the same evidence as for any lost probe.

use std::net::IpAddr;
use std::time::Duration;

use crate::evidence::Lost;
use crate::model::clock::{SECOND_NS, nanos};

/// Looks that may be missed until what the last one found is worth nothing.
const LOOKS: i64 = 3;
/// Between the last of the lost packets that found it, and that finding: kept as evidence.
const LEAST_NS: i64 = 30 * SECOND_NS;

/// What is known of one path. Sizes are those of whole IP packets with DF set, 0 where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What the source's own kernel would send at most.
    pub route_bytes: u16,
    /// The largest that was answered.
    pub passed_bytes: u16,
    /// The smallest that is lost.
    pub lost_bytes: u16,
    /// What a router said that it takes.
    pub icmp_mtu: Option<(u16, IpAddr)>,
    /// When this was last true, on the hub's axis.
    pub measured_ns: i64,
    /// What is older is worth nothing.
    stale_ns: i64,
    /// When the largest packet was last answered: what was lost before is of another time.
    clean_ns: i64,
}

/// What an agent found on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// As in [`Sizes`].
    pub route_bytes: u16,
    /// As in [`Sizes`].
    pub passed_bytes: u16,
    /// As in [`Sizes`].
    pub lost_bytes: u16,
    /// As in [`Sizes`].
    pub icmp_mtu: Option<(u16, IpAddr)>,
    /// When, on the hub's axis.
    pub measured_ns: i64,
    /// How often it looks.
    pub interval: Duration,
}

impl Sizes {
    /// Takes what an agent found. `was`: what it had found before. None where it does not hold together.
    #[must_use]
    pub fn of(found: &Found, was: Option<&Self>) -> Option<Self> {
        let &Found { route_bytes, passed_bytes, lost_bytes, icmp_mtu, measured_ns, interval } = found;
        if lost_bytes != 0 && passed_bytes >= lost_bytes {
            return None;
        }
        let before_ns = was.map_or(i64::MIN, |was| was.clean_ns);
        Some(Self {
            route_bytes,
            passed_bytes,
            lost_bytes,
            icmp_mtu,
            measured_ns,
            stale_ns: nanos(interval).saturating_mul(LOOKS).max(LEAST_NS),
            clean_ns: if lost_bytes == 0 { measured_ns.max(before_ns) } else { before_ns },
        })
    }

    /// Packets that the source would send are lost for their size.
    #[must_use]
    pub fn has_size_loss(&self, now_ns: i64) -> bool {
        self.lost_bytes != 0 && now_ns.saturating_sub(self.measured_ns) <= self.stale_ns
    }

    /// The largest packet that the source would send is answered.
    #[must_use]
    pub fn full_mtu_ok(&self) -> bool {
        let full = self.icmp_mtu.map_or(self.route_bytes, |(icmp_mtu, _)| icmp_mtu.min(self.route_bytes));
        self.lost_bytes == 0 && self.passed_bytes != 0 && self.passed_bytes >= full
    }

    /// This lost probe shows it.
    #[must_use]
    pub fn shown_by(&self, lost: &Lost, now_ns: i64) -> bool {
        let bytes = lost.sample.packet_bytes;
        bytes >= u32::from(self.lost_bytes)
            && bytes != 0
            && !lost.sample.suspect
            && lost.sent_ns > self.clean_ns
            && now_ns.saturating_sub(lost.sent_ns) <= self.stale_ns
    }

    /// One line of evidence.
    #[must_use]
    pub fn line(&self) -> String {
        format!("small packets pass; the route of the source takes {} bytes", self.route_bytes)
    }
}

#[cfg(test)]
mod tests {
    use netcheck_common::domain::Outcome;
    use netcheck_proto::{convert, v1};

    use super::*;
    use crate::model::evidence::LostSample;

    fn wire(passed_bytes: u32, lost_bytes: u32, at_s: i64) -> v1::PathSize {
        v1::PathSize {
            path_id: 1,
            route_bytes: 1500,
            passed_bytes,
            lost_bytes,
            measured_unix_ns: at_s * SECOND_NS,
            interval: Some(convert::duration_from_ns(20 * SECOND_NS as u64)),
            ..Default::default()
        }
    }

    fn lost(packet_bytes: u32, sent_s: i64) -> Lost {
        let sample = LostSample { packet_bytes, ..Default::default() };
        Lost::new(sample, Outcome::Timeout, sent_s * SECOND_NS, sent_s * SECOND_NS)
    }

    #[test]
    fn hurt_until_it_passes_or_is_forgotten() {
        let fine = Sizes::read(&wire(1500, 0, 100), None, 0).unwrap();
        assert!(fine.full_mtu_ok() && !fine.has_size_loss(100 * SECOND_NS));
        let lossy = Sizes::read(&wire(1400, 1401, 200), Some(&fine), 0).unwrap();
        assert!(
            lossy.has_size_loss(260 * SECOND_NS)
                && !lossy.has_size_loss(261 * SECOND_NS)
                && !lossy.full_mtu_ok()
        );
        for (bytes, sent_s, expected) in
            [(1500, 190, true), (1401, 190, true), (1400, 190, false), (0, 190, false), (1500, 100, false)]
        {
            assert_eq!(lossy.shown_by(&lost(bytes, sent_s), 200 * SECOND_NS), expected, "{bytes} {sent_s}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Sizes::read(&wire(1401, 1401, 0), None, 0).is_none());
        assert!(Sizes::read(&wire(70_000, 0, 0), None, 0).is_none());
        assert!(Sizes::read(&v1::PathSize { icmp_mtu: 1400, ..wire(1400, 0, 0) }, None, 0).is_none());
        assert!(Sizes::read(&v1::PathSize { interval: None, ..wire(1400, 0, 0) }, None, 0).is_none());
    }
}
