//! What the reflector remembers of other agents' paths, and whether it may have forgotten some.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netcheck_common::abi::{ReflectKey, ReflectValue, maps};
use netcheck_common::domain::{PathId, ProbeSession, Sequence};

use super::EbpfSource;
use crate::kernel::events::{address_bytes, ip_address};
use crate::kernel::tables::Abi;
use crate::model::observation::{ReflectedPath, Remembered};

/// For so long the counts of new paths are looked back at: longer than any question is asked after its probe.
const LOOK_BACK: Duration = Duration::from_secs(120);
/// How far apart they are noted.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// So many new paths meanwhile, and the kernel may have let go of one that is in use: it keeps those that were used last,
/// roughly.
const MANY: u64 = maps::REFLECT_ENTRIES as u64 / 2;
/// How old the list of all keys may be: younger than any probe that is asked about.
const LISTED: Duration = Duration::from_millis(250);

/// Addresses that requests come from, by session and path.
type SourcesByPath = HashMap<(u64, u32), Vec<[u8; 16]>>;

/// When how many paths had been new, or had been refused.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    noted: VecDeque<(Instant, u64, u64)>,
    /// As of some moment.
    listed: RefCell<Option<(Instant, SourcesByPath)>>,
}

impl Forgetting {
    /// Takes note of the counts as they are.
    pub(super) fn note(&mut self, fresh: u64, refused: u64) {
        self.note_at(Instant::now(), fresh, refused);
    }

    fn note_at(&mut self, now: Instant, fresh: u64, refused: u64) {
        if self.noted.back().is_none_or(|&(at, ..)| now.duration_since(at) >= NOTE_EVERY) {
            self.noted.push_back((now, fresh, refused));
        }
        while self.noted.len() > 1
            && self.noted.get(1).is_some_and(|&(at, ..)| now.duration_since(at) > LOOK_BACK)
        {
            self.noted.pop_front();
        }
    }

    /// Whether a path that was in use lately may be forgotten, or was never taken.
    fn is_likely(&self, fresh: u64, refused: u64) -> bool {
        let Some(&(_, before, refused_before)) = self.noted.front() else { return false };
        fresh.saturating_sub(before) > MANY || refused > refused_before
    }
}

impl EbpfSource {
    /// What is remembered of a path whose requests come from one of these addresses, or from one that is nobody's.
    pub(super) fn remembered(&self, session: ProbeSession, path: PathId, sources: &[IpAddr]) -> Remembered {
        let key = |source| ReflectKey { session: session.0, path: path.0, _pad: 0, source };
        let get = |source| self.maps.reflect.get(&Abi(key(source)), 0).ok().map(|Abi(value)| value);
        let known = sources.iter().find_map(|&source| get(address_bytes(source)));
        let found = known.or_else(|| {
            let candidates = self.sources_of(session.0, path.0);
            // Whoever is known, and is not among those that were named, sends in another's name.
            let nobodys = |source: &&[u8; 16]| {
                let address = ip_address(**source);
                sources.is_empty() || !self.known.iter().any(|known| known.address == address)
            };
            let values = candidates.iter().filter(nobodys).filter_map(|&source| get(source));
            values.max_by_key(|value| value.requests)
        });
        match found {
            Some(value) => Remembered::Path(self.reflected(&value)),
            None if self.may_have_forgotten() => Remembered::Unsure,
            None => Remembered::Nothing,
        }
    }

    fn may_have_forgotten(&self) -> bool {
        use netcheck_common::abi::counters::{REFLECT_FRESH, REFLECT_REFUSED};

        self.forgetting.is_likely(self.counter(REFLECT_FRESH), self.counter(REFLECT_REFUSED))
    }

    fn reflected(&self, value: &ReflectValue) -> ReflectedPath {
        let hook = |ifindex, flags| (ifindex != 0).then(|| self.hook(ifindex, flags));
        ReflectedPath {
            requests: value.requests,
            highest_sequence: Sequence(value.highest_sequence),
            arrived: value.arrived,
            last_request_hook: hook(value.request_ifindex, value.request_flags),
            last_reply: hook(value.reply_ifindex, value.reply_flags)
                .map(|hook| (hook, Sequence(value.reply_sequence))),
        }
    }

    /// All addresses that requests of this session and path came from.
    fn sources_of(&self, session: u64, path: u32) -> Vec<[u8; 16]> {
        let mut listed = self.forgetting.listed.borrow_mut();
        if listed.as_ref().is_none_or(|(at, _)| at.elapsed() > LISTED) {
            let mut sources = SourcesByPath::new();
            // Entries come and go meanwhile, so that the list may begin anew: it ends all the same.
            let keys = self.maps.reflect.keys().take(2 * maps::REFLECT_ENTRIES as usize);
            for Abi(key) in keys.flatten() {
                let of = sources.entry((key.session, key.path)).or_default();
                if !of.contains(&key.source) {
                    of.push(key.source);
                }
            }
            *listed = Some((Instant::now(), sources));
        }
        listed.as_ref().and_then(|(_, sources)| sources.get(&(session, path)).cloned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_new_paths_makes_unsure_for_a_while() {
        let mut forgetting = Forgetting::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(!forgetting.is_likely(1_000_000, 0), "nothing to hold it against yet");
        for second in 0..60 {
            forgetting.note_at(at(second), 100 + second, 0);
        }
        assert!(!forgetting.is_likely(160, 0));
        assert!(forgetting.is_likely(160 + MANY, 0) && forgetting.is_likely(160, 1));
        for second in 60..400 {
            forgetting.note_at(at(second), 20_000, 5);
        }
        assert!(!forgetting.is_likely(20_000, 5), "it is over");
        assert!(forgetting.noted.len() < 20, "bounded");
    }
}
