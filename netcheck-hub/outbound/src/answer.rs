//! What an answer means for who sent. Pure.

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

/// Nobody waits for longer because a server says so.
const LONGEST: Duration = Duration::from_secs(3600);

/// An answer with the beginning of its body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The first kilobyte of the body.
    pub text: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is with the receiver.
    Yes,
    /// The receiver will never take it: sent again, it would be refused again.
    Never,
    /// To be tried again, after this time where the receiver named one.
    Later(Option<Duration>),
}

impl Answer {
    /// 2xx is taken. 429 and 5xx are to be tried again, and so is 3xx: redirections are not followed, which is for the
    /// operator to mend. Every other 4xx is final.
    #[must_use]
    pub fn taken(&self, now: SystemTime) -> Taken {
        if self.status.is_success() {
            Taken::Yes
        } else if self.status.is_client_error() && self.status != StatusCode::TOO_MANY_REQUESTS {
            Taken::Never
        } else {
            Taken::Later(retry_after(&self.headers, now))
        }
    }

    /// For people: status and what the receiver says.
    #[must_use]
    pub fn line(&self) -> String {
        let first = self.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let said: String = first.chars().filter(|c| !c.is_control()).take(200).collect();
        if said.is_empty() { self.status.to_string() } else { format!("{}: {said}", self.status) }
    }
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(after.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(retry) = retry {
            headers.insert(RETRY_AFTER, retry.parse().unwrap());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, text: String::new() }
    }

    #[test]
    fn what_each_status_means() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |n| Taken::Later(Some(Duration::from_secs(n)));
        for (status, retry, expected) in [
            (200, None, Taken::Yes),
            (204, None, Taken::Yes),
            (302, None, Taken::Later(None)),
            (400, None, Taken::Never),
            (401, None, Taken::Never),
            (404, Some("3"), Taken::Never),
            (415, None, Taken::Never),
            (429, None, Taken::Later(None)),
            (429, Some("7"), seconds(7)),
            (500, None, Taken::Later(None)),
            (503, Some("Sun, 06 Nov 1994 08:49:47 GMT"), seconds(10)),
            (503, Some("Sun, 06 Nov 1994 08:49:30 GMT"), seconds(0)),
            (503, Some("99999999"), seconds(3600)),
            (503, Some("soon"), Taken::Later(None)),
        ] {
            assert_eq!(answer(status, retry).taken(now), expected, "{status} {retry:?}");
        }
    }

    #[test]
    fn what_a_receiver_says_is_one_short_line() {
        let text = format!("\n  \u{1b}[31mout of order{}\nmore", "!".repeat(500));
        let line = Answer { text, ..answer(400, None) }.line();
        assert!(line.starts_with("400 Bad Request:   [31mout of order!!!"), "{line}");
        assert!(line.len() < 250 && !line.contains('\n'), "{line}");
    }
}
