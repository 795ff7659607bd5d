//! An HTTP request over a connection that stands (RFC 9112): no redirects, so much of the answer at most, then it is dropped.

use std::error::Error as _;
use std::io;

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use netcheck_proto::v1;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BYTES_MAX, Broke, Log};
use crate::plan::exchange::Request;

const AGENT: &str = concat!("netcheck/", env!("CARGO_PKG_VERSION"));

/// Asks, and reads what is answered.
pub(super) async fn ask<S>(stream: S, request: &Request, log: &mut Log) -> Result<(), Broke>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BYTES_MAX);
    let (mut sender, connection) =
        builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|error| broke(&error))?;
    let call = request.call.as_ref();
    let body = call.map(|call| call.body.clone()).unwrap_or_default();
    let mut message = http::Request::get(request.path.as_str())
        .header(HOST, &request.host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|_| Broke::Nonsense("no request"))?;
    if let Some(call) = call {
        *message.method_mut() = call.method.clone();
        // In place of the usual ones of the same name.
        message.headers_mut().extend(call.headers.clone());
    }
    let exchange = async {
        let response = sender.send_request(message).await.map_err(|error| broke(&error))?;
        log.reach(v1::ExchangeStep::Body);
        if !request.expects(response.status()) {
            return Err(Broke::Status(response.status().as_u16()));
        }
        let (mut body, mut bytes) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame.map_err(|error| broke(&error))?.data_ref().map_or(0, Bytes::len);
            if bytes > BYTES_MAX {
                break;
            }
        }
        Ok(())
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        // What the connection has to say of its end, the exchange says too.
        ended = &mut exchange => ended,
        _ = &mut connection => exchange.await,
    }
}

fn broke(error: &hyper::Error) -> Broke {
    if let Some(cause) = error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        return Broke::Stream(match cause.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => cause.kind().into(),
        });
    }
    if error.is_parse() {
        return Broke::Nonsense("answer is not HTTP");
    }
    Broke::Stream(io::ErrorKind::UnexpectedEof.into())
}
