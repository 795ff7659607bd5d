//! A label selector as people write it for `kubectl get -l`: `app=web,tier in (front,back),!legacy`. Pure.
//! See <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.

use std::collections::{BTreeMap, BTreeSet};

/// Why a text is no label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is nothing.
    #[error("is empty, and would select everything: say --services all for that")]
    Empty,
    /// A bracket opens within brackets, or closes what never opened.
    #[error("has a bracket too many")]
    BracketTooMany,
    /// A bracket is not closed.
    #[error("lacks a closing bracket")]
    Unclosed,
    /// What stands before the brackets.
    #[error("expected KEY in (A,B) or KEY notin (A,B)")]
    Operator,
    /// No label is called so.
    #[error("{0:?} is not the name of a label")]
    Name(String),
    /// No label has this value.
    #[error("{0:?} is not the value of a label")]
    Value(String),
    /// One of the requirements is none.
    #[error("`{part}`: {source}")]
    Part {
        /// Which.
        part: String,
        /// Why.
        source: Box<LabelError>,
    },
}

/// What labels must be like; all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<(String, Requirement)>,
}

/// What one label must be like. As in Kubernetes, an absent label is not equal to any value and in no set.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists,
    DoesNotExist,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
}

impl LabelSelector {
    /// Whether these labels meet all requirements.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|(key, requirement)| match (requirement, labels.get(key)) {
            (Requirement::Exists, found) => found.is_some(),
            (Requirement::DoesNotExist, found) => found.is_none(),
            (Requirement::In(values), found) => found.is_some_and(|found| values.contains(found)),
            (Requirement::NotIn(values), found) => found.is_none_or(|found| !values.contains(found)),
        })
    }
}

/// Reads a selector.
///
/// # Errors
/// Says in one line which part is none.
pub fn parse(text: &str) -> Result<LabelSelector, LabelError> {
    let mut selector = LabelSelector::default();
    for part in split(text)? {
        let requirement = requirement(part)
            .map_err(|source| LabelError::Part { part: part.trim().to_owned(), source: Box::new(source) })?;
        selector.requirements.push(requirement);
    }
    Ok(selector)
}

/// Its parts: what commas outside of brackets stand between.
fn split(text: &str) -> Result<Vec<&str>, LabelError> {
    if text.trim().is_empty() {
        return Err(LabelError::Empty);
    }
    let (mut parts, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, symbol) in text.char_indices() {
        match symbol {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(LabelError::BracketTooMany),
            ',' if !inside => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(LabelError::Unclosed);
    }
    parts.push(&text[from..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<(String, Requirement), LabelError> {
    let part = part.trim();
    let one = |text: &str| Ok(BTreeSet::from([value(text)?]));
    if let Some(name) = part.strip_prefix('!') {
        return Ok((key(name)?, Requirement::DoesNotExist));
    }
    if let Some((name, text)) = part.split_once("!=") {
        return Ok((key(name)?, Requirement::NotIn(one(text)?)));
    }
    if let Some((name, text)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok((key(name)?, Requirement::In(one(text)?)));
    }
    let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) else {
        return Ok((key(part)?, Requirement::Exists));
    };
    let values = values.split(',').map(value).collect::<Result<BTreeSet<String>, LabelError>>()?;
    let mut words = head.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(name), Some("in"), None) => Ok((key(name)?, Requirement::In(values))),
        (Some(name), Some("notin"), None) => Ok((key(name)?, Requirement::NotIn(values))),
        _ => Err(LabelError::Operator),
    }
}

/// `[PREFIX/]NAME`.
fn key(text: &str) -> Result<String, LabelError> {
    let text = text.trim();
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("a", text));
    let domain = prefix.len() <= 253
        && prefix.split('.').all(|label| !label.is_empty() && is_plain(label) && !label.contains(['_', '.']));
    if domain && (1..=63).contains(&name.len()) && is_plain(name) {
        Ok(text.to_owned())
    } else {
        Err(LabelError::Name(text.to_owned()))
    }
}

fn value(text: &str) -> Result<String, LabelError> {
    let text = text.trim();
    if text.len() <= 63 && is_plain(text) {
        Ok(text.to_owned())
    } else {
        Err(LabelError::Value(text.to_owned()))
    }
}

/// Letters, digits, `-`, `_` and `.`, the first and last of which is a letter or digit; or nothing.
fn is_plain(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
