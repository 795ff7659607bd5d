//! Windows → sums and delays, as readers see them. Pure.

use netcheck_common::domain::Outcome;
use netcheck_common::sketch::{Sketch, bucket_bounds};
use netcheck_common::window::Steps;
use netcheck_proto::{convert, v1};

use crate::matrix::{Delays, HasDelays, Slot};

/// Sums of windows.
#[must_use]
pub fn stats<D: HasDelays>(slots: impl Iterator<Item = Slot<D>>) -> v1::PathStats {
    let (mut reply, mut suspect) = (0u64, 0u64);
    let (mut new_flow_sent, mut new_flow_reply) = (0u64, 0u64);
    let mut failed = [0u64; Outcome::FAILURES.len()];
    let mut delays = Delays::default();
    for slot in slots {
        reply += u64::from(slot.reply);
        suspect += u64::from(slot.suspect);
        new_flow_sent += u64::from(slot.new_reply) + u64::from(slot.new_lost);
        new_flow_reply += u64::from(slot.new_reply);
        for (sum, &count) in failed.iter_mut().zip(&slot.failed) {
            *sum += u64::from(count);
        }
        slot.delays.add_to(&mut delays);
    }
    let [timeout, refused, unreachable, dns_error, send_error, http_error] = failed;
    let Delays { round_trip, network, host, responder, .. } = delays;
    let [round_trip, network, host, responder] =
        [round_trip, network, host, responder].map(|sketch| Some(delay(&sketch)));
    v1::PathStats {
        sent: reply + failed.iter().sum::<u64>(),
        reply,
        timeout,
        refused,
        unreachable,
        dns_error,
        send_error,
        suspect,
        round_trip,
        network,
        host,
        responder,
        http_error,
        new_flow_sent,
        new_flow_reply,
    }
}

/// Parts of exchanges over TCP, summed over windows.
#[must_use]
pub fn steps<D: HasDelays>(slots: impl Iterator<Item = Slot<D>>) -> Steps {
    let mut sum = Delays::default();
    slots.for_each(|slot| slot.delays.add_to(&mut sum));
    sum.steps.map_or_else(Steps::default, |steps| *steps)
}

/// The parts of exchanges, as readers see them.
#[must_use]
pub fn phases(steps: &Steps) -> v1::Phases {
    v1::Phases {
        dns: Some(delay(&steps.dns)),
        connect: Some(delay(&steps.connect)),
        tls: Some(delay(&steps.tls)),
        first_byte: Some(delay(&steps.first_byte)),
    }
}

/// A sketch as readers see it.
#[must_use]
pub fn delay(sketch: &Sketch) -> v1::Delay {
    let at = |q: f64| sketch.quantile_ns(q).map(convert::duration_from_ns);
    let entries = sketch.entries();
    let bound = |entry: Option<&(u16, u32)>, high: bool| {
        entry.map(|&(index, _)| {
            let (low_ns, high_ns) = bucket_bounds(index);
            convert::duration_from_ns(if high { high_ns } else { low_ns })
        })
    };
    v1::Delay {
        samples: sketch.count(),
        min: bound(entries.first(), false),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: bound(entries.last(), true),
        mean: sketch.mean_ns().map(convert::duration_from_ns),
    }
}
