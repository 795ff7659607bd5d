//! The paths of a Rust source that lead to another folder of its crate.
//!
//! In: the source's text, and the module that it is. Out: for each path that begins at the crate's root, by `crate::` or
//! by as many `super::` as lead there, the first name after the root. Names of the module's own folder are among them.

use std::str::FromStr as _;

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path to a folder of the crate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// From 1.
    pub(crate) line: usize,
    /// The first name after the crate's root; `*` for everything in it.
    pub(crate) folder: String,
}

/// All such paths, in the order of the text.
///
/// # Errors
/// The text is no Rust.
pub(crate) fn imports(text: &str, module: &[String]) -> Result<Vec<Import>> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let mut found = Vec::new();
    scan(tokens, module, &mut found);
    Ok(found)
}

/// The lines at which the messages of the contract are named: `netcheck_proto::v1`, alone or in a group.
///
/// # Errors
/// The text is no Rust.
pub(crate) fn messages(text: &str) -> Result<Vec<usize>> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{error}"))?;
    let mut lines = Vec::new();
    scan_messages(tokens, &mut lines);
    Ok(lines)
}

fn scan_messages(tokens: TokenStream, lines: &mut Vec<usize>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if inline_module(&tokens[at..]).is_some_and(|(name, _)| name == "tests") {
            at += 3;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => scan_messages(group.stream(), lines),
            TokenTree::Ident(word)
                if word == "netcheck_proto" && is_colons(tokens.get(at + 1), tokens.get(at + 2)) =>
            {
                let mut named = Vec::new();
                first_names(&tokens[at + 3..], &mut named);
                lines.extend(named.into_iter().filter(|name| name.folder == "v1").map(|name| name.line));
                at += 2;
            }
            _ => {}
        }
        at += 1;
    }
}

fn scan(tokens: TokenStream, module: &[String], found: &mut Vec<Import>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((name, body)) = inline_module(&tokens[at..]) {
            if name != "tests" {
                let inner: Vec<String> = module.iter().cloned().chain([name]).collect();
                scan(body, &inner, found);
            }
            at += 3;
        } else if let Some((depth, length)) = root_path(&tokens[at..], module.len()) {
            at += length;
            if depth == 0 {
                first_names(&tokens[at..], found);
            }
        } else {
            if let TokenTree::Group(group) = &tokens[at] {
                scan(group.stream(), module, found);
            }
            at += 1;
        }
    }
}

/// `mod name { … }`: its name and body.
fn inline_module(tokens: &[TokenTree]) -> Option<(String, TokenStream)> {
    let [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..] = tokens else {
        return None;
    };
    (word == "mod" && body.delimiter() == Delimiter::Brace).then(|| (name.to_string(), body.stream()))
}

/// `crate::`, `self::` or a chain of `super::` in a module of this depth: the depth of the module that the path goes on
/// from (0 is the crate's root), and how many tokens these words are.
fn root_path(tokens: &[TokenTree], depth: usize) -> Option<(usize, usize)> {
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(word)) if is_colons(tokens.get(at + 1), tokens.get(at + 2)) => {
            Some(word.to_string())
        }
        _ => None,
    };
    let mut depth = match word(0)?.as_str() {
        "crate" => 0,
        "self" => depth,
        "super" => depth.saturating_sub(1),
        _ => return None,
    };
    let mut length = 3;
    while word(length).is_some_and(|word| word == "super") {
        depth = depth.saturating_sub(1);
        length += 3;
    }
    Some((depth, length))
}

fn is_colons(first: Option<&TokenTree>, second: Option<&TokenTree>) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':');
    colon(first) && colon(second)
}

/// The name at the begin of `tokens`, or each name at the begin of an element of the group there.
fn first_names(tokens: &[TokenTree], found: &mut Vec<Import>) {
    let Some(first) = tokens.first() else { return };
    if let TokenTree::Group(group) = first {
        let elements: Vec<TokenTree> = group.stream().into_iter().collect();
        for element in elements.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ',')) {
            first_names(element, found);
        }
    } else {
        found.push(Import { line: first.span().start().line, folder: first.to_string() });
    }
}
