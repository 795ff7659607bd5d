//! Who is connected: so many in all, and so many from one address.
//!
//! Where there is no room, the oldest connection goes that has not proven itself, of whoever has most of them. So whoever
//! holds many connections only ever drives out his own, and others always find a slot. One that is proven (an agent's
//! session that was admitted) is never driven out. Pure but for the lock.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How much is taken.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections, all together.
    pub connections: usize,
    /// Connections from one address. Many may share one where addresses are translated.
    pub from_one_address: usize,
    /// Connections that have not begun yet, all together.
    pub beginning: usize,
    /// How long one may take to begin: the TLS handshake, and then again the first words.
    pub begin: Duration,
    /// How long one may take no byte of what it is sent.
    pub stall: Duration,
}

impl Limits {
    /// Those of an HTTP port: a few readers, scrapers and probes.
    #[must_use]
    pub fn of_http() -> Self {
        Self { connections: 1_024, from_one_address: 128, beginning: 256, ..Self::default() }
    }

    /// Those of an agent's ports: its kubelet, a scraper, and probes that are over at once.
    #[must_use]
    pub fn of_agent() -> Self {
        Self { connections: 128, from_one_address: 16, beginning: 64, ..Self::default() }
    }
}

/// Those of a port that agents keep their sessions on.
impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            from_one_address: 2_048,
            beginning: 512,
            begin: Duration::from_secs(5),
            stall: Duration::from_secs(30),
        }
    }
}

/// How far a connection has come. The lesser one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Beginning,
    Open,
    Proven,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    out: CancellationToken,
}

/// What happened at a door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that found no slot.
    pub refused: u64,
    /// Connections that had to go for newer ones.
    pub evicted: u64,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    total: usize,
    beginning: usize,
    /// By number, which ascends with time. No address is without an entry.
    by_address: HashMap<IpAddr, BTreeMap<u64, Entry>>,
    counts: Counts,
}

/// All slots of one door.
#[derive(Debug)]
pub struct Slots {
    limits: Limits,
    taken: Mutex<Taken>,
}

/// One connection's slot; free again when it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
    number: u64,
    out: CancellationToken,
}

impl Slots {
    /// A door with nobody inside.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// What it admits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What happened since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A slot for a connection from there; none where only proven ones could make room.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let mut taken = self.lock();
        if !taken.make_room(address, &self.limits) {
            taken.counts.refused += 1;
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        taken.total += 1;
        taken.beginning += 1;
        let out = CancellationToken::new();
        let entry = Entry { phase: Phase::Beginning, out: out.clone() };
        taken.by_address.entry(address).or_default().insert(number, entry);
        Some(Slot { slots: Arc::clone(self), address, number, out })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Drives out whoever has to go for one more from `address`. False where nobody can.
    fn make_room(&mut self, address: IpAddr, limits: &Limits) -> bool {
        let here = self.by_address.get(&address).map_or(0, BTreeMap::len);
        if here >= limits.from_one_address && !self.evict(address, Phase::Open) {
            return false;
        }
        if self.total >= limits.connections {
            let Some(most) = self.busiest(Phase::Open) else { return false };
            self.evict(most, Phase::Open);
        }
        if self.beginning >= limits.beginning {
            let Some(most) = self.busiest(Phase::Beginning) else { return false };
            self.evict(most, Phase::Beginning);
        }
        true
    }

    /// Whoever has most connections that have come no further.
    fn busiest(&self, phase: Phase) -> Option<IpAddr> {
        let count =
            |entries: &BTreeMap<u64, Entry>| entries.values().filter(|entry| entry.phase <= phase).count();
        let all = self.by_address.iter().map(|(&address, entries)| (count(entries), address));
        all.max().filter(|&(count, _)| count > 0).map(|(_, address)| address)
    }

    /// Drives out the oldest of an address that has come no further, those that have not begun before all others.
    fn evict(&mut self, address: IpAddr, phase: Phase) -> bool {
        let entries = self.by_address.get(&address).into_iter().flatten();
        let victim = entries
            .filter(|(_, entry)| entry.phase <= phase)
            .min_by_key(|&(&number, entry)| (entry.phase, number))
            .map(|(&number, _)| number);
        let Some(entry) = victim.and_then(|number| self.remove(address, number)) else { return false };
        entry.out.cancel();
        self.counts.evicted += 1;
        true
    }

    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Entry> {
        let entries = self.by_address.get_mut(&address)?;
        let entry = entries.remove(&number)?;
        if entries.is_empty() {
            self.by_address.remove(&address);
        }
        self.total -= 1;
        self.beginning -= usize::from(entry.phase == Phase::Beginning);
        Some(entry)
    }
}

impl Slot {
    /// The connection has begun.
    pub fn begun(&self) {
        self.advance(Phase::Open);
    }

    /// It is somebody's who proved who he is: it is not driven out any more.
    pub fn prove(&self) {
        self.advance(Phase::Proven);
    }

    fn advance(&self, phase: Phase) {
        let mut taken = self.slots.lock();
        let entries = taken.by_address.get_mut(&self.address);
        let Some(entry) = entries.and_then(|entries| entries.get_mut(&self.number)) else { return };
        let before = entry.phase;
        entry.phase = before.max(phase);
        if before == Phase::Beginning && phase > before {
            taken.beginning -= 1;
        }
    }

    /// Where it connects from.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Ends the connection.
    pub fn throw_out(&self) {
        self.out.cancel();
    }

    /// Whether it has to go.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out.is_cancelled()
    }

    /// Ends when it has to go.
    pub fn out(&self) -> WaitForCancellationFutureOwned {
        self.out.clone().cancelled_owned()
    }

    /// What is admitted here.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.slots.limits
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.address, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(connections: usize, from_one_address: usize, beginning: usize) -> Arc<Slots> {
        let second = Duration::from_secs(1);
        Slots::new(Limits { connections, from_one_address, beginning, begin: second, stall: second })
    }

    fn at(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn whoever_holds_many_drives_out_his_own() {
        let slots = slots(100, 3, 100);
        let honest = slots.enter(at(1)).unwrap();
        honest.begun();
        let many: Vec<Slot> = (0..50).map(|_| slots.enter(at(2)).unwrap()).collect();
        let out: Vec<bool> = many.iter().map(Slot::is_out).collect();
        assert_eq!(out.iter().filter(|&&out| !out).count(), 3);
        assert!(out[..47].iter().all(|&out| out), "the oldest");
        assert!(!honest.is_out());
        assert_eq!(slots.counts(), Counts { refused: 0, evicted: 47 });
        drop(many);
        assert_eq!(slots.lock().total, 1, "those that were driven out are not counted twice");
    }

    #[test]
    fn a_full_door_lets_others_in_at_the_cost_of_the_busiest() {
        let slots = slots(20, 20, 20);
        let few: Vec<Slot> = (0..2).map(|_| slots.enter(at(1)).unwrap()).collect();
        let many: Vec<Slot> = (0..18).map(|_| slots.enter(at(2)).unwrap()).collect();
        many.iter().skip(5).for_each(Slot::begun);
        let newcomer = slots.enter(at(3)).unwrap();
        assert!(many[0].is_out() && !few.iter().any(Slot::is_out) && !newcomer.is_out());
        // The same where only those are many that have not begun.
        let slow = self::slots(1_000, 1_000, 10);
        let silent: Vec<Slot> = (0..30).map(|_| slow.enter(at(2)).unwrap()).collect();
        let other = slow.enter(at(3)).unwrap();
        assert_eq!(silent.iter().filter(|slot| !slot.is_out()).count(), 9);
        other.begun();
        assert_eq!(slow.lock().beginning, 9);
    }

    #[test]
    fn who_proved_himself_stays() {
        let slots = slots(3, 2, 10);
        let proven: Vec<Slot> = (1..3).map(|last| slots.enter(at(last)).unwrap()).collect();
        proven.iter().for_each(Slot::prove);
        let open = slots.enter(at(1)).unwrap();
        open.begun();
        let newer = slots.enter(at(1)).unwrap();
        assert!(open.is_out() && !newer.is_out() && !proven.iter().any(Slot::is_out));
        newer.prove();
        assert!(slots.enter(at(1)).is_none() && slots.enter(at(9)).is_none());
        assert_eq!(slots.counts().refused, 2);
        drop(newer);
        assert!(slots.enter(at(9)).is_some());
    }
}
