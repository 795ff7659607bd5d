//! Who a client certificate says that its holder is: an agent or a reader. Pure.
//!
//! With --agent-cert-name certificates of agents bear a name that those of readers don't. Then agents may open sessions and
//! read nothing, and readers read and open none. Which node an agent is its token says, not its certificate.

use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::Status;
use webpki::EndEntityCert;

/// What a connection may be used for, as far as its certificate shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Certificates are not asked for, or not distinguished.
    #[default]
    Either,
    /// Sessions.
    Agent,
    /// Everything else.
    Reader,
}

impl Role {
    /// That of whoever showed this chain, where agents' certificates bear `name` as DNS name or URI.
    #[must_use]
    pub fn of(shown: Option<&[CertificateDer<'_>]>, name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::Either };
        // The handshake has verified it.
        let shown = shown.and_then(<[_]>::first).and_then(|first| EndEntityCert::try_from(first).ok());
        let bears = shown.is_some_and(|cert| {
            cert.valid_dns_names().any(|dns| dns.eq_ignore_ascii_case(name))
                || cert.valid_uri_names().any(|uri| uri == name)
        });
        if bears { Self::Agent } else { Self::Reader }
    }

    /// Whether it may read.
    ///
    /// # Errors
    /// It is an agent's.
    pub fn read(self) -> Result<(), Status> {
        match self {
            Self::Either | Self::Reader => Ok(()),
            Self::Agent => Err(Status::permission_denied(
                "that is an agent's certificate (--agent-cert-name), which is for sessions: show a reader's",
            )),
        }
    }

    /// Whether it may open a session.
    ///
    /// # Errors
    /// It is a reader's.
    pub fn open(self) -> Result<(), Status> {
        match self {
            Self::Either | Self::Agent => Ok(()),
            Self::Reader => Err(Status::permission_denied(
                "that is no agent's certificate: it does not bear the name of --agent-cert-name",
            )),
        }
    }
}
