//! The hub's certificate, and whose certificates it asks for. Renewed files are taken without a restart.
//!
//! In: PEM files. Out: a configuration for the next handshakes. [`TlsTask`] polls the files' identity, for they may be
//! replaced by rename or be a mounted secret's symlinks; cancelling it stops renewal.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::aws_lc_rs::hmac;
use netcheck_common::files;
use tokio::sync::watch;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::state::Hub;

/// How often the files are looked at. A change is taken once it has been the same for two looks: certificate and key
/// may be written one after the other.
const POLL: Duration = Duration::from_millis(500);

/// Why there is no TLS to be had from the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is not PEM.
    #[error("{flag} {}: {source}", path.display())]
    Pem {
        /// Which flag named it.
        flag: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is nothing in it.
    #[error("{flag} {}: no certificate in it", path.display())]
    Empty {
        /// Which flag named it.
        flag: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// They make no sense together.
    #[error("--tls-cert {} and --tls-key do not work together: {source}", cert.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate that can't be an authority's.
    #[error("--client-ca {}: {message}", path.display())]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Agents and readers, who may be asked for certificates.
    Grpc,
    /// Readers, scrapers and the kubelet's probes, who are asked for none.
    Http,
}

/// Where certificate and keys are. PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The hub's certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of the certificates that clients must have; none: clients need none.
    pub client_ca: Option<PathBuf>,
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem { flag, path: path.to_owned(), source };
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let all = all.map_err(wrong)?;
    if all.is_empty() { Err(TlsError::Empty { flag, path: path.to_owned() }) } else { Ok(all) }
}

impl TlsFiles {
    /// Reads them.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(&self, port: Port) -> Result<Arc<ServerConfig>, TlsError> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let pair = |source| TlsError::Pair { cert: self.cert.clone(), source };
        let chain = certificates("--tls-cert", &self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::Pem {
            flag: "--tls-key",
            path: self.key.clone(),
            source,
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
        let builder = match self.client_ca.as_ref().filter(|_| port == Port::Grpc) {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let broken = |message| TlsError::ClientCa { path: path.clone(), message };
                let mut roots = RootCertStore::empty();
                for certificate in certificates("--client-ca", path)? {
                    roots.add(certificate).map_err(|error| broken(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| broken(error.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = match port {
            Port::Grpc => vec![b"h2".to_vec()],
            Port::Http => vec![b"http/1.1".to_vec()],
        };
        Ok(Arc::new(config))
    }

    /// A number for this purpose that nobody can guess who does not have the key, and that stays as long as the key does,
    /// over restarts too. 0 where the key can't be read.
    #[must_use]
    pub fn number(&self, purpose: &str) -> u64 {
        let Ok(key) = files::read(&self.key, files::SMALL) else { return 0 };
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), purpose.as_bytes());
        tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// What distinguishes one state of the files from another.
    fn identity(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let paths = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        let identity = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        };
        paths.into_iter().flatten().map(identity).collect()
    }
}

/// Takes renewed files.
pub struct TlsTask {
    files: TlsFiles,
    hub: Arc<Hub>,
    loaded: Vec<Option<(u64, u64, i64, i64)>>,
    grpc: watch::Sender<Arc<ServerConfig>>,
    http: watch::Sender<Arc<ServerConfig>>,
}

/// The configurations for the next handshakes.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Of the gRPC port.
    pub grpc: watch::Receiver<Arc<ServerConfig>>,
    /// Of the HTTP port, if it is encrypted.
    pub http: watch::Receiver<Arc<ServerConfig>>,
}

impl TlsTask {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They are missing or make no sense.
    pub fn start(files: TlsFiles, hub: Arc<Hub>) -> Result<(Self, Certificates), TlsError> {
        let loaded = files.identity();
        let (grpc, for_grpc) = watch::channel(files.load(Port::Grpc)?);
        let (http, for_http) = watch::channel(files.load(Port::Http)?);
        Ok((Self { files, hub, loaded, grpc, http }, Certificates { grpc: for_grpc, http: for_http }))
    }

    /// Follows the files until cancelled.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut previous = self.loaded.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = self.files.identity();
            if now == previous && now != self.loaded {
                self.loaded.clone_from(&now);
                self.reload();
            }
            previous = now;
        }
    }

    fn reload(&self) {
        let load = |port| self.files.load(port);
        let loaded = load(Port::Grpc).and_then(|grpc| Ok((grpc, load(Port::Http)?)));
        let trouble = loaded.as_ref().err().map(ToString::to_string);
        match loaded {
            Ok((grpc, http)) => {
                tracing::info!("certificate renewed");
                self.grpc.send_replace(grpc);
                self.http.send_replace(http);
            }
            Err(error) => tracing::error!("{error}; going on with the last good certificate"),
        }
        self.hub.lock().tls_error = trouble;
    }
}
