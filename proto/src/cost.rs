//! What a message costs in memory once it is decoded, from its bytes alone.
//!
//! Two bytes on the wire can be an empty submessage of seven hundred bytes in memory, so that a message of 4 MiB decodes to
//! more than a gigabyte. So whoever takes messages from others counts first: [`Costs::of`] goes over the bytes once,
//! without memory of its own, and stops where the budget is spent. Sizes are those of the generated structs, by the
//! descriptor set, rounded up. The same look over the bytes shows whether any text among them has characters that a
//! terminal obeys; [`Costs::clean`] takes these out.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::{text, v1};

/// A `String` or a `Vec`.
const POINTERS: u64 = 24;
/// A number, with what says whether it is there.
const NUMBER: u64 = 16;
/// A vector that grows is twice as long as what is in it, at worst.
const GROWTH: u64 = 2;
/// Deeper than any message of the contract nests; decoding refuses what is deeper than 100.
const DEPTH: u32 = 32;

/// Of one field, what counts.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// Bytes or packed numbers: its length, and this many bytes in memory for each on the wire.
    Bytes(u64),
    /// Text.
    Text,
    /// A message of this number.
    Message(usize),
}

#[derive(Debug, Default)]
struct Shape {
    bytes: u64,
    fields: HashMap<u32, Content>,
}

/// The messages of a contract, and what each costs.
#[derive(Debug)]
pub struct Costs {
    shapes: Vec<Shape>,
    numbers: HashMap<String, usize>,
}

/// Of `netcheck.v1`.
pub static COSTS: LazyLock<Costs> = LazyLock::new(|| Costs::read(v1::FILE_DESCRIPTOR_SET));

/// It costs more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {wire_bytes} bytes that takes more than {budget_bytes} bytes of memory")]
pub struct TooCostly {
    /// Its length.
    pub wire_bytes: usize,
    /// What it may take.
    pub budget_bytes: u64,
}

impl Costs {
    /// Reads a descriptor set. One that does not hold together costs nothing; ours is built with the program.
    fn read(set: &[u8]) -> Self {
        let files = FileDescriptorSet::decode(set).unwrap_or_default().file;
        let mut all: Vec<(String, DescriptorProto)> = Vec::new();
        for file in files {
            let package = file.package().to_owned();
            file.message_type.into_iter().for_each(|message| collect(&package, message, &mut all));
        }
        let numbers: HashMap<String, usize> =
            all.iter().enumerate().map(|(number, (name, _))| (name.clone(), number)).collect();
        let mut sizes = vec![None; all.len()];
        for number in 0..all.len() {
            size(number, &all, &numbers, &mut sizes, 0);
        }
        let shape = |(number, (_, message)): (usize, &(String, DescriptorProto))| Shape {
            bytes: sizes[number].unwrap_or(NUMBER),
            fields: message
                .field
                .iter()
                .filter_map(|field| {
                    let content = match field.r#type() {
                        Type::Message | Type::Group => {
                            Content::Message(*numbers.get(field.type_name().trim_start_matches('.'))?)
                        }
                        Type::String => Content::Text,
                        Type::Bytes => Content::Bytes(1),
                        // Of packed numbers, one byte each at the least.
                        _ => Content::Bytes(8),
                    };
                    Some((field.number() as u32, content))
                })
                .collect(),
        };
        Self { shapes: all.iter().enumerate().map(shape).collect(), numbers }
    }

    /// What a message of this name takes in memory. Bytes that are no such message cost what comes before the fault:
    /// decoding refuses them.
    ///
    /// # Errors
    /// It is more than the budget.
    pub fn of(&self, name: &str, wire: &[u8], budget_bytes: u64) -> Result<Counted, TooCostly> {
        let mut counted = Counted { bytes: wire.len() as u64, obeyed: false };
        let Some(&number) = self.numbers.get(name) else { return Ok(counted) };
        counted.bytes = self.shapes[number].bytes;
        let within = self.walk(number, wire, 0, &mut |found| {
            match found {
                Found::Number => counted.bytes += NUMBER,
                Found::Bytes(length, each) => counted.bytes += POINTERS * GROWTH + length * each,
                Found::Text(text) => {
                    counted.bytes += POINTERS * GROWTH + text.len() as u64;
                    counted.obeyed |= text::has_obeyed(text);
                }
                Found::Message(bytes) => counted.bytes += bytes * GROWTH,
            }
            counted.bytes <= budget_bytes
        });
        if within && counted.bytes <= budget_bytes {
            return Ok(counted);
        }
        Err(TooCostly { wire_bytes: wire.len(), budget_bytes })
    }

    /// Takes the characters that a terminal obeys out of every text of a message, in place: others of the same length
    /// stand there instead.
    pub fn clean(&self, name: &str, wire: &mut [u8]) {
        let Some(&number) = self.numbers.get(name) else { return };
        let begin = wire.as_ptr() as usize;
        let mut texts = Vec::new();
        self.walk(number, wire, 0, &mut |found| {
            if let Found::Text(text) = found
                && text::has_obeyed(text)
            {
                let at = text.as_ptr() as usize - begin;
                texts.push(at..at + text.len());
            }
            true
        });
        texts.into_iter().for_each(|at| text::take_out(&mut wire[at]));
    }

    /// Shows all that is in a message, until it is told to stop: then it returns false.
    fn walk<'a>(
        &self,
        number: usize,
        mut wire: &'a [u8],
        depth: u32,
        show: &mut impl FnMut(Found<'a>) -> bool,
    ) -> bool {
        while !wire.is_empty() {
            let Some(key) = varint(&mut wire) else { return true };
            let length = match key & 7 {
                0 => {
                    if varint(&mut wire).is_none() {
                        return true;
                    }
                    if !show(Found::Number) {
                        return false;
                    }
                    continue;
                }
                1 => Some(8),
                5 => Some(4),
                2 => varint(&mut wire),
                // Groups are in none of our messages.
                _ => None,
            };
            let inner = length.and_then(|length| wire.split_at_checked(usize::try_from(length).ok()?));
            let Some((inner, rest)) = inner else { return true };
            wire = rest;
            let field = u32::try_from(key >> 3).ok();
            let goes_on = match field.and_then(|field| self.shapes[number].fields.get(&field)) {
                Some(&Content::Message(of)) => {
                    show(Found::Message(self.shapes[of].bytes))
                        && (depth >= DEPTH || self.walk(of, inner, depth + 1, show))
                }
                Some(&Content::Bytes(each)) => show(Found::Bytes(inner.len() as u64, each)),
                Some(Content::Text) => show(Found::Text(inner)),
                // Unknown fields are passed over.
                None => true,
            };
            if !goes_on {
                return false;
            }
        }
        true
    }
}

/// What a message comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Bytes of memory.
    pub bytes: u64,
    /// Some text of it has characters that a terminal obeys.
    pub obeyed: bool,
}

/// What is found in a message's bytes.
enum Found<'a> {
    Number,
    /// How long, and how many bytes of memory each of them is.
    Bytes(u64, u64),
    Text(&'a [u8]),
    /// A submessage that takes so much, without what is in it.
    Message(u64),
}

fn collect(prefix: &str, message: DescriptorProto, into: &mut Vec<(String, DescriptorProto)>) {
    let name = format!("{prefix}.{}", message.name());
    for nested in message.nested_type.clone() {
        collect(&name, nested, into);
    }
    into.push((name, message));
}

/// The struct of a message: what is in it once stands in it, what is in it more often behind a pointer.
fn size(
    number: usize,
    all: &[(String, DescriptorProto)],
    numbers: &HashMap<String, usize>,
    sizes: &mut [Option<u64>],
    depth: u32,
) -> u64 {
    if let Some(known) = sizes[number] {
        return known;
    }
    let field = |field: &prost_types::FieldDescriptorProto, sizes: &mut [Option<u64>]| {
        if field.label() == Label::Repeated {
            return POINTERS;
        }
        match field.r#type() {
            Type::Message | Type::Group => match numbers.get(field.type_name().trim_start_matches('.')) {
                Some(&of) if of != number && depth < DEPTH => 8 + size(of, all, numbers, sizes, depth + 1),
                _ => POINTERS,
            },
            Type::String | Type::Bytes => POINTERS,
            _ => NUMBER,
        }
    };
    let (mut plain, mut choices) = (0, HashMap::<i32, u64>::new());
    for one in &all[number].1.field {
        let bytes = field(one, sizes);
        match one.oneof_index {
            Some(choice) => {
                let largest = choices.entry(choice).or_default();
                *largest = bytes.max(*largest);
            }
            None => plain += bytes,
        }
    }
    let bytes = plain + choices.values().sum::<u64>();
    sizes[number] = Some(bytes);
    bytes
}

/// A base-128 number; none where the bytes end, or it does not.
fn varint(wire: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = wire.split_first()?;
        *wire = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_reflect::{DescriptorPool, DynamicMessage, Kind, ReflectMessage as _, Value};

    use super::*;

    const NAME: &str = "netcheck.v1.SessionRequest";

    fn batch(batch: v1::SampleBatch) -> Vec<u8> {
        let message = Some(v1::session_request::Message::Batch(batch));
        v1::SessionRequest { message }.encode_to_vec()
    }

    #[test]
    fn structs_are_about_as_large_as_they_are() {
        for (name, bytes) in [
            ("LostSample", size_of::<v1::LostSample>()),
            ("DropRecord", size_of::<v1::DropRecord>()),
            ("HookStatus", size_of::<v1::HookStatus>()),
            ("AgentStatus", size_of::<v1::AgentStatus>()),
            ("SessionRequest", size_of::<v1::SessionRequest>()),
        ] {
            let number = COSTS.numbers[&format!("netcheck.v1.{name}")];
            let counted = COSTS.shapes[number].bytes as usize;
            assert!((bytes..=bytes * 3 + 32).contains(&counted), "{name}: {counted} for {bytes}");
        }
    }

    #[test]
    fn two_bytes_each_are_counted_as_what_they_become() {
        let lost = vec![v1::LostSample::default(); 2_000_000];
        let wire = batch(v1::SampleBatch { lost, ..Default::default() });
        assert!(wire.len() < 4 << 20);
        let cost = COSTS.of(NAME, &wire, u64::MAX).unwrap().bytes;
        assert!(cost as usize >= 2_000_000 * size_of::<v1::LostSample>(), "{cost}");
        assert!(COSTS.of(NAME, &wire, 64 << 20).is_err());
        let hooks = vec![v1::HookStatus::default(); 2_000_000];
        let status = v1::AgentStatus { hooks, ..Default::default() };
        let message = Some(v1::session_request::Message::Status(status));
        let wire = v1::SessionRequest { message }.encode_to_vec();
        assert!(COSTS.of(NAME, &wire, 64 << 20).is_err());
        // Windows are packed: 200,000 samples of one batch stay what they are.
        let column = v1::WindowBatch { sent: vec![300; 200_000], ..Default::default() };
        let wire = batch(v1::SampleBatch { windows: vec![column], ..Default::default() });
        assert!(COSTS.of(NAME, &wire, 16 << 20).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted_and_none_are_followed_without_end(wire: Vec<u8>) {
            let _ = COSTS.of(NAME, &wire, 1 << 20);
            let mut cleaned = wire;
            COSTS.clean(NAME, &mut cleaned);
        }

        #[test]
        fn what_is_taken_out_is_as_long_as_what_stands_there(text: String) {
            let mut bytes = text.clone().into_bytes();
            text::take_out(&mut bytes);
            let cleaned = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(cleaned.chars().count(), text.chars().count());
            prop_assert!(!text::has_obeyed(cleaned.as_bytes()));
        }
    }

    /// Fills every text of a message, and of all in it.
    fn fill(message: &mut DynamicMessage, depth: u32) {
        for field in message.descriptor().fields() {
            let value = match field.kind() {
                Kind::String => Value::String(OBEYED.to_owned()),
                Kind::Message(of) if depth < 6 => {
                    let mut inner = DynamicMessage::new(of);
                    fill(&mut inner, depth + 1);
                    Value::Message(inner)
                }
                _ => continue,
            };
            message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
    }

    const OBEYED: &str = "a\x1b[2Jb\u{9b}31m\u{202e}c\r\n";

    #[test]
    fn no_text_of_the_contract_reaches_a_terminal_as_it_came() {
        let pool = DescriptorPool::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let mut texts = 0;
        for descriptor in pool.all_messages().filter(|one| one.full_name().starts_with("netcheck.")) {
            let name = descriptor.full_name().to_owned();
            // One choice after the other, for only the last of them stays.
            for field in descriptor.fields() {
                let mut whole = DynamicMessage::new(descriptor.clone());
                fill(&mut whole, 0);
                let mut one = DynamicMessage::new(descriptor.clone());
                if whole.has_field(&field) {
                    one.set_field(&field, whole.get_field(&field).into_owned());
                } else if let Kind::Message(of) = field.kind() {
                    let mut inner = DynamicMessage::new(of);
                    fill(&mut inner, 1);
                    let value = Value::Message(inner);
                    one.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
                } else if field.kind() == Kind::String {
                    one.set_field(&field, Value::String(OBEYED.to_owned()));
                }
                let mut wire = one.encode_to_vec();
                let had = wire.windows(4).any(|bytes| bytes == b"\x1b[2J");
                assert_eq!(COSTS.of(&name, &wire, u64::MAX).unwrap().obeyed, had, "{name}.{}", field.name());
                COSTS.clean(&name, &mut wire);
                assert!(!wire.contains(&0x1b), "{name}.{}", field.name());
                let cleaned = DynamicMessage::decode(descriptor.clone(), wire.as_slice()).unwrap();
                assert!(!format!("{cleaned:?}").contains("\\u{202e}"), "{name}.{}", field.name());
                texts += u32::from(had);
            }
        }
        assert!(texts > 100, "{texts}");
    }
}
