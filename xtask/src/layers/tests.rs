use std::path::Path;

use super::{TABLES, Table, module_of, scan::imports};

const TABLE: Table = Table {
    crate_dir: "some-crate",
    rows: &[("model", &[]), ("plan", &["model"]), ("engine", &["plan"])],
    messages: &["engine", "plan/sent"],
};

/// Line and imported folder of each breach in a file of the crate.
fn breaches(file: &str, text: &str) -> Vec<(usize, String)> {
    let file = Path::new(file);
    let found = TABLE.breaches(file, &module_of(file), text).unwrap();
    found.into_iter().map(|breach| (breach.line, breach.imported)).collect()
}

fn one(line: usize, imported: &str) -> Vec<(usize, String)> {
    vec![(line, imported.to_owned())]
}

#[test]
fn an_import_upwards_is_found_with_its_line() {
    assert_eq!(breaches("plan.rs", "//! A plan.\n\nuse crate::engine::Engine;\n"), one(3, "engine"));
    let text = "use crate::{\n    model::Sample,\n    engine::{Engine, Terms},\n};\n";
    assert_eq!(breaches("plan/read.rs", text), one(3, "engine"));
    assert_eq!(breaches("plan.rs", "use crate::{model, plan::{self, Plan}};"), []);
}

#[test]
fn paths_in_expressions_types_and_macros_count() {
    assert_eq!(breaches("model.rs", "fn f() -> u8 {\n    crate::plan::f()\n}"), one(2, "plan"));
    assert_eq!(breaches("model.rs", "struct S(Vec<crate::plan::Plan>);"), one(1, "plan"));
    assert_eq!(breaches("model.rs", "fn f() {\n  assert!(\n g(crate::plan::OK));\n}"), one(3, "plan"));
    assert_eq!(breaches("model.rs", "impl crate::plan::Plan for S {}"), one(1, "plan"));
}

#[test]
fn super_counts_where_it_leads_out_of_the_folder() {
    assert_eq!(breaches("plan.rs", "use super::engine::Engine;"), one(1, "engine"));
    assert_eq!(breaches("plan/read.rs", "use super::engine::Engine;"), [], "plan::engine");
    assert_eq!(breaches("plan/read.rs", "use super::super::engine::Engine;"), one(1, "engine"));
    assert_eq!(breaches("plan/read.rs", "use super::super::{model::A, engine::B};"), one(1, "engine"));
    let inner = "mod inner {\n    fn f() { super::super::engine::f() }\n}";
    assert_eq!(breaches("plan.rs", inner), one(2, "engine"));
    assert_eq!(breaches("plan.rs", "mod inner { use super::engine; }"), []);
    assert_eq!(breaches("plan.rs", "use self::super::engine::Engine;"), one(1, "engine"));
}

#[test]
fn the_whole_crate_at_once_is_no_import_of_a_folder() {
    assert_eq!(breaches("plan.rs", "use crate::*;"), one(1, "*"));
    assert_eq!(breaches("plan.rs", "use crate::reexported;"), one(1, "reexported"));
}

#[test]
fn what_is_no_import_is_passed_over() {
    let text = "//! See [`crate::engine`].\n/// As crate::engine::Engine.\n// crate::engine\n\
                pub(crate) const WORD: &str = \"crate::engine\";\npub(super) fn crate_engine() {}\n";
    assert_eq!(breaches("plan.rs", text), []);
}

#[test]
fn tests_may_import_everything() {
    let text = "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}\n";
    assert_eq!(breaches("plan.rs", text), []);
    assert_eq!(breaches("plan.rs", &text.replace("mod tests", "mod checks")), one(3, "engine"));
}

#[test]
fn a_row_names_what_it_needs() {
    assert_eq!(breaches("engine.rs", "use crate::model::Sample;"), one(1, "model"), "not named in the row");
    assert_eq!(breaches("engine/turn.rs", "use crate::plan::Plan; use crate::engine::Engine;"), []);
    assert_eq!(breaches("extra.rs", "use crate::model::Sample;"), one(1, "model"), "a folder without a row");
}

#[test]
fn a_file_knows_its_module() {
    assert_eq!(module_of(Path::new("plan/read.rs")), ["plan", "read"]);
    assert!(module_of(Path::new("lib.rs")).is_empty());
    assert_eq!(imports("use crate::a; use crate::b::c;", &["a".to_owned()]).unwrap().len(), 2);
}

#[test]
fn messages_are_named_where_they_are_read_and_written() {
    for text in [
        "use netcheck_proto::v1;",
        "use netcheck_proto::{convert, v1};",
        "use netcheck_proto::v1::Path;",
        "fn f(path: &netcheck_proto::v1::Path) {}",
        "fn f() { g(netcheck_proto::v1::Path::default()) }",
    ] {
        let one = [(1, "netcheck_proto::v1".to_owned())];
        assert_eq!(breaches("plan.rs", text), one, "{text}");
        assert_eq!(breaches("plan/sentence.rs", text), one, "{text}");
        for file in ["engine.rs", "engine/turn.rs", "plan/sent.rs", "plan/sent/whole.rs"] {
            assert_eq!(breaches(file, text), [], "{file}: {text}");
        }
        assert_eq!(breaches("plan.rs", &format!("#[cfg(test)]\nmod tests {{ {text} }}")), []);
    }
    let other = "use netcheck_proto::{convert, text};\nuse k8s_openapi::api::core::v1::Node;";
    assert_eq!(breaches("plan.rs", other), []);
}

#[test]
fn tables_are_lists_from_the_bottom_up() {
    for table in TABLES {
        for (at, (folder, allowed)) in table.rows.iter().enumerate() {
            for name in *allowed {
                let above = table.rows[..at].iter().any(|(row, _)| row == name);
                assert!(above, "{}: {folder} may import {name}, which has no row before it", table.crate_dir);
            }
        }
    }
}
