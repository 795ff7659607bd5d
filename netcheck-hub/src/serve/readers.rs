//! Who may read: anybody, or whoever shows the readers' token. Agents prove themselves otherwise ([`crate::serve::identity`]).
//!
//! The token's file is read anew for every request: readers are few, and a renewed secret counts at once.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use netcheck_proto::usage::read_token;
use subtle::ConstantTimeEq as _;
use tonic::Status;

use crate::state::Hub;

/// Who may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readers {
    /// Whoever reaches the port.
    #[default]
    Anybody,
    /// Whoever shows a client certificate, which HTTP does not ask for: there, nobody.
    Certified,
    /// Whoever shows the token in this file.
    Token(PathBuf),
}

/// Why somebody may not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No token came.
    #[error(
        "the hub wants the readers' token: say --token-file, or send it as `Authorization: Bearer TOKEN`"
    )]
    Missing,
    /// Another token came.
    #[error("that is not the readers' token")]
    Wrong,
    /// The hub can't read its own file.
    #[error("the hub has no readers' token to compare with: {0}")]
    Unknown(String),
    /// HTTP does not ask for certificates.
    #[error(
        "readers must show a certificate, which is asked for by gRPC only; a hub with --read-token-file answers by HTTP"
    )]
    Uncertified,
}

impl Readers {
    /// Whether who sent these words as `authorization` may read.
    ///
    /// # Errors
    /// See [`Denied`].
    pub fn admit(&self, authorization: Option<&[u8]>) -> Result<(), Denied> {
        let Self::Token(path) = self else { return Ok(()) };
        let shown = authorization.and_then(|words| {
            let (scheme, token) = words.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
        });
        let shown = shown.ok_or(Denied::Missing)?;
        let token = read_token(path).map_err(|error| Denied::Unknown(error.to_string()))?;
        if bool::from(token.as_bytes().ct_eq(shown)) { Ok(()) } else { Err(Denied::Wrong) }
    }

    /// The same, by gRPC's terms. Those who may not are counted.
    pub(crate) fn admit_grpc(
        &self,
        hub: &Hub,
        request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, Status> {
        let authorization = request.metadata().get("authorization").map(|words| words.as_bytes().to_vec());
        match self.admit(authorization.as_deref()) {
            Ok(()) => Ok(request),
            Err(denied) => {
                hub.lock().counters.readers_refused += 1;
                Err(match denied {
                    Denied::Unknown(_) => Status::unavailable(denied.to_string()),
                    Denied::Missing | Denied::Wrong | Denied::Uncertified => {
                        Status::unauthenticated(denied.to_string())
                    }
                })
            }
        }
    }

    fn admit_http(&self, headers: &HeaderMap) -> Result<(), Denied> {
        if *self == Self::Certified {
            return Err(Denied::Uncertified);
        }
        self.admit(headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes))
    }
}

/// In front of what is read by HTTP.
pub(crate) async fn gate(
    State((hub, readers)): State<(Arc<Hub>, Readers)>,
    request: Request,
    next: Next,
) -> Response {
    let Err(denied) = readers.admit_http(request.headers()) else { return next.run(request).await };
    hub.lock().counters.readers_refused += 1;
    let status = match denied {
        Denied::Missing | Denied::Wrong => StatusCode::UNAUTHORIZED,
        Denied::Uncertified => StatusCode::FORBIDDEN,
        Denied::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(header::WWW_AUTHENTICATE, "Bearer")], format!("{denied}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let readers = Readers::Token(path.clone());
        for (words, expected) in [
            (None, Err(Denied::Missing)),
            (Some(&b""[..]), Err(Denied::Missing)),
            (Some(b"Bearer"), Err(Denied::Missing)),
            (Some(b"Basic 0123456789abcdef"), Err(Denied::Missing)),
            (Some(b"Bearer "), Err(Denied::Wrong)),
            (Some(b"Bearer 0123456789abcde"), Err(Denied::Wrong)),
            (Some(b"Bearer 0123456789abcdef0"), Err(Denied::Wrong)),
            (Some(b"Bearer 0123456789abcdeF"), Err(Denied::Wrong)),
            (Some(b"Bearer 0123456789abcdef"), Ok(())),
            (Some(b"bearer  0123456789abcdef "), Ok(())),
        ] {
            assert_eq!(readers.admit(words), expected, "{words:?}");
        }
        std::fs::write(&path, "another-token-now").unwrap();
        assert_eq!(readers.admit(Some(b"Bearer 0123456789abcdef")), Err(Denied::Wrong));
        assert_eq!(readers.admit(Some(b"Bearer another-token-now")), Ok(()));
        for bad in ["", "short", "with a space in the midst", "0123456789abcdef\u{e9}"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(readers.admit(Some(b"Bearer ")), Err(Denied::Unknown(_))), "{bad:?}");
        }
        assert_eq!(Readers::Anybody.admit(None), Ok(()));
        assert_eq!(Readers::Certified.admit(None), Ok(()), "the handshake asked for it");
        assert_eq!(Readers::Certified.admit_http(&HeaderMap::new()), Err(Denied::Uncertified));
    }
}
