//! The TLS handshake, and what is to be said of the server's certificate.
//!
//! The handshake goes on whatever the certificate is, so that it can be reported what is wrong with it, and whether the
//! server was reached. Where something is wrong nothing is said to the server afterwards. Every handshake is a full
//! one: nothing is resumed.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::Broke;
use crate::model::sample::Trouble;
use crate::plan::exchange::{Authorities, TlsCheck};

const DAY_S: u64 = 86_400;

/// How a handshake ended.
pub(super) struct Shaken<S> {
    pub(super) stream: Result<TlsStream<S>, Broke>,
    /// When the server's certificate expires, unix seconds, if it showed one.
    pub(super) not_after: Option<i64>,
}

/// Shakes hands with a server at `address`.
pub(super) async fn shake_hands<S>(
    stream: S,
    address: IpAddr,
    check: &TlsCheck,
    authorities: &Authorities,
) -> Shaken<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let judge = Arc::new(Judge {
        check: check.clone(),
        authorities: authorities.certificates.clone(),
        provider: Arc::new(aws_lc_rs::default_provider()),
        seen: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(Arc::clone(&judge.provider))
        .with_safe_default_protocol_versions();
    let mut config = match config {
        Ok(config) => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&judge) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth(),
        Err(error) => {
            let trouble = Trouble::new("no TLS in this agent", error.to_string());
            return Shaken { stream: Err(Broke::Tls(trouble)), not_after: None };
        }
    };
    config.resumption = Resumption::disabled();
    // An address is never sent as the server's name (RFC 6066 §3).
    let name = check.name.clone().unwrap_or_else(|| ServerName::from(address));
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let Verdict { trouble, not_after } = judge.verdict();
    let stream = match (shaken, trouble) {
        (_, Some(trouble)) => Err(Broke::Tls(trouble)),
        (Ok(stream), None) => Ok(stream),
        (Err(error), None) => Err(broke(error)),
    };
    Shaken { stream, not_after }
}

/// What rustls says of a handshake that failed.
fn broke(error: io::Error) -> Broke {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => {
            Broke::Tls(Trouble::new("handshake refused", format!("alert {alert:?}")))
        }
        Some(Error::InvalidMessage(_)) => {
            Broke::Tls(Trouble::new("handshake failed", "the server does not speak TLS"))
        }
        Some(other) => Broke::Tls(Trouble::new("handshake failed", other.to_string())),
        None => Broke::Stream(error),
    }
}

#[derive(Clone, Debug, Default)]
struct Verdict {
    trouble: Option<Trouble>,
    not_after: Option<i64>,
}

/// Looks at a certificate, and lets every one pass.
#[derive(Debug)]
struct Judge {
    check: TlsCheck,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Verdict>,
}

impl Judge {
    fn verdict(&self) -> Verdict {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Verdict {
        let certificate = match EndEntityCert::try_from(leaf) {
            Ok(certificate) => certificate,
            Err(error) => {
                let trouble = Some(Trouble::new("certificate unreadable", error.to_string()));
                return Verdict { trouble, not_after: None };
            }
        };
        let algorithms = self.provider.signature_verification_algorithms.all;
        let at = |authorities: &[CertificateDer<'_>], time| {
            let anchors: Vec<_> =
                authorities.iter().filter_map(|authority| anchor_from_trusted_cert(authority).ok()).collect();
            let path = certificate.verify_for_usage(
                algorithms,
                &anchors,
                intermediates,
                time,
                KeyUsage::server_auth(),
                None,
                None,
            );
            path.err()
        };
        // The very first thing that is looked at is whether it is valid at the time: so the ends of time show when it
        // is.
        let never = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::MAX / 4));
        let Some(webpki::Error::CertExpired { not_after, .. }) = at(&[], never) else {
            let trouble = Some(Trouble::new("certificate unreadable", "its validity is not"));
            return Verdict { trouble, not_after: None };
        };
        let valid = match at(&[], now) {
            Some(webpki::Error::CertExpired { .. }) => {
                let ago = span(now.as_secs().saturating_sub(not_after.as_secs()));
                Some(Trouble::new("certificate expired", format!("{ago} ago")))
            }
            Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
                let ahead = span(not_before.as_secs().saturating_sub(now.as_secs()));
                Some(Trouble::new("certificate not valid yet", format!("for another {ahead}")))
            }
            _ => None,
        };
        let named = || {
            let name = self.check.name.as_ref()?;
            let error = certificate.verify_is_valid_for_subject_name(name).err()?;
            let more = match error {
                webpki::Error::CertNotValidForName(context) if !context.presented.is_empty() => {
                    let presented: Vec<&str> = context.presented.iter().map(|of| bare(of)).collect();
                    format!("it is for {}, not {}", presented.join(", "), name.to_str())
                }
                _ => format!("it is not for {}", name.to_str()),
            };
            Some(Trouble::new("name mismatch", more))
        };
        let vouched = || {
            if !self.check.authority {
                return None;
            }
            let error = at(&self.authorities, now)?;
            let more = match error {
                webpki::Error::UnknownIssuer => "nobody that is trusted has signed it".to_owned(),
                other => other.to_string(),
            };
            Some(Trouble::new("unknown authority", more))
        };
        Verdict {
            trouble: valid.or_else(named).or_else(vouched),
            not_after: i64::try_from(not_after.as_secs()).ok(),
        }
    }
}

/// A name as webpki shows it, `DnsName("shop.test")`, without that.
fn bare(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}

/// `3 days`, `5 hours`, `1 minute`.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        DAY_S.. => (seconds / DAY_S, "day"),
        3600.. => (seconds / 3600, "hour"),
        _ => (seconds / 60, "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge(end_entity, intermediates, now);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
