//! A label selector as people write it for `kubectl get -l`: `app=web,tier in (front,back),!legacy`. Pure.
//! See <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// Reads a selector.
///
/// # Errors
/// Says in one line which part is none.
pub fn parse(text: &str) -> Result<Selector, String> {
    let mut selector = Selector::default();
    for part in split(text)? {
        selector.extend(requirement(part).map_err(|why| format!("`{}`: {why}", part.trim()))?);
    }
    Ok(selector)
}

/// Its parts: what commas outside of brackets stand between.
fn split(text: &str) -> Result<Vec<&str>, String> {
    if text.trim().is_empty() {
        return Err("is empty, and would select everything: say --services all for that".to_owned());
    }
    let (mut parts, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, symbol) in text.char_indices() {
        match symbol {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err("has a bracket too many".to_owned()),
            ',' if !inside => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("lacks a closing bracket".to_owned());
    }
    parts.push(&text[from..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Expression, String> {
    let part = part.trim();
    if let Some(name) = part.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(key(name)?));
    }
    if let Some((name, text)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value(text)?));
    }
    if let Some((name, text)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Expression::Equal(key(name)?, value(text)?));
    }
    let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) else {
        return Ok(Expression::Exists(key(part)?));
    };
    let values = values.split(',').map(value).collect::<Result<BTreeSet<String>, String>>()?;
    let mut words = head.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(name), Some("in"), None) => Ok(Expression::In(key(name)?, values)),
        (Some(name), Some("notin"), None) => Ok(Expression::NotIn(key(name)?, values)),
        _ => Err("expected KEY in (A,B) or KEY notin (A,B)".to_owned()),
    }
}

/// `[PREFIX/]NAME`.
fn key(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (prefix, name) = text.rsplit_once('/').unwrap_or(("a", text));
    let domain = prefix.len() <= 253
        && prefix.split('.').all(|label| !label.is_empty() && is_plain(label) && !label.contains(['_', '.']));
    if domain && (1..=63).contains(&name.len()) && is_plain(name) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not the name of a label"))
    }
}

fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.len() <= 63 && is_plain(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not the value of a label"))
    }
}

/// Letters, digits, `-`, `_` and `.`, the first and last of which is a letter or digit; or nothing.
fn is_plain(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    ends(text.bytes().next())
        && ends(text.bytes().next_back())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
