//! The cluster's objects in a text: a `v1.List` as `kubectl get nodes,pods,services,endpointslices -A -o yaml` prints
//! it, as YAML or JSON, and whatever comes near to it. One object that does not hold together costs no other: it is left
//! out and reported. Whether it does is judged here for files and for the API alike. Pure, but for [`read`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::serde::de::DeserializeOwned;
use netcheck_common::files;
use netcheck_proto::text;
use serde::Deserializer;

use self::documents::{Documents, NoObjects, Placed};
pub use self::encoding::EncodingError;
pub use self::sound::{Parts, Sound, Unsound};
use self::tree::Tree;
use self::twice::Twice;
use crate::cluster::roster::Objects;

mod documents;
mod encoding;
mod sound;
mod status;
mod surrogates;
#[cfg(test)]
mod tests;
mod tree;
mod twice;
mod yaml;

/// How to make a file that is one.
const COMMAND: &str =
    "make it by `kubectl get nodes,namespaces,pods,services,endpointslices -A -o yaml > inventory.yaml`";

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
    /// Its bytes are no text.
    #[error("inventory {path} is no text")]
    Encoding {
        /// Which.
        path: PathBuf,
        /// Why.
        source: EncodingError,
    },
    /// It is neither YAML nor JSON.
    #[error("inventory {path} is broken: {message}; {COMMAND}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// It is not a list of objects.
    #[error("inventory {path} is not a v1 List of Kubernetes objects but {found}: {COMMAND}")]
    NotAList {
        /// Which.
        path: PathBuf,
        /// What stood there.
        found: String,
    },
    /// It is what another command prints, which leaves out who is behind services.
    #[error(
        "inventory {path} is a dump by `kubectl cluster-info dump`, which has no endpoint slices: {COMMAND}"
    )]
    Dump {
        /// Which.
        path: PathBuf,
    },
    /// A cluster without nodes is taken for a mistake.
    #[error("inventory {path} has no Node{}: {COMMAND}", first_left_out(.left_out.as_deref()))]
    NoNodes {
        /// Which.
        path: PathBuf,
        /// The first thing in it that could not be used, if any.
        left_out: Option<String>,
    },
}

fn first_left_out(left_out: Option<&str>) -> String {
    left_out.map(|first| format!(" that can be used ({first})")).unwrap_or_default()
}

/// Reads a file.
///
/// # Errors
/// See [`InventoryError`].
pub fn read(path: &Path) -> Result<Objects, InventoryError> {
    let bytes = files::read(path, files::LARGE)
        .map_err(|source| InventoryError::Read { path: path.to_owned(), source })?;
    let text =
        encoding::text(bytes).map_err(|source| InventoryError::Encoding { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads a text. `path` is for messages.
///
/// # Errors
/// See [`InventoryError`].
pub fn parse(path: &Path, text: &str) -> Result<Objects, InventoryError> {
    let path = || path.to_owned();
    let documents = Documents::read(text).map_err(|none| match none {
        NoObjects::Syntax(message) => InventoryError::Syntax { path: path(), message: tidy(&message) },
        NoObjects::Other(found) => InventoryError::NotAList { path: path(), found: tidy(&found) },
        NoObjects::Dump => InventoryError::Dump { path: path() },
    })?;
    let mut reader = Reader::default();
    documents.broken.iter().for_each(|line| reader.leave_out(line));
    reader.objects.missing = documents.missing;
    documents.objects.into_iter().for_each(|placed| reader.sort(placed));
    let Reader { mut objects, twice, .. } = reader;
    twice.report(&mut objects);
    status::report(&mut objects);
    if objects.endpoint_slices.is_empty() && objects.services.iter().any(selects) {
        let line =
            format!("EndpointSlices are missing, so that nobody knows who is behind services: {COMMAND}");
        objects.left_out.add(|| tidy(&line));
    }
    if objects.nodes.is_empty() {
        let left_out = objects.left_out.lines.first().cloned();
        return Err(InventoryError::NoNodes { path: path(), left_out });
    }
    Ok(objects)
}

/// Whether pods are meant to be behind it.
fn selects(service: &Service) -> bool {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"));
    spec.and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
}

/// Objects by their kind.
#[derive(Default)]
struct Reader {
    objects: Objects,
    /// Where each object stands: its place in the file, and among those of its kind.
    known: HashMap<(String, String), (String, usize)>,
    twice: Twice,
}

impl Reader {
    fn leave_out(&mut self, line: &str) {
        self.objects.left_out.add(|| tidy(line));
    }

    /// Others have kinds of the same names: the group distinguishes them. Objects without one, as people write them, are
    /// taken for what they seem to be.
    fn sort(&mut self, placed: Placed) {
        let group = placed.version.split_once('/').map_or("", |(group, _)| group);
        let of = |ours: &str| placed.version.is_empty() || group == ours;
        match placed.kind.as_str() {
            "Node" if of("") => self.read(placed, |objects| &mut objects.nodes),
            "Pod" if of("") => self.read(placed, |objects| &mut objects.pods),
            "Service" if of("") => self.read(placed, |objects| &mut objects.services),
            "Namespace" if of("") => self.read(placed, |objects| &mut objects.namespaces),
            "EndpointSlice" if of("discovery.k8s.io") => {
                let placed = if placed.version.ends_with("/v1beta1") { of_beta(placed) } else { placed };
                self.read(placed, |objects| &mut objects.endpoint_slices);
            }
            "Ingress" if of("networking.k8s.io") => self.read(placed, |objects| &mut objects.ingresses),
            "Gateway" if of("gateway.networking.k8s.io") => {
                self.read(placed, |objects| &mut objects.gateways);
            }
            "HTTPRoute" if of("gateway.networking.k8s.io") => {
                self.read(placed, |objects| &mut objects.http_routes);
            }
            _ => self.objects.ignored += 1,
        }
    }

    fn read<T: DeserializeOwned + Sound + PartialEq>(
        &mut self,
        placed: Placed,
        all: fn(&mut Objects) -> &mut Vec<T>,
    ) {
        let Placed { place, kind, mut tree, .. } = placed;
        let called = name(&tree);
        let at = format!("{place} ({kind} {called})");
        // The types check these two where they stand; whether they do depends on the kind of list.
        if let Tree::Map(entries) = &mut tree {
            entries.retain(|(key, _)| !is_type(key));
        }
        let Judged { object, parts } = match judge::<T, _>(tree) {
            Ok(judged) => judged,
            Err(why) => return self.leave_out(&format!("{at} is left out: {why}")),
        };
        let list = all(&mut self.objects);
        match self.known.get(&(kind.clone(), called.clone())) {
            // Lists that overlap.
            Some((_, known)) if list[*known] == object => return,
            Some((first, known)) => match self.twice.later(&kind, object.meta(), list[*known].meta()) {
                Some(true) => list[*known] = object,
                Some(false) => return,
                None => {
                    let line = format!("{at} is left out: {first} is another object of the same name");
                    return self.leave_out(&line);
                }
            },
            None => {
                self.known.insert((kind, called), (place, list.len()));
                list.push(object);
            }
        }
        if let Some(parts) = parts {
            self.leave_out(&format!("{at}: left out of it: {parts}"));
        }
    }
}

/// A slice as clusters before 1.21 have it, as those after would say the same: each endpoint's node was a label of its
/// topology.
fn of_beta(mut slice: Placed) -> Placed {
    let Tree::Map(entries) = &mut slice.tree else { return slice };
    let endpoints = entries.iter_mut().filter(|(key, _)| key == "endpoints").map(|(_, endpoints)| endpoints);
    let lists =
        endpoints.filter_map(|endpoints| if let Tree::List(all) = endpoints { Some(all) } else { None });
    for endpoint in lists.flatten() {
        let node =
            endpoint.get("topology").and_then(|topology| topology.get("kubernetes.io/hostname")).cloned();
        let known = endpoint.get("nodeName").is_some_and(|name| !name.is_null());
        if let (Tree::Map(entries), Some(node), false) = (endpoint, node, known) {
            entries.push(("nodeName".to_owned(), node));
        }
    }
    slice
}

/// `namespace/name`, as far as an object has them.
fn name(tree: &Tree) -> String {
    let meta = tree.get("metadata");
    let text = |key: &str| meta.and_then(|meta| meta.get(key)).and_then(Tree::as_text);
    let name = text("name").unwrap_or("?");
    text("namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

/// Whether it says what kind of object it is; types check that where it stands, and lists need not have it.
#[must_use]
pub fn is_type(key: &str) -> bool {
    matches!(key, "kind" | "apiVersion")
}

/// An object that can be used.
pub struct Judged<T> {
    /// Without what was left out.
    pub object: T,
    /// What of it was left out, if anything: one line.
    pub parts: Option<String>,
}

/// Why an object can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It is not of its kind's shape.
    #[error("{message}")]
    Shape {
        /// What the reader says, in one line.
        message: String,
    },
    /// What it says does not hold together.
    #[error(transparent)]
    Unsound(#[from] Unsound),
}

/// Judges one object, from a file or from the API.
///
/// # Errors
/// It can't be used, and why.
pub fn judge<'de, T, D>(value: D) -> Result<Judged<T>, ObjectError>
where
    T: DeserializeOwned + Sound,
    D: Deserializer<'de>,
{
    let mut object = T::deserialize(value)
        .map_err(|error| ObjectError::Shape { message: tidy(&shape(&error.to_string())) })?;
    let parts = object.sound()?.line();
    Ok(Judged { object, parts })
}

/// What is wrong with a shape, without the text that stood there: it may be a secret, and the message goes into logs and
/// reports.
fn shape(message: &str) -> String {
    let quoted = message.find("string \"").zip(message.rfind("\", expected "));
    match quoted {
        Some((begin, end)) if begin < end => {
            format!("{}a text{}", &message[..begin], &message[end + 1..])
        }
        _ => message.to_owned(),
    }
}

fn tidy(message: &str) -> String {
    text::line(&message.split_whitespace().collect::<Vec<_>>().join(" "))
}
