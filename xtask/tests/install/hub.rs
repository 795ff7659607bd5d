//! What listens in the pods of hubs: TLS by the certificates that each run made, and a real hub behind it.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use netcheck_kubefake::cluster::FakeCluster;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, version::TLS13};

/// A connection to the hub.
pub(crate) type Dial = Arc<dyn Fn() -> std::io::Result<TcpStream> + Send + Sync>;

/// The secrets of the fake, by the names that clients ask for.
struct Secrets(Arc<Mutex<FakeCluster>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("secrets")
    }
}

impl ResolvesServerCert for Secrets {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // `HUB.NAMESPACE.svc`.
        let mut name = hello.server_name()?.split('.');
        let (hub, namespace) = (name.next()?, name.next()?);
        let secret = self.0.lock().unwrap().get("v1", "secrets", namespace, &format!("{hub}-tls"))?;
        let file = |key: &str| {
            let text = secret["data"][key].as_str()?;
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        };
        let certificate = CertificateDer::from_pem_slice(&file("tls.crt")?).ok()?;
        let key = PrivateKeyDer::from_pem_slice(&file("tls.key")?).ok()?;
        CertifiedKey::from_der(vec![certificate], key, &aws_lc_rs::default_provider()).ok().map(Arc::new)
    }
}

/// Listens until the runtime ends.
pub(crate) async fn serve(fake: Arc<Mutex<FakeCluster>>, dial: Dial) -> SocketAddr {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(Secrets(fake)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, dial) = (acceptor.clone(), Arc::clone(&dial));
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let hub = tokio::task::spawn_blocking(move || dial()).await.unwrap().unwrap();
                hub.set_nonblocking(true).unwrap();
                let mut hub = tokio::net::TcpStream::from_std(hub).unwrap();
                // Either end may go first.
                drop(tokio::io::copy_bidirectional(&mut client, &mut hub).await);
            });
        }
    });
    address
}
