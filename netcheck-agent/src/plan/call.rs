//! What an HTTP request is besides a GET of a path: a method, headers, a body. Pure.
//!
//! Only what a scheduled check itself asks for has one. The bounds here are the agent's own: it holds to them whatever the hub
//! says. Nothing of headers' values and of the body is ever printed.

use std::fmt;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use hyper::body::Bytes;
use netcheck_proto::v1;

use super::not_probed::NotProbed;

/// Longest body (bytes).
const BODY_MAX: usize = 4 << 10;
/// Most headers.
const HEADERS_MAX: usize = 16;
/// Names and values of all headers together (bytes).
const HEADERS_BYTES: usize = 4 << 10;
/// What a request may do.
const METHODS: [Method; 7] =
    [Method::DELETE, Method::GET, Method::HEAD, Method::OPTIONS, Method::PATCH, Method::POST, Method::PUT];
/// Headers that say how the connection is used, or to whom the request is: the agent's to write.
const OWN: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// Of a body, what fits into one packet.
const SEGMENT: usize = 1400;

/// A request that is more than a GET.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Call {
    pub(super) fn read(wire: &v1::HttpCall) -> Result<Self, NotProbed> {
        let method = METHODS.into_iter().find(|method| method.as_str() == wire.method);
        let method = method.ok_or(NotProbed::Method)?;
        if wire.body.len() > BODY_MAX {
            return Err(NotProbed::Body { bytes: wire.body.len(), most: BODY_MAX });
        }
        let bytes: usize = wire.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        if wire.headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES {
            return Err(NotProbed::TooManyHeaders { most: HEADERS_MAX, bytes: HEADERS_BYTES });
        }
        let mut headers = HeaderMap::new();
        for header in &wire.headers {
            let name: HeaderName = header.name.parse().map_err(NotProbed::unreadable("http.headers"))?;
            if OWN.contains(&name) {
                return Err(NotProbed::Header { name: name.to_string() });
            }
            let mut value =
                HeaderValue::from_str(&header.value).map_err(NotProbed::unreadable("http.headers"))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self { method, headers, body: wire.body.clone().into() })
    }

    /// Packets that it needs beyond those of a GET.
    pub(super) const fn packets(&self) -> u32 {
        self.body.len().div_ceil(SEGMENT) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, headers: &[(&str, &str)], body: usize) -> v1::HttpCall {
        let header =
            |&(name, value): &(&str, &str)| v1::HttpHeader { name: name.to_owned(), value: value.to_owned() };
        v1::HttpCall {
            request: None,
            method: method.to_owned(),
            headers: headers.iter().map(header).collect(),
            body: vec![b's'; body],
        }
    }

    #[test]
    fn what_may_be_sent_and_what_may_not() {
        let read =
            Call::read(&call("POST", &[("x-token", "s3cret"), ("accept", "text/plain")], 4096)).unwrap();
        assert_eq!((read.method.as_str(), read.headers.len(), read.packets()), ("POST", 2, 3));
        for (call, word) in [
            (call("CONNECT", &[], 0), "method"),
            (call("get", &[], 0), "method"),
            (call("POST", &[], 4097), "4097 bytes"),
            (call("GET", &[("a", "b"); 17], 0), "headers"),
            (call("GET", &[("a", &"b".repeat(4096))], 0), "headers"),
            (call("GET", &[("Host", "b")], 0), "host"),
            (call("GET", &[("Transfer-Encoding", "chunked")], 0), "transfer-encoding"),
            (call("GET", &[("a b", "c")], 0), "http.headers"),
            (call("GET", &[("a", "s3cret\r\nb: c")], 0), "http.headers"),
        ] {
            let why = Call::read(&call).unwrap_err().to_string();
            assert!(why.contains(word) && !why.contains("s3cret"), "{why}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let wire = call("PUT", &[("authorization", "Bearer s3cret")], 9);
        let read = Call::read(&wire).unwrap();
        for text in [format!("{wire:?}"), format!("{:?}", wire.headers), format!("{read:?}")] {
            assert!(!text.contains("s3cret") && !text.contains("115"), "{text}");
        }
        assert!(format!("{wire:?}").contains("PUT"));
    }
}
