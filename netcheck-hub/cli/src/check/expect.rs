//! What a check expects of the network beside reachability: `success=99.9%,p99=20ms,mean=5ms`, as kdoctor's `expect` has
//! it. Success and mean are those of all probes of a target by one kind of probe; every path must keep p99.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use netcheck_proto::v1;
use netcheck_proto::words::{kind_name, source_name, target_name};
use serde::{Deserialize, Serialize};

/// Paths or targets that a broken expectation names.
const NAMED: usize = 10;

/// What is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Expect {
    /// Share of answered probes, of a million.
    pub(crate) success_ppm: Option<u32>,
    pub(crate) p99: Option<Duration>,
    pub(crate) mean: Option<Duration>,
}

/// Why expectations can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpectError {
    /// No `=`, or a word that is none of the three.
    #[error(
        "{text:?} is no expectation; there are success=99.9%, p99=20ms, mean=5ms, with commas between them"
    )]
    Unknown {
        /// As it was given.
        text: String,
    },
    /// Twice the same.
    #[error("{name} is expected twice")]
    Twice {
        /// Which.
        name: String,
    },
    /// A value that can't be.
    #[error("{name}={value}: {wanted}")]
    Value {
        /// Which.
        name: &'static str,
        /// As it was given.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
}

fn share(value: &str) -> Result<u32, ExpectError> {
    let wrong = || ExpectError::Value {
        name: "success",
        value: value.to_owned(),
        wanted: "a share of probes from 0% to 100%, such as 99.9%",
    };
    let percent: f64 =
        value.strip_suffix('%').unwrap_or(value).trim().parse().map_err(|_no_number| wrong())?;
    if (0.0..=100.0).contains(&percent) { Ok((percent * 1e4).round() as u32) } else { Err(wrong()) }
}

fn delay(name: &'static str, value: &str) -> Result<Duration, ExpectError> {
    let wanted = "a duration of more than 0, such as 20ms";
    match humantime::parse_duration(value) {
        Ok(delay) if !delay.is_zero() => Ok(delay),
        _ => Err(ExpectError::Value { name, value: value.to_owned(), wanted }),
    }
}

impl FromStr for Expect {
    type Err = ExpectError;

    fn from_str(text: &str) -> Result<Self, ExpectError> {
        let mut expect = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let unknown = || ExpectError::Unknown { text: part.to_owned() };
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            let (name, value) = (name.trim(), value.trim());
            let twice = match name {
                "success" => expect.success_ppm.replace(share(value)?).is_some(),
                "p99" => expect.p99.replace(delay("p99", value)?).is_some(),
                "mean" => expect.mean.replace(delay("mean", value)?).is_some(),
                _ => return Err(unknown()),
            };
            if twice {
                return Err(ExpectError::Twice { name: name.to_owned() });
            }
        }
        Ok(expect)
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delay = |name: &str, delay: Option<Duration>| {
            delay.map(|delay| {
                format!("{name}={}", humantime::format_duration(delay).to_string().replace(' ', ""))
            })
        };
        let success = self.success_ppm.map(|ppm| format!("success={}%", f64::from(ppm) / 1e4));
        let parts = [success, delay("p99", self.p99), delay("mean", self.mean)];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

impl Expect {
    /// The same, with what another one says where this one says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            success_ppm: self.success_ppm.or(other.success_ppm),
            p99: self.p99.or(other.p99),
            mean: self.mean.or(other.mean),
        }
    }
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Broken {
    /// `p99=20ms`.
    pub(crate) expectation: String,
    /// Paths, or targets by kind, that don't keep it.
    pub(crate) count: u64,
    /// Some of them, the worst first.
    pub(crate) worst: Vec<String>,
}

impl Broken {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let more = match self.count.saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("expected {}: {}{more}", self.expectation, self.worst.first().map_or("", String::as_str))
    }
}

/// Some values, the largest of them.
#[derive(Debug, Default)]
struct Worst {
    count: u64,
    /// Ascending by how bad it is.
    named: Vec<(u64, String)>,
}

impl Worst {
    fn add(&mut self, badness: u64, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() == NAMED && self.named[0].0 >= badness {
            return;
        }
        let at = self.named.partition_point(|(other, _)| *other < badness);
        self.named.insert(at, (badness, name()));
        if self.named.len() > NAMED {
            self.named.remove(0);
        }
    }

    fn broken(self, expectation: String) -> Option<Broken> {
        let worst = self.named.into_iter().rev().map(|(_, name)| name).collect();
        (self.count > 0).then_some(Broken { expectation, count: self.count, worst })
    }
}

#[derive(Debug, Default)]
struct Sums {
    name: String,
    sent: u64,
    reply: u64,
    samples: u64,
    /// Nanoseconds.
    sum_ns: u128,
}

/// Holds cells against expectations.
#[derive(Debug)]
pub(crate) struct Judge {
    expect: Expect,
    by_target: HashMap<(String, i32), Sums>,
    slow: Worst,
}

pub(crate) fn nanos(wire: Option<&prost_types::Duration>) -> u64 {
    let wire = wire.copied().unwrap_or_default();
    let seconds = u64::try_from(wire.seconds).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(wire.nanos).unwrap_or_default())
}

fn millis(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}

impl Judge {
    pub(crate) fn new(expect: Expect) -> Self {
        Self { expect, by_target: HashMap::new(), slow: Worst::default() }
    }

    /// Takes a cell that no exception excuses.
    pub(crate) fn add(&mut self, cell: &v1::MatrixCell) {
        let (Some(path), Some(stats)) = (&cell.path, &cell.stats) else { return };
        let target = path.target.clone().unwrap_or_default();
        let round_trip = stats.round_trip.unwrap_or_default();
        if let Some(limit) = self.expect.p99.filter(|_| round_trip.samples > 0) {
            let p99_ns = nanos(round_trip.p99.as_ref());
            if u128::from(p99_ns) > limit.as_nanos() {
                self.slow.add(p99_ns, || {
                    let source = source_name(&path.source_node, path.vantage() == v1::Vantage::Pod);
                    let (kind, target) = (kind_name(path.kind()), target_name(&target));
                    format!("{source} → {target}, {kind}: {}", millis(p99_ns))
                });
            }
        }
        if self.expect.success_ppm.is_none() && self.expect.mean.is_none() {
            return;
        }
        let sums = self.by_target.entry((target.id.clone(), path.kind)).or_insert_with(|| Sums {
            name: format!("{}, {}", target_name(&target), kind_name(path.kind())),
            ..Sums::default()
        });
        sums.sent += stats.sent;
        sums.reply += stats.reply;
        if let Some(mean) = &round_trip.mean {
            sums.samples += round_trip.samples;
            sums.sum_ns += u128::from(nanos(Some(mean))) * u128::from(round_trip.samples);
        }
    }

    /// What was not met.
    pub(crate) fn broken(self) -> Vec<Broken> {
        let Expect { success_ppm, p99, mean } = self.expect;
        let (mut lost, mut slow) = (Worst::default(), Worst::default());
        for sums in self.by_target.into_values() {
            let Sums { name, sent, reply, samples, sum_ns } = sums;
            if let Some(ppm) = success_ppm.filter(|_| sent > 0)
                && u128::from(reply) * 1_000_000 < u128::from(sent) * u128::from(ppm)
            {
                let share = reply as f64 * 100.0 / sent as f64;
                let missing = (sent - reply.min(sent)) * 1_000_000 / sent;
                lost.add(missing, || format!("{name}: {share:.2} % ({reply} of {sent} answered)"));
            }
            let mean_ns = u64::try_from(sum_ns / u128::from(samples.max(1))).unwrap_or(u64::MAX);
            if mean.is_some_and(|limit| u128::from(mean_ns) > limit.as_nanos()) {
                slow.add(mean_ns, || format!("{name}: {}", millis(mean_ns)));
            }
        }
        let none = Expect::default();
        let broken = [
            lost.broken(Expect { success_ppm, ..none }.to_string()),
            self.slow.broken(Expect { p99, ..none }.to_string()),
            slow.broken(Expect { mean, ..none }.to_string()),
        ];
        broken.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expect() -> impl Strategy<Value = Expect> {
        let delay = || prop::option::of((1u64..10_000_000_000).prop_map(Duration::from_nanos));
        (prop::option::of(0u32..=1_000_000), delay(), delay()).prop_map(|(success_ppm, p99, mean)| Expect {
            success_ppm,
            p99,
            mean,
        })
    }

    fn cell(target: &str, reply: u64, sent: u64, ms: u32) -> v1::MatrixCell {
        let delay = Some(prost_types::Duration { seconds: 0, nanos: i32::try_from(ms).unwrap() * 1_000_000 });
        let round_trip = Some(v1::Delay { samples: reply, p99: delay, mean: delay, ..Default::default() });
        let target = v1::Target { id: target.to_owned(), name: target.to_owned(), ..Default::default() };
        v1::MatrixCell {
            path: Some(v1::Path { target: Some(target), ..Default::default() }),
            stats: Some(v1::PathStats { sent, reply, round_trip, ..Default::default() }),
            ..Default::default()
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(expect in expect()) {
            prop_assert_eq!(expect.to_string().parse::<Expect>().unwrap(), expect);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Expect>();
        }

        #[test]
        fn success_is_that_of_all_sources_together(cells in prop::collection::vec((0u64..50, 0u64..50), 1..20), ppm in 0u32..=1_000_000) {
            let mut judge = Judge::new(Expect { success_ppm: Some(ppm), ..Expect::default() });
            for &(reply, lost) in &cells {
                judge.add(&cell("n1", reply, reply + lost, 1));
            }
            let (reply, sent) = cells.iter().fold((0, 0), |(r, s), &(reply, lost)| (r + reply, s + reply + lost));
            let kept = sent == 0 || reply * 1_000_000 >= sent * u64::from(ppm);
            prop_assert_eq!(judge.broken().is_empty(), kept);
        }
    }

    #[test]
    fn what_is_no_expectation_is_reported_in_one_line() {
        for text in
            ["success", "loss=1%", "success=101%", "success=x", "p99=0s", "mean=-1ms", "p99=1s,p99=2s"]
        {
            let error = text.parse::<Expect>().expect_err(text).to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_is_one_of_few() {
        let mut judge = Judge::new("p99=5ms,mean=5ms".parse().unwrap());
        for ms in 1..40 {
            judge.add(&cell(&format!("n{ms}"), 3, 3, ms));
        }
        let broken = judge.broken();
        assert_eq!(broken.len(), 2);
        for broken in broken {
            assert_eq!((broken.count, broken.worst.len()), (34, NAMED));
            assert!(broken.worst[0].contains("n39") && broken.line().contains("39.000 ms and 33 more"));
        }
    }
}
