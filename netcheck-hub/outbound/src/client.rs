//! Requests: one at a time, each with a deadline, over connections that are kept.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, InvalidHeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls;

use crate::answer::Answer;
use crate::authorities::{identity, tls};
use crate::endpoint::{Credentials, Endpoint, Url};

/// How much of an answer is read: an error's first lines. Where there is more, the connection is given up.
const ANSWER: usize = 64 << 10;
/// How much of it is kept.
const KEPT: usize = 1 << 10;
/// Longest secret in a file. What is larger is another file.
const SECRET: u64 = 64 << 10;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities is of no use.
    #[error("{}: {why}", path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nobody can vouch for an `https` receiver.
    #[error("this machine has no certificate authorities of its own: name a file of them")]
    NoAuthorities,
    /// No version of TLS is left.
    #[error("TLS can't be set up: {source}")]
    Tls {
        /// Why.
        source: rustls::Error,
    },
}

/// Why a request came to nothing. It may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// Token or password can't be read.
    #[error("{}: {source}", path.display())]
    Secret {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Token or password holds what no header may.
    #[error("{}: {source}", path.display())]
    Header {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: InvalidHeaderValue,
    },
    /// There was no answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// No connection, or it broke.
    #[error("{0}")]
    Broken(String),
}

type Connections = Pool<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends to one endpoint.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    timeout: Duration,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    connections: Connections,
    /// The file of authorities as it was when it was read.
    read: Option<(u64, u64, i64, i64)>,
}

impl Client {
    /// Reads the authorities. Nothing is sent yet. `timeout`: of a whole request, with the connection.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Result<Self, ClientError> {
        let read = endpoint.ca.as_deref().and_then(identity);
        let connections = connections(&endpoint)?;
        Ok(Self { endpoint, timeout, current: Mutex::new(Current { connections, read }) })
    }

    /// To whom.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.endpoint.url
    }

    /// Posts a body to this URL, of the endpoint's host.
    ///
    /// # Errors
    /// See [`PostError`]. An answer that refuses is none.
    pub async fn post(
        &self,
        url: &Url,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Answer, PostError> {
        let mut request = Request::builder().method(Method::POST).uri(url.uri().clone());
        request = request.header(USER_AGENT, concat!("netcheck-hub/", env!("CARGO_PKG_VERSION")));
        request = request.header(CONTENT_LENGTH, body.len());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(value) = self.authorization()? {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| PostError::Broken(error.to_string()))?;
        let connections = self.connections();
        let exchange = async {
            let answer = connections.request(request).await.map_err(|error| broken(&error))?;
            let (parts, body) = answer.into_parts();
            // A body that is too long or breaks off changes nothing: the status is there.
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map(Collected::to_bytes).unwrap_or_default();
            let text = String::from_utf8_lossy(&body[..body.len().min(KEPT)]).into_owned();
            Ok(Answer { status: parts.status, headers: parts.headers, text })
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(PostError::Late(self.timeout)))
    }

    /// With the authorities as they are now. A new file that is of no use leaves the old ones in use.
    fn connections(&self) -> Connections {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.endpoint.ca.as_deref().and_then(identity);
        if now != current.read {
            current.read = now;
            match connections(&self.endpoint) {
                Ok(connections) => current.connections = connections,
                Err(error) => tracing::error!("{error}; going on with the last good authorities"),
            }
        }
        current.connections.clone()
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, PostError> {
        let (path, text) = match &self.endpoint.credentials {
            Credentials::None => return Ok(None),
            Credentials::Bearer { file } => (file, format!("Bearer {}", secret(file)?)),
            Credentials::Basic { user, password_file } => {
                let pair = format!("{user}:{}", secret(password_file)?);
                (password_file, format!("Basic {}", STANDARD.encode(pair)))
            }
        };
        let value = HeaderValue::from_str(&text);
        let mut value = value.map_err(|source| PostError::Header { path: path.clone(), source })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// A line of a file, without the end of the line.
fn secret(path: &PathBuf) -> Result<String, PostError> {
    let wrong = |source| PostError::Secret { path: path.clone(), source };
    let length = fs::metadata(path).map_err(wrong)?.len();
    if length > SECRET {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidData, "too long for a secret")));
    }
    let text = fs::read_to_string(path).map_err(wrong)?;
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidData, "is empty")));
    }
    Ok(text.to_owned())
}

fn connections(endpoint: &Endpoint) -> Result<Connections, ClientError> {
    let tls = tls(endpoint.url.is_https(), endpoint.ca.as_deref())?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Pool::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(60)).build(connector))
}

/// The innermost reason: the outer ones only say that there is one.
fn broken(error: &PoolError) -> PostError {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let what = if error.is_connect() { "can't connect: " } else { "" };
    let why = error.source().map_or_else(|| error.to_string(), |_| innermost.to_string());
    PostError::Broken(format!("{what}{why}"))
}
