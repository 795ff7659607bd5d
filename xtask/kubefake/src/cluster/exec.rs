//! Commands in pods.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Shared;

/// `kubectl exec` over a web socket: each message's first byte is a channel: 1 output, 2 error, 3 how it ended.
pub(super) async fn exec(shared: Shared, request: Request) -> Response {
    let words: Vec<String> = form(request.uri().query().unwrap_or_default())
        .filter(|(name, _)| name == "command")
        .map(|(_, value)| value)
        .collect();
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &shared).await {
        Ok(upgrade) => upgrade.protocols(["v5.channel.k8s.io", "v4.channel.k8s.io"]),
        Err(rejection) => return rejection.into_response(),
    };
    upgrade.on_upgrade(move |mut socket| async move {
        let run = Arc::clone(&shared.exec);
        let done = tokio::task::spawn_blocking(move || run(&words)).await;
        let (out, err, code) = done.unwrap_or_else(|error| (String::new(), error.to_string(), 255));
        let status = match code {
            0 => json!({"metadata": {}, "status": "Success"}),
            code => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with exit code {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
        };
        for (channel, text) in [(1u8, out), (2, err), (3, status.to_string())] {
            for chunk in text.as_bytes().chunks(16 << 10) {
                let message: Vec<u8> = std::iter::once(channel).chain(chunk.iter().copied()).collect();
                if socket.send(Message::Binary(message.into())).await.is_err() {
                    return;
                }
            }
        }
        drop(socket.send(Message::Close(Some(CloseFrame { code: 1000, reason: "".into() }))).await);
    })
}

/// The pairs of a query, decoded.
fn form(query: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value)))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => bytes
                .extend(hex(rest.next()).zip(hex(rest.next())).map(|(high, low)| (high * 16 + low) as u8)),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
