//! The source-port (ECMP) loss detector of one path: which port the next probe leaves from, what became of each port's
//! newest packets, and whether that can be chance.

use arrayvec::ArrayVec;
use netcheck_common::domain::PathId;
use netcheck_common::hash::splitmix64;

use crate::model::report::PORTS;

/// Outcomes that are remembered of each port.
const NEWEST: u8 = 8;
/// Losses in a row that a port needs to be one that loses its packets.
const LOSSES: u8 = 6;
/// Packets of the others that were answered meanwhile.
const OTHERS: u8 = 8;
/// Losses in a row that put a port in question.
const QUESTIONED: u8 = 2;
/// Answers in a row that make it one like the others again.
const ANSWERS: u8 = 3;
/// The ports that lose nothing are at least so many.
const FINE: u32 = 3;
/// What may be due to chance less often than this is reported, and stands as long as it may be less often than that.
const CHANCE: f64 = 1e-5;
const CHANCE_STANDING: f64 = 1e-3;
/// Of so many packets one tries a port in question.
const ONE_IN: u64 = 3;

/// What became of the newest packets of one port.
#[derive(Clone, Copy, Debug, Default)]
struct Port {
    /// A bit each, the newest lowest; set: lost.
    lost: u8,
    known: u8,
    /// How many of them count since it was first in question.
    span: u8,
    /// Other ports that were answered since.
    met: u8,
    /// How many of their packets, where it was chance that chose the port.
    others: u8,
}

impl Port {
    /// Lost in a row.
    fn run(self) -> u8 {
        (self.lost.trailing_ones() as u8).min(self.known)
    }

    /// Answered in a row.
    fn answers(self) -> u8 {
        (self.lost.trailing_zeros() as u8).min(self.known)
    }
}

/// What is known of the ports: slot, packets sent and lost of each that loses its packets, and those of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lost: ArrayVec<(usize, u32, u32), PORTS>,
    pub(super) others_sent: u32,
    pub(super) others_lost: u32,
    pub(super) undecided: bool,
}

/// One path. Sets of ports are bits.
#[derive(Debug)]
pub(super) struct LossDetector {
    ports: [Port; PORTS],
    /// On their way.
    flying: u8,
    /// Those of them that were chosen because they were answered before: at a time when the last packet was lost, so
    /// that they say nothing where losses come and go with time.
    chosen: u8,
    /// Not tried yet in this round.
    left: u8,
    /// Those that lose their packets.
    dead: u8,
    /// Those that may: a few more packets decide.
    questioned: u8,
    /// The last outcome was a loss.
    lost_last: bool,
    /// Of a port that is not known to lose its packets.
    news: bool,
    /// The last that was answered.
    passing: u8,
    draws: u32,
}

impl LossDetector {
    pub(super) fn new(path: PathId) -> Self {
        Self {
            ports: [Port::default(); PORTS],
            flying: 0,
            chosen: 0,
            left: 0,
            dead: 0,
            questioned: 0,
            lost_last: false,
            news: false,
            passing: 0,
            draws: splitmix64(u64::from(path.0)) as u32,
        }
    }

    /// The next slot, of the first `width`.
    pub(super) fn next(&mut self, width: usize) -> usize {
        self.draws = self.draws.wrapping_add(1);
        let chance = splitmix64(u64::from(self.draws));
        let all = u8::MAX >> (PORTS - width);
        let (mut from, mut chosen) = (0, 0);
        if self.lost_last {
            // Whether all ports share the fate of that one.
            let passing = set_of(width, |at| self.ports[at].answers() > 0) & !self.flying & !self.dead;
            let known = [1 << self.passing, self.left, u8::MAX];
            let known = if self.news { &known[..] } else { &known[1..] };
            from = known.iter().map(|known| known & passing).find(|known| *known != 0).unwrap_or(0);
            chosen = from;
        } else if (chance >> 32).is_multiple_of(ONE_IN) {
            from = set_of(width, |at| self.in_question(at)) & !self.flying;
        }
        if from == 0 {
            if self.left & all == 0 {
                self.left = all;
            }
            from = self.left & all;
        }
        let nth = (chance as u32) % from.count_ones();
        let slot = (0..width).filter(|at| from & (1 << at) != 0).nth(nth as usize).unwrap_or(0);
        let bit = 1 << slot;
        self.left &= !bit;
        self.flying |= bit;
        self.chosen = (self.chosen & !bit) | (chosen & bit);
        slot
    }

    /// A few more packets decide what it is.
    fn in_question(&self, at: usize) -> bool {
        let port = self.ports[at];
        if self.dead & (1 << at) == 0 { (1..NEWEST).contains(&port.run()) } else { port.answers() > 0 }
    }

    pub(super) fn passing(&self) -> usize {
        self.passing.into()
    }

    /// A packet ended. True: there is something to report, or not any longer.
    pub(super) fn ended(&mut self, slot: usize, answered: Option<bool>, width: usize) -> bool {
        let bit = 1u8 << slot;
        self.flying &= !bit;
        let Some(answered) = answered else { return false };
        let was_dead = self.dead;
        let port = &mut self.ports[slot];
        if !answered && port.run() == 0 && self.dead & bit == 0 {
            (port.span, port.met, port.others) = (0, 0, 0);
        }
        port.lost = port.lost << 1 | u8::from(!answered);
        port.known = (port.known + 1).min(NEWEST);
        port.span = (port.span + 1).min(NEWEST);
        (self.lost_last, self.news) = (!answered, self.dead & bit == 0);
        if answered {
            self.passing = slot as u8;
            let by_chance = u8::from(self.chosen & bit == 0);
            for port in &mut self.ports[..width] {
                port.met |= bit;
                port.others = port.others.saturating_add(by_chance);
            }
        }
        let fine = set_of(width, |at| self.ports[at].answers() > 0);
        let lossy = set_of(width, |at| {
            let port = self.ports[at];
            let fresh = || port.run() >= LOSSES && port.others >= OTHERS && port.met & fine == fine;
            if was_dead & (1 << at) == 0 { fresh() } else { port.answers() < ANSWERS }
        });
        let significant = |dead: u8, least| {
            (dead != 0 && self.is_significant(dead, fine & !dead, width, least)).then_some(dead)
        };
        let standing = lossy & was_dead;
        self.dead =
            significant(lossy, CHANCE).or_else(|| significant(standing, CHANCE_STANDING)).unwrap_or(0);
        let was_questioned = self.questioned;
        let questioned = set_of(width, |at| (QUESTIONED..NEWEST).contains(&self.ports[at].run()));
        let alone = self.dead == 0 && self.others_pass(fine & !questioned, width);
        self.questioned = if alone { questioned } else { 0 };
        // Every loss that shows it again keeps it young.
        self.dead != was_dead || self.questioned != was_questioned || (!answered && self.dead & bit != 0)
    }

    /// Whether it is these ports, and hardly by chance, that lose their packets, while these others lose none.
    fn is_significant(&self, dead: u8, fine: u8, width: usize, least: f64) -> bool {
        self.others_pass(fine, width) && chance(&self.sums(dead, width), width) < least
    }

    /// Whether these are enough, and lose hardly any packet.
    fn others_pass(&self, fine: u8, width: usize) -> bool {
        let of_fine = || (0..width).filter(|at| fine & (1 << at) != 0).map(|at| self.ports[at]);
        let lost: u32 = of_fine().map(|port| port.lost.count_ones()).sum();
        let sent: u32 = of_fine().map(|port| u32::from(port.known)).sum();
        fine.count_ones() >= FINE && lost * 10 <= sent
    }

    pub(super) fn found(&self, width: usize) -> Found {
        match (self.dead, self.questioned) {
            (0, 0) => Found::default(),
            (0, questioned) => Found { undecided: true, ..self.sums(questioned, width) },
            (dead, _) => self.sums(dead, width),
        }
    }

    fn sums(&self, dead: u8, width: usize) -> Found {
        let mut found = Found::default();
        for (at, port) in self.ports[..width].iter().enumerate() {
            if dead & (1 << at) != 0 {
                let of = u8::MAX.unbounded_shr(u32::from(NEWEST - port.span.min(NEWEST)));
                found.lost.push((at, port.span.into(), (port.lost & of).count_ones()));
            } else {
                found.others_sent += u32::from(port.known);
                found.others_lost += port.lost.count_ones();
            }
        }
        found
    }
}

/// The slots of the first `width` that fit.
fn set_of(width: usize, fits: impl Fn(usize) -> bool) -> u8 {
    (0..width).filter(|&at| fits(at)).fold(0, |set, at| set | 1 << at)
}

/// How probable it is, at most, that some ports of `width` lose as many packets as these do if losses fall on packets
/// whatever their port: the ways to choose the ports and their lost packets, times the chance that just those are among
/// all that are lost.
fn chance(found: &Found, width: usize) -> f64 {
    let (sent, lost) =
        found.lost.iter().fold((0, 0), |(sent, lost), &(_, of, lost_of)| (sent + of, lost + lost_of));
    let (all_sent, all_lost) = (sent + found.others_sent, lost + found.others_lost);
    let chosen = (0..lost).map(|at| f64::from(all_lost - at) / f64::from(all_sent - at)).product::<f64>();
    chosen * ways(sent, lost) * ways(width as u32, found.lost.len() as u32)
}

/// How many sets of `some` there are among `all`.
fn ways(all: u32, some: u32) -> f64 {
    (0..some.min(all)).map(|at| f64::from(all - at) / f64::from(at + 1)).product()
}
