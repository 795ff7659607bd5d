//! Messages as JSON, by the proto3 mapping: what `/api/v1` and `kubectl-netcheck -o json` print.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::value::Serializer;

use crate::v1;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(v1::FILE_DESCRIPTOR_SET)
        .expect("the build wrote a descriptor set that holds together")
});

/// All messages and services of the contract.
pub(crate) fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The answer of a call of the read side as JSON.
///
/// # Errors
/// None for the bytes of the call's own answer.
pub fn answer(
    operation: &crate::api::Operation,
    bytes: &[u8],
) -> Result<serde_json::Value, prost::DecodeError> {
    let dynamic = DynamicMessage::decode(operation.output(), bytes)?;
    let options = SerializeOptions::new();
    Ok(dynamic.serialize_with_options(Serializer, &options).expect("a message has a JSON form"))
}

/// A message that has a name in the descriptor set.
pub trait Named: Message {
    /// Its name in package `netcheck.v1`.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),+ $(,)?) => {
        $(impl Named for v1::$message {
            const NAME: &'static str = stringify!($message);
        })+
    };
}

named!(
    CheckResult,
    GetMatrixResponse,
    GetPathHistoryResponse,
    GetPathResponse,
    GetReportResponse,
    GetVersionResponse,
    ListEventsResponse,
    ListIncidentsResponse,
    ListNodesResponse,
    ListScheduledChecksResponse,
    ListTargetsResponse,
    MatrixCell,
    Report,
    WatchIncidentsResponse,
    WatchMatrixResponse,
);

/// The message as JSON. Fields that have no value are left out, 64-bit numbers are strings, as the mapping has it.
#[must_use]
pub fn value<M: Named>(message: &M) -> serde_json::Value {
    let options = SerializeOptions::new();
    dynamic(message).serialize_with_options(Serializer, &options).expect("a message has a JSON form")
}

/// Writes the same behind a text, without a value in between.
pub fn write<M: Named>(message: &M, text: &mut String) {
    let mut bytes = std::mem::take(text).into_bytes();
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let options = SerializeOptions::new();
    dynamic(message).serialize_with_options(&mut serializer, &options).expect("a message has a JSON form");
    *text = String::from_utf8(bytes).expect("JSON is text");
}

fn dynamic<M: Named>(message: &M) -> DynamicMessage {
    let descriptor = POOL
        .get_message_by_name(&format!("netcheck.v1.{}", M::NAME))
        .expect("every named message is in the descriptor set");
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes by its own descriptor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_proto3_mapping() {
        let report = v1::Report {
            generated_at: Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }),
            range: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            unreachable: 3,
            findings: vec![v1::Finding {
                verdict: v1::Verdict::Unreachable.into(),
                loss: Some(v1::LocatedLoss::default()),
                ..Default::default()
            }],
            ..Default::default()
        };
        let expected = serde_json::json!({
            "generatedAt": "1970-01-01T00:00:01.500Z",
            "range": "10s",
            "unreachable": "3",
            "findings": [{"verdict": "VERDICT_UNREACHABLE", "loss": {}}],
        });
        assert_eq!(value(&report), expected);
        let mut text = "before".to_owned();
        write(&report, &mut text);
        let written: serde_json::Value = serde_json::from_str(text.trim_start_matches("before")).unwrap();
        assert_eq!(written, expected);
    }
}
