//! What is remembered of a path between its probes: which sequences were sent, which were lost lately, and what the
//! destination's kernel last said of those that arrived.

use std::collections::VecDeque;

use netcheck_common::domain::{PathId, Sequence};

use crate::host::clock::SECOND_NS;
use crate::model::observation::Reflected;
use crate::model::report::ArrivalSeen;

/// A reply reports this many sequences before its own, and lost ones are remembered as far.
const SPAN: u32 = 64;
/// When a kernel sends an answer to a SYN again at the earliest (RFC 6298 section 2.1; TCP_TIMEOUT_INIT in
/// include/net/tcp.h).
const AGAIN_NS: u64 = SECOND_NS;
/// Lost sequences are forgotten after this.
const LOST_FOR_NS: u64 = 30 * SECOND_NS;

/// A probe that was lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostProbe {
    pub(crate) sequence: Sequence,
    /// When its SYN was sent; none of a probe that is more than a handshake, or other than that.
    pub(crate) syn_ns: Option<u64>,
    /// It had a flow of its own. Translation may give it another source than the path's old flow has, and the destination
    /// counts by source: that it did not arrive in the old flow says nothing.
    pub(crate) new_flow: bool,
}

#[derive(Clone, Copy, Debug)]
struct LostMark {
    probe: LostProbe,
    lost_ns: u64,
    /// What was reported of its arrival.
    reported: Option<bool>,
    /// Its own reply came late.
    late: bool,
}

impl LostProbe {
    /// What the record of reply `newest` says of it.
    fn arrival(&self, newest: Sequence, arrived: u64) -> Option<bool> {
        arrival_of(newest, arrived, self.sequence).filter(|&arrived| arrived || !self.new_flow)
    }
}

/// What a sequence number is to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// It was lost lately.
    Lost,
    /// It was sent, and has ended.
    Ended,
    /// It was never sent.
    Unsent,
}

/// One path's memory.
#[derive(Debug, Default)]
pub(crate) struct PathMemory {
    last_sent: Option<Sequence>,
    lost: VecDeque<LostMark>,
    /// The newest reply's own sequence and bitmap.
    reflected: Option<(Sequence, u64)>,
}

impl PathMemory {
    /// A probe left.
    pub(crate) fn sent(&mut self, sequence: Sequence) {
        self.last_sent = Some(sequence);
    }

    /// What a sequence that is not in flight is.
    pub(crate) fn past(&self, sequence: Sequence) -> Past {
        if self.lost.iter().any(|mark| mark.probe.sequence == sequence) {
            return Past::Lost;
        }
        match self.last_sent {
            Some(last) if sequence.0 != 0 && last.0.wrapping_sub(sequence.0) < 1 << 31 => Past::Ended,
            _ => Past::Unsent,
        }
    }

    /// A probe was lost. Says at once what an earlier-read, later-sent reply already reported of it.
    pub(crate) fn lost(&mut self, now_ns: u64, path: PathId, probe: LostProbe) -> Option<ArrivalSeen> {
        while self.lost.front().is_some_and(|mark| now_ns.saturating_sub(mark.lost_ns) > LOST_FOR_NS) {
            self.lost.pop_front();
        }
        if self.lost.len() >= SPAN as usize {
            self.lost.pop_front();
        }
        let reported = self.reflected.and_then(|(newest, arrived)| probe.arrival(newest, arrived));
        self.lost.push_back(LostMark { probe, lost_ns: now_ns, reported, late: false });
        reported.map(|arrived| ArrivalSeen { path, sequence: probe.sequence, arrived, late: false })
    }

    /// A reply to `sequence` was seen, and got lost before its socket: its request did arrive.
    pub(crate) fn arrived(&mut self, path: PathId, sequence: Sequence, out: &mut Vec<ArrivalSeen>) {
        for mark in
            self.lost.iter_mut().filter(|mark| mark.probe.sequence == sequence && mark.reported != Some(true))
        {
            mark.reported = Some(true);
            out.push(ArrivalSeen { path, sequence, arrived: true, late: false });
        }
    }

    /// A reply to `sequence` came too late: its request did arrive.
    pub(crate) fn arrived_late(&mut self, path: PathId, sequence: Sequence, out: &mut Vec<ArrivalSeen>) {
        for mark in self.lost.iter_mut().filter(|mark| mark.probe.sequence == sequence && !mark.late) {
            mark.reported = Some(true);
            mark.late = true;
            out.push(ArrivalSeen { path, sequence, arrived: true, late: true });
        }
    }

    /// A hook saw an answer to the SYN of `sequence` that nobody waited for any more. As long as none can have been sent
    /// again it is the first one, and was not lost.
    pub(crate) fn handshake_late(
        &mut self,
        path: PathId,
        sequence: Sequence,
        seen_ns: u64,
        out: &mut Vec<ArrivalSeen>,
    ) {
        let soon = |syn_ns: u64| seen_ns < syn_ns.saturating_add(AGAIN_NS);
        let first = |mark: &LostMark| mark.probe.sequence == sequence && mark.probe.syn_ns.is_some_and(soon);
        if self.lost.iter().any(first) {
            self.arrived_late(path, sequence, out);
        }
    }

    /// A reply to `sequence` brought the destination's record.
    pub(crate) fn reflected(
        &mut self,
        now_ns: u64,
        path: PathId,
        sequence: Sequence,
        reflected: Reflected,
        out: &mut Vec<ArrivalSeen>,
    ) {
        self.lost.retain(|mark| now_ns.saturating_sub(mark.lost_ns) <= LOST_FOR_NS);
        for mark in &mut self.lost {
            let Some(arrived) = mark.probe.arrival(sequence, reflected.arrived) else { continue };
            if mark.reported != Some(arrived) && mark.reported != Some(true) {
                mark.reported = Some(arrived);
                out.push(ArrivalSeen { path, sequence: mark.probe.sequence, arrived, late: false });
            }
        }
        if self.reflected.is_none_or(|(newest, _)| sequence.0.wrapping_sub(newest.0) < 1 << 31) {
            self.reflected = Some((sequence, reflected.arrived));
        }
    }
}

/// Whether the record of reply `newest` says that `asked` arrived. A bit that is not set means something only if an
/// older one is: else the destination may have begun counting later, for it forgets paths that were silent and all
/// of them when it restarts.
fn arrival_of(newest: Sequence, arrived: u64, asked: Sequence) -> Option<bool> {
    let back = newest.0.wrapping_sub(asked.0);
    if back == 0 || back >= SPAN {
        return None;
    }
    if arrived >> back & 1 == 1 {
        return Some(true);
    }
    (back + 1 < SPAN && arrived >> (back + 1) != 0).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: PathId = PathId(1);

    fn old(sequence: u32, syn_ns: Option<u64>) -> LostProbe {
        LostProbe { sequence: Sequence(sequence), syn_ns, new_flow: false }
    }

    #[test]
    fn what_a_bitmap_shows() {
        for (newest, arrived, asked, expected) in [
            (10, 0b1011, 9, Some(true)),
            (10, 0b1011, 8, Some(false)),
            (10, 0b1011, 7, Some(true)),
            (10, 0b1011, 6, None),
            (10, 0b1, 9, None),
            (10, u64::MAX, 10, None),
            (10, u64::MAX, 11, None),
            (100, u64::MAX, 37, Some(true)),
            (100, u64::MAX >> 1, 37, None),
            (100, u64::MAX, 36, None),
            (2, 0b1101, u32::MAX, Some(true)),
            (2, 0b1101, 1, Some(false)),
        ] {
            assert_eq!(
                arrival_of(Sequence(newest), arrived, Sequence(asked)),
                expected,
                "{newest} {arrived:b} {asked}"
            );
        }
    }

    #[test]
    fn a_later_reply_reports_lost_ones_once() {
        let mut memory = PathMemory::default();
        let reflected = |arrived| Reflected { t2_ns: 0, t3_ns: 0, requests: 0, arrived };
        (1..=5).for_each(|sequence| memory.sent(Sequence(sequence)));
        assert_eq!(memory.lost(0, PATH, old(2, None)), None);
        assert_eq!(memory.lost(0, PATH, old(3, None)), None);
        let mut out = Vec::new();
        memory.reflected(1, PATH, Sequence(4), reflected(0b1011), &mut out);
        let arrival = |sequence, arrived| ArrivalSeen {
            path: PATH,
            sequence: Sequence(sequence),
            arrived,
            late: false,
        };
        assert_eq!(out, [arrival(2, false), arrival(3, true)]);
        memory.reflected(2, PATH, Sequence(5), reflected(0b10111), &mut out);
        assert_eq!(out.len(), 2, "reported once");
        memory.arrived_late(PATH, Sequence(2), &mut out);
        assert_eq!(
            out[2..],
            [ArrivalSeen { late: true, ..arrival(2, true) }],
            "amended by its own late reply"
        );
        assert_eq!(memory.past(Sequence(2)), Past::Lost);
        assert_eq!(memory.past(Sequence(5)), Past::Ended);
        assert_eq!(memory.past(Sequence(6)), Past::Unsent);
        assert_eq!(memory.past(Sequence(0)), Past::Unsent);
    }

    #[test]
    fn an_earlier_record_shows_at_once() {
        let mut memory = PathMemory::default();
        let record = Reflected { t2_ns: 0, t3_ns: 0, requests: 9, arrived: 0b101 };
        memory.reflected(0, PATH, Sequence(7), record, &mut Vec::new());
        let reported = memory.lost(1, PATH, old(6, None)).unwrap();
        assert!(!reported.arrived);
        let of_new_flow = |sequence| LostProbe { new_flow: true, ..old(sequence, None) };
        assert_eq!(memory.lost(1, PATH, of_new_flow(6)), None, "its source may be another's");
        assert!(memory.lost(1, PATH, of_new_flow(5)).unwrap().arrived);
    }

    #[test]
    fn an_answer_to_a_syn_is_late_only_while_it_cannot_have_been_sent_again() {
        let sent_ns = 5 * SECOND_NS;
        for (syn_ns, seen_ns, expected) in [
            (Some(sent_ns), sent_ns + AGAIN_NS - 1, 1),
            (Some(sent_ns), sent_ns + AGAIN_NS, 0),
            // What follows a handshake may be sent again sooner.
            (None, sent_ns + 1, 0),
        ] {
            let (mut memory, mut out) = (PathMemory::default(), Vec::new());
            memory.lost(sent_ns + SECOND_NS / 2, PATH, old(7, syn_ns));
            memory.handshake_late(PATH, Sequence(6), seen_ns, &mut out);
            assert!(out.is_empty(), "of another probe");
            for _ in 0..2 {
                memory.handshake_late(PATH, Sequence(7), seen_ns, &mut out);
            }
            assert_eq!(out.iter().filter(|seen| seen.late).count(), expected, "{seen_ns}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = PathMemory::default();
        for sequence in 1..1000 {
            memory.lost(0, PATH, old(sequence, None));
        }
        assert_eq!(memory.lost.len(), SPAN as usize);
        memory.lost(LOST_FOR_NS + 1, PATH, old(1000, None));
        assert_eq!(memory.lost.len(), 1);
    }
}
