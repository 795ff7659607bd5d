//! What is said over a TCP connection: an HTTP request, or a DNS query; with or without TLS. Pure.
//!
//! In: a path of the hub's plan. Out: an [`Exchange`] that can be carried out, or why it can't.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hickory_proto::rr::Name;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};
use netcheck_common::domain::ProbeKind;
use netcheck_proto::v1;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use super::Question;
use super::call::Call;
use super::not_probed::NotProbed;
use crate::plan::policy::Bounds;

/// Longest list of expected statuses.
const EXPECTED_MAX: usize = 32;
/// SYN, ACK, request, two ACKs of the answer, RST.
const PACKETS: u32 = 6;
/// Of the handshake: hello, two ACKs, finished.
const TLS_PACKETS: u32 = 4;
/// Of a look-up: a few names of a search list.
const LOOKUP_PACKETS: u32 = 4;
/// Longest name (RFC 1035 §2.3.4), in text.
const NAME_MAX: usize = 254;

/// What is said, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) talk: Talk,
    pub(crate) tls: Option<TlsCheck>,
    /// Where the server's address is not planned: it is looked up before each probe.
    pub(crate) lookup: Option<Lookup>,
}

/// Whose address is looked up before each probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// As it is configured: without a dot at its end, search lists apply.
    pub(crate) name: Arc<str>,
    /// It is none of a Kubernetes object's: only addresses that the agent allows are gone to.
    pub(crate) external: bool,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    Http(Request),
    Dns(Arc<Question>),
}

/// What a server is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) host: HeaderValue,
    pub(crate) path: PathAndQuery,
    /// Where it is more than a GET.
    pub(crate) call: Option<Arc<Call>>,
    expected: Vec<RangeInclusive<u16>>,
}

impl Request {
    /// Whether this answer is the expected one.
    pub(crate) fn expects(&self, status: StatusCode) -> bool {
        self.expected.iter().any(|range| range.contains(&status.as_u16()))
    }
}

/// What is asked of the server's certificate, beyond that it is valid today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsCheck {
    /// It must be for this name.
    pub(crate) name: Option<ServerName<'static>>,
    /// One of the plan's authorities must vouch for it.
    pub(crate) authority: bool,
}

/// Who must vouch for servers.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    /// As the plan has them.
    pub(crate) pem: Vec<u8>,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// What can't be read is left out: the hub has checked it.
    pub(crate) fn read(pem: &[u8]) -> Self {
        let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        Self { pem: pem.to_owned(), certificates }
    }
}

/// What holds for all exchanges over TCP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// How long each may take.
    pub(crate) timeout_ns: u64,
    pub(crate) authorities: Arc<Authorities>,
    /// Where it may go.
    pub(crate) bounds: Arc<Bounds>,
}

impl Exchange {
    /// Reads a path; `None` where it is no exchange over TCP.
    pub(super) fn read(
        spec: &v1::PathSpec,
        kind: ProbeKind,
        question: Option<&Arc<Question>>,
    ) -> Result<Option<Self>, NotProbed> {
        let mut tls = spec.tls.as_ref().map(check).transpose()?;
        let talk = match (kind, question, spec.dns_transport()) {
            (ProbeKind::Http, ..) => Talk::Http(request(spec)?),
            (ProbeKind::Dns, Some(question), v1::DnsTransport::Tcp) => {
                tls = None;
                Talk::Dns(Arc::clone(question))
            }
            (ProbeKind::Dns, Some(question), v1::DnsTransport::Tls) => {
                tls.get_or_insert(TlsCheck { name: None, authority: false });
                Talk::Dns(Arc::clone(question))
            }
            _ => return Ok(None),
        };
        let lookup = lookup(spec).map(|name| check_name(name, spec.external)).transpose()?;
        Ok(Some(Self { talk, tls, lookup }))
    }

    /// DNS over TCP, where an answer over UDP was truncated.
    pub(crate) const fn again(question: Arc<Question>) -> Self {
        Self { talk: Talk::Dns(question), tls: None, lookup: None }
    }

    /// Packets that it sends, when all is well.
    pub(crate) fn packets(&self) -> u32 {
        let body = match &self.talk {
            Talk::Http(request) => request.call.as_ref().map_or(0, |call| call.packets()),
            Talk::Dns(_) => 0,
        };
        PACKETS
            + body
            + if self.tls.is_some() { TLS_PACKETS } else { 0 }
            + if self.lookup.is_some() { LOOKUP_PACKETS } else { 0 }
    }
}

/// The name that a path's server is looked up by, if it is.
pub(super) fn lookup(spec: &v1::PathSpec) -> Option<&str> {
    asked(spec).map(|http| http.resolve.as_str()).filter(|name| !name.is_empty())
}

/// What is asked for by HTTP, by a GET or otherwise.
fn asked(spec: &v1::PathSpec) -> Option<&v1::HttpRequest> {
    spec.call.as_ref().map_or(spec.http.as_ref(), |call| call.request.as_ref())
}

fn check_name(name: &str, external: bool) -> Result<Lookup, NotProbed> {
    Name::from_ascii(name).map_err(NotProbed::unreadable("http.resolve"))?;
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.len() > NAME_MAX || !plain || name.parse::<IpAddr>().is_ok() {
        return Err(NotProbed::NotAName);
    }
    Ok(Lookup { name: name.into(), external })
}

fn request(spec: &v1::PathSpec) -> Result<Request, NotProbed> {
    let http = asked(spec).ok_or(NotProbed::NoRequest)?;
    let call = spec.call.as_ref().map(Call::read).transpose()?.map(Arc::new);
    let host = HeaderValue::from_str(&http.host).map_err(NotProbed::unreadable("http.host"))?;
    let path: PathAndQuery = http.path.parse().map_err(NotProbed::unreadable("http.path"))?;
    if http.host.is_empty() || !http.path.starts_with('/') {
        return Err(NotProbed::HostOrPath);
    }
    if http.expected.len() > EXPECTED_MAX {
        return Err(NotProbed::TooManyStatuses { most: EXPECTED_MAX });
    }
    let range = |range: &v1::StatusRange| {
        let ends = (u16::try_from(range.first), u16::try_from(range.last));
        match ends {
            (Ok(first), Ok(last)) if (100..=999).contains(&first) && first <= last => Ok(first..=last),
            _ => Err(NotProbed::StatusRange { first: range.first, last: range.last }),
        }
    };
    let mut expected: Vec<RangeInclusive<u16>> = http.expected.iter().map(range).collect::<Result<_, _>>()?;
    if expected.is_empty() {
        expected.push(200..=399);
    }
    Ok(Request { host, path, call, expected })
}

fn check(wire: &v1::TlsCheck) -> Result<TlsCheck, NotProbed> {
    let name = (!wire.name.is_empty())
        .then(|| ServerName::try_from(wire.name.clone()).map_err(NotProbed::unreadable("tls.name")))
        .transpose()?;
    Ok(TlsCheck { name, authority: wire.authority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str, path: &str, expected: &[(u32, u32)]) -> v1::PathSpec {
        let expected = expected.iter().map(|&(first, last)| v1::StatusRange { first, last }).collect();
        let (host, path) = (host.to_owned(), path.to_owned());
        let http = v1::HttpRequest { host, path, expected, resolve: String::new() };
        v1::PathSpec { http: Some(http), ..Default::default() }
    }

    #[test]
    fn statuses_that_are_expected() {
        let read = |expected: &[(u32, u32)]| request(&http("web", "/", expected)).unwrap();
        let status = |code| StatusCode::from_u16(code).unwrap();
        let usual = read(&[]);
        assert!(usual.expects(status(200)) && usual.expects(status(302)) && !usual.expects(status(401)));
        let api = read(&[(200, 200), (401, 401), (403, 403)]);
        assert!(api.expects(status(401)) && !api.expects(status(402)) && !api.expects(status(500)));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (spec, word) in [
            (v1::PathSpec::default(), "needs a request"),
            (http("", "/", &[]), "host"),
            (http("web", "", &[]), "http.path"),
            (http("web", "x", &[]), ""),
            (http("web\r\nx: y", "/", &[]), "http.host"),
            (http("web", "/a b", &[]), "http.path"),
            (http("web", "/", &[(99, 200)]), "range"),
            (http("web", "/", &[(300, 200)]), "range"),
            (http("web", "/", &[(200, 70_000)]), "range"),
            (http("web", "/", &[(200, 200); 33]), "more than"),
        ] {
            let why = request(&spec).unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
        }
        let tls = v1::TlsCheck { name: "not a name".to_owned(), authority: false };
        let spec = v1::PathSpec { tls: Some(tls), ..http("web", "/", &[]) };
        assert!(Exchange::read(&spec, ProbeKind::Http, None).unwrap_err().to_string().contains("tls.name"));
    }
}
