use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn hub() -> Uri {
    Uri::from_static("https://netcheck-hub.netcheck.svc:7070")
}

fn finds(addresses: Vec<SocketAddr>) -> Resolve {
    Box::new(move |_, _| {
        let addresses = addresses.clone();
        Box::pin(async move { Ok(addresses) })
    })
}

fn broken() -> Resolve {
    Box::new(|_, _| Box::pin(std::future::pending()))
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn file() -> PathBuf {
    std::env::temp_dir().join(format!("netcheck-hub-{:016x}", rand::random::<u64>()))
}

async fn direct(addresses: &HubAddresses) -> Result<(TcpStream, Way), DialError> {
    addresses.connect(Race::DIRECT, &Relays::default()).await
}

async fn reached(addresses: &HubAddresses) -> SocketAddr {
    timeout(PATIENCE, direct(addresses)).await.unwrap().unwrap().0.peer_addr().unwrap()
}

#[tokio::test]
async fn after_a_restart_the_hub_is_found_without_dns() {
    let ((_listener, address), file) = (listener().await, file());
    let first = HubAddresses::with_resolver(&hub(), None, Some(file.clone()), finds(vec![address]));
    assert_eq!(reached(&first).await, address);
    assert!(!file.exists(), "a connection is no session yet");
    first.succeeded();
    let again = HubAddresses::with_resolver(&hub(), None, Some(file.clone()), broken());
    assert_eq!(reached(&again).await, address);
    let other = Uri::from_static("https://another-hub.netcheck.svc:7070");
    let other = HubAddresses::with_resolver(&other, None, Some(file.clone()), broken());
    assert_eq!(other.without_name(), Vec::new(), "what another hub left is not this one's");
    fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn the_service_of_the_environment_stands_in_for_its_name() {
    let (_listener, address) = listener().await;
    let addresses = HubAddresses::with_resolver(&hub(), Some(address), None, broken());
    assert_eq!(reached(&addresses).await, address);
    let none = HubAddresses::with_resolver(&hub(), None, None, broken());
    let error = timeout(PATIENCE, direct(&none)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("takes too long"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_not_the_hubs_any_more_is_tried_last() {
    let ((_a, stale), (_b, good)) = (listener().await, listener().await);
    let addresses = HubAddresses::with_resolver(&hub(), None, None, finds(vec![stale, good]));
    assert_eq!(reached(&addresses).await, stale);
    addresses.failed();
    assert_eq!(reached(&addresses).await, good);
    addresses.succeeded();
    assert_eq!(addresses.known().good, [good, stale]);
    assert_eq!(reached(&addresses).await, good);
    addresses.failed();
    assert_eq!(addresses.known().doubtful.len(), 2);
    assert_eq!(reached(&addresses).await, stale, "where all are in doubt, the order is that of the name");
}

#[tokio::test]
async fn a_resolver_that_hangs_is_asked_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let resolve: Resolve = Box::new({
        let asked = Arc::clone(&asked);
        move |_, _| {
            asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(std::future::pending())
        }
    });
    let (_listener, service) = listener().await;
    let addresses = HubAddresses::with_resolver(&hub(), Some(service), None, resolve);
    for _ in 0..3 {
        assert_eq!(reached(&addresses).await, service);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn files_that_somebody_else_wrote_do_no_harm() {
    let file = file();
    let host = "netcheck-hub.netcheck.svc";
    assert_eq!(read(&file, host), Vec::<SocketAddr>::new());
    let address: SocketAddr = "10.96.0.9:7070".parse().unwrap();
    for (text, expected) in [
        (format!("{host}\n10.96.0.9:7070\nnonsense\n\n10.96.0.9:7070\n"), vec![address]),
        (format!("{host}.\n10.96.0.9:7070\n"), Vec::new()),
        ("10.96.0.9:7070\n".to_owned(), Vec::new()),
        (format!("{host}\n{}", "10.96.0.9:7070\n".repeat(1000)), Vec::new()),
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(read(&file, host), expected);
    }
    let many: Vec<SocketAddr> = (1..20u8).map(|n| SocketAddr::from(([10, 0, 0, n], 1))).collect();
    write(&file, host, &many).unwrap();
    assert_eq!(read(&file, host), many[..REMEMBERED]);
    fs::remove_file(&file).unwrap();
}

#[test]
fn what_the_environment_says_is_taken_if_it_is_an_address() {
    for (host, port, expected) in [
        (Some("10.96.0.9"), Some("7070"), Some("10.96.0.9:7070")),
        (Some("fd00::9"), Some("7071"), Some("[fd00::9]:7071")),
        (Some("10.96.0.9"), None, Some("10.96.0.9:7070")),
        (Some("10.96.0.9"), Some("tcp://10.96.0.9:7070"), Some("10.96.0.9:7070")),
        (Some("$(NETCHECK_HUB_SERVICE_HOST)"), Some("$(NETCHECK_HUB_SERVICE_PORT)"), None),
        (Some("None"), None, None),
        (None, Some("7070"), None),
    ] {
        let found = service_address(host, port, &hub()).map(|address| address.to_string());
        assert_eq!(found.as_deref(), expected, "{host:?} {port:?}");
    }
}
