//! Markdown pages, apart into prose and blocks of code.

use std::fs;

use anyhow::{Context as _, Result};

use crate::tools::{command, output, root};

/// A Markdown file.
pub(super) struct Page {
    /// From the repository's root.
    pub(super) path: String,
    pub(super) lines: Vec<Line>,
}

/// One line of it.
pub(super) struct Line {
    /// From 1.
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) part: PagePart,
}

/// What a line belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PagePart {
    /// Text for readers.
    Prose,
    /// A block of code in this language.
    Code(String),
}

/// All Markdown files that git knows.
pub(super) fn all() -> Result<Vec<Page>> {
    let files = output(command("git").args(["ls-files", "*.md"]))?;
    let read = |path: &str| {
        let text = fs::read_to_string(root().join(path)).with_context(|| format!("can't read {path}"))?;
        Ok(Page::parse(path, &text))
    };
    files.lines().map(read).collect()
}

impl Page {
    /// Splits its text. A block may be indented, as in a list.
    pub(super) fn parse(path: &str, text: &str) -> Self {
        let mut part = PagePart::Prose;
        let mut lines = Vec::new();
        for (index, text) in text.lines().enumerate() {
            match (text.trim_start().strip_prefix("```"), &part) {
                (Some(language), PagePart::Prose) => part = PagePart::Code(language.trim().to_owned()),
                (Some(_), PagePart::Code(_)) => part = PagePart::Prose,
                (None, _) => {
                    lines.push(Line { number: index + 1, text: text.to_owned(), part: part.clone() });
                }
            }
        }
        Self { path: path.to_owned(), lines }
    }

    /// Lines of prose.
    pub(super) fn prose(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.part == PagePart::Prose)
    }

    /// Words between backticks in prose, each with its line's number.
    pub(super) fn spans(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|line| line.text.split('`').skip(1).step_by(2).map(|span| (line.number, span)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_prose_are_distinguished() {
        let page =
            Page::parse("a.md", "one `x y` and `z`\n```sh\nls\n```\n   ```yaml\n   a: b\n   ```\ntwo\n");
        let parts: Vec<_> =
            page.lines.iter().map(|line| (line.number, line.text.as_str(), &line.part)).collect();
        let code = |language: &str| PagePart::Code(language.to_owned());
        assert_eq!(
            parts,
            [
                (1, "one `x y` and `z`", &PagePart::Prose),
                (3, "ls", &code("sh")),
                (6, "   a: b", &code("yaml")),
                (8, "two", &PagePart::Prose)
            ]
        );
        assert_eq!(page.spans().collect::<Vec<_>>(), [(1, "x y"), (1, "z")]);
    }
}
