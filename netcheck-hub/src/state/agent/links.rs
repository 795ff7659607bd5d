//! Links of a node's pods that are down or were a while ago: what happened to a packet is often asked later. Pure.

use std::collections::{BTreeMap, VecDeque};

use netcheck_proto::v1;

use netcheck_analysis::model::clock::{SECOND_NS, nanos, positive};
use netcheck_analysis::model::evidence::PodLinkDown;
use netcheck_analysis::wire;

/// How long a link that is up again is remembered.
const KEEP_NS: i64 = 60 * SECOND_NS;
/// Ended spells that are kept, the newest: what a node with bad hardware reports in a minute is bounded.
const ENDED: usize = 1024;
/// A packet that was on its way when the link went down met it all the same, and a kernel reports a lost carrier up to
/// a second late (net/core/link_watch.c).
const ON_THE_WAY_NS: i64 = 2 * SECOND_NS;

/// Interface, pod, network, and which end is down.
type Key = (String, String, String, bool);

/// A time in which one link took no packets, on the hub's axis.
#[derive(Clone, Debug)]
struct Spell {
    link: PodLinkDown,
    since_ns: i64,
    /// The far future while it lasts.
    until_ns: i64,
}

/// The links of one node's pods.
#[derive(Clone, Debug, Default)]
pub struct PodLinks {
    down: BTreeMap<Key, Spell>,
    /// In the order in which they ended.
    ended: VecDeque<Spell>,
}

impl PodLinks {
    /// The agent says which are down now. Returns whether one is that was not.
    pub fn update(&mut self, down: &[v1::PodLinkDown], now_ns: i64) -> bool {
        let mut before = std::mem::take(&mut self.down);
        let mut news = false;
        for link in down {
            let key = (link.interface.clone(), link.pod.clone(), link.network.clone(), link.no_carrier);
            let age_ns = positive(link.age.as_ref()).map_or(0, nanos);
            let since_ns = now_ns.saturating_sub(age_ns);
            let spell = before.remove(&key);
            news |= spell.is_none();
            let spell = spell.unwrap_or_else(|| Spell {
                link: wire::pod_link_down(link),
                since_ns,
                until_ns: i64::MAX,
            });
            self.down.insert(key, spell);
        }
        self.ended.extend(before.into_values().map(|spell| Spell { until_ns: now_ns, ..spell }));
        let old = self.ended.partition_point(|spell| now_ns.saturating_sub(spell.until_ns) >= KEEP_NS);
        self.ended.drain(..old.max(self.ended.len().saturating_sub(ENDED)));
        news
    }

    /// The link of `pod` (`namespace/name`) to a secondary network, or to the cluster's own, that took no packet sent at
    /// `sent_ns`.
    #[must_use]
    pub fn of(&self, pod: &str, network: Option<&str>, sent_ns: i64) -> Option<&PodLinkDown> {
        let met = |spell: &&Spell| {
            spell.link.pod == pod
                && spell.link.network == network.unwrap_or_default()
                && spell.since_ns <= sent_ns.saturating_add(ON_THE_WAY_NS)
                && spell.until_ns > sent_ns
        };
        self.down.values().chain(self.ended.iter().rev()).find(met).map(|spell| &spell.link)
    }
}

#[cfg(test)]
mod tests {
    use netcheck_proto::convert;

    use super::*;

    fn link(interface: &str, age_s: i64) -> v1::PodLinkDown {
        let age = Some(convert::duration_from_ns((age_s * SECOND_NS) as u64));
        let pod = format!("a/{interface}");
        v1::PodLinkDown { interface: interface.into(), pod, age, ..Default::default() }
    }

    #[test]
    fn a_spell_lasts_from_when_it_began_until_it_is_reported_no_more() {
        let (mut links, second) = (PodLinks::default(), SECOND_NS);
        let met = |links: &PodLinks, at: i64| links.of("a/v", None, at * SECOND_NS).is_some();
        assert!(links.update(&[link("v", 5)], 100 * second));
        assert_eq!([92, 93, 95, 200].map(|at| met(&links, at)), [false, true, true, true]);
        assert!(links.of("a/w", None, 100 * second).is_none());
        assert!(links.of("a/v", Some("a/storage"), 100 * second).is_none(), "another of its links");
        assert!(links.update(&[link("v", 15), link("w", 1)], 110 * second));
        assert!(!links.update(&[link("v", 15), link("w", 1)], 110 * second), "no news");
        assert_eq!((links.down.len(), links.ended.len()), (2, 0), "the same one goes on");
        links.update(&[], 120 * second);
        assert_eq!([93, 119, 120].map(|at| met(&links, at)), [true, true, false]);
        links.update(&[link("v", 0)], 130 * second);
        assert_eq!([119, 125, 129].map(|at| met(&links, at)), [true, false, true], "two spells");
        links.update(&[], 180 * second);
        assert!(!met(&links, 119) && met(&links, 140), "the first one is forgotten");
    }

    #[test]
    fn spells_are_bounded() {
        let mut links = PodLinks::default();
        for round in 0..ENDED as i64 + 9 {
            links.update(&[link(&round.to_string(), 0)], round);
        }
        assert_eq!((links.down.len(), links.ended.len()), (1, ENDED));
        assert!(links.of("a/7", None, 7).is_none(), "the oldest went");
        assert!(links.of("a/8", None, 8).is_some());
    }
}
