//! What is said over TCP by HTTP probes, and by DNS probes over TCP and TLS. Pure.

use std::fmt;
use std::sync::Arc;

use crate::cluster::roster::http::Statuses;

/// An exchange over TCP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchange {
    /// What is said.
    pub talk: Talk,
    /// Over TLS.
    pub tls: Option<TlsCheck>,
    /// The address is none of a Kubernetes object's.
    pub external: bool,
    /// The name that the server's address is looked up by, by each agent; none where the address is planned.
    pub lookup: Option<String>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Talk {
    /// A GET, or what a scheduled check asks for.
    Http(Request),
    /// The path's question.
    Dns,
}

/// What a server is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Statuses that are expected; empty: the usual ones.
    pub expected: Statuses,
    /// Where it is more than a GET.
    pub call: Option<Arc<Call>>,
}

/// What a request is besides a GET. Only its method is ever printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// In capital letters.
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Empty: none.
    pub body: Vec<u8>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Request {
    /// Method and path in a few words: of what a check asks for neither a query nor anything else that may be secret.
    fn detail(&self, scheme: &str) -> String {
        match &self.call {
            None => format!("{scheme} {}", self.path),
            Some(call) => {
                let path = self.path.split('?').next().unwrap_or_default();
                format!("{scheme} {} {path}", call.method)
            }
        }
    }
}

/// What is asked of the server's certificate, beyond that it is valid today.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsCheck {
    /// It must be for this name; empty: for any.
    pub name: String,
    /// The hub's authorities must vouch for it.
    pub authority: bool,
}

impl Exchange {
    /// In a few words, as part of a path's name: `https /readyz`, `over TLS`.
    #[must_use]
    pub fn detail(&self) -> String {
        match (&self.talk, self.tls.is_some()) {
            (Talk::Http(request), true) => request.detail("https"),
            (Talk::Http(request), false) => request.detail("http"),
            (Talk::Dns, true) => "over TLS".to_owned(),
            (Talk::Dns, false) => "over TCP".to_owned(),
        }
    }
}
