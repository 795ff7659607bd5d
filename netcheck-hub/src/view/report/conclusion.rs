//! What an answer comes to: one word for programs, one line for people. Silence is not reachability. Pure.

use netcheck_proto::v1;

/// Paths by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    paths: u64,
    reachable: u64,
    degraded: u64,
    unreachable: u64,
    expected_absent: u64,
    no_data: u64,
    /// Objects that nobody can probe.
    unjudged: u64,
}

impl Counts {
    fn of(verdicts: impl Iterator<Item = v1::Verdict>) -> Self {
        let mut counts = Self::default();
        for verdict in verdicts {
            counts.paths += 1;
            *match verdict {
                v1::Verdict::Reachable => &mut counts.reachable,
                v1::Verdict::Degraded => &mut counts.degraded,
                v1::Verdict::Unreachable => &mut counts.unreachable,
                v1::Verdict::ExpectedAbsent => &mut counts.expected_absent,
                v1::Verdict::NoData | v1::Verdict::Unspecified => &mut counts.no_data,
            } += 1;
        }
        counts
    }

    fn of_report(report: &v1::Report) -> Self {
        Self {
            paths: report.paths,
            reachable: report.reachable,
            degraded: report.degraded,
            unreachable: report.unreachable,
            expected_absent: report.expected_absent,
            no_data: report.no_data,
            unjudged: report.unjudged,
        }
    }

    fn all_absent(&self) -> bool {
        self.paths > 0 && self.expected_absent == self.paths
    }

    fn conclusion(&self) -> v1::Conclusion {
        if self.unreachable > 0 {
            v1::Conclusion::Unreachable
        } else if self.reachable + self.degraded > 0 || self.all_absent() {
            v1::Conclusion::Reachable
        } else {
            v1::Conclusion::Unmeasured
        }
    }

    /// The verdict and the line that a report begins with. Reachable only where every path that can be measured was.
    fn headline(&self) -> (v1::Verdict, String) {
        let (verdict, line) = self.of_paths();
        match self.unjudged {
            0 => (verdict, line),
            1 => (verdict, format!("{line}, 1 object that nobody can probe")),
            many => (verdict, format!("{line}, {many} objects that nobody can probe")),
        }
    }

    fn of_paths(&self) -> (v1::Verdict, String) {
        let (of, measured) = (self.paths, self.reachable + self.degraded + self.unreachable);
        let (verdict, mut line) = if of == 0 {
            return (v1::Verdict::NoData, "there is nothing to probe".to_owned());
        } else if self.all_absent() {
            return (v1::Verdict::ExpectedAbsent, format!("all {of} paths are expected to be absent"));
        } else if measured == 0 {
            return (v1::Verdict::NoData, format!("nothing is measured on any of {of} paths"));
        } else if self.unreachable > 0 {
            (v1::Verdict::Unreachable, format!("{} of {of} paths are unreachable", self.unreachable))
        } else if self.degraded > 0 {
            (v1::Verdict::Degraded, format!("{} of {of} paths lose probes", self.degraded))
        } else if measured < of || self.unjudged > 0 {
            let verdict = if self.no_data > 0 || self.unjudged > 0 {
                v1::Verdict::NoData
            } else {
                v1::Verdict::Reachable
            };
            (verdict, format!("{measured} of {of} paths reachable"))
        } else {
            (v1::Verdict::Reachable, format!("all {of} paths are reachable"))
        };
        if self.no_data > 0 {
            line += &format!(", {} without data", self.no_data);
        }
        if self.expected_absent > 0 {
            line += &format!(", {} expected to be absent", self.expected_absent);
        }
        (verdict, line)
    }
}

/// What these paths come to.
#[must_use]
pub fn of(verdicts: impl Iterator<Item = v1::Verdict>) -> v1::Conclusion {
    Counts::of(verdicts).conclusion()
}

/// Says of a report what its counts come to.
pub fn conclude(report: &mut v1::Report) {
    let counts = Counts::of_report(report);
    let (verdict, line) = counts.headline();
    report.conclusion = counts.conclusion().into();
    report.verdict = verdict.into();
    report.headline = line;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_not_success() {
        use v1::Verdict::{Degraded, ExpectedAbsent, NoData, Reachable, Unreachable};
        let of = |verdicts: &[v1::Verdict]| of(verdicts.iter().copied());
        assert_eq!(of(&[Reachable, Degraded, ExpectedAbsent, NoData]), v1::Conclusion::Reachable);
        assert_eq!(of(&[Reachable, Unreachable, NoData]), v1::Conclusion::Unreachable);
        assert_eq!(of(&[NoData, ExpectedAbsent]), v1::Conclusion::Unmeasured);
        assert_eq!(of(&[ExpectedAbsent]), v1::Conclusion::Reachable);
        assert_eq!(of(&[]), v1::Conclusion::Unmeasured, "a selector that selects nothing is no success");
    }

    #[test]
    fn the_headline_says_how_many_of_how_many_and_is_good_only_where_all_is_measured() {
        use v1::{Conclusion, Verdict};
        let rows = [
            // reachable, degraded, unreachable, expected absent, without data
            ([176, 0, 0, 0, 0], Verdict::Reachable, "all 176 paths are reachable", Conclusion::Reachable),
            (
                [170, 0, 0, 6, 0],
                Verdict::Reachable,
                "170 of 176 paths reachable, 6 expected to be absent",
                Conclusion::Reachable,
            ),
            (
                [132, 0, 0, 0, 44],
                Verdict::NoData,
                "132 of 176 paths reachable, 44 without data",
                Conclusion::Reachable,
            ),
            (
                [100, 32, 0, 0, 44],
                Verdict::Degraded,
                "32 of 176 paths lose probes, 44 without data",
                Conclusion::Reachable,
            ),
            (
                [100, 30, 2, 4, 40],
                Verdict::Unreachable,
                "2 of 176 paths are unreachable, 40 without data, 4 expected to be absent",
                Conclusion::Unreachable,
            ),
            (
                [0, 0, 0, 0, 176],
                Verdict::NoData,
                "nothing is measured on any of 176 paths",
                Conclusion::Unmeasured,
            ),
            (
                [0, 0, 0, 6, 2],
                Verdict::NoData,
                "nothing is measured on any of 8 paths",
                Conclusion::Unmeasured,
            ),
            (
                [0, 0, 0, 6, 0],
                Verdict::ExpectedAbsent,
                "all 6 paths are expected to be absent",
                Conclusion::Reachable,
            ),
            ([0; 5], Verdict::NoData, "there is nothing to probe", Conclusion::Unmeasured),
        ];
        for (counts, verdict, line, conclusion) in rows {
            let [reachable, degraded, unreachable, expected_absent, no_data] = counts;
            let paths = counts.iter().sum();
            let mut report = v1::Report {
                paths,
                reachable,
                degraded,
                unreachable,
                expected_absent,
                no_data,
                ..Default::default()
            };
            conclude(&mut report);
            assert_eq!((report.verdict(), report.headline.as_str()), (verdict, line));
            assert_eq!(report.conclusion(), conclusion, "{line}");
        }
        let mut blind = v1::Report { paths: 176, reachable: 176, unjudged: 2, ..Default::default() };
        conclude(&mut blind);
        let line = "176 of 176 paths reachable, 2 objects that nobody can probe";
        assert_eq!((blind.verdict(), blind.headline.as_str()), (Verdict::NoData, line));
    }
}
