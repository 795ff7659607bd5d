//! A query → the bytes of a request's message.

use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};
use prost_types::{Duration, Timestamp};
use thiserror::Error;

use super::{Operation, Parameter, message_of, words};
use crate::instant::{self, NoInstant};

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// A parameter that the call has not.
    #[error("no parameter {name:?}: there are {known}")]
    Unknown {
        /// Its name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A parameter that takes one value has several.
    #[error("{name}: given twice")]
    Twice {
        /// Its name.
        name: String,
    },
    /// One that must be there is not.
    #[error("{name}: missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Its value makes no sense.
    #[error("{name}: {value:?} is not {wanted}")]
    Value {
        /// Its name.
        name: String,
        /// What it said.
        value: String,
        /// What it should be.
        wanted: Wanted,
    },
}

/// What a parameter's value should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wanted {
    /// A string that is not empty.
    #[error("a name")]
    Name,
    /// A boolean.
    #[error("true or false")]
    Bool,
    /// A number of 32 bits.
    #[error("a number from 0 to 4294967295")]
    Uint32,
    /// A number of 64 bits.
    #[error("a number, 0 or more")]
    Uint64,
    /// A value of an enum, by its word.
    #[error("one of {}", known.join(", "))]
    Word {
        /// All its words.
        known: Vec<String>,
    },
    /// A length of time that is not 0.
    #[error("a duration, as in 30s")]
    Duration,
    /// A moment.
    #[error("an instant: {NoInstant}")]
    Instant,
    /// Something that holds other parameters.
    #[error("a selector")]
    Selector,
    /// A message, as the contract has it.
    #[error("a message")]
    Message,
    /// A type that no query can express.
    #[error("a parameter: {kind} can't be said in a query")]
    Inexpressible {
        /// The type.
        kind: String,
    },
}

/// The request that a query asks for. `now` is what instants like `2h` are before.
///
/// # Errors
/// What is wrong with the query, by the name of the parameter.
pub fn of(operation: &Operation, query: &[(String, String)], now: Timestamp) -> Result<Vec<u8>, QueryError> {
    let parameters = operation.parameters();
    let mut request = DynamicMessage::new(operation.descriptor().input());
    let mut given: Vec<&str> = Vec::new();
    for (name, text) in query {
        let found = parameters.iter().find(|parameter| parameter.name == *name);
        let parameter = found.ok_or_else(|| unknown(name, &parameters))?;
        if given.contains(&name.as_str()) && !parameter.field.is_list() {
            return Err(QueryError::Twice { name: name.clone() });
        }
        given.push(name);
        set(&mut request, parameter, text, now)?;
    }
    let missing = |parameter: &&Parameter| parameter.required && !given.contains(&parameter.name.as_str());
    match parameters.iter().find(missing) {
        Some(parameter) => Err(QueryError::Missing { name: parameter.name.clone() }),
        None => Ok(request.encode_to_vec()),
    }
}

fn unknown(name: &str, parameters: &[Parameter]) -> QueryError {
    let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    QueryError::Unknown { name: name.to_owned(), known }
}

fn set(
    request: &mut DynamicMessage,
    parameter: &Parameter,
    text: &str,
    now: Timestamp,
) -> Result<(), QueryError> {
    let field = &parameter.field;
    let wrong = |value: &str, wanted| QueryError::Value {
        name: parameter.name.clone(),
        value: value.to_owned(),
        wanted,
    };
    let message = match &parameter.within {
        Some(outer) => match request.get_field_mut(outer) {
            Value::Message(inner) => inner,
            _ => return Err(wrong(text, Wanted::Selector)),
        },
        None => request,
    };
    if field.is_list() {
        // Names that nobody has are left out, as are lists of nothing.
        let names = field.kind() == Kind::String || text.is_empty();
        for part in text.split(',').filter(|part| !(names && part.is_empty())) {
            let value = value(field, part, now).map_err(|wanted| wrong(part, wanted))?;
            if let Value::List(list) = message.get_field_mut(field) {
                list.push(value);
            }
        }
    } else {
        let value = value(field, text, now).map_err(|wanted| wrong(text, wanted))?;
        message.set_field(field, value);
    }
    Ok(())
}

/// One value; else what it should be.
fn value(field: &FieldDescriptor, text: &str, now: Timestamp) -> Result<Value, Wanted> {
    match field.kind() {
        Kind::String if text.is_empty() => Err(Wanted::Name),
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bool => text.parse().map(Value::Bool).map_err(|_| Wanted::Bool),
        Kind::Uint32 => text.parse().map(Value::U32).map_err(|_| Wanted::Uint32),
        Kind::Uint64 => text.parse().map(Value::U64).map_err(|_| Wanted::Uint64),
        Kind::Enum(of) => {
            let words = words(&of);
            let found = words.iter().find(|(word, _)| word == text);
            let known = || words.iter().map(|(word, _)| word.clone()).collect();
            found.map(|&(_, number)| Value::EnumNumber(number)).ok_or_else(|| Wanted::Word { known: known() })
        }
        Kind::Message(_) => well_known(field, text, now),
        other => Err(Wanted::Inexpressible { kind: format!("{other:?}") }),
    }
}

fn well_known(field: &FieldDescriptor, text: &str, now: Timestamp) -> Result<Value, Wanted> {
    let Some(descriptor) = message_of(field) else { return Err(Wanted::Message) };
    let mut message = DynamicMessage::new(descriptor.clone());
    let taken = match descriptor.full_name() {
        "google.protobuf.Duration" => {
            let length = humantime::parse_duration(text).ok().filter(|length| !length.is_zero());
            let length = length.and_then(|length| Duration::try_from(length).ok());
            message.transcode_from(&length.ok_or(Wanted::Duration)?)
        }
        "google.protobuf.Timestamp" => {
            let instant = instant::parse(text, now).map_err(|NoInstant| Wanted::Instant)?;
            message.transcode_from(&instant)
        }
        other => return Err(Wanted::Inexpressible { kind: other.to_owned() }),
    };
    taken.map_err(|_| Wanted::Message)?;
    Ok(Value::Message(message))
}

#[cfg(test)]
mod tests {
    use super::super::OPERATIONS;
    use super::*;
    use crate::v1;

    fn ask(path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, QueryError> {
        let operation = OPERATIONS.iter().find(|one| one.path == path).unwrap();
        let query: Vec<(String, String)> =
            query.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        of(operation, &query, Timestamp { seconds: 10_000, nanos: 0 })
    }

    #[test]
    fn a_query_becomes_the_request() {
        let query = [
            ("source", "n1,n2"),
            ("kind", "udp"),
            ("kind", "tcp"),
            ("range", "30s"),
            ("at", "1h"),
            ("target", ","),
        ];
        let bytes = ask("/api/v1/matrix", &query).unwrap();
        let request = v1::GetMatrixRequest::decode(bytes.as_slice()).unwrap();
        let selector = request.selector.unwrap();
        assert_eq!(selector.sources, ["n1", "n2"]);
        assert_eq!(selector.kinds, [v1::ProbeKind::Udp as i32, v1::ProbeKind::Tcp as i32]);
        assert!(selector.targets.is_empty());
        assert_eq!(request.range, Some(Duration { seconds: 30, nanos: 0 }));
        assert_eq!(request.at, Some(Timestamp { seconds: 6_400, nanos: 0 }));
        let bytes = ask("/api/v1/path", &[("source", "n1"), ("target", "n2"), ("vantage", "pod")]).unwrap();
        let request = v1::GetPathRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!((request.source.as_str(), request.target.as_str()), ("n1", "n2"));
        assert_eq!(request.selector.unwrap().vantages, [v1::Vantage::Pod as i32]);
        let bytes = ask("/api/v1/events", &[("limit", "7"), ("kind", "incident")]).unwrap();
        assert_eq!(v1::ListEventsRequest::decode(bytes.as_slice()).unwrap().limit, 7);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (path, query, words) in [
            ("/api/v1/nodes", vec![("x", "1")], "no parameter \"x\": there are none"),
            ("/api/v1/matrix", vec![("range", "0s")], "range: \"0s\" is not a duration"),
            (
                "/api/v1/matrix",
                vec![("kind", "quic")],
                "kind: \"quic\" is not one of icmp, udp, tcp, dns, http",
            ),
            ("/api/v1/matrix", vec![("kind", "udp,")], "kind: \"\" is not one of icmp"),
            ("/api/v1/matrix", vec![("range", "1s"), ("range", "2s")], "range: given twice"),
            ("/api/v1/incidents", vec![("closed", "yes")], "closed: \"yes\" is not true or false"),
            ("/api/v1/path", vec![("source", "n1")], "target: missing"),
            ("/api/v1/path", vec![("source", ""), ("target", "n2")], "source: \"\" is not a name"),
            ("/api/v1/events", vec![("limit", "-1")], "limit: \"-1\" is not a number"),
            ("/api/v1/report", vec![("at", "soon")], "at: \"soon\" is not an instant"),
        ] {
            let error = ask(path, &query).unwrap_err().to_string();
            assert!(error.starts_with(words), "{path} {query:?}: {error}");
        }
    }
}
