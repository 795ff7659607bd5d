//! The cluster's objects in a text: a `v1.List` as `kubectl get nodes,pods,services,endpointslices -A -o yaml` prints
//! it, as YAML or JSON. Whether an object holds together is judged here for files and for the API alike. Pure, but
//! for [`read`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_openapi::serde::de::DeserializeOwned;
use netcheck_proto::text;
use serde::Deserialize;

pub use self::sound::Sound;
use crate::cluster::roster::Objects;

mod sound;
#[cfg(test)]
mod tests;

/// Why there is no roster to be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The file can't be read.
    #[error("cannot read inventory {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is neither YAML nor JSON.
    #[error("inventory {path} is broken: {message}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// It is not a list of objects.
    #[error("inventory {path} is not a v1 List of Kubernetes objects but {found}")]
    NotAList {
        /// Which.
        path: PathBuf,
        /// What stood there.
        found: String,
    },
    /// One of its items is no object at all.
    #[error("inventory {path}: items[{index}] {message}")]
    Item {
        /// Which.
        path: PathBuf,
        /// Position in the list, from 0.
        index: usize,
        /// What it is instead.
        message: String,
    },
    /// One of its objects does not hold together.
    #[error("inventory {path}: items[{index}] ({kind} {name}) is broken: {message}")]
    Object {
        /// Which.
        path: PathBuf,
        /// Position in the list, from 0.
        index: usize,
        /// Its kind.
        kind: String,
        /// Its name, as far as it has one.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A cluster without nodes is taken for a mistake.
    #[error("inventory {path} has no Node")]
    NoNodes {
        /// Which.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
struct List {
    kind: Option<String>,
    items: Option<Vec<serde_json::Value>>,
}

/// Reads a file.
///
/// # Errors
/// See [`InventoryError`].
pub fn read(path: &Path) -> Result<Objects, InventoryError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| InventoryError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads a text. `path` is for messages.
///
/// # Errors
/// See [`InventoryError`].
pub fn parse(path: &Path, text: &str) -> Result<Objects, InventoryError> {
    let broken =
        |message: String| InventoryError::Syntax { path: path.to_owned(), message: one_line(&message) };
    let list: List = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| broken(error.to_string()))?
    } else {
        // The file is the operator's own and grows with the cluster: no cap on its size.
        let options = serde_saphyr::options! { budget: None, with_snippet: false };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| broken(error.without_snippet().to_string()))?
    };
    let not_a_list = |found: String| InventoryError::NotAList { path: path.to_owned(), found };
    let kind = list.kind.ok_or_else(|| not_a_list("something without a kind".to_owned()))?;
    if !kind.ends_with("List") {
        return Err(not_a_list(format!("a {kind}")));
    }
    let items = list.items.ok_or_else(|| not_a_list(format!("a {kind} without items")))?;
    let mut objects = Objects::default();
    let mut known = HashMap::new();
    for (index, item) in items.into_iter().enumerate() {
        let own = kind_of(&item, &kind).map_err(|message| InventoryError::Item {
            path: path.to_owned(),
            index,
            message,
        })?;
        let mut at = Item { path, index, kind: &own, known: &mut known };
        match own.as_str() {
            "Node" => objects.nodes.push(at.read(item)?),
            "Pod" => objects.pods.push(at.read(item)?),
            "Service" => objects.services.push(at.read(item)?),
            "Namespace" => objects.namespaces.push(at.read(item)?),
            "EndpointSlice" => objects.endpoint_slices.push(at.read(item)?),
            "Gateway" if of_gateway_api(&item, &kind) => objects.gateways.push(at.read(item)?),
            "HTTPRoute" => objects.http_routes.push(at.read(item)?),
            "Ingress" => objects.ingresses.push(at.read(item)?),
            _ => objects.ignored += 1,
        }
    }
    if objects.nodes.is_empty() {
        return Err(InventoryError::NoNodes { path: path.to_owned() });
    }
    Ok(objects)
}

/// The kind of an item. Those of a typed list, as the API server has it, carry none of their own.
fn kind_of(item: &serde_json::Value, list: &str) -> Result<String, String> {
    use serde_json::Value;
    let found = match item {
        Value::Object(object) => match object.get("kind") {
            Some(Value::String(kind)) if !kind.is_empty() => return Ok(kind.clone()),
            None if list != "List" => return Ok(list.trim_end_matches("List").to_owned()),
            _ => return Err("has no kind".to_owned()),
        },
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
    };
    Err(format!("is {found}, not an object"))
}

/// Others have objects of this name, too.
fn of_gateway_api(item: &serde_json::Value, list: &str) -> bool {
    let version = item.get("apiVersion").and_then(serde_json::Value::as_str);
    version.map_or(list == "GatewayList", |version| version.starts_with("gateway.networking.k8s.io/"))
}

struct Item<'a> {
    path: &'a Path,
    index: usize,
    kind: &'a str,
    /// Kind, namespace and name of what was read already, and where it stands.
    known: &'a mut HashMap<(String, String), usize>,
}

impl Item<'_> {
    fn read<T: DeserializeOwned + Sound>(&mut self, value: serde_json::Value) -> Result<T, InventoryError> {
        let name = value.pointer("/metadata/name").and_then(|name| name.as_str()).unwrap_or("?").to_owned();
        let checked = object(value).and_then(|object: T| {
            let meta = object.meta();
            let called =
                [meta.namespace.as_deref(), meta.name.as_deref()].map(Option::unwrap_or_default).join("/");
            match self.known.insert((self.kind.to_owned(), called), self.index) {
                None => Ok(object),
                Some(first) => Err(format!("items[{first}] is the same object")),
            }
        });
        checked.map_err(|message| InventoryError::Object {
            path: self.path.to_owned(),
            index: self.index,
            kind: self.kind.to_owned(),
            name: text::line(&name),
            message: text::line(&one_line(&message)),
        })
    }
}

/// Reads one object, from a file or from the API.
///
/// # Errors
/// Says in one line what does not hold together.
pub fn object<T: DeserializeOwned + Sound>(mut value: serde_json::Value) -> Result<T, String> {
    if let Some(object) = value.as_object_mut() {
        // The types check these two where they stand; whether they do depends on the kind of list.
        object.remove("kind");
        object.remove("apiVersion");
    }
    let object: T = serde_json::from_value(value).map_err(|error| one_line(&error.to_string()))?;
    object.sound()?;
    Ok(object)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
