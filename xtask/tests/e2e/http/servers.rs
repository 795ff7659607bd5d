//! HTTP(S) servers of every sort, in the pods of a lab; and the services that point at them.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use netcheck_netlab::Lab;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// How long the slow one thinks.
pub(super) const SLOW: Duration = Duration::from_millis(700);
const DAY: Duration = Duration::from_secs(86_400);

/// What a server does.
#[derive(Clone, Copy)]
enum Way {
    /// Answers with this status.
    Status(u16),
    /// Accepts, and never answers.
    Silent,
    /// Answers after [`SLOW`].
    Slow,
    /// Answers 200 for this host, 404 for all others.
    Only(&'static str),
}

/// The servers; they end with this.
pub(crate) struct Servers {
    _runtime: Runtime,
    services: Vec<Value>,
}

/// Service, pod, port, what it does, and the end of its certificate where it has one.
const ROWS: [(&str, &str, u16, Way, Option<Expiry>); 6] = [
    ("good", "web-n1", 8443, Way::Status(200), Some(Expiry::Far)),
    ("soon", "web-n3", 8443, Way::Status(200), Some(Expiry::Soon)),
    ("expired", "web-n2", 8443, Way::Status(200), Some(Expiry::Past)),
    ("broken", "web-n2", 8081, Way::Status(503), None),
    ("silent", "web-n3", 8081, Way::Silent, None),
    ("slow", "web-n1", 8081, Way::Slow, None),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Far,
    Soon,
    Past,
}

impl Servers {
    /// Starts them in the pods' namespaces, and adds their services to the lab's inventory.
    pub(crate) fn start(lab: &Lab) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut services = Vec::new();
        for (name, pod, port, way, expiry) in ROWS {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let listener = lab.enter(pod, || std::net::TcpListener::bind(any)).unwrap().unwrap();
            listener.set_nonblocking(true).unwrap();
            let tls = expiry.map(|expiry| TlsAcceptor::from(Arc::new(certificate("web.test", expiry))));
            runtime.spawn(accept(listener, way, tls));
            let pod = lab.pod(pod).unwrap();
            let key = if expiry.is_some() { "netcheck.io/https" } else { "netcheck.io/http" };
            let name_key = if expiry.is_some() { "netcheck.io/https-name" } else { "netcheck.io/unused" };
            services.push(json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "name": name, "namespace": "default",
                    "annotations": { key: format!("{port}/healthz"), name_key: "web.test" },
                },
                "spec": {
                    "clusterIP": pod.v4, "clusterIPs": [pod.v4, pod.v6],
                    "selector": { "app": name },
                    "ports": [{ "name": "web", "port": port, "protocol": "TCP" }],
                },
            }));
            // Without translation its address is that of its one backend.
            for (address, family) in [(pod.v4.to_string(), "IPv4"), (pod.v6.to_string(), "IPv6")] {
                services.push(json!({
                    "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                    "metadata": {
                        "name": format!("{name}-{}", family.to_lowercase()), "namespace": "default",
                        "labels": { "kubernetes.io/service-name": name },
                    },
                    "addressType": family,
                    "ports": [{ "name": "web", "port": port, "protocol": "TCP" }],
                    "endpoints": [{
                        "addresses": [address], "nodeName": pod.node, "conditions": { "ready": true },
                        "targetRef": { "kind": "Pod", "namespace": "default", "name": pod.name },
                    }],
                }));
            }
        }
        let servers = Self { _runtime: runtime, services };
        servers.announce(lab);
        servers
    }

    /// Adds their services to the lab's inventory: again after a fault that wrote it anew.
    pub(crate) fn announce(&self, lab: &Lab) {
        add(&lab.inventory_path(), self.services.clone());
    }

    /// Starts what stands behind an Ingress: at a pod's ports 80 and 443, for this host alone.
    pub(super) fn ingress(lab: &Lab, pod: &str, host: &'static str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let tls = TlsAcceptor::from(Arc::new(certificate(host, Expiry::Far)));
        for (port, tls) in [(80, None), (443, Some(tls))] {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let listener = lab.enter(pod, || std::net::TcpListener::bind(any)).unwrap().unwrap();
            listener.set_nonblocking(true).unwrap();
            runtime.spawn(accept(listener, Way::Only(host), tls));
        }
        Self { _runtime: runtime, services: Vec::new() }
    }
}

/// Adds objects to a lab's inventory.
pub(super) fn add(inventory: &PathBuf, objects: Vec<Value>) {
    let text = std::fs::read_to_string(inventory).unwrap();
    let mut list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array_mut().unwrap().extend(objects);
    let fresh = inventory.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec(&list).unwrap()).unwrap();
    std::fs::rename(&fresh, inventory).unwrap();
}

/// A certificate that vouches for itself.
fn certificate(name: &str, expiry: Expiry) -> ServerConfig {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match expiry {
        Expiry::Far => date_time_ymd(2100, 1, 1),
        Expiry::Soon => (std::time::SystemTime::now() + 3 * DAY + DAY / 2).into(),
        Expiry::Past => (std::time::SystemTime::now() - 3 * DAY - DAY / 2).into(),
    };
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap()
}

async fn accept(listener: std::net::TcpListener, way: Way, tls: Option<TlsAcceptor>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, way, tls.clone()));
    }
}

async fn serve(stream: TcpStream, way: Way, tls: Option<TlsAcceptor>) {
    match tls {
        None => talk(stream, way).await,
        Some(tls) => {
            // A bare connect, such as a TCP probe, is no handshake.
            if let Ok(stream) = tls.accept(stream).await {
                talk(stream, way).await;
            }
        }
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, way: Way) {
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(len) if len > 0 => head.extend_from_slice(&chunk[..len]),
            _ => return,
        }
    }
    let status = match way {
        Way::Status(status) => status,
        Way::Only(host) => {
            let head = String::from_utf8_lossy(&head).to_lowercase();
            if head.lines().any(|line| line == format!("host: {host}")) { 200 } else { 404 }
        }
        Way::Slow => {
            tokio::time::sleep(SLOW).await;
            200
        }
        Way::Silent => {
            // Until the other end gives up.
            while stream.read(&mut chunk).await.is_ok_and(|len| len > 0) {}
            return;
        }
    };
    let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
