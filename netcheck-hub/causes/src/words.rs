//! The arithmetic of a cause, as people read it.

use crate::cause::Cause;

impl Cause {
    /// Why it is this cause, in figures.
    #[must_use]
    pub fn arithmetic(&self) -> Vec<String> {
        let explained = format!(
            "explains {} lost probes of {} that crossed it, in {} groups of paths",
            self.lost,
            self.crossed.max(self.lost),
            self.explains.len()
        );
        let crossing = match self.contradictions.len() {
            0 if self.pattern.partial || self.pattern.by_port => {
                "some of its packets pass: the shares of losses are alike in all paths".to_owned()
            }
            0 => "no path that crosses it with such packets was answered".to_owned(),
            count => format!("{count} paths that cross it with such packets were answered"),
        };
        let avoiding = match (self.avoiding_answered, self.avoiding_lost) {
            (0, 0) => "all paths of such packets cross it".to_owned(),
            (answered, 0) => format!("{answered} paths of such packets avoid it, and all are answered"),
            (answered, lost) => format!(
                "{} paths of such packets avoid it: {answered} are answered, {lost} lose some",
                answered + lost
            ),
        };
        vec![explained, crossing, avoiding]
    }
}
