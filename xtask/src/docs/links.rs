//! Links between pages, and paths of files that pages name.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::pages::Page;

/// The page with the lists of files to read, and how many each of them may have.
const ARCHITECTURE: &str = "docs/architecture.md";
/// The page with the walks: which files a change goes through.
const DEVELOP: &str = "docs/develop.md";
/// Headings in it whose tables list files, and how many at most.
const WALKS: [(&str, usize); 3] = [("## A lost probe", 40), ("## A plan", 40), ("## A query", 15)];

/// What leads nowhere, one line each.
pub(super) fn broken(pages: &[Page], root: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for page in pages {
        for line in page.prose() {
            let found = links(&line.text).filter_map(|target| dead(page, target, pages, root));
            wrong.extend(found.map(|why| format!("{}:{}: {why}", page.path, line.number)));
        }
        for (number, span) in page.spans().filter(|(_, span)| is_path(span, root)) {
            if !root.join(span).exists() {
                wrong.push(format!("{}:{number}: there is no {span}", page.path));
            }
        }
        if [ARCHITECTURE, DEVELOP].contains(&page.path.as_str()) {
            wrong.extend(misnamed(page, root));
        }
        if page.path == ARCHITECTURE {
            wrong.extend(WALKS.iter().filter_map(|&(heading, most)| too_long(page, heading, most)));
        }
    }
    wrong
}

/// Targets of the links in a line.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// Why a link leads nowhere.
fn dead(page: &Page, target: &str, pages: &[Page], root: &Path) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() {
        PathBuf::from(&page.path)
    } else {
        flat(&Path::new(&page.path).parent().unwrap_or(Path::new("")).join(file))
    };
    if !root.join(&path).exists() {
        return Some(format!("the link to {target} leads nowhere"));
    }
    let anchor = anchor?;
    let known = pages.iter().find(|other| Path::new(&other.path) == path).is_some_and(|other| {
        let headings = other.prose().filter(|line| line.text.starts_with('#'));
        headings.map(|line| slug(&line.text)).any(|slug| slug == anchor)
    });
    (!known).then(|| format!("{} has no heading {anchor}", path.display()))
}

/// A path without `..`.
fn flat(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut flat, part| {
        if part == Component::ParentDir {
            flat.pop();
        } else {
            flat.push(part);
        }
        flat
    })
}

/// A heading's anchor, as GitHub makes it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Words that begin with a folder at the repository's root.
fn is_path(span: &str, root: &Path) -> bool {
    let plain = span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let first = span.split_once('/').map(|(first, rest)| (first, rest.is_empty()));
    let folder = |name: &str| {
        !name.is_empty() && name != "target" && !name.starts_with('.') && root.join(name).is_dir()
    };
    plain && first.is_some_and(|(first, _)| folder(first))
}

/// What tables of files say of them that is not so: a file beside that is not there, a name that is not in it.
fn misnamed(page: &Page, root: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in page.prose().filter(|line| line.text.starts_with("| `")) {
        let mut spans = line.text.split('`').skip(1).step_by(2);
        let Some(file) = spans.next().filter(|file| root.join(file).is_file()) else { continue };
        let spans: Vec<&str> = spans.collect();
        let named = spans.iter().copied().chain([file]).map(|path| root.join(path));
        let text: String = named.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        let words: BTreeSet<&str> = text.split(|c: char| !is_word(c)).collect();
        for span in spans.into_iter().filter(|span| !span.contains(' ') && !root.join(span).exists()) {
            let missing = if span.ends_with(".rs") {
                let path = root.join(file);
                !path.with_file_name(span).exists() && !path.with_extension("").join(span).exists()
            } else {
                let name = span.rsplit("::").next().unwrap_or_default();
                !name.is_empty() && name.chars().all(is_word) && !words.contains(name)
            };
            if missing {
                wrong.push(format!("{}:{}: {file} has no {span}", page.path, line.number));
            }
        }
    }
    wrong
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// That a list of files below a heading is missing, or longer than it may be.
fn too_long(page: &Page, heading: &str, most: usize) -> Option<String> {
    let mut lines = page.prose().skip_while(|line| line.text != heading);
    let Some(start) = lines.next() else { return Some(format!("{}: no heading `{heading}`", page.path)) };
    let below = lines.take_while(|line| !line.text.starts_with("## "));
    // Files that a row names beside its own are to be read as well.
    let named = |text: &str| -> Vec<String> {
        let mut spans = text.split('`').skip(1).step_by(2);
        let Some(file) = spans.next().filter(|file| file.contains('/')) else { return Vec::new() };
        let beside = spans.filter(|span| span.ends_with(".rs")).map(|span| format!("{file}/{span}"));
        beside.chain([file.to_owned()]).collect()
    };
    let rows = below.filter(|line| line.text.starts_with("| `"));
    let files: BTreeSet<String> = rows.flat_map(|line| named(&line.text)).collect();
    match files.len() {
        0 => Some(format!("{}:{}: `{heading}` lists no files", page.path, start.number)),
        count if count > most => {
            Some(format!("{}:{}: `{heading}` lists {count} files, at most {most}", page.path, start.number))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in ["docs", "src"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        for file in ["README.md", "docs/a.md", "src/x.rs"] {
            std::fs::write(root.path().join(file), "").unwrap();
        }
        root
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let root = root();
        let a = Page::parse(
            "docs/a.md",
            "## The way, of a `probe`\n[up](../README.md) [own](#the-way-of-a-probe)\n",
        );
        let readme = "[a](docs/a.md#the-way-of-a-probe) [web](https://example.org/x) [src](src/x.rs)\n";
        let pages = [a, Page::parse("README.md", readme)];
        assert_eq!(broken(&pages, root.path()), [] as [&str; 0]);

        let pages = [Page::parse("README.md", "text\n[a](docs/b.md) [b](#nothing)\n")];
        assert_eq!(
            broken(&pages, root.path()),
            [
                "README.md:2: the link to docs/b.md leads nowhere",
                "README.md:2: README.md has no heading nothing"
            ]
        );
    }

    #[test]
    fn tables_of_files_name_what_is_there() {
        let root = root();
        std::fs::create_dir(root.path().join("src/x")).unwrap();
        std::fs::write(root.path().join("src/x/inner.rs"), "").unwrap();
        std::fs::write(root.path().join("src/x.rs"), "pub enum Kind { All }\n").unwrap();
        let text = "| file | what |\n|---|---|\n| `src/x.rs` | `Kind`, `Kind::All`, `inner.rs`, `cargo run x` |\n\
                    | `src/x.rs` | `Sort`, `Kind::None`, `outer.rs` |\n| `word` | `Sort` |\n";
        assert_eq!(
            misnamed(&Page::parse(DEVELOP, text), root.path()),
            [
                "docs/develop.md:4: src/x.rs has no Sort",
                "docs/develop.md:4: src/x.rs has no Kind::None",
                "docs/develop.md:4: src/x.rs has no outer.rs"
            ]
        );
    }

    #[test]
    fn paths_between_backticks_exist() {
        let root = root();
        let text = "`src/x.rs` `src/y.rs` `src/` `other/z.rs` `src/*.rs` `a/b`\n";
        assert_eq!(
            broken(&[Page::parse("docs/a.md", text)], root.path()),
            ["docs/a.md:1: there is no src/y.rs"]
        );
    }

    #[test]
    fn lists_of_files_are_as_short_as_promised() {
        let page = |text: &str| Page::parse("docs/architecture.md", text);
        let good = page(
            "## A query\n| `src/a.rs` | asks |\n| `src/b.rs` | answers |\n## Other\n| `src/c.rs` | x |\n",
        );
        assert_eq!(too_long(&good, "## A query", 2), None);
        assert!(too_long(&good, "## A query", 1).unwrap().contains("lists 2 files, at most 1"));
        assert!(too_long(&good, "## A plan", 1).unwrap().contains("no heading"));
        assert!(too_long(&page("## A plan\nnone\n"), "## A plan", 1).unwrap().contains("no files"));
    }
}
