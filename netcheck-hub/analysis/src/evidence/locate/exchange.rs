//! Exchanges over TCP that had begun: the connection stood, and what came then was not the expected answer, or nothing.
//!
//! The hooks saw a handshake that went well, which says nothing of the packets after it. What the connection's own
//! sender knows does: whether all that it sent was acknowledged, and how long it waited then.

use netcheck_common::domain::Outcome;

use super::super::words::whose;
use super::{Answer, Located, Locator, inferred, unlocated};
use crate::model::clock::nanos;
use crate::model::evidence::{ExchangeStep, LostSample};
use crate::model::location::{Direction, Location, Stage};

const MILLISECOND_NS: i64 = 1_000_000;

/// Shorter silence may be that of a segment that was lost and not yet sent again (the least
/// retransmission timeout of Linux is 200 ms, include/net/tcp.h).
const SHORTEST_WAIT_NS: i64 = 300 * MILLISECOND_NS;

/// What ended an exchange that had begun, read from what its agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError {
    /// Nothing did.
    None,
    /// The other end reset the connection.
    Reset,
    /// The answer can't be read.
    NotHttp,
    /// Something else.
    Other,
}

impl ExchangeError {
    /// Of this probe.
    #[must_use]
    pub fn of(sample: &LostSample) -> Self {
        match sample.exchange_error.as_str() {
            "" => Self::None,
            "connection reset" => Self::Reset,
            "answer is not HTTP" => Self::NotHttp,
            _ => Self::Other,
        }
    }
}

/// Who answered what, in a few words that stay the same: the reason of its place.
#[must_use]
pub fn reason(sample: &LostSample) -> String {
    match (sample.http_status, sample.tls_error.as_str(), sample.exchange_error.as_str()) {
        (0, "", "") => "no answer".to_owned(),
        (0, "", broke) => broke.to_owned(),
        (0, tls, _) => tls.to_owned(),
        (status, ..) => format!("HTTP {status}"),
    }
}

/// The same in full, with who gave it.
#[must_use]
pub fn summary(sample: &LostSample, who: &str) -> String {
    let reason = reason(sample);
    let more = match sample.tls_detail.as_str() {
        more if more.ends_with(" ago") || more.is_empty() => format!(" {more}"),
        more => format!(": {more}"),
    };
    match (sample.http_status, sample.tls_error.is_empty()) {
        (0, true) if ExchangeError::of(sample) == ExchangeError::NotHttp => {
            format!("what is not HTTP from {who}")
        }
        (0, true) => format!("{reason} by {who}"),
        (0, false) => format!("TLS handshake failed: {reason}{} ({who})", more.trim_end()),
        _ => format!("{reason} from {who}"),
    }
}

/// What the server did, after its name.
#[must_use]
pub fn evidence(sample: &LostSample) -> String {
    let more = if sample.tls_detail.is_empty() { String::new() } else { format!(" ({})", sample.tls_detail) };
    match (sample.http_status, sample.tls_error.as_str()) {
        (0, "") => format!("ended it: {}", reason(sample)),
        (0, tls) => format!("showed in the TLS handshake: {tls}{more}"),
        (status, _) => format!("answered HTTP {status}"),
    }
}

/// How a lost probe of any kind ended, in a few words: `of 1450 bytes timed out`, `was answered NXDOMAIN`.
#[must_use]
pub fn ending(outcome: Outcome, sample: &LostSample) -> String {
    let how = match outcome {
        Outcome::Refused => "was refused".to_owned(),
        Outcome::Unreachable => "was answered unreachable".to_owned(),
        Outcome::DnsError if sample.step == ExchangeStep::Resolve => {
            format!("was not sent: looking up its server's name: {}", sample.dns_rcode)
        }
        Outcome::DnsError => format!("was answered {}", sample.dns_rcode),
        Outcome::SendError => format!("could not be sent: {}", sample.errno),
        Outcome::HttpError => format!("was not answered as expected: {}", reason(sample)),
        Outcome::Timeout | Outcome::Reply => "timed out".to_owned(),
    };
    let how = if sample.truncated { format!("was answered truncated, and over TCP {how}") } else { how };
    match sample.packet_bytes {
        0 => how,
        bytes => format!("of {bytes} bytes {how}"),
    }
}

impl Locator<'_> {
    /// The connection stood; then nothing came, or no more.
    pub(super) fn broken_off(&mut self) -> Located {
        let input = self.input;
        let sample = &self.lost.sample;
        let waited_ns = sample.waited.map_or(0, nanos);
        let what = match sample.step {
            ExchangeStep::Tls => "the TLS handshake got no answer",
            ExchangeStep::Body => "the answer began, and did not end",
            _ => "the request got no answer",
        };
        let ms = waited_ns / MILLISECOND_NS;
        self.evidence.push(format!("the connection stood; {what} for {ms} ms"));
        let address = self.lost.flow.map_or(input.probe.address, |flow| flow.destination.ip());
        if self.lost.flow.is_some() {
            let who = whose(input.roster, address);
            self.evidence.push(format!("it was sent to {who}"));
        }
        if !sample.acknowledged {
            self.evidence.push("not all that was sent was acknowledged".to_owned());
            if !input.settled {
                return self.wait_for_reports();
            }
            return unlocated(&format!(
                "{what}: packets after the TCP handshake are lost, at no known place"
            ));
        }
        self.evidence.push("all that was sent was acknowledged by the other end".to_owned());
        let Some(destination) = input.destination else {
            return unlocated(&format!("{what}: the program, or its answer on the way back"));
        };
        let Some(answer) = self.lost.answer.as_ref() else {
            if !input.settled || self.may_ask_end() {
                return self.wait_for_reports();
            }
            return unlocated(&format!(
                "{what}: the program on {destination}, or its answer on the way back"
            ));
        };
        if let Some(quiet_ns) = answer.quiet_ns {
            let ms = quiet_ns / MILLISECOND_NS;
            self.evidence
                .push(format!("{destination} saw its last packet {ms} ms before the last one to it"));
        }
        // Where its kernel doesn't report drops, the answer may have died before any hook.
        let silent = kept_silent(answer, waited_ns) && self.reports_drops();
        if sample.step == ExchangeStep::Body || !silent {
            return unlocated(&format!(
                "{what}: the program on {destination}, or its answer on the way back"
            ));
        }
        let owner = input.roster.owner(address);
        Located {
            summary: format!("{what} from {}", whose(input.roster, address)),
            ..inferred(Location {
                node: destination.to_owned(),
                pod: owner.and_then(|owner| owner.pod.clone()).unwrap_or_default(),
                stage: Stage::Application,
                direction: Direction::Request,
                reason: "no answer".to_owned(),
                ..Default::default()
            })
        }
    }

    /// The agent of the target's node can be asked when which end was heard last: where that is the source's own, too.
    fn may_ask_end(&self) -> bool {
        let sees = matches!(self.input.visibility, super::Visibility::Hooks { .. });
        sees && !self.input.give_up && self.lost.answer.is_none() && self.want().is_some()
    }

    fn wait_for_reports(&self) -> Located {
        let want = if self.may_ask_end() { self.want() } else { None };
        let why = "waiting for what the kernels on its way have to report";
        Located { want: want.or(Some(super::Want::Reports)), ..unlocated(why) }
    }
}

/// Whether the other end sent no packet while it was waited for. A segment that is lost is sent again after some
/// 200 ms, and then each time after twice as long: in every wait of some length the last of them is in its last three
/// quarters. The end of the wait is the reset that the source sends then. Both times are the destination's.
fn kept_silent(answer: &Answer, waited_ns: i64) -> bool {
    let quiet_ns = answer.quiet_ns.unwrap_or(0);
    waited_ns >= SHORTEST_WAIT_NS && quiet_ns >= waited_ns / 4 * 3
}
