//! What of an inventory does not hold together. Pure.

/// Objects that are left out, wholly or in part, because they don't hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub count: u64,
    /// The first of them, one line each.
    pub lines: Vec<String>,
}

impl LeftOut {
    /// Most lines: a report is read by people.
    pub const LINES: usize = 20;

    /// Adds an object, with its line where that is wanted.
    pub fn add(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.lines.len() < Self::LINES {
            self.lines.push(line());
        }
    }

    /// Adds what concerns many objects: its line is among the first.
    pub fn add_first(&mut self, line: String) {
        self.count += 1;
        self.lines.insert(0, line);
        self.lines.truncate(Self::LINES);
    }

    /// All of it, as a report has it.
    pub fn report_lines(&self) -> impl Iterator<Item = String> {
        let more = self.count.saturating_sub(self.lines.len() as u64);
        let more = (more > 0).then(|| format!("{more} more objects are left out, wholly or in part"));
        self.lines.iter().map(|line| format!("the inventory's {line}")).chain(more)
    }
}
