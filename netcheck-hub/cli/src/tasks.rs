//! `convert`: kdoctor's tasks as ReachabilityChecks, with a comment for what has no counterpart.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use netcheck_scheduled::convert::{self, Converted};

/// One byte more than is read of a manifest.
const LIMIT: u64 = convert::TEXT_MAX as u64 + 1;

/// Reads a file, `-` for standard input, and prints what it comes to as YAML.
pub(crate) fn convert(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let shown = path.display();
    if path == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_string(&mut text).context("standard input can't be read")?;
    } else {
        let file = File::open(path).with_context(|| format!("{shown} can't be read"))?;
        anyhow::ensure!(file.metadata()?.is_file(), "{shown} is no regular file");
        file.take(LIMIT).read_to_string(&mut text).with_context(|| format!("{shown} can't be read"))?;
    }
    let converted = convert::kdoctor(&text).with_context(|| shown.to_string())?;
    anyhow::ensure!(!converted.is_empty(), "{shown} has no tasks of kdoctor in it");
    converted.iter().map(yaml).collect()
}

fn yaml(Converted { check, notes }: &Converted) -> anyhow::Result<String> {
    let mut text = "---\n".to_owned();
    for note in notes {
        text += &format!("# {note}\n");
    }
    text += &serde_saphyr::to_string(check)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_comments_and_the_rest_is_an_object() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("task.yaml");
        let task = "apiVersion: kdoctor.io/v1beta1\nkind: NetReach\nmetadata: {name: all}\nspec:\n  \
                    request: {perRequestTimeoutInMS: 10}\n  target: {}\n";
        std::fs::write(&file, task).unwrap();
        let text = convert(&file).unwrap();
        assert!(text.contains("\n# request.perRequestTimeoutInMS"), "{text}");
        let read: netcheck_scheduled::ReachabilityCheck = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read.metadata.name.as_deref(), Some("all"));
        let error = convert(&folder.path().join("none.yaml")).unwrap_err();
        assert!(format!("{error:#}").contains("none.yaml can't be read"), "{error:#}");
    }
}
