//! Known exceptions: paths that may fail until a day, for a reason. After it they count like all others, and a check says
//! that they are over.

use std::time::SystemTime;

use netcheck_common::domain::ProbeKind;
use netcheck_proto::v1;
use serde::{Deserialize, Serialize};

use super::record::PathRecord;

/// Paths that may fail. What is not named is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Exception {
    /// The node that probes; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The target's id, name, `namespace/name` or address; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// `icmp`, `udp`, `tcp`, `dns`, `http`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) kinds: Vec<String>,
    /// `host` or `pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vantage: Option<String>,
    /// Not paths, but objects that nobody can probe.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unjudged: bool,
    /// The last day on which it holds, UTC: `2026-12-31`.
    pub(crate) until: String,
    /// Why.
    pub(crate) reason: String,
}

/// Why an exception is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExceptionError {
    /// Everything may fail.
    #[error("exceptions[{at}] names nothing: say source, target, kinds, vantage or unjudged")]
    Everything {
        /// Its place, from 0.
        at: usize,
    },
    /// No date.
    #[error("exceptions[{at}].until is no day: {until:?}; write it as 2026-12-31")]
    Until {
        /// Its place, from 0.
        at: usize,
        /// As it was given.
        until: String,
    },
    /// No reason.
    #[error("exceptions[{at}] has no reason")]
    Reason {
        /// Its place, from 0.
        at: usize,
    },
    /// A word that is no kind of probe, or no vantage.
    #[error("exceptions[{at}]: {word:?} is {none}")]
    Word {
        /// Its place, from 0.
        at: usize,
        /// As it was given.
        word: String,
        /// What it is not.
        none: &'static str,
    },
}

/// Whether a text is like a pattern in which `*` stands for any characters.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// `2026-12-31`, and a day that the calendar has.
fn day(text: &str) -> Option<SystemTime> {
    (text.len() == 10).then(|| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()).flatten()
}

impl Exception {
    fn check(&self, at: usize) -> Result<(), ExceptionError> {
        let paths = self.source.is_some() || self.target.is_some() || self.vantage.is_some();
        if !paths && self.kinds.is_empty() && !self.unjudged {
            return Err(ExceptionError::Everything { at });
        }
        if day(&self.until).is_none() {
            return Err(ExceptionError::Until { at, until: self.until.clone() });
        }
        if self.reason.trim().is_empty() {
            return Err(ExceptionError::Reason { at });
        }
        let known = |kind: &&String| ProbeKind::ALL.iter().any(|known| known.as_str() == kind.as_str());
        if let Some(word) = self.kinds.iter().find(|kind| !known(kind)) {
            return Err(ExceptionError::Word { at, word: word.clone(), none: "no kind of probe" });
        }
        match self.vantage.as_deref() {
            None | Some("host" | "pod") => Ok(()),
            Some(word) => {
                Err(ExceptionError::Word { at, word: word.to_owned(), none: "neither host nor pod" })
            }
        }
    }

    fn holds_on(&self, today: &str) -> bool {
        // Days in this form are in the order of their texts.
        today <= self.until.as_str()
    }

    fn takes(&self, path: &PathRecord, target: &v1::Target) -> bool {
        let full = || format!("{}/{}", target.namespace, target.name);
        let called = |pattern: &String| {
            like(pattern, &path.target)
                || like(pattern, &target.name)
                || like(pattern, &path.address)
                || like(pattern, &full())
        };
        !self.unjudged
            && self.source.as_ref().is_none_or(|source| like(source, &path.source))
            && self.target.as_ref().is_none_or(called)
            && (self.kinds.is_empty() || self.kinds.contains(&path.kind))
            && self.vantage.as_ref().is_none_or(|vantage| *vantage == path.vantage)
    }

    /// In words: `n3 → pod/shop/legacy-*, udp until 2026-12-31: reason`.
    pub(crate) fn line(&self) -> String {
        let any = |text: &Option<String>| text.clone().unwrap_or_else(|| "*".to_owned());
        let what = if self.unjudged {
            "objects that nobody can probe".to_owned()
        } else {
            let kinds =
                if self.kinds.is_empty() { String::new() } else { format!(", {}", self.kinds.join(" ")) };
            let from = self.vantage.as_ref().map(|vantage| format!(" from {vantage}s")).unwrap_or_default();
            format!("{} → {}{kinds}{from}", any(&self.source), any(&self.target))
        };
        format!("{what}, until {}: {}", self.until, self.reason)
    }
}

/// All exceptions on one day, and how often each was used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exceptions {
    all: Vec<(Exception, u64)>,
    today: String,
}

impl Exceptions {
    /// Reads them on a day.
    ///
    /// # Errors
    /// See [`ExceptionError`].
    pub(crate) fn new(all: Vec<Exception>, now: SystemTime) -> Result<Self, ExceptionError> {
        for (at, exception) in all.iter().enumerate() {
            exception.check(at)?;
        }
        let today = humantime::format_rfc3339_seconds(now).to_string();
        let today = today.split('T').next().unwrap_or_default().to_owned();
        Ok(Self { all: all.into_iter().map(|exception| (exception, 0)).collect(), today })
    }

    /// The reason for which a path may fail, for one that was counted already.
    pub(crate) fn reason(&self, path: &PathRecord, target: &v1::Target) -> Option<String> {
        let mut holding = self.all.iter().filter(|(exception, _)| exception.holds_on(&self.today));
        holding
            .find(|(exception, _)| exception.takes(path, target))
            .map(|(exception, _)| exception.reason.clone())
    }

    /// The reason for which a path may fail; none: it may not.
    pub(crate) fn excuse(&mut self, path: &PathRecord, target: &v1::Target) -> Option<String> {
        let today = &self.today;
        let mut holding = self.all.iter_mut().filter(|(exception, _)| exception.holds_on(today));
        let (exception, used) = holding.find(|(exception, _)| exception.takes(path, target))?;
        *used += 1;
        Some(exception.reason.clone())
    }

    /// The reason for which there may be objects that nobody can probe.
    pub(crate) fn excuse_unjudged(&mut self) -> Option<String> {
        let today = &self.today;
        let mut holding = self.all.iter_mut().filter(|(exception, _)| exception.holds_on(today));
        let (exception, used) = holding.find(|(exception, _)| exception.unjudged)?;
        *used += 1;
        Some(exception.reason.clone())
    }

    /// Lines about exceptions that are over, and about those that nothing needed in a check of everything.
    pub(crate) fn notes(&self, everything: bool) -> Vec<String> {
        let mut notes = Vec::new();
        for (exception, used) in &self.all {
            if !exception.holds_on(&self.today) {
                notes.push(format!("an exception is over: {}", exception.line()));
            } else if *used == 0 && everything {
                notes.push(format!("an exception is not needed any more: {}", exception.line()));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn on(day_text: &str, exception: &Exception) -> Exceptions {
        Exceptions::new(vec![exception.clone()], day(day_text).unwrap() + Duration::from_secs(3600)).unwrap()
    }

    fn path() -> PathRecord {
        PathRecord {
            source: "n3".to_owned(),
            vantage: "pod".to_owned(),
            target: "pod/shop/legacy-1".to_owned(),
            kind: "udp".to_owned(),
            address: "10.1.2.3".to_owned(),
            ..PathRecord::default()
        }
    }

    fn target() -> v1::Target {
        v1::Target { namespace: "shop".to_owned(), name: "legacy-1".to_owned(), ..Default::default() }
    }

    #[test]
    fn an_exception_holds_to_the_end_of_its_day() {
        let target_text = Some("shop/legacy-*".to_owned());
        let until = "2026-12-31".to_owned();
        let exception =
            Exception { target: target_text, until, reason: "moves".to_owned(), ..Exception::default() };
        assert_eq!(on("2026-12-31", &exception).excuse(&path(), &target()), Some("moves".to_owned()));
        let mut over = on("2027-01-01", &exception);
        assert_eq!(over.excuse(&path(), &target()), None);
        assert!(over.notes(false)[0].contains("is over: * → shop/legacy-*, until 2026-12-31: moves"));
        assert!(on("2026-12-01", &exception).notes(true)[0].contains("not needed any more"));
    }

    #[test]
    fn every_word_narrows_it() {
        let base =
            Exception { until: "2026-12-31".to_owned(), reason: "x".to_owned(), ..Exception::default() };
        let some = |text: &str| Some(text.to_owned());
        let takes = [
            Exception { source: some("n*"), ..base.clone() },
            Exception { target: some("10.1.2.3"), ..base.clone() },
            Exception { target: some("pod/*/legacy-1"), kinds: vec!["udp".to_owned()], ..base.clone() },
            Exception { vantage: some("pod"), ..base.clone() },
        ];
        let other = [
            Exception { source: some("n"), ..base.clone() },
            Exception { target: some("legacy"), ..base.clone() },
            Exception { target: some("*"), kinds: vec!["tcp".to_owned()], ..base.clone() },
            Exception { source: some("n3"), vantage: some("host"), ..base.clone() },
            Exception { unjudged: true, ..base.clone() },
        ];
        assert!(
            takes.iter().all(|exception| on("2026-12-01", exception).excuse(&path(), &target()).is_some())
        );
        assert!(
            other.iter().all(|exception| on("2026-12-01", exception).excuse(&path(), &target()).is_none())
        );
        for wrong in [
            base.clone(),
            Exception { source: some("n1"), until: "31.12.2026".to_owned(), ..base.clone() },
            Exception { source: some("n1"), until: "2026-02-30".to_owned(), ..base.clone() },
            Exception { source: some("n1"), reason: " ".to_owned(), ..base.clone() },
            Exception { kinds: vec!["sctp".to_owned()], ..base.clone() },
            Exception { vantage: some("node"), ..base.clone() },
        ] {
            assert!(Exceptions::new(vec![wrong.clone()], SystemTime::now()).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_like_itself_with_parts_left_out(text in "[a-z/]{0,12}", from in 0usize..12, to in 0usize..12) {
            prop_assert!(like(&text, &text) && like("*", &text));
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            if from <= to {
                let pattern = format!("{}*{}", &text[..from], &text[to..]);
                prop_assert!(like(&pattern, &text));
                let longer = text.clone() + "!";
                prop_assert!(!like(&pattern, &longer) || pattern.ends_with('*'));
            }
        }
    }
}
