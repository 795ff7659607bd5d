//! A URL and what is said to it, as a check has them → [`HttpTarget`], or why it is none. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use netcheck_proto::text;

use crate::cluster::roster::http::{Statuses, statuses};
use crate::plan::exchange::Call;

/// Longest path and query.
const PATH_MAX: usize = 1024;
/// Longest name (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
/// Longest body (bytes), which agents hold to as well.
const BODY_MAX: usize = 4 << 10;
/// Names and values of all headers together, the same.
const HEADERS_BYTES: usize = 4 << 10;

/// Headers that agents write themselves.
const OWN_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whom a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name; without a dot at its end, search lists apply.
    Name(String),
}

impl Host {
    /// As a URL has it; of a name without a dot at its end.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
            Self::Address(v4) => v4.to_string(),
            Self::Name(name) => name.trim_end_matches('.').to_owned(),
        }
    }
}

/// A request that a check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// By HTTPS.
    pub tls: bool,
    /// Whom.
    pub host: Host,
    /// Where.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Statuses that are expected; empty: the usual ones.
    pub expected: Statuses,
    /// The hub's authorities must vouch for the certificate.
    pub verify: bool,
    /// Where it is more than a GET.
    pub call: Option<Arc<Call>>,
}

/// Why a request is not taken. Nothing that may be secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No URL.
    #[error("url: expected http://HOST[:PORT][/PATH] or https://…, without user and fragment")]
    Url,
    /// No statuses.
    #[error(
        "expectedStatuses: expected statuses and ranges of 100 to 999 with commas between, as in 200-299,401"
    )]
    Statuses,
    /// Nobody can vouch over HTTP.
    #[error("verify: only certificates of https can be verified")]
    Verify,
    /// More than agents send.
    #[error("body: {bytes} bytes, {BODY_MAX} at most")]
    Body {
        /// How many.
        bytes: usize,
    },
    /// A body with a method that has none.
    #[error("body: a {method} has none")]
    NoBody {
        /// Which method.
        method: String,
    },
    /// A header that agents don't send.
    #[error("headers: {name:?} is no header, or one that agents write themselves")]
    Header {
        /// Its name.
        name: String,
    },
    /// A value that is none.
    #[error("headers: the value of {name} has characters that no header has")]
    Value {
        /// Its name.
        name: String,
    },
    /// More than agents send.
    #[error("headers: {bytes} bytes, {HEADERS_BYTES} at most")]
    Headers {
        /// How many.
        bytes: usize,
    },
}

impl HttpTarget {
    /// Reads one. `expected`: as in `200-299,401`; empty: the usual statuses.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn read(url: &str, expected: &str, verify: bool, call: Call) -> Result<Self, RequestError> {
        let uri: http::Uri = url.parse().map_err(|_| RequestError::Url)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(RequestError::Url),
        };
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        let host = uri.host().unwrap_or_default();
        let host = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(host.to_owned()),
        };
        let named = match &host {
            Host::Address(_) => true,
            Host::Name(name) => {
                let bare = name.trim_end_matches('.');
                !bare.is_empty() && bare.len() <= NAME_MAX && text::is_name(bare)
            }
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let sound = path.starts_with('/')
            && path.len() <= PATH_MAX
            && path.bytes().all(|byte| byte.is_ascii_graphic());
        if !named || !sound || port == 0 || authority.contains('@') || url.contains('#') {
            return Err(RequestError::Url);
        }
        if verify && !tls {
            return Err(RequestError::Verify);
        }
        let expected = match expected {
            "" => Statuses::new(),
            list => statuses(list).ok_or(RequestError::Statuses)?,
        };
        check(&call)?;
        let call = call.unless_plain(&path);
        Ok(Self { tls, host, port, path, expected, verify, call })
    }
}

fn check(call: &Call) -> Result<(), RequestError> {
    if call.body.len() > BODY_MAX {
        return Err(RequestError::Body { bytes: call.body.len() });
    }
    if !call.body.is_empty() && matches!(call.method.as_str(), "GET" | "HEAD") {
        return Err(RequestError::NoBody { method: call.method.clone() });
    }
    let mut bytes = 0;
    for (name, value) in &call.headers {
        bytes += name.len() + value.len();
        let known = name.parse::<http::HeaderName>().ok();
        if known.is_none_or(|known| OWN_HEADERS.contains(&known.as_str())) {
            return Err(RequestError::Header { name: name.chars().take(80).collect() });
        }
        if http::HeaderValue::from_str(value).is_err() {
            return Err(RequestError::Value { name: name.clone() });
        }
    }
    if bytes > HEADERS_BYTES { Err(RequestError::Headers { bytes }) } else { Ok(()) }
}
