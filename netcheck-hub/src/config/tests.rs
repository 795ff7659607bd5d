use clap::CommandFactory as _;

use netcheck_proto::usage::one_line;

use super::*;

#[test]
fn flags_hold_together() {
    Config::command().debug_assert();
}

#[test]
fn values() {
    assert_eq!(inventory("file:/x/y.yaml"), Ok(Inventory::File(PathBuf::from("/x/y.yaml"))));
    assert_eq!(inventory("kubernetes"), Ok(Inventory::Kubernetes));
    assert!(inventory("/x/y.yaml").is_err());
    assert!(inventory("file:").is_err());
    assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
    assert!(interval("0s").is_err());
    assert!(interval("soon").is_err());
    assert!(dns_name("kubernetes.default.svc.cluster.local.").is_ok());
    assert!(dns_name("a..b").is_err());
    assert!(namespace("kube-system").is_ok() && namespace("").is_err() && namespace("a b").is_err());
}

#[test]
fn what_is_probed() {
    let read = |words: &str| {
        let words = ["netcheck-hub", "--insecure"].into_iter().chain(words.split_whitespace());
        Config::try_parse_from(words)
            .map(|config| config.settings().unwrap().selection)
            .map_err(|error| one_line(&error.to_string()))
    };
    assert_eq!(read(""), Ok(Selection::default()));
    assert_eq!(read("--pods all --services all"), Ok(Selection::everything()));
    let some = read("--service-selector app=web,!legacy --service-namespaces shop,team-a").unwrap();
    assert_eq!(some.service_labels, Some(labels::parse("app=web,!legacy").unwrap()));
    assert!(some.service_namespaces.iter().eq(["shop", "team-a"]));
    for (words, why) in [
        ("--pods some", "'some' for '--pods <selected|all>'"),
        ("--services none", "'none' for '--services <selected|all>'"),
        ("--service-selector app=", ""),
        ("--service-selector =web", "'--service-selector <LABELS>': `=web`: \"\" is not the name of a label"),
        ("--service-namespaces a,,b", "is not the name of a namespace"),
    ] {
        match read(words) {
            Ok(_) => assert!(why.is_empty(), "{words}"),
            Err(error) => assert!(!why.is_empty() && error.contains(why), "{words}: {error}"),
        }
    }
}
