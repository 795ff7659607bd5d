//! What is not windows: verdicts, incidents, events, losses, drops, results, facts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{ReadError, Reader, Unread};
use crate::codec::VERSION;
use crate::codec::columns::Zstd;
use crate::codec::log::{CHECKPOINT, Entry, LIMITS, decode_checkpoint, decode_limits, topic_code};
use crate::keys;
use crate::path::PathNumber;
use crate::record::{
    CheckResult, Drops, Event, Fact, FactKind, IncidentRevision, Limits, Losses, Topic, Verdicts,
};
use crate::store::{Kind, Space, Store};
use crate::tier::seconds;
use crate::writer::{FACT, INCIDENT, Stands, fact_code};

/// Verdicts that stand, ascending by path: the hub's number for it, and since when (unix nanoseconds).
pub type Standings = BTreeMap<PathNumber, (u8, i64)>;

/// Limits that stand, ascending by path: since when (unix nanoseconds), and in the hub's own encoding.
pub type StandingLimits = BTreeMap<PathNumber, (i64, Arc<[u8]>)>;

/// What a hub must know when it starts again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Verdicts that stood last.
    pub verdicts: Standings,
    /// Open incidents, as they were recorded last; ascending by id.
    pub incidents: Vec<IncidentRevision>,
    /// Facts that stand.
    pub facts: Vec<Fact>,
    /// What could not be read.
    pub unreadable: u64,
}

impl Reader {
    /// What stands: for the start of a hub.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn state(&self) -> Result<State, ReadError> {
        let mut unread = Unread::default();
        let mut state = self.with(|store| {
            Ok(State {
                verdicts: standings(store, i64::MAX, &mut unread)?,
                incidents: open_incidents(store, &mut unread)?,
                facts: facts(store)?,
                unreadable: 0,
            })
        })?;
        state.unreadable = unread.total(&self.shared);
        Ok(state)
    }

    /// The verdicts that stood at a time.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn verdicts_at(&self, at_ns: i64) -> Result<Standings, ReadError> {
        let mut unread = Unread::default();
        let standings = self.with(|store| standings(store, at_ns, &mut unread));
        unread.total(&self.shared);
        standings
    }

    /// The limits that stood at a time.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn limits_at(&self, at_ns: i64) -> Result<StandingLimits, ReadError> {
        let mut unread = Unread::default();
        let limits = self.with(|store| limits(store, at_ns, &mut unread));
        unread.total(&self.shared);
        limits
    }

    /// The last remark of a topic that was made by a time: when, and in the hub's own encoding.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn remark_at(&self, topic: Topic, at_ns: i64) -> Result<Option<(i64, Vec<u8>)>, ReadError> {
        let end_ns = at_ns.saturating_add(1);
        let newest = self.with(|store| newest(store, topic_code(topic), end_ns))?;
        let Some((made_ns, bytes)) = newest else { return Ok(None) };
        let body = bytes.strip_prefix(&[VERSION]).map(<[u8]>::to_vec);
        let unread = Unread(u64::from(body.is_none()));
        unread.total(&self.shared);
        Ok(body.map(|body| (made_ns, body)))
    }

    /// Verdicts that changed from a time on until before another, ascending.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn verdict_changes(&self, from_ns: i64, to_ns: i64) -> Result<Vec<Verdicts>, ReadError> {
        self.entries(from_ns, to_ns)
    }

    /// Incidents that were open at some time from a time on until before another, in all revisions up to then,
    /// ascending by the time of the revision.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn incidents(&self, from_ns: i64, to_ns: i64) -> Result<Vec<IncidentRevision>, ReadError> {
        let mut unread = Unread::default();
        let revisions = self.with(|store| {
            // Who was open then is either recorded since, or open still.
            let since: Vec<IncidentRevision> = entries(store, from_ns, i64::MAX, &mut unread)?;
            let open = open_incidents(store, &mut unread)?;
            let mut first_seen: HashMap<String, i64> = HashMap::new();
            for incident in since.iter().chain(&open).filter(|incident| {
                incident.first_seen_ns < to_ns
                    && incident.closed_ns.is_none_or(|closed_ns| closed_ns >= from_ns)
            }) {
                let first_ns = first_seen.entry(incident.id.clone()).or_insert(i64::MAX);
                *first_ns = (*first_ns).min(incident.first_seen_ns);
            }
            let Some(begin_ns) = first_seen.values().copied().min() else { return Ok(Vec::new()) };
            let earlier: Vec<IncidentRevision> = entries(store, begin_ns, from_ns, &mut unread)?;
            let all = earlier.into_iter().chain(since);
            Ok(all
                .filter(|incident| incident.at_ns < to_ns && first_seen.contains_key(&incident.id))
                .collect())
        });
        unread.total(&self.shared);
        revisions
    }

    /// Events from a time on until before another, ascending.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn events(&self, from_ns: i64, to_ns: i64) -> Result<Vec<Event>, ReadError> {
        self.entries(from_ns, to_ns)
    }

    /// Losses by place from a time on until before another, ascending.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn losses(&self, from_ns: i64, to_ns: i64) -> Result<Vec<Losses>, ReadError> {
        self.entries(from_ns, to_ns)
    }

    /// Kernel drops from a time on until before another, ascending.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn drops(&self, from_ns: i64, to_ns: i64) -> Result<Vec<Drops>, ReadError> {
        self.entries(from_ns, to_ns)
    }

    /// Results of checks from a time on until before another, ascending.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn checks(&self, from_ns: i64, to_ns: i64) -> Result<Vec<CheckResult>, ReadError> {
        self.entries(from_ns, to_ns)
    }

    fn entries<E: Entry>(&self, from_ns: i64, to_ns: i64) -> Result<Vec<E>, ReadError> {
        let mut unread = Unread::default();
        let entries = self.with(|store| entries(store, from_ns, to_ns, &mut unread));
        unread.total(&self.shared);
        entries
    }
}

/// Spaces of the log that may hold something of a time, ascending.
fn spaces(store: &Store, from_ns: i64, to_ns: i64) -> impl DoubleEndedIterator<Item = Space> {
    let (from_s, to_s) = (seconds(from_ns), seconds(to_ns));
    let of = move |space: &Space| space.kind == Kind::Log && space.start_s <= to_s && from_s < space.end_s();
    store.spaces().into_iter().filter(of)
}

fn entries<E: Entry>(
    store: &Store,
    from_ns: i64,
    to_ns: i64,
    unread: &mut Unread,
) -> Result<Vec<E>, ReadError> {
    let mut entries = Vec::new();
    let (from, to) = (keys::log_from(E::KIND, from_ns), keys::log_from(E::KIND, to_ns));
    for space in spaces(store, from_ns, to_ns) {
        let read = store.range(space, &from, &to, &mut |key, value| {
            let entry = keys::log_time(key).map(|at_ns| E::decode(at_ns, value));
            entries.extend(entry.and_then(|entry| unread.note(entry)));
            true
        });
        unread.note_store(read)?;
    }
    Ok(entries)
}

/// The newest value of a sort before a time, and its time.
fn newest(store: &Store, kind: u8, end_ns: i64) -> Result<Option<(i64, Vec<u8>)>, ReadError> {
    let (from, to) = (keys::log_from(kind, i64::MIN), keys::log_from(kind, end_ns));
    for space in spaces(store, i64::MIN, end_ns).rev() {
        if let Some((key, value)) = store.last(space, &from, &to)?
            && let Some(at_ns) = keys::log_time(&key)
        {
            return Ok(Some((at_ns, value)));
        }
    }
    Ok(None)
}

/// All limits as they were written last, and what changed since.
fn limits(store: &Store, at_ns: i64, unread: &mut Unread) -> Result<StandingLimits, ReadError> {
    let end_ns = at_ns.saturating_add(1);
    let all = newest(store, LIMITS, end_ns)?;
    let since_ns = all.as_ref().map_or(i64::MIN, |(written_ns, _)| *written_ns);
    let read = all.and_then(|(at_ns, value)| unread.note(decode_limits(at_ns, &value, &mut Zstd::new())));
    let standing = read.unwrap_or_default().into_iter().collect();
    let mut stands = Stands::new(Standings::new(), standing);
    for changed in entries::<Limits>(store, since_ns, end_ns, unread)? {
        stands.limit(&changed);
    }
    Ok(stands.limits)
}

/// The newest checkpoint that can be read, and what changed since.
fn standings(store: &Store, at_ns: i64, unread: &mut Unread) -> Result<Standings, ReadError> {
    let end_ns = at_ns.saturating_add(1);
    let (from, to) = (keys::log_from(CHECKPOINT, i64::MIN), keys::log_from(CHECKPOINT, end_ns));
    let (mut stands, mut since_ns) = (Stands::default(), i64::MIN);
    for space in spaces(store, i64::MIN, end_ns).rev() {
        let Some((key, value)) = store.last(space, &from, &to)? else { continue };
        let Some(checkpoint_ns) = keys::log_time(&key) else { continue };
        if let Some(read) = unread.note(decode_checkpoint(checkpoint_ns, &value, &mut Zstd::new())) {
            (stands.verdicts, since_ns) = (read.into_iter().collect(), checkpoint_ns);
            break;
        }
    }
    // A change of the very time of the checkpoint may be in it already; to follow it again changes nothing.
    for changed in entries::<Verdicts>(store, since_ns, end_ns, unread)? {
        stands.follow(&changed);
    }
    Ok(stands.verdicts)
}

fn open_incidents(store: &Store, unread: &mut Unread) -> Result<Vec<IncidentRevision>, ReadError> {
    let mut open = Vec::new();
    store.range(Space::STATE, &[INCIDENT], &[INCIDENT + 1], &mut |_, value| {
        if let Some((at, value)) = value.split_first_chunk() {
            open.extend(unread.note(IncidentRevision::decode(i64::from_be_bytes(*at), value)));
        }
        true
    })?;
    Ok(open)
}

fn facts(store: &Store) -> Result<Vec<Fact>, ReadError> {
    let mut facts = Vec::new();
    for kind in [FactKind::ExpectedAbsent, FactKind::Hub] {
        let code = fact_code(kind);
        store.range(Space::STATE, &[FACT, code], &[FACT, code + 1], &mut |key, value| {
            let key = String::from_utf8_lossy(&key[2..]).into_owned();
            facts.push(Fact { kind, key, value: Some(value.to_vec()) });
            true
        })?;
    }
    Ok(facts)
}

/// What a writer begins with.
pub(crate) fn last_stands(store: &Store) -> Result<Stands, ReadError> {
    let mut unread = Unread::default();
    let verdicts = standings(store, i64::MAX, &mut unread)?;
    Ok(Stands::new(verdicts, limits(store, i64::MAX, &mut unread)?))
}
