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
    GetPathResponse,
    GetReportResponse,
    ListIncidentsResponse,
    ListNodesResponse,
    ListTargetsResponse,
    Report,
);

/// The message as JSON. Fields that have no value are left out, 64-bit numbers are strings, as the mapping has it.
#[must_use]
pub fn value<M: Named>(message: &M) -> serde_json::Value {
    let descriptor = POOL
        .get_message_by_name(&format!("netcheck.v1.{}", M::NAME))
        .expect("every named message is in the descriptor set");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes by its own descriptor");
    let options = SerializeOptions::new();
    dynamic.serialize_with_options(Serializer, &options).expect("a message has a JSON form")
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
    }
}
