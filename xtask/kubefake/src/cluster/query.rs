//! What a request asks for: its parameters, and the objects that its selectors choose.

use std::collections::BTreeMap;

use axum::extract::Request;
use serde_json::Value;

use super::{Key, Objects};

pub(super) type Query = BTreeMap<String, String>;

pub(super) fn query_of(request: &Request) -> Query {
    let pairs = axum::extract::Query::<BTreeMap<String, String>>::try_from_uri(request.uri());
    pairs.map(|pairs| pairs.0).unwrap_or_default()
}

pub(super) fn chosen<'a>(
    objects: &'a Objects,
    group: &'a str,
    plural: &'a str,
    namespace: &'a str,
    query: &'a Query,
) -> impl Iterator<Item = (&'a Key, &'a Value)> {
    let term = |selector: &str, value: &dyn Fn(&str) -> Option<String>| {
        selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
            Some((name, wanted)) => {
                value(name.trim_end_matches('!')).as_deref() == Some(wanted.trim_start_matches('='))
            }
            None => value(term).is_some(),
        })
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    objects.all.iter().filter(move |(key, object)| {
        let labels = |name: &str| text(&object["metadata"]["labels"][name]);
        let fields = |name: &str| text(&name.split('.').fold(*object, |at, field| &at[field]).clone());
        key.0 == group
            && key.1 == plural
            && (namespace.is_empty() || key.2 == namespace)
            && query.get("labelSelector").is_none_or(|selector| term(selector, &labels))
            && query.get("fieldSelector").is_none_or(|selector| term(selector, &fields))
    })
}
