//! Which version of the protocol a receiver speaks, and what its answers mean in it. Pure.
//!
//! 2.0 is tried first. A receiver that does not know it says 415, or 400 as those of 1.0 do, or takes the message for an
//! empty one of 1.0 and says that all is well: then the header is missing in which those of 2.0 say how many samples they
//! wrote. Whichever it is, the same block is sent again in 1.0, and so is all that comes after it.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use netcheck_outbound::{Answer, Taken};

/// Where receivers of 2.0 say how many samples they wrote.
const WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0.
    One,
    /// 2.0.
    Two,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// 2.0 where the receiver speaks it, else 1.0.
    #[default]
    Auto,
    /// This one, whatever the receiver says.
    Only(Version),
}

impl Version {
    /// `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::One => "application/x-protobuf",
            Self::Two => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// `X-Prometheus-Remote-Write-Version`.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::One => "0.1.0",
            Self::Two => "2.0.0",
        }
    }
}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done: so many samples are with the receiver, the others never will be, for this reason.
    Done { written: u64, refused: Option<String> },
    /// To be sent again in the other version, at once.
    Other,
    /// To be sent again later.
    Later { why: String, after: Option<Duration> },
}

/// Which version is used, and how that was found out.
#[derive(Debug)]
pub(crate) struct Negotiation {
    wanted: Wanted,
    /// None as long as nothing proved it.
    known: Option<Version>,
}

impl Negotiation {
    pub(crate) fn new(wanted: Wanted) -> Self {
        let known = match wanted {
            Wanted::Auto => None,
            Wanted::Only(version) => Some(version),
        };
        Self { wanted, known }
    }

    /// In which version to send next.
    pub(crate) fn version(&self) -> Version {
        self.known.unwrap_or(Version::Two)
    }

    /// What the answer to a block of so many samples means, which was sent in [`Self::version`].
    pub(crate) fn judge(&mut self, answer: &Answer, samples: u64, now: SystemTime) -> Verdict {
        let written = written(&answer.headers);
        if self.version() == Version::Two && self.wanted == Wanted::Auto {
            let unknown = match answer.status {
                StatusCode::UNSUPPORTED_MEDIA_TYPE => true,
                StatusCode::BAD_REQUEST => self.known.is_none() && written.is_none(),
                status => status.is_success() && written.is_none(),
            };
            if unknown {
                self.known = Some(Version::One);
                return Verdict::Other;
            }
        }
        let two = self.version() == Version::Two;
        match answer.taken(now) {
            Taken::Later(after) => Verdict::Later { why: answer.line(), after },
            Taken::Yes if !two => Verdict::Done { written: samples, refused: None },
            Taken::Yes => {
                self.known = Some(Version::Two);
                let written = written.unwrap_or(0).min(samples);
                let why = || format!("{written} samples were written, of {samples}");
                Verdict::Done { written, refused: (written < samples).then(why) }
            }
            // A part of them may have been written, and only 2.0 says so.
            Taken::Never => {
                let written = written.filter(|_| two).unwrap_or(0).min(samples);
                Verdict::Done { written, refused: Some(answer.line()) }
            }
        }
    }
}

fn written(headers: &HeaderMap) -> Option<u64> {
    headers.get(WRITTEN)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, written: Option<u64>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(written) = written {
            headers.insert(WRITTEN, written.into());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, text: String::new() }
    }

    fn done(written: u64, refused: Option<&str>) -> Verdict {
        Verdict::Done { written, refused: refused.map(ToOwned::to_owned) }
    }

    #[test]
    fn a_receiver_that_does_not_know_2_0_is_sent_the_same_in_1_0() {
        for (status, written) in [(415, None), (400, None), (204, None), (200, None)] {
            let mut speaks = Negotiation::new(Wanted::Auto);
            assert_eq!(speaks.version(), Version::Two);
            let judged = speaks.judge(&answer(status, written), 7, SystemTime::UNIX_EPOCH);
            assert_eq!((judged, speaks.version()), (Verdict::Other, Version::One), "{status}");
            let judged = speaks.judge(&answer(204, None), 7, SystemTime::UNIX_EPOCH);
            assert_eq!((judged, speaks.version()), (done(7, None), Version::One));
        }
    }

    #[test]
    fn a_receiver_that_proved_2_0_is_believed() {
        let mut speaks = Negotiation::new(Wanted::Auto);
        let now = SystemTime::UNIX_EPOCH;
        assert!(matches!(speaks.judge(&answer(503, None), 7, now), Verdict::Later { .. }));
        assert_eq!(speaks.judge(&answer(200, Some(7)), 7, now), done(7, None));
        assert_eq!(speaks.judge(&answer(400, None), 7, now), done(0, Some("400 Bad Request")));
        assert_eq!(speaks.judge(&answer(400, Some(3)), 7, now), done(3, Some("400 Bad Request")));
        assert_eq!(speaks.judge(&answer(200, Some(9)), 7, now), done(7, None));
        assert_eq!(
            speaks.judge(&answer(200, Some(5)), 7, now),
            done(5, Some("5 samples were written, of 7"))
        );
        assert_eq!(speaks.version(), Version::Two);
        // It was replaced by an older one.
        assert_eq!(speaks.judge(&answer(204, None), 7, now), Verdict::Other);
        assert_eq!(speaks.version(), Version::One);
    }

    #[test]
    fn what_the_operator_says_stands() {
        let now = SystemTime::UNIX_EPOCH;
        let mut two = Negotiation::new(Wanted::Only(Version::Two));
        assert_eq!(two.judge(&answer(415, None), 7, now), done(0, Some("415 Unsupported Media Type")));
        assert_eq!(two.judge(&answer(204, None), 7, now), done(0, Some("0 samples were written, of 7")));
        assert_eq!(two.version(), Version::Two);
        let mut one = Negotiation::new(Wanted::Only(Version::One));
        assert_eq!(one.judge(&answer(204, Some(1)), 7, now), done(7, None));
        assert_eq!(one.judge(&answer(400, Some(1)), 7, now), done(0, Some("400 Bad Request")));
    }
}
