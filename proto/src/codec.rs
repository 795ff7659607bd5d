//! How messages are read from a stream of gRPC: looked over before they are decoded.
//!
//! What agents send has a budget of memory, and no text of anybody's, an agent's or a hub's, keeps the characters that a
//! terminal obeys: whoever prints or logs it later need not think of it.

use std::marker::PhantomData;

use prost::bytes::Buf as _;
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::cost::{COSTS, Counted, TooCostly};
use crate::v1;

/// What one message of an agent's may take in memory. The largest batch of an honest agent takes some 20 MiB.
pub const AGENT_MESSAGE_BUDGET: u64 = 64 << 20;

/// What targets of another cluster may take in memory: 2,000 of them, some ten probes each.
const PEERS_BUDGET: u64 = 32 << 20;

/// protobuf, looked over.
#[derive(Debug, Clone)]
pub struct CountingCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for CountingCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CountingCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountingDecoder(ProstCodec::<T, U>::raw_decoder(BufferSettings::default()))
    }
}

/// Decodes what is within its budget.
#[derive(Debug, Clone)]
pub struct CountingDecoder<U>(ProstDecoder<U>);

/// What the bytes of a message of this type come to.
fn counted<U: Name>(wire: &[u8]) -> Result<Counted, TooCostly> {
    let budget = match U::NAME {
        v1::SessionRequest::NAME => AGENT_MESSAGE_BUDGET,
        v1::LeaseTargetsRequest::NAME => PEERS_BUDGET,
        _ => u64::MAX,
    };
    COSTS.of(&U::full_name(), wire, budget)
}

impl<U: Message + Name + Default + 'static> Decoder for CountingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let wire = buffer.chunk();
        // A message is in one piece; were it not, its rest would be counted as nothing.
        if wire.len() < buffer.remaining() {
            return Err(Status::internal("a message in pieces"));
        }
        let counted = counted::<U>(wire).map_err(|costly| Status::out_of_range(costly.to_string()))?;
        if !counted.obeyed {
            return self.0.decode(buffer);
        }
        let mut wire = wire.to_vec();
        buffer.advance(wire.len());
        COSTS.clean(&U::full_name(), &mut wire);
        U::decode(wire.as_slice()).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
