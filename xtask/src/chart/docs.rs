//! The table of values in the chart's README, made from the comments of `values.yaml`; and that comments, table and
//! schema know the same values.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Wanted, chart_dir};

const BEGIN: &str = "<!-- values: made by `cargo xtask chart docs` from values.yaml -->\n";
const END: &str = "<!-- end of values -->\n";

/// A value with its comment.
struct Documented {
    /// As in `hub.service.type`.
    key: String,
    /// What was written behind its key; empty where that goes on below.
    inline: String,
    text: String,
}

/// The README as it should be.
pub(super) fn wanted() -> Result<Vec<Wanted>> {
    let path = chart_dir().join("README.md");
    let readme = fs::read_to_string(&path)?;
    let (head, rest) = readme.split_once(BEGIN).context("the README has no place for the values")?;
    let (_, tail) = rest.split_once(END).context("the README's place for the values has no end")?;
    let text = values_text()?;
    let defaults: Value = serde_saphyr::from_str(&text)?;
    let mut table = "| value | default | what for |\n|---|---|---|\n".to_owned();
    for value in documented(&text)? {
        let default = defaults.pointer(&format!("/{}", value.key.replace('.', "/"))).unwrap_or(&Value::Null);
        let shown = if value.inline.is_empty() { default.to_string() } else { value.inline };
        table += &format!("| `{}` | `{}` | {} |\n", value.key, shown, value.text.replace('|', "\\|"));
    }
    Ok(vec![Wanted { path, text: format!("{head}{BEGIN}{table}{END}{tail}") }])
}

/// What is said in one place and not in another.
pub(super) fn check() -> Result<Vec<String>> {
    let text = values_text()?;
    let values: Value = serde_saphyr::from_str(&text)?;
    let schema = fs::read_to_string(chart_dir().join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;
    let documented = documented(&text)?.into_iter().map(|value| value.key).collect();
    let mut walk = Walk { schema: &schema, documented, wrong: Vec::new() };
    walk.compare(&values, &schema, "");
    Ok(walk.wrong)
}

fn values_text() -> Result<String> {
    fs::read_to_string(chart_dir().join("values.yaml")).context("can't read values.yaml")
}

/// Where a comparison of defaults and schema is.
struct Walk<'a> {
    /// The whole schema, for its references.
    schema: &'a Value,
    documented: BTreeSet<String>,
    wrong: Vec<String>,
}

impl<'a> Walk<'a> {
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let target =
            schema["$ref"].as_str().and_then(|target| self.schema.pointer(target.strip_prefix('#')?));
        target.unwrap_or(schema)
    }

    /// Compares what is below `path`, down to what a comment describes.
    fn compare(&mut self, values: &Value, schema: &'a Value, path: &str) {
        if self.documented.contains(path) {
            return;
        }
        let schema = self.resolved(schema);
        let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else {
            self.wrong.push(format!("values.yaml says nothing about {path}"));
            return;
        };
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if schema["additionalProperties"] != Value::Bool(false) {
            self.wrong.push(format!("the schema takes unknown values in `{path}`"));
        }
        for key in properties.keys().filter(|key| !values.contains_key(*key) && *key != "global") {
            self.wrong.push(format!("the schema has {}, values.yaml has not", below(key)));
        }
        for (key, value) in values {
            match properties.get(key) {
                Some(schema) => self.compare(value, schema, &below(key)),
                None => self.wrong.push(format!("values.yaml has {}, the schema has not", below(key))),
            }
        }
    }
}

/// The values that have a comment beginning with `# --`, in order.
fn documented(text: &str) -> Result<Vec<Documented>> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(words) = trimmed.strip_prefix("# -- ") {
            comment = Some(words.to_owned());
        } else if let Some(words) = trimmed.strip_prefix("# ") {
            if let Some(comment) = &mut comment {
                *comment = format!("{comment} {words}");
            }
        } else if let Some((key, value)) = trimmed.split_once(':').filter(|(key, _)| is_key(key)) {
            let indent = line.len() - trimmed.len();
            parents.retain(|(parent, _)| *parent < indent);
            parents.push((indent, key.to_owned()));
            if let Some(text) = comment.take() {
                let path: Vec<_> = parents.iter().map(|(_, key)| key.as_str()).collect();
                found.push(Documented { key: path.join("."), inline: value.trim().to_owned(), text });
            }
        } else if comment.is_some() {
            bail!("values.yaml: a comment stands before no value, but: {line}");
        }
    }
    Ok(found)
}

fn is_key(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::documented;

    #[test]
    fn comments_find_their_values() {
        let text = "# Head.\na:\n  # -- First,\n  # in two lines.\n  b: 1\n  c:\n    # -- Deep.\n    d:\n      - x: y\n# -- Last: it.\ne: {}\n";
        let found = documented(text).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|value| (value.key.as_str(), value.inline.as_str(), value.text.as_str()))
            .collect();
        assert_eq!(
            shown,
            [("a.b", "1", "First, in two lines."), ("a.c.d", "", "Deep."), ("e", "{}", "Last: it.")]
        );
    }

    #[test]
    fn a_comment_without_a_value_is_an_error() {
        assert!(documented("# -- Lost.\n\na: 1\n").is_err());
    }
}
