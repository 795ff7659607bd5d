use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::cluster::inventory;

/// Pods and services called by what is said of them, in namespaces that say yes, no, or nothing.
fn roster() -> Roster {
    let mut items = vec!["{kind: Node, metadata: {name: n1}}".to_owned()];
    for (namespace, mark) in [("on", "'true'"), ("off", "'false'"), ("odd", "'yes'")] {
        items.push(format!(
            "{{kind: Namespace, metadata: {{name: '{namespace}', annotations: {{netcheck.io/probe: {mark}}}}}}}"
        ));
    }
    for namespace in ["on", "off", "odd", "plain"] {
        for (name, mark) in [("yes", "'true'"), ("no", "'false'"), ("odd", "1.0"), ("none", "")] {
            let mark = if mark.is_empty() { String::new() } else { format!("netcheck.io/probe: '{mark}'") };
            let mark = mark.replace("''", "'");
            let meta = format!(
                "{{name: '{name}', namespace: '{namespace}', labels: {{tier: '{name}'}}, annotations: {{{mark}}}}}"
            );
            items.push(format!(
                "{{kind: Pod, metadata: {meta}, spec: {{nodeName: n1, containers: []}}, status: {{phase: Running, podIP: \
                 10.1.0.1}}}}"
            ));
            items.push(format!("{{kind: Service, metadata: {meta}, spec: {{clusterIP: 10.96.0.9}}}}"));
        }
    }
    let built_in = [
        ("Service", "default", "kubernetes", ""),
        ("Service", "default", "other", ""),
        ("Service", "kube-system", "dns-of-it", "k8s-app: kube-dns"),
        (
            "Service",
            "tools",
            "ours",
            "app.kubernetes.io/name: netcheck, app.kubernetes.io/component: vantage",
        ),
        ("Service", "tools", "hub", "app.kubernetes.io/name: netcheck, app.kubernetes.io/component: hub"),
        ("Pod", "tools", "ours", "app.kubernetes.io/name: netcheck, app.kubernetes.io/component: vantage"),
    ];
    for (kind, namespace, name, labels) in built_in {
        items.push(format!(
            "{{kind: {kind}, metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}, spec: \
             {{clusterIP: 10.96.0.1, nodeName: n1, containers: []}}, status: {{phase: Running, podIP: 10.1.0.2}}}}"
        ));
    }
    let text = format!("kind: List\nitems:\n- {}\n", items.join("\n- "));
    inventory::parse(Path::new("test.yaml"), &text).unwrap().roster()
}

fn probed(selection: &Selection) -> (Vec<String>, Vec<String>) {
    let roster = roster();
    let pods = roster.pods.iter().filter(|(_, pod)| selection.of_pod(pod) == Decision::Probed);
    let services =
        roster.services.iter().filter(|(_, service)| selection.of_service(service) == Decision::Probed);
    (pods.map(|(id, _)| id.clone()).collect(), services.map(|(id, _)| id.clone()).collect())
}

const ANNOTATED: [&str; 6] = ["odd/yes", "off/yes", "on/none", "on/odd", "on/yes", "plain/yes"];

#[test]
fn annotations_and_what_every_cluster_needs() {
    let (pods, services) = probed(&Selection::default());
    assert_eq!(pods, [&ANNOTATED[..], &["tools/ours"]].concat());
    let every = ["default/kubernetes", "kube-system/dns-of-it"];
    assert_eq!(services, [&every[..], &ANNOTATED[..], &["tools/ours"]].concat());
}

#[test]
fn all_but_what_is_switched_off() {
    let roster = roster();
    let (pods, services) = probed(&Selection::everything());
    assert_eq!((pods.len(), services.len()), (roster.pods.len() - 6, roster.services.len() - 6));
    let off = ["off/no", "off/none", "off/odd", "odd/no", "on/no", "plain/no"];
    assert!(off.iter().all(|off| !pods.iter().chain(&services).any(|id| id == off)), "{pods:?}");
    assert_eq!(Selection::everything().left_out(&roster), None, "what is switched off is nobody's surprise");
}

#[test]
fn services_by_namespace_and_by_label() {
    let by_namespace = Selection {
        service_namespaces: ["plain".to_owned(), "off".to_owned()].into(),
        ..Selection::default()
    };
    let (pods, services) = probed(&by_namespace);
    assert!(!pods.contains(&"plain/none".to_owned()), "pods are another matter");
    assert!(services.contains(&"plain/none".to_owned()) && services.contains(&"plain/odd".to_owned()));
    assert!(!services.contains(&"plain/no".to_owned()), "an annotation goes before a flag");
    assert!(!services.contains(&"off/none".to_owned()), "a namespace's does, too");
    let by_label =
        Selection { service_labels: Some(labels::parse("tier=none").unwrap()), ..Selection::default() };
    let (_, services) = probed(&by_label);
    assert!(services.contains(&"plain/none".to_owned()) && !services.contains(&"plain/odd".to_owned()));
}

#[test]
fn what_is_left_out_is_one_line_that_says_how_to_select_it() {
    let roster = roster();
    // Pods: none and odd in two namespaces. Services: the same, and two.
    let line = Selection::default().left_out(&roster).unwrap();
    assert!(line.starts_with("4 pods and 6 services are not probed: "), "{line}");
    assert!(line.contains("--pods all, --service-namespaces") && line.lines().count() == 1, "{line}");
    let pods = Selection { services: Extent::All, ..Selection::default() }.left_out(&roster).unwrap();
    assert!(pods.starts_with("4 pods are not probed: ") && !pods.contains("--services"), "{pods}");
    let services = Selection { pods: Extent::All, ..Selection::default() }.left_out(&roster).unwrap();
    assert!(
        services.starts_with("6 services are not probed: ") && !services.contains("--pods"),
        "{services}"
    );
}

#[test]
fn an_annotation_that_says_neither_is_reported() {
    let odd = roster().misannotated;
    assert!(odd.contains("namespace odd") && odd.contains("service plain/odd") && odd.contains("pod on/odd"));
    assert_eq!(odd.len(), 9);
}

#[test]
fn selectors() {
    let set = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let web = set(&[("app", "web"), ("tier", "front"), ("example.com/team", "a-1")]);
    for (text, expected) in [
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier = front", true),
        ("app=web,tier=back", false),
        ("app!=web", false),
        ("missing!=web", true),
        ("app", true),
        ("!app", false),
        ("! missing", true),
        ("app in (db, web)", true),
        ("app in (db),tier", false),
        ("app notin (db,cache),tier", true),
        ("missing notin (a)", true),
        ("example.com/team=a-1", true),
        ("app=", false),
        ("app in (web,)", true),
    ] {
        assert_eq!(labels::parse(text).unwrap().matches(&web), expected, "{text}");
    }
    for (text, why) in [
        ("", "is empty"),
        (" ", "is empty"),
        ("app=web,", "\"\" is not the name of a label"),
        ("app=we b", "\"we b\" is not the value of a label"),
        ("app in web", "\"app in web\" is not the name"),
        ("app in (web", "lacks a closing bracket"),
        ("app in web)", "a bracket too many"),
        ("app of (web)", "expected KEY in (A,B)"),
        ("app=a=b", "\"a=b\" is not the value"),
        ("-app=a", "\"-app\" is not the name"),
        ("a/b/c=d", "is not the name"),
        ("app>3", "is not the name"),
    ] {
        let error = labels::parse(text).unwrap_err().to_string();
        assert!(error.contains(why) && error.lines().count() == 1, "{text}: {error}");
    }
}
