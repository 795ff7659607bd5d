//! A text → the objects in it, each with its place: lists within lists, several documents, JSON values one after the
//! other (as `kubectl get --watch -o json` and tools that write a line for each object have it). Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::COMMAND;
use super::surrogates;
use super::tree::Tree;
use super::yaml::{Parsed, yaml};

/// What `kubectl cluster-info dump` writes before each container's log.
const DUMPED_LOG: &str = "==== START logs for container";
/// What files keep at the begin of a part that was a file of its own, and at their end (DOS).
const MARKS: [char; 2] = ['\u{feff}', '\u{1a}'];

/// How lines begin that kubectl writes in place of what it could not list (`2>&1`).
const REFUSALS: [&str; 6] = [
    "Error from server",
    "error: ",
    "No resources found",
    "Unable to connect to the server",
    "The connection to the server ",
    "You must be logged in to the server",
];

/// Groups whose objects are read.
const GROUPS: [&str; 4] = ["", "discovery.k8s.io", "networking.k8s.io", "gateway.networking.k8s.io"];

/// An object, or what stands in its place.
pub(super) struct Placed {
    /// `items[3]`, `document 2, items[0]`.
    pub(super) place: String,
    /// `v1`, as the object or its list says; empty where neither does.
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) tree: Tree,
}

/// What is in a text.
#[derive(Default)]
pub(super) struct Documents {
    pub(super) objects: Vec<Placed>,
    /// What is no object, or no document, or not whole, one line each.
    pub(super) broken: Vec<String>,
    /// How many objects lists say that they have not, at least.
    pub(super) missing: u64,
    /// By kind and version of the list: the last part of it, where that says that there are more.
    parts: BTreeMap<(String, String), Option<Part>>,
}

/// A list that is not whole.
struct Part {
    place: String,
    /// Objects that are not in it, where it says so.
    more: Option<u64>,
}

/// Why there are no objects in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoObjects {
    /// It can't be parsed.
    Syntax(String),
    /// It is something else.
    Other(String),
    /// It is a dump of the cluster.
    Dump,
}

impl Documents {
    /// Reads a text.
    pub(super) fn read(text: &str) -> Result<Self, NoObjects> {
        if text.match_indices(DUMPED_LOG).any(|(at, _)| at == 0 || text.as_bytes()[at - 1] == b'\n') {
            return Err(NoObjects::Dump);
        }
        let (text, said) = without_remarks(text);
        let (documents, broken) = parse(&text);
        if documents.is_empty()
            && let Some((_, why)) = broken.first()
        {
            return Err(NoObjects::Syntax(why.clone()));
        }
        let many = documents.len() + broken.len() > 1;
        if let ([(_, only)], false) = (documents.as_slice(), many)
            && let Some(found) = no_list(only)
        {
            return Err(NoObjects::Other(found));
        }
        if documents.is_empty() {
            let said = said.first().map(|line| format!("what kubectl says without one ({line})"));
            return Err(NoObjects::Other(said.unwrap_or_else(|| "nothing".to_owned())));
        }
        let mut read = Self::default();
        let of_kubectl =
            |line| format!("file has an error of kubectl, so that objects may be missing: {line}");
        read.broken.extend(said.into_iter().map(of_kubectl));
        read.broken
            .extend(broken.into_iter().map(|(number, why)| format!("document {number} is broken: {why}")));
        for (number, tree) in documents {
            let place = if many { format!("document {number}") } else { String::new() };
            read.add(tree, place, None);
        }
        read.report_parts();
        Ok(read)
    }

    /// Reports lists whose rest is nowhere.
    fn report_parts(&mut self) {
        for ((kind, _), part) in std::mem::take(&mut self.parts) {
            let Some(Part { place, more }) = part else { continue };
            self.missing += more.unwrap_or(1);
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            let more = match more {
                None => "more objects".to_owned(),
                Some(1) => "1 more object".to_owned(),
                Some(more) => format!("{more} more objects"),
            };
            self.broken.push(format!(
                "{place}{kind} is not whole, the API has {more} (metadata.continue): {COMMAND}"
            ));
        }
    }

    /// Notes whether a list is whole. The API hands out long ones in parts (`limit`), of which only the last says so.
    fn note_part(&mut self, list: &Tree, kind: &str, place: &str) {
        let Some(meta) = list.get("metadata") else { return };
        let text = |key: &str| meta.get(key).and_then(Tree::as_text).unwrap_or_default();
        let more = meta.get("remainingItemCount").and_then(Tree::as_count).filter(|&more| more > 0);
        let part =
            (more.is_some() || !text("continue").is_empty()).then(|| Part { place: place.to_owned(), more });
        self.parts.insert((kind.to_owned(), text("resourceVersion").to_owned()), part);
    }

    /// Adds an object, or all of a list. `of`: version and kind that the items of its list have.
    fn add(&mut self, mut tree: Tree, place: String, of: Option<(&str, &str)>) {
        let within = |index: usize| match place.as_str() {
            "" => format!("items[{index}]"),
            place if place.starts_with("document") && !place.contains(',') => {
                format!("{place}, items[{index}]")
            }
            place => format!("{place}.items[{index}]"),
        };
        if let Tree::List(items) = tree {
            let each = items.into_iter().enumerate();
            return each.for_each(|(index, item)| self.add(item, within(index), of));
        }
        let text = |key: &str| tree.get(key).and_then(Tree::as_text).unwrap_or_default().to_owned();
        let (mut version, mut kind) = (text("apiVersion"), text("kind"));
        if let Tree::Map(entries) = &mut tree
            && is_list(&kind)
            && may_be_ours(&version)
            && let Some(at) = entries.iter().rposition(|(key, _)| key == "items")
            && (matches!(entries[at].1, Tree::List(_)) || entries[at].1.is_null())
        {
            let items = entries.swap_remove(at).1;
            self.note_part(&tree, &kind, &place);
            let Tree::List(items) = items else { return };
            let single = kind.trim_end_matches("List");
            let of = (!single.is_empty()).then_some((version.as_str(), single));
            let each = items.into_iter().enumerate();
            return each.for_each(|(index, item)| self.add(item, within(index), of));
        }
        // Objects of a typed list, as the API server has it, carry neither.
        if let (Some((its_version, its_kind)), true) = (of, tree.get("kind").is_none()) {
            kind = its_kind.to_owned();
            if version.is_empty() {
                version = its_version.to_owned();
            }
        }
        let wrong = match &tree {
            Tree::Map(_) if kind.starts_with(|first: char| first.is_ascii_alphabetic()) => None,
            Tree::Map(_) => Some("has no kind".to_owned()),
            other => Some(format!("is {}, not an object", other.what())),
        };
        match wrong {
            None => self.objects.push(Placed { place, version, kind, tree }),
            Some(wrong) => self.broken.push(format!("{place} {wrong}")),
        }
    }
}

/// The text without what kubectl says beside it (`2>&1`), and without marks of the files that it was put together from;
/// and its errors, each once. Lines stay where they are.
fn without_remarks(text: &str) -> (Cow<'_, str>, Vec<String>) {
    let is_error = |line: &str| REFUSALS.iter().any(|begin| line.starts_with(begin));
    let is_remark = |line: &str| line.starts_with("Warning: ") || is_klog(line) || is_error(line);
    let marked = |line: &str| line.starts_with(MARKS) || line.ends_with(MARKS);
    if !text.split('\n').any(|line| is_remark(line) || marked(line)) {
        return (Cow::Borrowed(text), Vec::new());
    }
    let lines = || text.split('\n').map(|line| line.trim_matches(MARKS));
    let mut said: Vec<String> = Vec::new();
    for line in lines().filter(|line| is_error(line)).map(str::trim_end) {
        if !said.iter().any(|known| known == line) {
            said.push(line.to_owned());
        }
    }
    let kept: Vec<&str> = lines().map(|line| if is_remark(line) { "" } else { line }).collect();
    (Cow::Owned(kept.join("\n")), said)
}

/// `E0312 12:00:00.000000 7 memcache.go:265] couldn't get …`: what client-go logs.
fn is_klog(line: &str) -> bool {
    let mut words = line.split(' ');
    let day = words.next().filter(|word| word.len() == 5 && word.starts_with(['I', 'W', 'E', 'F']));
    let is_time = |word: &str| word.len() == 15 && word.as_bytes()[2] == b':' && word.as_bytes()[8] == b'.';
    day.is_some_and(|day| day[1..].bytes().all(|byte| byte.is_ascii_digit()))
        && words.next().is_some_and(is_time)
        && line.contains("] ")
}

fn parse(text: &str) -> Parsed {
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml(text);
    }
    let text = &surrogates::mended(text);
    let parsed = json(text);
    if parsed.1.is_empty() {
        return parsed;
    }
    as_yaml(text).map_or(parsed, |documents| (documents, Vec::new()))
}

/// YAML begins with a bracket as well, where people write it so, and has numbers and commas that JSON has not.
fn as_yaml(text: &str) -> Option<Vec<(usize, Tree)>> {
    let (documents, broken) = yaml(text);
    let sound =
        |(_, tree): &(usize, Tree)| matches!(tree, Tree::Map(_) | Tree::List(_)) && !has_comments(tree);
    (broken.is_empty() && documents.iter().all(sound)).then_some(documents)
}

/// Whether it has comments as C has them. YAML knows none of these: they would become part of a key or of a value, and take
/// what they stand before with them.
fn has_comments(tree: &Tree) -> bool {
    let begins = |text: &str| text.starts_with("//") || text.starts_with("/*");
    match tree {
        Tree::Plain(text) => begins(text) || text.contains(" //") || text.contains(" /*"),
        Tree::List(items) => items.iter().any(has_comments),
        Tree::Map(entries) => {
            entries.iter().any(|(key, value)| begins(key) || key.contains('"') || has_comments(value))
        }
        _ => false,
    }
}

/// Whether a list of this version may hold objects that are of use. What others call items need not be objects.
fn may_be_ours(version: &str) -> bool {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    GROUPS.contains(&group)
}

fn is_list(kind: &str) -> bool {
    kind.ends_with("List")
}

/// What the only document of a file is, where it is neither a list nor an object.
fn no_list(tree: &Tree) -> Option<String> {
    let kind = tree.get("kind").and_then(Tree::as_text).unwrap_or_default();
    match tree {
        Tree::List(_) => None,
        Tree::Map(_) if kind.is_empty() => Some("something without a kind".to_owned()),
        Tree::Map(_) if !is_list(kind) => Some(format!("a {kind}")),
        Tree::Map(_) => match tree.get("items") {
            None => Some(format!("a {kind} without items")),
            Some(items) if items.is_null() || matches!(items, Tree::List(_)) => None,
            Some(other) => Some(format!("a {kind} whose items are {}", other.what())),
        },
        other => Some(other.what().to_owned()),
    }
}

/// JSON values one after the other, and what is wrong with those that are broken, with their number from 1. After a
/// broken one the next begins where a line does.
fn json(text: &str) -> Parsed {
    let (mut documents, mut broken) = (Vec::new(), Vec::new());
    let (mut at, mut number) = (0, 1);
    loop {
        let rest = &text[at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Tree>();
        match values.next() {
            None => break,
            Some(Ok(tree)) => {
                documents.push((number, tree));
                number += 1;
                at += values.byte_offset();
            }
            Some(Err(error)) => {
                let next = rest.match_indices(['{', '[']).map(|(next, _)| next);
                let mut next = next.filter(|&next| next > 0 && rest.as_bytes()[next - 1] == b'\n');
                let next = next.find(|&next| !rest[..next].trim().is_empty());
                match as_yaml(&rest[..next.unwrap_or(rest.len())]) {
                    Some(read) => {
                        for (_, tree) in read {
                            documents.push((number, tree));
                            number += 1;
                        }
                    }
                    None => {
                        broken.push((number, position(&error, text[..at].matches('\n').count())));
                        number += 1;
                    }
                }
                let Some(next) = next else { break };
                at += next;
            }
        }
    }
    (documents, broken)
}

/// What is wrong, and where in the whole text. `before`: lines before those that were read.
fn position(error: &serde_json::Error, before: usize) -> String {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    format!("{what} at line {} column {}", before + error.line(), error.column())
}
