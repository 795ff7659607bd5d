//! YAML → trees, document by document. Pure.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::tree::Tree;

/// Nodes that aliases may add to a document: each stands for all that its anchor does.
const ALIASED_MAX: usize = 10_000_000;
/// Lists and mappings within each other: as many as JSON may have here, and far more than any object has.
const DEPTH_MAX: usize = 128;

/// Keys of objects and lists that one of them has once: where one comes again in a document of its own, another begins. So
/// files are that something was appended to without `---` between.
const ONCE: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];

/// Documents, and what is wrong with those that are broken, with their number from 1.
pub(super) type Parsed = (Vec<(usize, Tree)>, Vec<(usize, String)>);

/// The documents of a YAML text, and what is wrong with those that are broken, with their number from 1.
pub(super) fn yaml(text: &str) -> Parsed {
    let options = granit_parser::options! { emit_comments: false };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let (mut documents, mut broken) = (Vec::new(), Vec::new());
    let mut document = Document::default();
    let mut number = 0;
    while let Some(next) = parser.next() {
        let wrong = match next {
            Ok((Event::DocumentStart(..), _)) => {
                number += 1;
                document = Document::default();
                continue;
            }
            Ok((Event::DocumentEnd, _)) => {
                document.finish(&mut number, &mut documents);
                continue;
            }
            Ok((event, span)) => {
                document.take(event).err().map(|why| format!("{why} at line {}", span.start.line()))
            }
            Err(error) => Some(position(&error)),
        };
        if let Some(why) = wrong {
            document.whole = None;
            document.finish(&mut number, &mut documents);
            broken.push((number.max(1), why));
            if !matches!(parser.proceed_next_document(), Ok(true)) {
                break;
            }
        }
    }
    (documents, broken)
}

fn position(error: &ScanError) -> String {
    format!("{} at line {} column {}", error.info(), error.marker().line(), error.marker().col() + 1)
}

/// What no document may have, though YAML allows it.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("an alias stands within its own anchor")]
    OwnAnchor,
    #[error("its aliases stand for more than can be held")]
    Aliases,
    #[error("more than {DEPTH_MAX} lists and mappings stand within each other")]
    Depth,
}

/// A document that is being read.
#[derive(Default)]
struct Document {
    open: Vec<Open>,
    anchors: HashMap<usize, Tree>,
    aliased: usize,
    /// What stands before `whole` without `---` between.
    earlier: Vec<Tree>,
    whole: Option<Tree>,
}

type Entries = Vec<(String, Tree)>;

/// A list or a mapping that is not complete yet.
#[derive(Default)]
struct Open {
    anchor: usize,
    items: Vec<Tree>,
    /// Of a mapping: what is complete, and the key whose value is awaited.
    map: Option<(Entries, Option<Key>)>,
    /// How many of its first entries were merged into it.
    merged: usize,
    /// It has something else in a name's stead.
    nameless: Option<&'static str>,
}

enum Key {
    Name(String),
    /// What stands in a name's stead, for people.
    Other(&'static str),
}

impl Document {
    /// Gives away what is complete, each under its number.
    fn finish(&mut self, number: &mut usize, documents: &mut Vec<(usize, Tree)>) {
        for tree in self.earlier.drain(..) {
            documents.push((*number, tree));
            *number += 1;
        }
        documents.extend(self.whole.take().filter(|tree| !tree.is_null()).map(|tree| (*number, tree)));
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), Refused> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text = text.into_owned();
                let is_text =
                    style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                self.put(if is_text { Tree::Text(text) } else { Tree::Plain(text) }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Open { anchor, ..Open::default() }),
            Event::MappingStart(_, anchor, _) => {
                self.begin(Open { anchor, map: Some((Vec::new(), None)), ..Open::default() })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let tree = match (open.nameless, open.map) {
                    (Some(what), _) => Tree::Nameless(what),
                    (None, Some((entries, _))) => Tree::Map(entries),
                    (None, None) => Tree::List(open.items),
                };
                self.put(tree, open.anchor)
            }
            Event::Alias(anchor) => {
                let tree = self.anchors.get(&anchor).cloned().ok_or(Refused::OwnAnchor)?;
                if self.open.len() + tree.depth() > DEPTH_MAX {
                    return Err(Refused::Depth);
                }
                self.aliased += tree.nodes();
                if self.aliased > ALIASED_MAX {
                    return Err(Refused::Aliases);
                }
                self.put(tree, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), Refused> {
        if self.open.len() == DEPTH_MAX {
            return Err(Refused::Depth);
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, tree: Tree, anchor: usize) -> Result<(), Refused> {
        if anchor > 0 {
            self.anchors.insert(anchor, tree.clone());
        }
        let depth = self.open.len();
        let Some(open) = self.open.last_mut() else {
            self.whole = Some(tree);
            return Ok(());
        };
        let Some((entries, key)) = &mut open.map else {
            open.items.push(tree);
            return Ok(());
        };
        match (key.take(), tree) {
            (None, Tree::Text(text) | Tree::Plain(text)) => *key = Some(Key::Name(text)),
            (None, other) => *key = Some(Key::Other(other.what())),
            // `{{ .Values.name }}`, a template that nobody filled in, is such a mapping: it costs what it stands in.
            (Some(Key::Other(what)), _) => open.nameless = Some(what),
            (Some(Key::Name(merge)), value) if merge == "<<" => {
                let before = entries.len();
                merge_in(entries, value);
                open.merged += entries.len() - before;
            }
            (Some(Key::Name(name)), value) => {
                let own = entries.get(open.merged..).unwrap_or_default();
                if depth == 1 && ONCE.contains(&name.as_str()) && own.iter().any(|(key, _)| *key == name) {
                    let earlier = Tree::Map(std::mem::take(entries));
                    self.earlier.push(open.nameless.take().map_or(earlier, Tree::Nameless));
                    open.merged = 0;
                }
                entries.push((name, value));
            }
        }
        Ok(())
    }
}

/// Merges a mapping, or several of which the first counts most. What the mapping says itself comes later and counts.
fn merge_in(entries: &mut Entries, merged: Tree) {
    match merged {
        Tree::Map(merged) => drop(entries.splice(0..0, merged)),
        Tree::List(all) => all.into_iter().for_each(|merged| merge_in(entries, merged)),
        _ => {}
    }
}
