//! What the agent reported, as the listener wrote it down, beside the packets of the capture. Pure.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::capture::{Captured, Exchange};

/// One line of the listener: what one path reported of one window. Delays in nanoseconds.
#[derive(Deserialize)]
struct Line {
    session: u64,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    start_ns: u64,
    #[serde(default)]
    path: u32,
    /// Judged and suspect.
    #[serde(default)]
    probes: u32,
    #[serde(default)]
    suspect: u32,
    #[serde(default)]
    round_trip: Vec<f64>,
    #[serde(default)]
    network: Vec<f64>,
    #[serde(default)]
    responder: Vec<f64>,
}

/// Of which protocol; the listener gives UDP paths the odd numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Icmp,
    Udp,
}

/// Pairs of what was reported and what the capture says, nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Delays {
    pub(super) round_trip: Vec<(f64, f64)>,
    pub(super) network: Vec<(f64, f64)>,
    pub(super) responder: Vec<(f64, f64)>,
}

/// All probes that left in a span of time.
#[derive(Debug, Default)]
pub(super) struct Samples {
    icmp: Delays,
    udp: Delays,
    pub(super) suspect: u64,
    pub(super) unmatched: u64,
}

/// When the newest reported window began, nanoseconds of the wall clock.
pub(super) fn newest_ns(log: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|line| serde_json::from_str::<Line>(line).ok())?;
    Some(line.start_ns)
}

impl Samples {
    /// Windows of a path come in their order, and its probes are numbered from 1 without a gap: so the numbers of a
    /// window's probes are known.
    pub(super) fn read(log: &str, captured: &Captured, span_ns: &Range<u64>) -> Result<Self> {
        let mut samples = Self::default();
        let mut sent: HashMap<(u64, u32), u32> = HashMap::new();
        for line in log.lines() {
            let line: Line =
                serde_json::from_str(line).with_context(|| format!("the listener says {line}"))?;
            ensure!(line.dropped == 0, "the agent dropped {} samples", line.dropped);
            let before = sent.entry((line.session, line.path)).or_default();
            let numbers = *before + 1..=*before + line.probes;
            *before += line.probes;
            if !span_ns.contains(&line.start_ns) {
                continue;
            }
            samples.suspect += u64::from(line.suspect);
            let exchanges: Vec<Exchange> = numbers
                .filter_map(|number| captured.probes.get(&(line.session, line.path, number)).copied())
                .collect();
            samples.pair(&line, &exchanges);
        }
        Ok(samples)
    }

    pub(super) fn of(&self, kind: Kind) -> &Delays {
        match kind {
            Kind::Icmp => &self.icmp,
            Kind::Udp => &self.udp,
        }
    }

    fn pair(&mut self, line: &Line, exchanges: &[Exchange]) {
        let delays = if line.path % 2 == 1 { &mut self.udp } else { &mut self.icmp };
        for (pairs, reported, captured) in [
            (
                &mut delays.round_trip,
                &line.round_trip,
                exchanges.iter().filter_map(Exchange::round_trip_ns).collect::<Vec<f64>>(),
            ),
            (&mut delays.network, &line.network, exchanges.iter().filter_map(Exchange::network_ns).collect()),
            (
                &mut delays.responder,
                &line.responder,
                exchanges.iter().filter_map(|exchange| Some(exchange.responder_ns? as f64)).collect(),
            ),
        ] {
            if reported.len() != captured.len() {
                self.unmatched += reported.len() as u64;
                continue;
            }
            // Of a window with several probes nobody knows which is which: the most favourable order is taken. Hardly
            // a window has more than one.
            let mut captured = captured;
            captured.sort_by(f64::total_cmp);
            pairs.extend(reported.iter().copied().zip(captured));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Captured, Exchange, Kind, Samples, newest_ns};

    #[test]
    fn probes_find_their_packets() {
        let mut captured = Captured::default();
        for (number, away_ns) in [(2, 500), (3, 900), (4, 700)] {
            let exchange =
                Exchange { request_ns: Some(1000), reply_ns: Some(1000 + away_ns), responder_ns: Some(100) };
            captured.probes.insert((5, 3, number), exchange);
        }
        let log = r#"{"session":5,"start_ns":10,"path":3,"probes":1,"suspect":0,"round_trip":[1],"network":[1]}
{"session":5,"start_ns":20,"path":3,"probes":1,"suspect":0,"round_trip":[520],"network":[410],"responder":[104]}
{"session":5,"start_ns":30,"path":3,"probes":3,"suspect":1,"round_trip":[720,930],"network":[610,800]}
{"session":5,"start_ns":40,"path":2,"probes":1,"suspect":0,"round_trip":[3],"network":[2]}
"#;
        let samples = Samples::read(log, &captured, &(15..100)).unwrap();
        let udp = samples.of(Kind::Udp);
        assert_eq!(udp.round_trip, [(520.0, 500.0), (720.0, 700.0), (930.0, 900.0)]);
        assert_eq!(udp.network, [(410.0, 400.0), (610.0, 600.0), (800.0, 800.0)]);
        assert_eq!(udp.responder, [(104.0, 100.0)]);
        assert!(samples.of(Kind::Icmp).network.is_empty());
        assert_eq!((samples.suspect, samples.unmatched), (1, 2));
        assert_eq!(newest_ns(log), Some(40));
        assert!(Samples::read("{\"session\":5,\"dropped\":3}\n", &captured, &(0..9)).is_err());
    }
}
