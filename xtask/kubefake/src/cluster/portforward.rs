//! Ports of pods: `kubectl port-forward` and kube's own over a web socket. Each message's first byte is a channel, of which
//! each port has two: what it says, and what went wrong with it. The first message of either names the port.

use std::net::SocketAddr;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Shared;
use crate::serve::failure;

/// The channels of the first port, which is the only one that is forwarded.
const DATA: u8 = 0;
const ERROR: u8 = 1;

pub(super) async fn portforward(shared: Shared, pod: &str, request: Request) -> Response {
    let Some(address) = behind(&shared, pod) else {
        return failure(StatusCode::BAD_REQUEST, "BadRequest", &format!("nothing listens in pod {pod:?}"));
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let port = query.split('&').find_map(|pair| pair.strip_prefix("ports=")?.parse::<u16>().ok());
    let mut away = shared.away.subscribe();
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &shared).await {
        Ok(upgrade) => upgrade.protocols(["v4.channel.k8s.io"]),
        Err(rejection) => return rejection.into_response(),
    };
    upgrade.on_upgrade(move |socket| async move {
        // Whoever went away first ends it.
        tokio::select! {
            _ = away.changed() => {}
            _ = forward(socket, address, port.unwrap_or_default()) => {}
        }
    })
}

/// What listens in a pod: by its name, else by one of its labels.
fn behind(shared: &Shared, pod: &str) -> Option<SocketAddr> {
    let objects = shared.lock();
    let labelled = || {
        let (_, found) = objects.all.iter().find(|(key, _)| key.1 == "pods" && key.3 == pod)?;
        let labels = &found["metadata"]["labels"];
        let mut forwards = objects.labelled_forwards.iter();
        forwards.find(|((name, value), _)| labels[name] == value.as_str()).map(|(_, address)| *address)
    };
    objects.forwards.get(pod).copied().or_else(labelled)
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary(std::iter::once(channel).chain(bytes.iter().copied()).collect::<Vec<u8>>().into())
}

async fn forward(mut socket: WebSocket, address: SocketAddr, port: u16) -> anyhow::Result<()> {
    for channel in [DATA, ERROR] {
        socket.send(message(channel, &port.to_le_bytes())).await?;
    }
    let mut stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => {
            socket.send(message(ERROR, error.to_string().as_bytes())).await?;
            return Ok(());
        }
    };
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Binary(received))) if received.first() == Some(&DATA) => stream.write_all(&received[1..]).await?,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
            read = stream.read(&mut buffer) => match read? {
                0 => break,
                read => socket.send(message(DATA, &buffer[..read])).await?,
            },
        }
    }
    // What is on its way is read before a connection that ends without a word is taken for broken.
    socket.send(Message::Close(None)).await?;
    while socket.recv().await.is_some_and(|received| received.is_ok()) {}
    Ok(())
}
