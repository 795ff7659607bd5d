//! Sums and delays as readers get them.

use netcheck_common::sketch::{Sketch, bucket_bounds};
use netcheck_common::window::Steps;
use netcheck_proto::{convert, v1};

use crate::matrix::figures::Sums;

impl Sums {
    /// The wire form.
    #[must_use]
    pub fn to_wire(&self) -> v1::PathStats {
        let [timeout, refused, unreachable, dns_error, send_error, http_error] = self.failed;
        v1::PathStats {
            sent: self.reply + self.failed.iter().sum::<u64>(),
            reply: self.reply,
            timeout,
            refused,
            unreachable,
            dns_error,
            send_error,
            suspect: self.suspect,
            round_trip: Some(delay(&self.delays.round_trip)),
            network: Some(delay(&self.delays.network)),
            host: Some(delay(&self.delays.host)),
            responder: Some(delay(&self.delays.responder)),
            http_error,
            new_flow_sent: self.new_flow_sent,
            new_flow_reply: self.new_flow_reply,
        }
    }
}

/// The parts of exchanges over TCP.
#[must_use]
pub fn phases(steps: &Steps) -> v1::Phases {
    v1::Phases {
        dns: Some(delay(&steps.dns)),
        connect: Some(delay(&steps.connect)),
        tls: Some(delay(&steps.tls)),
        first_byte: Some(delay(&steps.first_byte)),
    }
}

fn delay(sketch: &Sketch) -> v1::Delay {
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
