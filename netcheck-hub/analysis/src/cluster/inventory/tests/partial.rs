//! Files that are less than a cluster's objects, or more than one cluster's: none is taken for whole without a word.

use super::generated::{items, list, whole, yaml_of};
use super::*;

/// What was read, with the lines about it.
fn read(text: &str) -> (Objects, Vec<String>) {
    let objects = parsed(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let lines = objects.left_out.report_lines().collect();
    (objects, lines)
}

#[test]
fn what_is_appended_to_a_file_begins_a_document() {
    let all = items(3);
    let (first, rest) = all.split_at(4);
    let (first, rest) = (yaml_of(&list(first)), yaml_of(&list(rest)));
    // Another order of keys, as other tools have it; and what a file of its own would cost.
    let other = rest.replacen("apiVersion: v1\n", "", 1).replacen("kind: List\n", "", 1);
    let other = format!("kind: List\napiVersion: v1\n{other}");
    for rest in [&rest, &other] {
        let (objects, lines) = read(&format!("{first}{rest}"));
        assert_eq!((objects.roster(), lines.len()), (whole(3), 0), "{lines:?}");
    }
    let (objects, lines) = read(&format!("{first}{rest}apiVersion: v1\nitems: [\n"));
    assert_eq!((objects.roster(), lines.len()), (whole(3), 1), "{lines:?}");
    assert!(lines[0].starts_with("the inventory's document 3 is broken: "), "{lines:?}");
    let (objects, lines) = read(&format!("{first}{rest}items: []\n"));
    assert_eq!(
        (objects.roster(), lines),
        (whole(3), vec!["the inventory's document 3 has no kind".to_owned()])
    );
    // Keys that are merged in stand there twice by intent.
    let merged = "kind: Namespace\nmetadata: &m {name: a}\n---\n<<: {kind: Pod, metadata: {name: b}}\nkind: Namespace\n";
    let (objects, lines) = read(&format!("{}---\n{merged}", yaml_of(&list(&all))));
    assert_eq!((objects.namespaces.len(), lines.len()), (2, 0), "{lines:?}");
}
