//! What is said over TCP by HTTP probes, and by DNS probes over TCP and TLS; and its wire form. Pure.

use netcheck_proto::v1;

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
    /// A GET.
    Http(Request),
    /// The path's question.
    Dns,
}

/// A GET.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Statuses that are expected; empty: the usual ones.
    pub expected: Statuses,
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
            (Talk::Http(request), true) => format!("https {}", request.path),
            (Talk::Http(request), false) => format!("http {}", request.path),
            (Talk::Dns, true) => "over TLS".to_owned(),
            (Talk::Dns, false) => "over TCP".to_owned(),
        }
    }

    /// Adds it to a path's wire form.
    pub fn write(&self, spec: &mut v1::PathSpec) {
        match &self.talk {
            Talk::Http(request) => {
                let range =
                    |&(first, last): &(u16, u16)| v1::StatusRange { first: first.into(), last: last.into() };
                spec.http = Some(v1::HttpRequest {
                    host: request.host.clone(),
                    path: request.path.clone(),
                    expected: request.expected.iter().map(range).collect(),
                    resolve: self.lookup.clone().unwrap_or_default(),
                });
            }
            Talk::Dns => {
                let over = if self.tls.is_some() { v1::DnsTransport::Tls } else { v1::DnsTransport::Tcp };
                spec.dns_transport = over.into();
            }
        }
        spec.tls = self
            .tls
            .as_ref()
            .map(|check| v1::TlsCheck { name: check.name.clone(), authority: check.authority });
        spec.external = self.external;
    }
}
