//! A hub in a fake cluster: found, asked through the API server, and what is not allowed is named.
#![expect(clippy::unwrap_used, reason = "a test that finds something missing has failed")]

use std::sync::Arc;

use netcheck_kubefake::cluster::FakeCluster;
use netcheck_reach::{Access, Cluster, ReachError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A fake cluster without commands in pods, and an access to it.
async fn fake() -> (FakeCluster, Access, tempfile::TempDir) {
    let none = Arc::new(|_: &[String]| (String::new(), String::new(), 1));
    let fake = FakeCluster::start(&["n1"], none).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, fake.kubeconfig()).unwrap();
    (fake, Access { kubeconfig: Some(path), ..Access::default() }, folder)
}

fn hub(namespace: &str, env: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "netcheck-hub-1", "namespace": namespace, "labels": {
            "app.kubernetes.io/part-of": "netcheck", "app.kubernetes.io/component": "hub",
        }},
        "spec": {
            "containers": [{
                "name": "hub", "env": env,
                "volumeMounts": [
                    {"name": "tls", "mountPath": "/etc/netcheck/tls"},
                    {"name": "read", "mountPath": "/etc/netcheck/read"},
                ],
            }],
            "volumes": [
                {"name": "tls", "secret": {"secretName": "hub-tls"}},
                {"name": "read", "secret": {"secretName": "readers"}},
            ],
        },
        "status": {"phase": "Running"},
    })
}

async fn find(access: &Access) -> Result<netcheck_reach::Hub, ReachError> {
    Cluster::open(access).await?.unwrap().hub().await
}

/// Not to be shown: it holds a client.
fn error(found: Result<netcheck_reach::Hub, ReachError>) -> String {
    found.err().expect("there should be no hub").to_string()
}

#[tokio::test]
async fn it_is_found_with_all_that_its_pod_says_and_answers_through_the_api() {
    let (fake, access, _folder) = fake().await;
    assert!(error(find(&access).await).contains("no hub of netcheck in any namespace"));
    let variables = json!([
        {"name": "NETCHECK_HUB", "value": "https://127.0.0.1:7070"},
        {"name": "NETCHECK_TLS_SERVER_NAME", "value": "netcheck-hub.net.svc"},
        {"name": "NETCHECK_CA_CERT", "value": "/etc/netcheck/tls/ca.crt"},
        {"name": "NETCHECK_READ_TOKEN_FILE", "value": "/etc/netcheck/read/token"},
    ]);
    fake.set("v1", "pods", "net", "netcheck-hub-1", hub("net", &variables));
    let secret = |name: &str, key: &str, value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "net"}, "data": {key: value}});
    fake.set("v1", "secrets", "net", "hub-tls", secret("hub-tls", "ca.crt", "UEVN"));
    fake.set("v1", "secrets", "net", "readers", secret("readers", "token", "c2VjcmV0Cg=="));
    let found = find(&access).await.unwrap();
    assert_eq!((found.namespace.as_str(), found.pod.as_str()), ("net", "netcheck-hub-1"));
    let tls = found.tls().await.unwrap();
    assert!(found.is_encrypted() && found.wants_token());
    assert_eq!((tls.server_name.as_deref(), tls.ca.as_slice()), (Some("netcheck-hub.net.svc"), &b"PEM"[..]));
    assert_eq!(found.token().await.unwrap().as_deref(), Some("secret"));

    // What is behind its port answers in capitals.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    fake.forward("netcheck-hub-1", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = [0; 5];
        stream.read_exact(&mut received).await.unwrap();
        stream.write_all(&received.to_ascii_uppercase()).await.unwrap();
    });
    let mut stream = found.connect().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HELLO");
    server.await.unwrap();

    fake.set("v1", "pods", "other", "netcheck-hub-1", hub("other", &json!([])));
    assert!(
        error(find(&access).await).contains("several namespaces (net, other); say which with --namespace")
    );
    let other = Access { namespace: Some("other".to_owned()), ..access };
    assert!(!find(&other).await.unwrap().is_encrypted());
}

#[tokio::test]
async fn what_is_not_allowed_is_named_with_the_right_that_is_missing() {
    let (fake, access, _folder) = fake().await;
    fake.set(
        "v1",
        "pods",
        "net",
        "netcheck-hub-1",
        hub(
            "net",
            &json!([
                {"name": "NETCHECK_HUB", "value": "https://127.0.0.1:7070"},
                {"name": "NETCHECK_CA_CERT", "value": "/etc/netcheck/tls/ca.crt"},
            ]),
        ),
    );
    let found = find(&access).await.unwrap();
    fake.forbid("pods", "portforward");
    let error_of = |error: ReachError| error.to_string();
    let refused = error_of(found.connect().await.err().unwrap());
    assert!(refused.contains("the right to create pods/portforward in namespace net"), "{refused}");
    fake.forbid("secrets", "");
    let refused = error_of(found.tls().await.unwrap_err());
    assert!(
        refused.contains("get secrets in namespace net (hub-tls)") && refused.contains("--ca-cert"),
        "{refused}"
    );
    fake.forbid("pods", "");
    let refused = error(find(&access).await);
    assert!(refused.contains("the right to list pods in all namespaces"), "{refused}");
    assert_eq!(refused.lines().count(), 1);
    let gone = Access { kubeconfig: Some("/no/such/kubeconfig".into()), ..access };
    assert!(Cluster::open(&gone).await.err().unwrap().to_string().contains("/no/such/kubeconfig"));
}
