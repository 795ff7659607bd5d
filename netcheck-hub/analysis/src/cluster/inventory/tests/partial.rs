//! Files that are less than a cluster's objects, or more than one cluster's: none is taken for whole without a word.

use proptest::prelude::*;
use serde_json::{Value, json};

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

#[test]
fn a_list_that_says_that_there_is_more_is_not_whole() {
    let part = |items: &[Value], meta: Value| json!({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items});
    let all = items(3);
    let (first, rest) = all.split_at(4);
    let going_on = json!({"resourceVersion": "7", "continue": "eyJ2", "remainingItemCount": 1});
    let last = json!({"resourceVersion": "7"});
    for write in [Value::to_string as fn(&Value) -> String, yaml_of] {
        let parts =
            format!("{}\n---\n{}\n", write(&part(first, going_on.clone())), write(&part(rest, last.clone())));
        let parts = if parts.starts_with('{') { parts.replace("---\n", "") } else { parts };
        let (objects, lines) = read(&parts);
        assert_eq!((objects.roster(), lines.len()), (whole(3), 0), "all parts are there: {lines:?}");
        let (objects, lines) = read(&write(&part(&all, going_on.clone())));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("the inventory's List is not whole, the API has 1 more object ("),
            "{lines:?}"
        );
        assert!(lines[0].contains("make it by `kubectl get"), "{lines:?}");
        assert_eq!(objects.roster().unjudged(), 1, "the first line is no ✓");
        let (objects, lines) = read(&write(&part(&all, json!({"continue": "eyJ2"}))));
        assert!(lines.len() == 1 && lines[0].contains("the API has more objects ("), "{lines:?}");
        assert_eq!(objects.roster().unjudged(), 1);
    }
    let (_, lines) = read(&write_both(&part(&all, json!({})), &part(&[], json!({"remainingItemCount": 40}))));
    assert!(
        lines.len() == 1 && lines[0].contains("document 2: List is not whole, the API has 40"),
        "{lines:?}"
    );
}

fn write_both(first: &Value, second: &Value) -> String {
    format!("{first}\n{second}\n")
}

#[test]
fn objects_without_status_are_not_taken_for_healthy() {
    let mut objects = items(3);
    objects.push(json!({"kind": "Pod", "metadata": {"name": "new"}, "spec": {}}));
    let without = |kinds: &[&str], status: Option<Value>| {
        let mut objects = objects.clone();
        for item in objects.iter_mut().filter(|item| kinds.iter().any(|kind| item["kind"] == *kind)) {
            match &status {
                Some(status) => item["status"] = status.clone(),
                None => drop(item.as_object_mut().unwrap().remove("status")),
            }
        }
        let (objects, lines) = read(&yaml_of(&list(&objects)));
        (objects.roster(), lines)
    };
    for status in [None, Some(Value::Null), Some(json!({})), Some(json!({"conditions": [], "addresses": []}))]
    {
        let (roster, lines) = without(&["Node", "Pod"], status);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with("the inventory's 3 Nodes and 3 Pods have no status, so that"),
            "{lines:?}"
        );
        assert!(lines[0].contains("make it by `kubectl get"), "{lines:?}");
        assert_eq!((roster.addressless().count(), roster.unjudged()), (3, 6));
    }
    let (roster, lines) = without(&["Pod"], None);
    assert!(lines.len() == 1 && lines[0].contains("3 Pods have no status"), "{lines:?}");
    assert_eq!(roster.unjudged(), 3);
    let (roster, lines) = without(&[], None);
    assert_eq!((lines.len(), roster.unjudged()), (0, 0), "{lines:?}");
    // Nobody says that it is away: its silence is an alarm.
    let (roster, lines) =
        without(&["Node"], Some(json!({"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]})));
    assert_eq!((lines.len(), roster.node_absent("n1")), (0, None));
}

/// The objects of another cluster with the same names.
fn another(made: &str) -> Vec<Value> {
    let mut objects = items(2);
    objects.push(json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "kubernetes", "namespace": "default"},
                        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443}]}}));
    for (at, item) in objects.iter_mut().enumerate() {
        item["metadata"]["uid"] = json!(format!("{made}-{at}"));
        item["metadata"]["creationTimestamp"] = json!(made);
    }
    objects
}

#[test]
fn objects_that_take_the_place_of_others_are_counted_and_two_clusters_named() {
    let (old, new) = (another("2026-01-01T00:00:00Z"), another("2026-02-01T00:00:00Z"));
    for (first, second) in [(&old, &new), (&new, &old)] {
        let (objects, lines) = read(&write_both(&list(first), &list(second)));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(
            lines[0].starts_with(
                "the inventory's lists are of two clusters (Service default/kubernetes has two uids)"
            ) && lines[0].contains(&format!(" {} of one cluster count for nothing", old.len())),
            "{lines:?}"
        );
        assert!(objects.roster().unjudged() >= old.len() as u64, "the first line is no ✓");
    }
    // The same without the times at which they were made: first of all that they are two clusters'.
    let timeless = |objects: &[Value]| {
        let mut objects = objects.to_vec();
        objects.iter_mut().for_each(|item| item["metadata"]["creationTimestamp"] = Value::Null);
        list(&objects)
    };
    let (_, lines) = read(&write_both(&timeless(&old), &timeless(&new)));
    assert!(lines[0].contains("lists are of two clusters"), "{lines:?}");
    // Pods of one cluster that were made again, as those of StatefulSets are.
    let mut later = old.clone();
    for pod in later.iter_mut().filter(|item| item["kind"] == "Pod") {
        pod["metadata"]["uid"] = json!(format!("again-{}", pod["metadata"]["name"]));
        pod["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    }
    let (objects, lines) = read(&write_both(&list(&old), &list(&later)));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("the inventory's 2 objects have two uids (such as Pod shop/web-"),
        "{lines:?}"
    );
    assert_eq!(objects.roster().unjudged(), 0, "they are all there");
    let kube_system =
        |uid: &str| json!({"kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}});
    let mut with = items(2);
    with.extend([kube_system("a"), kube_system("b")]);
    let (_, lines) = read(&list(&with).to_string());
    assert!(lines[0].contains("two clusters (Namespace kube-system has"), "{lines:?}");
}

#[test]
fn what_kubectl_could_not_list_is_quoted_and_the_rest_read() {
    let errors = [
        "Error from server (Forbidden): namespaces is forbidden: User \"ci\" cannot list resource \"namespaces\"",
        "error: the server doesn't have a resource type \"endpointslice\"",
        "No resources found in default namespace.",
        "Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout",
        "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
    ];
    let all = items(3);
    let (first, rest) = all.split_at(4);
    let json = |items: &[Value]| format!("{}\n", serde_json::to_string_pretty(&list(items)).unwrap());
    let yaml = |items: &[Value]| yaml_of(&list(items));
    for (error, write) in
        errors.iter().flat_map(|error| [(error, &json as &dyn Fn(&[Value]) -> String), (error, &yaml)])
    {
        for (before, between, behind) in [("1", "", ""), ("", "1", ""), ("", "", "1"), ("1", "1", "1")] {
            let line = |there: &str| if there.is_empty() { String::new() } else { format!("{error}\n") };
            let text =
                format!("{}{}{}{}{}", line(before), write(first), line(between), write(rest), line(behind));
            for text in [text.replace('\n', "\r\n"), text] {
                let (objects, lines) = read(&text);
                assert_eq!((objects.roster(), lines.len()), (whole(3), 1), "{lines:?}");
                assert!(
                    lines[0].ends_with(error) && lines[0].contains("objects may be missing"),
                    "{lines:?}"
                );
            }
        }
        let nothing = parsed(error).expect_err(error);
        assert!(nothing.contains(error) && nothing.contains("make it by `kubectl get"), "{nothing}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Comments, as people write them into JSON: refused, or passed over; never taken for a part of what is there.
    #[test]
    fn comments_within_json_take_nothing_with_them(
        at: proptest::sample::Index, comment in proptest::sample::select(vec!["// why", "/* why */", "//", "// a: b", "// \"a\""]),
        own_line: bool, begin: bool,
    ) {
        let text = serde_json::to_string_pretty(&list(&items(2))).unwrap();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        let at = at.index(lines.len() - 1);
        match (own_line, begin && comment.starts_with("/*")) {
            (true, _) => lines.insert(at, comment.to_owned()),
            (false, true) => lines[at] = format!("{comment} {}", lines[at]),
            (false, false) => lines[at] = format!("{} {comment}", lines[at]),
        }
        let text = lines.join("\n");
        match parsed(&text) {
            Ok(objects) => {
                prop_assert_eq!(objects.roster(), whole(2), "{}", text);
                prop_assert_eq!(objects.left_out.count, 0, "{}", text);
            }
            Err(error) => prop_assert!(error.lines().count() == 1 && error.contains(" at line "), "{error}"),
        }
    }
}
