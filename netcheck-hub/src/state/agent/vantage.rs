//! The pod that opens sockets for an agent in the pod network, as its agent reports it; remembered for a while after it
//! went, so that its paths stay planned and show that nothing is measured. Pure.

use netcheck_proto::v1;

use netcheck_analysis::plan::pod_source::PodSource;

/// The vantage of one agent.
#[derive(Clone, Debug, Default)]
pub struct Vantage {
    known: Option<PodSource>,
    /// Since when it is not connected, where it was.
    gone_ns: Option<i64>,
    /// The agent expects one, and why there is none.
    missing: Option<String>,
    /// What can't be probed from it.
    detail: Vec<String>,
    changed: bool,
    /// It said good-bye, or the last one did.
    leaving: bool,
    /// Since this was asked last.
    left: bool,
}

impl Vantage {
    /// The newest that is known, connected or not.
    #[must_use]
    pub const fn known(&self) -> Option<&PodSource> {
        self.known.as_ref()
    }

    /// Why there is none just now, where there should be one.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// What can't be probed from it, one line each.
    #[must_use]
    pub fn detail(&self) -> &[String] {
        &self.detail
    }

    /// The agent says how it is.
    pub fn update(&mut self, reported: Option<&v1::PodVantage>, now_ns: i64) {
        let leaving = reported.is_some_and(|reported| reported.leaving);
        let before = std::mem::replace(&mut self.leaving, leaving);
        self.left |= leaving && !before;
        let current = reported.and_then(PodSource::read);
        let why = |reported: &v1::PodVantage| reported.detail.first().cloned().unwrap_or_default();
        self.missing = reported.filter(|_| current.is_none()).map(why);
        self.detail = match (&current, reported) {
            (Some(_), Some(reported)) => reported.detail.clone(),
            _ => Vec::new(),
        };
        if current.is_none() {
            if self.known.is_some() {
                self.gone_ns.get_or_insert(now_ns);
            }
            return;
        }
        self.gone_ns = None;
        if self.known != current {
            self.known = current;
            self.changed = true;
        }
    }

    /// Forgets one that went before `oldest_ns`.
    pub fn expire(&mut self, oldest_ns: i64) {
        if self.gone_ns.is_some_and(|gone_ns| gone_ns < oldest_ns) {
            (self.known, self.gone_ns) = (None, None);
            self.changed = true;
        }
    }

    /// Whether it said good-bye; asked once. Its agent repeats it for as long as no other comes.
    pub fn take_left(&mut self) -> bool {
        std::mem::take(&mut self.left)
    }

    /// Whether the plan has to be made anew; asked once.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use netcheck_common::domain::{Family, ProbeKind};

    use super::*;

    fn reported() -> v1::PodVantage {
        v1::PodVantage {
            pod: "netcheck/vantage-1".into(),
            addresses: vec![vec![10, 244, 1, 9], vec![1, 2, 3]],
            can: vec![
                v1::VantageKind { kind: v1::ProbeKind::Icmp.into(), ip_version: 4 },
                v1::VantageKind { kind: v1::ProbeKind::Udp.into(), ip_version: 5 },
                v1::VantageKind { kind: 99, ip_version: 4 },
            ],
            responder_port: 6100,
            ..Default::default()
        }
    }

    fn gone() -> v1::PodVantage {
        v1::PodVantage { detail: vec!["gone".into()], ..Default::default() }
    }

    #[test]
    fn one_that_went_is_known_until_it_expires() {
        let mut vantage = Vantage::default();
        vantage.update(Some(&gone()), 1);
        assert_eq!(vantage.missing(), Some("gone"));
        assert!(!vantage.take_changed());
        vantage.update(Some(&reported()), 2);
        let known = vantage.known().unwrap();
        assert_eq!(known.addresses, ["10.244.1.9".parse::<IpAddr>().unwrap()]);
        assert!(known.can(ProbeKind::Icmp, Family::V4) && !known.can(ProbeKind::Udp, Family::V4));
        assert_eq!(vantage.missing(), None);
        assert!(vantage.take_changed() && !vantage.take_changed());
        vantage.update(Some(&gone()), 10);
        vantage.update(Some(&gone()), 20);
        vantage.expire(10);
        assert!(vantage.known().is_some() && !vantage.take_changed(), "its paths stay as they are");
        vantage.expire(11);
        assert!(vantage.known().is_none() && vantage.take_changed());
        vantage.update(None, 30);
        assert_eq!(vantage.missing(), None, "an agent that expects none");
    }

    #[test]
    fn a_good_bye_that_is_repeated_is_one() {
        let mut vantage = Vantage::default();
        let said = |vantage: &mut Vantage, reported: v1::PodVantage| {
            vantage.update(Some(&reported), 1);
            vantage.take_left()
        };
        assert!(!said(&mut vantage, reported()));
        assert!(said(&mut vantage, v1::PodVantage { leaving: true, ..reported() }));
        assert!(!said(&mut vantage, v1::PodVantage { leaving: true, ..gone() }));
        assert!(!said(&mut vantage, gone()) && !said(&mut vantage, reported()));
        assert!(said(&mut vantage, v1::PodVantage { leaving: true, ..reported() }), "another time");
    }

    #[test]
    fn the_same_one_that_comes_back_changes_nothing() {
        let mut vantage = Vantage::default();
        vantage.update(Some(&reported()), 1);
        assert!(vantage.take_changed());
        vantage.update(Some(&gone()), 2);
        vantage.update(Some(&reported()), 3);
        vantage.expire(100);
        assert!(!vantage.take_changed() && vantage.known().is_some());
    }
}
