//! A DNS query over a connection that stands: each message behind two bytes of its length (RFC 1035 §4.2.2, RFC 7858).

use std::io;

use netcheck_proto::v1;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Broke, Log};
use crate::plan::Question;
use crate::probe::dns::{Answer, read_answer};

/// Asks, and reads what is answered.
pub(super) async fn ask<S>(mut stream: S, question: &Question, log: &mut Log) -> Result<(), Broke>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let id: u16 = rand::random();
    let begun = |_| log.reach(v1::ExchangeStep::Body);
    let answer = over_stream(&mut stream, question, id, begun).await.map_err(Broke::Stream)?;
    match read_answer(&answer, id, question) {
        Answer::Answered => Ok(()),
        Answer::Error(rcode) => Err(Broke::Rcode(rcode)),
        Answer::Truncated => Err(Broke::Nonsense("an answer that is truncated over TCP, too")),
        Answer::Strange => Err(Broke::Nonsense("no answer to this query")),
    }
}

/// The same, without a look at the answer. `begun` is given its length once that has come.
pub(super) async fn over_stream<S>(
    stream: &mut S,
    question: &Question,
    id: u16,
    begun: impl FnOnce(u16),
) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = Vec::with_capacity(2 + question.message.len());
    message.extend_from_slice(&(question.message.len() as u16).to_be_bytes());
    message.extend_from_slice(&question.message);
    message[2..4].copy_from_slice(&id.to_be_bytes());
    stream.write_all(&message).await?;
    stream.flush().await?;
    let len = stream.read_u16().await?;
    begun(len);
    // Its length is 64 KiB at most.
    let mut answer = vec![0; len.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
